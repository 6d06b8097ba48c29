/* What a pipeline selects is what the oracle finds; keys and numbers are the values that the evaluator gives span by span. */
#include "common/query/engine_pipeline.h"
#include "common/query/engine_select.h"
#include "common/query/regex.h"
#include "tests/lib/query_oracle.h"
#include "tests/lib/test.h"

#include <stdlib.h>

static const char *const ATTRIBUTES[] = {"span.a",
                                         "span.b",
                                         "resource.a",
                                         "resource.service.name",
                                         ".a",
                                         ".b",
                                         ".service.name",
                                         "instrumentation.a",
                                         "event.a",
                                         "link.a",
                                         "name",
                                         "status",
                                         "kind",
                                         "duration",
                                         "statusMessage",
                                         "span:id",
                                         "trace:id",
                                         "rootName",
                                         "rootServiceName",
                                         "traceDuration",
                                         "event:name",
                                         "span:childCount"};

static struct ql_attribute attribute_of(struct arena *a, const char *text)
{
    struct err_detail detail = {0};
    struct ql_query *ql = NULL;
    struct buf b;

    buf_init(&b, 1024);
    buf_appendf(&b, "{ } | by(%s)", text);
    if (ql_parse(a, buf_slice(&b), &ql, &detail) != ERR_OK)
        fail_msg("%s: %s", text, detail.text);
    struct ql_attribute at = ql->pipeline->stages[1].by->attribute;
    ql_release(ql);
    buf_release(&b);
    return at;
}

static void check_mask(struct arena *a, const struct fake_data *d, const struct ql_pipeline *p,
                       uint32_t excluded, const struct engine_selection *sel)
{
    struct osets *sets = ARENA_NEW(a, struct osets);
    uint8_t want[QUERY_GEN_SPANS_MAX] = {0};
    uint32_t count = 0;

    for (uint32_t t = 0; t < d->trace_count; t++) {
        *sets = (struct osets){.count = 0};
        query_oracle_trace(a, d, p, t, sets);
        for (uint32_t k = 0; t != excluded && k < sets->count; k++)
            for (uint32_t r = 0; r < d->span_count; r++)
                want[r] |= sets->list[k].in[r];
    }
    for (uint32_t r = 0; r < d->span_count; r++) {
        count += want[r];
        assert_int_equal(sel->mask == NULL ? 0 : sel->mask[r], want[r]);
    }
    assert_int_equal(sel->count, count);
    assert_int_equal(sel->mask == NULL, count == 0);
}

static void check_keys(struct eval *e, const struct ql_attribute *at,
                       const struct engine_selection *sel)
{
    const struct ql_expr x = {.kind = QL_EXPR_ATTRIBUTE, .attribute = *at};
    struct eval_node *n;
    struct engine_keys keys;
    struct engine_numbers numbers;
    bool is_duration = true;

    assert_int_equal(eval_bind_value(e, &x, &n), ERR_OK);
    assert_int_equal(engine_select_keys(e, at, sel, &keys), ERR_OK);
    assert_int_equal(engine_select_numbers(e, at, sel, &numbers), ERR_OK);
    assert_int_equal(keys.values[0].type, VALUE_NIL);
    for (uint32_t r = 0; sel->mask != NULL && r < e->rows[SEG_SPAN]; r++) {
        if (sel->mask[r] == 0)
            continue;
        struct value want = eval_value_at(e, n, engine_aggregate_at(e, n, r));
        bool is_number =
            want.type == VALUE_INT || want.type == VALUE_FLOAT || want.type == VALUE_DURATION;
        assert_true(keys.codes[r] < keys.value_count);
        assert_true(eval_value_equal(keys.values[keys.codes[r]], want));
        assert_int_equal(numbers.has[r], is_number);
        if (!is_number)
            continue;
        double v = want.type == VALUE_FLOAT ? want.f : (double)want.i;
        assert_true(numbers.values[r] == v || (v != v && numbers.values[r] != numbers.values[r]));
        is_duration = is_duration && want.type == VALUE_DURATION;
        if (want.type != VALUE_DURATION)
            assert_false(numbers.is_duration);
    }
}

static void check_seed(struct arena *a, struct ql_regex *regex, uint64_t seed)
{
    struct rng r;
    struct eval e;
    struct engine_selection sel;

    rng_init(&r, seed);
    struct fake_data *d = query_gen_data(a, &r);
    struct ql_pipeline *p = rng_below(&r, 8) == 0 ? NULL : query_gen_pipeline(a, &r, regex);
    uint32_t excluded =
        rng_below(&r, 3) == 0 ? (uint32_t)rng_below(&r, d->trace_count) : UINT32_MAX;
    struct segment *s = fake_segment_new(d);
    eval_init(&e, s, a, NULL);
    assert_int_equal(engine_select(&e, p, excluded == UINT32_MAX ? NULL : &d->traces[excluded],
                                   excluded != UINT32_MAX, &sel),
                     ERR_OK);
    if (p != NULL)
        check_mask(a, d, p, excluded, &sel);
    for (int i = 0; i < 3; i++) {
        size_t k = rng_below(&r, sizeof ATTRIBUTES / sizeof ATTRIBUTES[0]);
        struct ql_attribute at = attribute_of(a, ATTRIBUTES[k]);
        check_keys(&e, &at, &sel);
    }
    segment_close(s);
}

static void test_random(void **state)
{
    (void)state;
    const char *env = getenv("SEED");
    uint64_t first = env != NULL ? strtoull(env, NULL, 10) : 1, seeds = env != NULL ? 1 : 5000;
    struct arena a;
    struct ql_regex *regex = NULL;

    assert_int_equal(regex_compile(SLICE_LIT("x.*"), &regex, NULL), ERR_OK);
    arena_init(&a, NULL);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        arena_reset(&a);
        check_seed(&a, regex, seed);
    }
    arena_release(&a);
    regex_free(regex);
}

static void test_errors(void **state)
{
    (void)state;
    struct arena a;
    struct rng r;
    struct eval e;
    struct engine_selection sel = {0};
    struct engine_keys keys;
    atomic_bool cancel = true;

    arena_init(&a, NULL);
    rng_init(&r, 7);
    struct fake_data *d = query_gen_data(&a, &r);
    struct segment *s = fake_segment_new(d);
    struct ql_attribute at = attribute_of(&a, "span.a");
    eval_init(&e, s, &a, NULL);
    fake_segment_fail(s, ERR_CORRUPT);
    assert_int_equal(engine_select_keys(&e, &at, &sel, &keys), ERR_CORRUPT);
    fake_segment_fail(s, ERR_OK);
    struct ql_query *ql;
    assert_int_equal(ql_parse(&a, SLICE_LIT("{ } >> { }"), &ql, NULL), ERR_OK);
    eval_init(&e, s, &a, &cancel);
    assert_int_equal(engine_select(&e, ql->pipeline, NULL, 0, &sel), ERR_CANCELED);
    ql_release(ql);
    segment_close(s);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
