#include "distributor/forward.h"

#include "common/base/map.h"
#include "common/base/rng.h"
#include "distributor/push.h"
#include "distributor/stats.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>

struct item {
    struct loop_msg msg;
    struct forward *forward;
    struct item *prev, *next; /* in `ready` or `waiting` */
    size_t bytes;             /* of this block */
    uint8_t batch_id[BATCH_ID_BYTES];
    char tenant[TENANT_ID_BYTES_MAX + 1];
    uint32_t part, span_count, attempt;
    struct trace_id first_trace;
    int64_t received_ns, not_before_ns;
    bool is_doubt;
    int64_t doubt_ns; /* mono: when the answer was lost */
    char first_target[MEMBER_ID_BYTES_MAX + 1];
    unsigned first, target;
    enum err answer;
    size_t payload_bytes;
    uint8_t payload[];
};

struct forward {
    struct forward_options options;
    atomic_size_t bytes;
    struct item *ready, *waiting; /* loop's */
    unsigned in_flight, doubts;   /* loop's */
    struct rng rng;               /* loop's */
};

enum err forward_new(const struct forward_options *o, struct forward **ret)
{
    struct forward *f = calloc(1, sizeof *f);
    uint64_t seed;

    if (f == NULL)
        return ERR_NOMEM;
    assert(o->bytes_max > 0);
    f->options = *o;
    if (f->options.attempt_timeout_ns == 0)
        f->options.attempt_timeout_ns = 5 * NS_PER_S;
    if (f->options.backoff_min_ns == 0)
        f->options.backoff_min_ns = 100 * NS_PER_MS;
    if (f->options.backoff_max_ns == 0)
        f->options.backoff_max_ns = 5 * NS_PER_S;
    if (f->options.doubt_ns == 0)
        f->options.doubt_ns = FORWARD_DOUBT_NS;
    rng_bytes_secure(&seed, sizeof seed);
    rng_init(&f->rng, seed);
    *ret = f;
    return ERR_OK;
}

size_t forward_bytes(const struct forward *f)
{
    return atomic_load_explicit(&f->bytes, memory_order_relaxed);
}

static void finish_item(struct item *item)
{
    struct forward *f = item->forward;
    size_t before = atomic_fetch_sub(&f->bytes, item->bytes);

    assert(before >= item->bytes);
    metric_set(stats.generator_buffer_bytes, (double)(before - item->bytes));
    free(item);
}

static void drop_item(struct item *item, enum stats_drop why)
{
    metric_add(stats.generator_dropped[why], item->span_count);
    finish_item(item);
}

static void send_ready(struct forward *f);

/* Full jitter between the half and the whole of a doubling wait. */
static int64_t backoff_ns(struct forward *f, uint32_t attempt)
{
    int64_t wait = f->options.backoff_min_ns;

    for (uint32_t i = 1; i < attempt && wait < f->options.backoff_max_ns; i++)
        wait *= 2;
    if (wait > f->options.backoff_max_ns)
        wait = f->options.backoff_max_ns;
    return wait / 2 + (int64_t)rng_below(&f->rng, (uint64_t)wait / 2 + 1);
}

static void doubt_begin(struct item *item, const char *peer)
{
    item->is_doubt = true;
    item->doubt_ns = clock_mono_ns(item->forward->options.clock);
    item->first = item->target;
    (void)snprintf(item->first_target, sizeof item->first_target, "%s", peer);
    item->forward->doubts++;
    metric_set(stats.generator_doubts, item->forward->doubts);
}

static void doubt_end(struct item *item, enum stats_doubt how)
{
    if (!item->is_doubt)
        return;
    assert(item->forward->doubts > 0);
    item->forward->doubts--;
    metric_set(stats.generator_doubts, item->forward->doubts);
    metric_add(stats.generator_doubts_ended[how], item->span_count);
}

static void put_off(struct item *item)
{
    struct forward *f = item->forward;

    item->attempt++;
    item->not_before_ns = clock_mono_ns(f->options.clock) + backoff_ns(f, item->attempt);
    DL_APPEND(f->waiting, item);
}

static void on_answer(struct loop_msg *m)
{
    struct item *item = (struct item *)m;
    struct forward *f = item->forward;
    const struct peers *peers = f->options.peers;
    char peer[MEMBER_ID_BYTES_MAX + 1];

    assert(f->in_flight > 0);
    f->in_flight--;
    peers->name(peers->arg, item->target, peer);
    stats_generator_push(peer, item->answer);
    switch (push_fate_of(item->answer)) {
    case PUSH_FATE_KEPT:
        doubt_end(item, strcmp(peer, item->first_target) == 0 ? STATS_DOUBT_ANSWERED
                                                              : STATS_DOUBT_GIVEN_UP);
        finish_item(item);
        break;
    case PUSH_FATE_REFUSED:
        doubt_end(item, STATS_DOUBT_DROPPED);
        drop_item(item, STATS_DROP_REFUSED);
        break;
    case PUSH_FATE_UNKNOWN:
        peers->report(peers->arg, item->target, item->answer);
        if (!item->is_doubt)
            doubt_begin(item, peer);
        put_off(item);
        break;
    case PUSH_FATE_NOT_KEPT:
    default: put_off(item); break;
    }
    send_ready(f);
}

static void on_done(void *arg, enum err err, struct slice payload)
{
    struct item *item = arg;

    (void)payload; /* a generator's reply tells nothing that is not in err */
    item->answer = err;
    item->msg.run = on_answer;
    item->forward->options.post(item->forward->options.loop, &item->msg);
}

/* Only the one that may have counted the spans knows whether it did: so it is asked again, and nobody else, for as long as it remembers. */
static enum err choose_target(struct item *item)
{
    const struct forward_options *o = &item->forward->options;
    const struct peers *peers = o->peers;
    unsigned found[PUSH_CANDIDATES];

    if (item->is_doubt && clock_mono_ns(o->clock) - item->doubt_ns < o->doubt_ns) {
        item->target = item->first;
        return peers->is_up(peers->arg, item->first, item->first_target) ? ERR_OK : ERR_UNAVAILABLE;
    }
    unsigned count = peers->place(peers->arg, slice_str(item->tenant), item->first_trace, found,
                                  PUSH_CANDIDATES);
    if (count == 0)
        return ERR_UNAVAILABLE;
    item->target = found[item->attempt % count];
    return ERR_OK;
}

static enum err send_item(struct item *item)
{
    const struct forward_options *o = &item->forward->options;
    struct slice tenant = slice_str(item->tenant);
    enum err e = choose_target(item);

    if (e != ERR_OK)
        return e;
    struct buf head;
    struct push_head h = {.batch_id = item->batch_id,
                          .part = item->part,
                          .attempt = item->attempt,
                          .span_count = item->span_count,
                          .tenant = tenant,
                          .is_doubt = item->is_doubt,
                          .first_target = item->first_target,
                          .received_ns = item->received_ns,
                          .deadline_ns = o->attempt_timeout_ns,
                          .payload_bytes = item->payload_bytes};
    buf_init(&head, PUSH_HEAD_BYTES_MAX);
    push_wire_head(&head, &h);
    e = buf_err(&head);
    if (e == ERR_OK) {
        struct slice wire[] = {buf_slice(&head), {item->payload, item->payload_bytes}};
        e = o->peers->call(o->peers->arg, item->target, RPC_GENERATE, wire, 2,
                           o->attempt_timeout_ns, on_done, item);
    }
    buf_release(&head);
    return e;
}

static void send_ready(struct forward *f)
{
    while (f->ready != NULL && f->in_flight < FORWARD_IN_FLIGHT) {
        struct item *item = f->ready;
        DL_DELETE(f->ready, item);
        enum err e = send_item(item);
        if (e == ERR_OK) {
            f->in_flight++;
        } else if (push_fate_of(e) == PUSH_FATE_REFUSED) { /* larger than the lane lets through */
            doubt_end(item, STATS_DOUBT_DROPPED);
            drop_item(item, STATS_DROP_REFUSED);
        } else {
            put_off(item);
        }
    }
}

void forward_tick(struct forward *f)
{
    int64_t now_ns = clock_mono_ns(f->options.clock);
    struct item *item, *next;

    DL_FOREACH_SAFE (f->waiting, item, next) {
        if (item->not_before_ns > now_ns)
            continue;
        DL_DELETE(f->waiting, item);
        DL_APPEND(f->ready, item);
    }
    send_ready(f);
}

static void on_added(struct loop_msg *m)
{
    struct item *item = (struct item *)m;

    DL_APPEND(item->forward->ready, item);
    send_ready(item->forward);
}

static void add_part(struct forward *f, const uint8_t *batch_id, struct slice tenant,
                     int64_t received_ns, const struct split_part *part)
{
    size_t bytes = sizeof(struct item) + part->bytes;
    size_t before = atomic_fetch_add(&f->bytes, bytes);

    if (before + bytes > f->options.bytes_max) {
        (void)atomic_fetch_sub(&f->bytes, bytes);
        metric_add(stats.generator_dropped[STATS_DROP_BUFFER_FULL], part->span_count);
        return;
    }
    struct item *item = malloc(bytes);
    if (item == NULL) {
        (void)atomic_fetch_sub(&f->bytes, bytes);
        metric_add(stats.generator_dropped[STATS_DROP_NO_MEMORY], part->span_count);
        return;
    }
    assert(tenant.len <= TENANT_ID_BYTES_MAX);
    *item = (struct item){.msg = {.run = on_added},
                          .forward = f,
                          .bytes = bytes,
                          .part = part->number,
                          .span_count = part->span_count,
                          .first_trace = part->first_trace,
                          .received_ns = received_ns,
                          .payload_bytes = part->bytes};
    memcpy(item->batch_id, batch_id, BATCH_ID_BYTES);
    memcpy(item->tenant, tenant.ptr, tenant.len);
    uint8_t *at = item->payload;
    for (unsigned i = 0; i < part->piece_count; i++) {
        memcpy(at, part->pieces[i].ptr, part->pieces[i].len);
        at += part->pieces[i].len;
    }
    assert((size_t)(at - item->payload) == part->bytes);
    metric_set(stats.generator_buffer_bytes, (double)(before + bytes));
    f->options.post(f->options.loop, &item->msg);
}

void forward_add(struct forward *f, const uint8_t *batch_id, struct slice tenant,
                 int64_t received_ns, const struct split_part *parts, uint32_t part_count)
{
    for (uint32_t i = 0; i < part_count; i++)
        add_part(f, batch_id, tenant, received_ns, &parts[i]);
}

void forward_free(struct forward *f)
{
    struct item *item, *next;

    if (f == NULL)
        return;
    assert(f->in_flight == 0);
    DL_CONCAT(f->ready, f->waiting);
    DL_FOREACH_SAFE (f->ready, item, next) {
        doubt_end(item, STATS_DOUBT_DROPPED);
        drop_item(item, STATS_DROP_SHUTDOWN);
    }
    free(f);
}
