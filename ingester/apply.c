#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "common/obs/log.h"
#include "ingester/recall.h"
#include "ingester/tally.h"
#include "ingester/trial.h"

#include <assert.h>
#include <stdlib.h>

/* A payload over the first size goes into the head in pieces of about the second, so that each fits beside what is there. */
enum {
    WHOLE_BYTES_MAX = 4 << 20,
    PIECE_BYTES = 1 << 20,
    TICK_MS = 200,
    MEMORY_WAIT_MS = 100,
    HEAD_BYTES_PER_OTLP_BYTE = 3, /* generous: measured below 1 */
    HEAD_SLACK_BYTES = 2 << 20    /* chunks that columns begin */
};

static bool is_elsewhere(struct core *c, const struct tenant *t, enum lane lane, struct trace_id id)
{
    for (enum lane other = 0; other < LANE_COUNT; other++) {
        if (other != lane && t->now[other] != NULL && head_trace_bytes(t->now[other]->head, id) > 0)
            return true;
    }
    return recent_ids_has(c->recent, slice_str(t->name), id);
}

/* Traces of which another part is, or was, in another head are fragments.  Carried spans come to be joined with the rest, not beside it. */
static void flag_fragments(struct core *c, const struct tenant *t, enum lane lane,
                           struct head *head, const struct tallies *tallies)
{
    for (size_t i = 0; i <= tallies->mask; i++) {
        const struct tally *one = &tallies->slots[i];
        if (!one->is_used || one->reason != 0 || !is_elsewhere(c, t, lane, one->id))
            continue;
        if (head_flag_trace(head, one->id) != ERR_OK)
            log_warn("fragment_not_flagged",
                     LOG_STR("tenant", t->name)); /* read apart until compaction joins them */
    }
}

/* Calls off what older generations still carry: it would need this very thread.  Their traces are cut; what has come over of them already is flagged. */
static void hurry_carries(struct core *c)
{
    struct generation *g;

    mutex_lock(&c->lock);
    DL_FOREACH (c->view, g) {
        if (!g->is_sealed || g->is_carried)
            continue;
        atomic_store(&g->is_hurried, true);
        for (struct part *p = g->parts; p != NULL; p = p->next) {
            const struct part *now = p->tenant->now[LANE_LIVE];
            for (uint32_t i = 0; i < p->carried_count; i++) {
                recent_ids_add(c->recent, slice_str(p->tenant->name), p->carried[i]);
                if (now != NULL && head_trace_bytes(now->head, p->carried[i]) > 0 &&
                    head_flag_trace(now->head, p->carried[i]) != ERR_OK)
                    log_warn("fragment_not_flagged", LOG_STR("tenant", p->tenant->name));
            }
        }
    }
    mutex_unlock(&c->lock);
}

static bool has_sealed(struct core *c)
{
    struct generation *g;
    bool has = false;

    mutex_lock(&c->lock);
    DL_FOREACH (c->view, g)
        has |= g->is_sealed;
    mutex_unlock(&c->lock);
    return has;
}

/* Under memory pressure the log holds what is durable already; this waits until a block has taken something out of memory.  False: the process ends. */
static bool wait_for_memory(struct core *c)
{
    metric_inc(c->metrics.memory_waits);
    hurry_carries(c);
    for (enum lane lane = 0; lane < LANE_COUNT; lane++) {
        const struct generation *g = c->current[lane];
        bool is_whole =
            g != NULL && c->applied[lane] >= g->lo; /* not only a piece of the frame at hand */
        bool is_worth_it = is_whole && budget_used(&g->budget) > c->seal_bytes / 2;

        /* What is sealed already is waited for; small blocks, and pieces, only when there is nothing else to wait for. */
        if (g != NULL && (is_worth_it || !has_sealed(c)))
            generation_seal(c, lane, true);
    }
    mutex_lock(&c->lock);
    c->is_starving = true;
    (void)pthread_cond_broadcast(&c->changed);
    (void)cond_wait(&c->changed, &c->lock, MEMORY_WAIT_MS * NS_PER_MS);
    c->is_starving = false;
    mutex_unlock(&c->lock);
    return !atomic_load(&c->is_stopping);
}

static bool is_memory(enum err e)
{
    return e == ERR_LIMIT || e == ERR_NOMEM;
}

/* The frame at hand goes on in another head: both parts of its traces are fragments, and read as one. */
static void split_frame(struct core *c, const struct tenant *t, struct head *head,
                        const struct tallies *tallies)
{
    for (size_t i = 0; i <= tallies->mask; i++) {
        const struct tally *one = &tallies->slots[i];
        if (!one->is_used || one->reason != 0 || head_trace_bytes(head, one->id) == 0)
            continue;
        recent_ids_add(c->recent, slice_str(t->name), one->id);
        if (head_flag_trace(head, one->id) != ERR_OK)
            log_warn(
                "fragment_not_flagged",
                LOG_STR("tenant",
                        t->name)); /* the next part is, which is enough for queries that see both */
    }
}

/* An append that runs out of memory half-way cuts traces in two: so room is made before it begins.  False: the process ends first. */
static bool make_room(struct core *c, enum lane lane, size_t otlp_bytes)
{
    for (;;) {
        const struct generation *g = c->current[lane];
        /* Columns grow in chunks that double: one span more may double a head. */
        size_t want = otlp_bytes * HEAD_BYTES_PER_OTLP_BYTE + HEAD_SLACK_BYTES +
                      (g != NULL ? budget_used(&g->budget) : 0);
        if (budget_used(&c->heads) == 0 || budget_used(&c->heads) + want <= c->heads.limit_bytes)
            break;
        if (!has_sealed(c) && c->current[LANE_LIVE] == NULL && c->current[LANE_REPLAY] == NULL)
            break; /* what is left is read by queries, and goes when they end */
        if (!wait_for_memory(c))
            return false;
    }
    return true;
}

static bool is_taken(const struct tallies *tallies, struct slice span)
{
    struct trace_id id;

    return trace_id_from_wire(otlp_span_trace_id(span), &id) != ERR_OK ||
           tally_of(tallies, id)->reason == 0;
}

/* Of the push's spans from number `from` on so many that are not refused were taken: the number of the next. */
static uint32_t skip_taken(const struct push *p, const struct tallies *tallies, uint32_t from,
                           uint32_t count)
{
    struct otlp_iter it;
    struct slice span;
    uint32_t number = 0;

    otlp_iter_init(&it, p->m.payload);
    for (; otlp_next_span(&it, &span) && (number < from || count > 0); number++)
        count -= number >= from && is_taken(tallies, span);
    return number;
}

/* The spans from number `from` on that are not refused, until they are PIECE_BYTES; *ret_next: the number of the first after them. */
static enum err piece_write(const struct push *p, const struct tallies *tallies, uint32_t from,
                            struct buf *out, uint32_t *ret_next)
{
    struct otlp_iter it;
    struct otlp_group group;
    struct slice span;
    uint32_t resource_seq = 0, scope_seq = 0, number = 0;
    bool is_first = true;

    buf_reset(out);
    otlp_group_init(&group, out);
    otlp_iter_init(&it, p->m.payload);
    for (; out->len < PIECE_BYTES && otlp_next_span(&it, &span); number++) {
        if (number < from || !is_taken(tallies, span))
            continue;
        if (is_first || it.resource_seq != resource_seq)
            otlp_group_resource(&group, it.resource, it.resource_schema_url);
        if (is_first || it.resource_seq != resource_seq || it.scope_seq != scope_seq)
            otlp_group_scope(&group, it.scope, it.scope_schema_url);
        is_first = false;
        resource_seq = it.resource_seq;
        scope_seq = it.scope_seq;
        otlp_group_span(&group, span);
    }
    otlp_group_end(&group);
    *ret_next = number;
    return buf_err(out);
}

/* Appends a piece; *ret_taken: how many of its spans are in the head, all of them only if the result is ERR_OK. */
static enum err append_piece(struct core *c, struct push *p, enum lane lane, struct tenant *t,
                             const struct tallies *tallies, struct slice otlp, uint32_t *ret_taken)
{
    /* Perhaps it is in a block of ours already, and whoever could tell was away. */
    bool is_unsure = p->kind == PUSH_REPLAYED && c->is_blind;
    bool is_late = p->kind == PUSH_REPLAYED && core_has_others(c) &&
                   p->m.received_ns < core_late_before_ns(c, t);
    bool is_doubt = (p->wal_flags & WAL_FLAG_DOUBT) != 0 || is_unsure || is_late;
    int64_t now = p->kind == PUSH_REPLAYED && p->m.received_ns > 0 ? p->m.received_ns
                                                                   : clock_wall_ns(c->o.clock);
    struct part *part = NULL;
    struct head_append_result r = {0};

    *ret_taken = 0;
    if (!make_room(c, lane, otlp.len))
        return ERR_UNAVAILABLE;
    enum err e = generation_part(c, lane, t, &part);
    if (e == ERR_OK)
        e = head_append_checked(part->head, otlp, is_doubt, now, &r);
    if (p->kind == PUSH_CLIENT) {
        metric_add(t->metrics.traces_created, r.traces_created);
        metric_add(c->metrics.copies, r.copies);
    }
    metric_add(c->metrics.truncated, r.truncated);
    *ret_taken = r.spans + r.copies + r.refused;
    if (e == ERR_OK)
        flag_fragments(c, t, lane, part->head, tallies);
    else if (is_memory(e) && *ret_taken > 0)
        split_frame(c, t, part->head, tallies);
    return e;
}

/* Appends what is not in heads yet, however long it takes; begun[lane] tells those who cut heads how far it came.
 * Errors: ERR_UNAVAILABLE the process ends first; ERR_FORMAT; ERR_NOMEM for the pieces. */
static enum err append_spans(struct core *c, struct push *p, enum lane lane, struct tenant *t,
                             const struct tallies *tallies)
{
    struct begun *begun = &c->begun[lane];
    struct buf piece;
    enum err e = ERR_OK;

    buf_init(&piece, WAL_FRAME_BYTES_MAX);
    for (bool is_over = false; !is_over;) {
        uint32_t next = UINT32_MAX, taken;
        struct slice otlp = p->m.payload;
        if (begun->spans > 0 || tallies->refused > 0 || otlp.len > WHOLE_BYTES_MAX) {
            e = piece_write(p, tallies, begun->spans, &piece, &next);
            otlp = buf_slice(&piece);
        }
        is_over = otlp.len == 0 || e != ERR_OK;
        if (is_over)
            break;
        e = append_piece(c, p, lane, t, tallies, otlp, &taken);
        if (is_memory(e)) {
            begun->spans = skip_taken(p, tallies, begun->spans, taken);
            e = wait_for_memory(c) ? ERR_OK : ERR_UNAVAILABLE;
        } else if (e == ERR_OK) {
            begun->spans = next;
            is_over = next == UINT32_MAX;
        }
        is_over |= e != ERR_OK;
    }
    buf_release(&piece);
    return e;
}

static uint64_t wider(uint64_t a, uint64_t b)
{
    return a == 0 || b == 0 ? 0 : a > b ? a : b; /* 0: no limit */
}

/* Frames of the log were judged when they came, perhaps before the tenant had an entry with lower limits: what was acknowledged then is not lost for
 * it now, though something that was refused may come back. */
static void judge(struct core *c, const struct push *p, struct head *head, struct tallies *t)
{
    struct overrides_hold h = overrides_get(c->o.overrides, p->m.tenant);
    const struct limits *all = &c->config->limits;
    struct limits l = {.max_bytes_per_trace = h.limits->max_bytes_per_trace,
                       .max_traces_per_user = h.limits->max_traces_per_user};

    overrides_put(&h);
    if (p->kind == PUSH_REPLAYED) {
        l.max_bytes_per_trace = wider(l.max_bytes_per_trace, all->max_bytes_per_trace);
        l.max_traces_per_user =
            (int64_t)wider((uint64_t)l.max_traces_per_user, (uint64_t)all->max_traces_per_user);
    }
    tally_judge(&l, head, t);
}

static enum err apply_spans(struct core *c, struct push *p, enum lane lane)
{
    struct tallies tallies;
    struct part *part = NULL;
    struct tenant *t = generation_tenant(c, p->m.tenant);

    if (t == NULL)
        return ERR_NOMEM;
    enum err e = tally_push(&c->scratch, p->m.payload, &tallies);
    if (e == ERR_OK)
        e = generation_part(c, lane, t, &part);
    if (e != ERR_OK)
        return e;
    if (p->kind != PUSH_CARRIED)
        judge(c, p, part->head, &tallies);
    if (tallies.refused > 0 && p->refused == NULL)
        e = tally_refuse(c, p, &tallies);
    c->begun[lane].tenant = t;
    if (e == ERR_OK)
        e = append_spans(c, p, lane, t, &tallies);
    if (e == ERR_OK && p->kind == PUSH_CLIENT)
        metric_add(t->metrics.bytes_received, (double)p->m.payload.len);
    return e;
}

/* A frame of the log that no head will take: told, and left behind. */
static void drop_frame(struct core *c, struct push *p, enum err e)
{
    struct tenant *t = generation_find_tenant(c, p->m.tenant);

    log_error("frame_not_applied", LOG_SLICE("tenant", p->m.tenant), LOG_UINT("lsn", p->lsn),
              LOG_ERR(e));
    if (t != NULL && p->kind == PUSH_REPLAYED)
        metric_inc(t->metrics.replay_errors);
    if (p->kind == PUSH_CLIENT) /* its sender is told so: if it comes again it is not a repeat */
        batch_table_remove(c->batches, p->m.batch_id, p->m.part);
}

static void apply_push(struct core *c, struct push *p)
{
    enum lane lane = p->kind == PUSH_REPLAYED ? LANE_REPLAY : LANE_LIVE;

    if (c->is_apply_over) {
        p->err = ERR_UNAVAILABLE;
    } else if (!p->is_duplicate) {
        c->begun[lane] = (struct begun){.lsn = p->lsn, .spans = p->spans_stored};
        if (p->kind == PUSH_REPLAYED)
            trial_begin(c->trial, p->lsn);
        enum err e = apply_spans(c, p, lane);
        arena_reset(&c->scratch);
        while (is_memory(e)) { /* it is durable: there is no way back */
            e = wait_for_memory(c) ? apply_spans(c, p, lane) : ERR_UNAVAILABLE;
            arena_reset(&c->scratch);
        }
        if (e == ERR_UNAVAILABLE)
            c->is_apply_over = true;
        else if (e != ERR_OK)
            drop_frame(c, p, e);
        p->err = e;
        if (!c->is_apply_over && p->lsn > c->applied[lane])
            c->applied[lane] = p->lsn;
        if (!c->is_apply_over)
            c->begun[lane] = (struct begun){0};
    }
    core_finish(c, p);
}

/* The replayed spans stay where they are and go on as the live lane's, if nothing came meanwhile; else they become a generation of their own, before it. */
static void end_replay(struct core *c)
{
    struct generation *g = c->current[LANE_REPLAY];
    struct tenant *t, *next;
    bool is_first = c->applied[LANE_LIVE] < c->lane_lo[LANE_LIVE] && c->current[LANE_LIVE] == NULL;

    c->applied[LANE_REPLAY] = c->replay_last;
    trial_end(c->trial);
    if (g != NULL && is_first) {
        mutex_lock(&c->lock);
        g->lane = LANE_LIVE;
        mutex_unlock(&c->lock);
        c->current[LANE_LIVE] = g;
        c->current[LANE_REPLAY] = NULL;
        c->applied[LANE_LIVE] = c->replay_last;
        c->lane_lo[LANE_LIVE] = g->lo;
        HASH_ITER (hh, c->tenants, t, next) {
            t->now[LANE_LIVE] = t->now[LANE_REPLAY];
            t->now[LANE_REPLAY] = NULL;
        }
    } else {
        generation_seal(c, LANE_REPLAY, false);
    }
    mutex_lock(&c->lock);
    atomic_store(&c->is_replaying, false);
    (void)pthread_cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

static bool is_too_big(struct core *c, const struct generation *g)
{
    struct head_stats s;

    for (const struct part *p = g->parts; p != NULL; p = p->next) {
        head_stats(p->head, &s);
        if (s.wire_bytes >= c->config->max_block_bytes)
            return true;
    }
    return false;
}

static void start_flushes(struct core *c)
{
    bool is_wanted = false;
    struct flush_wait *w;

    mutex_lock(&c->lock);
    LL_FOREACH (c->flushes, w)
        is_wanted |= w->upto == UINT64_MAX;
    mutex_unlock(&c->lock);
    if (!is_wanted || atomic_load(&c->is_replaying))
        return;
    generation_seal(c, LANE_LIVE, true);
    mutex_lock(&c->lock);
    LL_FOREACH (c->flushes, w)
        w->upto = w->upto == UINT64_MAX ? c->applied[LANE_LIVE] : w->upto;
    mutex_unlock(&c->lock);
    generation_flushes(c, ERR_OK, 0);
}

static void check_rules(struct core *c)
{
    int64_t now = core_mono_ns(c);
    bool is_time = now >= c->next_check_ns;

    for (enum lane lane = 0; lane < LANE_COUNT; lane++) {
        struct generation *g = c->current[lane];
        if (g != NULL && c->applied[lane] >= g->lo && budget_used(&g->budget) > c->seal_bytes)
            generation_seal(c, lane, true);
    }
    if (atomic_load(&c->is_readonly)) { /* only blocks make room on the log's disk */
        hurry_carries(c);
        if (c->current[LANE_LIVE] != NULL && c->applied[LANE_LIVE] >= c->current[LANE_LIVE]->lo)
            generation_seal(c, LANE_LIVE, true);
    }
    start_flushes(c);
    if (!is_time || c->current[LANE_LIVE] == NULL)
        return;
    c->next_check_ns = now + c->config->flush_check_period_ns;
    struct generation *g = c->current[LANE_LIVE];
    if (c->applied[LANE_LIVE] >= g->lo &&
        (now - g->begun_ns >= c->config->max_block_duration_ns || is_too_big(c, g)))
        generation_seal(c, LANE_LIVE, false);
}

void apply_run(void *arg)
{
    struct core *c = arg;

    for (;;) {
        struct queue_item *all = queue_pop_all(&c->apply_queue, TICK_MS * NS_PER_MS);
        if (all == NULL && atomic_load(&c->is_queue_over)) {
            all = queue_pop_all(&c->apply_queue, 0); /* what came in between */
            if (all == NULL)
                break;
        }
        while (all != NULL) {
            struct push *p = (struct push *)all;
            all = all->next;
            if (p->kind == PUSH_REPLAY_END && !c->is_apply_over)
                end_replay(c);
            if (p->kind == PUSH_RECALLED)
                recall_apply(c, p);
            if (p->kind == PUSH_OWN_BLOCKS)
                own_blocks_apply(c);
            if (p->kind == PUSH_REPLAY_END || p->kind == PUSH_WAKE || p->kind == PUSH_RECALLED ||
                p->kind == PUSH_OWN_BLOCKS)
                core_finish(c, p);
            else
                apply_push(c, p);
            if (!c->is_apply_over)
                check_rules(c);
        }
        if (!c->is_apply_over)
            check_rules(c);
    }
}
