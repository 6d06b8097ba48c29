/*
 * Blocks of every version stay readable: tests/data/blocks/v<version>-*.vvb, each with the OTLP request it was made from beside it.
 * With BLOCK_GOLDEN_WRITE=1 in the environment those of this version are made anew (only ever for a version that was not released).
 */
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"

#define FOLDER "tests/data/blocks/"

struct golden {
    const char *block, *otlp;
    uint64_t seed;
    uint32_t spans, version;
    bool is_odd;
    /* What is in the block. */
    uint32_t span_count, trace_count, flagged_count;
};

static const struct golden all[] = {
    {FOLDER "v1-odd.vvb", FOLDER "v1-odd.otlp", 2026, 120, 1, true, 91, 17, 15},
    {FOLDER "v1-shop.vvb", FOLDER "v1-shop.otlp", 2027, 200, 1, false, 202, 27, 0},
    {FOLDER "v2-odd.vvb", FOLDER "v2-odd.otlp", 2028, 120, 2, true, 90, 18, 17},
    {FOLDER "v2-templates.vvb", FOLDER "v2-templates.otlp", 2030, 400, 2, false, 400, 53, 0},
    {FOLDER "v2-zstd.vvb", FOLDER "v2-zstd.otlp", 2031, 100, 2, true, 73, 18, 18},
    {FOLDER "v2-shop.vvb", FOLDER "v2-shop.otlp", 2029, 400, 2, false, 415, 41, 0},
};

static void read_file(const char *path, struct buf *ret)
{
    buf_init(ret, 1u << 20);
    enum err e = fs_read_file(path, ret);
    if (e != ERR_OK)
        fail_msg("%s: %s (run from the root of the repository)", path, err_name(e));
}

static void write_golden(const struct golden *g)
{
    struct otlp_gen gen;
    struct head *h = NULL;
    struct head_append_result r;
    struct segment *s = NULL;
    struct buf b;
    struct block_meta meta = {.id = "01234567-89ab-cdef-0123-456789abcdef",
                              .tenant = "golden",
                              .writer = "ingester-0",
                              .lsn_lo = 1,
                              .lsn_hi = 2,
                              .created_ns = 1763856000000000000};
    buf_init(&b, 1u << 24);
    otlp_gen_init(&gen, g->seed, 1763856000000000000);
    if (g->is_odd)
        otlp_gen_odd_request(&gen, g->spans, &b);
    else
        otlp_gen_request(&gen, g->spans, &b);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
    assert_int_equal(block_write(g->block, &s, 1, NULL, NULL, NULL, &meta), ERR_OK);
    assert_int_equal(fs_replace(g->otlp, buf_slice(&b)), ERR_OK);
    segment_close(s);
    head_unref(h);
    otlp_gen_release(&gen);
    buf_release(&b);
}

static void check_meta(const struct block_meta *m, const struct golden *g)
{
    assert_string_equal(m->id, "01234567-89ab-cdef-0123-456789abcdef");
    assert_string_equal(m->tenant, "golden");
    assert_string_equal(m->writer, "ingester-0");
    assert_int_equal(m->version, g->version);
    assert_int_equal(m->lsn_lo, 1);
    assert_int_equal(m->lsn_hi, 2);
    assert_int_equal(m->created_ns, 1763856000000000000);
    assert_int_equal(m->span_count, g->span_count);
    assert_int_equal(m->trace_count, g->trace_count);
    assert_int_equal(m->flagged_count, g->flagged_count);
}

static void check_golden(const struct golden *g)
{
    struct otlp_canon in = {0}, out = {0};
    struct buf bytes, otlp, got;
    struct object *o;
    struct block *b = NULL;
    read_file(g->block, &bytes);
    read_file(g->otlp, &otlp);
    otlp_canon_add(&in, buf_slice(&otlp));
    assert_int_equal(object_memory(buf_slice(&bytes), &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &b), ERR_OK);
    check_meta(block_meta(b), g);
    buf_init(&got, 1u << 24);
    for (uint32_t i = 0; i < block_group_count(b); i++) {
        struct segment *s = NULL;
        assert_int_equal(block_segment(b, i, NULL, &s), ERR_OK);
        uint32_t n = s->row_count[SEG_SPAN], *rows = calloc(n, sizeof *rows);
        assert_non_null(rows);
        for (uint32_t k = 0; k < n; k++)
            rows[k] = k;
        assert_int_equal(segment_write_otlp(s, rows, n, &got), ERR_OK);
        free(rows);
        segment_close(s);
    }
    otlp_canon_add(&out, buf_slice(&got));
    otlp_canon_sort(&in, true);
    otlp_canon_sort(&out, false);
    otlp_canon_assert_equal(&in, &out);
    block_unref(b);
    otlp_canon_release(&in);
    otlp_canon_release(&out);
    buf_release(&bytes);
    buf_release(&otlp);
    buf_release(&got);
}

static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (getenv("BLOCK_GOLDEN_WRITE") != NULL && all[i].version == BLOCK_VERSION)
            write_golden(&all[i]);
        check_golden(&all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
