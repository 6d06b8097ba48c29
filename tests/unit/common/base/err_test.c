#include "common/base/err.h"
#include "common/base/map.h"
#include "tests/lib/test.h"

static void test_rows_are_complete(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        const char *name = err_name((enum err)e);
        assert_true(strlen(name) > 1);
        for (int other = 0; other < e; other++)
            assert_string_not_equal(name, err_name((enum err)other));
        assert_in_range(err_http_status((enum err)e), 200, 599);
        assert_in_range(err_grpc_status((enum err)e), 0, 16);
        assert_true((err_http_status((enum err)e) == 200) == (e == ERR_OK));
    }
    assert_int_equal(err_http_status(ERR_LIMIT), 429);
    assert_int_equal(err_grpc_status(ERR_UNAVAILABLE), 14);
    assert_true(err_is_retryable(ERR_UNAVAILABLE));
    assert_false(err_is_retryable(ERR_INVALID));
}

static void test_detail_is_cut(void **state)
{
    struct err_detail d = {0};
    char text[1000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(err_detail_set(&d, ERR_FORMAT, "%s", text), ERR_FORMAT);
    assert_int_equal(strlen(d.text), sizeof d.text - 1);
    assert_int_equal(err_detail_set(NULL, ERR_FORMAT, "%s", text), ERR_FORMAT);
}

struct entry {
    UT_hash_handle hh;
    char key[16];
};

static void test_map_finds_what_it_holds(void **state)
{
    static struct entry entries[1000];
    struct entry *map = NULL, *found = NULL;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        size_t len = (size_t)snprintf(entries[i].key, sizeof entries[i].key, "key-%u", i);
        HASH_ADD_KEYPTR(hh, map, entries[i].key, len, &entries[i]);
        assert_non_null(entries[i].hh.tbl);
    }
    assert_int_equal(HASH_COUNT(map), 1000);
    HASH_FIND(hh, map, "key-777", 7, found);
    assert_ptr_equal(found, &entries[777]);
    HASH_FIND(hh, map, "key-1000", 8, found);
    assert_null(found);
    HASH_DEL(map, &entries[777]);
    HASH_FIND(hh, map, "key-777", 7, found);
    assert_null(found);
    HASH_CLEAR(hh, map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_complete),
        cmocka_unit_test(test_detail_is_cut),
        cmocka_unit_test(test_map_finds_what_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
