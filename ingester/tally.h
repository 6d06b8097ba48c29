/*
 * tally.h - what a push holds, trace by trace, and which of its traces are refused.
 *
 * Memory:  slots are the arena's.
 * Threads: the apply thread.
 */
#ifndef VIVACE_INGESTER_TALLY_H
#define VIVACE_INGESTER_TALLY_H

#include "common/base/arena.h"
#include "ingester/core_priv.h"

/* One trace of a push: how much comes, and whether it is refused. */
struct tally {
    struct trace_id id;
    uint32_t spans;
    enum push_reason reason; /* 0: taken */
    uint64_t bytes;
    bool is_used;
};

struct tallies {
    struct tally *slots;
    size_t mask;
    uint32_t traces, refused;
};

/* The trace's place, free (not is_used) when nothing of it came. */
struct tally *tally_of(const struct tallies *t, struct trace_id id);
/* Counts the spans and bytes of each trace; spans without a sound id are left to the head, which counts them. */
MUST_CHECK enum err tally_push(struct arena *a, struct slice payload, struct tallies *ret);
/* Gives a reason to those over the limits: of a trace's bytes, of the head's traces. */
void tally_judge(const struct limits *limits, struct head *head, struct tallies *t);
/* Names them in the push's answer. */
MUST_CHECK enum err tally_refuse(struct core *c, struct push *p, const struct tallies *t);

#endif
