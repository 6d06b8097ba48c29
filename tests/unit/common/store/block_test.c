#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <pthread.h>

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

/* --- which spans, in which order --- */

/* A request of one span; `name` tells them apart. */
static void append_span(struct head *h, uint8_t trace, uint64_t id, uint64_t parent,
                        uint64_t start_ns, const char *name)
{
    uint8_t trace_id[TRACE_ID_BYTES] = {trace};
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 20);
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2), span = pb_begin(&b, 2);
    pb_bytes(&b, 1, (struct slice){trace_id, sizeof trace_id});
    pb_bytes(&b, 2, (struct slice){(const uint8_t *)&id, 8});
    if (parent != 0)
        pb_bytes(&b, 4, (struct slice){(const uint8_t *)&parent, 8});
    pb_bytes(&b, 5, slice_str(name));
    pb_fixed64(&b, 7, start_ns);
    pb_fixed64(&b, 8, start_ns + 10);
    pb_end(&b, span);
    pb_end(&b, ss);
    pb_end(&b, rs);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    buf_release(&b);
}

/* The names of the spans of a one-group block, in order: "a b c". */
static void check_order(struct segment **segments, uint32_t count, const char *want,
                        uint32_t want_flagged)
{
    struct block_meta meta;
    struct buf bytes, got;
    struct segment *s = NULL;
    struct seg_fixed f;
    const struct trace_id *flagged;
    uint32_t flagged_count;
    write_block(segments, count, NULL, NULL, &meta, &bytes);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_int_equal(block_segment(b, 0, NULL, &s), ERR_OK);
    assert_int_equal(segment_fixed(s, SEG_F_ALL, &f), ERR_OK);
    buf_init(&got, 1u << 20);
    for (uint32_t i = 0; i < s->row_count[SEG_SPAN]; i++) {
        if (i != 0)
            buf_append_byte(&got, ' ');
        buf_append(&got, f.name.values[f.name.codes[i]]);
    }
    buf_append_byte(&got, '\0');
    assert_string_equal((const char *)got.ptr, want);
    assert_int_equal(block_flagged(b, &flagged, &flagged_count), ERR_OK);
    assert_int_equal(flagged_count, want_flagged);
    for (uint32_t i = 1; i < flagged_count; i++)
        assert_true(trace_id_cmp(flagged[i - 1], flagged[i]) < 0);
    segment_close(s);
    block_unref(b);
    buf_release(&bytes);
    buf_release(&got);
}

static struct head *empty_head(void)
{
    struct head *h = NULL;
    assert_int_equal(head_new(NULL, &keep_all, &h), ERR_OK);
    return h;
}

static void test_depth_first(void **state)
{
    (void)state;
    struct head *h = empty_head();
    append_span(h, 1, 5, 2, 150, "grandchild");
    append_span(h, 1, 2, 1, 120, "child2");
    append_span(h, 1, 3, 1, 110, "child1");
    append_span(h, 1, 9, 8, 90, "orphan");
    append_span(h, 1, 1, 0, 100, "root");
    append_span(h, 1, 4, 1, 110, "child1b"); /* same start: by span id */
    append_span(h, 2, 1, 0, 50, "earlier");
    struct segment *s = snapshot(h);
    check_order(&s, 1, "earlier root child1 child1b child2 grandchild orphan", 1);
    segment_close(s);
    head_unref(h);
}

static void test_circles(void **state)
{
    (void)state;
    struct head *h = empty_head();
    append_span(h, 1, 1, 1, 10, "self");
    append_span(h, 2, 1, 3, 30, "x");
    append_span(h, 2, 2, 1, 20, "y");
    append_span(h, 2, 3, 2, 40, "z");
    append_span(h, 2, 4, 3, 50, "tail");
    struct segment *s = snapshot(h);
    check_order(&s, 1, "self y z x tail", 2);
    segment_close(s);
    head_unref(h);
}

/* Spans of one id and different content all stay; their children hang on the first. */
static void test_shared_ids(void **state)
{
    (void)state;
    struct head *h = empty_head();
    append_span(h, 1, 1, 0, 10, "root");
    append_span(h, 1, 2, 1, 20, "client");
    append_span(h, 1, 2, 1, 21, "server");
    append_span(h, 1, 3, 2, 30, "inner");
    append_span(h, 1, 2, 1, 20, "third");
    struct segment *s = snapshot(h);
    check_order(&s, 1, "root client inner third server", 0);
    segment_close(s);
    head_unref(h);
}

/* Parts of a trace in several heads become one; what is in both is kept once. */
static void test_joined_parts(void **state)
{
    (void)state;
    struct head *h[2] = {empty_head(), empty_head()};
    append_span(h[0], 1, 2, 1, 20, "child");
    append_span(h[0], 1, 3, 2, 30, "leaf");
    append_span(h[1], 1, 1, 0, 10, "root");
    append_span(h[1], 1, 2, 1, 20, "child");
    append_span(h[1], 2, 1, 0, 15, "other");
    struct segment *s[2] = {snapshot(h[0]), snapshot(h[1])};
    check_order(s, 2, "root child leaf other",
                1); /* the part without a root was flagged: it stays so */
    for (int i = 0; i < 2; i++) {
        segment_close(s[i]);
        head_unref(h[i]);
    }
}

static bool take_first(void *arg, uint32_t segment_no, uint32_t trace)
{
    return segment_no == 0 && trace == *(const uint32_t *)arg;
}

static void test_chosen(void **state)
{
    (void)state;
    struct head *h = empty_head();
    append_span(h, 1, 1, 0, 10, "one");
    append_span(h, 2, 1, 0, 20, "two");
    struct segment *s = snapshot(h);
    struct block_meta meta;
    struct buf bytes;
    uint32_t which = 1, group, trace;
    write_block(&s, 1, take_first, &which, &meta, &bytes);
    assert_int_equal(meta.span_count, 1);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_int_equal(block_find_trace(b, (struct trace_id){{2}}, &group, &trace), ERR_OK);
    assert_int_equal(block_find_trace(b, (struct trace_id){{1}}, &group, &trace), ERR_NOT_FOUND);
    block_unref(b);
    buf_release(&bytes);
    void *dir = NULL;
    assert_int_equal(tmpdir_setup(&dir), 0);
    which = 7;
    assert_int_equal(block_write(tmpdir_path(&dir, "x"), &s, 1, take_first, &which, NULL, &meta),
                     ERR_NOT_FOUND);
    assert_int_equal(tmpdir_teardown(&dir), 0);
    segment_close(s);
    head_unref(h);
}

/* A trace longer than a group is a group of its own; many spans of one start and id do not take forever. */
static void test_long_trace(void **state)
{
    (void)state;
    enum { LONG = BLOCK_GROUP_SPANS + 5000 };
    struct otlp_canon in = {0}, out = {0};
    struct head *h = empty_head();
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 28);
    append_span(h, 1, 1, 0, 1, "before");
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    for (uint64_t i = 0; i < LONG; i++) {
        uint8_t trace_id[TRACE_ID_BYTES] = {9};
        uint64_t id = i < 4000 ? 1 : i, parent = i / 2;
        size_t span = pb_begin(&b, 2);
        pb_bytes(&b, 1, (struct slice){trace_id, sizeof trace_id});
        pb_bytes(&b, 2, (struct slice){(const uint8_t *)&id, 8});
        if (parent != 0)
            pb_bytes(&b, 4, (struct slice){(const uint8_t *)&parent, 8});
        pb_fixed64(&b, 7, i < 4000 ? 500 : 1000 + i);
        pb_fixed64(&b, 8, 2000 + i);
        pb_end(&b, span);
    }
    pb_end(&b, ss);
    pb_end(&b, rs);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    append_span(h, 200, 1, 0, 90000000, "after");
    struct segment *s = snapshot(h);
    uint32_t n = s->row_count[SEG_SPAN];
    uint32_t *rows = calloc(n, sizeof *rows);
    assert_non_null(rows);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = i;
    buf_reset(&b);
    assert_int_equal(segment_write_otlp(s, rows, n, &b), ERR_OK);
    otlp_canon_add(&in, buf_slice(&b));
    free(rows);
    struct block_meta meta;
    struct buf bytes;
    write_block(&s, 1, NULL, NULL, &meta, &bytes);
    struct block *block = open_bytes(buf_slice(&bytes));
    assert_int_equal(block_group_count(block), 3);
    read_all(block, &out);
    otlp_canon_sort(&in, false);
    otlp_canon_sort(&out, false);
    otlp_canon_assert_equal(&in, &out);
    block_unref(block);
    otlp_canon_release(&in);
    otlp_canon_release(&out);
    buf_release(&bytes);
    buf_release(&b);
    segment_close(s);
    head_unref(h);
}

/* Blocks made into a block: the same spans, once. */
static void test_from_blocks(void **state)
{
    (void)state;
    for (int odd = 0; odd < 2; odd++) {
        struct otlp_canon in = {0}, out = {0};
        struct segment *parts[64];
        struct block *b[2];
        struct buf bytes[2], joined;
        struct block_meta meta;
        uint32_t count = 0;
        for (int i = 0; i < 2; i++) { /* the second holds what the first holds, and more */
            struct head *h = head_of(odd ? 77 : 5, odd != 0, odd ? 60 : 12000, i == 0 ? 1 : 2,
                                     i == 0 ? NULL : &in);
            struct segment *s = snapshot(h);
            write_block(&s, 1, NULL, NULL, &meta, &bytes[i]);
            segment_close(s);
            head_unref(h);
            b[i] = open_bytes(buf_slice(&bytes[i]));
            for (uint32_t g = 0; g < block_group_count(b[i]); g++)
                assert_int_equal(block_segment(b[i], g, NULL, &parts[count++]), ERR_OK);
        }
        write_block(parts, count, NULL, NULL, &meta, &joined);
        for (uint32_t i = 0; i < count; i++)
            segment_close(parts[i]);
        struct block *all = open_bytes(buf_slice(&joined));
        read_all(all, &out);
        otlp_canon_sort(&in, true);
        otlp_canon_sort(&out, false);
        otlp_canon_assert_equal(&in, &out);
        block_unref(all);
        for (int i = 0; i < 2; i++) {
            block_unref(b[i]);
            buf_release(&bytes[i]);
        }
        buf_release(&joined);
        otlp_canon_release(&in);
        otlp_canon_release(&out);
    }
}

/* --- what a query may leave out, and what it reads --- */

static void test_may_have(void **state)
{
    (void)state;
    struct head *h = head_of(4, false, 40000, 1, NULL);
    struct segment *s = snapshot(h);
    struct block_meta meta;
    struct buf bytes;
    write_block(&s, 1, NULL, NULL, &meta, &bytes);
    segment_close(s);
    head_unref(h);
    struct block *b = open_bytes(buf_slice(&bytes));
    struct slice here = SLICE_LIT("postgresql"), nowhere = SLICE_LIT("oracle"),
                 service = SLICE_LIT("checkout");
    uint32_t with = 0;
    for (uint32_t g = 0; g < block_group_count(b); g++) {
        assert_true(block_group_may_have(b, g, SEG_SPAN, SLICE_LIT("db.system"), NULL));
        assert_true(block_group_may_have(b, g, SEG_SPAN, SLICE_LIT("db.system"), &here));
        assert_false(block_group_may_have(b, g, SEG_SPAN, SLICE_LIT("db.system"), &nowhere));
        assert_false(block_group_may_have(b, g, SEG_SPAN, SLICE_LIT("no.such"), NULL));
        assert_false(block_group_may_have(b, g, SEG_RESOURCE, SLICE_LIT("db.system"), NULL));
        assert_true(block_group_may_have(b, g, SEG_RESOURCE, SLICE_LIT("service.name"), &service));
        /* Against the values themselves. */
        const struct seg_column *c;
        uint32_t count;
        assert_int_equal(block_segment(b, g, NULL, &s), ERR_OK);
        assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("thread.name"), &c, &count),
                         ERR_OK);
        assert_int_equal(count, 1);
        for (unsigned i = 0; i < 60; i++) {
            char text[40];
            (void)snprintf(text, sizeof text, "http-nio-8080-exec-%u", i);
            struct slice want = slice_str(text);
            bool is_here = false;
            for (uint32_t k = 0; k < c->count; k++)
                is_here |= slice_eq(c->values[c->codes[k]], want);
            assert_int_equal(block_group_may_have(b, g, SEG_SPAN, SLICE_LIT("thread.name"), &want),
                             is_here);
            with += is_here;
        }
        segment_close(s);
    }
    assert_true(with > 0);
    block_unref(b);
    buf_release(&bytes);
}

static void test_reads_little(void **state)
{
    (void)state;
    struct head *h = head_of(4, false, 40000, 1, NULL);
    struct segment *s = snapshot(h);
    struct block_meta meta;
    struct buf bytes;
    write_block(&s, 1, NULL, NULL, &meta, &bytes);
    segment_close(s);
    head_unref(h);
    assert_true(meta.bytes / meta.span_count < 80);
    struct block *b = open_bytes(buf_slice(&bytes));
    uint64_t opened = block_read_bytes(b);
    for (uint32_t g = 0; g < block_group_count(b); g++) {
        const struct seg_column *c;
        uint32_t count;
        assert_int_equal(block_segment(b, g, NULL, &s), ERR_OK);
        assert_int_equal(s->read_bytes, 0);
        assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.status_code"), &c, &count),
                         ERR_OK);
        assert_int_equal(count, 1);
        assert_true(s->read_bytes > 0);
        segment_close(s);
    }
    /* The first read of a file takes the tail whole, whatever the footer needs: it is left out here, where the file is small. */
    assert_true((block_read_bytes(b) - opened) * 20 < meta.bytes);
    block_unref(b);
    buf_release(&bytes);
}

/* A block whose own budget has no room for dictionaries reads all the same. */
static void test_tight_block_budget(void **state)
{
    (void)state;
    struct head *h = head_of(4, false, 3000, 1, NULL);
    struct segment *s = snapshot(h);
    struct block_meta meta;
    struct buf bytes;
    struct budget budget;
    struct object *o;
    struct block *b = NULL;
    write_block(&s, 1, NULL, NULL, &meta, &bytes);
    segment_close(s);
    head_unref(h);
    budget_init(&budget, 400000, NULL);
    assert_int_equal(object_memory(buf_slice(&bytes), &o), ERR_OK);
    assert_int_equal(block_open(o, &budget, &b), ERR_OK);
    budget.limit_bytes = budget_used(&budget) + 100;
    assert_int_equal(block_segment(b, 0, NULL, &s), ERR_OK);
    const struct seg_column *c;
    uint32_t count;
    assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.route"), &c, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.route"), &c, &count), ERR_OK);
    segment_close(s);
    struct budget tiny; /* and a segment that has none says so */
    budget_init(&tiny, 5000, NULL);
    assert_int_equal(block_segment(b, 0, &tiny, &s), ERR_OK);
    assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.target"), &c, &count),
                     ERR_LIMIT);
    segment_close(s);
    block_unref(b);
    assert_int_equal(budget_used(&budget), 0);
    assert_int_equal(budget_used(&tiny), 0);
    buf_release(&bytes);
}

/* --- damage --- */

/* Everything a block says, as bytes; an error instead of a wrong answer. */
static enum err say_all(struct slice bytes, struct buf *out)
{
    struct object *o;
    struct block *b = NULL;
    struct budget budget;
    const struct trace_id *flagged;
    uint32_t flagged_count;
    budget_init(&budget, 64u << 20, NULL);
    assert_int_equal(object_memory(bytes, &o), ERR_OK);
    enum err e = block_open(o, &budget, &b);
    if (e != ERR_OK)
        return e;
    e = block_flagged(b, &flagged, &flagged_count);
    if (e == ERR_OK)
        buf_append(out, (struct slice){(const uint8_t *)flagged, flagged_count * sizeof *flagged});
    for (uint32_t g = 0; e == ERR_OK && g < block_group_count(b); g++) {
        struct segment *s = NULL;
        struct seg_traces t;
        struct arena a;
        arena_init(&a, &budget);
        assert_int_equal(block_segment(b, g, &budget, &s), ERR_OK);
        e = segment_traces(s, &t);
        for (uint32_t i = 0; e == ERR_OK && i < s->trace_count; i++) {
            const uint32_t *rows;
            uint32_t count, group, trace;
            e = segment_trace_rows(s, i, &a, &rows, &count);
            if (e == ERR_OK)
                e = segment_write_otlp(s, rows, count, out);
            if (e == ERR_OK)
                e = block_find_trace(b, t.id[i], &group, &trace);
            buf_append(out, (struct slice){t.id[i].b, TRACE_ID_BYTES});
            buf_append_le64(out, t.min_start_ns[i]);
            buf_append_le64(out, t.max_end_ns[i]);
            buf_append_byte(out, t.flags[i]);
        }
        segment_close(s);
        arena_release(&a);
    }
    block_unref(b);
    assert_int_equal(budget_used(&budget), 0);
    return e;
}

/* --- threads: one block, many readers --- */

static void *read_shared(void *arg)
{
    struct block *b = arg;
    bool ok = true;
    for (int round = 0; ok && round < 3; round++)
        for (uint32_t g = 0; ok && g < block_group_count(b); g++) {
            struct segment *s = NULL;
            struct seg_traces t;
            const struct trace_id *flagged;
            const struct seg_column *c;
            uint32_t count, group, trace;
            struct slice text = SLICE_LIT("redis");
            ok = block_segment(b, g, NULL, &s) == ERR_OK;
            if (!ok)
                break;
            ok = segment_traces(s, &t) == ERR_OK &&
                 segment_attribute(s, SEG_SPAN, SLICE_LIT("http.route"), &c, &count) == ERR_OK &&
                 count == 1 && block_flagged(b, &flagged, &count) == ERR_OK &&
                 block_find_trace(b, t.id[0], &group, &trace) == ERR_OK && group == g &&
                 block_group_may_have(b, g, SEG_SPAN, SLICE_LIT("db.system"), &text);
            segment_close(s);
        }
    block_unref(b);
    return ok ? arg : NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct head *h = head_of(4, false, 20000, 1, NULL);
    struct segment *s = NULL;
    struct block_meta meta;
    struct buf bytes;
    pthread_t threads[3];
    assert_int_equal(head_flag_trace(h, (struct trace_id){{1}}), ERR_OK);
    s = snapshot(h);
    write_block(&s, 1, NULL, NULL, &meta, &bytes);
    segment_close(s);
    head_unref(h);
    struct block *b = open_bytes(buf_slice(&bytes));
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_shared, block_ref(b)), 0);
    block_unref(b);
    for (int i = 0; i < 3; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
    buf_release(&bytes);
}

static void small_block(struct buf *ret)
{
    struct head *h = head_of(3, true, 25, 1, NULL);
    struct segment *s = snapshot(h);
    struct block_meta meta;
    write_block(&s, 1, NULL, NULL, &meta, ret);
    segment_close(s);
    head_unref(h);
}

static void test_flipped(void **state)
{
    (void)state;
    struct buf bytes, want, got;
    unsigned errors = 0;
    small_block(&bytes);
    buf_init(&want, 1u << 24);
    buf_init(&got, 1u << 24);
    assert_int_equal(say_all(buf_slice(&bytes), &want), ERR_OK);
    for (size_t i = 0; i < bytes.len; i++) {
        for (unsigned k = 0; k < 2; k++) {
            uint8_t flip = (uint8_t)(k == 0 ? 0xffu : 1u << i % 8);
            bytes.ptr[i] ^= flip;
            buf_reset(&got);
            enum err e = say_all(buf_slice(&bytes), &got);
            if (e == ERR_OK)
                assert_true(slice_eq(buf_slice(&want), buf_slice(&got)));
            else
                assert_int_equal(e, ERR_CORRUPT);
            errors += e != ERR_OK;
            bytes.ptr[i] ^= flip;
        }
    }
    assert_true(errors > bytes.len); /* nearly every byte matters */
    for (size_t len = 0; len < bytes.len; len++) {
        uint8_t *cut = malloc(len + 1);
        assert_non_null(cut);
        memcpy(cut, bytes.ptr, len);
        assert_int_equal(say_all((struct slice){cut, len}, &got), ERR_CORRUPT);
        free(cut);
    }
    buf_release(&bytes);
    buf_release(&want);
    buf_release(&got);
}

static void test_future_version(void **state)
{
    (void)state;
    struct buf bytes, out;
    small_block(&bytes);
    buf_init(&out, 1u << 24);
    uint8_t *trailer = bytes.ptr + bytes.len - 32;
    le16_write(trailer + 12, BLOCK_VERSION + 1);
    assert_int_equal(say_all(buf_slice(&bytes), &out), ERR_CORRUPT); /* changed, not made so */
    le32_write(trailer + 24, crc32c((struct slice){trailer, 24}));
    assert_int_equal(say_all(buf_slice(&bytes), &out), ERR_UNSUPPORTED);
    buf_release(&bytes);
    buf_release(&out);
}

static void test_meta_json(void **state)
{
    (void)state;
    struct block_meta m = meta_in, back;
    struct buf json;
    struct err_detail detail;
    m.max_end_ns = UINT64_MAX;
    m.min_start_ns = 1700000000123456789;
    m.group_count = 12;
    m.version = BLOCK_VERSION;
    buf_init(&json, 1u << 20);
    assert_int_equal(block_meta_to_json(&m, &json), ERR_OK);
    assert_int_equal(block_meta_from_json(buf_slice(&json), &back, &detail), ERR_OK);
    assert_memory_equal(&m, &back, sizeof m);
    buf_reset(&json);
    m.part_lsn = UINT64_MAX; /* only where a frame goes on in the next block */
    m.part_spans = 123456;
    assert_int_equal(block_meta_to_json(&m, &json), ERR_OK);
    assert_int_equal(block_meta_from_json(buf_slice(&json), &back, &detail), ERR_OK);
    assert_memory_equal(&m, &back, sizeof m);
    for (size_t len = 0; len + 2 < json.len; len++)
        assert_int_equal(block_meta_from_json((struct slice){json.ptr, len}, &back, &detail),
                         ERR_CORRUPT);
    for (size_t i = 0; i < json.len * 8; i++) {
        uint8_t flip = (uint8_t)(1u << i % 8);
        json.ptr[i / 8] ^= flip;
        enum err e = block_meta_from_json(buf_slice(&json), &back, &detail);
        if (e == ERR_OK)
            assert_memory_equal(&m, &back, sizeof m); /* white space, or the checksum's own name */
        json.ptr[i / 8] ^= flip;
    }
    static const char *const bad[] = {"", "[]", "{}", "{\"format\":\"vvb1\",\"version\":-1}",
                                      "{\"format\":\"vvb1\",\"version\":1}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(block_meta_from_json(slice_str(bad[i]), &back, &detail), ERR_CORRUPT);
    assert_int_equal(
        block_meta_from_json(SLICE_LIT("{\"format\":\"vvb1\",\"version\":3}"), &back, &detail),
        ERR_UNSUPPORTED);
    buf_release(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_realistic),
        cmocka_unit_test(test_round_trip_odd),
        cmocka_unit_test(test_depth_first),
        cmocka_unit_test(test_circles),
        cmocka_unit_test(test_shared_ids),
        cmocka_unit_test(test_joined_parts),
        cmocka_unit_test(test_chosen),
        cmocka_unit_test(test_long_trace),
        cmocka_unit_test(test_from_blocks),
        cmocka_unit_test(test_may_have),
        cmocka_unit_test(test_reads_little),
        cmocka_unit_test(test_tight_block_budget),
        cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_future_version),
        cmocka_unit_test(test_meta_json),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
