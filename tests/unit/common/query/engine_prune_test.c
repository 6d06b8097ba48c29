/* Row groups are passed over where their ranges of numbers tell that no span matches: never one that has a match. */
#include "common/codec/otlp_write.h"
#include "common/query/engine.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

/* Traces of one span; a group has 16384 of them, and `size` grows from one to the next. */
enum { SPANS = 33500, A_GROUP = 16384 };

static struct head *HEAD;
static struct block *BLOCK;
static struct buf BYTES;

static void put_value(struct buf *b, const char *key, uint32_t field, int64_t value)
{
    size_t kv = pb_begin(b, 9);
    pb_bytes(b, 1, slice_str(key));
    size_t any = pb_begin(b, 2);
    if (field == 4)
        pb_fixed64(b, 4, (uint64_t)value); /* a double by its bits */
    else if (field == 1)
        pb_bytes(b, 1, SLICE_LIT("x"));
    else
        pb_varint(b, field, (uint64_t)value);
    pb_end(b, any);
    pb_end(b, kv);
}

/* size: -99 .. 33399; same: 7 in all; extreme: the ends of the ints; mixed: ints, texts and a NaN; rare: in the last group alone. */
static void put_span(struct buf *b, uint32_t i)
{
    uint8_t trace_id[TRACE_ID_BYTES] = {1};
    uint64_t span_id = i + 1;
    memcpy(trace_id + 4, &i, sizeof i);
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, (struct slice){trace_id, sizeof trace_id});
    pb_bytes(b, 2, (struct slice){(const uint8_t *)&span_id, sizeof span_id});
    pb_bytes(b, 5, SLICE_LIT("n"));
    pb_fixed64(b, 7, 1700000000000000000 + i * 1000ull);
    pb_fixed64(b, 8, 1700000000000000000 + i * 1000ull + 500);
    if (i % 3 != 0)
        put_value(b, "size", 3, (int64_t)i - 100);
    put_value(b, "same", 3, 7);
    if (i % 1000 == 1)
        put_value(b, "extreme", 3, i % 2000 == 1 ? INT64_MIN : INT64_MAX);
    if (i % 10 == 0)
        put_value(b, "mixed", i % 30 == 0 ? 1 : 3, i);
    if (i == 5)
        put_value(b, "mixed", 4, 0x7ff8000000000000);
    if (i == SPANS - 1)
        put_value(b, "rare", 3, 1);
    pb_end(b, span);
}

static int setup(void **state)
{
    struct head_append_result r;
    struct segment *s = NULL;
    struct block_meta meta = {.id = "b", .tenant = "t", .writer = "w"};
    struct object *o;
    struct buf request;
    void *dir = NULL;
    (void)state;
    buf_init(&request, 1u << 28);
    size_t rs = pb_begin(&request, 1), ss = pb_begin(&request, 2);
    for (uint32_t i = 0; i < SPANS; i++)
        put_span(&request, i);
    pb_end(&request, ss);
    pb_end(&request, rs);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &HEAD), ERR_OK);
    assert_int_equal(head_append(HEAD, buf_slice(&request), false, 1, &r), ERR_OK);
    assert_int_equal(head_segment(HEAD, NULL, &s), ERR_OK);
    assert_int_equal(tmpdir_setup(&dir), 0);
    const char *path = tmpdir_path(&dir, "data.vvb");
    assert_int_equal(block_write(path, &s, 1, NULL, NULL, NULL, &meta), ERR_OK);
    buf_init(&BYTES, 1u << 28);
    assert_int_equal(fs_read_file(path, &BYTES), ERR_OK);
    assert_int_equal(tmpdir_teardown(&dir), 0);
    segment_close(s);
    buf_release(&request);
    assert_int_equal(object_memory(buf_slice(&BYTES), &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &BLOCK), ERR_OK);
    assert_int_equal(block_group_count(BLOCK), (SPANS + A_GROUP - 1) / A_GROUP);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    block_unref(BLOCK);
    head_unref(HEAD);
    buf_release(&BYTES);
    return 0;
}

static uint32_t search(struct segment *s, const char *text)
{
    struct arena a;
    struct ql_query *ql = NULL;
    struct err_detail detail = {0};
    struct search_result result = {0};
    arena_init(&a, NULL);
    assert_int_equal(ql_parse(&a, slice_str(text), &ql, &detail), ERR_OK);
    struct engine_query q = {.ql = ql, .limit = SPANS, .spans_per_spanset = 1};
    assert_int_equal(engine_search(s, &q, &a, &result), ERR_OK);
    uint32_t n = result.trace_count;
    ql_release(ql);
    arena_release(&a);
    return n;
}

/* As many traces match in the block as in the head, which knows no ranges. */
static void check(const char *text)
{
    struct segment *s = NULL;
    uint32_t found = 0;
    assert_int_equal(head_segment(HEAD, NULL, &s), ERR_OK);
    uint32_t wanted = search(s, text);
    segment_close(s);
    for (uint32_t g = 0; g < block_group_count(BLOCK); g++) {
        assert_int_equal(block_segment(BLOCK, g, NULL, &s), ERR_OK);
        found += search(s, text);
        segment_close(s);
    }
    if (found != wanted)
        print_error("%s: %u traces, not %u\n", text, found, wanted);
    assert_int_equal(found, wanted);
}

static void test_bounds(void **state)
{
    static const char *const ops[] = {"=", "!=", "<", "<=", ">", ">="};
    static const struct {
        const char *key, *literal;
    } rows[] = {
        {"span.size", "-101"},
        {"span.size", "-99"},
        {"span.size", "16283"},
        {"span.size", "16284"},
        {"span.size", "33399"},
        {"span.size", "33400"},
        {"span.size", "16284.0"},
        {".size", "33398"},
        {"span.same", "6"},
        {"span.same", "7"},
        {"span.same", "8"},
        {"span.extreme", "-9223372036854775807"},
        {"span.extreme", "9223372036854775807"},
        {"span.extreme", "0"},
        {"span.mixed", "33490"},
        {"span.mixed", "0.5"},
        {"span.mixed", "`x`"},
        {"span.rare", "1"},
        {"span.rare", "2"},
        {"resource.size", "1"},
    };
    char text[160];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
            (void)snprintf(text, sizeof text, "{ %s %s %s }", rows[i].key, ops[k], rows[i].literal);
            check(text);
            (void)snprintf(text, sizeof text, "{ !(%s %s %s) && span.size > 33000 }", rows[i].key,
                           ops[k], rows[i].literal);
            check(text);
        }
}

static void test_range(void **state)
{
    struct segment *s = NULL;
    int64_t min = 0, max = 0;
    (void)state;
    assert_int_equal(block_segment(BLOCK, 0, NULL, &s), ERR_OK);
    assert_int_equal(segment_range(s, SEG_SPAN, SLICE_LIT("size"), &min, &max), ERR_OK);
    assert_int_equal(min, -99);
    assert_int_equal(max, A_GROUP - 2 - 100);
    assert_int_equal(segment_range(s, SEG_SPAN, SLICE_LIT("extreme"), &min, &max), ERR_OK);
    assert_true(min == INT64_MIN && max == INT64_MAX);
    assert_int_equal(segment_range(s, SEG_SPAN, SLICE_LIT("mixed"), &min, &max), ERR_NOT_FOUND);
    assert_int_equal(segment_range(s, SEG_SPAN, SLICE_LIT("rare"), &min, &max), ERR_NOT_FOUND);
    assert_int_equal(segment_range(s, SEG_RESOURCE, SLICE_LIT("size"), &min, &max), ERR_NOT_FOUND);
    segment_close(s);
}

/* No page of the block is read for a number that no group can have. */
static void test_reads_nothing(void **state)
{
    struct segment *s = NULL;
    (void)state;
    for (uint32_t g = 0; g < block_group_count(BLOCK); g++) {
        assert_int_equal(block_segment(BLOCK, g, NULL, &s), ERR_OK);
        assert_int_equal(search(s, "{ span.size > 33399 }"), 0);
        assert_int_equal(search(s, "{ span.same != 7 }"), 0);
        assert_int_equal(s->read_bytes, 0);
        assert_int_equal(search(s, "{ span.size = 20001 }"), g == 1 ? 1 : 0);
        assert_int_equal(s->read_bytes == 0, g != 1);
        segment_close(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_range),
                                       cmocka_unit_test(test_reads_nothing)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
