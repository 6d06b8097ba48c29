/*
 * Any bytes as a block file.  Checksums would stop nearly every input at the door, so reads repair them on the way: what lies behind them must
 * hold on its own.  Property: whatever the bytes say, every read ends with an answer or an error, within the budget, and what is written as OTLP is well formed.
 */
#include "common/codec/otlp.h"
#include "common/store/block.h"
#include "tests/fuzz/repairing.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BUDGET_BYTES = 16 << 20 };

static void read_columns(struct segment *s, struct arena *a)
{
    for (int t = 0; t < SEG_TABLE_COUNT; t++) {
        struct seg_key *keys;
        const struct seg_column *c;
        uint32_t keys_count, count;
        if (segment_keys(s, (enum seg_table)t, a, &keys, &keys_count) != ERR_OK)
            continue;
        for (uint32_t i = 0; i < keys_count; i++) {
            if (segment_attribute_equal(s, (enum seg_table)t, keys[i].key, SLICE_LIT("a"), &c,
                                        &count) == ERR_OK)
                for (uint32_t k = 0; k < count; k++)
                    assert(c[k].count != 0 && c[k].rows[c[k].count - 1] < s->row_count[t]);
            int64_t min, max;
            (void)!segment_range(s, (enum seg_table)t, keys[i].key, &min, &max);
            if (segment_attribute(s, (enum seg_table)t, keys[i].key, &c, &count) != ERR_OK)
                continue;
            for (uint32_t k = 0; k < count; k++)
                for (uint32_t v = 0; v < c[k].count; v++) {
                    assert(c[k].rows[v] < s->row_count[t]);
                    assert(c[k].codes == NULL || c[k].codes[v] < c[k].value_count);
                }
        }
        for (int f = 0; f < SEG_FIELD_COUNT; f++)
            if (segment_field(s, (enum seg_table)t, (enum seg_field)f, &c, &count) == ERR_OK &&
                count != 0)
                assert(c->count == 0 || c->rows[c->count - 1] < s->row_count[t]);
    }
}

static void read_group(struct block *b, uint32_t g, struct budget *budget)
{
    struct segment *s;
    struct seg_traces traces;
    struct seg_fixed fixed;
    struct seg_events events;
    struct seg_links links;
    struct arena a;
    struct buf out;
    struct slice text = SLICE_LIT("a");
    arena_init(&a, budget);
    buf_init(&out, 1u << 24);
    if (block_segment(b, g, budget, &s) != ERR_OK)
        return;
    bool has_traces = segment_traces(s, &traces) == ERR_OK;
    for (uint32_t bit = 1; bit <= SEG_F_ALL; bit <<= 1)
        (void)!segment_fixed(s, bit, &fixed);
    (void)!segment_events(s, &events);
    (void)!segment_links(s, &links);
    read_columns(s, &a);
    for (uint32_t t = 0; has_traces && t < s->trace_count && t < 100; t++) {
        const uint32_t *rows;
        uint32_t count, group, trace;
        if (segment_trace_rows(s, t, &a, &rows, &count) == ERR_OK && count < 1000 &&
            segment_write_otlp(s, rows, count, &out) == ERR_OK && buf_err(&out) == ERR_OK) {
            uint32_t written = 0;
            struct slice span;
            struct otlp_iter it;
            otlp_iter_init(&it, buf_slice(&out));
            while (otlp_next_span(&it, &span))
                written++;
            assert(written == count || s->row_count[SEG_SPAN] > 0);
        }
        buf_reset(&out);
        (void)!block_find_trace(b, traces.id[t], &group, &trace);
    }
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        (void)block_group_may_have(b, g, (enum seg_table)t, SLICE_LIT("a"), &text);
    segment_close(s);
    arena_release(&a);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct repairing r = {.object = {&repairing_ops, size}, .data = data};
    struct budget budget;
    struct block *b;
    const struct trace_id *flagged;
    uint32_t count;
    budget_init(&budget, BUDGET_BYTES, NULL);
    if (block_open(&r.object, &budget, &b) == ERR_OK) {
        (void)!block_flagged(b, &flagged, &count);
        for (uint32_t g = 0; g < block_group_count(b) && g < 4; g++)
            read_group(b, g, &budget);
        block_unref(b);
    }
    assert(budget_used(&budget) == 0);
    return 0;
}
