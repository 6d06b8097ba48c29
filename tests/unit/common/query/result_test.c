#include "common/base/rng.h"
#include "common/query/result.h"
#include "tests/lib/test.h"

static const struct result_order newest;

static struct arena A;
static struct rng R;

static int set_up(void **state)
{
    (void)state;
    arena_init(&A, NULL);
    rng_init(&R, 7);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&A);
    return 0;
}

static struct slice random_text(void)
{
    static const char *const words[] = {"", "a", "service.name", "x\0y", "by(name)"};
    uint64_t k = rng_below(&R, 5);
    return k == 3 ? (struct slice){(const uint8_t *)"x\0y", 3} : slice_str(words[k]);
}

static struct value random_value(bool is_element, enum value_type type)
{
    struct value v = {.type = type};

    if (type == VALUE_STRING) {
        v.s = random_text();
    } else if (type == VALUE_FLOAT) {
        v.f = (double)rng_u64(&R) / 7;
    } else if (value_is_array(v) && !is_element) {
        static const enum value_type of[] = {VALUE_INT, VALUE_FLOAT, VALUE_STRING, VALUE_BOOL};
        uint32_t count = (uint32_t)rng_below(&R, 4);
        struct value *items = ARENA_ARRAY(&A, struct value, count);
        for (uint32_t i = 0; i < count; i++)
            items[i] = random_value(true, of[type - VALUE_INT_ARRAY]);
        v.array.items = items;
        v.array.count = count;
    } else if (type != VALUE_NIL) {
        v.i = type == VALUE_BOOL ? (int64_t)rng_below(&R, 2) : (int64_t)rng_u64(&R);
    }
    return v;
}

static struct result_attribute *random_attributes(uint32_t count)
{
    struct result_attribute *list = ARENA_ARRAY(&A, struct result_attribute, count);

    for (uint32_t i = 0; i < count; i++)
        list[i] = (struct result_attribute){
            random_text(),
            random_value(false, (enum value_type)rng_below(&R, VALUE_BOOL_ARRAY + 1))};
    return list;
}

static struct result_spanset random_spanset(void)
{
    struct result_spanset s = {.span_count = (uint32_t)rng_below(&R, 3),
                               .attribute_count = (uint32_t)rng_below(&R, 3),
                               .matched = (uint32_t)rng_below(&R, 1000)};

    s.attributes = random_attributes(s.attribute_count);
    s.spans = ARENA_ARRAY(&A, struct result_span, s.span_count);
    for (uint32_t i = 0; i < s.span_count; i++) {
        struct result_span *span = &s.spans[i];
        *span = (struct result_span){.name = random_text(),
                                     .start_ns = rng_u64(&R),
                                     .duration_ns = rng_below(&R, 99),
                                     .attribute_count = (uint32_t)rng_below(&R, 3)};
        span->id.b[7] = (uint8_t)i;
        span->attributes = random_attributes(span->attribute_count);
    }
    return s;
}

static struct result_trace random_trace(uint8_t id)
{
    struct result_trace t = {.root_service = random_text(),
                             .root_name = random_text(),
                             .start_ns = rng_u64(&R),
                             .duration_ns = rng_below(&R, 9)};

    t.id.b[15] = id;
    t.spanset_count = (uint32_t)rng_below(&R, 3);
    t.service_count = (uint32_t)rng_below(&R, 3);
    t.spansets = ARENA_ARRAY(&A, struct result_spanset, t.spanset_count);
    t.services = ARENA_ARRAY(&A, struct result_service, t.service_count);
    for (uint32_t i = 0; i < t.spanset_count; i++)
        t.spansets[i] = random_spanset();
    for (uint32_t i = 0; i < t.service_count; i++)
        t.services[i] = (struct result_service){random_text(), (uint32_t)rng_below(&R, 99),
                                                (uint32_t)rng_below(&R, 9)};
    return t;
}

static struct search_result random_result(uint32_t traces)
{
    struct search_result r = {.traces = ARENA_ARRAY(&A, struct result_trace, traces),
                              .trace_count = traces,
                              .is_cut = rng_below(&R, 2) != 0};

    for (uint32_t i = 0; i < traces; i++)
        r.traces[i] = random_trace((uint8_t)(i + 1));
    r.stats = (struct result_stats){rng_below(&R, 99), rng_u64(&R), 3, 4, 5, 6, rng_u64(&R)};
    return r;
}

static void assert_bytes_equal(const struct buf *a, const struct buf *b)
{
    assert_int_equal(buf_err(a), ERR_OK);
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->ptr, b->ptr, a->len);
}

/* What was unpacked packs to the same bytes; no cut of the bytes is a crash. */
static void test_search_round_trip(void **state)
{
    (void)state;
    for (int k = 0; k < 200; k++) {
        struct search_result r = random_result((uint32_t)rng_below(&R, 4)), back, cut;
        struct buf first, second;
        buf_init(&first, 1 << 20);
        buf_init(&second, 1 << 20);
        search_result_pack(&first, &r);
        assert_int_equal(search_result_unpack(&A, buf_slice(&first), &back), ERR_OK);
        assert_int_equal(back.trace_count, r.trace_count);
        assert_int_equal(back.is_cut, r.is_cut);
        assert_int_equal(back.stats.inspected_bytes, r.stats.inspected_bytes);
        search_result_pack(&second, &back);
        assert_bytes_equal(&first, &second);
        uint8_t *copy = malloc(first.len);
        assert_non_null(copy);
        for (size_t len = 0; len < first.len; len += 1 + first.len / 50) {
            memcpy(copy, first.ptr, len);
            (void)!search_result_unpack(&A, (struct slice){copy, len},
                                        &cut); /* error or a shorter answer */
        }
        free(copy);
        buf_release(&first);
        buf_release(&second);
        arena_reset(&A);
    }
}

static void test_tags_round_trip(void **state)
{
    (void)state;
    struct slice span[] = {slice_str(""), slice_str("a"), slice_str("b")},
                 event[] = {slice_str("e")};
    struct tag_names n = {.names = {span, NULL, event},
                          .counts = {3, 0, 1},
                          .stats = {.inspected_bytes = 9}},
                     names;
    struct value list[VALUE_BOOL_ARRAY + 1];
    struct tag_values v = {.values = list, .is_cut = true}, values;
    struct buf first, second;

    for (; v.count <= VALUE_BOOL; v.count++)
        list[v.count] = random_value(false, (enum value_type)v.count);
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    tag_names_pack(&first, &n);
    assert_int_equal(tag_names_unpack(&A, buf_slice(&first), &names), ERR_OK);
    assert_int_equal(names.counts[TAGS_SPAN], 3);
    assert_int_equal(names.counts[TAGS_EVENT], 1);
    tag_names_pack(&second, &names);
    assert_bytes_equal(&first, &second);
    buf_reset(&first);
    buf_reset(&second);
    tag_values_pack(&first, &v);
    assert_int_equal(tag_values_unpack(&A, buf_slice(&first), &values), ERR_OK);
    assert_int_equal(values.count, v.count);
    assert_true(values.is_cut);
    tag_values_pack(&second, &values);
    assert_bytes_equal(&first, &second);
    buf_release(&first);
    buf_release(&second);
}

static void test_foreign_bytes(void **state)
{
    (void)state;
    struct search_result r;
    struct tag_values v;
    struct tag_names n;
    static const struct slice bad[] = {
        {(const uint8_t *)"\x0a\x05\x0a", 3},       /* longer than it is */
        {(const uint8_t *)"\x0a\x02\x12\x00", 4},   /* a trace without an id */
        {(const uint8_t *)"\x0a\x04\x0a\x02zz", 6}, /* an id of two bytes */
        {(const uint8_t *)"\x0b", 1},               /* a group */
        {(const uint8_t *)"\x00\x00", 2},           /* field number 0 */
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(search_result_unpack(&A, bad[i], &r), ERR_FORMAT);
    assert_int_equal(
        tag_values_unpack(&A, (struct slice){(const uint8_t *)"\x0a\x02\x08\x63", 4}, &v),
        ERR_FORMAT); /* a type that is none */
    /* Arrays of arrays. */
    assert_int_equal(
        tag_values_unpack(
            &A, (struct slice){(const uint8_t *)"\x0a\x08\x08\x08\x2a\x04\x08\x08\x2a\x00", 10},
            &v),
        ERR_FORMAT);
    assert_int_equal(
        tag_names_unpack(
            &A,
            (struct slice){(const uint8_t *)"\x0a\x00\x0a\x00\x0a\x00\x0a\x00\x0a\x00\x0a\x00", 12},
            &n),
        ERR_FORMAT);
    assert_int_equal(search_result_unpack(&A, SLICE_NONE, &r), ERR_OK);
    assert_int_equal(r.trace_count, 0);
}

static struct result_trace plain(uint8_t id, uint64_t start_ns)
{
    struct result_trace t = {.root_service = slice_str("<root span not yet received>"),
                             .root_name = slice_str(""),
                             .start_ns = start_ns,
                             .duration_ns = id};

    t.id.b[15] = id;
    return t;
}

static void test_merge_search(void **state)
{
    (void)state;
    struct result_attribute by_x = {slice_str("by(name)"), value_string(slice_str("x"))},
                            by_y = {slice_str("by(name)"), value_string(slice_str("y"))};
    struct result_spanset small = {.matched = 1, .attributes = &by_x, .attribute_count = 1},
                          large = {.matched = 5, .attributes = &by_x, .attribute_count = 1},
                          other = {.matched = 2, .attributes = &by_y, .attribute_count = 1};
    struct result_service web = {slice_str("web"), 3, 1}, web_more = {slice_str("web"), 2, 2},
                          db = {slice_str("db"), 1, 0};
    struct result_trace one[] = {plain(1, 100), plain(2, 90), plain(3, 80)},
                        two[] = {plain(4, 100), plain(2, 70)};

    one[1].spansets = &small;
    one[1].spanset_count = 1;
    one[1].services = &web;
    one[1].service_count = 1;
    two[1].root_service = slice_str("web");
    two[1].root_name = slice_str("GET");
    two[1].duration_ns = 50;
    struct result_spanset both[] = {other, large};
    two[1].spansets = both;
    two[1].spanset_count = 2;
    struct result_service services[] = {db, web_more};
    two[1].services = services;
    two[1].service_count = 2;
    struct search_result parts[] =
        {{.traces = one, .trace_count = 3, .stats = {.inspected_spans = 4}},
         {.traces = two, .trace_count = 2, .stats = {.inspected_spans = 5}}},
                         r;
    for (int order = 0; order < 2; order++) {
        assert_int_equal(search_result_merge(&A, parts, 2, &newest, 20, &r), ERR_OK);
        assert_int_equal(r.trace_count, 4);
        assert_false(r.is_cut);
        assert_int_equal(r.stats.inspected_spans, 9);
        static const uint8_t ids[] = {1, 4, 3, 2};
        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(r.traces[i].id.b[15], ids[i]);
        const struct result_trace *t = &r.traces[3];
        assert_int_equal(t->start_ns, 70);
        assert_int_equal(t->duration_ns, 50);
        assert_true(slice_eq_str(t->root_service, "web"));
        assert_true(slice_eq_str(t->root_name, "GET"));
        assert_int_equal(t->spanset_count, 2);
        assert_int_equal(t->spansets[0].matched + t->spansets[1].matched, 7);
        assert_int_equal(t->service_count, 2);
        for (uint32_t i = 0; i < 2; i++)
            if (slice_eq_str(t->services[i].name, "web"))
                assert_int_equal(t->services[i].span_count * 10 + t->services[i].error_count, 32);
        assert_int_equal(search_result_merge(&A, parts, 2, &newest, 2, &r), ERR_OK);
        assert_true(r.is_cut);
        assert_int_equal(r.trace_count, 2);
        /* By a value on the spansets: those without one last, newest first. */
        struct result_order seven = {SLICE_LIT("seven"), true};
        struct result_attribute value = {SLICE_LIT("seven"), value_int(7)};
        struct result_spanset marked = {.attributes = &value, .attribute_count = 1};
        struct result_spanset *kept = one[0].spansets;
        uint32_t kept_count = one[0].spanset_count;
        one[0].spansets = &marked;
        one[0].spanset_count = 1;
        assert_int_equal(search_result_merge(&A, parts, 2, &seven, 20, &r), ERR_OK);
        assert_int_equal(r.traces[0].id.b[15], one[0].id.b[15]);
        one[0].spansets = kept;
        one[0].spanset_count = kept_count;
        struct search_result swap = parts[0];
        parts[0] = parts[1];
        parts[1] = swap;
    }
}

static void test_merge_tags(void **state)
{
    (void)state;
    struct slice one[] = {slice_str("b"), slice_str("a")}, two[] = {slice_str("c"), slice_str("a")};
    struct tag_names parts[] = {{.names = {one}, .counts = {2}},
                                {.names = {two, two}, .counts = {2, 1}}},
                     n;
    struct value ints[] = {value_int(7), value_string(slice_str("xx"))},
                 texts[] = {value_string(slice_str("xx")), value_string(slice_str("a")),
                            value_int(7)};
    struct tag_values lists[] = {{.values = ints, .count = 2}, {.values = texts, .count = 3}}, v;

    assert_int_equal(tag_names_merge(&A, parts, 2, 0, &n), ERR_OK);
    assert_int_equal(n.counts[0], 3);
    assert_true(slice_eq_str(n.names[0][0], "a"));
    assert_true(slice_eq_str(n.names[0][2], "c"));
    assert_int_equal(n.counts[1], 1);
    assert_int_equal(tag_names_merge(&A, parts, 2, 2, &n), ERR_OK);
    assert_int_equal(n.counts[0], 2);
    assert_int_equal(tag_values_merge(&A, lists, 2, 0, 0, &v), ERR_OK);
    assert_int_equal(v.count, 3);
    assert_false(v.is_cut);
    assert_int_equal(v.values[0].i, 7);
    assert_true(slice_eq_str(v.values[1].s, "a"));
    assert_int_equal(tag_values_merge(&A, lists, 2, 2, 0, &v), ERR_OK);
    assert_true(v.is_cut);
    assert_int_equal(v.count, 2);
    assert_int_equal(tag_values_merge(&A, lists, 2, 0, 9, &v), ERR_OK);
    assert_true(v.is_cut);
    assert_int_equal(v.count, 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(test_search_round_trip), TEST(test_tags_round_trip),
                                       TEST(test_foreign_bytes), TEST(test_merge_search),
                                       TEST(test_merge_tags)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
