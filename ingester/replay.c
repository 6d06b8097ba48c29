#include "common/codec/otlp.h"
#include "common/obs/log.h"
#include "ingester/recall.h"
#include "ingester/tally.h"
#include "ingester/trial.h"

#include <assert.h>
#include <stdlib.h>

/* Frames that are copied and on their way to the heads: so much memory, no more. */
enum { IN_FLIGHT_BYTES_MAX = 8 << 20, WAIT_MS = 100 };

struct replayed {
    struct push push; /* first */
    uint8_t bytes[];  /* tenant, first target, payload */
};

struct replay {
    struct core *c;
    uint64_t frames, skipped, expired, bad, set_aside;
};

static void replayed_finished(struct push *p)
{
    free(p->refused);
    free(p);
}

static bool is_in_block(struct core *c, struct slice tenant, uint64_t lsn)
{
    mutex_lock(&c->lock);
    struct tenant *t = generation_find_tenant(c, tenant);
    mutex_unlock(&c->lock);
    uint32_t lo = 0, hi = t == NULL || c->is_blind ? 0 : t->done_count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->done[mid].hi < lsn)
            lo = mid + 1;
        else
            hi = mid;
    }
    return t != NULL && !c->is_blind && lo < t->done_count && t->done[lo].lo <= lsn;
}

/* Is a part of the log on its way into blocks, and memory too short for much more?  Then the replay waits here rather than at the head of the queue,
 * before the pushes of now. */
static bool is_ahead_of_blocks(const struct core *c)
{
    return c->view != NULL && c->view->is_sealed && c->view->lane == LANE_REPLAY &&
           budget_used(&c->heads) > c->replay_heads_bytes;
}

bool replay_wait(struct core *c, size_t bytes)
{
    mutex_lock(&c->lock);
    while (!atomic_load(&c->is_stopping) &&
           ((atomic_load(&c->replay_bytes) > 0 &&
             atomic_load(&c->replay_bytes) + bytes > IN_FLIGHT_BYTES_MAX) ||
            is_ahead_of_blocks(c)))
        (void)cond_wait(&c->changed, &c->lock, WAIT_MS * NS_PER_MS);
    mutex_unlock(&c->lock);
    return !atomic_load(&c->is_stopping);
}

/* How many of the frame's first spans a block has: it did not fit into memory as a whole. */
static uint32_t stored_of(struct core *c, struct slice tenant, uint64_t lsn)
{
    uint32_t spans = 0;

    mutex_lock(&c->lock);
    const struct tenant *t = generation_find_tenant(c, tenant);
    mutex_unlock(&c->lock);
    for (uint32_t i = 0; t != NULL && !c->is_blind && i < t->begun_count; i++)
        spans = t->begun[i].lsn == lsn ? t->begun[i].spans : spans;
    return spans;
}

/* Keeps a frame that is given up, before the log is trimmed over it. */
static enum err set_aside(struct replay *r, const struct wal_frame *f, const char *why)
{
    struct core *c = r->c;

    log_error("frame_quarantined", LOG_SLICE("tenant", f->tenant), LOG_UINT("lsn", f->lsn),
              LOG_UINT("bytes", f->payload.len), LOG_STR("why", why));
    for (;;) {
        enum err e = wal_save_frame(c->wal_dir, f);
        if (e == ERR_OK)
            break;
        log_error("quarantine_failed", LOG_UINT("lsn", f->lsn), LOG_ERR(e));
        struct timespec pause = {.tv_sec = 1};
        (void)nanosleep(&pause, NULL);
        if (atomic_load(&c->is_stopping))
            return ERR_CANCELED;
    }
    r->set_aside++;
    return ERR_OK;
}

struct rehearsal {
    struct core *c;
    const struct wal_frame *f;
};

/* In a copy of the process: what the apply thread would do, with a head of its own. */
static void rehearse(void *arg)
{
    const struct rehearsal *x = arg;
    struct head_options o = {.max_attribute_bytes = core_attribute_bytes(x->c, x->f->tenant)};
    struct head_append_result r;
    struct tallies tallies;
    struct budget budget;
    struct arena a;
    struct head *h;
    uint32_t spans;

    arena_init(&a, NULL);
    budget_init(&budget, x->c->heads.limit_bytes, NULL);
    if (otlp_check(x->f->payload, &otlp_limits_default, &spans, NULL) != ERR_OK ||
        tally_push(&a, x->f->payload, &tallies) != ERR_OK || head_new(&budget, &o, &h) != ERR_OK)
        return;
    if (head_append_checked(h, x->f->payload, false, x->f->received_ns, &r) != ERR_OK)
        return; /* no memory: the real one takes it in pieces */
}

/* ERR_OK: the frame may be replayed here; ERR_CORRUPT: the process would die of it. */
static enum err try_frame(struct core *c, const struct wal_frame *f)
{
    struct rehearsal x = {c, f};

    if (!trial_is_suspect(c->trial, f->lsn))
        return ERR_OK;
    log_warn("frame_tried_again", LOG_SLICE("tenant", f->tenant), LOG_UINT("lsn", f->lsn));
    return trial_copy(c->trial, rehearse, &x, &c->is_stopping);
}

static struct slice copy_in(uint8_t **at, struct slice s)
{
    uint8_t *to = *at;

    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    *at += s.len;
    return (struct slice){to, s.len};
}

/* Retention removes a block when its last span is too old, and with it what says that its frames are in a block.  So a frame whose spans are all too
 * old is left out: had it been in a block, that would be gone.  Of a frame with a younger span the block is there still, or never was. */
static bool is_expired(const struct replay *r, const struct wal_frame *f)
{
    uint64_t before = retention_before_ns(r->c, f->tenant);
    struct otlp_iter it;
    struct otlp_span span;
    struct slice body;

    if (before == 0)
        return false;
    otlp_iter_init(&it, f->payload);
    while (otlp_next_span(&it, &body)) {
        otlp_span_parse(body, &span);
        if (span.end_ns >= before || span.start_ns >= before)
            return false;
    }
    return true;
}

static enum err replay_frame(void *arg, const struct wal_frame *f)
{
    struct replay *r = arg;
    struct core *c = r->c;
    size_t bytes = f->tenant.len + f->first_target.len + f->payload.len;
    uint32_t spans;

    bool is_repeatable = (f->flags & WAL_FLAG_CARRIED) == 0;
    if (f->kind != WAL_SPANS || f->tenant.len == 0) {
        r->bad++;
        return set_aside(r, f, "not of this version");
    }
    if (is_repeatable && clock_wall_ns(c->o.clock) - f->received_ns < BATCH_TABLE_KEEP_NS)
        (void)batch_table_add(c->batches, f->batch_id, f->part, core_mono_ns(c));
    if (is_in_block(c, f->tenant, f->lsn) || trial_is_aside(c->trial, f->lsn)) {
        r->skipped++;
        return ERR_OK;
    }
    enum err e = try_frame(c, f);
    if (e == ERR_CORRUPT)
        return set_aside(r, f, "the process dies of it");
    if (e != ERR_OK)
        return e;
    if (otlp_check(f->payload, &otlp_limits_default, &spans, NULL) != ERR_OK) {
        r->bad++;
        return set_aside(r, f, "no sound request");
    }
    if (is_expired(r, f)) {
        r->expired++;
        return ERR_OK;
    }
    if (!replay_wait(c, bytes))
        return ERR_CANCELED;
    struct replayed *p = malloc(sizeof *p + bytes);
    if (p == NULL)
        return ERR_NOMEM;
    uint8_t *at = p->bytes;
    p->push = (struct push){
        .kind = PUSH_REPLAYED, .wal_flags = f->flags, .lsn = f->lsn, .finished = replayed_finished};
    p->push.spans_stored = stored_of(c, f->tenant, f->lsn);
    p->push.m.part = f->part;
    p->push.m.received_ns = f->received_ns;
    memcpy(p->push.m.batch_id, f->batch_id, sizeof f->batch_id);
    p->push.m.tenant = copy_in(&at, f->tenant);
    p->push.m.first_target = copy_in(&at, f->first_target);
    p->push.m.payload = copy_in(&at, f->payload);
    r->frames++;
    core_push(c, &p->push);
    return ERR_OK;
}

static void end_finished(struct push *p)
{
    free(p);
}

void replay_run(void *arg)
{
    struct core *c = arg;
    struct replay r = {.c = c};
    struct wal_replay_result result;
    int64_t begun = core_mono_ns(c);
    struct push *end = calloc(1, sizeof *end);

    if (!c->is_blind)
        recall_run(c);
    enum err e = end == NULL
                     ? ERR_NOMEM
                     : wal_replay_range(c->wal_dir, 0, c->replay_last, replay_frame, &r, &result);
    while (e == ERR_NOMEM && end != NULL && !atomic_load(&c->is_stopping)) {
        /* Frames that are here already are left out as copies. */
        log_warn("replay_again", LOG_ERR(e));
        struct timespec pause = {.tv_sec = 1};
        (void)nanosleep(&pause, NULL);
        e = wal_replay_range(c->wal_dir, 0, c->replay_last, replay_frame, &r, &result);
    }
    if (e == ERR_CANCELED || end == NULL) {
        free(end);
        return;
    }
    metric_add(c->metrics.wal_replayed, (double)r.frames);
    metric_add(c->metrics.wal_bad, (double)(result.bad_frames + r.bad));
    metric_add(c->metrics.wal_quarantined, (double)(result.quarantined_files + r.set_aside));
    if (e != ERR_OK || result.bad_frames + result.quarantined_files + r.bad > 0)
        log_error("wal_damaged", LOG_ERR(e), LOG_UINT("bad_frames", result.bad_frames + r.bad),
                  LOG_UINT("quarantined_files", result.quarantined_files));
    log_info("wal_replayed", LOG_UINT("frames", r.frames), LOG_UINT("in_blocks_already", r.skipped),
             LOG_UINT("past_retention", r.expired), LOG_UINT("bytes", result.bytes),
             LOG_NS("took", core_mono_ns(c) - begun));
    end->kind = PUSH_REPLAY_END;
    end->finished = end_finished;
    core_push(c, end);
}
