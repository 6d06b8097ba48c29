/* Flags as Go's flag package reads them: one dash or two, = or a space, booleans without a value. */
#include "common/app/app_priv.h"
#include "tests/lib/test.h"

enum { ARGS_MAX = 8 };

static enum err parse(struct app_flags *ret, struct err_detail *detail, const char *a,
                      const char *b, const char *c)
{
    static char copies[ARGS_MAX][128];
    const char *const given[] = {"ingester", a, b, c};
    char *argv[ARGS_MAX] = {0};
    int argc = 0;

    for (unsigned i = 0; i < sizeof given / sizeof given[0] && given[i] != NULL; i++) {
        (void)snprintf(copies[i], sizeof copies[i], "%s", given[i]);
        argv[argc++] = copies[i];
    }
    return app_flags_parse(argc, argv, ret, detail);
}

static void test_forms(void **state)
{
    static struct app_flags f;
    struct err_detail detail;

    (void)state;
    assert_int_equal(parse(&f, &detail, "-config.file=a.yml", "--config.expand-env",
                           "-server.http-listen-port=1"),
                     ERR_OK);
    assert_string_equal(f.config_file, "a.yml");
    assert_true(f.expand_env);
    assert_int_equal(f.key_count, 1);
    assert_string_equal(f.keys[0].name, "server.http-listen-port");
    assert_string_equal(f.keys[0].value, "1");
    assert_int_equal(parse(&f, &detail, "--config.file", "b.yml", "-config.expand-env=false"),
                     ERR_OK);
    assert_string_equal(f.config_file, "b.yml");
    assert_false(f.expand_env);
    assert_int_equal(parse(&f, &detail, "-multitenancy.enabled", "-log.level", "debug"), ERR_OK);
    assert_int_equal(f.key_count, 2);
    assert_string_equal(f.keys[0].value, "true");
    assert_string_equal(f.keys[1].value, "debug");
    assert_int_equal(parse(&f, &detail, "-target=all", NULL, NULL), ERR_OK);
    assert_null(f.config_file);
    assert_string_equal(f.health_url, "http://localhost:3200/ready");
}

static void test_the_last_file_counts(void **state)
{
    static struct app_flags f;
    struct err_detail detail;

    (void)state;
    assert_int_equal(parse(&f, &detail, "-config.file=a.yml", "-config.file=b.yml", NULL), ERR_OK);
    assert_string_equal(f.config_file, "b.yml");
}

static void test_refused(void **state)
{
    static struct app_flags f;
    struct err_detail detail;

    (void)state;
    assert_int_equal(parse(&f, &detail, "tempo.yml", NULL, NULL), ERR_INVALID);
    assert_string_equal(detail.text, "unexpected argument \"tempo.yml\"; flags begin with -");
    assert_int_equal(parse(&f, &detail, "-config.file", NULL, NULL), ERR_INVALID);
    assert_string_equal(detail.text, "-config.file needs a value");
    assert_int_equal(parse(&f, &detail, "-config.verify=maybe", NULL, NULL), ERR_INVALID);
    assert_string_equal(detail.text, "-config.verify: \"maybe\" is not true or false");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_the_last_file_counts),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
