/*
 * otlp_random.h - random OTLP requests that repeat from their seed, and a span's fingerprint with all that belongs to it.
 */
#ifndef VIVACE_TESTS_LIB_OTLP_RANDOM_H
#define VIVACE_TESTS_LIB_OTLP_RANDOM_H

#include "common/base/hash.h"
#include "common/base/rng.h"
#include "common/base/trace_id.h"
#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"

struct otlp_random {
    struct rng rng;
    unsigned trace_count; /* spans are spread over so many traces */
    unsigned bad_ids_in_100;
    size_t text_bytes_max;
};

static inline void otlp_random_text(struct otlp_random *g, struct buf *b, uint32_t field)
{
    uint8_t text[256];
    size_t len =
        rng_below(&g->rng, (g->text_bytes_max < sizeof text ? g->text_bytes_max : sizeof text) + 1);

    for (size_t i = 0; i < len; i++)
        text[i] = (uint8_t)('a' + rng_below(&g->rng, 26));
    pb_bytes(b, field, (struct slice){text, len});
}

static inline void otlp_random_attributes(struct otlp_random *g, struct buf *b, uint32_t field)
{
    for (uint64_t n = rng_below(&g->rng, 6); n > 0; n--) {
        size_t kv = pb_begin(b, field);
        otlp_random_text(g, b, 1);
        size_t value = pb_begin(b, 2);
        switch (rng_below(&g->rng, 4)) {
        case 0: otlp_random_text(g, b, 1); break;
        case 1: pb_varint(b, 3, rng_u64(&g->rng)); break;
        case 2: pb_double(b, 4, rng_unit(&g->rng)); break;
        default: pb_varint(b, 2, 1); break;
        }
        pb_end(b, value);
        pb_end(b, kv);
    }
}

static inline void otlp_random_span(struct otlp_random *g, struct buf *b)
{
    uint8_t trace[TRACE_ID_BYTES] = {1}, span[SPAN_ID_BYTES];
    uint64_t number = rng_below(&g->rng, g->trace_count), id = rng_u64(&g->rng) | 1;
    bool is_bad_trace = rng_below(&g->rng, 100) < g->bad_ids_in_100,
         is_bad_span = rng_below(&g->rng, 100) < g->bad_ids_in_100;

    memcpy(trace + 8, &number, sizeof number);
    memcpy(span, &id, sizeof id);
    size_t mark = pb_begin(b, 2);
    pb_bytes(
        b, 1,
        (struct slice){trace, is_bad_trace ? rng_below(&g->rng, TRACE_ID_BYTES) : TRACE_ID_BYTES});
    pb_bytes(b, 2,
             (struct slice){span, is_bad_span ? rng_below(&g->rng, SPAN_ID_BYTES) : SPAN_ID_BYTES});
    otlp_random_text(g, b, 5);
    pb_fixed64(b, 7, rng_u64(&g->rng));
    pb_fixed64(b, 8, rng_u64(&g->rng));
    otlp_random_attributes(g, b, OTLP_SPAN_ATTRIBUTES);
    pb_end(b, mark);
}

/* Resource and scope with their fields before or after the spans, or not at all. */
static inline void otlp_random_request(struct otlp_random *g, unsigned resources_max,
                                       unsigned spans_max, struct buf *b)
{
    for (uint64_t r = rng_below(&g->rng, resources_max) + 1; r > 0; r--) {
        size_t rs = pb_begin(b, 1);
        uint64_t shape = rng_u64(&g->rng);
        if ((shape & 1) != 0)
            pb_bytes(b, 3, SLICE_LIT("https://resource"));
        for (unsigned late = 0; late < 2; late++) {
            if ((shape & 6) != 0 && (shape >> 3 & 1) == late) {
                size_t resource = pb_begin(b, 1);
                otlp_random_attributes(g, b, 1);
                pb_end(b, resource);
            }
            for (uint64_t s = late == 0 ? rng_below(&g->rng, 4) : 0; s > 0; s--) {
                size_t ss = pb_begin(b, 2);
                if ((rng_u64(&g->rng) & 1) != 0) {
                    size_t scope = pb_begin(b, 1);
                    otlp_random_text(g, b, 1);
                    pb_end(b, scope);
                }
                for (uint64_t n = rng_below(&g->rng, spans_max + 1); n > 0; n--)
                    otlp_random_span(g, b);
                if ((rng_u64(&g->rng) & 1) != 0)
                    pb_bytes(b, 3, SLICE_LIT("https://scope"));
                pb_end(b, ss);
            }
        }
        pb_end(b, rs);
    }
}

/* Of the span, its scope and its resource as they stand: the same wherever the span was carried. */
static inline uint64_t otlp_random_fingerprint(const struct otlp_iter *it, struct slice span)
{
    const struct slice parts[] = {span, it->resource, it->resource_schema_url, it->scope,
                                  it->scope_schema_url};
    uint64_t h = 1;

    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++)
        h = hash_with(parts[i], h) + (parts[i].ptr != NULL);
    return h;
}

#endif
