#include "common/tool/tool.h"
#include "tests/lib/test.h"

static enum err parse(struct tool_options *ret, struct err_detail *d, unsigned count,
                      const char *const *words)
{
    static char copies[8][64];
    char *argv[9] = {copies[0]};

    assert_true(count < 8);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(copies[i + 1], sizeof copies[0], "%s", words[i]);
        argv[i + 1] = copies[i + 1];
    }
    *d = (struct err_detail){0};
    return tool_options_parse((int)count + 1, argv, ret, d);
}
#define PARSE(...)                                                        \
    parse(&o, &d, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), \
          (const char *const[]){__VA_ARGS__})

static void test_every_way_of_writing(void **state)
{
    struct tool_options o;
    struct err_detail d;
    (void)state;

    assert_int_equal(PARSE("--path", "/data", "verify", "a", "--quarantine", "b"), ERR_OK);
    assert_string_equal(o.path, "/data");
    assert_int_equal(o.word_count, 3);
    assert_string_equal(o.words[0], "verify");
    assert_string_equal(o.words[2], "b");
    assert_true(o.is_quarantine);
    assert_int_equal(PARSE("-config.file=x.yml", "--config.expand-env", "list", "-json"), ERR_OK);
    assert_string_equal(o.config_file, "x.yml");
    assert_true(o.expand_env && o.is_json);
    assert_null(o.path);
    assert_int_equal(PARSE("-h"), ERR_OK);
    assert_true(o.is_help);
}

static void test_what_is_wrong_is_said(void **state)
{
    struct tool_options o;
    struct err_detail d;
    (void)state;

    assert_int_equal(PARSE("list", "--nope"), ERR_INVALID);
    assert_non_null(strstr(d.text, "nope"));
    assert_int_equal(PARSE("list", "--path"), ERR_INVALID);
    assert_non_null(strstr(d.text, "needs a value"));
    assert_int_equal(PARSE("list", "--path="), ERR_INVALID);
    assert_int_equal(PARSE("list", "--json=1"), ERR_INVALID);
    assert_non_null(strstr(d.text, "takes no value"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_of_writing),
        cmocka_unit_test(test_what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
