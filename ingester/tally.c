#include "ingester/tally.h"

#include "common/codec/otlp.h"

#include <assert.h>
#include <stdlib.h>

struct tally *tally_of(const struct tallies *t, struct trace_id id)
{
    size_t at = trace_id_hash(id) & t->mask;

    while (t->slots[at].is_used && !trace_id_eq(t->slots[at].id, id))
        at = (at + 1) & t->mask;
    return &t->slots[at];
}

enum err tally_push(struct arena *a, struct slice payload, struct tallies *ret)
{
    struct otlp_iter it;
    struct slice span;
    size_t spans = 0, slots = 8;
    struct tally *last = NULL;

#ifdef VIVACE_WRONG_DEATH_BY_MARK
    /* The wrong build of the tests: spans that end the process. */
    if (memmem(payload.ptr, payload.len, "mark of death", 13) != NULL)
        abort();
#endif
    otlp_iter_init(&it, payload);
    while (otlp_next_span(&it, &span))
        spans++;
    while (slots < spans * 2)
        slots *= 2;
    *ret = (struct tallies){.slots = ARENA_ARRAY(a, struct tally, slots), .mask = slots - 1};
    if (ret->slots == NULL)
        return arena_err(a);
    otlp_iter_init(&it, payload);
    while (otlp_next_span(&it, &span)) {
        struct trace_id id;
        if (trace_id_from_wire(otlp_span_trace_id(span), &id) != ERR_OK)
            continue;
        if (last == NULL || !trace_id_eq(last->id, id))
            last = tally_of(ret, id);
        if (!last->is_used) {
            *last = (struct tally){.id = id, .is_used = true};
            ret->traces++;
        }
        last->spans++;
        last->bytes += span.len;
    }
    return ERR_OK;
}

void tally_judge(const struct limits *limits, struct head *head, struct tallies *t)
{
    uint64_t bytes_max = limits->max_bytes_per_trace;
    uint64_t traces_max = (uint64_t)limits->max_traces_per_user, traces = 0;
    struct head_stats stats;

    if (traces_max > 0) {
        head_stats(head, &stats);
        traces = stats.traces;
    }
    for (size_t i = 0; i <= t->mask; i++) {
        struct tally *one = &t->slots[i];
        if (!one->is_used)
            continue;
        uint64_t have = bytes_max > 0 || traces_max > 0 ? head_trace_bytes(head, one->id) : 0;
        if (bytes_max > 0 && have + one->bytes > bytes_max)
            one->reason = PUSH_TRACE_TOO_LARGE;
        else if (traces_max > 0 && have == 0 && traces >= traces_max)
            one->reason = PUSH_LIVE_TRACES_EXCEEDED;
        else if (have == 0)
            traces++;
        t->refused += one->reason != 0;
    }
}

enum err tally_refuse(struct core *c, struct push *p, const struct tallies *t)
{
    p->refused = calloc(t->refused, sizeof *p->refused);
    if (p->refused == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i <= t->mask; i++) {
        const struct tally *one = &t->slots[i];
        if (one->reason == 0)
            continue;
        p->refused[p->refused_count++] = (struct push_refusal){one->id, one->spans, one->reason};
        metric_add(
            metric_cell(c->metrics.refused,
                        (struct slice[]){p->m.tenant, one->reason == PUSH_TRACE_TOO_LARGE
                                                          ? SLICE_LIT("trace_too_large")
                                                          : SLICE_LIT("live_traces_exceeded")},
                        2),
            one->spans);
    }
    assert(p->refused_count == t->refused);
    return ERR_OK;
}
