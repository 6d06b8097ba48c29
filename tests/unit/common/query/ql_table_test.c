/* The language against tables of recorded verdicts: tests/data/traceql/README.md says what a row is. */
#include "common/query/ql.h"
#include "tests/lib/test.h"

enum { LINE_BYTES_MAX = 8192, FIELDS_MAX = 4, FAILURES_SHOWN_MAX = 20 };

static unsigned failures;

static void complain(const char *query, const char *what, const char *got)
{
    if (failures++ < FAILURES_SHOWN_MAX)
        print_error("%s\n  want: %s\n  got:  %s\n", query, what, got);
}

/* Undoes \t \n \r and \\ in place. */
static void unescape(char *s)
{
    char *out = s;

    for (; *s != '\0'; s++) {
        if (*s != '\\') {
            *out++ = *s;
            continue;
        }
        s++;
        assert_true(*s == 't' || *s == 'n' || *s == 'r' || *s == '\\');
        *out++ = *s == 't' ? '\t' : *s == 'n' ? '\n' : *s == 'r' ? '\r' : '\\';
    }
    *out = '\0';
}

static unsigned split(char *line, char *fields[FIELDS_MAX])
{
    unsigned count = 0;
    char *at = line;

    line[strcspn(line, "\n")] = '\0';
    while (at != NULL && count < FIELDS_MAX) {
        char *tab = strchr(at, '\t');
        if (tab != NULL)
            *tab = '\0';
        unescape(at);
        fields[count++] = at;
        at = tab == NULL ? NULL : tab + 1;
    }
    return count;
}

typedef void row_fn(char *fields[FIELDS_MAX], unsigned count);

static void each_row(const char *path, unsigned rows_wanted, row_fn *fn)
{
    char line[LINE_BYTES_MAX];
    unsigned rows = 0;
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    failures = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        char *fields[FIELDS_MAX] = {0};
        assert_non_null(strchr(line, '\n'));
        if (line[0] == '#')
            continue;
        fn(fields, split(line, fields));
        rows++;
    }
    (void)fclose(f);
    assert_int_equal(rows, rows_wanted);
    assert_int_equal(failures, 0);
}

/* Parses; gives the dump or the message. */
static enum err run(const char *query, char *ret_text, size_t text_bytes)
{
    struct arena a;
    struct ql_query *q = NULL;
    struct err_detail detail = {0};

    arena_init(&a, NULL);
    enum err e = ql_parse(&a, slice_str(query), &q, &detail);
    if (e == ERR_OK) {
        struct buf b;
        buf_init(&b, text_bytes);
        ql_dump(&b, q);
        assert_int_equal(buf_err(&b), ERR_OK);
        (void)snprintf(ret_text, text_bytes, SLICE_FMT, SLICE_ARG(buf_slice(&b)));
        buf_release(&b);
        ql_release(q);
    } else {
        assert_true(detail.text[0] != '\0');
        (void)snprintf(ret_text, text_bytes, "%s", detail.text);
    }
    arena_release(&a);
    return e;
}

/* --- every operand with every operator ------------------------------------------------------------ */

static const struct {
    const char *code, *prefix, *suffix;
} verdicts[] = {
    {"ok", "{ ", " }"},
    {"B", "binary operations must operate on the same type: ", ""},
    {"I", "illegal operation for the given types: ", ""},
    {"U", "illegal operation for the given type: ", ""},
    {"F", "span filter field expressions must resolve to a boolean: { ", " }"},
    {"X", "invalid type for =~ or !~: ", ""},
    {"V", "", ""},
};

/* A literal in quotes is dumped in backquotes. */
static void derive(const char *inner, char *ret, size_t bytes)
{
    size_t i = 0;

    for (; inner[i] != '\0' && i + 1 < bytes; i++)
        ret[i] = inner[i] == '"' ? '`' : inner[i];
    ret[i] = '\0';
}

static void typematrix_row(char *fields[FIELDS_MAX], unsigned count)
{
    char query[256], want[512], got[1024], derived[256];

    (void)snprintf(query, sizeof query, "{ %s }", fields[0]);
    derive(fields[0], derived, sizeof derived);
    const char *text = count == 3 ? fields[2] : derived;
    enum err e = run(query, got, sizeof got);
    if (fields[1][0] == 'P') {
        (void)snprintf(want, sizeof want, "parse error at line 1, col %s: %s", fields[1] + 1, text);
    } else {
        size_t i = 0;
        while (strcmp(verdicts[i].code, fields[1]) != 0)
            assert_true(++i < sizeof verdicts / sizeof *verdicts);
        (void)snprintf(want, sizeof want, "%s%s%s", verdicts[i].prefix, text, verdicts[i].suffix);
    }
    bool is_infinite =
        strcmp(text, "+Inf.0") ==
        0; /* has no spelling here, so it is not folded: the message shows the operation */
    if ((e == ERR_OK) != (strcmp(fields[1], "ok") == 0) || (!is_infinite && strcmp(got, want) != 0))
        complain(query, want, got);
}

static void test_typematrix(void **state)
{
    (void)state;
    each_row("tests/data/traceql/typematrix.txt", 6520, typematrix_row);
}

/* --- our own forms ----------------------------------------------------------------------------------- */

/* What the metrics routes make of a search; "-" when it is no metrics query to them either. */
static void metrics_row(const char *query, const char *want)
{
    struct arena a;
    struct ql_query *q = NULL, *metrics = NULL;
    struct err_detail detail = {0};
    struct slice text = SLICE_LIT("-");
    char got[1024];

    arena_init(&a, NULL);
    assert_int_equal(ql_parse(&a, slice_str(query), &q, &detail), ERR_OK);
    enum err e = ql_as_metrics(&a, q, &metrics, &text, &detail);
    if (e != ERR_OK)
        text = slice_str(detail.text);
    else if (metrics != NULL)
        assert_true(metrics->metrics != NULL && metrics->pipeline == NULL);
    (void)snprintf(got, sizeof got, SLICE_FMT, SLICE_ARG(text));
    if (strcmp(got, want) != 0)
        complain(query, want, got);
    ql_release(metrics);
    ql_release(q);
    arena_release(&a);
}

static void superset_row(char *fields[FIELDS_MAX], unsigned count)
{
    char got[1024], want[1024];
    enum err e = run(fields[1], got, sizeof got);

    if (strcmp(fields[0], "error") == 0) { /* the same place and token; our message may say more */
        assert_int_equal(count, 4);
        (void)snprintf(want, sizeof want, "parse error at line 1, col %s: %s", fields[2],
                       fields[3]);
        if (e != ERR_INVALID || strncmp(got, want, strcspn(want, ",")) != 0)
            complain(fields[1], want, got);
    } else if (strcmp(fields[0], "dump") == 0) {
        assert_int_equal(count, 3);
        if (e != ERR_OK || strcmp(got, fields[2]) != 0)
            complain(fields[1], fields[2], got);
    } else if (strcmp(fields[0], "metrics") == 0) {
        assert_int_equal(count, 3);
        metrics_row(fields[1], fields[2]);
    } else {
        assert_string_equal(fields[0], "ok");
        if (e != ERR_OK)
            complain(fields[1], "accepted", got);
    }
}

static void test_superset(void **state)
{
    (void)state;
    each_row("tests/data/traceql/superset.txt", 132, superset_row);
}

/* --- whole queries --------------------------------------------------------------------------------------- */

static void recorded_row(char *fields[FIELDS_MAX], unsigned count)
{
    char got[4096];

    assert_int_equal(count, 2);
    enum err e = run(fields[1], got, sizeof got);
    if ((e == ERR_OK) != (strcmp(fields[0], "bad") != 0))
        complain(fields[1], fields[0], got);
}

static void test_recorded(void **state)
{
    (void)state;
    each_row("tests/data/traceql/recorded.txt", 696, recorded_row);
}

static void lezer_row(char *fields[FIELDS_MAX], unsigned count)
{
    char got[4096];

    assert_int_equal(count, 3);
    bool says_ok = strcmp(fields[0], "ok") == 0, agrees = strcmp(fields[1], "-") == 0;
    enum err e = run(fields[2], got, sizeof got);
    if ((e == ERR_OK) != (says_ok == agrees))
        complain(fields[2], fields[1], got);
}

static void test_grammar_of_the_editor(void **state)
{
    (void)state;
    each_row("tests/data/traceql/lezer.txt", 810, lezer_row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typematrix),
        cmocka_unit_test(test_superset),
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_grammar_of_the_editor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
