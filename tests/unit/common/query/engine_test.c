/* Facts of the query engine, one by one: what Tempo was recorded to do, the superset, the old search, tags and values. */
#include "common/query/engine.h"
#include "common/query/ql.h"
#include "tests/lib/fake_segment.h"
#include "tests/lib/test.h"

#include <stdlib.h>

enum { ITEMS_MAX = 16 };

static struct arena A;
static struct fake_data D;
static struct segment *S;

static struct slice text(const char *s)
{
    return slice_str(s);
}

static struct value str(const char *s)
{
    return value_string(text(s));
}

static struct value array(enum value_type type, const struct value *items, uint32_t count)
{
    struct value v = {.type = type};
    struct value *copy = ARENA_ARRAY(&A, struct value, count);

    memcpy(copy, items, sizeof copy[0] * count);
    v.array.items = copy;
    v.array.count = count;
    return v;
}

static void add(struct fake_attrs *list, const char *key, struct value v)
{
    if (list->list == NULL)
        list->list = ARENA_ARRAY(&A, struct fake_attr, ITEMS_MAX);
    assert_true(list->count < ITEMS_MAX);
    list->list[list->count++] = (struct fake_attr){.key = text(key), .value = v};
}

static void add_raw(struct fake_attrs *list, const char *key, const char *body, size_t len)
{
    add(list, key, VALUE_NONE);
    list->list[list->count - 1].raw = (struct slice){(const uint8_t *)body, len};
}

static struct span_id id(uint8_t n)
{
    return (struct span_id){{0, 0, 0, 0, 0, 0, 0, n}};
}

static struct fake_span span_of(uint32_t trace, uint32_t resource, uint8_t span, uint8_t parent,
                                uint64_t start_ns, uint64_t duration_ns, const char *name,
                                uint8_t kind, uint8_t status)
{
    return (struct fake_span){.trace = trace,
                              .resource = resource,
                              .id = id(span),
                              .parent = id(parent),
                              .start_ns = start_ns,
                              .duration_ns = duration_ns,
                              .name = text(name),
                              .kind = kind,
                              .status = status};
}

#define add_span(...) (D.spans[D.span_count++] = span_of(__VA_ARGS__))

/* Three traces.  1: "shop", web -> basket, with every kind of attribute.  2: no root.  3: a root without service.name, early. */
static void make_spans(void)
{
    D.spans = ARENA_ARRAY(&A, struct fake_span, ITEMS_MAX);
    D.span_count = 0;
    add_span(0, 0, 1, 0, 1000000, 20000000, "GET /", KIND_SERVER, STATUS_ERROR);
    add_span(0, 1, 2, 1, 2000000, 5000000, "query", KIND_CLIENT, STATUS_UNSET);
    add_span(0, 1, 3, 1, 3000000, 2000000, "cache", KIND_INTERNAL, STATUS_OK);
    add_span(1, 0, 4, 9, 9000000, 1000, "late", KIND_SERVER, STATUS_UNSET);
    add_span(2, 2, 5, 0, 500, 100, "alone", KIND_CONSUMER, STATUS_UNSET);
    add_span(1, 0, 6, 4, 9000100, 500, "later", KIND_PRODUCER, STATUS_ERROR);
    D.spans[1].status_message = text("boom");
    D.spans[1].scope = D.spans[2].scope = 1;
}

static void make_attributes(void)
{
    struct value colours[] = {str("red"), str("green"), str("blue")}, one[] = {str("solo")},
                 ints[] = {value_int(1), value_int(500)};
    struct fake_attrs *a = &D.spans[0].attrs;

    add(a, "http.status_code", value_int(500));
    add(a, "ratio", value_float(0.5));
    add(a, "colours", array(VALUE_STRING_ARRAY, colours, 3));
    add(a, "one", array(VALUE_STRING_ARRAY, one, 1));
    add(a, "again", str("first"));
    add(a, "again", str("second"));
    add(a, "where", str("span"));
    add(a, "flag", value_bool(false));
    add_raw(a, "none", "", 0);
    add_raw(a, "bytes", "\x3a\x01z", 3);
    a = &D.spans[1].attrs;
    add(a, "http.status_code", str("500"));
    add(a, "codes", array(VALUE_INT_ARRAY, ints, 2));
    add(a, "flag", value_bool(true));
    add(a, "rows", value_int(7));
    add(&D.spans[2].attrs, "rows", value_int(1));
    add(&D.spans[4].attrs, "http.status_code", value_float(500));
    D.spans[0].events = ARENA_ARRAY(&A, struct fake_event, 2);
    D.spans[0].event_count = 2;
    D.spans[0].events[0] = (struct fake_event){.time_ns = 5000000, .name = text("retry")};
    D.spans[0].events[1] = (struct fake_event){.time_ns = 26000000, .name = text("exception")};
    add(&D.spans[0].events[0].attrs, "attempt", value_int(1));
    add(&D.spans[0].events[1].attrs, "where", str("event"));
    D.spans[1].links = ARENA_ARRAY(&A, struct fake_link, 1);
    D.spans[1].link_count = 1;
    D.spans[1].links[0] = (struct fake_link){.span_id = id(4)};
    D.spans[1].links[0].trace_id.b[15] = 2;
    add(&D.spans[1].links[0].attrs, "where", str("link"));
}

static int set_up(void **state)
{
    static uint8_t flags[3] = {0, SEG_TRACE_FLAGGED, 0};

    (void)state;
    arena_init(&A, NULL);
    D = (struct fake_data){
        .trace_count = 3, .resource_count = 3, .scope_count = 2, .trace_flags = flags};
    D.traces = ARENA_ARRAY(&A, struct trace_id, 3);
    for (uint8_t t = 0; t < 3; t++)
        D.traces[t].b[15] = (uint8_t)(t + 1);
    D.resources = ARENA_ARRAY(&A, struct fake_attrs, 3);
    add(&D.resources[0], "service.name", str("web"));
    add(&D.resources[0], "where", str("resource"));
    add(&D.resources[1], "service.name", str("basket"));
    add(&D.resources[1], "where", str("resource"));
    add(&D.resources[2], "service.name", value_int(42));
    D.scopes = ARENA_ARRAY(&A, struct fake_scope, 2);
    D.scopes[1] = (struct fake_scope){.name = text("sql"), .version = text("1.0")};
    add(&D.scopes[1].attrs, "where", str("scope"));
    make_spans();
    make_attributes();
    S = fake_segment_new(&D);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    segment_close(S);
    arena_release(&A);
    return 0;
}

static void search_with(struct engine_query q, const char *query, struct search_result *ret)
{
    struct err_detail detail = {0};
    struct ql_query *ql = NULL;

    if (query != NULL && ql_parse(&A, text(query), &ql, &detail) != ERR_OK)
        fail_msg("%s: %s", query, detail.text);
    q.ql = ql;
    q.limit = q.limit == 0 ? 20 : q.limit;
    assert_int_equal(engine_query_order(&q, &A), ERR_OK);
    assert_int_equal(engine_search(S, &q, &A, ret), ERR_OK);
    ql_release(ql);
}

static struct search_result search(const char *query)
{
    struct search_result r = {0};

    search_with((struct engine_query){.spans_per_spanset = 100}, query, &r);
    return r;
}

/* Ids of the spans found, in the order of the answer: "1 2 3". */
static const char *spans_of(const struct search_result *r)
{
    struct buf b;

    buf_init(&b, 4096);
    for (uint32_t t = 0; t < r->trace_count; t++)
        for (uint32_t k = 0; k < r->traces[t].spanset_count; k++)
            for (uint32_t i = 0; i < r->traces[t].spansets[k].span_count; i++)
                buf_appendf(&b, "%s%u", b.len == 0 ? "" : " ",
                            r->traces[t].spansets[k].spans[i].id.b[7]);
    const char *s = arena_str(&A, buf_slice(&b));
    buf_release(&b);
    return s;
}

struct fact {
    const char *query, *spans;
};

static void check_facts(const struct fact *facts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct search_result r = search(facts[i].query);
        const char *got = spans_of(&r);
        if (strcmp(got, facts[i].spans) != 0)
            fail_msg("%s: want \"%s\", got \"%s\"", facts[i].query, facts[i].spans, got);
    }
}

#define CHECK_FACTS(facts) check_facts((facts), sizeof(facts) / sizeof(facts)[0])

static void test_types(void **state)
{
    (void)state;
    static const struct fact facts[] = {
        {"{}", "4 6 1 2 3 5"},
        {"{ span.http.status_code = 500 }", "1"},
        {"{ span.http.status_code = \"500\" }", "2"},
        {"{ span.http.status_code = 500.0 }", "5"},
        {"{ span.http.status_code > 400 }", "1"},
        {"{ span.http.status_code != 400 }", "1"},
        {"{ http.status_code = 500 }", "1 2"}, /* dotless: a number also meets its text */
        {"{ http.status_code >= 400 }", "1 2"},
        {"{ http.status_code != 500 }", ""},
        {"{ .http.status_code = 500 }", "1"},
        {"{ span.http.status_code = 1s }", ""},
        {"{ span.ratio = 0.5 }", "1"},
        {"{ span.ratio * 2 = 1 }", "1"},
        {"{ 400 < span.http.status_code }", "1"},
        {"{ span.flag }", "2"},
        {"{ !span.flag }", "1"},
        {"{ !(span.rows = 7) && kind = client }", ""},
        {"{ !(span.rows = 7) && resource.service.name = \"basket\" }", "3"},
        {"{ span.nope != 1 }", ""},
        {"{ span.nope || name = \"query\" }", "2"},
        {"{ span.none = nil && span.ratio != nil }", ""}, /* there, but not to be searched */
        {"{ span.none != nil || span.bytes != nil }", ""},
        {"{ span.rows = nil && kind = client }", ""},
        {"{ span.rows = nil && kind = server }", "4 1"},
    };
    CHECK_FACTS(facts);
}

static void test_arrays(void **state)
{
    (void)state;
    static const struct fact facts[] = {
        {"{ span.colours = \"green\" }", "1"},
        {"{ span.colours != \"green\" }", "1"},
        {"{ span.colours =~ \"gr.*\" }", "1"},
        {"{ span.colours !~ \".*e.*\" }", ""},
        {"{ span.codes > 400 }", "2"},
        {"{ span.codes = 7 }", ""},
        {"{ span.one = \"solo\" }", "1"},
        {"{ span.again = \"first\" }", "1"},
        {"{ span.again = \"second\" }", "1"},
        {"{ span.colours = \"red\" && span.colours = \"blue\" }", "1"},
    };
    CHECK_FACTS(facts);
}

static void test_scopes(void **state)
{
    (void)state;
    static const struct fact facts[] = {
        {"{ .where = \"span\" }", "1"},
        {"{ .where = \"resource\" }", "4 6 2 3"}, /* the span's hides the resource's */
        {"{ .where = \"scope\" }", ""},
        {"{ resource.where = \"resource\" && span.where != nil }", "1"},
        {"{ instrumentation.where = \"scope\" }", "2 3"},
        {"{ instrumentation:name = \"\" && kind = consumer }", "5"},
        {"{ instrumentation:version =~ \"1.*\" }", "2 3"},
        {"{ event.where = \"event\" }", "1"},
        {"{ link.where != nil }", "2"},
        {"{ event.where = nil }", "1"}, /* some event lacks it */
        {"{ link:spanID = \"0000000000000004\" }", "2"},
        {"{ event:name = \"retry\" && event.attempt = 1 }", "1"},
        {"{ event:name = \"exception\" && event.attempt = 1 }", ""}, /* one and the same event */
        {"{ event:name = \"exception\" } && { event.attempt = 1 }", "1"},
        {"{ event:timeSinceStart > 20ms }", "1"},
        {"{ !(event:name = \"retry\") && resource.service.name = \"web\" }", "4 6 1"},
        {"{ event:name = \"retry\" || kind = producer }", "6 1"},
        {"{ resource.service.name = \"\" }", "5"},
        {"{ resource.service.name = 42 }", "5"},
        {"{ .service.name != nil && kind = consumer }", "5"},
    };
    CHECK_FACTS(facts);
}

static void test_intrinsics(void **state)
{
    (void)state;
    static const struct fact facts[] = {
        {"{ duration > 4ms }", "1 2"},
        {"{ duration > 4000000 }", "1 2"},
        {"{ trace:duration > 10ms }", "1 2 3"},
        {"{ rootName = \"GET /\" }", "1 2 3"},
        {"{ rootServiceName = \"\" }", "4 6 5"},
        {"{ trace:id = \"1\" }", "1 2 3"},
        {"{ span:id = \"0000000000000002\" }", "2"},
        {"{ span:parentID = \"0000000000000001\" }", "2 3"},
        {"{ span:parentID = \"\" }", ""},
        {"{ span:childCount > 1 }", "1"},
        {"{ statusMessage = \"boom\" }", "2"},
        {"{ nestedSetParent < 0 }", "1 5"},
        {"{ nestedSetLeft = 0 }", "4 6"},
        {"{ kind = server && status != error }", "4"},
        {"{ name =~ \"late.*\" }", "4 6"},
    };
    CHECK_FACTS(facts);
}

static void test_spansets(void **state)
{
    (void)state;
    static const struct fact facts[] = {
        {"{ status = error } && { status = ok }", "1 3"},
        {"{ kind = producer } || { name = \"cache\" }", "6 3"},
        {"{ kind = server } > { kind = client }", "2"},
        {"{ kind = client } < { }", "1"},
        {"{ name = \"query\" } ~ { }", "3"},
        {"{ kind = server } &>> { kind = client }", "1 2"},
        {"{ kind = client } !~ { resource.service.name = \"basket\" }", "2"},
        {"{ } | count() > 2", "1 2 3"},
        {"{ kind = client } | count() > 2", ""},
        {"{ } | avg(duration) > 5ms", "1 2 3"},
        {"{ } | max(span.rows) = 7", "1 2 3"},
        {"{ } | min(span.rows) >= 1 | { kind = client }", "2"},
        {"{ resource.service.name = \"basket\" } | { kind = internal }", "3"},
        {"({ kind = client } | count() > 0) && ({ kind = server } | count() > 0)", "1 2"},
        {"{ } | avg(span.nope)", ""},
    };
    CHECK_FACTS(facts);
}

static const struct value *attribute_of(const struct result_attribute *list, uint32_t count,
                                        const char *key)
{
    for (uint32_t i = 0; i < count; i++)
        if (slice_eq_str(list[i].key, key))
            return &list[i].value;
    return NULL;
}

/* The attribute of the first spanset of the first trace. */
static struct value decoration(const char *query, const char *key)
{
    struct search_result r = search(query);

    assert_true(r.trace_count > 0);
    assert_true(r.traces[0].spanset_count > 0);
    const struct value *v = attribute_of(r.traces[0].spansets[0].attributes,
                                         r.traces[0].spansets[0].attribute_count, key);
    assert_non_null(v);
    return v != NULL ? *v : (struct value){0};
}

static void test_aggregates(void **state)
{
    (void)state;
    struct value v = decoration("{ trace:id = \"1\" } | avg(duration)", "avg(duration)");

    assert_int_equal(v.type, VALUE_DURATION);
    assert_int_equal(v.i, 9000000);
    v = decoration("{ trace:id = \"1\" } | quantile(duration, 0.75)", "quantile(duration, 0.75)");
    assert_int_equal(v.type, VALUE_DURATION);
    assert_int_equal(v.i, 12500000);
    v = decoration("{ } | sum(span.rows)", "sum(span.rows)");
    assert_int_equal(v.type, VALUE_INT);
    assert_int_equal(v.i, 8);
    v = decoration("{ } | avg(span.rows) > 3", "avg(span.rows)");
    assert_int_equal(v.type, VALUE_FLOAT);
    assert_true(v.f == 4.0);
    v = decoration("{ trace:id = \"1\" } | count() > 1", "count()");
    assert_int_equal(v.type, VALUE_INT);
    assert_int_equal(v.i, 3);
    v = decoration("{ kind = client } | by(status)", "by(status)");
    assert_int_equal(v.type, VALUE_STRING);
    assert_true(slice_eq_str(v.s, "unset"));
    assert_int_equal(decoration("{ kind = client } | by(span.nope)", "by(span.nope)").type,
                     VALUE_NIL);
}

/* The attribute that a query attaches to the first span it finds; NULL: none. */
static const struct value *attached(const char *query, const char *key)
{
    struct search_result r = search(query);

    assert_true(r.trace_count > 0);
    assert_true(r.traces[0].spansets[0].span_count > 0);
    const struct result_span *s = &r.traces[0].spansets[0].spans[0];
    return attribute_of(s->attributes, s->attribute_count, key);
}

static void test_attached(void **state)
{
    (void)state;
    const struct value *v =
        attached("{ span.colours = \"green\" }", "colours"); /* the elements that match */

    assert_non_null(v);
    assert_true(v->type == VALUE_STRING && slice_eq_str(v->s, "green"));
    v = attached("{ span.colours != \"green\" }", "colours");
    assert_non_null(v);
    assert_true(v->type == VALUE_STRING_ARRAY && v->array.count == 2 &&
                slice_eq_str(v->array.items[1].s, "blue"));
    v = attached("{ status = error && kind = server }", "status");
    assert_true(v != NULL && v->type == VALUE_STRING && slice_eq_str(v->s, "error"));
    assert_null(attached("{ kind = producer || name = \"cache\" || status = ok }",
                         "status")); /* its own status meets nothing */
    v = attached("{ span.nope = nil && kind = client }", "nope");
    assert_true(v != NULL && v->type == VALUE_NIL);
    assert_null(attached("{ kind = client } | select(span.nope)", "nope"));
    v = attached("{ kind = client } | select(span.rows)", "rows");
    assert_true(v != NULL && v->i == 7);
    v = attached("{ event:timeSinceStart >= 4ms && event:timeSinceStart < 5ms }",
                 "event:timeSinceStart");
    assert_true(v != NULL && v->type == VALUE_DURATION && v->i == 4000000);
    v = attached("{ kind = server && trace:id = \"1\" } | select(link:spanID)", "link:spanID");
    assert_true(v != NULL && slice_eq_str(v->s, "0000000000000000"));
    v = attached("{ .where = \"resource\" }", "where");
    assert_true(v != NULL && slice_eq_str(v->s, "resource"));
    v = attached("{ !(span.rows = 3) && kind = client }", "rows");
    assert_true(v != NULL && v->i == 7);
    struct search_result r = search("{ name = \"query\" && duration > 1ns && span:id != \"\" }");
    assert_true(slice_eq_str(r.traces[0].spansets[0].spans[0].name, "query"));
    assert_int_equal(r.traces[0].spansets[0].spans[0].attribute_count, 0);
    r = search("{ kind = client }");
    assert_int_equal(r.traces[0].spansets[0].spans[0].name.len, 0);
}

static void test_traces(void **state)
{
    (void)state;
    struct search_result r = search("{}");

    assert_int_equal(r.trace_count, 3);
    assert_true(slice_eq_str(r.traces[0].root_service, "<root span not yet received>"));
    assert_int_equal(r.traces[0].root_name.len, 0);
    assert_true(slice_eq_str(r.traces[1].root_service, "web"));
    assert_true(slice_eq_str(r.traces[1].root_name, "GET /"));
    assert_int_equal(r.traces[1].duration_ns, 20000000);
    assert_int_equal(r.traces[1].service_count, 2);
    assert_int_equal(r.traces[1].services[0].error_count, 1);
    assert_int_equal(r.traces[1].services[1].span_count, 2);
    assert_true(slice_eq_str(r.traces[2].root_service,
                             "<root span not yet received>")); /* its service has no name */
    assert_true(slice_eq_str(r.traces[2].root_name, "alone"));
    assert_int_equal(r.stats.inspected_traces, 3);
    assert_int_equal(r.stats.inspected_spans, 6);
    struct search_result more = {0};
    search_with((struct engine_query){.limit = 1}, "{}", &more);
    assert_true(more.is_cut);
    assert_int_equal(more.trace_count, 1);
    search_with(
        (struct engine_query){
            .limit = 2, .spans_per_spanset = 1, .exclude = &D.traces[1], .exclude_count = 1},
        "{}", &more);
    assert_false(more.is_cut);
    assert_int_equal(more.traces[0].spansets[0].matched, 3);
    assert_int_equal(more.traces[0].spansets[0].span_count, 1);
    search_with((struct engine_query){.start_ns = 20000000, .end_ns = 30000000},
                "{ name = \"cache\" }", &more);
    assert_int_equal(more.trace_count, 1); /* the span is outside, its trace overlaps */
    search_with((struct engine_query){.start_ns = 30000000, .end_ns = 40000000}, "{}", &more);
    assert_int_equal(more.trace_count, 0);
    search_with((struct engine_query){.not_before_ns = 1000000}, "{}", &more);
    assert_int_equal(more.trace_count, 2);
    search_with((struct engine_query){.start_ns = 0}, NULL, &more);
    assert_int_equal(more.trace_count, 3);
    assert_int_equal(more.traces[1].spanset_count, 0);
}

static uint32_t old_search(const char *key, const char *value, uint64_t min_ns, uint64_t max_ns)
{
    struct engine_tag tag = {text(key), text(value)};
    struct search_result r = {0};

    search_with(
        (struct engine_query){
            .tags = &tag, .tag_count = 1, .min_duration_ns = min_ns, .max_duration_ns = max_ns},
        NULL, &r);
    return r.trace_count;
}

static struct value value_of(const struct result_trace *t, const char *key)
{
    struct result_order o = {slice_str(key), false};
    return result_order_value(&o, t->spansets[0].attributes, t->spansets[0].attribute_count);
}

/* The order of all traces, and the first of them whatever the limit. */
static void test_order(void **state)
{
    (void)state;
    struct search_result all, some;
    static const char *const queries[][2] = {
        {"{ } | order_by(duration desc)", "order_by(duration desc)"},
        {"{ } | order_by(duration)", "order_by(duration)"},
        {"{ } | order_by(name)", "order_by(name)"},
        {"{ } | order_by(name desc)", "order_by(name desc)"}};

    for (size_t k = 0; k < sizeof queries / sizeof queries[0]; k++) {
        struct result_order o = {slice_str(queries[k][1]), strstr(queries[k][1], "desc") != NULL};
        all = search(queries[k][0]);
        assert_true(all.trace_count > 1);
        for (uint32_t i = 0; i < all.trace_count; i++) {
            struct value v = value_of(&all.traces[i], queries[k][1]);
            assert_true(v.type != VALUE_NIL);
            if (i > 0)
                assert_true(
                    result_order_values(&o, value_of(&all.traces[i - 1], queries[k][1]), v) <= 0);
        }
        for (uint32_t limit = 1; limit <= all.trace_count; limit++) {
            search_with((struct engine_query){.limit = limit}, queries[k][0], &some);
            assert_int_equal(some.trace_count, limit);
            assert_int_equal(some.is_cut, limit < all.trace_count);
            for (uint32_t i = 0; i < limit; i++)
                assert_true(trace_id_eq(some.traces[i].id, all.traces[i].id));
        }
    }
    /* Without a value: after all others, newest first; top() is a limit too. */
    all = search("{ } | order_by(.nowhere)");
    some = search("{ }");
    assert_int_equal(all.trace_count, some.trace_count);
    for (uint32_t i = 0; i < all.trace_count; i++)
        assert_true(trace_id_eq(some.traces[i].id, all.traces[i].id));
    some = search("{ } | top(1, duration)");
    all = search("{ } | order_by(duration desc)");
    assert_int_equal(some.trace_count, 1);
    assert_true(trace_id_eq(some.traces[0].id, all.traces[0].id));
}

static void test_old_search(void **state)
{
    (void)state;
    assert_int_equal(old_search("service.name", "we", 0, 0), 2);
    assert_int_equal(old_search("service.name", "WEB", 0, 0), 0);
    assert_int_equal(old_search("service.name", "", 0, 0), 3);
    assert_int_equal(old_search("name", "ate", 0, 0), 1);
    assert_int_equal(old_search("root.name", "GET", 0, 0), 1);
    assert_int_equal(old_search("root.service.name", "web", 0, 0), 1);
    assert_int_equal(old_search("http.status_code", "500", 0, 0), 1);
    assert_int_equal(old_search("rows", "7", 0, 0), 0);
    assert_int_equal(old_search("where", "span", 0, 0), 1);
    assert_int_equal(old_search("where", "spa", 0, 0), 0);
    assert_int_equal(old_search("status.code", "error", 0, 0), 2);
    assert_int_equal(old_search("error", "true", 0, 0), 0);
    assert_int_equal(old_search("service.name", "", 20000000, 0), 1);
    assert_int_equal(old_search("service.name", "", 0, 1000), 2);
}

static const char *names_of(struct slice *list, uint32_t count)
{
    struct buf b;

    buf_init(&b, 4096);
    for (uint32_t i = 0; i < count; i++) {
        buf_append_str(&b, i == 0 ? "" : " ");
        buf_append(&b, list[i]);
    }
    const char *s = arena_str(&A, buf_slice(&b));
    buf_release(&b);
    return s;
}

static struct ql_expr *filter(const char *s)
{
    struct ql_expr *x = NULL;

    assert_int_equal(ql_parse_lenient(&A, text(s), &x), ERR_OK);
    assert_non_null(x);
    return x;
}

static void test_tag_names(void **state)
{
    (void)state;
    struct tag_names n = {0};

    assert_int_equal(engine_tag_names(S, NULL, 0, 0, &A, &n), ERR_OK);
    assert_string_equal(
        names_of(n.names[TAGS_SPAN], n.counts[TAGS_SPAN]),
        "again bytes codes colours flag http.status_code none one ratio rows where");
    assert_string_equal(names_of(n.names[TAGS_RESOURCE], n.counts[TAGS_RESOURCE]),
                        "service.name where");
    assert_string_equal(names_of(n.names[TAGS_EVENT], n.counts[TAGS_EVENT]), "attempt where");
    assert_string_equal(names_of(n.names[TAGS_LINK], n.counts[TAGS_LINK]), "where");
    assert_string_equal(names_of(n.names[TAGS_INSTRUMENTATION], n.counts[TAGS_INSTRUMENTATION]),
                        "where");
    assert_int_equal(engine_tag_names(S, filter("{ kind = client }"), 0, 0, &A, &n), ERR_OK);
    assert_string_equal(names_of(n.names[TAGS_SPAN], n.counts[TAGS_SPAN]),
                        "codes flag http.status_code rows");
    assert_int_equal(n.counts[TAGS_EVENT], 0);
    assert_int_equal(n.counts[TAGS_LINK], 1);
    assert_int_equal(engine_tag_names(S, NULL, 99000000, 99000001, &A, &n), ERR_OK);
    assert_int_equal(n.counts[TAGS_SPAN], 0);
}

/* "string:x int:7": the values in order. */
static const char *values_of(const char *tag, bool any_scope, struct ql_expr *where, uint32_t limit)
{
    struct ql_attribute at = {.name = text(tag)};
    struct tag_values v = {0};
    struct buf b;

    if (!any_scope)
        assert_int_equal(ql_parse_attribute(&A, text(tag), &at), ERR_OK);
    assert_int_equal(engine_tag_values(S, &at, any_scope, where, 0, 0, limit, &A, &v), ERR_OK);
    buf_init(&b, 4096);
    for (uint32_t i = 0; i < v.count; i++) {
        buf_append_str(&b, i == 0 ? "" : " ");
        ql_dump_value(&b, v.values[i]);
    }
    buf_append_str(&b, v.is_cut ? " ..." : "");
    const char *s = arena_str(&A, buf_slice(&b));
    buf_release(&b);
    return s;
}

static void test_tag_values(void **state)
{
    (void)state;
    assert_string_equal(values_of("span.http.status_code", false, NULL, 0), "500 500.0 `500`");
    assert_string_equal(values_of("http.status_code", true, NULL, 0), "`500` `500.0`");
    assert_string_equal(values_of("resource.service.name", false, NULL, 0), "42 `` `basket` `web`");
    assert_string_equal(values_of(".where", false, NULL, 0), "`resource` `scope` `span`");
    assert_string_equal(values_of("where", true, NULL, 0), "`resource` `scope` `span`");
    assert_string_equal(values_of("event.where", false, NULL, 0), "`event`");
    assert_string_equal(values_of("span.colours", false, NULL, 0), "`blue` `green` `red`");
    assert_string_equal(values_of("span.colours", false, NULL, 2), "`blue` `green` ...");
    assert_string_equal(values_of("span.bytes", false, NULL, 0), "");
    assert_string_equal(values_of("status", false, NULL, 0), "0 1 2");
    assert_string_equal(
        values_of("kind", false, filter("{ resource.service.name = \"basket\" }"), 0), "1 3");
    assert_string_equal(values_of("name", false, filter("{ status = error }"), 0),
                        "`GET /` `later`");
    assert_string_equal(values_of("rootName", false, NULL, 0), "`` `GET /` `alone`");
    assert_string_equal(values_of("event:name", false, NULL, 0), "`exception` `retry`");
    assert_string_equal(values_of("event:name", false, filter("{ kind = client }"), 0), "");
    assert_string_equal(values_of("instrumentation:name", false, NULL, 0), "`` `sql`");
    assert_string_equal(values_of("instrumentation:name", false, filter("{ duration >= 0s }"), 0),
                        "`sql`");
    assert_string_equal(values_of("duration", false, NULL, 0), "");
    assert_string_equal(values_of("span.flag", false, filter("{ kind = client }"), 0), "true");
    assert_string_equal(values_of("status", true, NULL, 0),
                        ""); /* the old route: an attribute of that name */
}

static void test_flagged(void **state)
{
    (void)state;
    struct trace_id *ids = NULL;
    uint32_t count = 0;

    assert_int_equal(engine_flagged(S, 0, 0, &A, &ids, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(ids[0].b[15], 2);
    assert_int_equal(engine_flagged(S, 1, 2, &A, &ids, &count), ERR_OK);
    assert_int_equal(count, 0);
}

static void test_errors(void **state)
{
    (void)state;
    atomic_bool cancel = true;
    struct ql_query *ql = NULL;
    struct search_result r = {.trace_count = 7};
    struct budget small;
    struct arena tight;

    assert_int_equal(ql_parse(&A, text("{ span.rows = 7 }"), &ql, NULL), ERR_OK);
    struct engine_query q = {.ql = ql, .limit = 20, .cancel = &cancel};
    assert_int_equal(engine_search(S, &q, &A, &r), ERR_CANCELED);
    cancel = false;
    fake_segment_fail(S, ERR_CORRUPT);
    assert_int_equal(engine_search(S, &q, &A, &r), ERR_CORRUPT);
    fake_segment_fail(S, ERR_OK);
    budget_init(&small, 3000, NULL);
    arena_init(&tight, &small);
    assert_int_equal(engine_search(S, &q, &tight, &r), ERR_LIMIT);
    arena_release(&tight);
    assert_int_equal(budget_used(&small), 0);
    assert_int_equal(r.trace_count, 7); /* untouched by failures */
    ql_release(ql);
    assert_int_equal(ql_parse(&A, text("{ } | rate()"), &ql, NULL), ERR_OK);
    q.ql = ql;
    assert_int_equal(engine_search(S, &q, &A, &r), ERR_UNSUPPORTED);
    ql_release(ql);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_types),    TEST(test_arrays),     TEST(test_scopes),    TEST(test_intrinsics),
        TEST(test_spansets), TEST(test_aggregates), TEST(test_attached),  TEST(test_traces),
        TEST(test_order),    TEST(test_old_search), TEST(test_tag_names), TEST(test_tag_values),
        TEST(test_flagged),  TEST(test_errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
