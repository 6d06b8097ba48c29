/* Merging blocks: random spans over random blocks, with copies and fragments, against one block made of everything at once. */
#include "common/codec/otlp_write.h"
#include "common/store/block_merge.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <unistd.h>

enum { BLOCKS_MAX = 8, SEGMENTS_MAX = 256, START_S = 1700000000 };
#define START_NS (START_S * UINT64_C(1000000000))

static const struct head_options keep_all = {.max_attribute_bytes = 0};

struct set { /* blocks, as bytes */
    struct buf bytes[BLOCKS_MAX];
    struct block *blocks[BLOCKS_MAX];
    uint32_t count;
};

static struct block *open_bytes(const struct buf *bytes)
{
    struct object *o;
    struct block *b = NULL;
    assert_int_equal(object_memory(buf_slice(bytes), &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &b), ERR_OK);
    return b;
}

static void read_file(const char *path, struct buf *ret)
{
    buf_init(ret, 1u << 30);
    assert_int_equal(fs_read_file(path, ret), ERR_OK);
}

static void set_add(struct set *s, const char *path, struct segment **segments, uint32_t n)
{
    struct block_meta meta = {.tenant = "tenant", .writer = "ingester-0", .lsn_lo = 1, .lsn_hi = 2};
    (void)snprintf(meta.id, sizeof meta.id, "01234567-89ab-8def-8123-45678900%04u", s->count);
    meta.created_ns = START_NS + s->count;
    assert_int_equal(block_write(path, segments, n, NULL, NULL, NULL, &meta), ERR_OK);
    read_file(path, &s->bytes[s->count]);
    s->blocks[s->count] = open_bytes(&s->bytes[s->count]);
    s->count++;
}

static void set_release(struct set *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        block_unref(s->blocks[i]);
        buf_release(&s->bytes[i]);
    }
    s->count = 0;
}

static void append(struct head *h, struct slice otlp)
{
    struct head_append_result r;
    assert_int_equal(head_append(h, otlp, false, 1, &r), ERR_OK);
}

/* Spans of a snapshot over `n` heads: whole traces, traces in pieces, copies of spans and of traces. */
static void scatter(struct segment *s, struct rng *rng, struct head **heads, uint32_t n)
{
    struct arena a;
    struct buf otlp;
    arena_init(&a, NULL);
    buf_init(&otlp, 1u << 28);
    for (uint32_t t = 0; t < s->trace_count; t++) {
        const uint32_t *rows;
        uint32_t count, whole = (uint32_t)rng_below(rng, n);
        bool is_split = rng_below(rng, 4) == 0;
        assert_int_equal(segment_trace_rows(s, t, &a, &rows, &count), ERR_OK);
        if (!is_split) {
            buf_reset(&otlp);
            assert_int_equal(segment_write_otlp(s, rows, count, &otlp), ERR_OK);
            append(heads[whole], buf_slice(&otlp));
            if (rng_below(rng, 8) == 0)
                append(heads[rng_below(rng, n)], buf_slice(&otlp));
        }
        for (uint32_t i = 0; is_split && i < count; i++) {
            buf_reset(&otlp);
            assert_int_equal(segment_write_otlp(s, &rows[i], 1, &otlp), ERR_OK);
            append(heads[rng_below(rng, n)], buf_slice(&otlp));
            if (rng_below(rng, 5) == 0)
                append(heads[rng_below(rng, n)], buf_slice(&otlp));
        }
        arena_reset(&a);
    }
    buf_release(&otlp);
    arena_release(&a);
}

static void make_set(void **state, uint64_t seed, uint32_t spans, bool is_odd, uint32_t n,
                     struct set *ret)
{
    struct otlp_gen g;
    struct rng rng;
    struct head *all = NULL, *heads[BLOCKS_MAX] = {0};
    struct segment *s = NULL;
    struct buf b;
    buf_init(&b, 1u << 28);
    rng_init(&rng, seed);
    otlp_gen_init(&g, seed, START_NS);
    assert_int_equal(head_new(NULL, &keep_all, &all), ERR_OK);
    for (int i = 0; i < 3; i++) {
        buf_reset(&b);
        if (is_odd)
            otlp_gen_odd_request(&g, spans / 3, &b);
        else
            otlp_gen_request(&g, spans / 3, &b);
        append(all, buf_slice(&b));
    }
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(head_new(NULL, &keep_all, &heads[i]), ERR_OK);
    assert_int_equal(head_segment(all, NULL, &s), ERR_OK);
    scatter(s, &rng, heads, n);
    segment_close(s);
    for (uint32_t i = 0; i < n; i++) {
        struct head_stats stats;
        head_stats(heads[i], &stats);
        if (stats.spans != 0) {
            assert_int_equal(head_segment(heads[i], NULL, &s), ERR_OK);
            set_add(ret, tmpdir_path(state, "input"), &s, 1);
            segment_close(s);
        }
        head_unref(heads[i]);
    }
    head_unref(all);
    otlp_gen_release(&g);
    buf_release(&b);
}

static enum err merge(const char *path, struct block **inputs, uint32_t count,
                      struct budget *budget, struct block_meta *meta,
                      struct block_merge_result *result)
{
    struct block_merge job = {.inputs = inputs, .input_count = count, .budget = budget};
    *meta = (struct block_meta){.id = "00000000-89ab-8def-8123-456789000000", .tenant = "tenant"};
    return block_merge(path, &job, meta, result);
}

/* All row groups of all blocks into one block, by the writer that has them all in memory. */
static void brute_force(void **state, const struct set *in, struct set *ret)
{
    struct segment *segments[SEGMENTS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->count; i++)
        for (uint32_t g = 0; g < block_group_count(in->blocks[i]); g++) {
            assert_true(n < SEGMENTS_MAX);
            assert_int_equal(block_segment(in->blocks[i], g, NULL, &segments[n++]), ERR_OK);
        }
    set_add(ret, tmpdir_path(state, "brute"), segments, n);
    while (n > 0)
        segment_close(segments[--n]);
}

struct line { /* what the order of a block is told by */
    struct trace_id trace;
    uint64_t span_id, parent_id, start_ns, trace_start, trace_end;
};

/* Every span in order, and every span's content; checks what each trace says of itself and that it is found. */
static struct line *read_all(struct block *b, struct otlp_canon *canon)
{
    struct line *lines = calloc(block_meta(b)->span_count, sizeof *lines);
    uint64_t at = 0, spans = 0, traces = 0;
    assert_non_null(lines);
    for (uint32_t g = 0; g < block_group_count(b); g++) {
        struct segment *s;
        struct seg_fixed f;
        struct seg_traces t;
        struct buf otlp;
        buf_init(&otlp, 1u << 28);
        assert_int_equal(block_segment(b, g, NULL, &s), ERR_OK);
        assert_int_equal(segment_fixed(s, SEG_F_ALL, &f), ERR_OK);
        assert_int_equal(segment_traces(s, &t), ERR_OK);
        uint32_t *rows = calloc(s->row_count[SEG_SPAN], sizeof *rows);
        for (uint32_t r = 0; r < s->row_count[SEG_SPAN]; r++) {
            rows[r] = r;
            lines[at++] = (struct line){.trace = t.id[f.trace[r]],
                                        .span_id = f.span_id[r],
                                        .parent_id = f.parent_id[r],
                                        .start_ns = f.start_ns[r],
                                        .trace_start = t.min_start_ns[f.trace[r]],
                                        .trace_end = t.max_end_ns[f.trace[r]]};
        }
        for (uint32_t i = 0; i < s->trace_count; i++) {
            uint32_t group, trace;
            assert_int_equal(block_find_trace(b, t.id[i], &group, &trace), ERR_OK);
            assert_int_equal(group, g);
            assert_int_equal(trace, i);
        }
        assert_int_equal(segment_write_otlp(s, rows, s->row_count[SEG_SPAN], &otlp), ERR_OK);
        otlp_canon_add(canon, buf_slice(&otlp));
        spans += s->row_count[SEG_SPAN];
        traces += s->trace_count;
        free(rows);
        buf_release(&otlp);
        segment_close(s);
    }
    assert_int_equal(spans, block_meta(b)->span_count);
    assert_int_equal(traces, block_meta(b)->trace_count);
    return lines;
}

static void assert_same_blocks(struct block *a, struct block *b)
{
    struct otlp_canon ca = {0}, cb = {0};
    assert_int_equal(block_meta(a)->span_count, block_meta(b)->span_count);
    assert_int_equal(block_meta(a)->trace_count, block_meta(b)->trace_count);
    assert_int_equal(block_meta(a)->min_start_ns, block_meta(b)->min_start_ns);
    assert_int_equal(block_meta(a)->max_end_ns, block_meta(b)->max_end_ns);
    struct line *la = read_all(a, &ca), *lb = read_all(b, &cb);
    assert_memory_equal(la, lb, block_meta(a)->span_count * sizeof *la);
    otlp_canon_sort(&ca, false);
    otlp_canon_sort(&cb, false);
    otlp_canon_assert_equal(&ca, &cb);
    otlp_canon_release(&ca);
    otlp_canon_release(&cb);
    free(la);
    free(lb);
}

static void check_merge(void **state, uint64_t seed, uint32_t spans, bool is_odd, uint32_t n)
{
    struct set in = {0}, brute = {0};
    struct block *reversed[BLOCKS_MAX];
    struct block_meta meta;
    struct block_merge_result result;
    struct budget budget;
    struct buf merged, again;
    const char *path = tmpdir_path(state, "merged");
    make_set(state, seed, spans, is_odd, n, &in);
    brute_force(state, &in, &brute);
    budget_init(&budget, 64u << 20, NULL);
    assert_int_equal(merge(path, in.blocks, in.count, &budget, &meta, &result), ERR_OK);
    assert_int_equal(budget_used(&budget), 0);
    read_file(path, &merged);
    assert_int_equal(merged.len, meta.bytes);
    assert_int_equal(meta.created_ns, START_NS + in.count - 1);
    struct block *b = open_bytes(&merged);
    assert_same_blocks(b, brute.blocks[0]);
    uint64_t before = 0;
    for (uint32_t i = 0; i < in.count; i++) {
        before += block_meta(in.blocks[i])->span_count;
        reversed[in.count - 1 - i] = in.blocks[i];
    }
    assert_int_equal(result.copies, before - meta.span_count);
    /* In another order: the same bytes. */
    assert_int_equal(merge(path, reversed, in.count, NULL, &meta, &result), ERR_OK);
    read_file(path, &again);
    assert_int_equal(merged.len, again.len);
    assert_memory_equal(merged.ptr, again.ptr, again.len);
    block_unref(b);
    buf_release(&merged);
    buf_release(&again);
    set_release(&in);
    set_release(&brute);
}

static void test_random(void **state)
{
    for (uint64_t seed = 1; seed <= 24; seed++)
        check_merge(state, seed, 300, seed % 2 == 0, 1 + (uint32_t)(seed % BLOCKS_MAX));
}

/* More than a row group in each input, and in the output. */
static void test_many_groups(void **state)
{
    check_merge(state, 77, 60000, false, 3);
}

/* One input: what comes out is what went in. */
static void test_single(void **state)
{
    check_merge(state, 5, 20000, false, 1);
}

/* --- one trace --- */

/* Span `id` of one trace; a child of `parent`. */
static void put_span(struct buf *b, uint64_t trace, uint64_t id, uint64_t parent, uint64_t start_ns)
{
    uint8_t trace_id[TRACE_ID_BYTES] = {9};
    memcpy(trace_id + 8, &trace, sizeof trace);
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, (struct slice){trace_id, sizeof trace_id});
    pb_bytes(b, 2, (struct slice){(const uint8_t *)&id, 8});
    if (parent != 0)
        pb_bytes(b, 4, (struct slice){(const uint8_t *)&parent, 8});
    pb_bytes(b, 5, slice_str(id % 3 == 0 ? "GET /a" : "SELECT"));
    pb_fixed64(b, 7, START_NS + start_ns);
    pb_fixed64(b, 8, START_NS + start_ns + 10);
    size_t attribute = pb_begin(b, 9);
    pb_bytes(b, 1, slice_str("code"));
    size_t value = pb_begin(b, 2);
    pb_varint(b, 3, id % 600);
    pb_end(b, value);
    pb_end(b, attribute);
    pb_end(b, span);
}

/* A block of the spans with first <= id < end and id % of == rest, each the child of the one with half its id. */
static void add_spans(void **state, struct set *s, uint64_t trace, uint64_t first, uint64_t end,
                      uint64_t of, uint64_t rest)
{
    struct head *h = NULL;
    struct segment *segment = NULL;
    struct buf b;
    buf_init(&b, 1u << 28);
    assert_int_equal(head_new(NULL, &keep_all, &h), ERR_OK);
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    for (uint64_t i = first; i < end; i++)
        if (i % of == rest)
            put_span(&b, trace, i, i / 2, i);
    pb_end(&b, ss);
    pb_end(&b, rs);
    append(h, buf_slice(&b));
    assert_int_equal(head_segment(h, NULL, &segment), ERR_OK);
    set_add(s, tmpdir_path(state, "input"), &segment, 1);
    segment_close(segment);
    head_unref(h);
    buf_release(&b);
}

static bool settle_one(void *arg, struct trace_id id, uint64_t max_end_ns)
{
    uint64_t trace;
    memcpy(&trace, id.b + 8, sizeof trace);
    assert_true(max_end_ns > START_NS);
    return trace == *(const uint64_t *)arg;
}

/* A flag goes when whoever knows the other blocks says so, and not before. */
static void test_flags(void **state)
{
    struct set in = {0};
    struct block_meta meta = {.id = "00000000-89ab-8def-8123-456789000000", .tenant = "tenant"};
    struct block_merge_result result;
    struct buf bytes;
    const char *path = tmpdir_path(state, "merged");
    const struct trace_id *flagged;
    uint64_t settled = 1;
    uint32_t count;
    add_spans(state, &in, 1, 1, 10, 2, 0); /* both in pieces whose parents are elsewhere */
    add_spans(state, &in, 1, 1, 10, 2, 1);
    add_spans(state, &in, 2, 4, 10, 1, 0); /* its root never came */
    for (int i = 0; i < 3; i++)
        assert_int_equal(block_meta(in.blocks[i])->flagged_count, 1);
    struct block_merge job = {.inputs = in.blocks, .input_count = in.count};
    assert_int_equal(block_merge(path, &job, &meta, &result), ERR_OK);
    assert_int_equal(meta.flagged_count, 2);
    assert_int_equal(meta.trace_count, 2);
    assert_int_equal(result.traces_joined, 1);
    job.settle = settle_one;
    job.settle_arg = &settled;
    assert_int_equal(block_merge(path, &job, &meta, &result), ERR_OK);
    assert_int_equal(meta.flagged_count, 1);
    assert_int_equal(result.flags_cleared, 1);
    read_file(path, &bytes);
    struct block *b = open_bytes(&bytes);
    assert_int_equal(block_flagged(b, &flagged, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(flagged[0].b[8], 2);
    block_unref(b);
    buf_release(&bytes);
    set_release(&in);
}

/* A trace of many spans, in pieces over two blocks: within what the header says. */
static void test_long_trace(void **state)
{
    enum { SPANS = 1000000 };
    struct set in = {0};
    struct block_meta meta;
    struct block_merge_result result;
    struct budget budget;
    struct buf bytes;
    struct seg_fixed f;
    struct segment *s;
    const char *path = tmpdir_path(state, "merged");
    add_spans(state, &in, 7, 1, SPANS + 1, 3, 0);
    add_spans(state, &in, 7, 1, SPANS + 1, 3, 1);
    add_spans(state, &in, 7, 1, SPANS + 1, 3, 2);
    budget_init(&budget, (64u << 20) + (size_t)SPANS * BLOCK_MERGE_LARGE_BYTES, NULL);
    assert_int_equal(merge(path, in.blocks, in.count, &budget, &meta, &result), ERR_OK);
    assert_int_equal(meta.span_count, SPANS);
    assert_int_equal(meta.trace_count, 1);
    read_file(path, &bytes);
    struct block *b = open_bytes(&bytes);
    assert_int_equal(block_group_count(b), 1);
    assert_int_equal(block_segment(b, 0, NULL, &s), ERR_OK);
    assert_int_equal(segment_fixed(s, SEG_F_ALL, &f), ERR_OK);
    for (uint32_t i = 1; i < SPANS; i++) /* depth-first: the first child follows its parent */
        if (f.span_id[i - 1] * 2 <= SPANS)
            assert_int_equal(f.span_id[i], f.span_id[i - 1] * 2);
    segment_close(s);
    block_unref(b);
    buf_release(&bytes);
    set_release(&in);
}

static bool is_over(void *arg)
{
    return --*(int *)arg < 0;
}

/* Stopped, or out of room: an error, and no file. */
static void test_given_up(void **state)
{
    struct set in = {0};
    struct block_meta meta;
    struct block_merge_result result;
    const char *path = tmpdir_path(state, "merged");
    int groups = 1;
    make_set(state, 3, 40000, false, 2, &in);
    struct block_merge job = {
        .inputs = in.blocks, .input_count = in.count, .is_stopped = is_over, .stop_arg = &groups};
    assert_int_equal(block_merge(path, &job, &meta, &result), ERR_CANCELED);
    assert_int_not_equal(access(path, F_OK), 0);
    for (size_t limit = 1000; limit < (16u << 20); limit += limit / 3) {
        struct budget budget;
        budget_init(&budget, limit, NULL);
        enum err e = merge(path, in.blocks, in.count, &budget, &meta, &result);
        assert_true(e == ERR_OK || e == ERR_LIMIT);
        assert_int_equal(budget_used(&budget), 0);
        assert_int_equal(access(path, F_OK) == 0, e == ERR_OK);
        (void)unlink(path);
    }
    set_release(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_many_groups, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_single, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_flags, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_long_trace, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_given_up, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
