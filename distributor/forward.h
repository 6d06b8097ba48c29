/*
 * forward.h - the lane to the generators: stored requests, kept until a generator has acknowledged them.
 *
 * Rules:   what is handed over was stored and answered, so nothing here delays a client.  An item is sent under its batch id and part number until a
 *          generator answers; each further attempt goes to another one if there is one.
 * Doubt:   when an answer was lost, that generator may have counted the spans, and it alone knows: generators remember (batch id, part) in their log and answer a
 *          repeat without counting it.  So the item waits for that very one, over its restarts, for FORWARD_DOUBT_NS; then it goes to another, which may count
 *          the spans a second time, and is told as given up (vivace_distributor_generator_doubtful_spans_total).
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
#define FORWARD_DOUBT_NS (480 * NS_PER_S) /* a generator remembers for ten minutes */

struct forward;
struct forward_options {
    const struct peers *peers;
    const struct clock *clock;
    struct loop *loop;
    void (*post)(struct loop *l, struct loop_msg *m); /* loop_post, but in tests */
    size_t bytes_max;
    int64_t attempt_timeout_ns, backoff_min_ns, backoff_max_ns; /* 0: 5 s, 100 ms, 5 s */
    int64_t doubt_ns;                                           /* 0: FORWARD_DOUBT_NS */
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
