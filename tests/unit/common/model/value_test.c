#include "common/model/value.h"
#include "tests/lib/test.h"

static void test_names_of_numbers(void **state)
{
    (void)state;
    assert_string_equal(value_status_name(STATUS_UNSET), "unset");
    assert_string_equal(value_status_name(STATUS_OK), "ok");
    assert_string_equal(value_status_name(STATUS_ERROR), "error");
    assert_string_equal(value_status_name(77), "unset");
    assert_string_equal(value_kind_name(KIND_UNSPECIFIED), "unspecified");
    assert_string_equal(value_kind_name(KIND_INTERNAL), "internal");
    assert_string_equal(value_kind_name(KIND_SERVER), "server");
    assert_string_equal(value_kind_name(KIND_CLIENT), "client");
    assert_string_equal(value_kind_name(KIND_PRODUCER), "producer");
    assert_string_equal(value_kind_name(KIND_CONSUMER), "consumer");
    assert_string_equal(value_kind_name(-1), "unspecified");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names_of_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
