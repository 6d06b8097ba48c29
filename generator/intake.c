#include "generator/intake.h"

#include "common/base/crc32c.h"
#include "common/base/reader.h"
#include "common/codec/otlp.h"
#include "common/codec/pb_field.h"
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
    SAMPLES_PER_REQUEST = 2000,
    COLLECTED_BYTES = 24
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
    char wal_dir[PATH_BYTES], checkpoint_path[PATH_BYTES], collected_path[PATH_BYTES];
    atomic_bool is_ready, is_draining;
    /* The intake thread's. */
    struct wal *wal;
    struct tenant *tenants;
    struct batches batches;
    uint64_t last_lsn, saved_lsn;
    uint64_t collected_lsn; /* the last collection had all up to here, at collected_ns */
    int64_t collected_ns;
    bool is_marked; /* of the replay: what the last collection had is marked as written */
    int64_t next_collect_ns, next_checkpoint_ns;
    struct buf *files;                      /* being put together, one per queue */
    uint32_t requests, samples_per_request; /* of the collection under way */
    struct metric_cell *pushes, *repeats, *collections, *collection_errors, *lost;
};

static bool push_parse(struct slice message, struct push_fields *ret)
{
    struct reader r = reader_of(message);
    struct push_fields f = {0};
    struct pb_field at;

    while (pb_field_next(&r, &at)) {
        switch (at.number) {
        case 1: f.batch_id = at.bytes; break;
        case 2: f.part = (uint32_t)at.value; break;
        case 3: f.tenant = at.bytes; break;
        case 8: f.received_ns = (int64_t)at.value; break;
        case 11: f.payload = at.bytes; break;
        default: break;
        }
    }
    *ret = f;
    return !reader_failed(&r) && f.batch_id.len == BATCHES_ID_BYTES && f.received_ns >= 0 &&
           app_tenant_check(f.tenant, NULL) == ERR_OK;
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
    struct overrides_hold h = overrides_get(in->o.app->overrides, slice_str(name));
    enum err e = tenant_new(in->config, h.limits, name, &in->budget, &t);
    overrides_put(&h);
    if (e != ERR_OK)
        return e;
    t->next = in->tenants;
    in->tenants = t;
    *ret = t;
    return ERR_OK;
}

/* Counts one logged push.  The batch id is kept by our own clock: a sender's may be anywhere. */
static enum err frame_take(struct intake *in, const struct wal_frame *f)
{
    char name[WAL_TENANT_BYTES_MAX + 1];
    struct tenant *t;

    if (f->tenant.len == 0 || f->tenant.len > WAL_TENANT_BYTES_MAX)
        return ERR_INVALID;
    memcpy(name, f->tenant.ptr, f->tenant.len);
    name[f->tenant.len] = '\0';
    batches_add(&in->batches, f->batch_id, f->part, clock_wall_ns(in->o.app->clock));
    in->last_lsn = f->lsn;
    enum err e = tenant_get(in, name, &t);
    return e == ERR_OK ? tenant_take(t, f->payload, f->received_ns) : e;
}

/* "VGL1", u32 crc32c of the rest, u64 lsn, u64 time: what the last collection had.  Without it a series that was written before a kill would be
 * written as 0 again after it, which Prometheus takes for a reset. */
static void collected_save(struct intake *in, uint64_t lsn, int64_t now_ns)
{
    struct buf b;

    if (lsn == in->collected_lsn)
        return;
    buf_init(&b, COLLECTED_BYTES);
    buf_append_str(&b, "VGL1");
    buf_append_le32(&b, 0);
    buf_append_le64(&b, lsn);
    buf_append_le64(&b, (uint64_t)now_ns);
    enum err e = buf_err(&b);
    if (e == ERR_OK) {
        le32_write(b.ptr + 4, crc32c(slice_sub(buf_slice(&b), 8, b.len)));
        e = fs_replace(in->collected_path, buf_slice(&b));
    }
    buf_release(&b);
    if (e == ERR_OK)
        in->collected_lsn = lsn;
    else
        metric_inc(in->collection_errors);
}

static void collected_load(struct intake *in)
{
    struct buf b;

    buf_init(&b, COLLECTED_BYTES);
    if (fs_read_file(in->collected_path, &b) == ERR_OK && b.len == COLLECTED_BYTES) {
        struct reader r = reader_of(buf_slice(&b));
        struct slice magic = reader_take(&r, 4);
        uint32_t crc = reader_le32(&r);
        if (slice_eq(magic, SLICE_LIT("VGL1")) &&
            crc == crc32c((struct slice){r.at, reader_left(&r)})) {
            in->collected_lsn = reader_le64(&r);
            in->collected_ns = (int64_t)reader_le64(&r);
        }
    }
    buf_release(&b);
}

/* The state is where the last collection found it: does again what that one did to it. */
static void collected_mark(struct intake *in)
{
    for (struct tenant *t = in->tenants; t != NULL && in->collected_lsn != 0; t = t->next) {
        if (t->has_graph && service_graph_expire(&t->graph, in->collected_ns) != ERR_OK)
            metric_inc(in->collection_errors);
        collect_mark(t);
    }
    in->is_marked = true;
}

static enum err replay_frame(void *arg, const struct wal_frame *f)
{
    struct intake *in = arg;
    enum err e = ERR_OK;

    if (!in->is_marked && f->lsn > in->collected_lsn)
        collected_mark(in);
    if (!batches_has(&in->batches, f->batch_id, f->part))
        e = frame_take(in, f);

    if (in->last_lsn < f->lsn)
        in->last_lsn = f->lsn;
    if (e != ERR_OK)
        metric_inc(in->lost); /* as when it came: a start that fails for it would fail again */
    return ERR_OK;
}

static void tenants_drop(struct intake *in)
{
    while (in->tenants != NULL) {
        struct tenant *t = in->tenants;
        in->tenants = t->next;
        tenant_free(t);
    }
}

/* Without its checkpoint the state is what the log gives, and nothing of what was read before the damage. */
static enum err checkpoint_discard(struct intake *in)
{
    char kept[PATH_BYTES + 16];

    (void)snprintf(kept, sizeof kept, "%s.damaged", in->checkpoint_path);
    log_error("checkpoint_damaged", LOG_STR("path", in->checkpoint_path), LOG_STR("kept_as", kept));
    (void)rename(in->checkpoint_path, kept);
    tenants_drop(in);
    batches_release(&in->batches);
    return batches_init(&in->batches);
}

static enum err state_load(struct intake *in)
{
    struct wal_replay_result replayed = {0};
    uint64_t lsn = 0;

    enum err e = checkpoint_load(in->checkpoint_path, &lsn, tenant_get, in, &in->batches);
    if (e == ERR_CORRUPT)
        e = checkpoint_discard(in);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    in->last_lsn = lsn;
    collected_load(in);
    e = fs_mkdir_all(in->wal_dir);
    if (e == ERR_OK)
        e = wal_replay(in->wal_dir, lsn, replay_frame, in, &replayed);
    if (e != ERR_OK)
        return e;
    if (!in->is_marked)
        collected_mark(in);
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
    in->requests++;
    return ERR_OK;
}

static void collection_failed(struct intake *in, const struct tenant *t, enum err e)
{
    static struct log_rate rate;
    uint64_t suppressed;

    metric_inc(in->collection_errors);
    if (log_rate_allow(&rate, 10 * NS_PER_S, &suppressed))
        log_error("collection_failed", LOG_STR("tenant", t->name), LOG_ERR(e),
                  LOG_UINT("suppressed", suppressed));
}

static void tenant_collect(struct intake *in, struct tenant *t, int64_t now_ns)
{
    struct collect_options o = {.instance = in->o.app->instance_id,
                                .now_ns = now_ns,
                                .samples_per_request = in->samples_per_request,
                                .done = request_queue,
                                .arg = in};

    for (unsigned q = 0; q < in->o.queue_count; q++) {
        buf_reset(&in->files[q]);
        send_queue_begin(&in->files[q], slice_str(t->name));
        o.wants[variant_of(in, q)] = true;
    }
    in->requests = 0;
    enum err e = collect_run(t, &o);
    unsigned kept = 0;
    /* A target whose queue can not be written does not keep the others from theirs. */
    for (unsigned q = 0; q < in->o.queue_count && e == ERR_OK && in->requests != 0; q++) {
        enum err put = send_queue_put(in->o.queues[q], &in->files[q]);
        kept += put == ERR_OK;
        if (put != ERR_OK)
            collection_failed(in, t, put);
    }
    collect_settle(t, kept != 0);
    metric_inc(in->collections);
    if (e != ERR_OK)
        collection_failed(in, t, e);
}

static void tenant_round(struct intake *in, struct tenant *t, int64_t now_ns)
{
    if (t->has_graph && service_graph_expire(&t->graph, now_ns) != ERR_OK)
        metric_inc(in->collection_errors);
    if (in->o.queue_count != 0 && !t->limits.disable_collection)
        tenant_collect(in, t, now_ns);
    if (t->has_spans)
        series_expire(&t->spans.series, now_ns - in->config->stale_duration_ns);
    if (t->has_graph)
        series_expire(&t->graph.series, now_ns - in->config->stale_duration_ns);
    tenant_update_metrics(t);
}

/* Answers of a group: the push, its frame, and what it gets. */
struct member_of_group {
    struct push *push;
    enum err err;
    bool is_logged; /* by this group, itself or as the same push before it: gets the log's answer */
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
            is_repeat = group[i].is_logged =
                frames[k].part == f.part &&
                memcmp(frames[k].batch_id, f.batch_id.ptr, BATCHES_ID_BYTES) == 0;
        if (is_repeat) {
            metric_inc(in->repeats);
            continue;
        }
        group[i].is_logged = true;
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
        enum err answer = group[i].err != ERR_OK ? group[i].err : group[i].is_logged ? e : ERR_OK;
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

/* Tenant by tenant, and what came meanwhile in between: a collection syncs files, for which no push shall wait long. */
static void collect_all(struct intake *in)
{
    uint64_t lsn = in->last_lsn;
    int64_t begun_ns = clock_wall_ns(in->o.app->clock);

    for (struct tenant *t = in->tenants; t != NULL; t = t->next) {
        tenant_round(in, t, clock_wall_ns(in->o.app->clock));
        pushes_run(in, queue_pop_all(&in->queue, 0));
    }
    collected_save(in, lsn, begun_ns);
}

/* Puts another tenant in the place of one, made by these limits; it takes over what has a place in it. */
static enum err tenant_replace(struct intake *in, struct tenant **at, const struct limits *limits)
{
    struct tenant *old = *at, *t;
    struct buf saved;

    buf_init(&saved, FILE_BYTES_MAX);
    enum err e = checkpoint_save_tenant(old, &saved);
    if (e == ERR_OK)
        e = tenant_new(in->config, limits, old->name, &in->budget, &t);
    if (e == ERR_OK) {
        t->next = old->next;
        *at = t;
        tenant_free(old); /* first: there may be no memory for both */
        e = checkpoint_load_tenant(t, buf_slice(&saved));
        log_info("generator_limits_changed", LOG_STR("tenant", t->name), LOG_ERR(e));
    }
    buf_release(&saved);
    return e;
}

/* Tenants whose limits have changed.  What they have is written first: a processor that goes takes along nothing that was not. */
static void tenants_refresh(struct intake *in)
{
    for (struct tenant **at = &in->tenants; *at != NULL; at = &(*at)->next) {
        struct overrides_hold h = overrides_get(in->o.app->overrides, slice_str((*at)->name));

        if (!config_limits_equal_generator(&(*at)->limits, h.limits)) {
            tenant_round(in, *at, clock_wall_ns(in->o.app->clock));
            enum err e = tenant_replace(in, at, h.limits);
            if (e != ERR_OK)
                collection_failed(in, *at, e);
            in->next_checkpoint_ns = 0; /* now: after a kill it is as it is now */
        }
        overrides_put(&h);
    }
}

/* Twice, so that series which are new now have their zero and their value. */
static void collect_last(struct intake *in)
{
    int64_t now_ns = clock_wall_ns(in->o.app->clock);

    for (int64_t round = 0; round < 2; round++)
        for (struct tenant *t = in->tenants; t != NULL; t = t->next)
            tenant_round(in, t, now_ns + round * NS_PER_MS);
    collected_save(in, in->last_lsn, now_ns);
}

/* Answers what came although there is no state to count it in. */
static void refuse_all(struct intake *in)
{
    while (!atomic_load(&in->is_draining) || queue_count(&in->queue) != 0) {
        struct queue_item *item = queue_pop_all(&in->queue, NS_PER_S), *next;
        for (; item != NULL; item = next) {
            struct push *p = (struct push *)item;
            next = item->next;
            rpc_reply(p->req, ERR_UNAVAILABLE, SLICE_NONE);
            free(p);
        }
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
        refuse_all(in);
        return;
    }
    in->next_collect_ns = clock_mono_ns(clock) + in->config->collection_interval_ns;
    in->next_checkpoint_ns = clock_mono_ns(clock) + CHECKPOINT_EVERY_NS;
    atomic_store(&in->is_ready, true);
    while (!atomic_load(&in->is_draining) || queue_count(&in->queue) != 0) {
        int64_t left = in->next_collect_ns - clock_mono_ns(clock);
        pushes_run(in, queue_pop_all(&in->queue, left < 0 ? 0 : left < NS_PER_S ? left : NS_PER_S));
        if (clock_mono_ns(clock) >= in->next_collect_ns) {
            collect_all(in);
            tenants_refresh(in);
            in->next_collect_ns += in->config->collection_interval_ns;
            if (in->next_collect_ns < clock_mono_ns(clock)) /* late: not several at once */
                in->next_collect_ns = clock_mono_ns(clock) + in->config->collection_interval_ns;
        }
        if (clock_mono_ns(clock) >= in->next_checkpoint_ns) {
            checkpoint(in);
            in->next_checkpoint_ns = clock_mono_ns(clock) + CHECKPOINT_EVERY_NS;
        }
    }
    collect_last(in);
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
    (void)snprintf(in->collected_path, sizeof in->collected_path, "%s/collected", root);
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
    in->samples_per_request = SAMPLES_PER_REQUEST;
    for (unsigned q = 0; q < o->queue_count; q++)
        if (in->config->remote_write[q].max_samples_per_send < in->samples_per_request)
            in->samples_per_request = in->config->remote_write[q].max_samples_per_send;
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
    queue_close(&in->queue); /* first: what got in is seen by the thread's last look */
    atomic_store(&in->is_draining, true);
    thread_join(in->thread);
    in->thread = 0;
}

void intake_free(struct intake *in)
{
    if (in == NULL)
        return;
    intake_drain(in);
    tenants_drop(in);
    for (unsigned q = 0; in->files != NULL && q < in->o.queue_count; q++)
        buf_release(&in->files[q]);
    free(in->files);
    batches_release(&in->batches);
    wal_close(in->wal);
    queue_release(&in->queue);
    fs_close(&in->lock_fd);
    free(in);
}
