/* Labels: names as Prometheus takes them, collisions, order, values cut at whole characters. */
#include "generator/labels.h"
#include "tests/lib/test.h"

#include <stdio.h>

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

/* "name=value name=value" */
static const char *written(const struct labels_plan *p, const struct slice *values)
{
    static char text[1024];
    struct slice name, value;
    struct buf out;
    size_t n = 0;

    buf_init(&out, 1 << 16);
    assert_int_equal(labels_write(p, values, &out), ERR_OK);
    text[0] = '\0';
    for (size_t at = 0; series_label_next(buf_slice(&out), &at, &name, &value);)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s" SLICE_FMT "=" SLICE_FMT,
                              n == 0 ? "" : " ", SLICE_ARG(name), SLICE_ARG(value));
    buf_release(&out);
    return text;
}

static void test_names_are_sanitised(void **state)
{
    static const struct {
        const char *name, *want;
    } rows[] = {{"http.method", "http_method"},
                {"a-b c/d", "a_b_c_d"},
                {"9lives", "_9lives"},
                {"A_z0", "A_z0"},
                {"\xc3\xa9t", "__t"},
                {"", ""},
                {":colon", "_colon"}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(slice_eq_str(labels_sanitise(&arena, slice_str(rows[i].name)), rows[i].want));
}

static void test_order_and_collisions(void **state)
{
    struct labels_plan p;
    struct slice values[5] = {SLICE_LIT("svc"), SLICE_LIT("dim"), SLICE_LIT("first"),
                              SLICE_LIT("last"), SLICE_NONE};

    (void)state;
    labels_plan_init(&p, &arena, 100, 100);
    assert_int_equal(labels_plan_fixed(&p, "service", 0), ERR_OK);
    assert_int_equal(labels_plan_attribute(&p, "", "service", 1, true), ERR_OK);
    assert_int_equal(labels_plan_attribute(&p, "", "a.b", 2, true), ERR_OK);
    assert_int_equal(labels_plan_attribute(&p, "", "a-b", 3, true), ERR_OK);
    assert_int_equal(labels_plan_attribute(&p, "client_", "zone", 4, false), ERR_OK);
    labels_plan_sort(&p);
    assert_string_equal(written(&p, values), "__service=dim a_b=last service=svc");
    values[4] = SLICE_LIT("x");
    values[0] = SLICE_NONE;
    assert_string_equal(written(&p, values), "__service=dim a_b=last client_zone=x");
}

static void test_values_are_cut_at_whole_characters(void **state)
{
    struct labels_plan p;
    struct slice value = SLICE_LIT("ab\xc3\xa9z");
    struct buf out;

    (void)state;
    labels_plan_init(&p, &arena, 3, 3);
    assert_int_equal(labels_plan_attribute(&p, "", "longname", 0, true), ERR_OK);
    labels_plan_sort(&p);
    assert_string_equal(written(&p, &value), "lon=ab");
    value = SLICE_LIT("a\xc3\xa9z");
    assert_string_equal(written(&p, &value), "lon=a\xc3\xa9");
    value = SLICE_LIT("a\xff");
    buf_init(&out, 100);
    assert_int_equal(labels_write(&p, &value, &out), ERR_FORMAT);
    buf_release(&out);
}

static void test_a_plan_is_bounded(void **state)
{
    struct labels_plan p;
    char name[16];

    (void)state;
    labels_plan_init(&p, &arena, 100, 100);
    for (unsigned i = 0; i < SERIES_LABELS_MAX; i++) {
        (void)snprintf(name, sizeof name, "n%u", i);
        assert_int_equal(labels_plan_attribute(&p, "", name, i, true), ERR_OK);
    }
    assert_int_equal(labels_plan_attribute(&p, "", "more", 0, true), ERR_TOO_LARGE);
    assert_int_equal(labels_plan_attribute(&p, "", "n3", 0, true), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names_are_sanitised, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order_and_collisions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_values_are_cut_at_whole_characters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_plan_is_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
