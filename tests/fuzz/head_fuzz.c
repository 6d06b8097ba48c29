/*
 * Any bytes into a head.  Properties: what is not well formed leaves nothing; what passes the door is counted span by span; what comes out passes the
 * door again, and put into a second head comes out the same, byte for byte.
 */
#include "common/codec/otlp.h"
#include "common/store/head.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BUDGET_BYTES = 64 << 20 };

static void write_all(struct head *h, struct buf *out)
{
    struct segment *s;
    struct seg_traces t;
    enum err e = head_segment(h, NULL, &s);
    assert(e == ERR_OK);
    uint32_t n = s->row_count[SEG_SPAN], *rows = calloc((size_t)n + 1, sizeof *rows);
    assert(rows != NULL);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = i;
    e = segment_write_otlp(s, rows, n, out);
    assert(e == ERR_OK);
    e = segment_traces(s, &t);
    assert(e == ERR_OK);
    free(rows);
    segment_close(s);
}

static enum err fill(struct budget *budget, struct slice otlp, struct head **ret,
                     struct head_append_result *r)
{
    enum err e = head_new(budget, &(struct head_options){0}, ret);
    assert(e == ERR_OK);
    return head_append(*ret, otlp, false, 1, r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice otlp = {data, size};
    struct budget budget;
    struct head *h = NULL, *again = NULL;
    struct head_append_result r, r2;
    struct head_stats stats;
    struct buf out, out2;
    uint32_t spans = 0;
    budget_init(&budget, BUDGET_BYTES, NULL);
    buf_init(&out, 1u << 28);
    buf_init(&out2, 1u << 28);
    enum err door = otlp_check(otlp, &otlp_limits_default, &spans, NULL);
    enum err e = fill(&budget, otlp, &h, &r);
    head_stats(h, &stats);
    assert(stats.spans == r.spans);
    if (e == ERR_FORMAT) {
        assert(stats.spans == 0);
        assert(door != ERR_OK);
    }
    if (e == ERR_OK && door == ERR_OK) {
        assert(r.spans + r.copies + r.refused == spans);
        write_all(h, &out);
        uint32_t count;
        door = otlp_check(buf_slice(&out), &otlp_limits_default, &count, NULL);
        assert(door == ERR_OK && count == r.spans);
        e = fill(&budget, buf_slice(&out), &again, &r2);
        assert(e == ERR_OK && r2.spans + r2.copies == r.spans && r2.refused == 0);
        write_all(again, &out2);
        /* Spans that differed only in how they were encoded are copies now. */
        assert(r2.copies != 0 || slice_eq(buf_slice(&out), buf_slice(&out2)));
    }
    head_unref(h);
    head_unref(again);
    buf_release(&out);
    buf_release(&out2);
    assert(budget_used(&budget) == 0);
    return 0;
}
