/* Series: one entity for a label set, the limit and the budget, expiry, a table that grows, buckets and exemplars. */
#include "generator/series.h"
#include "tests/lib/test.h"

#include <math.h>
#include <stdio.h>

static const double bounds[] = {0.5, 1, 2};
static struct budget budget;
static struct series_set set;

static void open_set(uint32_t count_max, size_t bytes)
{
    budget_init(&budget, bytes, NULL);
    assert_int_equal(series_init(&set, SERIES_SPAN, bounds, 3, count_max, &budget), ERR_OK);
}

static void close_set(void)
{
    series_release(&set);
    assert_int_equal(budget_used(&budget), 0);
}

static struct series_entity *get(unsigned n, int64_t now_ns)
{
    char value[16];
    struct buf b;

    (void)snprintf(value, sizeof value, "%u", n);
    buf_init(&b, 100);
    series_label_append(&b, SLICE_LIT("n"), slice_str(value));
    struct series_entity *e = series_get(&set, buf_slice(&b), now_ns);
    buf_release(&b);
    return e;
}

static enum err count_one(void *arg, struct series_set *s, struct series_entity *e)
{
    unsigned *n = arg;

    (void)s;
    (void)e;
    (*n)++;
    return *n == 7 ? ERR_CANCELED : ERR_OK;
}

static void test_one_entity_for_a_label_set(void **state)
{
    (void)state;
    open_set(0, 1 << 20);
    struct series_entity *e = get(1, 10);
    assert_ptr_equal(get(1, 20), e);
    assert_int_equal(e->updated_ns, 20);
    assert_ptr_equal(get(1, 5), e); /* a clock that goes backwards makes nothing older */
    assert_int_equal(e->updated_ns, 20);
    assert_ptr_not_equal(get(2, 20), e);
    assert_int_equal(set.count, 2);
    close_set();
}

static void test_the_table_grows(void **state)
{
    enum { MANY = 5000 };
    unsigned seen = 100;

    (void)state;
    open_set(0, 64 << 20);
    for (unsigned i = 0; i < MANY; i++)
        get(i, 1)->counters[0] = i;
    assert_int_equal(set.count, MANY);
    assert_true(set.table_size >= MANY);
    for (unsigned i = 0; i < MANY; i++)
        assert_true(get(i, 1)->counters[0] == i);
    assert_int_equal(set.count, MANY);
    assert_int_equal(series_each(&set, count_one, &seen), ERR_OK);
    assert_int_equal(seen, 100 + MANY);
    seen = 0;
    assert_int_equal(series_each(&set, count_one, &seen), ERR_CANCELED);
    assert_int_equal(seen, 7);
    close_set();
}

static void test_over_the_limit(void **state)
{
    (void)state;
    open_set(2, 1 << 20);
    struct series_entity *one = get(1, 1), *two = get(2, 2), *over = get(3, 3);
    assert_ptr_not_equal(over, one);
    assert_ptr_not_equal(over, two);
    assert_ptr_equal(get(4, 4), over);
    assert_ptr_equal(get(1, 5), one); /* who is in stays in */
    assert_int_equal(set.limited, 2);
    assert_int_equal(set.count, 3);
    series_expire(&set, 3); /* the second goes: there is room for one, the overflow takes none */
    assert_ptr_not_equal(get(5, 6), over);
    assert_ptr_equal(get(6, 6), over);
    series_expire(&set, 100);
    assert_int_equal(set.count, 0);
    (void)get(1, 101);
    (void)get(2, 101);
    assert_int_equal(set.limited, 3);
    close_set();
}

/* A checkpoint gives its series in any order, the overflow perhaps first. */
static void test_the_overflow_takes_nobodys_place(void **state)
{
    (void)state;
    open_set(2, 1 << 20);
    struct series_entity *over = series_get(&set, SLICE_LIT("\x0fmetric_overflow\x04true"), 1);
    assert_ptr_not_equal(get(1, 1), over);
    assert_ptr_not_equal(get(2, 1), over);
    assert_int_equal(set.limited, 0);
    assert_ptr_equal(get(3, 1), over);
    close_set();
}

static void test_the_budget_is_a_limit_too(void **state)
{
    unsigned made = 0;

    (void)state;
    open_set(0, 4096);
    struct series_entity *over = series_get(&set, SLICE_LIT("\x0fmetric_overflow\x04true"), 1);
    assert_non_null(over);
    while (get(made, 1) != over)
        assert_true(++made < 100);
    assert_true(made > 2);
    assert_ptr_equal(get(0, 2) == over ? NULL : over, over); /* the old ones go on */
    close_set();
    open_set(0, 100); /* not even the overflow */
    assert_null(get(1, 1));
    close_set();
}

static void test_buckets_and_exemplars(void **state)
{
    struct trace_id a = {.b = {1}}, b = {.b = {2}};

    (void)state;
    open_set(0, 1 << 20);
    struct series_entity *e = get(1, 1);
    struct series_histogram *h = &e->histograms[0];
    assert_true(isnan(h->exemplars[0].value));
    series_observe(&set, h, 0.5, a); /* inclusive */
    series_observe(&set, h, 0.25, b);
    series_observe(&set, h, 2.5, a);
    assert_int_equal(h->buckets[0], 2);
    assert_int_equal(h->buckets[1], 0);
    assert_int_equal(h->buckets[3], 1);
    assert_int_equal(h->count, 3);
    assert_true(h->sum == 3.25);
    assert_true(trace_id_eq(h->exemplars[0].trace_id, b)); /* the last one */
    assert_true(h->exemplars[3].value == 2.5);
    close_set();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_entity_for_a_label_set),
        cmocka_unit_test(test_the_table_grows),
        cmocka_unit_test(test_over_the_limit),
        cmocka_unit_test(test_the_overflow_takes_nobodys_place),
        cmocka_unit_test(test_the_budget_is_a_limit_too),
        cmocka_unit_test(test_buckets_and_exemplars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
