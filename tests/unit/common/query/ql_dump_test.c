/* Properties over random queries: precedence against a writer of its own, and dumps that read back as themselves. */
#include "common/base/rng.h"
#include "common/query/ql.h"
#include "tests/lib/test.h"

#include <math.h>

enum { TEXT_BYTES_MAX = 1 << 16, ROUNDS = 4000 };

/* The dump of what parses; an empty buf else. */
static void dump_of(struct slice text, struct buf *out)
{
    struct arena a;
    struct ql_query *q = NULL;

    buf_reset(out);
    arena_init(&a, NULL);
    if (ql_parse_syntax(&a, text, &q, NULL) == ERR_OK) {
        ql_dump(out, q);
        assert_int_equal(buf_err(out), ERR_OK);
        ql_release(q);
    }
    arena_release(&a);
}

static void assert_same(struct slice text, struct slice x, struct slice y)
{
    if (!slice_eq(x, y))
        fail_msg(SLICE_FMT "\n  one:   " SLICE_FMT "\n  other: " SLICE_FMT, SLICE_ARG(text),
                 SLICE_ARG(x), SLICE_ARG(y));
}

/* Whatever parses dumps to something that parses to the same dump. */
static bool check_round_trip(struct slice text)
{
    struct buf first, second;

    buf_init(&first, TEXT_BYTES_MAX);
    buf_init(&second, TEXT_BYTES_MAX);
    dump_of(text, &first);
    bool is_parsed = first.len != 0;
    if (is_parsed) {
        dump_of(buf_slice(&first), &second);
        assert_same(text, buf_slice(&first), buf_slice(&second));
    }
    buf_release(&first);
    buf_release(&second);
    return is_parsed;
}

/* --- trees, written with all their parentheses and with the needed ones ------------------------------- */

enum {
    LEVEL_LOGIC = 2,
    LEVEL_COMPARE,
    LEVEL_SUM,
    LEVEL_NOT,
    LEVEL_PRODUCT,
    LEVEL_POWER,
    LEVEL_LEAF
};

static const struct {
    const char *sign;
    int level;
} signs[] = {
    {"&&", LEVEL_LOGIC},   {"||", LEVEL_LOGIC},   {"=", LEVEL_COMPARE}, {"!=", LEVEL_COMPARE},
    {"<", LEVEL_COMPARE},  {"<=", LEVEL_COMPARE}, {">", LEVEL_COMPARE}, {">=", LEVEL_COMPARE},
    {"=~", LEVEL_COMPARE}, {"!~", LEVEL_COMPARE}, {"+", LEVEL_SUM},     {"-", LEVEL_SUM},
    {"*", LEVEL_PRODUCT},  {"/", LEVEL_PRODUCT},  {"%", LEVEL_PRODUCT}, {"^", LEVEL_POWER},
};

static const char *const leaves[] = {
    ".a",
    "span.http.status_code",
    "resource.\"a b\"",
    "duration",
    "name",
    "trace:id",
    "1",
    "2.5",
    "3s",
    "`x`",
    "true",
    "error",
    "server",
    "event:name",
    "http.method",
    "kind",
    "nestedSetParent",
    "instrumentation:version",
    "minInt",
    "0",
    "0.0",
};

struct both {
    struct buf full, needed;
};

static void put(struct both *b, const char *s)
{
    buf_append_str(&b->full, s);
    buf_append_str(&b->needed, s);
}

static void put_paren(struct both *b, bool is_needed, const char *paren)
{
    buf_append_str(&b->full, paren);
    buf_append_str(&b->needed, is_needed ? paren : "");
}

/* Writes a random tree whose root, when it is written without parentheses, must bind at least as strongly as `level`. */
static void write_tree(struct rng *r, struct both *b, int level, unsigned depth, bool is_right)
{
    uint64_t dice = rng_below(r, 10);

    if (depth == 0 || dice < 2) {
        put(b, leaves[rng_below(r, sizeof leaves / sizeof *leaves)]);
        return;
    }
    if (dice == 2 ||
        dice ==
            3) { /* a prefix reaches over what follows it, so on the right it is always set apart */
        bool is_not = dice == 2;
        bool parens = is_right || level > LEVEL_SUM;
        put_paren(b, parens, "(");
        put(b, is_not ? "!" : "-");
        put_paren(b, true, "(");
        write_tree(r, b, 0, depth - 1, false);
        put_paren(b, true, ")");
        put_paren(b, parens, ")");
        return;
    }
    if (dice == 4) {
        bool parens = level > LEVEL_COMPARE;
        put_paren(b, parens, "(");
        write_tree(r, b, LEVEL_COMPARE, depth - 1, false);
        put(b, rng_below(r, 2) == 0 ? " = nil" : " != nil");
        put_paren(b, parens, ")");
        return;
    }
    size_t i = rng_below(r, sizeof signs / sizeof *signs);
    int own = signs[i].level;
    bool parens = own < level;
    put_paren(b, parens, "(");
    write_tree(r, b, own == LEVEL_POWER ? own + 1 : own, depth - 1, false);
    put(b, " ");
    put(b, signs[i].sign);
    put(b, " ");
    write_tree(r, b, own == LEVEL_POWER ? own : own + 1, depth - 1, true);
    put_paren(b, parens, ")");
}

static void test_precedence(void **state)
{
    struct rng r;
    struct both b;
    struct buf full, needed;

    (void)state;
    rng_init(&r, 20);
    buf_init(&b.full, TEXT_BYTES_MAX);
    buf_init(&b.needed, TEXT_BYTES_MAX);
    buf_init(&full, TEXT_BYTES_MAX);
    buf_init(&needed, TEXT_BYTES_MAX);
    for (unsigned i = 0; i < ROUNDS; i++) {
        buf_reset(&b.full);
        buf_reset(&b.needed);
        put(&b, "{ ");
        write_tree(&r, &b, 0, 1 + (unsigned)rng_below(&r, 5), false);
        put(&b, " }");
        dump_of(buf_slice(&b.full), &full);
        dump_of(buf_slice(&b.needed), &needed);
        assert_int_not_equal(full.len, 0);
        assert_same(buf_slice(&b.needed), buf_slice(&full), buf_slice(&needed));
        assert_true(check_round_trip(buf_slice(&b.needed)));
    }
    buf_release(&b.full);
    buf_release(&b.needed);
    buf_release(&full);
    buf_release(&needed);
}

/* --- whole queries ------------------------------------------------------------------------------------------ */

static void write_expr(struct rng *r, struct buf *out)
{
    struct both b;

    buf_init(&b.full, TEXT_BYTES_MAX);
    buf_init(&b.needed, TEXT_BYTES_MAX);
    write_tree(r, &b, 0, (unsigned)rng_below(r, 3), false);
    buf_append(out, buf_slice(&b.needed));
    buf_release(&b.full);
    buf_release(&b.needed);
}

static void write_filter(struct rng *r, struct buf *out)
{
    buf_append_str(out, "{ ");
    if (rng_below(r, 5) != 0)
        write_expr(r, out);
    buf_append_str(out, " }");
}

static void write_pipeline(struct rng *r, struct buf *out, unsigned depth);

static void write_spanset(struct rng *r, struct buf *out, unsigned depth)
{
    static const char *const ops[] = {"&&",  "||",  ">",  "<",  ">>", "<<",  "~",   "!>", "!<",
                                      "!>>", "!<<", "!~", "&>", "&<", "&>>", "&<<", "&~", "-"};
    uint64_t dice = rng_below(r, 8);

    if (depth == 0 || dice < 4) {
        write_filter(r, out);
    } else if (dice == 4) {
        buf_append_str(out, "!");
        write_filter(r, out);
    } else if (dice == 5) {
        buf_append_str(out, "(");
        write_spanset(r, out, depth - 1);
        buf_append_str(out, ")");
    } else {
        write_spanset(r, out, depth - 1);
        buf_appendf(out, " %s ", ops[rng_below(r, sizeof ops / sizeof *ops)]);
        write_spanset(r, out, depth - 1);
    }
}

static void write_aggregate(struct rng *r, struct buf *out)
{
    static const char *const names[] = {"min(", "max(",      "sum(",
                                        "avg(", "quantile(", "count_distinct("};
    uint64_t i = rng_below(r, 7);

    if (i == 6) {
        buf_append_str(out, "count()");
        return;
    }
    buf_append_str(out, names[i]);
    write_expr(r, out);
    buf_append_str(out, i == 4 ? ", 0.99)" : ")");
}

static void write_stage(struct rng *r, struct buf *out, unsigned depth)
{
    switch (rng_below(r, 9)) {
    case 0: buf_append_str(out, "coalesce()"); return;
    case 1: buf_append_str(out, "select(.a, name, span.\"x y\", b.c)"); return;
    case 2: buf_append_str(out, "by("); break;
    case 3: buf_append_str(out, "top(3, "); break;
    case 4: buf_append_str(out, "order_by("); break;
    case 5: write_aggregate(r, out); return;
    case 6:
    case 7:
        write_aggregate(r, out);
        buf_append_str(out, rng_below(r, 2) == 0 ? " > 1 + 2 * 3" : " != -1.5");
        return;
    default: write_spanset(r, out, depth); return;
    }
    write_expr(r, out);
    buf_append_str(out, ")");
}

static void write_pipeline(struct rng *r, struct buf *out, unsigned depth)
{
    write_spanset(r, out, depth);
    for (uint64_t n = rng_below(r, 4); n > 0; n--) {
        buf_append_str(out, " | ");
        write_stage(r, out, depth);
    }
}

static void write_metrics(struct rng *r, struct buf *out, unsigned depth)
{
    static const char *const functions[] = {"rate()",
                                            "rate() by (.a, name)",
                                            "count_over_time() > 5",
                                            "quantile_over_time(duration, .5, 0.99) by(.x)",
                                            "histogram_over_time(duration)",
                                            "max_over_time(span.x) | topk(3) != 0.5 | bottomk(1)",
                                            "compare({ status = error }, 3)"};
    static const char *const ops[] = {" + ", " - ", " * ", " / "};

    if (depth != 0 && rng_below(r, 2) == 0) {
        buf_append_str(out, "(");
        write_metrics(r, out, depth - 1);
        buf_append_str(out, ")");
        buf_append_str(out, ops[rng_below(r, 4)]);
        if (rng_below(r, 3) == 0) {
            buf_append_str(out, "1.5");
            return;
        }
        buf_append_str(out, "(");
        write_metrics(r, out, depth - 1);
        buf_append_str(out, ")");
        return;
    }
    write_pipeline(r, out, 1);
    buf_append_str(out, " | ");
    buf_append_str(out, functions[rng_below(r, sizeof functions / sizeof *functions)]);
}

static void write_query(struct rng *r, struct buf *out)
{
    static const char *const ops[] = {") && (", ") || (", ") >> (", ") !~ ("};

    if (rng_below(r, 3) == 0) {
        write_metrics(r, out, 3);
    } else if (rng_below(r, 3) == 0) {
        buf_append_str(out, "(");
        write_pipeline(r, out, 2);
        buf_append_str(out, " | by(.z)");
        buf_append_str(out, ops[rng_below(r, 4)]);
        write_pipeline(r, out, 2);
        buf_append_str(out, ")");
    } else {
        write_pipeline(r, out, 3);
    }
    if (rng_below(r, 4) == 0)
        buf_append_str(out, " with(most_recent=true, x=1.5, y=`z`)");
}

static void test_round_trip(void **state)
{
    struct rng r;
    struct buf text;
    unsigned parsed = 0;

    (void)state;
    rng_init(&r, 21);
    buf_init(&text, TEXT_BYTES_MAX);
    for (unsigned i = 0; i < ROUNDS; i++) {
        buf_reset(&text);
        write_query(&r, &text);
        assert_int_equal(buf_err(&text), ERR_OK);
        bool is_parsed = check_round_trip(buf_slice(&text));
        parsed += is_parsed;
    }
    assert_true(parsed > ROUNDS * 9 / 10); /* not all: "{ } - 1" and the like */
    buf_release(&text);
}

/* Bytes of a query changed, dropped, doubled: what still parses must round-trip, and nothing may crash. */
static void test_mutations(void **state)
{
    struct rng r;
    struct buf text;
    unsigned parsed = 0;

    (void)state;
    rng_init(&r, 22);
    buf_init(&text, TEXT_BYTES_MAX);
    for (unsigned i = 0; i < ROUNDS; i++) {
        buf_reset(&text);
        write_query(&r, &text);
        for (uint64_t n = 1 + rng_below(&r, 2); n > 0 && text.len != 0; n--) {
            static const char bytes[] =
                "(){}|&!=<>~.,\"`'-+*/%^ \t\n0123456789abcdefghijklnopqrstuwxyz_:\\\xc2\xff";
            text.ptr[rng_below(&r, text.len)] = (uint8_t)bytes[rng_below(&r, sizeof bytes - 1)];
        }
        parsed += check_round_trip(buf_slice(&text));
    }
    assert_true(parsed > ROUNDS / 50);
    buf_release(&text);
}

/* --- values ---------------------------------------------------------------------------------------------------- */

static void assert_value(struct value v, const char *want)
{
    struct buf b;

    buf_init(&b, 256);
    ql_dump_value(&b, v);
    if (!slice_eq_str(buf_slice(&b), want))
        fail_msg("want %s, got " SLICE_FMT, want, SLICE_ARG(buf_slice(&b)));
    buf_release(&b);
}

static void test_values(void **state)
{
    static const struct value ints[] = {{.type = VALUE_INT, .i = 1}, {.type = VALUE_INT, .i = -2}};

    (void)state;
    assert_value(VALUE_NONE, "nil");
    assert_value(value_int(INT64_MIN), "minInt");
    assert_value(value_float(1), "1.0");
    assert_value(value_float(-0.0), "-0.0");
    assert_value(value_float(100000), "100000.0");
    assert_value(value_float(123456), "123456.0");
    assert_value(value_float(1000000), "1e+06");
    assert_value(value_float(0.0001), "0.0001");
    assert_value(value_float(0.00001), "1e-05");
    assert_value(value_float(0.1 + 0.2), "0.30000000000000004");
    assert_value(value_float(5e-324), "5e-324");
    assert_value(value_float(1.7976931348623157e308), "1.7976931348623157e+308");
    assert_value(value_float(123456.789), "123456.789");
    assert_value(value_float((double)INFINITY), "+Inf.0");
    assert_value(value_duration(0), "0s");
    assert_value(value_duration(-1500000000), "-1.5s");
    assert_value(value_status(STATUS_ERROR), "error");
    assert_value(value_kind(KIND_CONSUMER), "consumer");
    assert_value(value_bool(true), "true");
    assert_value(value_string(SLICE_LIT("")), "``");
    assert_value(value_string(SLICE_LIT("a\\b")), "`a\\b`");
    assert_value(value_string(SLICE_LIT("a`\r\0\x7f\xff\xc3\xa9")),
                 "\"a`\\x0d\\x00\\x7f\\xff\xc3\xa9\"");
    assert_value((struct value){.type = VALUE_INT_ARRAY, .array = {ints, 2}}, "[1, -2]");
}

/* Every double reads back as itself. */
static void test_floats(void **state)
{
    struct rng r;
    struct buf b;

    (void)state;
    rng_init(&r, 23);
    buf_init(&b, 256);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t bits = rng_u64(&r);
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        buf_reset(&b);
        ql_dump_value(&b, value_float(v));
        buf_append_byte(&b, '\0');
        back = strtod((const char *)b.ptr, NULL);
        assert_memory_equal(&v, &back, sizeof v);
    }
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_precedence), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_mutations),  cmocka_unit_test(test_values),
        cmocka_unit_test(test_floats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
