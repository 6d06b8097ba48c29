/* Every allocation of writing, opening and reading a block fails once: an error, nothing left behind, and the next try works. */
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <unistd.h>

static struct head *make_head(void)
{
    struct otlp_gen g;
    struct head *h = NULL;
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 24);
    otlp_gen_init(&g, 4, 1700000000000000000);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    otlp_gen_odd_request(&g, 30, &b);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    buf_reset(&b);
    otlp_gen_request(&g, 20, &b);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    otlp_gen_release(&g);
    buf_release(&b);
    return h;
}

static enum err write_it(const char *path, struct head *h, struct budget *budget)
{
    struct segment *s = NULL;
    struct block_meta meta = {.id = "x", .tenant = "t", .writer = "w"};
    enum err e = head_segment(h, budget, &s);
    if (e == ERR_OK)
        e = block_write(path, &s, 1, NULL, NULL, budget, &meta);
    segment_close(s);
    return e;
}

static bool is_one_of(enum err e, enum err a, enum err b)
{
    return e == a || e == b;
}

static void test_write(void **state)
{
    struct head *h = make_head();
    const char *path = tmpdir_path(state, "data.vvb");
    unsigned long n;
    for (n = 1;; n++) {
        struct budget budget;
        budget_init(&budget, SIZE_MAX, NULL);
        alloc_fault_at(n);
        enum err e = write_it(path, h, &budget);
        bool is_hit = alloc_fault_hit();
        assert_int_equal(budget_used(&budget), 0);
        if (!is_hit) {
            assert_int_equal(e, ERR_OK);
            break;
        }
        if (e == ERR_OK) /* one that is not needed: the C library's own */
            continue;
        assert_int_equal(e, ERR_NOMEM);
        assert_int_not_equal(access(path, F_OK), 0); /* no half of a block */
    }
    assert_true(n > 50);
    assert_int_equal(unlink(path), 0);
    for (size_t limit = 5000; limit < 3000000; limit += limit / 10) {
        struct budget budget;
        budget_init(&budget, limit, NULL);
        enum err e = write_it(path, h, &budget);
        assert_true(is_one_of(e, ERR_OK, ERR_LIMIT));
        assert_int_equal(budget_used(&budget), 0);
        assert_int_equal(access(path, F_OK) == 0, e == ERR_OK);
        (void)unlink(path);
    }
    head_unref(h);
}

static enum err read_it(struct slice bytes, struct budget *budget, struct buf *out)
{
    struct object *o;
    struct block *b = NULL;
    struct segment *s = NULL;
    struct seg_traces t;
    struct arena a;
    const struct trace_id *flagged;
    uint32_t count, group, trace;
    enum err e = object_memory(bytes, &o);
    if (e == ERR_OK)
        e = block_open(o, budget, &b);
    if (e != ERR_OK)
        return e;
    arena_init(&a, budget);
    e = block_flagged(b, &flagged, &count);
    if (e == ERR_OK)
        e = block_segment(b, 0, budget, &s);
    if (e == ERR_OK)
        e = segment_traces(s, &t);
    for (uint32_t i = 0; e == ERR_OK && i < s->trace_count; i++) {
        const uint32_t *rows;
        e = segment_trace_rows(s, i, &a, &rows, &count);
        if (e == ERR_OK)
            e = segment_write_otlp(s, rows, count, out);
        if (e == ERR_OK)
            e = block_find_trace(b, t.id[i], &group, &trace);
    }
    segment_close(s);
    arena_release(&a);
    block_unref(b);
    return e;
}

static void test_read(void **state)
{
    struct head *h = make_head();
    const char *path = tmpdir_path(state, "data.vvb");
    struct buf bytes, want, got;
    buf_init(&bytes, 1u << 24);
    buf_init(&want, 1u << 24);
    buf_init(&got, 1u << 24);
    assert_int_equal(write_it(path, h, NULL), ERR_OK);
    assert_int_equal(fs_read_file(path, &bytes), ERR_OK);
    head_unref(h);
    assert_int_equal(read_it(buf_slice(&bytes), NULL, &want), ERR_OK);
    for (unsigned long n = 1;; n++) {
        struct budget budget;
        budget_init(&budget, SIZE_MAX, NULL);
        buf_release(&got); /* so that it allocates again */
        buf_init(&got, 1u << 24);
        alloc_fault_at(n);
        enum err e = read_it(buf_slice(&bytes), &budget, &got);
        bool is_hit = alloc_fault_hit();
        assert_int_equal(budget_used(&budget), 0);
        assert_true(is_one_of(e, ERR_OK, ERR_NOMEM));
        if (e == ERR_OK) /* also when it failed where there is a second way */
            assert_true(slice_eq(buf_slice(&want), buf_slice(&got)));
        if (!is_hit) {
            assert_int_equal(e, ERR_OK);
            break;
        }
    }
    for (size_t limit = 1000; limit < 2000000; limit += limit / 10) {
        struct budget budget;
        budget_init(&budget, limit, NULL);
        buf_reset(&got);
        enum err e = read_it(buf_slice(&bytes), &budget, &got);
        assert_true(is_one_of(e, ERR_OK, ERR_LIMIT));
        if (e == ERR_OK)
            assert_true(slice_eq(buf_slice(&want), buf_slice(&got)));
        assert_int_equal(budget_used(&budget), 0);
    }
    buf_release(&bytes);
    buf_release(&want);
    buf_release(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_read, tmpdir_setup, tmpdir_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
