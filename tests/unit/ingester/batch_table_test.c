#include "common/base/rng.h"
#include "ingester/batch_table.h"
#include "tests/lib/test.h"

#include <stdlib.h>
#include <string.h>

static void id_make(uint8_t ret[16], uint32_t n)
{
    memset(ret, 0, 16);
    memcpy(ret, &n, sizeof n);
}

static void a_repeat_is_known_for_ten_minutes(void **state)
{
    struct batch_table *t = NULL;
    uint8_t id[16];
    (void)state;

    assert_int_equal(batch_table_new(100, &t), ERR_OK);
    id_make(id, 1);
    assert_true(batch_table_add(t, id, 0, 1000));
    assert_true(batch_table_add(t, id, 1, 1000));
    assert_false(batch_table_add(t, id, 0, 2000));
    assert_true(batch_table_has(t, id, 1, BATCH_TABLE_KEEP_NS));
    assert_false(batch_table_has(t, id, 2, BATCH_TABLE_KEEP_NS));
    assert_false(batch_table_has(t, id, 1, BATCH_TABLE_KEEP_NS + 1001));
    assert_true(batch_table_add(t, id, 0, BATCH_TABLE_KEEP_NS + 1001));
    batch_table_remove(t, id, 0);
    batch_table_remove(t, id, 0);
    assert_true(batch_table_add(t, id, 0, BATCH_TABLE_KEEP_NS + 1002));
    batch_table_free(t);
}

/* Against a plain list: any mixture of adding, removing, time and overflow. */
static void it_agrees_with_a_list(void **state)
{
    enum { ENTRIES = 37, KEYS = 90, STEPS = 200000 };
    struct {
        uint32_t key;
        int64_t at_ns;
        bool is_gone;
    } *list = calloc(STEPS, sizeof *list);
    size_t first = 0, end = 0;
    struct batch_table *t = NULL;
    struct rng r;
    int64_t now = 0;
    uint8_t id[16];
    (void)state;

    assert_non_null(list);
    rng_init(&r, 99);
    assert_int_equal(batch_table_new(ENTRIES, &t), ERR_OK);
    for (int step = 0; step < STEPS; step++) {
        uint32_t key = (uint32_t)rng_below(&r, KEYS);
        bool is_here = false;
        size_t at = 0;

        now += (int64_t)rng_below(&r, (uint64_t)BATCH_TABLE_KEEP_NS / 20);
        while (first < end &&
               (list[first].is_gone || now - list[first].at_ns > BATCH_TABLE_KEEP_NS))
            first++;
        for (size_t i = first; i < end; i++) {
            if (!list[i].is_gone && list[i].key == key) {
                is_here = true;
                at = i;
            }
        }
        id_make(id, key / 3);
        switch (rng_below(&r, 4)) {
        case 0: assert_int_equal(batch_table_has(t, id, key % 3, now), is_here); break;
        case 1:
            batch_table_remove(t, id, key % 3);
            if (is_here)
                list[at].is_gone = true;
            break;
        default:
            assert_int_equal(batch_table_add(t, id, key % 3, now), !is_here);
            if (is_here)
                break;
            if (end - first == ENTRIES)
                first++;
            list[end].key = key;
            list[end++].at_ns = now;
            break;
        }
    }
    batch_table_free(t);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repeat_is_known_for_ten_minutes),
        cmocka_unit_test(it_agrees_with_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
