#include "distributor/push.h"

#include "common/base/rng.h"

#include <assert.h>

struct push_part {
    struct loop_msg msg; /* the answer, on its way to the loop */
    struct push *push;
    const struct split_part *part;
    struct slice *wire; /* head, then the part's pieces */
    unsigned candidates[PUSH_CANDIDATES];
    unsigned candidate_count, candidate; /* which one is being asked */
    bool is_doubt;
    char first_target[MEMBER_ID_BYTES_MAX + 1];
    /* written on the answering thread, read on the loop after the post */
    enum err answer;
    struct push_refused refused;
};

enum push_fate push_fate_of(enum err e)
{
    switch (e) {
    case ERR_OK: return PUSH_FATE_KEPT;
    case ERR_FULL:
    case ERR_LIMIT:
    case ERR_NOMEM:
    case ERR_FORBIDDEN:
    case ERR_CONFLICT:
    case ERR_NOT_FOUND:
    case ERR_UNAUTHENTICATED: return PUSH_FATE_NOT_KEPT;
    case ERR_INVALID:
    case ERR_FORMAT:
    case ERR_TOO_LARGE:
    case ERR_MEDIA_TYPE:
    case ERR_UNSUPPORTED: return PUSH_FATE_REFUSED;
    case ERR_CANCELED:
    case ERR_INTERNAL:
    case ERR_IO: /* a sync that failed may have put them on the disk all the same */
    case ERR_CORRUPT:
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
    case ERR_COUNT:
    default: return PUSH_FATE_UNKNOWN;
    }
}

static void ask_next(struct push_part *part);

/* The part has its outcome. */
static void settle(struct push_part *part, enum push_fate fate, enum err e)
{
    struct push *p = part->push;
    uint32_t refused = 0;

    assert(p->open_count > 0);
    if (fate == PUSH_FATE_REFUSED) {
        part->refused = (struct push_refused){0};
        part->refused.spans[PUSH_UNKNOWN_ERROR] = part->part->span_count;
        part->refused.first[PUSH_UNKNOWN_ERROR] = part->part->first_trace;
    }
    if (fate == PUSH_FATE_KEPT || fate == PUSH_FATE_REFUSED) {
        for (unsigned reason = 1; reason < PUSH_REASONS; reason++) {
            if (p->refused.spans[reason] == 0)
                p->refused.first[reason] = part->refused.first[reason];
            p->refused.spans[reason] += part->refused.spans[reason];
            refused += part->refused.spans[reason];
        }
        p->stored_spans += part->part->span_count -
                           (refused < part->part->span_count ? refused : part->part->span_count);
    } else {
        p->failed_spans += part->part->span_count;
        p->last_error = e;
    }
    p->open_count--;
    if (p->open_count == 0)
        p->setup.finished(p);
}

/* On the loop: what the peer, or the lane to it, said. */
static void on_answer(struct loop_msg *m)
{
    struct push_part *part = (struct push_part *)m;
    const struct push_setup *setup = &part->push->setup;
    unsigned index = part->candidates[part->candidate];
    enum push_fate fate = push_fate_of(part->answer);
    char peer[MEMBER_ID_BYTES_MAX + 1];

    setup->peers->name(setup->peers->arg, index, peer);
    if (setup->observe != NULL)
        setup->observe(setup->observe_arg, peer, part->answer);
    if (fate == PUSH_FATE_KEPT || fate == PUSH_FATE_REFUSED) {
        settle(part, fate, part->answer);
        return;
    }
    if (fate == PUSH_FATE_UNKNOWN) {
        setup->peers->report(setup->peers->arg, index, part->answer);
        if (!part->is_doubt) {
            part->is_doubt = true;
            memcpy(part->first_target, peer, sizeof peer);
        }
    }
    part->candidate++;
    ask_next(part);
}

/* On the lane's thread: take notes, post. */
static void on_done(void *arg, enum err err, struct slice payload)
{
    struct push_part *part = arg;

    part->refused = (struct push_refused){0};
    part->answer = err == ERR_OK ? push_wire_reply(payload, &part->refused) : err;
    part->msg.run = on_answer;
    part->push->setup.post(part->push->setup.loop, &part->msg);
}

static enum err ask(struct push_part *part, int64_t timeout_ns)
{
    const struct push_setup *setup = &part->push->setup;
    struct buf head;
    struct push_head h = {.batch_id = part->push->batch_id,
                          .part = part->part->number,
                          .attempt = part->candidate,
                          .span_count = part->part->span_count,
                          .tenant = setup->tenant,
                          .is_doubt = part->is_doubt,
                          .first_target = part->first_target,
                          .received_ns = setup->received_ns,
                          .deadline_ns = timeout_ns,
                          .payload_bytes = part->part->bytes};

    buf_init(&head, PUSH_HEAD_BYTES_MAX);
    push_wire_head(&head, &h);
    enum err e = buf_err(&head);
    if (e == ERR_OK) {
        part->wire[0] = buf_slice(&head);
        e = setup->peers->call(setup->peers->arg, part->candidates[part->candidate], RPC_PUSH,
                               part->wire, part->part->piece_count + 1, timeout_ns, on_done, part);
    }
    buf_release(&head);
    return e;
}

/* Asks candidates until one was sent the part, or none is left. */
static void ask_next(struct push_part *part)
{
    const struct push_setup *setup = &part->push->setup;
    enum err last = part->candidate == 0 ? ERR_UNAVAILABLE : part->answer;

    for (; part->candidate < part->candidate_count; part->candidate++) {
        int64_t left_ns = setup->deadline_ns - clock_mono_ns(setup->clock);
        if (left_ns < NS_PER_MS) {
            last = ERR_TIMEOUT;
            break;
        }
        /* The last one gets all the time that is left: nobody else could use it. */
        bool is_last = part->candidate + 1 == part->candidate_count;
        int64_t timeout_ns = is_last || left_ns < setup->first_attempt_timeout_ns
                                 ? left_ns
                                 : setup->first_attempt_timeout_ns;
        enum err e = ask(part, timeout_ns);
        if (e == ERR_OK)
            return;
        char peer[MEMBER_ID_BYTES_MAX + 1];
        setup->peers->name(setup->peers->arg, part->candidates[part->candidate], peer);
        if (setup->observe != NULL)
            setup->observe(setup->observe_arg, peer, e);
        last = e; /* not sent, so no doubt */
    }
    settle(part, PUSH_FATE_NOT_KEPT, last);
}

/* The owner that the split found comes first even if the view has changed since. */
static void choose_candidates(struct push_part *part)
{
    const struct push_setup *setup = &part->push->setup;
    unsigned found[PUSH_CANDIDATES];
    unsigned count = setup->peers->place(setup->peers->arg, setup->tenant, part->part->first_trace,
                                         found, PUSH_CANDIDATES);

    assert(count <= PUSH_CANDIDATES);
    part->candidates[0] = part->part->target;
    part->candidate_count = 1;
    for (unsigned i = 0; i < count && part->candidate_count < PUSH_CANDIDATES; i++) {
        if (found[i] != part->part->target)
            part->candidates[part->candidate_count++] = found[i];
    }
}

enum err push_start(struct push *p, const struct push_setup *setup, struct arena *a,
                    const struct split_part *parts, uint32_t part_count)
{
    assert(part_count > 0);
    *p = (struct push){
        .setup = *setup, .part_count = part_count, .open_count = part_count, .last_error = ERR_OK};
    rng_bytes_secure(p->batch_id, sizeof p->batch_id);
    p->parts = ARENA_ARRAY(a, struct push_part, part_count);
    if (p->parts == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < part_count; i++) {
        struct push_part *part = &p->parts[i];
        part->push = p;
        part->part = &parts[i];
        part->wire = ARENA_ARRAY(a, struct slice, parts[i].piece_count + 1);
        if (part->wire == NULL)
            return arena_err(a);
        memcpy(part->wire + 1, parts[i].pieces, parts[i].piece_count * sizeof *part->wire);
        choose_candidates(part);
    }
    /* The last part may finish the push, and with it p: count outside of it. */
    struct push_part *first = p->parts;
    for (uint32_t i = 0; i < part_count; i++)
        ask_next(&first[i]);
    return ERR_OK;
}
