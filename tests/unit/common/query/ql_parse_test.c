#include "common/query/ql.h"
#include "tests/lib/test.h"

#include <pthread.h>

struct row {
    const char *query, *want; /* canonical text, or the message (as far as it is given) */
};

/* Dump or message; the error. */
static enum err run(struct slice query, char *ret_text, size_t text_bytes)
{
    struct arena a;
    struct ql_query *q = NULL;
    struct err_detail detail = {0};

    arena_init(&a, NULL);
    enum err e = ql_parse(&a, query, &q, &detail);
    if (e == ERR_OK) {
        struct buf b;
        buf_init(&b, 1 << 20);
        ql_dump(&b, q);
        assert_int_equal(buf_err(&b), ERR_OK);
        (void)snprintf(ret_text, text_bytes, SLICE_FMT, SLICE_ARG(buf_slice(&b)));
        ql_release(q);
        if (b.len <= QL_TEXT_BYTES_MAX) /* what is within the limits stays so */
            e = ql_parse_syntax(&a, buf_slice(&b), &q, NULL);
        buf_release(&b);
    } else {
        (void)snprintf(ret_text, text_bytes, "%s", detail.text);
    }
    arena_release(&a);
    return e;
}

static void accept_rows(const struct row *rows, size_t count)
{
    char got[8192];

    for (size_t i = 0; i < count; i++) {
        enum err e = run(slice_str(rows[i].query), got, sizeof got);
        if (e != ERR_OK || strcmp(got, rows[i].want) != 0)
            fail_msg("%s\n  want: %s\n  got:  %s", rows[i].query, rows[i].want, got);
    }
}

static void refuse_rows(const struct row *rows, size_t count)
{
    char got[1024];

    for (size_t i = 0; i < count; i++) {
        enum err e = run(slice_str(rows[i].query), got, sizeof got);
        if (e != ERR_INVALID || strncmp(got, rows[i].want, strlen(rows[i].want)) != 0)
            fail_msg("%s\n  want: %s\n  got:  %s (%s)", rows[i].query, rows[i].want, got,
                     err_name(e));
    }
}

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

/* --- names, numbers, strings ------------------------------------------------------------------------- */

static void test_names(void **state)
{
    static const struct row rows[] = {
        {"{ .http-status = 1 }", "{ .http-status = 1 }"},
        {"{ .a/b = 1 }", "{ .a/b = 1 }"},
        {"{ .a//b = 1 }", "{ .a//b = 1 }"},
        {"{ .a+b = 1 }", "{ .a+b = 1 }"},
        {"{ .a*2 = 4 }", "{ .a*2 = 4 }"},
        {"{ .a * 2 = 4 }", "{ (.a * 2) = 4 }"},
        {"{ .a-1 }", "{ .a-1 }"},
        {"{ .a^2 = 4 }", "{ (.a ^ 2) = 4 }"},
        {"{ .a[0] = 1 }", "{ .a[0] = 1 }"},
        {"{ .a:b = 1 }", "{ .a:b = 1 }"},
        {"{.span.b=1}", "{ .span.b = 1 }"},
        {"{ .duration = 1 }", "{ .duration = 1 }"},
        {"{ span.name = `x` }", "{ span.name = `x` }"},
        {"{ span:name = `x` }", "{ name = `x` }"},
        {"{ event.name = `x` }", "{ event.name = `x` }"},
        {"{ .\xf0\x9f\x98\x9d = 1 }", "{ .\xf0\x9f\x98\x9d = 1 }"},
        {"{ .a\xc2\xa0= 1 }",
         "parse"}, /* a blank of Unicode ends a name, and is a stray character */
        {"{ .\"foo\" = 1 }", "{ .foo = 1 }"},
        {"{ span.\"attribute name with space\" = 1 }",
         "{ span.\"attribute name with space\" = 1 }"},
        {"{ .foo.\"a b\".c = 1 }", "{ .\"foo.a b.c\" = 1 }"},
        {"{ .a\"x y\"b = 1 }", "{ .\"ax yb\" = 1 }"},
        {"{ .\"a\\\"b\\\\\" = 1 }", "{ .\"a\\\"b\\\\\" = 1 }"},
        {"{ .\"\" = 1 }", "{ .\"\" = 1 }"},
        {"{ .\"}\" = 1 }", "{ .\"}\" = 1 }"},
        {"{ .2xx = 1 }", "{ .\"2xx\" = 1 }"},
        {"{ .a\\b = 1 }", "{ .a\\b = 1 }"},
        {"{ trace: id = `1` }", "{ trace:id = `1` }"},
        {"{ trace: /* x */ id = `1` }", "{ trace:id = `1` }"},
        {"{ k8s.pod.\"a b\".c = 1 }", "{ .\"k8s.pod.a b.c\" = 1 }"},
        {"{ \xd0\xba\xd0\xbb\xd1\x8e\xd1\x87.\xd0\xb0 = 1 }",
         "{ .\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87.\xd0\xb0 = 1 }"},
    };
    char got[256];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].want, "parse") != 0)
            accept_rows(&rows[i], 1);
        else
            assert_int_equal(run(slice_str(rows[i].query), got, sizeof got), ERR_INVALID);
    }
}

static void test_literals(void **state)
{
    static const struct row rows[] = {
        {"{ .a = 010 }", "{ .a = 10 }"},
        {"{ .a = 1. }", "{ .a = 1.0 }"},
        {"{ .a = .5 }", "{ .a = 0.5 }"},
        {"{ .a = 1e3 }", "{ .a = 1000.0 }"},
        {"{ .a = 1E6 }", "{ .a = 1e+06 }"},
        {"{ .a = 1_000.5 }", "{ .a = 1000.5 }"},
        {"{ .a = 0x1p-2 }", "{ .a = 0.25 }"},
        {"{ .a = 123456789.0 }", "{ .a = 1.23456789e+08 }"},
        {"{ .a = 0.00001 }", "{ .a = 1e-05 }"},
        {"{ .a = 0.1 }", "{ .a = 0.1 }"},
        {"{ .a = 9223372036854775807 }", "{ .a = 9223372036854775807 }"},
        {"{ .a = minInt }", "{ .a = minInt }"},
        {"{ .a = maxInt }", "{ .a = 9223372036854775807 }"},
        {"{ .a = -1 }", "{ .a = -1 }"},
        {"{ .a = -1s }", "{ .a = -1s }"},
        {"{ .a = 1d12h }", "{ .a = 36h0m0s }"},
        {"{ .a = 1y2w3d4h5m6s7ms }", "{ .a = 9172h5m6.007s }"},
        {"{ .a = 1.5h30m }", "{ .a = 2h0m0s }"},
        {"{ .a = 90m1h }", "{ .a = 2h30m0s }"},
        {"{ .a = 1s500ms }", "{ .a = 1.5s }"},
        {"{ .a = 100us }", "{ .a = 100\xc2\xb5s }"},
        {"{ .a = 100\xc2\xb5s }", "{ .a = 100\xc2\xb5s }"},
        {"{ .a = .5s }", "{ .a = 500ms }"},
        {"{ .a = \"\\a\\b\\t\\x41\\101\\u00e9\\U0001F600\\\"\\\\\" }",
         "{ .a = `\a\b\tA"
         "A\xc3\xa9\xf0\x9f\x98\x80\"\\` }"},
        {"{ .a = `a\\n\r\nb` }", "{ .a = `a\\n\nb` }"},
        {"{ .a = \"back`quote\\n\" }", "{ .a = \"back`quote\\n\" }"},
        {"{ .a = \"\\xff\" }", "{ .a = \"\\xff\" }"},
        {"{ .a = ok && status = error && kind = client }",
         "{ ((.a = ok) && (status = error)) && (kind = client) }"},
        {"{ .a = 1 /* x */ } // end", "{ .a = 1 }"},
        {"\xef\xbb\xbf{ .a = 1 }", "{ .a = 1 }"},
        {"{ trace:id = \"000abc\" }", "{ trace:id = `abc` }"},
        {"{ \"0\" = trace:id }", "{ `` = trace:id }"},
        {"{ trace:id =~ \"000a\" }", "{ trace:id =~ `a` }"},
        {"{ span:id = \"000a\" }", "{ span:id = `000a` }"},
    };

    (void)state;
    accept_rows(rows, COUNT(rows));
}

static void test_lexical_errors(void **state)
{
    static const struct row rows[] = {
        {"{ .a = 08 }", "parse error at line 1, col 8: invalid digit '8' in octal literal"},
        {"{ .a = 0x10 }",
         "parse error at line 1, col 8: strconv.Atoi: parsing \"0x10\": invalid syntax"},
        {"{ .a = 1_000 }",
         "parse error at line 1, col 8: strconv.Atoi: parsing \"1_000\": invalid syntax"},
        {"{ .a = 0b1 }",
         "parse error at line 1, col 8: strconv.Atoi: parsing \"0b1\": invalid syntax"},
        {"{ .a = 1__0 }", "parse error at line 1, col 8: '_' must separate"},
        {"{ .a = 9223372036854775808 }",
         "parse error at line 1, col 8: strconv.Atoi: parsing \"9223372036854775808\": value out of range"},
        {"{ .a = 1e400 }",
         "parse error at line 1, col 8: strconv.ParseFloat: parsing \"1e400\": value out of range"},
        {"{ .a = 1h1d }", "parse error at line 1, col 9: syntax error: unexpected IDENTIFIER"},
        {"{ .a = 1m30 }", "parse error at line 1, col 9: syntax error: unexpected IDENTIFIER"},
        {"{ .a = 1.5d }", "parse error at line 1, col 11: syntax error: unexpected IDENTIFIER"},
        {"{ .a = 1e3ms }", "parse error at line 1, col 11: syntax error: unexpected IDENTIFIER"},
        {"{ .a = 1..2 }", "parse error at line 1, col 10: syntax error: unexpected FLOAT"},
        {"{ .a = 5parsecs }",
         "parse error at line 1, col 8: 'p' exponent requires hexadecimal mantissa"},
        {"{ .a = \"x }", "parse error at line 1, col 8: literal not terminated"},
        {"{ .a = \"x\n\" }", "parse error at line 1, col 8: literal not terminated"},
        {"{ .a = `x }", "parse error at line 1, col 8: literal not terminated"},
        {"{ .a = \"\\q\" }", "parse error at line 1, col 8: invalid char escape"},
        {"{ .a = \"\\u12\" }", "parse error at line 1, col 8: invalid char escape"},
        {"{ .a = \"\\400\" }", "parse error at line 1, col 8: invalid syntax"},
        {"{ .a = 'v' }", "parse error at line 1, col 8: unknown identifier: 'v'"},
        {"{ .a = 'v15' }", "parse error at line 1, col 8: invalid char literal"},
        {"{ .a = 1 } /* x", "parse error at line 1, col 12: comment not terminated"},
        {"{ .a = 1 // }", "parse error at line 1, col 14: syntax error: unexpected $end"},
        {"{ .\"a\\n\" = 1 }", "parse error at line 1, col 3: invalid escape sequence"},
        {"{ .\"a = 1 }", "parse error at line 1, col 3: unexpected EOF, expecting \""},
        {"{ . a = 1 }",
         "parse error at line 1, col 3: syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER"},
        {"{ span. a = 1 }",
         "parse error at line 1, col 3: syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER"},
        {"{ .a = \xff }", "parse error at line 1, col 8: invalid UTF-8 encoding"},
        {"{ ; }", "parse error at line 1, col 3: unknown identifier: ;"},
        {"{ .a } & { .b }", "parse error at line 1, col 8: syntax error: unexpected IDENTIFIER"},
        {"{\n  \xd0\xb0.\xd0\xb1 = 1 &&\n foo }",
         "parse error at line 3, col 2: unknown identifier: foo; write .foo for an attribute"},
        {"{ .a = 1 AND .b = 2 }",
         "parse error at line 1, col 10: syntax error: unexpected IDENTIFIER; use &&"},
        {"", "parse error : syntax error: unexpected $end"},
    };
    char got[256];

    (void)state;
    refuse_rows(rows, COUNT(rows));
    assert_int_equal(run(SLICE_LIT("{ .a = `\0` }"), got, sizeof got), ERR_INVALID);
    assert_non_null(strstr(got, "invalid character NUL"));
}

/* --- grammar ----------------------------------------------------------------------------------------------- */

static void test_precedence(void **state)
{
    static const struct row rows[] = {
        {"{ .a || .b && .c }", "{ (.a || .b) && .c }"},
        {"{ .a = .b = .c }", "{ (.a = .b) = .c }"},
        {"{ -.a * .b }", "{ -(.a * .b) }"},
        {"{ -.a + .b }", "{ (-.a) + .b }"},
        {"{ .a * -.b * .c = 1 }", "{ (.a * (-(.b * .c))) = 1 }"},
        {"{ -2 ^ 2 = -4 }", "{ true }"},
        {"{ !.a * .b }", "{ !(.a * .b) }"},
        {"{ !.a = .b }", "{ (!.a) = .b }"},
        {"{ !.a && .b }", "{ (!.a) && .b }"},
        {"{ .a ^ .b ^ .c = 1 }", "{ (.a ^ (.b ^ .c)) = 1 }"},
        {"{ .a - .b - .c = 1 }", "{ ((.a - .b) - .c) = 1 }"},
        {"{ (-1) * .a = 1 }", "{ ((-1) * .a) = 1 }"},
        {"{ .a + 1 * 2 ^ 3 = 9 }", "{ (.a + 8) = 9 }"},
        {"{ .a } || { .b } && { .c }", "(({ .a }) || ({ .b })) && ({ .c })"},
        {"{ .a } > { .b } >> { .c }", "(({ .a }) > ({ .b })) >> ({ .c })"},
        {"{ .a } && { .b } > { .c }", "({ .a }) && (({ .b }) > ({ .c }))"},
        {"{ .a } !> { .b }", "({ .a }) !> ({ .b })"},
        {"{ .a } !< { .b } !>> { .c } !<< { .d } !~ { .e } ~ { .f }",
         "((((({ .a }) !< ({ .b })) !>> ({ .c })) !<< ({ .d })) !~ ({ .e })) ~ ({ .f })"},
        {"{ .a } &> { .b } &< { .c } &>> { .d } &<< { .e } &~ { .f }",
         "((((({ .a }) &> ({ .b })) &< ({ .c })) &>> ({ .d })) &<< ({ .e })) &~ ({ .f })"},
    };

    (void)state;
    accept_rows(rows, COUNT(rows));
}

static void test_folding(void **state)
{
    static const struct row rows[] = {
        {"{}", "{ true }"},
        {"{ 1 + 1 > 1 }", "{ true }"},
        {"{ !true }", "{ false }"},
        {"{ 1 = 1.0 }", "{ true }"},
        {"{ .a > 10 * 1024 }", "{ .a > 10240 }"},
        {"{ minInt = -maxInt - 1 }", "{ true }"},
        {"{ maxInt + 1 = minInt }", "{ true }"},
        {"{ 2 ^ 3 = 8 }", "{ true }"},
        {"{ -7 / 2 = -3 && -7 % 2 = -1 }", "{ true }"},
        {"{ minInt / -1 = minInt && minInt % -1 = 0 }", "{ true }"},
        {"{ 1 != nil }", "{ true }"},
        {"{ nil = nil }", "{ false }"},
        {"{ nil != nil }", "{ false }"},
        {"{ nil != .a }", "{ .a != nil }"},
        {"{ nil = .a + 1 }", "{ (.a + 1) = nil }"},
        {"{ .a = nil && .b }", "{ (.a = nil) && .b }"},
        {"{ \"abc\" =~ \"a.c\" }", "{ true }"},
        {"{ .a > 1.0 / 0 }", "{ .a > (1.0 / 0) }"},
        {"{ .a = 1s + 1s }", "{ .a = 2e+09 }"},
        {"{ } | count() > 2 + 3", "{ true }|(count()) > 5"},
        {"{ } | count() > 1 / 2", "{ true }|(count()) > 0"},
        {"{ } | max(duration) > -(1 + 2) * 2", "{ true }|(max(duration)) > -6"},
    };

    (void)state;
    accept_rows(rows, COUNT(rows));
}

static void test_pipelines(void **state)
{
    static const struct row rows[] = {
        {"count() > 3", "(count()) > 3"},
        {"by(.a)", "by(.a)"},
        {"select(.a, name)", "select(.a, name)"},
        {"{ .a } | count() > 1 | { .b }", "{ .a }|(count()) > 1|{ .b }"},
        {"{ .a } && { .b } | count() > 1", "({ .a }) && ({ .b })|(count()) > 1"},
        {"({ .a } | count() > 1) && ({ .b } | count() > 2)",
         "({ .a }|(count()) > 1) && ({ .b }|(count()) > 2)"},
        {"({ .a }) && { .b }", "({ .a }) && ({ .b })"},
        {"(({ .a }) && { .b }) | count() > 1", "({ .a }) && ({ .b })|(count()) > 1"},
        {"(({ .a } | count() > 1))", "{ .a }|(count()) > 1"},
        {"({ .a } | count() > 1) && ({ .b })", "({ .a }|(count()) > 1) && ({ .b })"},
        {"({ .a } | by(.x)) > ({ .b } | coalesce()) || ({ .c } | { .d })",
         "(({ .a }|by(.x)) > ({ .b }|coalesce())) || ({ .c }|{ .d })"},
        {"{ } | by(.a) | by(.b) | coalesce() | select(.c)",
         "{ true }|by(.a)|by(.b)|coalesce()|select(.c)"},
        {"{ } | avg(.a + 1) >= 1.5", "{ true }|(avg(.a + 1)) >= 1.5"},
        {"{ } with(most_recent=true, a=`x`, b=1s)", "{ true } with(most_recent=true,a=`x`,b=1s)"},
        {"{ } with(a=1) with(b=2)", "{ true } with(b=2)"},
        /* ours */
        {"{ } | count()", "{ true }|count()"},
        {"{ } | count() > 2 | avg(duration) | max(duration)",
         "{ true }|(count()) > 2|avg(duration)|max(duration)"},
        {"{ } | quantile(duration, 0.95)", "{ true }|quantile(duration, 0.95)"},
        {"{ } | quantile(duration, 1) > 2s", "{ true }|(quantile(duration, 1)) > 2s"},
        {"{ } | by(resource.service.name) | count_distinct(.user.id) > 3",
         "{ true }|by(resource.service.name)|(count_distinct(.user.id)) > 3"},
        {"({ .a } | avg(duration))", "{ .a }|avg(duration)"},
        {"({ .a } | avg(duration)) && ({ .b } | count())",
         "({ .a }|avg(duration)) && ({ .b }|count())"},
        {"!{ .a }", "!({ .a })"},
        {"{ .a } && !({ .b } || { .c })", "({ .a }) && (!(({ .b }) || ({ .c })))"},
        {"!!{ .a }", "!(!({ .a }))"},
        {"{ .a } - { .b } && { .c }", "(({ .a }) - ({ .b })) && ({ .c })"},
        {"{ } | order_by(duration desc) | top(10, .a)",
         "{ true }|order_by(duration desc)|top(10, .a)"},
        {"{ } | order_by(.a asc)", "{ true }|order_by(.a)"},
        {"{ quantile.x = 1 && .quantile = 2 }", "{ (.quantile.x = 1) && (.quantile = 2) }"},
    };

    (void)state;
    accept_rows(rows, COUNT(rows));
}

static void test_metrics(void **state)
{
    static const struct row rows[] = {
        {"{ } | rate()", "{ true } | rate()"},
        {"{ .a } | count() > 1 | rate() by (.x, name)", "{ .a }|(count()) > 1 | rate()by(.x,name)"},
        {"{ } | quantile_over_time(duration, .95, 0.5, 1)",
         "{ true } | quantile_over_time(duration,0.95000,0.50000,1.00000)"},
        {"{ } | histogram_over_time(span.x) by(.b)",
         "{ true } | histogram_over_time(span.x)by(.b)"},
        {"{ } | rate() | topk(3) > 1 | bottomk(2)", "{ true } | rate() | topk(3) > 1 | bottomk(2)"},
        {"{ } | rate() by (.a) > 0 | topk(5) < 100", "{ true } | rate()by(.a) > 0 | topk(5) < 100"},
        {"{ } | avg_over_time(duration) >= 1s", "{ true } | avg_over_time(duration) >= 1s"},
        {"{ } | rate() != -1", "{ true } | rate() != -1"},
        {"{ } | rate() > 1 + 2 * 3", "{ true } | rate() > 7"},
        {"({ .a } | rate()) / ({ .b } | rate()) * 100",
         "(({ .a } | rate()) / ({ .b } | rate())) * 100"},
        {"2 * ({ .a } | rate())", "2 * ({ .a } | rate())"},
        {"({ .a } | rate() > 1) + (({ .b } | rate()) - 1) | topk(2)",
         "({ .a } | rate() > 1) + (({ .b } | rate()) - 1) | topk(2)"},
        {"({ .a } | rate()) with(sample=true)", "{ .a } | rate() with(sample=true)"},
        {"{ } | compare({ status = error })", "{ true } | compare({ status = error },10)"},
        {"{ } | compare({ status = error }, 5, 10, 20)",
         "{ true } | compare({ status = error },5,10,20)"},
    };

    (void)state;
    accept_rows(rows, COUNT(rows));
}

static void test_refused(void **state)
{
    static const struct row rows[] = {
        {"coalesce()", "parse error at line 1, col 1: syntax error: unexpected coalesce"},
        {"count()", "parse error at line 1, col 8: syntax error: unexpected $end"},
        {"count() > 3 && { .a }", "parse error at line 1, col 13: syntax error: unexpected &&"},
        {"({ .a } | count() > 1) && { .b }",
         "parse error at line 1, col 27: syntax error: unexpected {, expecting ("},
        {"{ .a } && ({ .b } | count() > 1)",
         "parse error at line 1, col 19: syntax error: unexpected |"},
        {"({ .a } | by(.a)) | count() > 1",
         "parse error at line 1, col 19: syntax error: unexpected |"},
        {"2 < ({ .a } | count())", "parse error at line 1, col 6: syntax error: unexpected {"},
        {"{ } | max(duration) > 10s * 2",
         "parse error at line 1, col 23: duration cannot be used in scalar arithmetic"},
        {"{ } | count() > 1 / 0", "parse error at line 1, col 17: division by zero"},
        {"{ } | by(.a, .b)", "parse error at line 1, col 12: syntax error: unexpected ,"},
        {"{ } | select(.a + 1)", "parse error at line 1, col 17: syntax error: unexpected +"},
        {"{ } | select(1)", "parse error at line 1, col 14: syntax error: unexpected INTEGER"},
        {"{ } | select()", "parse error at line 1, col 14: syntax error: unexpected )"},
        {"{ } | sum_over_time(.a + 1)",
         "parse error at line 1, col 24: syntax error: unexpected +"},
        {"{ } | rate() | > 5", "parse error at line 1, col 16: syntax error: unexpected >"},
        {"{ } | rate() | { }", "parse error at line 1, col 16: syntax error: unexpected {"},
        {"({ } | rate()) by (.x)", "parse error at line 1, col 16: syntax error: unexpected by"},
        {"({ } | rate() with(sample=true)) + ({ } | rate())",
         "parse error at line 1, col 15: syntax error: unexpected with"},
        {"-({ } | rate())", "parse error at line 1, col 3: syntax error: unexpected {"},
        {"({ } | rate()) % 2", "parse error at line 1, col 16: syntax error: unexpected %"},
        {"({ } | rate()) > ({ } | rate())",
         "parse error at line 1, col 19: syntax error: unexpected {"},
        {"({ } | rate()) + 1s",
         "parse error at line 1, col 18: duration cannot be used as a scalar operand in metric arithmetic"},
        {"{} with()", "parse error at line 1, col 9: syntax error: unexpected )"},
        {"{} with(a)", "parse error at line 1, col 10: syntax error: unexpected ), expecting ="},
        {"{} with(a=-1)", "parse error at line 1, col 11: syntax error: unexpected -"},
        {"{} with(duration=1)", "parse error at line 1, col 9: syntax error: unexpected duration"},
        {"{} with(a=nil)", "parse error at line 1, col 11: syntax error: unexpected nil"},
        {"{ .a } { .b }", "parse error at line 1, col 8: syntax error: unexpected {"},
        {"{ .a } = { .b }", "parse error at line 1, col 8: syntax error: unexpected ="},
        {"{ nil }", "parse error at line 1, col 7: syntax error: unexpected }, expecting = or !="},
        {"{ .a > nil }",
         "parse error at line 1, col 12: syntax error: unexpected }, expecting = or !="},
        {"{ childCount > 2 }", "parse error at line 1, col 3: syntax error: unexpected childCount"},
        {"{ span:bogus = 1 }", "parse error at line 1, col 8: syntax error: unexpected IDENTIFIER"},
        {"{ span : name = 1 }", "parse error at line 1, col 3: unknown identifier: span"},
        {"({ .a } | count()) + 2 > 3",
         "parse error at line 1, col 22: syntax error: unexpected INTEGER"},
        {"{ } | 2 > 1", "parse error at line 1, col 12: syntax error: unexpected $end"},
        {"{ } | count() > 1 > 2", "parse error at line 1, col 19: syntax error: unexpected >"},
        {"! 1", "parse error at line 1, col 1: syntax error: unexpected !"},
        {"{ } | top(0, .a)", "parse error at line 1, col 11: limit must be greater than 0"},
        {"{ .a = 1", "parse error at line 1, col 9: syntax error: unexpected $end"},
    };

    (void)state;
    refuse_rows(rows, COUNT(rows));
}

/* --- the checker --------------------------------------------------------------------------------------------- */

static void test_checks(void **state)
{
    static const struct row rows[] = {
        {"{ parent.a = 1 }", "parent not yet supported"},
        {"{ parent.span.a = 1 }", "parent not yet supported"},
        {"{ parent = nil }", "intrinsic (parent) not yet supported"},
        {"{ } | select(parent.a)", "parent not yet supported"},
        {"{ } | rate() by (parent.a)", "parent not yet supported"},
        {"{ .a =~ `[` }", "invalid regex: `[`"},
        {"{ .a !~ `(?=x)` }", "invalid regex: `(?=x)`"},
        {"{ .a =~ `\\C` }", "invalid regex: `\\C`"},
        {"{ rootServiceName = nil }",
         "rootServiceName=nil is not valid because intrinsics cannot be nil"},
        {"{ resource.service.name = nil }",
         "resource.service.name=nil is not valid because resource.service.name cannot be nil"},
        {"{ .a + 1 }", "span filter field expressions must resolve to a boolean: { .a + 1 }"},
        {"{ 1 / 0 = 1 }", "division by zero"},
        {"{ .a = 1 && (5 % 0 = 1 || .b) }", "modulo by zero"},
        {"{ } | by(1)", "grouping field expressions must reference the span: by(1)"},
        {"{ } | avg(name) > 1",
         "aggregate field expressions must resolve to a number type: avg(name)"},
        {"{ } | avg(1) > 1", "aggregate field expressions must reference the span: avg(1)"},
        {"{ } | avg(name)", "aggregate field expressions must resolve to a number type: avg(name)"},
        {"count() + 1 > 2", "scalar filter lhs of type ((count()) + 1) not yet supported"},
        {"3 < count()", "scalar filter lhs of type (3) not yet supported"},
        {"({ .a } | count()) > 2",
         "scalar filter lhs of type (({ .a }|count())) not yet supported"},
        {"({ .a } | count()) + ({ .b } | count()) > ({ } | count())", "scalar filter lhs of type"},
        {"count() > count()", "scalar filter rhs of type (count()) not yet supported"},
        {"{ } | quantile(duration, 1.1)", "quantile must be between 0 and 1: 1.1"},
        {"{ } | quantile_over_time(duration, 2)", "quantile must be between 0 and 1: 2"},
        {"{ } | rate() | topk(0)", "limit must be greater than 0"},
        {"{ } | rate() by (.a, .b, .c, .d, .e, .f)", "metrics group by 6 values not yet supported"},
        {"{ } | avg_over_time(.x) by (.a, .b, .c, .d, .e)",
         "metrics group by 5 values not yet supported"},
        {"{ } | compare({ .a }) | topk(1)",
         "`compare()` cannot be used with second stage functions"},
        {"({ } | compare({ .a })) + 1", "`compare()` cannot be used with second stage functions"},
        {"{ } | compare({ .a }, 0)",
         "compare() top number of values must be an integer between 1 and 1000"},
        {"{ } | compare({ .a }, 1, 5, 0)",
         "compare() timestamps must be positive integer unix nanoseconds"},
        {"{ } | compare({ .a }, 1, 5, 5)",
         "compare() end timestamp must be greater than start timestamp"},
        {"{ .a } && ({ name > 1 })", "binary operations must operate on the same type: name > 1"},
        {"!{ name }", "span filter field expressions must resolve to a boolean: { name }"},
    };

    (void)state;
    refuse_rows(rows, COUNT(rows));
    accept_rows(&(struct row){"{ } | rate() by (.a, .b, .c, .d, .e)",
                              "{ true } | rate()by(.a,.b,.c,.d,.e)"},
                1);
}

/* --- single attributes, questions ------------------------------------------------------------------------------ */

static void test_attribute(void **state)
{
    static const struct row rows[] = {
        {".service.name", ".service.name"},
        {"resource.a", "resource.a"},
        {"span:name", "name"},
        {" status ", "status"},
        {"http.method", ".http.method"},
        {"span.\"a b\"", "span.\"a b\""},
        {"event:name", "event:name"},
        {"foo", NULL},
        {"span.", NULL},
        {".a .b", NULL},
        {".a }", NULL},
        {"", NULL},
        {"1", NULL},
        {".\"a", NULL},
        {"childCount", NULL},
    };
    struct arena a;

    (void)state;
    arena_init(&a, NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ql_attribute attribute = {0};
        enum err e = ql_parse_attribute(&a, slice_str(rows[i].query), &attribute);
        assert_int_equal(e, rows[i].want == NULL ? ERR_INVALID : ERR_OK);
        if (e != ERR_OK)
            continue;
        struct buf b;
        buf_init(&b, 256);
        ql_dump_attribute(&b, &attribute);
        assert_true(slice_eq_str(buf_slice(&b), rows[i].want));
        assert_int_equal(attribute.is_dotless, strcmp(rows[i].query, "http.method") == 0);
        buf_release(&b);
    }
    arena_release(&a);
}

static void test_questions(void **state)
{
    static const struct {
        const char *query;
        bool is_all, is_never;
        const char *unsupported;
    } rows[] = {
        {"{}", true, false, NULL},
        {"{ 1 = 1 } with(most_recent=true)", true, false, NULL},
        {"{ .a }", false, false, NULL},
        {"{ } | { }", false, false, NULL},
        {"{ false }", false, true, NULL},
        {"{ .a } && { false }", false, true, NULL},
        {"{ .a } || { false }", false, false, NULL},
        {"{ false } || { false }", false, true, NULL},
        {"{ false } !> { .a }", false, false, NULL},
        {"{ .a } !> { false }", false, true, NULL},
        {"{ .a } | count() > 1 | { false }", false, true, NULL},
        {"!{ false }", false, false, NULL},
        {"{ false } - { .a }", false, true, NULL},
        {"{ } | by(.a) | select(.b) | coalesce() | avg(duration) > 1s | max(.x)", false, false,
         NULL},
        {"{ } | count_distinct(.a)", false, false, NULL},
        {"({ } | count_distinct(.a) > 1) && ({ } | count())", false, false, NULL},
        {"!{ .a } | top(1, .a)", false, false, NULL},
        {"{ } | order_by(.a)", false, false, NULL},
        {"{ } | top(1, .a)", false, false, NULL},
        {"{ } | rate()", false, false, NULL},
        {"{ false } | rate()", false, true, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena a;
        struct ql_query *q = NULL;
        arena_init(&a, NULL);
        assert_int_equal(ql_parse(&a, slice_str(rows[i].query), &q, NULL), ERR_OK);
        const char *what = ql_unsupported(q);
        if (ql_is_match_all(q) != rows[i].is_all || ql_is_never(q) != rows[i].is_never ||
            (what == NULL) != (rows[i].unsupported == NULL) ||
            (what != NULL && strcmp(what, rows[i].unsupported) != 0))
            fail_msg("%s: all %d never %d unsupported %s", rows[i].query, ql_is_match_all(q),
                     ql_is_never(q), what);
        ql_release(q);
        arena_release(&a);
    }
}

/* --- limits ------------------------------------------------------------------------------------------------------- */

struct limit_row {
    const char *before, *unit, *between, *unit_after, *after;
    unsigned count; /* of both units */
    enum err want;
};

static const struct limit_row limit_rows[] = {
    {"{ ", "(", ".a", ")", " }", 200, ERR_OK},
    {"{ ", "(", ".a", ")", " }", 300, ERR_OK},
    {"{ ", "(", ".a", ")", " }", 60000, ERR_OK},
    {"{ ", "-(", ".a", ")", " }", 250, ERR_OK},
    {"{ ", "-(", ".a", ")", " }", 40000, ERR_TOO_LARGE},
    {"{ ", "(", "", ".a)", " }", 20000, ERR_INVALID},
    {"{ .a + ", "(.b + ", ".c", ")", " = 1 }", 250, ERR_OK},
    {"{ .a + ", "(.b + ", ".c", ")", " = 1 }", 4000, ERR_TOO_LARGE},
    {"{ ", "!", ".a", "", " }", 250, ERR_OK},
    {"{ ", "!", ".a", "", " }", 100000, ERR_TOO_LARGE},
    {"{ ", "nil = !", ".a", "", " }", 15000, ERR_TOO_LARGE},
    {"{ ", ".a ^ ", ".a = 1", "", " }", 250, ERR_OK},
    {"{ ", ".a ^ ", ".a = 1", "", " }", 20000, ERR_TOO_LARGE},
    {"{ .a = 0", " + .a", "", "", " }", 511, ERR_OK},
    {"{ .a = 0", " + .a", "", "", " }", 512, ERR_TOO_LARGE},
    {"{ (.a", " || .a", "", "", ") = true }", 511, ERR_OK},
    {"{ (.a", " || .a", "", "", ") = true }", 512, ERR_TOO_LARGE},
    {"{ !(.a", " || .a", "", "", ") }", 4000, ERR_OK},
    {"{ .a = 1", " || .a = 2", "", "", " }", 2000, ERR_OK},
    {"{ .a", " && .b", "", "", " }", 4094, ERR_OK},
    {"{ .a", " && .b", "", "", " }", 4095, ERR_TOO_LARGE},
    {"{ span.x = 1", " && span.x = 1", "", "", " && true }", 3000, ERR_TOO_LARGE},
    {"{ .a", " && (.b = 1 || !.c)", "", "", " }", 1000, ERR_OK},
    {"", "(", "{ .a }", ")", "", 100, ERR_OK},
    {"", "(", "{ .a }", ")", "", 60000, ERR_TOO_LARGE},
    {"", "(", "{ .a } | count() > 1", ")", "", 100, ERR_OK},
    {"", "!", "{ .a }", "", "", 100, ERR_OK},
    {"", "!", "{ .a }", "", "", 100000, ERR_TOO_LARGE},
    {"{ .a }", " && { .b }", "", "", "", 119, ERR_OK},
    {"{ .a }", " && { .b }", "", "", "", 120, ERR_TOO_LARGE},
    {"{ .a } | count()", " + count()", "", "", " > 1", 119, ERR_INVALID},
    {"{ .a } | count()", " + count()", "", "", " > 1", 10000, ERR_TOO_LARGE},
    {"{ } | count() > ", "-", "1", "", "", 200, ERR_OK},
    {"{ } | count() > ", "-", "1", "", "", 100000, ERR_TOO_LARGE},
    {"({ } | rate())", " + ({ } | rate())", "", "", "", 119, ERR_OK},
    {"({ } | rate())", " + ({ } | rate())", "", "", "", 5000, ERR_TOO_LARGE},
    {"{ }", " | { }", "", "", "", 1300, ERR_OK},
    {"{ }", " | { }", "", "", "", 20000, ERR_TOO_LARGE},
    {"{ } | select(.a", ", .a", "", "", ")", 4000, ERR_OK},
    {"{ } with(a=1", ", a=1", "", "", ")", 5000, ERR_TOO_LARGE},
    {"{ true", " && .a =~ `x`", "", "", " }", 128, ERR_OK},
    {"{ true", " && .a =~ `x`", "", "", " }", 129, ERR_TOO_LARGE},
    {"{ .a = `", "x", "", "", "` }", QL_TEXT_BYTES_MAX - 11, ERR_OK},
    {"{ .a = `", "x", "", "", "` }", QL_TEXT_BYTES_MAX, ERR_TOO_LARGE},
};

static bool is_as_wanted(const struct limit_row *row)
{
    struct buf b;
    char got[1024] = "";

    buf_init(&b, 1 << 20);
    buf_append_str(&b, row->before);
    for (unsigned i = 0; i < row->count; i++)
        buf_append_str(&b, row->unit);
    buf_append_str(&b, row->between);
    for (unsigned i = 0; i < row->count; i++)
        buf_append_str(&b, row->unit_after);
    buf_append_str(&b, row->after);
    enum err e = run(buf_slice(&b), got, sizeof got);
    buf_release(&b);
    if (e == row->want &&
        (e != ERR_TOO_LARGE || strstr(got, "TraceQL expression exceeds the ") != NULL))
        return true;
    print_error("%u times %s: %s, %s\n", row->count, row->unit, err_name(e), got);
    return false;
}

static void *run_limits(void *arg)
{
    unsigned *ret_wrong = arg;

    *ret_wrong = 0;
    for (size_t i = 0; i < COUNT(limit_rows); i++)
        *ret_wrong += !is_as_wanted(&limit_rows[i]);
    return NULL;
}

/* On a stack of 1 MiB. */
static void test_limits(void **state)
{
    pthread_t thread;
    pthread_attr_t attributes;
    unsigned wrong = 1;

    (void)state;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, 1 << 20), 0);
    assert_int_equal(pthread_create(&thread, &attributes, run_limits, &wrong), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_attr_destroy(&attributes);
    assert_int_equal(wrong, 0);
}

static void test_budget(void **state)
{
    struct budget budget;
    struct arena a;
    struct ql_query *q = NULL;
    struct err_detail detail = {0};

    (void)state;
    budget_init(&budget, 8192, NULL);
    arena_init(&a, &budget);
    char text[6000];
    memset(text, ' ', sizeof text);
    memcpy(text, "{ .a = 1", 8);
    for (size_t i = 8; i + 10 < sizeof text - 1; i += 10)
        memcpy(text + i, " || .b = 2", 10);
    text[sizeof text - 1] = '}';
    assert_int_equal(ql_parse(&a, (struct slice){(const uint8_t *)text, sizeof text}, &q, &detail),
                     ERR_LIMIT);
    assert_string_equal(detail.text, "TraceQL expression needs more memory than the query may use");
    assert_null(q);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_literals),
        cmocka_unit_test(test_lexical_errors), cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_folding),        cmocka_unit_test(test_pipelines),
        cmocka_unit_test(test_metrics),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_checks),         cmocka_unit_test(test_attribute),
        cmocka_unit_test(test_questions),      cmocka_unit_test(test_limits),
        cmocka_unit_test(test_budget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
