/* Every allocation of verifying and inspecting a block fails once: an error that says so, never damage that is not there. */
#include "common/store/block_inspect.h"
#include "common/sys/fs.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"

static struct buf bytes;

static void damage(void *arg, const char *place, enum err e)
{
    (void)arg;
    fail_msg("%s: %s", place, err_name(e));
}

static enum err take_part(void *arg, const struct block_part *p)
{
    (void)arg;
    return p->pages > 0 ? ERR_OK : ERR_INTERNAL;
}

static void verify_all(void *arg)
{
    struct block_verify_hooks hooks = {damage, NULL, NULL};
    struct block_verify_result r;
    struct object *o;
    struct block *b = NULL;
    struct budget budget;
    (void)arg;
    budget_init(&budget, SIZE_MAX, NULL);
    enum err e = object_memory(buf_slice(&bytes), &o);
    if (e == ERR_OK)
        e = block_open(o, &budget, &b);
    if (e == ERR_OK)
        e = block_verify(b, &budget, &hooks, &r);
    if (e == ERR_OK)
        e = block_inspect(b, &budget, take_part, NULL);
    block_unref(b);
    assert_int_equal(e == ERR_OK || (alloc_sweep_has_failed() && e == ERR_NOMEM), 1);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_sweep(void **state)
{
    (void)state;
    buf_init(&bytes, 1 << 20);
    assert_int_equal(fs_read_file("tests/data/blocks/v1-odd.vvb", &bytes), ERR_OK);
    assert_true(ALLOC_SWEEP(verify_all, NULL) >= 10);
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
