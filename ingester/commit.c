#include "common/codec/otlp.h"
#include "common/obs/log.h"
#include "common/sys/fs.h"
#include "ingester/core_priv.h"

#include <assert.h>
#include <inttypes.h>

enum { HOUSEKEEPING_MS = 1000, DISK_FAILURES_MAX = 2 };
#define GIB (1ULL << 30)

static struct push *push_of(struct queue_item *item)
{
    return (struct push *)item;
}

/* Below this much free space the ingester takes nothing more: blocks must still be written, so that the log can be trimmed. */
static uint64_t reserve_bytes(uint64_t total)
{
    uint64_t small = total / 6 < GIB ? total / 6 : GIB;

    return total / 20 > small ? total / 20 : small;
}

static void check_space(struct core *c)
{
    uint64_t free_bytes, total;

    if (fs_free_bytes(c->wal_dir, &free_bytes, &total) != ERR_OK)
        return;
    uint64_t reserve = reserve_bytes(total);
    bool was = atomic_load(&c->is_readonly);
    bool is = was ? free_bytes < reserve + reserve / 10 : free_bytes < reserve;

    if (was != is)
        log_warn(is ? "read_only_disk_nearly_full" : "read_only_over", LOG_STR("path", c->wal_dir),
                 LOG_UINT("free_bytes", free_bytes), LOG_UINT("reserve_bytes", reserve));
    c->space_bytes = free_bytes > reserve ? free_bytes - reserve : 0;
    atomic_store(&c->is_readonly, is);
}

/* Between two looks at the disk the frames are counted: a fast sender must not run through the reserve. */
static bool has_space(struct core *c, size_t bytes)
{
    if (c->space_bytes < bytes)
        check_space(c);
    if (c->space_bytes < bytes || atomic_load(&c->is_readonly)) {
        atomic_store(&c->is_readonly, true);
        return false;
    }
    c->space_bytes -= bytes;
    return true;
}

static void disk_failed(struct core *c, enum err e, const char *what)
{
    metric_inc(c->metrics.wal_failures);
    c->disk_failures++;
    log_error("wal_failed", LOG_STR("step", what), LOG_ERR(e), LOG_STR("path", c->wal_dir),
              LOG_UINT("failures", c->disk_failures));
    if (e == ERR_FULL) {
        c->disk_failures = 0; /* it is full, not broken */
        atomic_store(&c->is_readonly, true);
    } else if (e == ERR_NOMEM) {
        c->disk_failures--; /* not the disk's fault */
    } else if (c->disk_failures >= DISK_FAILURES_MAX) {
        core_failed(c);
    }
}

static enum err sync_log(struct core *c)
{
    int64_t begun = core_mono_ns(c);
    enum err e = wal_sync(c->wal);

    metric_observe(c->metrics.wal_sync_seconds,
                   (double)(core_mono_ns(c) - begun) / (double)NS_PER_S);
    c->is_unsynced = false;
    if (e == ERR_OK)
        c->disk_failures = 0;
    else
        disk_failed(c, e, "sync");
    return e;
}

static void housekeeping(struct core *c)
{
    int64_t now = core_mono_ns(c);
    uint64_t trim = atomic_load(&c->trim_upto), last;

    if (now >= c->next_space_ns) {
        check_space(c);
        c->next_space_ns = now + HOUSEKEEPING_MS * NS_PER_MS;
    }
    if (c->is_unsynced && now >= c->next_sync_ns)
        (void)sync_log(c); /* counted and judged there; nobody waits for it */
    if (atomic_exchange(&c->is_rotate_wanted, false)) {
        enum err e = wal_rotate(c->wal, &last);
        if (e != ERR_OK)
            disk_failed(c, e, "rotate");
    }
    if (trim > c->trimmed_upto) {
        enum err e = wal_trim(c->wal, trim);
        if (e == ERR_OK)
            c->trimmed_upto = trim;
        else
            log_warn("wal_trim_failed", LOG_ERR(e)); /* it comes again with the next trim */
    }
    atomic_store(&c->wal_bytes, wal_bytes(c->wal));
}

static bool is_durable_mode(const struct core *c)
{
    return strcmp(c->config->wal_sync, "group") == 0;
}

/* Looks at a push before it is stored; true: it goes into the log. */
static bool admit(struct core *c, struct push *p)
{
    struct err_detail detail = {0};
    uint32_t spans;

    if (p->kind != PUSH_CLIENT)
        return true;
    p->err = otlp_check(p->m.payload, &otlp_limits_default, &spans, &detail);
    if (p->err != ERR_OK) {
        log_warn("push_malformed", LOG_SLICE("tenant", p->m.tenant), LOG_ERR(p->err),
                 LOG_STR("detail", detail.text));
        return false;
    }
    if (!has_space(c, p->item.bytes)) {
        p->err = ERR_FULL;
        return false;
    }
    p->is_duplicate = !batch_table_add(c->batches, p->m.batch_id, p->m.part, core_mono_ns(c));
    if (p->is_duplicate)
        metric_inc(c->metrics.duplicates);
    return !p->is_duplicate;
}

static void frame_of(const struct push *p, struct wal_frame *ret)
{
    *ret = (struct wal_frame){.kind = WAL_SPANS,
                              .flags = p->wal_flags,
                              .part = p->m.part,
                              .received_ns = p->m.received_ns,
                              .tenant = p->m.tenant,
                              .first_target = p->m.first_target,
                              .payload = p->m.payload};
    memcpy(ret->batch_id, p->m.batch_id, WAL_BATCH_ID_BYTES);
}

static void forward(struct core *c, struct push *first)
{
    while (first != NULL) {
        struct push *p = first;
        first = push_of(p->item.next);
        /* The queue has no bound of its own: what is in it was counted at the door. */
        enum err e = p->err != ERR_OK ? p->err : queue_push(&c->apply_queue, &p->item);
        if (e != ERR_OK) {
            p->err = e;
            core_finish(c, p);
        }
    }
}

/* Nothing of this group is acknowledged; repeats of its batches are welcome again. */
static void fail_group(struct core *c, struct push *first, enum err e)
{
    for (struct push *p = first; p != NULL; p = push_of(p->item.next)) {
        if (p->err != ERR_OK)
            continue;
        if (p->kind == PUSH_CLIENT && !p->is_duplicate)
            batch_table_remove(c->batches, p->m.batch_id, p->m.part);
        p->err = e;
    }
}

/* A group of at most WAL_GROUP_MAX pushes, linked. */
static void commit_group(struct core *c, struct push *first)
{
    uint32_t count = 0;
    uint64_t bytes = 0;
    enum err e = ERR_OK;

    for (struct push *p = first; p != NULL; p = push_of(p->item.next)) {
        if (p->kind == PUSH_WAKE || !admit(c, p))
            continue;
        frame_of(p, &c->frames[count++]);
        bytes += p->m.payload.len;
        p->lsn = count; /* its place in the group, until the log has given numbers */
    }
    if (count > 0) {
        e = atomic_load(&c->is_failed) ? ERR_IO : wal_append(c->wal, c->frames, count);
        if (e != ERR_OK)
            disk_failed(c, e, "append");
    }
    for (struct push *p = first; p != NULL && e == ERR_OK; p = push_of(p->item.next)) {
        if (p->lsn != 0)
            p->lsn = c->frames[p->lsn - 1].lsn;
    }
#ifdef VIVACE_WRONG_ACK_BEFORE_SYNC
    /* The wrong build of the tests: the answer does not wait for the disk. */
    if (e == ERR_OK) {
        forward(c, first);
        first = NULL;
        struct timespec window = {.tv_nsec = 20 * 1000 * 1000};
        (void)nanosleep(&window, NULL);
    }
#endif
    if (e == ERR_OK && count > 0 && is_durable_mode(c))
        e = sync_log(c);
    if (e != ERR_OK)
        fail_group(c, first, e);
    if (count > 0 && !is_durable_mode(c) && !c->is_unsynced &&
        strcmp(c->config->wal_sync, "interval") == 0) {
        c->is_unsynced = true;
        c->next_sync_ns = core_mono_ns(c) + c->config->wal_sync_interval_ns;
    }
    if (e == ERR_OK && count > 0) {
        metric_observe(c->metrics.wal_group_frames, count);
        metric_add(c->metrics.wal_appended, (double)bytes);
    }
    forward(c, first);
}

void commit_run(void *arg)
{
    struct core *c = arg;

    for (;;) {
        int64_t wait = HOUSEKEEPING_MS * NS_PER_MS;
        if (c->is_unsynced && c->next_sync_ns - core_mono_ns(c) < wait)
            wait = c->next_sync_ns > core_mono_ns(c) ? c->next_sync_ns - core_mono_ns(c) : 0;
        struct push *all = push_of(queue_pop_all(&c->commit_queue, wait));
        if (all == NULL && atomic_load(&c->is_commit_over)) {
            all = push_of(queue_pop_all(&c->commit_queue, 0)); /* what came in between */
            if (all == NULL)
                break;
        }
        while (all != NULL) {
            struct push *last = all, *rest;
            for (uint32_t n = 1; n < WAL_GROUP_MAX && last->item.next != NULL; n++)
                last = push_of(last->item.next);
            rest = push_of(last->item.next);
            last->item.next = NULL;
            commit_group(c, all);
            all = rest;
        }
        housekeeping(c);
    }
    if (c->is_unsynced)
        (void)sync_log(c); /* judged there; the process ends */
}
