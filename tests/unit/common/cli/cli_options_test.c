#include "common/cli/cli_options.h"
#include "tests/lib/test.h"

static enum err parse(struct cli_options *ret, struct err_detail *d, unsigned count,
                      const char *const *words)
{
    static char copies[CLI_HEADERS_MAX * 2 + 8][64];
    char *argv[CLI_HEADERS_MAX * 2 + 9] = {copies[0]};

    assert_true(count < CLI_HEADERS_MAX * 2 + 8);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(copies[i + 1], sizeof copies[0], "%s", words[i]);
        argv[i + 1] = copies[i + 1];
    }
    *d = (struct err_detail){0};
    return cli_options_parse((int)count + 1, argv, ret, d);
}
#define PARSE(...)                                                        \
    parse(&o, &d, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), \
          (const char *const[]){__VA_ARGS__})

static void test_every_way_of_writing(void **state)
{
    struct cli_options o;
    struct err_detail d;
    (void)state;

    assert_int_equal(PARSE("query", "search", "{}", "--limit=5", "-spss", "3", "--stream"), ERR_OK);
    assert_int_equal(o.command, CLI_SEARCH);
    assert_string_equal(o.operand, "{}");
    assert_string_equal(o.limit, "5");
    assert_string_equal(o.spss, "3");
    assert_true(o.is_stream && !o.is_quiet);
    assert_int_equal(PARSE("--url", "http://x", "query", "--header", "a:b", "trace", "1f",
                           "--header=c:d=e", "-output", "json"),
                     ERR_OK);
    assert_int_equal(o.command, CLI_TRACE);
    assert_int_equal(o.header_count, 2);
    assert_string_equal(o.headers[1], "c:d=e");
    assert_string_equal(o.output, "json");
    assert_int_equal(PARSE("query", "values", "--", "-odd"), ERR_OK);
    assert_string_equal(o.operand, "-odd");
    assert_int_equal(PARSE("query", "metrics", "{}", "--start", "-1h"), ERR_OK);
    assert_string_equal(o.start, "-1h");
    assert_int_equal(PARSE("completion", "zsh"), ERR_OK);
    assert_int_equal(o.command, CLI_COMPLETION);
    assert_int_equal(PARSE("query", "search", "-h"), ERR_OK);
    assert_true(o.is_help && o.command == CLI_SEARCH);
    assert_int_equal(PARSE("query", "--help"), ERR_OK);
    assert_int_equal(PARSE("--version"), ERR_OK);
    assert_true(o.is_version);
}

static void test_what_is_wrong_is_said(void **state)
{
    struct cli_options o;
    struct err_detail d;
    (void)state;

#define WRONG(word, ...)                                   \
    do {                                                   \
        assert_int_equal(PARSE(__VA_ARGS__), ERR_INVALID); \
        if (strstr(d.text, word) == NULL)                  \
            fail_msg("%s: %s", word, d.text);              \
    } while (0)
    WRONG("no such command: serve", "serve");
    WRONG("no such command: query api", "query", "api");
    WRONG("query what?", "query");
    WRONG("which TRACE_ID?", "query", "trace");
    WRONG("one word too many: b", "query", "trace", "a", "b");
    WRONG("one word too many: a", "query", "tags", "a");
    WRONG("unknown option --nope", "query", "tags", "--nope");
    WRONG("--limit needs a value", "query", "tags", "--limit");
    WRONG("--limit needs a value", "query", "tags", "--limit=");
    WRONG("--stream takes no value", "query", "tags", "--stream=1");
    WRONG("--stream is no option of query trace", "query", "trace", "1", "--stream");
    WRONG("--step is no option of query search", "query", "search", "{}", "--step", "1m");
    WRONG("--url is no option of vivace-cli", "--url", "x");
    WRONG("output is one of: table json", "query", "tags", "--output", "xml");
    WRONG("output is one of", "query", "tags", "--output", "jso");
    WRONG("scope is one of", "query", "tags", "--scope", "span event");
    WRONG("one of: bash zsh fish", "completion", "tcsh");
    const char *many[CLI_HEADERS_MAX * 2 + 4] = {"query", "tags"};
    for (unsigned i = 0; i <= CLI_HEADERS_MAX; i++) {
        many[2 + 2 * i] = "--header";
        many[3 + 2 * i] = "a:b";
    }
    assert_int_equal(parse(&o, &d, CLI_HEADERS_MAX * 2 + 4, many), ERR_INVALID);
    assert_non_null(strstr(d.text, "headers"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_of_writing),
        cmocka_unit_test(test_what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
