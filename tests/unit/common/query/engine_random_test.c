/* The engine against a brute-force oracle: random traces, random queries; the oracle looks at plain structs, one span at a time. */
#include "common/base/clock.h"
#include "common/query/engine.h"
#include "common/query/regex.h"
#include "tests/lib/query_oracle.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 3 };

static struct arena *A;
static struct rng *R;
static struct ql_regex *REGEX;

static uint32_t below(uint32_t n)
{
    return (uint32_t)rng_below(R, n);
}

static struct slice text(const char *s)
{
    return slice_str(s);
}

static const struct fake_data *SORTING;

static int span_cmp(const void *a, const void *b)
{
    const struct fake_span *x = &SORTING->spans[*(const uint32_t *)a],
                           *y = &SORTING->spans[*(const uint32_t *)b];

    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    return memcmp(x->id.b, y->id.b, 8);
}

static bool same_set(const struct fake_data *d, const struct oset *o,
                     const struct result_spanset *s, uint32_t spss)
{
    uint32_t rows[QUERY_GEN_SPANS_MAX], n = 0;

    for (uint32_t i = 0; i < d->span_count; i++)
        if (o->in[i])
            rows[n++] = i;
    SORTING = d;
    qsort(rows, n, sizeof rows[0], span_cmp);
    spss = spss == 0 ? 3 : spss;
    if (s->matched != n || s->span_count != (n < spss ? n : spss) ||
        s->attribute_count != o->value_count)
        return false;
    for (uint32_t i = 0; i < s->span_count; i++) {
        const struct fake_span *p = &d->spans[rows[i]];
        if (p->start_ns != s->spans[i].start_ns || memcmp(p->id.b, s->spans[i].id.b, 8) != 0)
            return false;
    }
    for (uint32_t i = 0; i < s->attribute_count; i++) {
        struct value v = o->values[i];
        if (v.type == VALUE_STATUS || v.type == VALUE_KIND)
            v = value_string(
                slice_str(v.type == VALUE_STATUS ? value_status_name(v.i) : value_kind_name(v.i)));
        if (!query_oracle_same(v, s->attributes[i].value))
            return false;
    }
    return true;
}

static bool same_trace(const struct fake_data *d, uint32_t trace, const struct osets *o,
                       const struct result_trace *t, uint32_t spss)
{
    uint64_t min, max;
    int root = query_oracle_root(d, trace);
    struct slice name = root < 0 ? text("") : d->spans[root].name;

    query_oracle_times(d, trace, &min, &max);
    if (!trace_id_eq(d->traces[trace], t->id) || t->start_ns != min ||
        t->duration_ns != max - min || !slice_eq(name, t->root_name) ||
        o->count != t->spanset_count)
        return false;
    bool used[QUERY_ORACLE_SETS_MAX] = {false};
    for (uint32_t i = 0; i < o->count; i++) {
        uint32_t k = 0;
        while (k < t->spanset_count &&
               (used[k] || !same_set(d, &o->list[i], &t->spansets[k], spss)))
            k++;
        if (k == t->spanset_count)
            return false;
        used[k] = true;
    }
    uint32_t spans = 0, all = 0;
    for (uint32_t i = 0; i < t->service_count; i++)
        spans += t->services[i].span_count;
    for (uint32_t i = 0; i < d->span_count; i++)
        all += d->spans[i].trace == trace;
    return spans == all;
}

static bool trace_before(const struct fake_data *d, uint32_t a, uint32_t b)
{
    uint64_t min_a, min_b, max;

    query_oracle_times(d, a, &min_a, &max);
    query_oracle_times(d, b, &min_b, &max);
    return min_a != min_b ? min_a > min_b : trace_id_cmp(d->traces[a], d->traces[b]) < 0;
}

static void check_query(const struct fake_data *d, const struct ql_query *ql, uint64_t seed)
{
    static const uint32_t spss_of[] = {0, 1, 5, 100};
    struct engine_query q = {.ql = ql,
                             .limit = below(3) == 0 ? LIMIT - 2 + below(3) : 20,
                             .spans_per_spanset = spss_of[below(4)]};
    struct search_result got = {0};
    uint32_t order[QUERY_GEN_TRACES_MAX], n = 0, k = 0;

    if (below(4) == 0) {
        q.start_ns = 1000 + below(8);
        q.end_ns = q.start_ns + below(4);
    }
    if (below(6) == 0) {
        q.exclude = &d->traces[below(d->trace_count)];
        q.exclude_count = 1;
    }
    struct segment *s = fake_segment_new(d);
    assert_int_equal(engine_search(s, &q, A, &got), ERR_OK);
    segment_close(s);
    for (uint32_t t = 0; t < d->trace_count; t++) {
        uint32_t at = n++;
        for (; at > 0 && trace_before(d, t, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = t;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct osets *want = ARENA_NEW(A, struct osets);
        uint64_t min, max;
        query_oracle_times(d, order[i], &min, &max);
        if (q.end_ns != 0 && (min > q.end_ns || max < q.start_ns))
            continue;
        if (q.exclude_count != 0 && trace_id_eq(*q.exclude, d->traces[order[i]]))
            continue;
        query_oracle_trace(A, d, ql->pipeline, order[i], want);
        if (want->count == 0)
            continue;
        if (k == q.limit) {
            assert_true(got.is_cut);
            break;
        }
        if (k >= got.trace_count ||
            !same_trace(d, order[i], want, &got.traces[k], q.spans_per_spanset)) {
            struct buf b;
            buf_init(&b, 1 << 20);
            ql_dump(&b, ql);
            fail_msg("seed %llu: trace %u differs: %.*s", (unsigned long long)seed, order[i],
                     (int)b.len, (const char *)b.ptr);
        }
        k++;
    }
    if (k != got.trace_count)
        fail_msg("seed %llu: %u traces, oracle %u", (unsigned long long)seed, got.trace_count, k);
}

static void test_against_oracle(void **state)
{
    (void)state;
    struct arena a;
    struct rng r;
    const char *env = getenv("SEED");
    uint64_t first = env != NULL ? strtoull(env, NULL, 10) : 1, seeds = env != NULL ? 1 : 20000;
    int64_t begin = clock_mono_ns(&clock_system);

    assert_int_equal(regex_compile(text("x.*"), &REGEX, NULL), ERR_OK);
    arena_init(&a, NULL);
    A = &a;
    R = &r;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        arena_reset(&a);
        rng_init(&r, seed);
        struct fake_data *d = query_gen_data(&a, &r);
        struct ql_query ql = {.pipeline = query_gen_pipeline(&a, &r, REGEX)};
        check_query(d, &ql, seed);
    }
    print_message("%llu queries in %lld ms\n", (unsigned long long)seeds,
                  (long long)(clock_mono_ns(&clock_system) - begin) / 1000000);
    arena_release(&a);
    regex_free(REGEX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_oracle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
