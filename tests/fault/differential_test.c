/*
 * A naive model of many random spans against the store: every read (trace by id, search with random TraceQL, metrics, tag names and values) says the same
 * in heads, in heads and blocks, in blocks, in merged blocks, and after kills and replays.  Some traces come in two parts, the first of them in a block already.
 *
 * The model is brute force over plain structs (query_oracle.h), made again from the seed where it is needed: spans by the million need no memory.
 * SEED=n: that run.  SPANS=n: so many spans; VIVACE_FULL=1 (tests/run --full): a million.
 */
#include "common/base/bytes.h"
#include "common/codec/otlp_write.h"
#include "common/query/ql.h"
#include "common/query/regex.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/query_oracle.h"
#include "tests/lib/search_rig.h"

#include <math.h>
#include <stdlib.h>

enum {
    SPANS_CI = 20000,
    SPANS_FULL = 1000000,
    HEADS_PART = 8,       /* from heads alone: so many times fewer */
    SPANS_PER_CHUNK = 20, /* on average */
    QUERIES_CI = 50,
    QUERIES_FULL = 100,
    CHUNKS_PER_PUSH = 20,
    READ_CI = 40, /* chunks whose traces are fetched, in each state others */
    READ_FULL = 400,
    LIMIT_MAX = 40,
    VALUES_MAX = 256
};

#define HOUR_NS (3600 * (uint64_t)NS_PER_S)

enum part { PART_FIRST, PART_SECOND, PART_BOTH };

static uint64_t seed, base_ns;
static uint32_t chunk_count, query_count, read_count;
static struct arena scratch; /* of one chunk, or one query */
static struct ql_regex *regex;

/* --- the model --------------------------------------------------------------------------------- */

static void make_apart(struct fake_data *d, uint32_t i)
{
    struct fake_span *s = &d->spans[i];

    for (uint32_t k = 0; k < i; k++) {
        const struct fake_span *o = &d->spans[k];
        if (o->trace == s->trace && memcmp(o->id.b, s->id.b, 8) == 0 &&
            o->start_ns == s->start_ns) {
            s->start_ns++;
            k = UINT32_MAX; /* from the beginning */
        }
    }
}

/* Three of four chunks: every parent is there, and every trace has a root.  Of traces that may have more elsewhere there can be too many for one search. */
static void make_whole(struct fake_data *d, uint32_t trace)
{
    static const struct span_id none;
    bool has_root = false;

    for (uint32_t i = 0; i < d->span_count; i++) {
        struct fake_span *s = &d->spans[i];
        bool has_parent = false;
        if (s->trace != trace)
            continue;
        for (uint32_t k = 0; k < d->span_count; k++)
            has_parent |= d->spans[k].trace == trace &&
                          memcmp(d->spans[k].id.b, s->parent.b, SPAN_ID_BYTES) == 0;
        if (!has_parent)
            s->parent = none;
        has_root |= memcmp(s->parent.b, none.b, SPAN_ID_BYTES) == 0;
    }
    for (uint32_t i = 0; i < d->span_count && !has_root; i++) {
        if (d->spans[i].trace == trace) {
            d->spans[i].parent = none;
            has_root = true;
        }
    }
}

/* A few traces, a function of the seed and the number.  No two spans are equal, or have both id and start in common. */
static struct fake_data *chunk(uint32_t number, struct arena *a)
{
    struct rng r;

    rng_init(&r, seed * 1000003 + number);
    struct fake_data *d = query_gen_data(a, &r);
    for (uint32_t t = 0; t < d->trace_count; t++) {
        be32_write(d->traces[t].b, (uint32_t)rng_u64(&r));
        be32_write(d->traces[t].b + 4, number);
        if (number % 4 != 1)
            make_whole(d, t);
    }
    for (uint32_t i = 0; i < d->span_count; i++) {
        struct fake_span *s = &d->spans[i];
        uint64_t shift = base_ns + (uint64_t)number * 20 - 1000;
        s->start_ns += shift;
        for (uint32_t k = 0; k < s->event_count; k++)
            s->events[k].time_ns += shift;
        struct fake_attr *list = ARENA_ARRAY(a, struct fake_attr, s->attrs.count + 1);
        if (s->attrs.count > 0)
            memcpy(list, s->attrs.list, s->attrs.count * sizeof *list);
        list[s->attrs.count++] = (struct fake_attr){.key = SLICE_LIT("n"), .value = value_int(i)};
        s->attrs.list = list;
        make_apart(d, i);
    }
    assert_int_equal(arena_err(a), ERR_OK);
    return d;
}

/* A second part has no root, so that it is known to be one. */
static bool is_in_part(uint32_t number, const struct fake_span *s, uint32_t index, enum part part)
{
    static const uint8_t none[SPAN_ID_BYTES];
    bool is_second =
        number % 4 == 0 && index % 3 != 0 && memcmp(s->parent.b, none, sizeof none) != 0;

    return part == PART_BOTH || (part == PART_SECOND) == is_second;
}

/* --- as OTLP ----------------------------------------------------------------------------------- */

static void put_attrs(struct buf *b, uint32_t field, const struct fake_attrs *attrs)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        const struct fake_attr *at = &attrs->list[i];
        size_t mark = pb_begin(b, field);
        pb_bytes(b, 1, at->key);
        pb_bytes(b, 2, at->raw.ptr != NULL ? at->raw : fake_segment_any(&scratch, at->value));
        pb_end(b, mark);
    }
}

static void put_span(struct buf *b, const struct fake_data *d, const struct fake_span *s)
{
    static const uint8_t none[SPAN_ID_BYTES];

    pb_bytes(b, 1, (struct slice){d->traces[s->trace].b, TRACE_ID_BYTES});
    pb_bytes(b, 2, (struct slice){s->id.b, SPAN_ID_BYTES});
    if (memcmp(s->parent.b, none, sizeof none) != 0)
        pb_bytes(b, 4, (struct slice){s->parent.b, SPAN_ID_BYTES});
    pb_bytes(b, 5, s->name);
    pb_varint(b, 6, s->kind);
    pb_fixed64(b, 7, s->start_ns);
    pb_fixed64(b, 8, s->start_ns + s->duration_ns);
    put_attrs(b, 9, &s->attrs);
    for (uint32_t i = 0; i < s->event_count; i++) {
        size_t mark = pb_begin(b, 11);
        pb_fixed64(b, 1, s->events[i].time_ns);
        pb_bytes(b, 2, s->events[i].name);
        put_attrs(b, 3, &s->events[i].attrs);
        pb_end(b, mark);
    }
    for (uint32_t i = 0; i < s->link_count; i++) {
        size_t mark = pb_begin(b, 13);
        pb_bytes(b, 1, (struct slice){s->links[i].trace_id.b, TRACE_ID_BYTES});
        pb_bytes(b, 2, (struct slice){s->links[i].span_id.b, SPAN_ID_BYTES});
        put_attrs(b, 4, &s->links[i].attrs);
        pb_end(b, mark);
    }
    size_t mark = pb_begin(b, 15);
    pb_bytes(b, 2, s->status_message);
    pb_varint(b, 3, s->status);
    pb_end(b, mark);
}

static struct slice body_of(struct buf *b)
{
    struct slice s = arena_dup(&scratch, buf_slice(b));

    buf_reset(b);
    return s;
}

/* The spans of a part (of one trace, or UINT32_MAX: of all), grouped; returns how many. */
static uint32_t put_chunk(struct otlp_group *g, uint32_t number, const struct fake_data *d,
                          enum part part, uint32_t trace)
{
    struct buf b;
    uint32_t count = 0;

    buf_init(&b, 1 << 20);
    for (uint32_t r = 0; r < d->resource_count; r++) {
        put_attrs(&b, 1, &d->resources[r]);
        otlp_group_resource(g, body_of(&b), SLICE_NONE);
        for (uint32_t s = 0; s < d->scope_count; s++) {
            pb_bytes(&b, 1, d->scopes[s].name);
            pb_bytes(&b, 2, d->scopes[s].version);
            put_attrs(&b, 3, &d->scopes[s].attrs);
            otlp_group_scope(g, body_of(&b), SLICE_NONE);
            for (uint32_t i = 0; i < d->span_count; i++) {
                const struct fake_span *p = &d->spans[i];
                if (p->resource != r || p->scope != s || !is_in_part(number, p, i, part) ||
                    (trace != UINT32_MAX && p->trace != trace))
                    continue;
                put_span(&b, d, p);
                otlp_group_span(g, body_of(&b));
                count++;
            }
        }
    }
    buf_release(&b);
    return count;
}

static uint64_t push_all(enum part part)
{
    struct otlp_group g;
    struct buf b;
    uint64_t total = 0;

    buf_init(&b, 64 << 20);
    for (uint32_t n = 0; n < chunk_count;) {
        uint32_t count = 0;
        buf_reset(&b);
        otlp_group_init(&g, &b);
        for (uint32_t k = 0; k < CHUNKS_PER_PUSH && n < chunk_count; k++, n++) {
            /* First a part of those that come in two, so that there is a block of it; then all the rest. */
            enum part which = n % 4 == 0 ? part : part == PART_FIRST ? PART_SECOND : PART_FIRST;
            arena_reset(&scratch);
            count += put_chunk(&g, n, chunk(n, &scratch), which, UINT32_MAX);
        }
        otlp_group_end(&g);
        if (count > 0)
            push_otlp(buf_slice(&b), count, false);
        total += count;
    }
    buf_release(&b);
    return total;
}

/* --- reads ------------------------------------------------------------------------------------- */

static void check_trace(uint32_t number, const struct fake_data *d, uint32_t trace)
{
    struct search_ctx ctx = ctx_new();
    struct otlp_canon want = {0}, got = {0};
    struct otlp_group g;
    struct slice otlp;
    struct buf b;

    buf_init(&b, 1 << 20);
    otlp_group_init(&g, &b);
    uint32_t count = put_chunk(&g, number, d, PART_BOTH, trace);
    otlp_group_end(&g);
    assert_int_equal(search_trace(&ctx, d->traces[trace], &otlp), ERR_OK);
    assert_int_equal(ctx.missing, 0);
    otlp_canon_add(&want, buf_slice(&b));
    otlp_canon_add(&got, otlp);
    otlp_canon_sort(&want, false);
    otlp_canon_sort(&got, false);
    assert_int_equal(want.count, count);
    otlp_canon_assert_equal(&want, &got);
    otlp_canon_release(&want);
    otlp_canon_release(&got);
    buf_release(&b);
    arena_reset(&arena);
}

static void check_traces(uint32_t state)
{
    uint32_t step = chunk_count / read_count + 1;

    for (uint32_t n = state % step; n < chunk_count; n += step) {
        arena_reset(&scratch);
        const struct fake_data *d = chunk(n, &scratch);
        for (uint32_t t = 0; t < d->trace_count; t++)
            check_trace(n, d, t);
    }
    struct search_ctx ctx = ctx_new();
    struct trace_id nobody = {{0xff, 1}};
    struct slice otlp;
    assert_int_equal(search_trace(&ctx, nobody, &otlp), ERR_OK);
    assert_int_equal(otlp.len, 0);
}

struct match {
    struct trace_id id;
    uint64_t start_ns;
    uint32_t chunk, trace;
};

/* What one query must bring: made once, asked for in every state. */
struct asked {
    struct buf text;
    uint64_t start_ns, end_ns;
    uint32_t limit, spss;
    struct match want[LIMIT_MAX];
    uint32_t want_count;
};

static void note_match(struct asked *q, struct match m)
{
    uint32_t at = q->want_count < q->limit ? q->want_count++ : q->limit;

    for (; at > 0; at--) {
        const struct match *o = &q->want[at - 1];
        if (o->start_ns > m.start_ns ||
            (o->start_ns == m.start_ns && trace_id_cmp(o->id, m.id) < 0))
            break;
        if (at < q->limit)
            q->want[at] = *o;
    }
    if (at < q->limit)
        q->want[at] = m;
}

/* Brute force: every trace of every chunk. */
static void ask_model(struct asked *q, const struct ql_pipeline *p)
{
    struct arena a;

    arena_init(&a, NULL);
    for (uint32_t n = 0; n < chunk_count; n++) {
        arena_reset(&a);
        const struct fake_data *d = chunk(n, &a);
        for (uint32_t t = 0; t < d->trace_count; t++) {
            struct osets *sets = ARENA_NEW(&a, struct osets);
            uint64_t min, max;
            query_oracle_times(d, t, &min, &max);
            if (q->end_ns != 0 && (min > q->end_ns || max < q->start_ns))
                continue;
            query_oracle_trace(&a, d, p, t, sets);
            if (sets->count > 0)
                note_match(q, (struct match){d->traces[t], min, n, t});
        }
    }
    arena_release(&a);
}

/* Queries that the checker refuses are not asked. */
static bool make_asked(struct asked *q, uint32_t number)
{
    static const uint32_t spss_of[] = {0, 1, 5, 100};
    struct rng r;
    struct ql_query *checked;

    rng_init(&r, seed * 7919 + number);
    struct ql_pipeline *p = query_gen_pipeline(&scratch, &r, regex);
    *q = (struct asked){.limit = 1 + (uint32_t)rng_below(&r, LIMIT_MAX),
                        .spss = spss_of[rng_below(&r, 4)]};
    if (rng_below(&r, 2) == 0) {
        q->start_ns = base_ns + rng_below(&r, (uint64_t)chunk_count * 20);
        q->end_ns = q->start_ns + rng_below(&r, (uint64_t)chunk_count * 10 + 1);
    }
    buf_init(&q->text, 1 << 20);
    ql_dump(&q->text, &(struct ql_query){.pipeline = p});
    if (ql_parse(&scratch, buf_slice(&q->text), &checked, NULL) != ERR_OK) {
        buf_release(&q->text);
        return false;
    }
    ask_model(
        q, checked->pipeline); /* what was read counts: names without a dot are written with one */
    ql_release(checked);
    return true;
}

static void check_query(struct asked *q, uint32_t number)
{
    struct search_ctx ctx = ctx_new();
    struct ql_query *ql;
    struct search_result got = {0};
    struct arena a;

    assert_int_equal(ql_parse(&arena, buf_slice(&q->text), &ql, NULL), ERR_OK);
    struct engine_query e = {.ql = ql,
                             .start_ns = q->start_ns,
                             .end_ns = q->end_ns,
                             .limit = q->limit,
                             .spans_per_spanset = q->spss};
    assert_int_equal(search_run(&ctx, buf_slice(&q->text), &e, &got), ERR_OK);
    assert_int_equal(ctx.missing, 0);
    if (got.trace_count != q->want_count)
        fail_msg("query %u: %u traces, the model has %u: %.*s", number, got.trace_count,
                 q->want_count, (int)q->text.len, (const char *)q->text.ptr);
    arena_init(&a, NULL);
    for (uint32_t i = 0; i < q->want_count; i++) {
        const struct match *m = &q->want[i];
        arena_reset(&a);
        const struct fake_data *d = chunk(m->chunk, &a);
        struct osets *sets = ARENA_NEW(&a, struct osets);
        query_oracle_trace(&a, d, ql->pipeline, m->trace, sets);
        if (!query_oracle_same_trace(d, m->trace, sets, &got.traces[i], q->spss))
            fail_msg("query %u: trace %u (chunk %u, %u) differs: %.*s", number, i, m->chunk,
                     m->trace, (int)q->text.len, (const char *)q->text.ptr);
    }
    arena_release(&a);
    ql_release(ql);
    arena_reset(&arena);
}

/* --- tag names and values ---------------------------------------------------------------------- */

struct values {
    struct value list[VALUES_MAX];
    uint32_t count;
};

static bool is_same(struct value a, struct value b)
{
    if (a.type != b.type)
        return false;
    if (a.type == VALUE_STRING)
        return slice_eq(a.s, b.s);
    return a.type == VALUE_FLOAT ? a.f == b.f : a.i == b.i;
}

static void add_value(struct values *v, struct value value)
{
    for (uint32_t i = 0; value_is_array(value) && i < value.array.count; i++)
        add_value(v, value.array.items[i]);
    if (value_is_array(value) || value.type == VALUE_NIL)
        return;
    for (uint32_t i = 0; i < v->count; i++) {
        if (is_same(v->list[i], value))
            return;
    }
    assert_true(v->count < VALUES_MAX);
    v->list[v->count++] = value; /* texts of the generator are literals */
}

static void add_attrs(struct values *v, const struct fake_attrs *attrs, struct slice key)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        if (slice_eq(attrs->list[i].key, key))
            add_value(v, attrs->list[i].value);
    }
}

static void add_span(struct values *v, const struct fake_data *d, const struct fake_span *s,
                     enum ql_scope scope, struct slice key)
{
    if (scope == QL_SCOPE_SPAN)
        add_attrs(v, &s->attrs, key);
    if (scope == QL_SCOPE_RESOURCE)
        add_attrs(v, &d->resources[s->resource], key);
    if (scope == QL_SCOPE_INSTRUMENTATION)
        add_attrs(v, &d->scopes[s->scope].attrs, key);
    for (uint32_t i = 0; scope == QL_SCOPE_EVENT && i < s->event_count; i++)
        add_attrs(v, &s->events[i].attrs, key);
    for (uint32_t i = 0; scope == QL_SCOPE_LINK && i < s->link_count; i++)
        add_attrs(v, &s->links[i].attrs, key);
}

/* Conditions that one span meets or not, wherever its trace lies. */
static const char *const FILTERS[] = {"", "{ span.a = \"x\" }", "{ name = \"xy\" && span.b = 3 }",
                                      "{ kind = server || span.cc > 1 }",
                                      "{ resource.a != nil && status = error }"};
static const char *const TAGS[] = {"span.a",  "span.n",  "resource.b", "resource.a",
                                   "event.a", "link.cc", "event.b",    "instrumentation.cc"};
enum { FILTER_COUNT = sizeof FILTERS / sizeof *FILTERS, TAG_COUNT = sizeof TAGS / sizeof *TAGS };

static struct values want_values[FILTER_COUNT][TAG_COUNT];
static const char *const NAMES[] = {"a", "b", "cc", "n", "service.name"};
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES };
static bool want_names[FILTER_COUNT][TAGS_SCOPE_COUNT][NAME_COUNT];

static void add_names(bool names[NAME_COUNT], const struct fake_attrs *attrs)
{
    for (uint32_t i = 0; i < attrs->count; i++) {
        for (int k = 0; k < NAME_COUNT; k++)
            names[k] |= slice_eq_str(attrs->list[i].key, NAMES[k]);
    }
}

static void add_span_names(bool names[TAGS_SCOPE_COUNT][NAME_COUNT], const struct fake_data *d,
                           const struct fake_span *s)
{
    add_names(names[TAGS_SPAN], &s->attrs);
    add_names(names[TAGS_RESOURCE], &d->resources[s->resource]);
    add_names(names[TAGS_INSTRUMENTATION], &d->scopes[s->scope].attrs);
    for (uint32_t i = 0; i < s->event_count; i++)
        add_names(names[TAGS_EVENT], &s->events[i].attrs);
    for (uint32_t i = 0; i < s->link_count; i++)
        add_names(names[TAGS_LINK], &s->links[i].attrs);
}

static void model_values(uint32_t filter, const struct ql_attribute *tags)
{
    struct ql_query *ql = NULL;
    struct arena a, trees;

    arena_init(&a, NULL);
    arena_init(&trees, NULL);
    if (FILTERS[filter][0] != '\0')
        assert_int_equal(ql_parse(&trees, slice_str(FILTERS[filter]), &ql, NULL), ERR_OK);
    for (uint32_t n = 0; n < chunk_count; n++) {
        arena_reset(&a);
        const struct fake_data *d = chunk(n, &a);
        for (uint32_t t = 0; t < d->trace_count; t++) {
            struct osets *sets = ARENA_NEW(&a, struct osets);
            if (ql != NULL)
                query_oracle_trace(&a, d, ql->pipeline, t, sets);
            for (uint32_t i = 0; i < d->span_count; i++) {
                if (d->spans[i].trace != t ||
                    (ql != NULL && (sets->count == 0 || !sets->list[0].in[i])))
                    continue;
                add_span_names(want_names[filter], d, &d->spans[i]);
                for (uint32_t k = 0; k < TAG_COUNT; k++)
                    add_span(&want_values[filter][k], d, &d->spans[i], tags[k].scope, tags[k].name);
            }
        }
    }
    ql_release(ql);
    arena_release(&a);
    arena_release(&trees);
}

static void parse_tags(struct ql_attribute tags[TAG_COUNT])
{
    for (uint32_t k = 0; k < TAG_COUNT; k++)
        assert_int_equal(ql_parse_attribute(&arena, slice_str(TAGS[k]), &tags[k]), ERR_OK);
}

static void check_names(uint32_t filter)
{
    struct search_ctx ctx = ctx_new();
    struct tag_names got = {0};

    assert_int_equal(search_tag_names(&ctx, slice_str(FILTERS[filter]), 0, 0, 0, &got), ERR_OK);
    assert_int_equal(ctx.missing, 0);
    for (int t = 0; t < TAGS_SCOPE_COUNT; t++) {
        uint32_t n = 0; /* sorted, as NAMES are */
        for (int k = 0; k < NAME_COUNT; k++) {
            if (!want_names[filter][t][k])
                continue;
            assert_true(n < got.counts[t]);
            assert_true(slice_eq_str(got.names[t][n++], NAMES[k]));
        }
        assert_int_equal(got.counts[t], n);
    }
}

static void check_values(void)
{
    struct ql_attribute tags[TAG_COUNT];

    for (uint32_t f = 0; f < FILTER_COUNT; f++) {
        parse_tags(tags);
        for (uint32_t k = 0; k < TAG_COUNT; k++) {
            struct search_ctx ctx = ctx_new();
            struct tag_values got = {0};
            struct search_values_options o = {
                .tag_text = slice_str(TAGS[k]), .tag = &tags[k], .filter = slice_str(FILTERS[f])};
            const struct values *want = &want_values[f][k];
            assert_int_equal(search_tag_values(&ctx, &o, &got), ERR_OK);
            assert_int_equal(ctx.missing, 0);
            if (got.count != want->count)
                fail_msg("values of %s with %s: %u, the model has %u", TAGS[k], FILTERS[f],
                         got.count, want->count);
            for (uint32_t i = 0; i < want->count; i++) {
                bool is_there = false;
                for (uint32_t j = 0; j < got.count; j++)
                    is_there |= is_same(want->list[i], got.values[j]);
                assert_true(is_there);
            }
        }
        check_names(f);
        arena_reset(&arena);
    }
}

/* --- metrics ----------------------------------------------------------------------------------- */

enum { INTERVALS = 12, SERIES_MAX = 64 };
static const char *const METRICS[] = {
    "{ } | rate()",
    "{ kind = server || span.cc > 1 } | count_over_time() by (name)",
    "{ span.a = \"x\" } | sum_over_time(duration) by (resource.service.name)",
    "{ } | max_over_time(duration) by (kind)",
    "{ status = error } | min_over_time(span.n) by (status)",
    "{ name = \"xy\" && span.b = 3 } | avg_over_time(duration)"};
enum { METRICS_COUNT = sizeof METRICS / sizeof *METRICS };

struct folded {
    uint64_t count;
    double sum, min, max;
};
struct series {
    struct value label;
    struct folded at[INTERVALS];
};
static struct series want_series[METRICS_COUNT][SERIES_MAX];
static uint32_t want_series_count[METRICS_COUNT];

static struct metrics_window metrics_window(void)
{
    struct metrics_window w = {base_ns - 2000, ((uint64_t)chunk_count * 20 + 4000) / INTERVALS + 1,
                               INTERVALS};

    return w;
}

static struct series *series_of(uint32_t query, struct value label)
{
    uint32_t i = 0;

    while (i < want_series_count[query] && !is_same(want_series[query][i].label, label))
        i++;
    if (i == want_series_count[query]) {
        assert_true(i < SERIES_MAX);
        want_series[query][i].label = label; /* texts of the generator are literals */
        want_series_count[query]++;
    }
    return &want_series[query][i];
}

static void fold(struct folded *f, double x)
{
    f->min = f->count == 0 || x < f->min ? x : f->min;
    f->max = f->count == 0 || x > f->max ? x : f->max;
    f->sum += x;
    f->count++;
}

static void fold_span(struct arena *a, uint32_t query, const struct ql_metrics *m,
                      const struct fake_data *d, uint32_t span)
{
    struct metrics_window w = metrics_window();
    struct value x = value_int(1), label = VALUE_NONE;

    if (m->fn != QL_M_RATE && m->fn != QL_M_COUNT)
        x = query_oracle_value(a, d, &m->argument, span);
    if (x.type != VALUE_INT && x.type != VALUE_FLOAT && x.type != VALUE_DURATION)
        return;
    if (m->by_count > 0)
        label = query_oracle_value(a, d, &m->by[0], span);
    uint64_t interval = (d->spans[span].start_ns - w.first_ns - 1) / w.step_ns;
    assert_true(interval < INTERVALS);
    fold(&series_of(query, label)->at[interval], x.type == VALUE_FLOAT ? x.f : (double)x.i);
}

static void model_metrics(uint32_t query)
{
    struct ql_query *ql;
    struct arena a, trees;

    arena_init(&a, NULL);
    arena_init(&trees, NULL);
    assert_int_equal(ql_parse(&trees, slice_str(METRICS[query]), &ql, NULL), ERR_OK);
    want_series_count[query] = 0;
    memset(want_series[query], 0, sizeof want_series[query]);
    const struct ql_metrics *leaves[METRICS_LEAVES_MAX];
    assert_int_equal(metrics_query_leaves(ql->metrics, leaves), 1);
    for (uint32_t n = 0; n < chunk_count; n++) {
        arena_reset(&a);
        const struct fake_data *d = chunk(n, &a);
        for (uint32_t t = 0; t < d->trace_count; t++) {
            struct osets *sets = ARENA_NEW(&a, struct osets);
            query_oracle_trace(&a, d, leaves[0]->pipeline, t, sets);
            for (uint32_t i = 0; i < d->span_count && sets->count > 0; i++) {
                if (d->spans[i].trace == t && sets->list[0].in[i])
                    fold_span(&a, query, leaves[0], d, i);
            }
        }
    }
    ql_release(ql);
    arena_release(&a);
    arena_release(&trees);
}

static double point_of(const struct ql_metrics *m, const struct folded *f, double step_s)
{
    double unit = m->argument.intrinsic == QL_I_DURATION ? 1e-9 : 1;

    switch ((int)m->fn) {
    case QL_M_RATE: return (double)f->count / step_s;
    case QL_M_COUNT: return (double)f->count;
    case QL_M_SUM: return f->sum * unit;
    case QL_M_AVG: return f->sum / (double)f->count * unit;
    case QL_M_MIN: return f->min * unit;
    default: return f->max * unit;
    }
}

static void check_series(uint32_t query, const struct ql_metrics *m, const struct metrics_result *r)
{
    struct metrics_window w = metrics_window();
    uint32_t found = 0;

    for (uint32_t i = 0; i < r->count; i++) {
        const struct metrics_series *s = &r->series[i];
        struct value label = m->by_count > 0 ? s->labels[0].value : VALUE_NONE;
        const struct series *want = NULL;
        for (uint32_t k = 0; k < want_series_count[query]; k++) {
            if (is_same(want_series[query][k].label, label))
                want = &want_series[query][k];
        }
        for (uint32_t k = 0; k < INTERVALS; k++) {
            double got = s->points[k];
            bool is_there = want != NULL && want->at[k].count > 0;
            double x = is_there ? point_of(m, &want->at[k], (double)w.step_ns / 1e9) : 0;
            if (is_there ? !(fabs(got - x) <= 1e-9 * fabs(x)) : got != 0 && !isnan(got))
                fail_msg("%s: series %u, interval %u: %.17g, the model has %.17g", METRICS[query],
                         i, k, got, x);
        }
        found += want != NULL;
    }
    assert_int_equal(found, want_series_count[query]);
}

static void check_metrics(void)
{
    for (uint32_t i = 0; i < METRICS_COUNT; i++) {
        const struct ql_metrics *leaves[METRICS_LEAVES_MAX];
        struct metrics_part *part = NULL;
        struct metrics_result result = {0};
        struct result_stats stats = {0};
        struct search_ctx ctx = ctx_new();
        struct ql_query *ql;
        struct search_metrics_query q = {
            .text = slice_str(METRICS[i]), .leaves = leaves, .window = metrics_window()};

        assert_int_equal(ql_parse(&arena, q.text, &ql, NULL), ERR_OK);
        q.leaf_count = metrics_query_leaves(ql->metrics, leaves);
        assert_int_equal(search_metrics(&ctx, &q, &part, &stats), ERR_OK);
        assert_int_equal(ctx.missing, 0);
        assert_int_equal(metrics_eval(&arena, ql->metrics, &part, q.window.step_ns, &result),
                         ERR_OK);
        check_series(i, leaves[0], &result);
        ql_release(ql);
        arena_reset(&arena);
    }
}

/* --- all of it --------------------------------------------------------------------------------- */

static void check_all(struct asked *asked, uint32_t state, const char *name)
{
    int64_t begun = clock_mono_ns(&clock_system);

    for (uint32_t i = 0; i < query_count; i++) {
        arena_reset(&scratch);
        if (asked[i].text.len > 0)
            check_query(&asked[i], i);
    }
    check_values();
    check_metrics();
    check_traces(state);
    print_message("%s: as the model says (%lld ms)\n", name,
                  (long long)(clock_mono_ns(&clock_system) - begun) / NS_PER_MS);
}

static struct asked *ask_all(void)
{
    struct asked *asked = calloc(query_count, sizeof *asked);
    struct ql_attribute tags[TAG_COUNT];
    uint32_t good = 0, found = 0;

    assert_non_null(asked);
    /* Long over, and all in one window. */
    base_ns =
        (uint64_t)clock_wall_ns(&clock_system) / HOUR_NS * HOUR_NS - 2 * HOUR_NS + HOUR_NS / 4;
    for (uint32_t i = 0; i < query_count; i++) {
        arena_reset(&scratch);
        good += make_asked(&asked[i], i);
        found += asked[i].want_count > 0;
    }
    memset(want_values, 0, sizeof want_values);
    memset(want_names, 0, sizeof want_names);
    parse_tags(tags);
    for (uint32_t f = 0; f < FILTER_COUNT; f++)
        model_values(f, tags);
    for (uint32_t i = 0; i < METRICS_COUNT; i++)
        model_metrics(i);
    assert_true(good > query_count / 2 && found > 0);
    print_message("%u queries, %u of them find something\n", good, found);
    return asked;
}

static void forget_asked(struct asked *asked)
{
    for (uint32_t i = 0; i < query_count; i++)
        buf_release(&asked[i].text);
    free(asked);
}

static void set_up_store(void **state)
{
    start(state, false);
    config.compactor_disabled = true; /* until it is asked for; read at each start */
    restart();
}

static void every_read_is_as_the_model_says(void **state)
{
    set_up_store(state);
    struct asked *asked = ask_all();
    uint64_t spans = push_all(PART_FIRST);
    flush();
    spans += push_all(PART_SECOND);
    print_message("%llu spans\n", (unsigned long long)spans);
    check_all(asked, 0, "live, some of it in blocks");
    restart();
    check_all(asked, 1, "killed and replayed");
    flush();
    check_all(asked, 2, "in blocks");
    unsigned before = blocks_listed();
    merge_blocks();
    print_message("%u blocks became %u\n", before, blocks_listed());
    check_all(asked, 3, "in merged blocks");
    restart();
    check_all(asked, 4, "killed again");
    forget_asked(asked);
}

static void heads_alone_are_as_the_model_says(void **state)
{
    uint32_t chunks = chunk_count;

    chunk_count /= HEADS_PART;
    set_up_store(state);
    struct asked *asked = ask_all();
    (void)push_all(PART_FIRST);
    (void)push_all(PART_SECOND);
    check_all(asked, 0, "live, no block");
    restart();
    check_all(asked, 1, "killed and replayed, no block");
    assert_int_equal(blocks_listed(), 0);
    forget_asked(asked);
    chunk_count = chunks;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_read_is_as_the_model_says, tmpdir_setup, tear_down),
        cmocka_unit_test_setup_teardown(heads_alone_are_as_the_model_says, tmpdir_setup,
                                        tear_down)};
    const char *seed_text = getenv("SEED"), *spans_text = getenv("SPANS");
    bool is_full = getenv("VIVACE_FULL") != NULL;
    uint32_t spans = spans_text != NULL ? (uint32_t)strtoul(spans_text, NULL, 10)
                     : is_full          ? SPANS_FULL
                                        : SPANS_CI;

    if (seed_text != NULL)
        seed = strtoull(seed_text, NULL, 10);
    else
        rng_bytes_secure(&seed, 4);
    seed &= UINT32_MAX;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    chunk_count = spans / SPANS_PER_CHUNK;
    query_count = is_full ? QUERIES_FULL : QUERIES_CI;
    read_count = is_full ? READ_FULL : READ_CI;
    memory_bytes = (size_t)(is_full ? 8 : 2)
                   << 30; /* a search over a head of a million spans takes its share */
    arena_init(&scratch, NULL);
    assert_int_equal(regex_compile(SLICE_LIT("x.*"), &regex, NULL), ERR_OK);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    regex_free(regex);
    arena_release(&scratch);
    return failed;
}
