#include "common/obs/log.h"
#include "common/sys/fs.h"
#include "common/sys/proc.h"
#include "ingester/core_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CARRY_BYTES = 512 << 10,
    CARRY_IN_FLIGHT_MAX = 8,
    META_BYTES_MAX = 64 << 10,
    WAIT_MS = 1000
};
#define RETRY_MIN_NS (1 * NS_PER_S)
#define RETRY_MAX_NS (60 * NS_PER_S)

/* The spans of live traces on their way from a sealed head through the log into the current one.  Shared with the pushes under way. */
struct carry {
    struct core *c;
    unsigned refs, in_flight; /* core.lock */
    enum err err;             /* core.lock: the first failure */
};

struct carry_push {
    struct push push; /* first */
    struct carry *carry;
    struct buf payload;
};

static void carry_unref(struct carry *carry)
{
    struct core *c = carry->c;

    mutex_lock(&c->lock);
    bool is_last = --carry->refs == 0;
    mutex_unlock(&c->lock);
    if (is_last)
        free(carry);
}

static void carry_finished(struct push *p)
{
    struct carry_push *cp = (struct carry_push *)p;
    struct carry *carry = cp->carry;
    struct core *c = carry->c;

    mutex_lock(&c->lock);
    assert(carry->in_flight > 0);
    carry->in_flight--;
    if (carry->err == ERR_OK)
        carry->err = p->err;
    (void)pthread_cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
    carry_unref(carry);
    buf_release(&cp->payload);
    free(p->refused);
    free(cp);
}

/* Waits until at most `left` pushes are under way.  Errors: what one of them met; ERR_CANCELED hurried or stopping. */
static enum err carry_wait(struct carry *carry, const struct generation *g, unsigned left)
{
    struct core *c = carry->c;
    enum err e;

    mutex_lock(&c->lock);
    while (carry->in_flight > left && carry->err == ERR_OK && !atomic_load(&g->is_hurried) &&
           !c->is_build_stopping)
        (void)cond_wait(&c->changed, &c->lock, WAIT_MS * NS_PER_MS);
    e = carry->err;
    if (e == ERR_OK && carry->in_flight > left)
        e = ERR_CANCELED;
    mutex_unlock(&c->lock);
    return e;
}

/* Takes *payload's bytes. */
static enum err carry_send(struct carry *carry, const struct part *p, bool is_marked,
                           struct buf *payload)
{
    struct carry_push *cp = calloc(1, sizeof *cp);
    struct core *c = carry->c;

    if (cp == NULL)
        return ERR_NOMEM;
    cp->carry = carry;
    cp->payload = *payload;
    buf_init(payload, WAL_FRAME_BYTES_MAX / 2);
    cp->push.kind = PUSH_CARRIED;
    cp->push.wal_flags = (uint8_t)(WAL_FLAG_CARRIED | (is_marked ? WAL_FLAG_DOUBT : 0));
    cp->push.finished = carry_finished;
    cp->push.m = (struct push_message){.tenant = slice_str(p->tenant->name),
                                       .payload = buf_slice(&cp->payload),
                                       .received_ns = clock_wall_ns(c->o.clock)};
    mutex_lock(&c->lock);
    carry->refs++;
    carry->in_flight++;
    mutex_unlock(&c->lock);
    core_push(c, &cp->push);
    return ERR_OK;
}

/* Those that have other parts elsewhere for all that is known, or those that have none: a frame carries the mark of all its traces. */
static enum err carry_traces(struct carry *carry, const struct generation *g, const struct part *p,
                             struct segment *s, bool is_marked)
{
    struct arena a;
    struct buf payload;
    enum err e = ERR_OK;

    arena_init(&a, &carry->c->building);
    buf_init(&payload, WAL_FRAME_BYTES_MAX / 2);
    for (uint32_t i = 0; i < p->carried_count && e == ERR_OK; i++) {
        const uint32_t *rows;
        uint32_t trace, count;
        if (head_trace_is_marked(p->head, p->carried[i]) != is_marked)
            continue;
        e = segment_find_trace(s, p->carried[i], &trace);
        if (e == ERR_OK)
            e = segment_trace_rows(s, trace, &a, &rows, &count);
        if (e == ERR_OK)
            e = segment_write_otlp(s, rows, count, &payload);
        if (e == ERR_OK)
            e = buf_err(&payload);
        arena_reset(&a);
        if (e == ERR_OK && payload.len >= CARRY_BYTES)
            e = carry_send(carry, p, is_marked, &payload);
        if (e == ERR_OK)
            e = carry_wait(carry, g, CARRY_IN_FLIGHT_MAX);
    }
    if (e == ERR_OK && payload.len > 0)
        e = carry_send(carry, p, is_marked, &payload);
    buf_release(&payload);
    arena_release(&a);
    return e;
}

static enum err carry_part(struct carry *carry, const struct generation *g, const struct part *p)
{
    struct segment *s = NULL;
    enum err e = head_segment(p->head, &carry->c->building, &s);

    for (int is_marked = 0; is_marked < 2 && e == ERR_OK; is_marked++)
        e = carry_traces(carry, g, p, s, is_marked != 0);
    segment_close(s);
    return e;
}

static void carry_done(struct core *c, struct generation *g, bool is_called_off)
{
    mutex_lock(&c->lock);
    for (struct part *p = g->parts; p != NULL && is_called_off; p = p->next)
        p->carried_count = 0;
    g->is_carried = true;
    mutex_unlock(&c->lock);
}

static enum err carry_generation(struct core *c, struct generation *g)
{
    struct carry *carry = calloc(1, sizeof *carry);
    enum err e = ERR_OK;

    if (carry == NULL)
        return ERR_NOMEM;
    *carry = (struct carry){.c = c, .refs = 1};
    for (struct part *p = g->parts; p != NULL && e == ERR_OK && !atomic_load(&g->is_hurried);
         p = p->next) {
        if (p->carried_count > 0)
            e = carry_part(carry, g, p);
    }
    if (e == ERR_OK)
        e = carry_wait(carry, g, 0);
    carry_unref(carry);
    if (atomic_load(&g->is_hurried)) {
        carry_done(c, g, true);
        e = ERR_OK;
    } else if (e == ERR_OK) {
        carry_done(c, g, false);
    }
    return e;
}

/* The same frames of the same writer make the same block: one that was published just before a crash is not made a second time. */
static void block_id(const struct core *c, const struct generation *g, const struct part *p,
                     char ret[37])
{
    uint8_t b[16];
    char text[512];

    int n = snprintf(text, sizeof text, "%s|%s|%llu|%llu", c->o.instance_id, p->tenant->name,
                     (unsigned long long)g->lo, (unsigned long long)g->hi);
    if (g->begun.tenant == p->tenant)
        n += snprintf(text + n, sizeof text - (size_t)n, "|%llu|%u",
                      (unsigned long long)g->begun.lsn, g->begun.spans);
    assert(n > 0 && (size_t)n < sizeof text);
    uint64_t a = hash_with((struct slice){(const uint8_t *)text, (size_t)n}, 0x9e3779b97f4a7c15ull);
    uint64_t d = hash_with((struct slice){(const uint8_t *)text, (size_t)n}, 0xc2b2ae3d27d4eb4full);
    memcpy(b, &a, 8);
    memcpy(b + 8, &d, 8);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x80); /* RFC 9562: version 8, of our own making */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
}

struct taker {
    const struct trace_id *ids; /* of the segment's traces */
    const struct part *part;
};

static int id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, TRACE_ID_BYTES);
}

static bool takes(void *arg, uint32_t segment_no, uint32_t trace)
{
    const struct taker *t = arg;

    assert(segment_no == 0);
    return bsearch(&t->ids[trace], t->part->carried, t->part->carried_count,
                   sizeof(struct trace_id), id_cmp) == NULL;
}

static enum err write_file(struct core *c, const struct part *p, const char *path,
                           struct block_meta *meta)
{
    struct segment *s = NULL;
    struct seg_traces traces;
    enum err e = head_segment(p->head, &c->building, &s);

    if (e != ERR_OK)
        return e;
    e = segment_traces(s, &traces);
    struct taker taker = {.ids = e == ERR_OK ? traces.id : NULL, .part = p};
    if (unlink(path) == 0)
        log_debug("stale_block_file_removed", LOG_STR("path", path));
    if (e == ERR_OK)
        e = block_write(path, &s, 1, p->carried_count > 0 ? takes : NULL, &taker, &c->building,
                        meta);
    segment_close(s);
    return e;
}

static enum err publish_file(struct core *c, const struct block_meta *meta, const char *path)
{
    struct buf json;

    buf_init(&json, META_BYTES_MAX);
    enum err e = block_meta_to_json(meta, &json);
    if (e == ERR_OK)
        e = buf_err(&json);
    if (e == ERR_OK)
        e = c->o.backend->ops->publish(c->o.backend, meta->tenant, meta->id, path,
                                       buf_slice(&json));
    buf_release(&json);
    return e;
}

/* A start without the store replays what may be in blocks: one of the same frames is not written again, for its bytes are others (more traces are flagged), and
 * readers may have it open. */
static enum err look_for(struct core *c, const struct block_meta *meta)
{
    struct buf json;

    buf_init(&json, META_BYTES_MAX);
    enum err e = c->o.backend->ops->read_meta(c->o.backend, meta->tenant, meta->id, &json);
    buf_release(&json);
    return e;
}

static enum err build_part(struct core *c, struct generation *g, struct part *p)
{
    struct block_meta meta = {.lsn_lo = g->lo,
                              .lsn_hi = g->hi,
                              .created_ns = (uint64_t)clock_wall_ns(c->o.clock),
                              .version = BLOCK_VERSION};
    char path[CORE_PATH_BYTES + 64];
    int64_t begun = core_mono_ns(c);

    if (g->begun.tenant == p->tenant) {
        meta.part_lsn = g->begun.lsn;
        meta.part_spans = g->begun.spans;
    }
    block_id(c, g, p, meta.id);
    (void)snprintf(meta.tenant, sizeof meta.tenant, "%s", p->tenant->name);
    (void)snprintf(meta.writer, sizeof meta.writer, "%s", c->o.instance_id);
    (void)snprintf(path, sizeof path, "%s/%s.vvb", c->building_dir, meta.id);
    enum err e = c->is_blind && g->lo <= c->replay_last ? look_for(c, &meta) : ERR_NOT_FOUND;
    if (e == ERR_OK) {
        generation_publish_part(c, g, p, meta.id);
        return ERR_OK;
    }
    if (e != ERR_NOT_FOUND)
        return e;
    e = write_file(c, p, path, &meta);
    if (e == ERR_NOT_FOUND) { /* every trace goes on in a newer head */
        generation_publish_part(c, g, p, NULL);
        return ERR_OK;
    }
    if (e == ERR_OK)
        e = publish_file(c, &meta, path);
    if (e != ERR_OK)
        return e;
    generation_publish_part(c, g, p, meta.id);
    metric_inc(c->metrics.blocks_flushed);
    metric_observe(c->metrics.flush_duration, (double)(core_mono_ns(c) - begun) / (double)NS_PER_S);
    metric_observe(c->metrics.flush_size, (double)meta.bytes);
    log_info("block_published", LOG_STR("tenant", meta.tenant), LOG_STR("block", meta.id),
             LOG_UINT("spans", meta.span_count), LOG_UINT("traces", meta.trace_count),
             LOG_UINT("bytes", meta.bytes), LOG_UINT("lsn_lo", meta.lsn_lo),
             LOG_UINT("lsn_hi", meta.lsn_hi), LOG_NS("took", core_mono_ns(c) - begun));
    return ERR_OK;
}

struct late {
    struct head *head;
    int64_t before_ns;
    bool is_unmarked; /* no memory for one of the marks */
};

static void flag_late(void *arg, uint32_t trace, struct trace_id id, int64_t first_ns,
                      int64_t last_ns, uint64_t wire_bytes)
{
    struct late *l = arg;
    (void)trace, (void)last_ns, (void)wire_bytes;

    if (first_ns < l->before_ns && head_flag_trace(l->head, id) != ERR_OK)
        l->is_unmarked = true;
}

/* Parts that come into blocks so late that others may have been settled without them. */
static void flag_late_traces(struct core *c, struct generation *g)
{
    for (struct part *p = g->parts; p != NULL && core_has_others(c); p = p->next) {
        struct late l = {.head = p->head, .before_ns = core_late_before_ns(c, p->tenant)};
        if (p->is_published)
            continue;
        head_each_trace(p->head, flag_late, &l);
        assert(!l.is_unmarked); /* they are here: a mark takes no memory */
    }
}

static enum err build_generation(struct core *c, struct generation *g)
{
    enum err e = ERR_OK;

    if (g->attempts++ > 0)
        metric_inc(c->metrics.flush_retries);
    if (!own_blocks_are_known(c))
        e = ERR_UNAVAILABLE; /* the store was away at the start, and is so still */
    flag_late_traces(c, g);
    if (e == ERR_OK && !g->is_carried)
        e = carry_generation(c, g);
    for (struct part *p = g->parts; p != NULL && e == ERR_OK; p = p->next) {
        if (!p->is_published)
            e = build_part(c, g, p);
    }
    if (e == ERR_OK) {
        generation_drop(c, g);
        proc_give_memory_back();
        generation_flushes(c, ERR_OK, 0);
        return ERR_OK;
    }
    unsigned shift = g->attempts < 7 ? g->attempts - 1 : 6;
    int64_t wait = RETRY_MIN_NS << shift < RETRY_MAX_NS ? RETRY_MIN_NS << shift : RETRY_MAX_NS;
    g->retry_ns = core_mono_ns(c) + wait;
    return e;
}

static void build_failed(struct core *c, const struct generation *g, enum err e)
{
    metric_inc(c->metrics.failed_flushes);
    log_error("flush_failed", LOG_ERR(e), LOG_UINT("attempts", g->attempts),
              LOG_UINT("lsn_lo", g->lo), LOG_UINT("lsn_hi", g->hi));
    generation_flushes(c, e, g->lo);
}

/* The oldest generation, if it can become blocks now.  Oldest first: what is published covers all frames up to a number.  A flush does not wait for the
 * next attempt's time. */
static struct generation *next_generation(struct core *c, int64_t now)
{
    struct generation *g = c->view;

    if (g == NULL || !g->is_sealed || (now < g->retry_ns && !c->is_starving && c->flushes == NULL))
        return NULL;
    if (g->lane == LANE_LIVE && atomic_load(&c->is_replaying) && !c->is_starving)
        return NULL;
    return g;
}

void build_run(void *arg)
{
    struct core *c = arg;

    mutex_lock(&c->lock);
    while (!c->is_build_stopping) {
        int64_t now = core_mono_ns(c);
        struct generation *g = next_generation(c, now);
        if (g != NULL) {
            mutex_unlock(&c->lock);
            enum err e = build_generation(c, g);
            mutex_lock(&c->lock);
            bool is_told = e != ERR_OK && !c->is_build_stopping;
            mutex_unlock(&c->lock);
            if (is_told)
                build_failed(c, g, e);
            mutex_lock(&c->lock);
            if (e != ERR_OK && !c->is_build_stopping)
                (void)cond_wait(&c->changed, &c->lock, RETRY_MIN_NS / 10);
            continue;
        }
        (void)cond_wait(&c->changed, &c->lock, WAIT_MS * NS_PER_MS);
    }
    mutex_unlock(&c->lock);
}
