#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/gvec.h"
#include "common/base/map.h"
#include "common/obs/metrics.h"
#include "common/sys/fs.h"
#include "common/sys/queue.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

static void fill_buf(void *arg)
{
    struct buf b;

    (void)arg;
    buf_init(&b, 1 << 20);
    for (unsigned i = 0; i < 3000; i++) {
        size_t len = b.len;
        buf_append_le32(&b, i);
        buf_append_byte(&b, 'x');
        buf_appendf(&b, "%u", i);
        assert_true(buf_err(&b) != ERR_OK || b.len > len);
    }
    assert_int_equal(buf_err(&b), alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    struct slice s = buf_slice(&b); /* what was written before the failure stands */
    assert_true(s.len == 0 || s.ptr[0] == 0);
    buf_reset(&b);
    buf_append_str(&b, "again");
    assert_int_equal(buf_err(&b), ERR_OK);
    buf_release(&b);
}

static void fill_arena(void *arg)
{
    struct budget *budget = arg;
    struct arena a;

    arena_init(&a, budget);
    for (unsigned i = 0; i < 2000; i++) {
        struct slice copy = arena_dup(&a, SLICE_LIT("service.name"));
        const char *text = arena_printf(&a, "%u", i);
        const uint64_t *zeros = ARENA_ARRAY(&a, uint64_t, 10);
        if (arena_err(&a) != ERR_OK) {
            assert_null(arena_alloc(&a, 1)); /* sticky */
            break;
        }
        assert_true(slice_eq_str(copy, "service.name"));
        assert_non_null(text);
        assert_true(zeros[9] == 0);
    }
    assert_int_equal(arena_err(&a), alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    arena_release(&a);
    assert_int_equal(budget_used(budget), 0);
}

static void fill_gvec(void *arg)
{
    struct budget *budget = arg;
    struct gvec v;
    uint32_t pushed = 0;

    gvec_init(&v, sizeof(uint64_t));
    for (uint64_t i = 0; i < 5000; i++) {
        uint64_t *e = gvec_push(&v, budget);
        if (e == NULL)
            continue; /* the same place is tried again: nothing may be skipped */
        *e = pushed++;
    }
    assert_int_equal(v.count, pushed);
    assert_int_equal(pushed, alloc_sweep_has_failed() ? 4999 : 5000);
    for (uint32_t i = 0; i < pushed; i++)
        assert_true(GVEC_GET(&v, uint64_t, i) == i);
    gvec_release(&v, budget);
    assert_int_equal(budget_used(budget), 0);
}

struct entry {
    UT_hash_handle hh;
    uint64_t key;
};

static void fill_map(void *arg)
{
    static struct entry entries[500];
    struct entry *map = NULL;
    unsigned added = 0;

    (void)arg;
    for (unsigned i = 0; i < 500; i++) {
        entries[i] = (struct entry){.key = i};
        HASH_ADD_KEYPTR(hh, map, &entries[i].key, sizeof entries[i].key, &entries[i]);
        added += entries[i].hh.tbl != NULL;
    }
    assert_int_equal(HASH_COUNT(map), added);
    assert_true(added == 500 || alloc_sweep_has_failed());
    assert_true(added >= 499);
    for (unsigned i = 0; i < 500; i++) {
        struct entry *found = NULL;
        HASH_FIND(hh, map, &entries[i].key, sizeof entries[i].key, found);
        assert_true((found == &entries[i]) == (entries[i].hh.tbl != NULL));
    }
    HASH_CLEAR(hh, map);
}

static void read_file(void *arg)
{
    const char *path = arg;
    struct buf b;

    buf_init(&b, 1 << 20);
    enum err e = fs_read_file(path, &b);
    assert_int_equal(e, alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    assert_int_equal(b.len, e == ERR_OK ? 300000 : 0);
    buf_release(&b);
}

static void start_workers(void *arg)
{
    struct workers *ws = NULL;

    (void)arg;
    enum err e = workers_new("fault", 3, 10, &ws);
    assert_int_equal(e, alloc_sweep_has_failed() ? ERR_NOMEM : ERR_OK);
    assert_int_equal(ws != NULL, e == ERR_OK);
    workers_free(ws);
}

static void count_tenants(void *arg)
{
    struct metric_family *f = arg;

    for (unsigned i = 0; i < 50; i++) {
        char tenant[16];
        (void)snprintf(tenant, sizeof tenant, "tenant-%u", i);
        struct metric_cell *c = metric_cell1(f, tenant);
        assert_non_null(c);
        metric_inc(c); /* perhaps the overflow cell */
    }
    for (unsigned i = 0; i < 50; i++) {
        char tenant[16];
        (void)snprintf(tenant, sizeof tenant, "tenant-%u", i);
        metric_cell_drop(f, metric_cell1(f, tenant));
    }
}

static void test_buf(void **state)
{
    (void)state;
    assert_in_range(ALLOC_SWEEP(fill_buf, NULL), 5, 50);
}

static void test_arena(void **state)
{
    struct budget budget;

    (void)state;
    budget_init(&budget, 16 << 20, NULL);
    assert_in_range(ALLOC_SWEEP(fill_arena, &budget), 3, 50);
}

static void test_gvec(void **state)
{
    struct budget budget;

    (void)state;
    budget_init(&budget, 16 << 20, NULL);
    assert_int_equal(ALLOC_SWEEP(fill_gvec, &budget), 7);
}

static void test_map(void **state)
{
    (void)state;
    assert_in_range(ALLOC_SWEEP(fill_map, NULL), 3, 50);
}

static void test_read_file(void **state)
{
    static uint8_t bytes[300000];
    char path[4096];

    (void)snprintf(path, sizeof path, "%s", tmpdir_path(state, "file"));
    assert_int_equal(fs_replace(path, (struct slice){bytes, sizeof bytes}), ERR_OK);
    assert_true(ALLOC_SWEEP(read_file, path) >= 2);
}

static void test_workers(void **state)
{
    (void)state;
    assert_int_equal(ALLOC_SWEEP(start_workers, NULL), 4); /* the pool, three threads */
}

static void test_metric_cells(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(count_tenants, metrics_counter("fault_total", "tenant", "x")) >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_gvec),
        cmocka_unit_test(test_map),
        cmocka_unit_test_setup_teardown(test_read_file, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_metric_cells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
