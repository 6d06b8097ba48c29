/* Every allocation, and every write, of a merge fails once: an error, nothing left behind, and the next try works. */
#include "common/store/block_merge.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

static long fail_at, calls;

ssize_t write(int fd, const void *bytes, size_t len)
{
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL) {
        void *found = dlsym(RTLD_NEXT, "write");
        memcpy(&real, &found, sizeof found);
    }
    if (fail_at > 0 && ++calls == fail_at) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, len);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (real == NULL) {
        void *found = dlsym(RTLD_NEXT, "fdatasync");
        memcpy(&real, &found, sizeof found);
    }
    if (fail_at > 0 && ++calls == fail_at) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

/* Two blocks: odd spans, of which the second holds half again. */
static void make_inputs(void **state, struct buf ret[2], uint32_t spans)
{
    for (int i = 0; i < 2; i++) {
        struct otlp_gen g;
        struct head *h = NULL;
        struct segment *s = NULL;
        struct head_append_result r;
        struct block_meta meta = {.id = "x", .tenant = "t", .writer = "w"};
        struct buf b;
        const char *path = tmpdir_path(state, "input");
        meta.id[0] = (char)('a' + i);
        buf_init(&b, 1u << 26);
        otlp_gen_init(&g, 4, 1700000000000000000);
        assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
        for (int k = 0; k <= i; k++) {
            buf_reset(&b);
            if (k == 0)
                otlp_gen_odd_request(&g, 30, &b);
            else
                otlp_gen_request(&g, spans, &b);
            assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
        }
        assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
        assert_int_equal(block_write(path, &s, 1, NULL, NULL, NULL, &meta), ERR_OK);
        buf_init(&ret[i], 1u << 28);
        assert_int_equal(fs_read_file(path, &ret[i]), ERR_OK);
        segment_close(s);
        head_unref(h);
        otlp_gen_release(&g);
        buf_release(&b);
    }
}

static enum err merge(const char *path, const struct buf inputs[2], struct budget *budget)
{
    struct block *blocks[2] = {0};
    struct block_meta meta = {.id = "y", .tenant = "t"};
    struct block_merge_result result;
    enum err e = ERR_OK;
    for (int i = 0; e == ERR_OK && i < 2; i++) {
        struct object *o;
        e = object_memory(buf_slice(&inputs[i]), &o);
        if (e == ERR_OK)
            e = block_open(o, budget, &blocks[i]);
    }
    struct block_merge job = {.inputs = blocks, .input_count = 2, .budget = budget};
    if (e == ERR_OK)
        e = block_merge(path, &job, &meta, &result);
    block_unref(blocks[0]);
    block_unref(blocks[1]);
    return e;
}

static void test_allocations(void **state)
{
    struct buf inputs[2];
    const char *path = tmpdir_path(state, "merged");
    unsigned long n;
    make_inputs(state, inputs, 20);
    for (n = 1;; n++) {
        struct budget budget;
        budget_init(&budget, SIZE_MAX, NULL);
        alloc_fault_at(n);
        enum err e = merge(path, inputs, &budget);
        bool is_hit = alloc_fault_hit();
        assert_int_equal(budget_used(&budget), 0);
        if (!is_hit) {
            assert_int_equal(e, ERR_OK);
            break;
        }
        if (e == ERR_OK) /* one that is not needed: the C library's own */
            continue;
        assert_int_equal(e, ERR_NOMEM);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    assert_true(n > 50);
    buf_release(&inputs[0]);
    buf_release(&inputs[1]);
}

static void test_writes(void **state)
{
    struct buf inputs[2];
    const char *path = tmpdir_path(state, "merged");
    long n;
    make_inputs(state, inputs, 60000); /* enough for several writes */
    for (n = 1;; n++) {
        calls = 0;
        fail_at = n;
        enum err e = merge(path, inputs, NULL);
        fail_at = 0;
        if (calls < n) {
            assert_int_equal(e, ERR_OK);
            break;
        }
        assert_true(e == ERR_FULL || e == ERR_IO);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    assert_true(n > 2);
    buf_release(&inputs[0]);
    buf_release(&inputs[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_allocations, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_writes, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
