/* Blocks that Tempo wrote, into the store. */
#include "common/base/hash.h"
#include "common/parquet/tempo_block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "common/tool/tool.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_SPANS_MAX = 1 << 20, BLOCK_WIRE_BYTES_MAX = 512 << 20, PROGRESS_TRACES = 10000 };

struct import { /* of one block of Tempo's */
    struct tool *t;
    const char *dir;
    struct arena arena;
    struct tempo_meta meta;
    const char *tenant;
    struct tempo_block *from;
    struct head *head;
    char work[32]; /* folder of the block that is being written */
    unsigned parts;
    uint64_t traces, spans, copies, refused;
};

static enum err failed(struct import *in, enum err e, const char *what)
{
    if (in->t->detail.text[0] != '\0') {
        struct err_detail why = in->t->detail;
        return err_detail_set(&in->t->detail, e, "%.200s: %.280s", in->dir, why.text);
    }
    return err_detail_set(&in->t->detail, e, "%.300s: %s (%s)", in->dir, what, err_name(e));
}

static enum err read_object(void *arg, uint64_t offset, void *ret, size_t len)
{
    struct object *o = arg;
    return o->ops->read(o, OBJECT_VALUES, offset, ret, len);
}

/* The same block gives the same id again: what is there already is not there twice. */
static void block_id(const struct import *in, char ret[37])
{
    char text[300];
    uint8_t b[16];

    int n = snprintf(text, sizeof text, "import|%s|%s|%u", in->meta.id, in->tenant, in->parts);
    assert(n > 0 && (size_t)n < sizeof text);
    struct slice s = {(const uint8_t *)text, (size_t)n};
    uint64_t halves[2] = {hash_with(s, 0x9e3779b97f4a7c15ull), hash_with(s, 0xc2b2ae3d27d4eb4full)};
    memcpy(b, halves, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x80); /* RFC 9562: version 8, of our own making */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
}

static enum err write_block(struct import *in, const char *path, struct block_meta *meta)
{
    struct segment *s = NULL;
    struct buf json;
    struct backend *b = in->t->backend;
    enum err e = head_segment(in->head, &in->t->memory, &s);

    if (e != ERR_OK)
        return e;
    e = block_write(path, &s, 1, NULL, NULL, &in->t->memory, meta);
    segment_close(s);
    if (e != ERR_OK)
        return e;
    buf_init(&json, TOOL_META_BYTES_MAX);
    e = block_meta_to_json(meta, &json);
    if (e == ERR_OK)
        e = b->ops->publish(b, meta->tenant, meta->id, path, buf_slice(&json));
    buf_release(&json);
    (void)unlink(path); /* publishing took it, or it is of no use */
    return e;
}

/* The spans taken so far become a block. */
static enum err end_block(struct import *in)
{
    struct head_stats stats;
    struct timespec now;
    char path[64];

    head_stats(in->head, &stats);
    if (stats.spans == 0)
        return ERR_OK;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct block_meta meta = {.writer = "vivace-store",
                              .created_ns =
                                  (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
                              .version = BLOCK_VERSION};
    block_id(in, meta.id);
    (void)snprintf(meta.tenant, sizeof meta.tenant, "%s", in->tenant);
    (void)snprintf(path, sizeof path, "%s/data.vvb", in->work);
    enum err e = write_block(in, path, &meta);
    if (e != ERR_OK)
        return failed(in, e, "a block can not be written");
    in->parts++;
    in->spans += meta.span_count;
    if (!in->t->options.is_json)
        buf_appendf(&in->t->out, "BLOCK     %s/%s: %llu spans, %llu traces, %llu bytes\n",
                    meta.tenant, meta.id, (unsigned long long)meta.span_count,
                    (unsigned long long)meta.trace_count, (unsigned long long)meta.bytes);
    return tool_out_flush(in->t, false);
}

static enum err new_head(struct import *in)
{
    struct head_options keep_all = {.max_attribute_bytes = 0};

    head_unref(in->head);
    in->head = NULL;
    return head_new(&in->t->memory, &keep_all, &in->head);
}

static enum err take_traces(struct import *in, struct buf *otlp)
{
    struct head_stats stats;
    uint64_t total = tempo_block_traces(in->from);
    enum err e = new_head(in);

    while (e == ERR_OK) {
        struct head_append_result r;
        e = tempo_block_next(in->from, otlp, &in->t->detail);
        if (e != ERR_OK || in->traces == total)
            break;
        in->traces++;
        e = head_append(in->head, buf_slice(otlp), false, 0, &r);
        in->copies += r.copies;
        in->refused += r.refused;
        if (in->traces % PROGRESS_TRACES == 0)
            tool_out_progress(in->t, "%llu of %llu traces", (unsigned long long)in->traces,
                              (unsigned long long)total);
        head_stats(in->head, &stats);
        if (e != ERR_OK ||
            (stats.spans < BLOCK_SPANS_MAX && stats.wire_bytes < BLOCK_WIRE_BYTES_MAX))
            continue;
        e = end_block(in);
        if (e == ERR_OK)
            e = new_head(in);
    }
    if (e != ERR_OK)
        return failed(in, e, "it can not be read");
    return end_block(in);
}

static enum err read_meta(struct import *in)
{
    struct tool *t = in->t;
    struct buf json;
    char path[TOOL_PATH_BYTES];

    if ((size_t)snprintf(path, sizeof path, "%s/meta.json", in->dir) >= sizeof path)
        return ERR_TOO_LARGE;
    buf_init(&json, TEMPO_META_BYTES_MAX);
    enum err e = fs_read_file(path, &json);
    if (e == ERR_OK)
        e = tempo_meta_from_json(buf_slice(&json), &in->arena, &in->meta, &t->detail);
    buf_release(&json);
    in->tenant = t->options.tenant != NULL ? t->options.tenant : in->meta.tenant;
    return e == ERR_OK ? ERR_OK : failed(in, e, "its meta.json can not be read");
}

static void tell(const struct import *in)
{
    struct tool *t = in->t;
    const struct {
        const char *key;
        uint64_t v;
    } numbers[] = {
        {"traces", in->traces},   {"spans", in->spans},
        {"blocks", in->parts},    {"copies", in->copies},
        {"refused", in->refused}, {"unreadableValues", tempo_block_unreadable(in->from)}};

    if (!t->options.is_json) {
        buf_appendf(&t->out,
                    "IMPORTED  %s: %llu traces, %llu spans; left out: %llu copies, %llu without "
                    "valid ids; %llu values that could not be read are empty\n",
                    in->meta.id, (unsigned long long)in->traces, (unsigned long long)in->spans,
                    (unsigned long long)in->copies, (unsigned long long)in->refused,
                    (unsigned long long)tempo_block_unreadable(in->from));
        return;
    }
    json_out_begin_object(&t->json);
    json_out_key(&t->json, "id");
    json_out_cstring(&t->json, in->meta.id);
    json_out_key(&t->json, "tenant");
    json_out_cstring(&t->json, in->tenant);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_out_key(&t->json, numbers[i].key);
        json_out_u64(&t->json, numbers[i].v);
    }
    json_out_end_object(&t->json);
}

static enum err import_object(struct import *in, struct object *o)
{
    struct parquet_source source = {o, read_object, o->bytes};
    struct buf otlp;

    (void)snprintf(in->work, sizeof in->work, "/tmp/vivace-store-XXXXXX");
    if (mkdtemp(in->work) == NULL)
        return failed(in, ERR_IO, "no folder can be made in /tmp");
    buf_init(&otlp, TOOL_REQUEST_BYTES_MAX);
    enum err e = tempo_block_open(&source, &in->meta, &in->t->memory, &in->from, &in->t->detail);
    if (e != ERR_OK)
        e = failed(in, e, "it can not be read");
    else
        e = take_traces(in, &otlp);
    if (e == ERR_OK)
        tell(in);
    tempo_block_close(in->from);
    buf_release(&otlp);
    head_unref(in->head);
    (void)rmdir(in->work);
    return e;
}

static enum err import_one(struct tool *t, const char *dir)
{
    struct import in = {.t = t, .dir = dir};
    struct object *o = NULL;
    char path[TOOL_PATH_BYTES];

    arena_init(&in.arena, &t->memory);
    enum err e = read_meta(&in);
    if (e == ERR_OK && (size_t)snprintf(path, sizeof path, "%s/data.parquet", dir) >= sizeof path)
        e = ERR_TOO_LARGE;
    if (e == ERR_OK) {
        e = object_file_open(path, &o);
        if (e != ERR_OK)
            e = failed(&in, e, "its data.parquet can not be opened");
    }
    if (e == ERR_OK)
        e = import_object(&in, o);
    if (o != NULL)
        o->ops->close(o);
    arena_release(&in.arena);
    return e;
}

enum err tool_import(struct tool *t)
{
    const char *dir;

    if (tool_operand(t, 0) == NULL)
        return tool_misuse(t, "import DIR...: folders with a data.parquet and a meta.json");
    enum err e = tool_store(t);
    if (t->options.is_json)
        json_out_begin_array(&t->json);
    for (unsigned i = 0; e == ERR_OK && (dir = tool_operand(t, i)) != NULL; i++)
        e = import_one(t, dir);
    if (t->options.is_json) {
        json_out_end_array(&t->json);
        buf_append_byte(&t->out, '\n');
    }
    return e;
}
