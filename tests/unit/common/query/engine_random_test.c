/* The engine against a brute-force oracle: random traces, random queries; the oracle looks at plain structs, one span at a time.
 * The engine looks at them as a fake segment, a head, and a block. */
#include "common/base/clock.h"
#include "common/query/engine.h"
#include "common/query/regex.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "tests/lib/fake_otlp.h"
#include "tests/lib/query_oracle.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static bool trace_before(const struct fake_data *d, uint32_t a, uint32_t b)
{
    uint64_t min_a, min_b, max;

    query_oracle_times(d, a, &min_a, &max);
    query_oracle_times(d, b, &min_b, &max);
    return min_a != min_b ? min_a > min_b : trace_id_cmp(d->traces[a], d->traces[b]) < 0;
}

static void check_query(struct segment *s, const struct fake_data *d, const struct ql_query *ql,
                        uint64_t seed)
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
    assert_int_equal(engine_search(s, &q, A, &got), ERR_OK);
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
            if (!got.is_cut) {
                struct buf b;
                buf_init(&b, 1 << 20);
                ql_dump(&b, ql);
                fail_msg("seed %llu: trace %u is missing: %.*s", (unsigned long long)seed, order[i],
                         (int)b.len, (const char *)b.ptr);
            }
            break;
        }
        if (k >= got.trace_count ||
            !query_oracle_same_trace(d, order[i], want, &got.traces[k], q.spans_per_spanset)) {
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
        struct segment *s = fake_segment_new(d);
        check_query(s, d, &ql, seed);
        segment_close(s);
    }
    print_message("%llu queries in %lld ms\n", (unsigned long long)seeds,
                  (long long)(clock_mono_ns(&clock_system) - begin) / 1000000);
    arena_release(&a);
    regex_free(REGEX);
}

/* Of a key that stands twice with values of two types no order is told beyond the first request: only one of them stays. */
static void drop_mixed(struct fake_attrs *list)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < list->count; i++) {
        const struct fake_attr *at = &list->list[i];
        bool is_mixed = false;
        for (uint32_t k = 0; k < n; k++)
            is_mixed |= slice_eq(list->list[k].key, at->key) &&
                        (list->list[k].value.type != at->value.type || value_is_array(at->value));
        if (!is_mixed)
            list->list[n++] = *at;
    }
    list->count = n;
}

static void drop_all_mixed(struct fake_data *d)
{
    for (uint32_t i = 0; i < d->resource_count; i++)
        drop_mixed(&d->resources[i]);
    for (uint32_t i = 0; i < d->scope_count; i++)
        drop_mixed(&d->scopes[i].attrs);
    for (uint32_t i = 0; i < d->span_count; i++) {
        struct fake_span *s = &d->spans[i];
        drop_mixed(&s->attrs);
        for (uint32_t k = 0; k < s->event_count; k++)
            drop_mixed(&s->events[k].attrs);
        for (uint32_t k = 0; k < s->link_count; k++)
            drop_mixed(&s->links[k].attrs);
    }
}

/* NULL when two spans are equal in everything: those are one to a head. */
static struct head *head_of(const struct fake_data *d)
{
    struct head_append_result r;
    struct head *h;
    struct buf otlp;

    buf_init(&otlp, 1 << 24);
    fake_otlp_write(A, d, 0, d->span_count, &otlp);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    assert_int_equal(head_append(h, buf_slice(&otlp), false, 1, &r), ERR_OK);
    assert_int_equal(r.refused, 0);
    buf_release(&otlp);
    if (r.copies == 0)
        return h;
    head_unref(h);
    return NULL;
}

static bool has_value(const struct tag_values *list, struct value v)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->values[i].type == v.type && query_oracle_same(list->values[i], v))
            return true;
    return false;
}

/* A block tells some values without reading rows: they are the ones that rows have. */
static void check_values(struct segment *head, struct segment *block, uint64_t seed)
{
    static const enum ql_scope scopes[] = {QL_SCOPE_NONE,  QL_SCOPE_SPAN, QL_SCOPE_RESOURCE,
                                           QL_SCOPE_EVENT, QL_SCOPE_LINK, QL_SCOPE_INSTRUMENTATION};
    static const char *const keys[] = {"a", "b", "cc", "service.name"};
    struct ql_attribute tag = {.scope = scopes[below(6)], .name = text(keys[below(4)])};
    struct tag_values want = {0}, got = {0};

    assert_int_equal(engine_tag_values(head, &tag, false, NULL, 0, 0, 0, A, &want), ERR_OK);
    assert_int_equal(engine_tag_values(block, &tag, false, NULL, 0, 0, 0, A, &got), ERR_OK);
    if (want.count != got.count)
        fail_msg("seed %llu: %u values of " SLICE_FMT ", %u in the head", (unsigned long long)seed,
                 got.count, SLICE_ARG(tag.name), want.count);
    for (uint32_t i = 0; i < want.count; i++)
        assert_true(has_value(&got, want.values[i]));
}

static void check_block(struct segment *head, const struct fake_data *d, const struct ql_query *ql,
                        const char *path, uint64_t seed)
{
    struct block_meta meta = {.id = "x", .tenant = "x", .writer = "x"};
    struct object *o;
    struct block *b;
    struct segment *s;

    assert_int_equal(block_write(path, &head, 1, NULL, NULL, NULL, &meta), ERR_OK);
    assert_int_equal(object_file_open(path, &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &b), ERR_OK);
    assert_int_equal(block_group_count(b), 1);
    for (int i = 0; i < 2; i++) { /* the second time dictionaries are there */
        assert_int_equal(block_segment(b, 0, NULL, &s), ERR_OK);
        check_values(head, s, seed);
        check_query(s, d, ql, seed);
        segment_close(s);
    }
    block_unref(b);
}

static void test_heads_and_blocks(void **state)
{
    (void)state;
    struct arena a;
    struct rng r;
    char dir[] = "/tmp/vivace_engine_random_XXXXXX", path[64];
    const char *env = getenv("SEED");
    uint64_t first = env != NULL ? strtoull(env, NULL, 10) : 1, seeds = env != NULL ? 1 : 800;
    uint64_t looked_at = 0;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/x.vvb", dir);
    assert_int_equal(regex_compile(text("x.*"), &REGEX, NULL), ERR_OK);
    arena_init(&a, NULL);
    A = &a;
    R = &r;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        arena_reset(&a);
        rng_init(&r, seed);
        struct fake_data *d = query_gen_data(&a, &r);
        struct ql_query ql = {.pipeline = query_gen_pipeline(&a, &r, REGEX)};
        drop_all_mixed(d);
        struct head *h = head_of(d);
        struct segment *s;
        if (h == NULL)
            continue;
        looked_at++;
        assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
        check_query(s, d, &ql, seed);
        check_block(s, d, &ql, path, seed);
        segment_close(s);
        head_unref(h);
    }
    assert_true(env != NULL || looked_at > seeds / 2);
    (void)unlink(path);
    (void)rmdir(dir);
    arena_release(&a);
    regex_free(REGEX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_oracle),
                                       cmocka_unit_test(test_heads_and_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
