#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

static const struct head_options keep_all = {.max_attribute_bytes = 0};
static const struct block_meta meta_in = {.id = "01234567-89ab-cdef-0123-456789abcdef",
                                          .tenant = "tenant",
                                          .writer = "ingester-0",
                                          .lsn_lo = 3,
                                          .lsn_hi = 9,
                                          .created_ns = 1700000000000000000};

/* Writes a block of all traces of the segments (or the taken ones) and gives its bytes. */
static void write_block(struct segment **segments, uint32_t count, block_take_fn *take, void *arg,
                        struct block_meta *meta, struct buf *ret)
{
    void *dir = NULL;
    assert_int_equal(tmpdir_setup(&dir), 0);
    const char *path = tmpdir_path(&dir, "data.vvb");
    *meta = meta_in;
    assert_int_equal(block_write(path, segments, count, take, arg, NULL, meta), ERR_OK);
    buf_init(ret, 1u << 30);
    assert_int_equal(fs_read_file(path, ret), ERR_OK);
    assert_int_equal(ret->len, meta->bytes);
    assert_int_equal(tmpdir_teardown(&dir), 0);
}

static struct block *open_bytes(struct slice bytes)
{
    struct object *o;
    struct block *b = NULL;
    assert_int_equal(object_memory(bytes, &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &b), ERR_OK);
    return b;
}

static struct head *head_of(uint64_t seed, bool is_odd, uint32_t spans, uint32_t requests,
                            struct otlp_canon *ret)
{
    struct otlp_gen g;
    struct head *h = NULL;
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, seed, 1700000000000000000);
    assert_int_equal(head_new(NULL, &keep_all, &h), ERR_OK);
    for (uint32_t i = 0; i < requests; i++) {
        buf_reset(&b);
        if (is_odd)
            otlp_gen_odd_request(&g, spans, &b);
        else
            otlp_gen_request(&g, spans, &b);
        assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
        if (ret != NULL)
            otlp_canon_add(ret, buf_slice(&b));
    }
    otlp_gen_release(&g);
    buf_release(&b);
    return h;
}

static struct segment *snapshot(struct head *h)
{
    struct segment *s = NULL;
    assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
    return s;
}

/* All spans of a block, and that what each group says of itself holds. */
static void read_all(struct block *b, struct otlp_canon *out)
{
    uint64_t spans = 0, traces = 0;
    for (uint32_t g = 0; g < block_group_count(b); g++) {
        struct segment *s = NULL;
        struct seg_traces t;
        struct seg_fixed f;
        struct buf otlp;
        struct arena a;
        uint64_t min_start, max_end;
        uint32_t count;
        buf_init(&otlp, 1u << 28);
        arena_init(&a, NULL);
        assert_int_equal(block_segment(b, g, NULL, &s), ERR_OK);
        assert_true(s->is_contiguous);
        assert_int_equal(segment_traces(s, &t), ERR_OK);
        assert_int_equal(segment_fixed(s, SEG_F_ALL, &f), ERR_OK);
        block_group_range(b, g, &min_start, &max_end);
        for (uint32_t i = 0, at = 0; i < s->trace_count; i++) {
            const uint32_t *rows;
            assert_int_equal(segment_trace_rows(s, i, &a, &rows, &count), ERR_OK);
            assert_int_equal(count, t.span_count[i]);
            assert_true(i == 0 || t.min_start_ns[i - 1] <= t.min_start_ns[i]);
            for (uint32_t k = 0; k < count; k++, at++) {
                assert_int_equal(rows[k], at);
                assert_int_equal(f.trace[at], i);
                assert_true(f.start_ns[at] >= min_start &&
                            f.start_ns[at] + f.duration_ns[at] <= max_end);
            }
            uint32_t group, trace;
            assert_int_equal(block_find_trace(b, t.id[i], &group, &trace), ERR_OK);
            assert_int_equal(group, g);
            assert_int_equal(trace, i);
        }
        uint32_t *rows = calloc(s->row_count[SEG_SPAN], sizeof *rows);
        assert_non_null(rows);
        for (uint32_t i = 0; i < s->row_count[SEG_SPAN]; i++)
            rows[i] = i;
        assert_int_equal(segment_write_otlp(s, rows, s->row_count[SEG_SPAN], &otlp), ERR_OK);
        assert_int_equal(otlp_check(buf_slice(&otlp), &otlp_limits_default, &count, NULL), ERR_OK);
        assert_int_equal(count, s->row_count[SEG_SPAN]);
        otlp_canon_add(out, buf_slice(&otlp));
        spans += count;
        traces += s->trace_count;
        free(rows);
        arena_release(&a);
        buf_release(&otlp);
        segment_close(s);
    }
    assert_int_equal(spans, block_meta(b)->span_count);
    assert_int_equal(traces, block_meta(b)->trace_count);
}

static void check_round_trip(uint64_t seed, bool is_odd, uint32_t spans, uint32_t requests)
{
    struct otlp_canon in = {0}, out = {0};
    struct head *h = head_of(seed, is_odd, spans, requests, &in);
    struct segment *s = snapshot(h);
    struct block_meta meta;
    struct buf bytes, again;
    write_block(&s, 1, NULL, NULL, &meta, &bytes);
    assert_int_equal(meta.span_count, s->row_count[SEG_SPAN]);
    assert_int_equal(meta.trace_count, s->trace_count);
    segment_close(s);
    s = snapshot(h);
    write_block(&s, 1, NULL, NULL, &meta, &again); /* the same, byte for byte */
    assert_true(slice_eq(buf_slice(&bytes), buf_slice(&again)));
    segment_close(s);
    head_unref(h);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_string_equal(block_meta(b)->id, meta_in.id);
    assert_string_equal(block_meta(b)->writer, meta_in.writer);
    assert_int_equal(block_meta(b)->lsn_hi, 9);
    assert_int_equal(block_meta(b)->bytes, bytes.len);
    read_all(b, &out);
    otlp_canon_sort(&in, true);
    otlp_canon_sort(&out, false);
    otlp_canon_assert_equal(&in, &out);
    block_unref(b);
    otlp_canon_release(&in);
    otlp_canon_release(&out);
    buf_release(&bytes);
    buf_release(&again);
}

static void test_round_trip_realistic(void **state)
{
    (void)state;
    check_round_trip(1, false, 20000, 2); /* several groups */
}

static void test_round_trip_odd(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        check_round_trip(seed, true, 50, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_realistic),
        cmocka_unit_test(test_round_trip_odd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
