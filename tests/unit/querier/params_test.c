/* Query parameters: values and Tempo's words for mistakes, as recorded. */
#include "common/base/clock.h"
#include "querier/params.h"
#include "tests/lib/test.h"

#define NOW_S  1795391350LL
#define NOW_NS (NOW_S * NS_PER_S)

static struct config config;
static const struct params_rules rules = {&config, &config.limits};
static struct arena arena;

static int set_up(void **state)
{
    struct config_warning *warnings;
    struct err_detail d = {0};

    (void)state;
    arena_init(&arena, NULL);
    if (config_parse("test.yml", SLICE_NONE, false, NULL, 0, &config, &warnings, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    config_release(&config);
    return 0;
}

struct row {
    const char *query;
    const char *want; /* the message; NULL: it is fine */
};

enum route { SEARCH, TRACE, TAGS, METRICS };

static void check(enum route route, const struct row *rows, size_t count)
{
    union {
        struct params_search search;
        struct params_window window;
        struct params_tags tags;
        struct params_metrics metrics;
    } u;

    for (size_t i = 0; i < count; i++) {
        struct err_detail d = {0};
        struct slice q = slice_str(rows[i].query);
        enum err e = route == SEARCH  ? params_search(&arena, &rules, q, NOW_NS, &u.search, &d)
                     : route == TRACE ? params_trace_window(&arena, q, &u.window, &d)
                     : route == TAGS  ? params_tags(&arena, &rules, q, NOW_NS, &u.tags, &d)
                                      : params_metrics(&arena, &rules, q, NOW_NS, &u.metrics, &d);
        if (e != (rows[i].want == NULL ? ERR_OK : ERR_INVALID) ||
            (rows[i].want != NULL && strcmp(d.text, rows[i].want) != 0))
            fail_msg("%s: %s: %s", rows[i].query, err_name(e), d.text);
    }
}
#define CHECK(route, rows) check((route), (rows), sizeof(rows) / sizeof(rows)[0])

#define W  "start=1795389300&end=1795389890&"
#define SI "strconv.ParseInt: parsing "
#define SA "strconv.Atoi: parsing "

static void test_search_mistakes(void **state)
{
    static const struct row rows[] = {
        {"", NULL},
        {W "limit=200&spss=100", NULL},
        {W "spss=101", "spans per span set exceeds 100. received 101"},
        {W "spss=-1", "invalid spss: must be a non-negative number"},
        {W "spss=x", "invalid spss: " SA "\"x\": invalid syntax"},
        {W "limit=0", "invalid limit: must be a positive number"},
        {W "limit=-1", "invalid limit: must be a positive number"},
        {W "limit=x", "invalid limit: " SA "\"x\": invalid syntax"},
        {W "limit=1.5", "invalid limit: " SA "\"1.5\": invalid syntax"},
        {W "limit=1000000", "limit 1000000 exceeds max limit 262144"},
        {W "limit=99999999999999999999",
         "invalid limit: " SA "\"99999999999999999999\": value out of range"},
        {"start=abc&end=1795389890", "invalid start: " SI "\"abc\": invalid syntax"},
        {"start=1795389300&end=abc", "invalid end: " SI "\"abc\": invalid syntax"},
        {"start=1795390200&end=1795389300",
         "http parameter start must be before end. received start=1795390200 end=1795389300"},
        {"end=1795389890",
         "error parsing date range: only one of start and end provided: must provide both or neither"},
        {"start=1795389300",
         "http parameter start must be before end. received start=1795389300 end=0"},
        {"start=1795389300&end=1795389300",
         "http parameter start must be before end. received start=1795389300 end=1795389300"},
        {"start=1795389300000000000&end=1795390200000000000",
         "invalid start: " SI "\"1795389300000000000\": value out of range"},
        {"start=2026-11-22T23:15:00Z&end=2026-11-22T23:30:00Z",
         "invalid start: " SI "\"2026-11-22T23:15:00Z\": invalid syntax"},
        {"start=-5&end=1795389890",
         "http parameter start must be before end. received start=4294967291 end=1795389890"},
        {"start=1&end=2000000000",
         "range specified by start and end exceeds 168h0m0s. received start=1 end=2000000000"},
        {W "extra=ignored&minDuration=10s", NULL},
        {W "minDuration=5", "invalid minDuration: time: missing unit in duration \"5\""},
        {W "minDuration=1.5", "invalid minDuration: time: missing unit in duration \"1.5\""},
        {W "minDuration=.", "invalid minDuration: time: invalid duration \".\""},
        {W "minDuration=-1s", NULL},
        {W "minDuration=2s&maxDuration=1s",
         "invalid maxDuration: must be greater than minDuration"},
        {W "maxDuration=abc", "invalid maxDuration: time: invalid duration \"abc\""},
        {W "tags=%22key+with+space%22=v1", "invalid tags: unexpected '\"' at pos 1"},
        {W "tags==x", "invalid tags: unexpected '=' at pos 1"},
        {W "tags=service.name=web&q=%7B%7D",
         "invalid request: can't specify tags and q in the same query"},
        {W "tags=a=1+a=2", "invalid tags: tag a has been set twice"},
        {W "since=x", "invalid since: not a valid duration string: \"x\""},
    };

    (void)state;
    CHECK(SEARCH, rows);
}

static void test_search_values(void **state)
{
    struct params_search p;

    (void)state;
    assert_int_equal(params_search(&arena, &rules, SLICE_NONE, NOW_NS, &p, NULL), ERR_OK);
    assert_false(p.window.is_given);
    assert_int_equal(p.window.end_ns, NOW_NS - config.query_end_cutoff_ns);
    assert_int_equal(p.window.end_ns - p.window.start_ns, 900 * NS_PER_S);
    assert_int_equal(p.limit, 20);
    assert_int_equal(p.spss, 3);
    assert_null(p.q.ptr);
    assert_int_equal(
        params_search(&arena, &rules,
                      SLICE_LIT(W "tags=service.name%3Dweb+name%3D%22GET+%5C%22%2Fx%5C%22%22+flag"
                                  "&minDuration=200ms&maxDuration=1m&limit=7&spss=0"),
                      NOW_NS, &p, NULL),
        ERR_OK);
    assert_int_equal(p.window.start_ns, 1795389300 * NS_PER_S);
    assert_int_equal(p.window.end_ns, 1795389890 * NS_PER_S);
    assert_int_equal(p.tag_count, 3);
    assert_true(slice_eq_str(p.tags[0].key, "service.name"));
    assert_true(slice_eq_str(p.tags[0].value, "web"));
    assert_true(slice_eq_str(p.tags[1].value, "GET \"/x\""));
    assert_true(slice_eq_str(p.tags[2].key, "flag"));
    assert_int_equal(p.tags[2].value.len, 0);
    assert_int_equal(p.min_duration_ns, 200 * NS_PER_MS);
    assert_int_equal(p.max_duration_ns, 60 * NS_PER_S);
    assert_int_equal(p.limit, 7);
    assert_int_equal(p.spss, 3);
    assert_int_equal(params_search(&arena, &rules, SLICE_LIT("q=%7B%7D&minDuration=1s&since=5m"),
                                   NOW_NS, &p, NULL),
                     ERR_OK);
    assert_true(slice_eq_str(p.q, "{}"));
    assert_int_equal(p.min_duration_ns, 0); /* of tag searches only */
    assert_int_equal(p.window.end_ns - p.window.start_ns, 300 * NS_PER_S);
    assert_int_equal(
        params_search(&arena, &rules, SLICE_LIT(W "minDuration=-1s"), NOW_NS, &p, NULL), ERR_OK);
    assert_true(p.min_duration_ns == UINT64_MAX); /* nothing is that long */
}

/* A window whose end is cut below its start finds nothing; it is no mistake. */
static void test_a_window_that_begins_in_the_cutoff(void **state)
{
    struct params_search p;
    struct err_detail d = {0};

    (void)state;
    config.query_end_cutoff_ns = 30 * NS_PER_S;
    enum err e =
        params_search(&arena, &rules, SLICE_LIT("start=1795391340&end=1795391400"), NOW_NS, &p, &d);
    if (e != ERR_OK)
        fail_msg("%s", d.text);
    assert_int_equal(p.window.end_ns, (NOW_S - 30) * NS_PER_S);
    assert_int_equal(
        params_search(&arena, &rules, SLICE_LIT("start=1&end=2000000000"), NOW_NS, &p, &d),
        ERR_INVALID);
    assert_string_equal(
        d.text,
        "range specified by start and end exceeds 168h0m0s. received start=1 end=1795391320");
}

static void test_trace_window(void **state)
{
    static const struct row rows[] = {
        {"", NULL},
        {"start=1795389300&end=1795390200", NULL},
        {"start=1795389300", NULL},
        {"mode=blocks", NULL},
        {"start=1795390200&end=1795389300",
         "http parameter start must be before end. received start=1795390200 end=1795389300"},
        {"start=abc&end=1", "invalid start: " SI "\"abc\": invalid syntax"},
        {"start=1795389300&end=1795389300",
         "http parameter start must be before end. received start=1795389300 end=1795389300"},
        {"mode=nonsense", "invalid value for mode nonsense"},
    };

    (void)state;
    CHECK(TRACE, rows);
}

static void test_tags(void **state)
{
    static const struct row rows[] = {
        {"", NULL},
        {"start=1795390200&end=1795389300",
         "range specified by start and end exceeds 168h0m0s. received start=1795390200 end=1795389300"},
        {"start=x&end=1795390200",
         "error parsing date range: could not parse 'start' parameter: " SI
         "\"x\": invalid syntax"},
        {"start=1795389300&end=x",
         "error parsing date range: could not parse 'end' parameter: " SI "\"x\": invalid syntax"},
        {"start=1795389300",
         "error parsing date range: only one of start and end provided: must provide both or neither"},
        {"end=1795389300",
         "error parsing date range: only one of start and end provided: must provide both or neither"},
        {W "limit=x&maxStaleValues=x", NULL},
        {W "scope=span", NULL},
        {W "scope=nonsense", "invalid scope: nonsense"},
    };
    struct params_tags p;

    (void)state;
    CHECK(TAGS, rows);
    assert_int_equal(params_tags(&arena, &rules, SLICE_LIT(W "limit=5&scope=resource&q=%7B%7D"),
                                 NOW_NS, &p, NULL),
                     ERR_OK);
    assert_int_equal(p.limit, 5);
    assert_true(slice_eq_str(p.scope, "resource"));
    assert_int_equal(p.window.start_ns, 1795389300 * NS_PER_S);
}

static void test_metrics(void **state)
{
    static const struct row rows[] = {
        {"start=1795389300&end=1795390200", NULL},
        {"start=1795389300.5&end=1795390200000000000&step=15", NULL},
        {"start=1795390200&end=1795389300", "end must be greater than start"},
        {"start=x", "could not parse 'start' parameter: cannot parse \"x\" to a valid timestamp"},
        {"start=2026-11-22T23:15:00.9e300Z", "could not parse 'start' parameter: cannot parse "
                                             "\"2026-11-22T23:15:00.9e300Z\" to a valid timestamp"},
        {"start=1900-01-01T00:00:00Z", "could not parse 'start' parameter: cannot parse "
                                       "\"1900-01-01T00:00:00Z\" to a valid timestamp"},
        {"step=x", "cannot parse \"x\" to a valid duration"},
        {"step=0", "step must be greater than 0"},
        {"since=x", "could not parse 'since' parameter: not a valid duration string: \"x\""},
    };
    struct params_metrics p;

    (void)state;
    CHECK(METRICS, rows);
    assert_int_equal(
        params_metrics(&arena, &rules,
                       SLICE_LIT("start=2026-11-22T23:15:00.25Z&end=2026-11-22T23:30:00Z&query=x"),
                       NOW_NS, &p, NULL),
        ERR_OK);
    assert_int_equal(p.start_ns, 1795389300 * NS_PER_S + 250 * NS_PER_MS);
    assert_int_equal(p.end_ns, 1795390200 * NS_PER_S);
    assert_true(slice_eq_str(p.q, "x"));
    const struct row fewer[] = {
        {"start=1000&end=1100&step=10", NULL},
        {"start=1000&end=1110&step=10",
         "step of 10s is too small, minimum step for given range is 11s"},
    };
    config.metrics_max_intervals = 10;
    CHECK(METRICS, fewer);
    config.metrics_max_intervals = 0;
    assert_int_equal(
        params_metrics(&arena, &rules, SLICE_LIT("start=1000&end=11000&step=1"), NOW_NS, &p, NULL),
        ERR_OK);
    assert_int_equal(
        params_metrics(&arena, &rules, SLICE_LIT("start=1000&end=11001&step=1"), NOW_NS, &p, NULL),
        ERR_INVALID);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_search_mistakes), T(test_search_values), T(test_a_window_that_begins_in_the_cutoff),
        T(test_trace_window),    T(test_tags),          T(test_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
