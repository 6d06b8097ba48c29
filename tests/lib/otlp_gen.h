/*
 * otlp_gen.h - OTLP trace requests for tests and benchmarks, repeatable from a seed.
 *
 * Shape:   otlp_gen_request: a shop of services that call each other over HTTP and SQL, with OpenTelemetry's attribute names; whole traces,
 *          children end before their parents as SDKs send them.
 *          otlp_gen_odd_request: spans with every field OTLP has and values that break things: duplicate and empty keys, arrays, kvlists,
 *          NaN, the ends of the integers, end before start, parents that are missing, their own child or in a circle, exact copies.
 */
#ifndef VIVACE_TESTS_LIB_OTLP_GEN_H
#define VIVACE_TESTS_LIB_OTLP_GEN_H

#include "common/base/buf.h"
#include "common/base/rng.h"
#include "common/base/trace_id.h"

enum {
    OTLP_GEN_SERVICES = 16,
    OTLP_GEN_PODS = 2,
    OTLP_GEN_SOURCES = OTLP_GEN_SERVICES * OTLP_GEN_PODS,
    OTLP_GEN_TRACE_SPANS_MAX = 200
};

struct otlp_gen {
    struct rng rng;
    uint64_t now_ns;       /* start of the next trace */
    uint64_t step_ns;      /* mean distance of trace starts */
    struct trace_id trace; /* of the trace that is being made */
    uint32_t budget, made;
    struct buf source[OTLP_GEN_SOURCES], resource[OTLP_GEN_SOURCES], span;
};

void otlp_gen_init(struct otlp_gen *g, uint64_t seed, uint64_t start_ns);
void otlp_gen_release(struct otlp_gen *g);
/* Appends one request of whole traces with at least `spans` spans; returns how many. */
uint32_t otlp_gen_request(struct otlp_gen *g, uint32_t spans, struct buf *out);
uint32_t otlp_gen_odd_request(struct otlp_gen *g, uint32_t spans, struct buf *out);

#endif
