#include "ingester/core.h"

#include "common/obs/log.h"
#include "common/sys/fs.h"
#include "ingester/core_priv.h"
#include "ingester/trial.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    INFLIGHT_COUNT_MAX = 20000,
    BATCHES_MIN = 65536,
    BATCHES_MAX = 1 << 20,
    RECENT_MIN = 65536,
    RECENT_MAX = 1 << 21,
    DRAIN_STEP_MS = 20
};

static bool is_replay(const struct push *p)
{
    return p->kind == PUSH_REPLAYED || p->kind == PUSH_RECALLED;
}

void core_finish(struct core *c, struct push *p)
{
    if (p->kind == PUSH_CLIENT) {
        (void)atomic_fetch_sub(&c->inflight_bytes, p->item.bytes);
        (void)atomic_fetch_sub(&c->inflight_count, 1);
        if (p->err != ERR_OK)
            metric_inc(metric_cell1(c->metrics.push_errors, err_name(p->err)));
    }
    if (is_replay(p)) {
        mutex_lock(&c->lock);
        (void)atomic_fetch_sub(&c->replay_bytes, p->item.bytes);
        (void)pthread_cond_broadcast(&c->changed);
        mutex_unlock(&c->lock);
    }
    p->finished(p);
}

void core_failed(struct core *c)
{
    if (atomic_exchange(&c->is_failed, true))
        return;
    log_error("disk_failed", LOG_STR("path", c->wal_dir));
    if (c->o.fail != NULL)
        c->o.fail(EXIT_DISK_FAILED);
}

/* What a client's push meets before anything is done with it. */
static enum err door(struct core *c, const struct push *p)
{
    if (atomic_load(&c->is_draining) || atomic_load(&c->is_failed))
        return ERR_UNAVAILABLE;
    if (atomic_load(&c->is_readonly))
        return ERR_FULL;
    if (p->m.rank != 0)
        return ERR_UNSUPPORTED;
    if (budget_used(&c->heads) > c->door_bytes)
        return ERR_LIMIT;
    /* One push of any size may come when there is nothing else. */
    if (atomic_load(&c->inflight_count) >= INFLIGHT_COUNT_MAX ||
        (atomic_load(&c->inflight_count) > 0 &&
         atomic_load(&c->inflight_bytes) + p->item.bytes > c->inflight_bytes_max))
        return ERR_FULL;
    return ERR_OK;
}

void core_push(struct core *c, struct push *p)
{
    assert(p->finished != NULL && p->err == ERR_OK);
    bool is_logged = p->kind == PUSH_CLIENT || p->kind == PUSH_CARRIED;
    enum err e = ERR_OK;

    p->item.bytes = sizeof *p + p->m.tenant.len + p->m.first_target.len + p->m.payload.len;
    if (p->kind == PUSH_CLIENT) {
        e = door(c, p);
        (void)atomic_fetch_add(&c->inflight_bytes, p->item.bytes);
        (void)atomic_fetch_add(&c->inflight_count, 1);
    }
    if (is_replay(p))
        (void)atomic_fetch_add(&c->replay_bytes, p->item.bytes);
    if (e == ERR_OK)
        e = queue_push(is_logged ? &c->commit_queue : &c->apply_queue, &p->item);
    if (e != ERR_OK) {
        p->err = e;
        core_finish(c, p);
    }
}

enum member_state core_state(struct core *c, char *ret_text)
{
    const char *text = "";
    enum member_state state = MEMBER_ACTIVE;

    if (atomic_load(&c->is_failed)) {
        state = MEMBER_FAILED;
        text = "the disk of the write-ahead log has failed";
    } else if (atomic_load(&c->is_draining)) {
        state = MEMBER_DRAINING;
        text = "shutting down";
    } else if (atomic_load(&c->is_replaying)) {
        state = MEMBER_REPLAYING;
        text = "replaying the write-ahead log";
    } else if (atomic_load(&c->is_readonly)) {
        state = MEMBER_READONLY;
        text = "the disk of the write-ahead log is nearly full";
    }
    (void)snprintf(ret_text, 256, "%s", text);
    return state;
}

static void wake_finished(struct push *p)
{
    free(p);
}

void core_wake(struct core *c)
{
    struct push *p = calloc(1, sizeof *p);

    if (p == NULL)
        return; /* it wakes by itself in a moment */
    p->kind = PUSH_WAKE;
    p->finished = wake_finished;
    core_push(c, p);
}

void core_flush(struct core *c, core_flushed *fn, void *arg)
{
    struct flush_wait *w = calloc(1, sizeof *w);

    if (w == NULL || atomic_load(&c->is_stopping)) {
        free(w);
        fn(arg, w == NULL ? ERR_NOMEM : ERR_UNAVAILABLE);
        return;
    }
    *w = (struct flush_wait){.fn = fn, .arg = arg, .upto = UINT64_MAX};
    mutex_lock(&c->lock);
    LL_PREPEND(c->flushes, w);
    mutex_unlock(&c->lock);
    core_wake(c);
}

static size_t clamp(size_t v, size_t lo, size_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* Shares of the process's memory: heads 45 %, building 25 %, pushes under way 10 %, tables 3 %; the rest is the queries' and the libraries'. */
static enum err shares(struct core *c)
{
    size_t all = c->o.memory->limit_bytes;
    enum err e;

    assert(all > 0);
    budget_init(&c->heads, all / 100 * 45, c->o.memory);
    budget_init(&c->building, all / 100 * 25, c->o.memory);
    c->seal_bytes = c->heads.limit_bytes / 100 * 25; /* a push may double it */
    c->door_bytes = c->heads.limit_bytes / 100 * 80;
    c->replay_heads_bytes = c->heads.limit_bytes / 100 * 60;
    c->inflight_bytes_max = all / 10;
    e = batch_table_new(clamp(all / 64 / 48, BATCHES_MIN, BATCHES_MAX), &c->batches);
    if (e == ERR_OK)
        e = recent_ids_new(clamp(all / 64 / 32, RECENT_MIN, RECENT_MAX), &c->recent);
    c->frames = calloc(WAL_GROUP_MAX, sizeof *c->frames);
    return c->frames == NULL ? ERR_NOMEM : e;
}

static enum err folders(struct core *c, struct err_detail *detail)
{
    char lock_path[CORE_PATH_BYTES];
    const char *dir = c->config->wal_path;
    enum err e = ERR_TOO_LARGE;

    if ((size_t)snprintf(c->wal_dir, sizeof c->wal_dir, "%s", dir) < sizeof c->wal_dir &&
        (size_t)snprintf(c->building_dir, sizeof c->building_dir, "%s/building", dir) <
            sizeof c->building_dir &&
        (size_t)snprintf(lock_path, sizeof lock_path, "%s/lock", dir) < sizeof lock_path)
        e = fs_mkdir_all(dir);
    if (e == ERR_OK)
        e = fs_lock(lock_path, &c->lock_fd);
    if (e == ERR_CONFLICT)
        return err_detail_set(detail, e, "storage.trace.wal.path %s is in use by another ingester",
                              dir);
    if (e == ERR_OK)
        e = fs_remove_tree(c->building_dir); /* halves of blocks: their spans are in the log */
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = fs_mkdir_all(c->building_dir);
    if (e != ERR_OK)
        return err_detail_set(detail, e, "storage.trace.wal.path %s can not be used (%s)", dir,
                              err_name(e));
    return ERR_OK;
}

/* The log goes on above every number that was ever used: of its own frames, of blocks made from them, and, in an empty folder, of a log that may have
 * stood there before. */
static enum err open_log(struct core *c, struct err_detail *detail)
{
    struct wal_replay_result tail;
    struct wal_options o = {.segment_bytes_max = c->config->wal_segment_bytes,
                            .io = c->o.wal_io,
                            .instance_id = c->o.instance_id};
    uint64_t own_last = 0;
    enum err e = own_blocks_ask(c, &own_last);

    if (e != ERR_OK)
        return err_detail_set(detail, e, "storage.trace: the blocks can not be listed (%s)",
                              err_name(e));
    e = wal_replay_tail(c->wal_dir, &tail);
    if (e == ERR_UNSUPPORTED)
        return err_detail_set(detail, e, "the log in %s was written by a newer version",
                              c->wal_dir);
    if (e == ERR_OK) {
        metric_add(c->metrics.wal_torn, (double)tail.torn_bytes);
        c->replay_last = tail.last_lsn;
        uint64_t last = tail.last_lsn > own_last ? tail.last_lsn : own_last;
        uint64_t by_time = (uint64_t)(clock_wall_ns(c->o.clock) / NS_PER_S) << 20;
        if ((tail.first_lsn == 0 || c->is_blind) && by_time > last)
            last = by_time;
        c->published_lsn = tail.first_lsn > 0 ? tail.first_lsn - 1 : last;
        c->lane_lo[LANE_REPLAY] = tail.first_lsn > 0 ? tail.first_lsn : 1;
        c->applied[LANE_REPLAY] = c->lane_lo[LANE_REPLAY] - 1;
        c->lane_lo[LANE_LIVE] = last + 1;
        c->applied[LANE_LIVE] = last;
        e = wal_open(c->wal_dir, last + 1, &o, &c->wal);
        if (e == ERR_OK)
            e = trial_open(c->wal_dir, &c->trial);
    }
    return e == ERR_OK ? e
                       : err_detail_set(detail, e, "the log in %s can not be opened (%s)",
                                        c->wal_dir, err_name(e));
}

static enum err threads(struct core *c)
{
    enum err e = thread_start(&c->commit_thread, "commit", commit_run, c);

    c->has_commit = e == ERR_OK;
    if (e == ERR_OK)
        e = thread_start(&c->apply_thread, "apply", apply_run, c);
    c->has_apply = c->has_commit && e == ERR_OK;
    if (e == ERR_OK)
        e = thread_start(&c->build_thread, "build", build_run, c);
    c->has_build = c->has_apply && e == ERR_OK;
    atomic_store(&c->is_replaying, true);
    if (e == ERR_OK)
        e = thread_start(&c->replay_thread, "replay", replay_run, c);
    c->has_replay = c->has_build && e == ERR_OK;
    if (e == ERR_OK)
        e = thread_start(&c->compact_thread, "compact", compact_run, c);
    c->has_compact = c->has_replay && e == ERR_OK;
    return e;
}

enum err core_start(const struct core_options *o, struct core **ret,
                    struct err_detail *reterr_detail)
{
    struct core *c = calloc(1, sizeof *c);

    if (c == NULL)
        return ERR_NOMEM;
    c->o = *o;
    c->config = o->config;
    c->lock_fd = -1;
    mutex_init(&c->lock);
    cond_init(&c->changed);
    queue_init(&c->commit_queue, SIZE_MAX, 0);
    queue_init(&c->apply_queue, SIZE_MAX, 0);
    arena_init(&c->scratch, NULL);
    ingester_metrics_init(&c->metrics);
    enum err e = shares(c);
    if (e == ERR_OK)
        e = folders(c, reterr_detail);
    if (e == ERR_OK)
        e = open_log(c, reterr_detail);
    if (e == ERR_OK)
        e = threads(c);
    if (e != ERR_OK) {
        core_free(c);
        return e;
    }
    *ret = c;
    return ERR_OK;
}

struct drain_flush {
    struct mutex lock;
    pthread_cond_t done;
    bool is_over;
    enum err err;
    unsigned refs; /* the drain may give up before the flush is over */
};

static void drain_unref(struct drain_flush *f)
{
    mutex_lock(&f->lock);
    bool is_last = --f->refs == 0;
    mutex_unlock(&f->lock);
    if (!is_last)
        return;
    (void)pthread_cond_destroy(&f->done);
    mutex_release(&f->lock);
    free(f);
}

static void drain_flushed(void *arg, enum err err)
{
    struct drain_flush *f = arg;

    mutex_lock(&f->lock);
    f->is_over = true;
    f->err = err;
    (void)pthread_cond_broadcast(&f->done);
    mutex_unlock(&f->lock);
    drain_unref(f);
}

static void flush_all(struct core *c, int64_t deadline_ns)
{
    struct drain_flush *f = calloc(1, sizeof *f);

    if (f == NULL)
        return; /* the log keeps everything */
    mutex_init(&f->lock);
    cond_init(&f->done);
    f->refs = 2;
    core_flush(c, drain_flushed, f);
    mutex_lock(&f->lock);
    int64_t left = deadline_ns - clock_mono_ns(&clock_system);
    while (!f->is_over && left > 0) {
        (void)cond_wait(&f->done, &f->lock, left);
        left = deadline_ns - clock_mono_ns(&clock_system);
    }
    if (!f->is_over || f->err != ERR_OK)
        log_warn("flush_on_shutdown_incomplete",
                 LOG_ERR(f->is_over ? f->err : ERR_TIMEOUT)); /* the log keeps the rest */
    mutex_unlock(&f->lock);
    drain_unref(f);
}

static void stop_threads(struct core *c)
{
    mutex_lock(&c->lock);
    atomic_store(&c->is_stopping, true);
    c->is_build_stopping = true;
    (void)pthread_cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
    if (c->has_replay)
        thread_join(c->replay_thread);
    own_blocks_end(c);
    queue_close(&c->commit_queue);
    atomic_store(&c->is_commit_over, true);
    if (c->has_commit)
        thread_join(c->commit_thread);
    queue_close(&c->apply_queue);
    atomic_store(&c->is_queue_over, true);
    if (c->has_apply)
        thread_join(c->apply_thread);
    if (c->has_build)
        thread_join(c->build_thread);
    if (c->has_compact)
        thread_join(c->compact_thread);
}

void core_drain(struct core *c, bool is_flush_all, int64_t timeout_ns)
{
    int64_t deadline = clock_mono_ns(&clock_system) + timeout_ns;

    if (c->is_drained)
        return;
    c->is_drained = true;
    atomic_store(&c->is_draining, true);
    while (atomic_load(&c->inflight_count) > 0 && clock_mono_ns(&clock_system) < deadline) {
        struct timespec step = {.tv_nsec = DRAIN_STEP_MS * NS_PER_MS};
        (void)nanosleep(&step, NULL);
    }
    if (is_flush_all && c->has_build)
        flush_all(c, deadline);
    stop_threads(c);
}

static void tenants_free(struct core *c)
{
    struct tenant *t, *next;

    HASH_ITER (hh, c->tenants, t, next) {
        HASH_DEL(c->tenants, t);
        free(t->recent);
        free(t->done);
        free(t->begun);
        free(t);
    }
}

void core_free(struct core *c)
{
    struct generation *g, *next;
    struct flush_wait *w, *next_wait;

    if (c == NULL)
        return;
    if (!c->is_drained)
        stop_threads(c);
    LL_FOREACH_SAFE (c->flushes, w, next_wait) {
        LL_DELETE(c->flushes, w);
        w->fn(w->arg, ERR_UNAVAILABLE);
        free(w);
    }
    DL_FOREACH_SAFE (c->view, g, next) {
        DL_DELETE(c->view, g);
        generation_unref(g);
    }
    wal_close(c->wal);
    queue_release(&c->commit_queue);
    queue_release(&c->apply_queue);
    tenants_free(c);
    catalog_release(&c->own.catalog);
    batch_table_free(c->batches);
    recent_ids_free(c->recent);
    trial_close(c->trial);
    free(c->recalled);
    arena_release(&c->scratch);
    free(c->frames);
    fs_close(&c->lock_fd);
    (void)pthread_cond_destroy(&c->changed);
    mutex_release(&c->lock);
    free(c);
}
