/* What is said to redis, and what its answers are worth. */
#include "tests/lib/cache_talk.h"

#include <stdio.h>

static struct buf says;
static uint8_t got[2][8];
static struct cache_item items[2];
static struct cache_batch batch;
static const struct cache_options plain = {.user = "", .password = ""};

static int set_up(void **state)
{
    static const char *const keys[] = {"vv1:a", "vv1:b"};
    (void)state;

    buf_init(&says, 1 << 16);
    batch = (struct cache_batch){.count = 2};
    for (int i = 0; i < 2; i++) {
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

static void say_value(const char *sealed_for, const char *value)
{
    buf_appendf(&says, "$%zu\r\n", CACHE_SEAL_BYTES + strlen(value));
    cache_talk_seal(&says, sealed_for, slice_str(value));
    buf_append_str(&says, "\r\n");
}

static enum err get(void)
{
    struct cache_talk t = cache_talk_begin(buf_slice(&says));
    char said[200];
    enum err e;

    for (int i = 0; i < 2; i++)
        items[i].is_found = false;
    batch.damaged_count = 0;
    assert_int_equal(cache_redis.greet(t.link, &plain, cache_talk_deadline()), ERR_OK);
    e = cache_redis.get(t.link, &batch, cache_talk_deadline());
    (void)cache_talk_end(&t, said, sizeof said);
    assert_string_equal(said,
                        "*2\r\n$3\r\nGET\r\n$5\r\nvv1:a\r\n*2\r\n$3\r\nGET\r\n$5\r\nvv1:b\r\n");
    return e;
}

static void test_values(void **state)
{
    (void)state;
    say_value("vv1:a", "x");
    buf_append_str(&says, "$-1\r\n");
    assert_int_equal(get(), ERR_OK);
    assert_true(items[0].is_found);
    assert_memory_equal(got[0], "x", 1);
    assert_false(items[1].is_found);
    assert_int_equal(batch.damaged_count, 0);
}

static void test_what_does_not_fit_is_not_found(void **state)
{
    (void)state;
    say_value("vv1:b", "x");   /* sealed for another */
    say_value("vv1:b", "xyz"); /* too long */
    assert_int_equal(get(), ERR_OK);
    assert_false(items[0].is_found);
    assert_false(items[1].is_found);
    assert_int_equal(batch.damaged_count, 2);
}

static void test_what_is_no_answer(void **state)
{
    static const char *const wrong[] = {
        "+OK\r\n",     ":5\r\n", "*1\r\n$1\r\nx\r\n", "*2147483647\r\n", "*-5\r\n", "?\r\n",
        "-ERR no\r\n", "$x\r\n", "-MOVED 1 a\r\n",    "$-7\r\n",         NULL};
    (void)state;

    for (unsigned i = 0; wrong[i] != NULL; i++) {
        buf_reset(&says);
        buf_append_str(&says, wrong[i]);
        enum err e = get();
        if (e == ERR_OK || e == ERR_TOO_LARGE)
            fail_msg("taken: %s (%s)", wrong[i], err_name(e));
    }
    /* A text that would be huge: what comes of it is read to a bound. */
    buf_reset(&says);
    buf_append_str(&says, "$6000000000\r\n");
    for (int i = 0; i < 3000; i++)
        buf_append_str(&says, "much more ");
    assert_int_equal(get(), ERR_FORMAT);
    buf_reset(&says);
    buf_append_str(&says, "-NOAUTH Authentication required.\r\n");
    assert_int_equal(get(), ERR_UNAUTHENTICATED);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    say_value("vv1:a", "x");
    say_value("vv1:b", "xy");
    size_t whole = says.len;
    for (says.len = 0; says.len < whole; says.len++)
        assert_int_equal(get(), ERR_UNAVAILABLE);
    assert_int_equal(get(), ERR_OK);
    assert_true(items[0].is_found && items[1].is_found);
}

static enum err greet(const struct cache_options *o, const char *answers, char said[400])
{
    struct cache_talk t = cache_talk_begin(slice_str(answers));
    enum err e = cache_redis.greet(t.link, o, cache_talk_deadline());

    (void)cache_talk_end(&t, said, 400);
    return e;
}

static void test_greeting(void **state)
{
    struct cache_options o = {.user = "", .password = "secret", .db = 7};
    char said[400];
    (void)state;

    assert_int_equal(greet(&o, "+OK\r\n+OK\r\n", said), ERR_OK);
    assert_string_equal(said,
                        "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n");
    o.user = "me";
    o.db = 0;
    assert_int_equal(greet(&o, "+OK\r\n", said), ERR_OK);
    assert_string_equal(said, "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n");
    assert_int_equal(greet(&o, "-WRONGPASS invalid username-password pair\r\n", said),
                     ERR_UNAUTHENTICATED);
    assert_int_equal(greet(&o, "$2\r\nOK\r\n", said), ERR_FORMAT);
    assert_int_equal(greet(&o, "", said), ERR_UNAVAILABLE);
}

static enum err put(const char *answer, int64_t expiration_ns, char said[400])
{
    struct cache_talk t = cache_talk_begin(slice_str(answer));

    assert_int_equal(cache_redis.greet(t.link, &plain, cache_talk_deadline()), ERR_OK);
    enum err e =
        cache_redis.put(t.link, "vv1:a", SLICE_LIT("sealed"), expiration_ns, cache_talk_deadline());
    (void)cache_talk_end(&t, said, 400);
    return e;
}

static void test_put(void **state)
{
    char said[400];
    (void)state;

    assert_int_equal(put("+OK\r\n", 0, said), ERR_OK);
    assert_string_equal(said, "*3\r\n$3\r\nSET\r\n$5\r\nvv1:a\r\n$6\r\nsealed\r\n");
    assert_int_equal(put("+OK\r\n", 1500 * NS_PER_MS, said), ERR_OK);
    assert_string_equal(
        said, "*5\r\n$3\r\nSET\r\n$5\r\nvv1:a\r\n$6\r\nsealed\r\n$2\r\nPX\r\n$4\r\n1500\r\n");
    assert_int_equal(put("-OOM command not allowed\r\n", 0, said), ERR_TOO_LARGE);
    assert_int_equal(put("-READONLY You can't write\r\n", 0, said), ERR_FORMAT);
    assert_int_equal(put("$-1\r\n", 0, said), ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_not_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_greeting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_put, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
