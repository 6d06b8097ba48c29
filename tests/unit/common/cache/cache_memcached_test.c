/* What is said to memcached, and what its answers are worth. */
#include "tests/lib/cache_talk.h"

#include <stdio.h>
#include <stdlib.h>

static struct buf says;
static uint8_t got[3][8];
static struct cache_item items[3];
static struct cache_batch batch;

static int set_up(void **state)
{
    static const char *const keys[] = {"vv1:a", "vv1:b", "vv1:c"};
    (void)state;

    buf_init(&says, 1 << 16);
    batch = (struct cache_batch){.count = 3};
    for (int i = 0; i < 3; i++) {
        memset(got[i], 0xee, sizeof got[i]);
        items[i] = (struct cache_item){.key = keys[i], .ret = got[i], .len = (size_t)i + 1};
        batch.items[i] = &items[i];
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_release(&says);
    return 0;
}

static void say_value(const char *key, const char *sealed_for, const char *value)
{
    buf_appendf(&says, "VALUE %s 0 %zu\r\n", key, CACHE_SEAL_BYTES + strlen(value));
    cache_talk_seal(&says, sealed_for, slice_str(value));
    buf_append_str(&says, "\r\n");
}

static enum err get(void)
{
    struct cache_talk t = cache_talk_begin(buf_slice(&says));
    char said[200];
    enum err e = cache_memcached.get(t.link, &batch, cache_talk_deadline());

    (void)cache_talk_end(&t, said, sizeof said);
    assert_string_equal(said, "get vv1:a vv1:b vv1:c\r\n");
    return e;
}

static void test_values(void **state)
{
    (void)state;
    say_value("vv1:a", "vv1:a", "x");
    say_value("vv1:c", "vv1:c", "xyz");
    buf_append_str(&says, "END\r\n");
    assert_int_equal(get(), ERR_OK);
    assert_true(items[0].is_found);
    assert_false(items[1].is_found);
    assert_true(items[2].is_found);
    assert_memory_equal(got[0], "x", 1);
    assert_memory_equal(got[2], "xyz", 3);
    assert_int_equal(got[2][3], 0xee);
    assert_int_equal(batch.damaged_count, 0);
}

static void test_a_seal_that_does_not_fit(void **state)
{
    (void)state;
    say_value("vv1:a", "vv1:b", "x"); /* that of another key */
    say_value("vv1:b", "vv1:b", "xy");
    says.ptr[says.len - 3] ^= 1; /* a bit of the value */
    say_value("vv1:c", "vv1:c", "xyz");
    buf_append_str(&says, "END\r\n");
    assert_int_equal(get(), ERR_OK);
    assert_false(items[0].is_found);
    assert_false(items[1].is_found);
    assert_true(items[2].is_found);
    assert_int_equal(batch.damaged_count, 2);
}

static void test_what_is_no_answer(void **state)
{
    static const char *const wrong[] = {"VALUE vv1:x 0 17\r\n",
                                        "VALUE vv1:a 0 18\r\n",
                                        "VALUE vv1:a 0 99999999999999999999\r\n",
                                        "VALUE vv1:a 0 -1\r\n",
                                        "VALUE vv1:a 0\r\n",
                                        "VALUE vv1:a\r\n",
                                        "VALUE \r\n",
                                        "VALUE\r\n",
                                        "END\n",
                                        "\r\n",
                                        "\n",
                                        "ERROR\r\n",
                                        "SERVER_ERROR busy\r\n",
                                        NULL};
    (void)state;

    for (unsigned i = 0; wrong[i] != NULL; i++) {
        buf_reset(&says);
        buf_append_str(&says, wrong[i]);
        if (get() != ERR_FORMAT)
            fail_msg("taken: %s", wrong[i]);
    }
    buf_reset(&says);
    for (int i = 0; i < 1000; i++)
        buf_append_str(&says, "line without end ");
    assert_int_equal(get(), ERR_FORMAT);
    /* A value that is followed by something else. */
    buf_reset(&says);
    say_value("vv1:a", "vv1:a", "x");
    says.ptr[says.len - 1] = 'x';
    assert_int_equal(get(), ERR_FORMAT);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    say_value("vv1:a", "vv1:a", "x");
    say_value("vv1:b", "vv1:b", "xy");
    buf_append_str(&says, "END\r\n");
    size_t whole = says.len;
    for (says.len = 0; says.len < whole; says.len++)
        assert_int_equal(get(), ERR_UNAVAILABLE);
    assert_int_equal(get(), ERR_OK);
}

static enum err put(const char *answer, int64_t expiration_ns, char said[400])
{
    struct cache_talk t = cache_talk_begin(slice_str(answer));
    struct buf sealed;

    buf_init(&sealed, 1000);
    cache_talk_seal(&sealed, "vv1:a", SLICE_LIT("abc"));
    enum err e = cache_memcached.put(t.link, "vv1:a", buf_slice(&sealed), expiration_ns,
                                     cache_talk_deadline());
    size_t len = cache_talk_end(&t, said, 400);
    assert_memory_equal(said + len - 5, "abc\r\n", 5);
    assert_memory_equal(said + len - 5 - CACHE_SEAL_BYTES, "VVC1\3\0\0\0", 8);
    said[len - 5 - CACHE_SEAL_BYTES] = '\0';
    buf_release(&sealed);
    return e;
}

static void test_put(void **state)
{
    char said[400];
    long long date;
    (void)state;

    assert_int_equal(put("STORED\r\n", 0, said), ERR_OK);
    assert_string_equal(said, "set vv1:a 0 0 19\r\n");
    assert_int_equal(put("STORED\r\n", 1500 * NS_PER_MS, said), ERR_OK);
    assert_string_equal(said, "set vv1:a 0 2 19\r\n");
    /* More than thirty days is a date. */
    assert_int_equal(put("STORED\r\n", 40LL * 24 * 3600 * NS_PER_S, said), ERR_OK);
    assert_int_equal(sscanf(said, "set vv1:a 0 %lld 19\r\n", &date), 1);
    assert_true(date > 1700000000LL);
    assert_int_equal(put("SERVER_ERROR object too large for cache\r\n", 0, said), ERR_TOO_LARGE);
    assert_int_equal(put("SERVER_ERROR out of memory storing object\r\n", 0, said), ERR_TOO_LARGE);
    assert_int_equal(put("ERROR\r\n", 0, said), ERR_FORMAT);
    assert_int_equal(put("", 0, said), ERR_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_seal_that_does_not_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_put, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
