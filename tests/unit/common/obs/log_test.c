#include "common/obs/log.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <math.h>
#include <unistd.h>

static int stderr_kept = -1;

static void capture_start(void **state)
{
    FILE *f = fopen(tmpdir_path(state, "log"), "we");

    assert_non_null(f);
    stderr_kept = dup(STDERR_FILENO);
    assert_true(stderr_kept >= 0);
    assert_int_equal(dup2(fileno(f), STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(fclose(f), 0);
}

/* What was logged since, NUL-terminated. */
static char *capture_end(void **state, struct buf *b)
{
    assert_int_equal(dup2(stderr_kept, STDERR_FILENO), STDERR_FILENO);
    fs_close(&stderr_kept);
    buf_reset(b);
    assert_int_equal(fs_read_file(tmpdir_path(state, "log"), b), ERR_OK);
    buf_append_byte(b, '\0');
    return (char *)b->ptr;
}

/* The line behind its time and its caller, whose figures change. */
static const char *after_caller(const char *line)
{
    const char *at = strstr(line, "log_test.c:");

    assert_non_null(at);
    at = strpbrk(at, " ,\n");
    assert_non_null(at);
    return at;
}

static void test_logfmt_line(void **state)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    log_configure(LOG_LEVEL_INFO, false, "ingester");
    capture_start(state);
    log_info("block_cut", LOG_STR("tenant", "t1"), LOG_UINT("spans", UINT64_MAX),
             LOG_INT("left", -5), LOG_DOUBLE("ratio", 0.25), LOG_NS("took", 31500000),
             LOG_BOOL("full", true), LOG_HEX("id", SLICE_LIT("\x00\xab")), LOG_ERR(ERR_IO));
    const char *line = capture_end(state, &b);
    assert_true(strncmp(line, "level=info ts=20", 16) == 0);
    assert_non_null(strstr(line, "Z caller=tests/unit/common/obs/log_test.c:"));
    assert_string_equal(
        after_caller(line),
        " component=ingester msg=block_cut tenant=t1 spans=18446744073709551615 left=-5 "
        "ratio=0.25 took=31.5ms full=true id=00ab error=io\n");
    unsigned year, month, day, hour, minute, second, ns;
    assert_int_equal(sscanf(line, "level=info ts=%4u-%2u-%2uT%2u:%2u:%2u.%9uZ", &year, &month, &day,
                            &hour, &minute, &second, &ns),
                     7);
    assert_in_range(year, 2024, 9999);
    buf_release(&b);
}

static void test_values_can_not_break_out(void **state)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    log_configure(LOG_LEVEL_INFO, false, "x");
    capture_start(state);
    log_info("e", LOG_STR("a", "x y=\"z\"\nlevel=error"),
             LOG_SLICE("b", SLICE_LIT("nul\0\x1b[31m\x7f")), LOG_STR("c", "\xff\xc2\x9b"),
             LOG_STR("d", ""), LOG_STR("e", "b\\s"), LOG_STR("f", "caf\xc3\xa9"),
             LOG_STR("g", NULL));
    const char *line = capture_end(state, &b);
    assert_string_equal(
        after_caller(line),
        " component=x msg=e a=\"x y=\\\"z\\\"\\nlevel=error\" b=\"nul\\u0000\\u001b[31m\\u007f\" "
        "c=\"\\ufffd\\u009b\" d= e=\"b\\\\s\" f=\"caf\xc3\xa9\" g=null\n");
    buf_release(&b);
}

static void test_json_line(void **state)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    log_configure(LOG_LEVEL_INFO, true, "querier");
    capture_start(state);
    log_warn("slow", LOG_STR("q", "{ name = \"a\" }\t"), LOG_INT("n", 3), LOG_NS("took", 1500),
             LOG_DOUBLE("bad", (double)NAN), LOG_BOOL("ok", false));
    const char *line = capture_end(state, &b);
    assert_true(strncmp(line, "{\"level\":\"warn\",\"ts\":\"20", 24) == 0);
    const char *rest = strstr(line, ",\"component\"");
    assert_non_null(rest);
    assert_string_equal(
        rest,
        ",\"component\":\"querier\",\"msg\":\"slow\",\"q\":\"{ name = \\\"a\\\" }\\t\",\"n\":3,"
        "\"took\":\"1.5\xc2\xb5s\",\"bad\":\"NaN\",\"ok\":false}\n");
    buf_release(&b);
}

/* Every length around the limit: one line, closed, at most 4096 bytes. */
static void test_long_lines_are_cut(void **state)
{
    static char text[6000];
    struct buf b;

    buf_init(&b, 1 << 20);
    for (int json = 0; json < 2; json++) {
        log_configure(LOG_LEVEL_INFO, json == 1, "x");
        for (size_t len = 3850; len < 4200; len += 7) {
            memset(text, 'a', len);
            text[len] = '\0';
            text[len - 1] = '\n'; /* an escape at the very end */
            capture_start(state);
            log_info("big", LOG_STR("text", text), LOG_STR("after", "something"),
                     LOG_NS("took", -1));
            const char *line = capture_end(state, &b);
            size_t line_len = strlen(line);
            assert_in_range(line_len, 3800, 4096);
            assert_ptr_equal(strchr(line, '\n'), line + line_len - 1);
            bool is_cut = strstr(line, "truncated") != NULL;
            const char *tail = is_cut
                                   ? (json == 1 ? "\",\"truncated\":true}\n" : " truncated=true\n")
                                   : (json == 1 ? ",\"took\":\"-1ns\"}\n" : " took=-1ns\n");
            assert_string_equal(line + line_len - strlen(tail), tail);
            assert_true(is_cut || len < 4096);
        }
    }
    buf_release(&b);
}

static void test_levels(void **state)
{
    struct buf b;
    enum log_level level = LOG_LEVEL_DEBUG;

    buf_init(&b, 1 << 20);
    assert_int_equal(log_level_parse(SLICE_LIT("warn"), &level), ERR_OK);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_int_equal(log_level_parse(SLICE_LIT("loud"), &level), ERR_INVALID);
    assert_int_equal(level, LOG_LEVEL_WARN);
    log_configure(level, false, "");
    capture_start(state);
    log_debug("no");
    log_info("no");
    log_warn("yes");
    log_error("yes");
    const char *text = capture_end(state, &b);
    assert_null(strstr(text, "msg=no"));
    assert_non_null(strstr(text, "level=warn"));
    assert_non_null(strstr(text, "level=error"));
    assert_null(strstr(text, "component="));
    buf_release(&b);
}

static void log_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++)
        log_error("many", LOG_STR("text", "0123456789012345678901234567890123456789"));
}

static void test_lines_of_threads_do_not_mix(void **state)
{
    pthread_t threads[3];
    struct buf b;
    unsigned count = 0;

    buf_init(&b, 1 << 20);
    log_configure(LOG_LEVEL_INFO, false, "x");
    capture_start(state);
    for (int i = 0; i < 3; i++)
        assert_int_equal(thread_start(&threads[i], "log", log_many, NULL), ERR_OK);
    for (int i = 0; i < 3; i++)
        thread_join(threads[i]);
    for (const char *line = capture_end(state, &b); *line != '\0'; count++) {
        const char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_true(strncmp(line, "level=error ts=", 15) == 0);
        assert_memory_equal(end - 45, "text=0123456789012345678901234567890123456789", 45);
        line = end + 1;
    }
    assert_int_equal(count, 600);
    buf_release(&b);
}

static void test_rate_counts_what_it_holds_back(void **state)
{
    struct log_rate r = {0};
    uint64_t suppressed = 99;

    (void)state;
    assert_true(log_rate_allow(&r, INT64_C(3600) * 1000000000, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 5; i++)
        assert_false(log_rate_allow(&r, INT64_C(3600) * 1000000000, &suppressed));
    atomic_store(&r.next_ns, 0); /* the hour is over */
    assert_true(log_rate_allow(&r, 0, &suppressed));
    assert_int_equal(suppressed, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_logfmt_line, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_values_can_not_break_out, tmpdir_setup,
                                        tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_json_line, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_long_lines_are_cut, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_levels, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_lines_of_threads_do_not_mix, tmpdir_setup,
                                        tmpdir_teardown),
        cmocka_unit_test(test_rate_counts_what_it_holds_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
