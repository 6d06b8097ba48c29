/* Which parts of which blocks are kept, and under which roles. */
#include "common/objstore/shared_ranges.h"
#include "tests/lib/test.h"

#include <stdlib.h>

#define T0 (1700000000LL * NS_PER_S)

static struct fake_clock fake;

static struct shared_ranges *make(unsigned level_min, int64_t age_max_ns, enum object_part part)
{
    static char some_cache; /* never asked here */
    struct shared_ranges_options o = {
        .lookup_level_min = level_min, .lookup_age_max_ns = age_max_ns, .clock = &fake.clock};
    struct shared_ranges *s = NULL;

    fake_clock_init(&fake, T0);
    o.of_part[part] = (struct cache *)&some_cache;
    assert_int_equal(shared_ranges_new(&o, &s), ERR_OK);
    return s;
}

static void test_roles(void **state)
{
    (void)state;
    assert_string_equal(shared_ranges_role(OBJECT_VALUES), "parquet-page");
    assert_string_equal(shared_ranges_role(OBJECT_FOOTER), "parquet-footer");
    assert_string_equal(shared_ranges_role(OBJECT_LOOKUP), "bloom");
    assert_string_equal(shared_ranges_role(OBJECT_TRACES), "trace-id-index");
    assert_string_equal(shared_ranges_role(OBJECT_WORDS), "parquet-column-idx");
}

static void test_parts(void **state)
{
    struct shared_file file = {.key = "acme/x/data.vvb", .bytes = 10, .keeps_lookup = true};
    struct shared_ranges *s = make(0, 0, OBJECT_LOOKUP);
    (void)state;

    assert_true(shared_ranges_has(s, &file, OBJECT_LOOKUP));
    assert_false(shared_ranges_has(s, &file, OBJECT_VALUES));
    assert_false(shared_ranges_has(NULL, &file, OBJECT_LOOKUP));
    file.keeps_lookup = false;
    assert_false(shared_ranges_has(s, &file, OBJECT_LOOKUP));
    shared_ranges_free(s);
    s = make(0, 0, OBJECT_WORDS);
    assert_true(shared_ranges_has(s, &file, OBJECT_WORDS)); /* the rule is for look-ups alone */
    shared_ranges_free(s);
}

static void test_blocks(void **state)
{
    struct shared_ranges *s = make(0, 0, OBJECT_LOOKUP);
    (void)state;

    assert_true(shared_ranges_keeps_lookup(s, 0, 1));
    shared_ranges_free(s);
    s = make(2, 0, OBJECT_LOOKUP);
    assert_false(shared_ranges_keeps_lookup(s, 1, T0));
    assert_true(shared_ranges_keeps_lookup(s, 2, T0));
    assert_true(shared_ranges_keeps_lookup(s, 3, 1));
    shared_ranges_free(s);
    s = make(0, 3600 * NS_PER_S, OBJECT_LOOKUP);
    assert_true(shared_ranges_keeps_lookup(s, 0, T0));
    assert_true(shared_ranges_keeps_lookup(s, 0, T0 - 3600 * NS_PER_S));
    assert_false(shared_ranges_keeps_lookup(s, 0, T0 - 3601 * NS_PER_S));
    shared_ranges_free(s);
    assert_false(shared_ranges_keeps_lookup(NULL, 9, T0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
