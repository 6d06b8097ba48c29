/*
 * forward.h - the lane to the generators: stored requests, kept until a generator has acknowledged them.
 *
 * Rules:   what is handed over was stored and answered, so nothing here delays a client.  An item is sent under its batch id and part number until a
 *          generator answers; each further attempt goes to another one if there is one, with the doubt flag once an answer was lost.
 * Limits:  bytes of all items; one more is dropped and counted (buffer_full).  FORWARD_IN_FLIGHT calls at a time.
 * Threads: forward_add from any thread; everything else on the lane's loop.
 */
#ifndef VIVACE_DISTRIBUTOR_FORWARD_H
#define VIVACE_DISTRIBUTOR_FORWARD_H

#include "common/base/clock.h"
#include "common/net/loop.h"
#include "distributor/peers.h"
#include "distributor/split.h"

enum { FORWARD_IN_FLIGHT = 32 };

struct forward;
struct forward_options {
    const struct peers *peers;
    const struct clock *clock;
    struct loop *loop;
    void (*post)(struct loop *l, struct loop_msg *m); /* loop_post, but in tests */
    size_t bytes_max;
    int64_t attempt_timeout_ns, backoff_min_ns, backoff_max_ns; /* 0: 5 s, 100 ms, 5 s */
};

MUST_CHECK enum err forward_new(const struct forward_options *o, struct forward **ret);
/* Copies the parts.  What does not fit is dropped and counted. */
void forward_add(struct forward *f, const uint8_t *batch_id, struct slice tenant,
                 int64_t received_ns, const struct split_part *parts, uint32_t part_count);
void forward_tick(struct forward *f); /* on its loop, every 50 ms: items whose back-off is over */
size_t forward_bytes(const struct forward *f); /* not acknowledged yet */
/* The lane's loop must have run everything that was posted, and no call may be under way.  What is left is dropped and counted. */
void forward_free(struct forward *f);

#endif
