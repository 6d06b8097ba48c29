/*
 * push.h - brings the parts of one request to peers that keep them, and says what became of every span.
 *
 * Rules:   a part goes to its owner first; if that attempt fails, to the next of at most PUSH_CANDIDATES in rendezvous order, inside the request's
 *          deadline.  Batch id and part number never change.  An attempt that ended without an answer leaves doubt: the later ones carry the
 *          flag and the first target's name.  An attempt that was refused for sure, or never sent, leaves none.
 * Threads: started and finished on its loop; peers' answers are posted there.
 * Memory:  lives in the caller's arena until `finished` is called.
 */
#ifndef VIVACE_DISTRIBUTOR_PUSH_H
#define VIVACE_DISTRIBUTOR_PUSH_H

#include "common/base/clock.h"
#include "common/net/loop.h"
#include "distributor/peers.h"
#include "distributor/push_wire.h"
#include "distributor/split.h"

enum { PUSH_CANDIDATES = 3 };

struct push;
typedef void push_finished_fn(struct push *p);
typedef void push_observe_fn(void *arg, const char *peer, enum err err); /* each attempt */

struct push_setup {
    const struct peers *peers;
    const struct clock *clock;
    struct loop *loop;
    void (*post)(struct loop *l, struct loop_msg *m); /* loop_post, but in tests */
    struct slice tenant;
    int64_t received_ns; /* wall */
    int64_t deadline_ns; /* mono */
    int64_t first_attempt_timeout_ns;
    push_finished_fn *finished; /* on the loop, after push_start has returned or within it */
    push_observe_fn *observe;
    void *observe_arg;
};

struct push_part;
struct push {
    struct push_setup setup;
    uint8_t batch_id[BATCH_ID_BYTES];
    struct push_part *parts;
    uint32_t part_count, open_count;
    /* the outcome, once finished */
    struct push_refused refused;
    uint32_t stored_spans, failed_spans; /* failed: neither stored nor refused */
    enum err last_error;                 /* of a failed part */
};

/* Errors: ERR_LIMIT, ERR_NOMEM; nothing was sent then and `finished` is not called. */
MUST_CHECK enum err push_start(struct push *p, const struct push_setup *setup, struct arena *a,
                               const struct split_part *parts, uint32_t part_count);

/* What an error says about the bytes: kept for sure not, refused for good, or unknown. */
enum push_fate { PUSH_FATE_KEPT, PUSH_FATE_NOT_KEPT, PUSH_FATE_REFUSED, PUSH_FATE_UNKNOWN };
enum push_fate push_fate_of(enum err e);

#endif
