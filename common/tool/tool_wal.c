#include "common/codec/otlp.h"
#include "common/store/wal.h"
#include "common/tool/tool.h"

#include <stdio.h>
#include <sys/stat.h>

struct log { /* one being looked at */
    struct tool *t;
    uint64_t spans, damages;
};

static uint32_t span_count(struct slice otlp)
{
    uint32_t count = 0;
    struct otlp_limits limits = otlp_limits_default;

    limits.spans_max = UINT32_MAX;
    return otlp_check(otlp, &limits, &count, NULL) == ERR_OK ? count : 0;
}

static void number(struct json_out *j, const char *key, uint64_t v)
{
    json_out_key(j, key);
    json_out_u64(j, v);
}

static void text(struct json_out *j, const char *key, struct slice s)
{
    json_out_key(j, key);
    json_out_string(j, s);
}

static void frame_json(struct tool *t, const char *file, uint64_t offset, const struct wal_frame *f,
                       uint32_t spans)
{
    struct json_out j;
    char id[2 * WAL_BATCH_ID_BYTES + 1];

    json_out_init(&j, &t->out);
    hex_encode((struct slice){f->batch_id, WAL_BATCH_ID_BYTES}, id);
    json_out_begin_object(&j);
    text(&j, "file", slice_str(file));
    number(&j, "offset", offset);
    number(&j, "lsn", f->lsn);
    number(&j, "kind", f->kind);
    number(&j, "flags", f->flags);
    text(&j, "batch", slice_str(id));
    number(&j, "part", f->part);
    number(&j, "receivedUnixNano", (uint64_t)f->received_ns);
    text(&j, "tenant", f->tenant);
    if (f->first_target.len != 0)
        text(&j, "firstTarget", f->first_target);
    number(&j, "payloadBytes", f->payload.len);
    number(&j, "spans", spans);
    json_out_end_object(&j);
    buf_append_byte(&t->out, '\n');
}

static enum err frame_line(void *arg, const char *file, uint64_t offset, const struct wal_frame *f)
{
    struct log *log = arg;
    struct buf *out = &log->t->out;
    uint32_t spans = f->kind == WAL_SPANS ? span_count(f->payload) : 0;
    char time[32], id[2 * WAL_BATCH_ID_BYTES + 1];

    log->spans += spans;
    if (log->t->options.is_json) {
        frame_json(log->t, file, offset, f, spans);
        return tool_out_flush(log->t, false);
    }
    hex_encode((struct slice){f->batch_id, WAL_BATCH_ID_BYTES}, id);
    tool_out_time((uint64_t)f->received_ns, time);
    buf_appendf(out, "%s %10llu  lsn %llu  %s  %s/%u  " SLICE_FMT "  %zu bytes, %u spans%s%s%s\n",
                file, (unsigned long long)offset, (unsigned long long)f->lsn, time, id, f->part,
                SLICE_ARG(f->tenant), f->payload.len, spans,
                (f->flags & WAL_FLAG_DOUBT) != 0 ? " doubt" : "",
                (f->flags & WAL_FLAG_SECONDARY) != 0 ? " second" : "",
                (f->flags & WAL_FLAG_CARRIED) != 0 ? " carried" : "");
    return tool_out_flush(log->t, false);
}

static enum err frame_spans(void *arg, const char *file, uint64_t offset, const struct wal_frame *f)
{
    struct log *log = arg;
    const char *tenant = log->t->options.tenant;

    (void)file;
    (void)offset;
    if (f->kind != WAL_SPANS || (tenant != NULL && !slice_eq_str(f->tenant, tenant)))
        return ERR_OK;
    return tool_out_request(log->t, f->payload);
}

static void damage(void *arg, const char *file, uint64_t offset, uint64_t bytes, const char *what)
{
    struct log *log = arg;

    log->damages++;
    (void)fprintf(stderr, "damage: %s: %llu bytes at %llu: %s\n", file, (unsigned long long)bytes,
                  (unsigned long long)offset, what);
}

enum err tool_wal(struct tool *t)
{
    const char *what = tool_operand(t, 0), *dir = tool_operand(t, 1);
    bool is_dump = what != NULL && strcmp(what, "dump") == 0;
    struct wal_replay_result r;
    struct log log = {.t = t};
    struct wal_look_hooks hooks = {is_dump ? frame_spans : frame_line, damage, &log};
    struct stat st;

    if (what == NULL || dir == NULL || (!is_dump && strcmp(what, "inspect") != 0) ||
        tool_operand(t, 2) != NULL)
        return tool_misuse(t, "wal inspect DIR, or wal dump DIR");
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_detail_set(&t->detail, ERR_NOT_FOUND, "%.400s is not a folder", dir);
    enum err e = wal_look(dir, &hooks, &r);
    if (e == ERR_UNSUPPORTED)
        return err_detail_set(&t->detail, e, "%.300s: a log of a newer version", dir);
    if (e != ERR_OK)
        return err_detail_set(&t->detail, e, "%.300s can not be read (%s)", dir, err_name(e));
    if (!is_dump && !t->options.is_json)
        buf_appendf(&t->out,
                    "%llu frames, %llu bytes, %llu spans, lsn %llu .. %llu, torn tail of %llu "
                    "bytes, %llu damages\n",
                    (unsigned long long)r.frames, (unsigned long long)r.bytes,
                    (unsigned long long)log.spans, (unsigned long long)r.first_lsn,
                    (unsigned long long)r.last_lsn, (unsigned long long)r.torn_bytes,
                    (unsigned long long)log.damages);
    if (log.damages != 0)
        return err_detail_set(&t->detail, ERR_CORRUPT, "%llu damages in %.300s",
                              (unsigned long long)log.damages, dir);
    return ERR_OK;
}
