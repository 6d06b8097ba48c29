/* Structural operators over traces as deep as bits, bytes and words of depths reach: the same spans as a plain look at all parents tells. */
#include "common/codec/otlp_write.h"
#include "common/query/engine_select.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

enum { SPANS_MAX = 2000 };

static uint32_t PARENT[SPANS_MAX + 1]; /* by id; 0: none */
static uint32_t SPANS;

/* kind: client for a third, server for the others */
static bool is_client(uint32_t id)
{
    return id % 3 == 0;
}

static bool is_slow(uint32_t id)
{
    return id % 7 < 3;
}

static void put_span(struct buf *b, uint32_t trace, uint32_t id)
{
    uint8_t trace_id[TRACE_ID_BYTES] = {1};
    uint64_t span_id = id, parent_id = PARENT[id], start = 1700000000000000000 + id * 10ull;
    memcpy(trace_id + 4, &trace, sizeof trace);
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, (struct slice){trace_id, sizeof trace_id});
    pb_bytes(b, 2, (struct slice){(const uint8_t *)&span_id, sizeof span_id});
    if (parent_id != 0)
        pb_bytes(b, 4, (struct slice){(const uint8_t *)&parent_id, sizeof parent_id});
    pb_bytes(b, 5, SLICE_LIT("n"));
    pb_varint(b, 6, is_client(id) ? 3 : 2);
    pb_fixed64(b, 7, start);
    pb_fixed64(b, 8, start + (is_slow(id) ? 1000 : 10));
    pb_end(b, span);
}

/* A trace of `count` spans: each under the one before, or every `bushy`th under one of the first. */
static void put_trace(struct buf *b, uint32_t trace, uint32_t count, uint32_t bushy)
{
    uint32_t first = SPANS + 1;
    for (uint32_t id = first; id < first + count; id++) {
        PARENT[id] = id == first ? 0 : id - 1;
        if (id != first && bushy != 0 && id % bushy == 0)
            PARENT[id] = first + (id - first) / 3;
    }
    SPANS += count;
    for (uint32_t id = first; id <= SPANS; id++)
        put_span(b, trace, id);
}

static bool is_above(uint32_t id, uint32_t other)
{
    for (uint32_t up = PARENT[id]; up != 0; up = PARENT[up])
        if (up == other)
            return true;
    return false;
}

/* { kind = client } OP { duration > 100ns } of one span, by all others. */
static bool wanted(const char *op, uint32_t id)
{
    bool is_hit = false;
    for (uint32_t o = 1; o <= SPANS && !is_hit; o++) {
        bool is_related = op[0] == '~' ? o != id && PARENT[o] == PARENT[id] && PARENT[id] != 0
                          : strcmp(op, ">") == 0  ? PARENT[id] == o
                          : strcmp(op, ">>") == 0 ? is_above(id, o)
                          : strcmp(op, "<") == 0  ? PARENT[o] == id
                                                  : is_above(o, id);
        is_hit = is_client(o) && is_related;
    }
    return is_hit && is_slow(id);
}

static void check_segment(struct segment *s, const struct ql_query *ql, uint8_t *found)
{
    struct arena a;
    struct eval e;
    struct engine_selection sel;
    arena_init(&a, NULL);
    eval_init(&e, s, &a, NULL);
    assert_int_equal(engine_select(&e, ql->pipeline, NULL, 0, &sel), ERR_OK);
    assert_int_equal(eval_fixed(&e, SEG_F_SPAN_ID), ERR_OK);
    for (uint32_t i = 0; sel.mask != NULL && i < e.rows[SEG_SPAN]; i++)
        found[e.fixed.span_id[i]] = sel.mask[i];
    arena_release(&a);
    segment_close(s);
}

static void check_all(struct head *h, struct block *b)
{
    static const char *const ops[] = {">", ">>", "<", "<<", "~"};
    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
        uint8_t live[SPANS_MAX + 1] = {0}, stored[SPANS_MAX + 1] = {0};
        struct arena a;
        struct segment *s = NULL;
        struct ql_query *ql = NULL;
        char text[80];
        arena_init(&a, NULL);
        (void)snprintf(text, sizeof text, "{ kind = client } %s { duration > 100ns }", ops[k]);
        assert_int_equal(ql_parse(&a, slice_str(text), &ql, NULL), ERR_OK);
        assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
        check_segment(s, ql, live);
        assert_int_equal(block_segment(b, 0, NULL, &s), ERR_OK);
        check_segment(s, ql, stored);
        for (uint32_t id = 1; id <= SPANS; id++)
            if (live[id] != wanted(ops[k], id) || stored[id] != wanted(ops[k], id))
                fail_msg("%s: span %u of %u: live %u, stored %u, wanted %d", text, id, SPANS,
                         live[id], stored[id], wanted(ops[k], id));
        ql_release(ql);
        arena_release(&a);
    }
}

static void check_depth(uint32_t deepest)
{
    struct head *h = NULL;
    struct head_append_result r;
    struct segment *s = NULL;
    struct block_meta meta = {.id = "b", .tenant = "t", .writer = "w"};
    struct object *o;
    struct block *b = NULL;
    struct buf request, bytes;
    void *dir = NULL;
    SPANS = 0;
    buf_init(&request, 1u << 20);
    buf_init(&bytes, 1u << 20);
    size_t rs = pb_begin(&request, 1), ss = pb_begin(&request, 2);
    put_trace(&request, 1, 40, 4);
    put_trace(&request, 2, deepest, 0);
    put_trace(&request, 3, 1, 0);
    put_trace(&request, 4, deepest, 9);
    pb_end(&request, ss);
    pb_end(&request, rs);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    assert_int_equal(head_append(h, buf_slice(&request), false, 1, &r), ERR_OK);
    assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
    assert_int_equal(tmpdir_setup(&dir), 0);
    const char *path = tmpdir_path(&dir, "data.vvb");
    assert_int_equal(block_write(path, &s, 1, NULL, NULL, NULL, &meta), ERR_OK);
    segment_close(s);
    assert_int_equal(fs_read_file(path, &bytes), ERR_OK);
    assert_int_equal(tmpdir_teardown(&dir), 0);
    assert_int_equal(object_memory(buf_slice(&bytes), &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &b), ERR_OK);
    check_all(h, b);
    block_unref(b);
    head_unref(h);
    buf_release(&request);
    buf_release(&bytes);
}

static void test_depths(void **state)
{
    static const uint32_t depths[] = {2, 20, 61, 62, 63, 64, 65, 255, 256, 257, 300};
    (void)state;
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++)
        check_depth(depths[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_depths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
