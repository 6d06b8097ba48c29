#include "generator/intake.h"

#include "common/base/reader.h"
#include "common/codec/otlp.h"
#include "common/obs/log.h"
#include "common/store/wal.h"
#include "common/sys/fs.h"
#include "common/sys/queue.h"
#include "common/sys/thread.h"
#include "generator/checkpoint.h"
#include "generator/collect.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PUSHES_MAX = 4096,
    PATH_BYTES = 4096,
    GROUP_MAX = 512,
    FILE_BYTES_MAX = 192 * 1024 * 1024,
    SAMPLES_PER_REQUEST = 2000
};
#define PUSH_BYTES_MAX      ((size_t)64 * 1024 * 1024)
#define CHECKPOINT_EVERY_NS (60 * NS_PER_S)

struct push {
    struct queue_item item; /* first */
    struct rpc_req *req;
};

/* What of a PushRequest is used (proto/push.proto). */
struct push_fields {
    struct slice batch_id, tenant, payload;
    uint32_t part;
    int64_t received_ns;
};

struct intake {
    struct intake_options o;
    const struct config *config;
    struct budget budget;
    struct queue queue;
    pthread_t thread;
    int lock_fd;
    char wal_dir[PATH_BYTES], checkpoint_path[PATH_BYTES];
    atomic_bool is_ready, is_draining;
    /* The intake thread's. */
    struct wal *wal;
    struct tenant *tenants;
    struct batches batches;
    uint64_t last_lsn, saved_lsn;
    int64_t next_collect_ns, next_checkpoint_ns;
    struct buf *files; /* being put together, one per queue */
    struct slice collecting;
    struct metric_cell *pushes, *repeats, *collections, *collection_errors, *lost;
};

static bool push_parse(struct slice message, struct push_fields *ret)
{
    struct reader r = reader_of(message);
    struct push_fields f = {0};

    while (!reader_done(&r)) {
        uint64_t tag = reader_varint(&r), number = 0;
        struct slice bytes = SLICE_NONE;
        switch (tag & 7) {
        case 0: number = reader_varint(&r); break;
        case 1: number = reader_le64(&r); break;
        case 2: bytes = reader_bytes(&r); break;
        case 5: number = reader_le32(&r); break;
        default: reader_fail(&r); break;
        }
        switch (tag >> 3) {
        case 1: f.batch_id = bytes; break;
        case 2: f.part = (uint32_t)number; break;
        case 3: f.tenant = bytes; break;
        case 8: f.received_ns = (int64_t)number; break;
        case 11: f.payload = bytes; break;
        default: break;
        }
    }
    *ret = f;
    return !reader_failed(&r) && f.batch_id.len == BATCHES_ID_BYTES;
}

static enum err tenant_get(void *arg, const char *name, struct tenant **ret)
{
    struct intake *in = arg;

    for (struct tenant *t = in->tenants; t != NULL; t = t->next) {
        if (strcmp(t->name, name) == 0) {
            *ret = t;
            return ERR_OK;
        }
    }
    struct tenant *t;
    enum err e = tenant_new(in->config, name, &in->budget, &t);
    if (e != ERR_OK)
        return e;
    t->next = in->tenants;
    in->tenants = t;
    *ret = t;
    return ERR_OK;
}

/* Counts one logged push. */
static enum err frame_take(struct intake *in, const struct wal_frame *f)
{
    char name[WAL_TENANT_BYTES_MAX + 1];
    struct tenant *t;

    if (f->tenant.len > WAL_TENANT_BYTES_MAX)
        return ERR_INVALID;
    memcpy(name, f->tenant.ptr, f->tenant.len);
    name[f->tenant.len] = '\0';
    batches_add(&in->batches, f->batch_id, f->part, f->received_ns);
    in->last_lsn = f->lsn;
    enum err e = tenant_get(in, name, &t);
    return e == ERR_OK ? tenant_take(t, f->payload, f->received_ns) : e;
}

static enum err replay_frame(void *arg, const struct wal_frame *f)
{
    struct intake *in = arg;
    enum err e = batches_has(&in->batches, f->batch_id, f->part) ? ERR_OK : frame_take(in, f);

    if (in->last_lsn < f->lsn)
        in->last_lsn = f->lsn;
    return e == ERR_INVALID || e == ERR_FORMAT ? ERR_OK : e;
}

static enum err state_load(struct intake *in)
{
    struct wal_replay_result replayed = {0};
    uint64_t lsn = 0;

    enum err e = checkpoint_load(in->checkpoint_path, &lsn, tenant_get, in, &in->batches);
    if (e == ERR_CORRUPT) {
        char kept[PATH_BYTES + 16];
        (void)snprintf(kept, sizeof kept, "%s.damaged", in->checkpoint_path);
        log_error("checkpoint_damaged", LOG_STR("path", in->checkpoint_path),
                  LOG_STR("kept_as", kept));
        (void)rename(in->checkpoint_path, kept);
        e = ERR_OK;
    }
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    in->last_lsn = lsn;
    e = fs_mkdir_all(in->wal_dir);
    if (e == ERR_OK)
        e = wal_replay(in->wal_dir, lsn, replay_frame, in, &replayed);
    if (e != ERR_OK)
        return e;
    if (in->last_lsn < replayed.last_lsn)
        in->last_lsn = replayed.last_lsn;
    log_info("generator_replayed", LOG_UINT("frames", replayed.frames),
             LOG_UINT("bytes", replayed.bytes), LOG_UINT("torn_bytes", replayed.torn_bytes),
             LOG_UINT("bad_frames", replayed.bad_frames));
    return wal_open(in->wal_dir, in->last_lsn + 1,
                    &(struct wal_options){.segment_bytes_max = in->config->wal_segment_bytes},
                    &in->wal);
}

static void checkpoint(struct intake *in)
{
    if (in->last_lsn == in->saved_lsn)
        return;
    uint64_t upto = in->last_lsn;
    enum err e = wal_rotate(in->wal, &upto);
    if (e == ERR_OK)
        e = checkpoint_save(in->checkpoint_path, in->last_lsn, in->tenants, &in->batches);
    if (e == ERR_OK)
        e = wal_trim(in->wal, in->last_lsn);
    if (e == ERR_OK)
        in->saved_lsn = in->last_lsn;
    else
        log_error("checkpoint_failed", LOG_ERR(e));
}

static enum collect_variant variant_of(const struct intake *in, unsigned queue)
{
    return in->config->remote_write[queue].send_exemplars ? COLLECT_EXEMPLARS : COLLECT_PLAIN;
}

static enum err request_queue(void *arg, enum collect_variant variant, struct slice request)
{
    struct intake *in = arg;

    for (unsigned q = 0; q < in->o.queue_count; q++)
        if (variant_of(in, q) == variant)
            send_queue_add(&in->files[q], request);
    return ERR_OK;
}

static void tenant_collect(struct intake *in, struct tenant *t, int64_t now_ns)
{
    struct collect_options o = {.instance = in->o.app->instance_id,
                                .now_ns = now_ns,
                                .samples_per_request = SAMPLES_PER_REQUEST,
                                .done = request_queue,
                                .arg = in};

    for (unsigned q = 0; q < in->o.queue_count; q++) {
        buf_reset(&in->files[q]);
        send_queue_begin(&in->files[q], slice_str(t->name));
        o.wants[variant_of(in, q)] = true;
    }
    enum err e = collect_run(t, &o);
    for (unsigned q = 0; q < in->o.queue_count && e == ERR_OK; q++)
        e = send_queue_put(in->o.queues[q], &in->files[q]);
    metric_inc(in->collections);
    if (e != ERR_OK) {
        metric_inc(in->collection_errors);
        log_error("collection_failed", LOG_STR("tenant", t->name), LOG_ERR(e));
    }
}

static void collect_all(struct intake *in, int64_t now_ns)
{
    for (struct tenant *t = in->tenants; t != NULL; t = t->next) {
        if (t->has_graph && service_graph_expire(&t->graph, now_ns) != ERR_OK)
            metric_inc(in->collection_errors);
        if (in->o.queue_count != 0 && !in->config->disable_collection)
            tenant_collect(in, t, now_ns);
        if (t->has_spans)
            series_expire(&t->spans.series, now_ns - in->config->stale_duration_ns);
        if (t->has_graph)
            series_expire(&t->graph.series, now_ns - in->config->stale_duration_ns);
        tenant_update_metrics(t);
    }
}

/* Answers of a group: the push, its frame, and what it gets. */
struct member_of_group {
    struct push *push;
    enum err err;
    bool is_new;
};

/* Makes frames of the group's new pushes.  Errors are the pushes' own. */
static uint32_t group_frames(struct intake *in, struct member_of_group *group, uint32_t count,
                             struct wal_frame *frames)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct push_fields f;
        uint32_t spans;
        if (!push_parse(rpc_req_payload(group[i].push->req), &f) ||
            f.tenant.len > WAL_TENANT_BYTES_MAX ||
            otlp_check(f.payload, &otlp_limits_default, &spans, NULL) != ERR_OK) {
            group[i].err = ERR_FORMAT;
            continue;
        }
        bool is_repeat = batches_has(&in->batches, f.batch_id.ptr, f.part);
        for (uint32_t k = 0; k < n && !is_repeat; k++)
            is_repeat = frames[k].part == f.part &&
                        memcmp(frames[k].batch_id, f.batch_id.ptr, BATCHES_ID_BYTES) == 0;
        if (is_repeat) {
            metric_inc(in->repeats);
            continue;
        }
        group[i].is_new = true;
        frames[n] = (struct wal_frame){.kind = WAL_SPANS,
                                       .part = f.part,
                                       .received_ns = f.received_ns,
                                       .tenant = f.tenant,
                                       .payload = f.payload};
        memcpy(frames[n++].batch_id, f.batch_id.ptr, BATCHES_ID_BYTES);
    }
    return n;
}

static void group_run(struct intake *in, struct member_of_group *group, uint32_t count)
{
    static struct log_rate rate;
    struct wal_frame frames[GROUP_MAX];
    uint32_t n = group_frames(in, group, count, frames);
    uint64_t suppressed;

    enum err e = n == 0 ? ERR_OK : wal_append(in->wal, frames, n);
    if (e == ERR_OK && n != 0)
        e = wal_sync(in->wal);
    if (e != ERR_OK && log_rate_allow(&rate, 10 * NS_PER_S, &suppressed))
        log_error("generator_log_failed", LOG_ERR(e), LOG_UINT("suppressed", suppressed));
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        enum err taken = frame_take(in, &frames[i]);
        if (taken != ERR_OK) {
            metric_inc(in->lost);
            if (log_rate_allow(&rate, 10 * NS_PER_S, &suppressed))
                log_error("spans_not_counted", LOG_ERR(taken), LOG_UINT("suppressed", suppressed));
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        enum err answer = group[i].err != ERR_OK ? group[i].err : group[i].is_new ? e : ERR_OK;
        metric_inc(in->pushes);
        rpc_reply(group[i].push->req, answer, SLICE_NONE);
        free(group[i].push);
    }
}

static void pushes_run(struct intake *in, struct queue_item *item)
{
    struct member_of_group group[GROUP_MAX];

    while (item != NULL) {
        uint32_t count = 0;
        for (; item != NULL && count < GROUP_MAX; item = item->next)
            group[count++] = (struct member_of_group){.push = (struct push *)item};
        struct queue_item *rest = item; /* the group's items are freed below */
        group_run(in, group, count);
        item = rest;
    }
}

static void intake_run(void *arg)
{
    struct intake *in = arg;
    const struct clock *clock = in->o.app->clock;

    enum err e = state_load(in);
    if (e != ERR_OK) {
        log_error("generator_start_failed", LOG_ERR(e));
        app_fail(1);
        return;
    }
    in->next_collect_ns = clock_mono_ns(clock) + in->config->collection_interval_ns;
    in->next_checkpoint_ns = clock_mono_ns(clock) + CHECKPOINT_EVERY_NS;
    atomic_store(&in->is_ready, true);
    while (!atomic_load(&in->is_draining) || queue_count(&in->queue) != 0) {
        int64_t left = in->next_collect_ns - clock_mono_ns(clock);
        pushes_run(in, queue_pop_all(&in->queue, left < 0 ? 0 : left < NS_PER_S ? left : NS_PER_S));
        if (clock_mono_ns(clock) >= in->next_collect_ns) {
            collect_all(in, clock_wall_ns(clock));
            in->next_collect_ns += in->config->collection_interval_ns;
        }
        if (clock_mono_ns(clock) >= in->next_checkpoint_ns) {
            checkpoint(in);
            in->next_checkpoint_ns = clock_mono_ns(clock) + CHECKPOINT_EVERY_NS;
        }
    }
    /* Twice, so that series which are new now have their zero and their value. */
    int64_t now = clock_wall_ns(clock);
    collect_all(in, now);
    collect_all(in, now + NS_PER_MS);
    checkpoint(in);
}

static enum err folders_open(struct intake *in, struct err_detail *detail)
{
    const char *root = in->config->generator_path;
    char lock_path[PATH_BYTES];

    int n = snprintf(in->wal_dir, sizeof in->wal_dir, "%s/wal", root);
    if (n < 0 || (size_t)n > sizeof in->wal_dir - 64)
        return err_detail_set(detail, ERR_INVALID, "metrics_generator.storage.path is too long");
    (void)snprintf(in->checkpoint_path, sizeof in->checkpoint_path, "%s/checkpoint", root);
    (void)snprintf(lock_path, sizeof lock_path, "%s/LOCK", root);
    enum err e = fs_mkdir_all(root);
    if (e == ERR_OK)
        e = fs_lock(lock_path, &in->lock_fd);
    if (e == ERR_CONFLICT)
        return err_detail_set(detail, e, "%s is in use by another generator", root);
    if (e != ERR_OK)
        return err_detail_set(detail, e, "%s can not be written: %s", root, err_name(e));
    return ERR_OK;
}

static void metrics_open(struct intake *in)
{
    in->pushes =
        metric_cell0(metrics_counter("vivace_generator_pushes_total", "", "Pushes answered."));
    in->repeats = metric_cell0(metrics_counter("vivace_generator_repeated_pushes_total", "",
                                               "Pushes that had been counted before."));
    in->collections = metric_cell0(
        metrics_counter("tempo_metrics_generator_registry_collections_total", "", "Collections."));
    in->collection_errors = metric_cell0(metrics_counter("vivace_generator_collection_errors_total",
                                                         "", "Collections that failed."));
    in->lost =
        metric_cell0(metrics_counter("vivace_generator_uncounted_pushes_total", "",
                                     "Pushes that could not be counted for want of memory."));
}

enum err intake_new(const struct intake_options *o, struct intake **ret,
                    struct err_detail *reterr_detail)
{
    struct intake *in = calloc(1, sizeof *in);

    if (in == NULL)
        return ERR_NOMEM;
    in->o = *o;
    in->config = o->app->config;
    in->lock_fd = -1;
    budget_init(&in->budget, o->app->memory.limit_bytes / 2, &o->app->memory);
    queue_init(&in->queue, PUSHES_MAX, PUSH_BYTES_MAX);
    atomic_init(&in->is_ready, false);
    atomic_init(&in->is_draining, false);
    metrics_open(in);
    in->files = calloc(o->queue_count + 1, sizeof *in->files);
    enum err e = in->files == NULL ? ERR_NOMEM : batches_init(&in->batches);
    for (unsigned q = 0; q < o->queue_count && e == ERR_OK; q++)
        buf_init(&in->files[q], FILE_BYTES_MAX);
    if (e == ERR_OK)
        e = folders_open(in, reterr_detail);
    if (e == ERR_OK)
        e = thread_start(&in->thread, "intake", intake_run, in);
    if (e != ERR_OK) {
        intake_free(in);
        return e;
    }
    *ret = in;
    return ERR_OK;
}

void intake_push(struct intake *in, struct rpc_req *req)
{
    struct push *p = rpc_req_method(req) == RPC_GENERATE ? calloc(1, sizeof *p) : NULL;

    if (p == NULL) {
        rpc_reply(req, rpc_req_method(req) == RPC_GENERATE ? ERR_NOMEM : ERR_UNSUPPORTED,
                  SLICE_NONE);
        return;
    }
    p->req = req;
    p->item.bytes = rpc_req_payload(req).len;
    enum err e = atomic_load(&in->is_draining) ? ERR_UNAVAILABLE : queue_push(&in->queue, &p->item);
    if (e != ERR_OK) {
        free(p);
        rpc_reply(req, e, SLICE_NONE);
    }
}

bool intake_is_ready(struct intake *in)
{
    return atomic_load(&in->is_ready);
}

void intake_drain(struct intake *in)
{
    if (in->thread == 0)
        return;
    atomic_store(&in->is_draining, true);
    queue_close(&in->queue);
    thread_join(in->thread);
    in->thread = 0;
}

void intake_free(struct intake *in)
{
    if (in == NULL)
        return;
    intake_drain(in);
    while (in->tenants != NULL) {
        struct tenant *t = in->tenants;
        in->tenants = t->next;
        tenant_free(t);
    }
    for (unsigned q = 0; in->files != NULL && q < in->o.queue_count; q++)
        buf_release(&in->files[q]);
    free(in->files);
    batches_release(&in->batches);
    wal_close(in->wal);
    queue_release(&in->queue);
    fs_close(&in->lock_fd);
    free(in);
}
