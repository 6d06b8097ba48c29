/* Conditions judged on what is packed in pages: the same spans as in a head, which judges values one by one. */
#include "common/codec/otlp_write.h"
#include "common/query/engine_select.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

enum { SPANS = 40000, PER_RESOURCE = 100, A_GROUP = 16384 };

static struct head *HEAD;
static struct block *BLOCK;
static struct buf BYTES;

static size_t begin_value(struct buf *b, const char *key, size_t *ret_kv)
{
    *ret_kv = pb_begin(b, 9);
    pb_bytes(b, 1, slice_str(key));
    return pb_begin(b, 2);
}

static void put_text(struct buf *b, const char *key, const char *text)
{
    size_t kv, any = begin_value(b, key, &kv);
    pb_bytes(b, 1, slice_str(text));
    pb_end(b, any);
    pb_end(b, kv);
}

static void put_number(struct buf *b, const char *key, uint32_t field, int64_t value)
{
    size_t kv, any = begin_value(b, key, &kv);
    if (field == 4)
        pb_fixed64(b, 4, (uint64_t)value);
    else
        pb_varint(b, field, (uint64_t)value);
    pb_end(b, any);
    pb_end(b, kv);
}

static void put_list(struct buf *b, const char *key, uint32_t i)
{
    size_t kv, any = begin_value(b, key, &kv), list = pb_begin(b, 5);
    for (uint32_t k = 0; k < 2; k++) {
        size_t item = pb_begin(b, 1);
        pb_bytes(b, 1, slice_str(k == i / 6 % 3 ? "left" : "right"));
        pb_end(b, item);
    }
    pb_end(b, list);
    pb_end(b, any);
    pb_end(b, kv);
}

/* 0 .. : some negative, some of thousands, one that is very long. */
static int64_t duration_of(uint32_t i)
{
    if (i == 20000)
        return 3000000000000;
    if (i % 997 == 0)
        return -5;
    return i % 2 == 0 ? (int64_t)(i * 2654435761u % 5000) * 1000 : (int64_t)(i * 40503u % 90000);
}

static void put_attributes(struct buf *b, uint32_t i)
{
    static const char *const routes[] = {"/", "/cart", "/checkout", "/pay", "", "x.y"};
    char text[40];
    if (i % 4 != 3)
        put_text(b, "route", routes[i * 7 % 6]);
    if (i % 5 == 0)
        put_text(b, "route", routes[i % 3]); /* twice */
    (void)snprintf(text, sizeof text, "user-%u", i * 31 % 30011);
    put_text(b, "user", text);
    if (i % 3 == 0)
        put_number(b, "size", 3, (int64_t)(i % 700) - 50);
    if (i % 7 == 0)
        put_number(b, "code", 3, i % 14 == 0 ? 200 : 500);
    if (i % 11 == 0)
        put_number(b, "ok", 2, i % 2);
    if (i % 6 == 0)
        put_number(b, "mix", 3, i % 12);
    else if (i % 6 == 1)
        put_text(b, "mix", "6");
    else if (i % 6 == 2)
        put_list(b, "mix", i);
    else if (i % 6 == 3)
        put_number(b, "mix", 4, 0x4018000000000000); /* 6.0 */
    else if (i % 6 == 4)
        put_number(b, "mix", 2, i % 4 == 0);
    if (i == SPANS - 1)
        put_text(b, "last", "here");
    if (i > A_GROUP)
        put_text(b, "zone", "from the second group on");
}

static void put_span(struct buf *b, uint32_t i)
{
    uint8_t trace_id[TRACE_ID_BYTES] = {1};
    uint64_t span_id = i + 1, start = 1700000000000000000 + i * 1000ull;
    char name[24];
    memcpy(trace_id + 4, &i, sizeof i);
    (void)snprintf(name, sizeof name, "op-%u", i % 5000 == 4999 ? 5 : i % 4);
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, (struct slice){trace_id, sizeof trace_id});
    pb_bytes(b, 2, (struct slice){(const uint8_t *)&span_id, sizeof span_id});
    pb_bytes(b, 5, slice_str(name));
    pb_varint(b, 6, i % 3 + 1);
    pb_fixed64(b, 7, start);
    pb_fixed64(b, 8, start + (uint64_t)duration_of(i));
    put_attributes(b, i);
    if (i % 20 == 0) {
        size_t status = pb_begin(b, 15);
        pb_varint(b, 3, i % 40 == 0 ? 2 : 1);
        pb_end(b, status);
    }
    pb_end(b, span);
}

static void put_resource(struct buf *b, uint32_t no)
{
    static const char *const services[] = {"cart", "pay", "front"};
    size_t resource = pb_begin(b, 1);
    for (uint32_t k = 0; k < 2; k++) {
        if (k == 0 && no % 4 == 3)
            continue; /* without a service */
        size_t kv = pb_begin(b, 1);
        pb_bytes(b, 1, slice_str(k == 0 ? "service.name" : no % 2 == 0 ? "route" : "host"));
        size_t any = pb_begin(b, 2);
        pb_bytes(b, 1, slice_str(k == 0 ? services[no % 3] : no % 6 == 0 ? "/cart" : "h"));
        pb_end(b, any);
        pb_end(b, kv);
    }
    pb_end(b, resource);
}

static int setup(void **state)
{
    struct head_append_result r;
    struct segment *s = NULL;
    struct block_meta meta = {.id = "b", .tenant = "t", .writer = "w"};
    struct object *o;
    struct buf request;
    void *dir = NULL;
    (void)state;
    buf_init(&request, 1u << 28);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &HEAD), ERR_OK);
    for (uint32_t i = 0; i < SPANS; i += PER_RESOURCE) {
        buf_reset(&request);
        size_t rs = pb_begin(&request, 1);
        put_resource(&request, i / PER_RESOURCE % 23);
        size_t ss = pb_begin(&request, 2);
        for (uint32_t k = i; k < i + PER_RESOURCE; k++)
            put_span(&request, k);
        pb_end(&request, ss);
        pb_end(&request, rs);
        assert_int_equal(head_append(HEAD, buf_slice(&request), false, 1, &r), ERR_OK);
    }
    assert_int_equal(head_segment(HEAD, NULL, &s), ERR_OK);
    assert_int_equal(tmpdir_setup(&dir), 0);
    const char *path = tmpdir_path(&dir, "data.vvb");
    assert_int_equal(block_write(path, &s, 1, NULL, NULL, NULL, &meta), ERR_OK);
    buf_init(&BYTES, 1u << 28);
    assert_int_equal(fs_read_file(path, &BYTES), ERR_OK);
    assert_int_equal(tmpdir_teardown(&dir), 0);
    segment_close(s);
    buf_release(&request);
    assert_int_equal(object_memory(buf_slice(&BYTES), &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &BLOCK), ERR_OK);
    assert_int_equal(block_group_count(BLOCK), (SPANS + A_GROUP - 1) / A_GROUP);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    block_unref(BLOCK);
    head_unref(HEAD);
    buf_release(&BYTES);
    return 0;
}

/* Adds to `found` the ids of the spans that a query selects: they tell which span it is. */
static void selected(struct segment *s, const struct ql_query *ql, uint8_t *found)
{
    struct arena a;
    struct eval e;
    struct engine_selection sel;
    arena_init(&a, NULL);
    eval_init(&e, s, &a, NULL);
    assert_int_equal(engine_select(&e, ql->pipeline, NULL, 0, &sel), ERR_OK);
    assert_int_equal(eval_fixed(&e, SEG_F_SPAN_ID), ERR_OK);
    uint32_t n = 0;
    for (uint32_t i = 0; sel.mask != NULL && i < e.rows[SEG_SPAN]; i++) {
        n += sel.mask[i];
        found[e.fixed.span_id[i]] |= sel.mask[i];
    }
    assert_int_equal(n, sel.count);
    arena_release(&a);
    segment_close(s);
}

/* Whether any span is selected, and that it is the same ones in both. */
static bool check(const char *text)
{
    static uint8_t head[SPANS + 1], block[SPANS + 1];
    struct arena a;
    struct ql_query *ql = NULL;
    struct err_detail detail = {0};
    struct segment *s = NULL;
    memset(head, 0, sizeof head);
    memset(block, 0, sizeof block);
    arena_init(&a, NULL);
    if (ql_parse(&a, slice_str(text), &ql, &detail) != ERR_OK)
        fail_msg("%s: %s", text, detail.text);
    assert_int_equal(head_segment(HEAD, NULL, &s), ERR_OK);
    selected(s, ql, head);
    for (uint32_t g = 0; g < block_group_count(BLOCK); g++) {
        assert_int_equal(block_segment(BLOCK, g, NULL, &s), ERR_OK);
        selected(s, ql, block);
    }
    ql_release(ql);
    arena_release(&a);
    if (memcmp(head, block, sizeof head) != 0)
        fail_msg("%s: not the same spans", text);
    return memchr(head, 1, sizeof head) != NULL;
}

static const struct {
    const char *text;
    bool is_met;
} rows[] = {
    {"span.route = `/cart`", true},
    {"span.route != `/cart`", true},
    {"span.route = ``", true},
    {"span.route =~ `/c.*`", true},
    {"span.route !~ `/c.*`", true},
    {"span.route > `/cart`", true},
    {"span.route = `/none`", false},
    {"span.route != nil", true},
    {"span.route = nil", true},
    {".route = `/cart`", true},
    {".route != `/cart`", true},
    {".route =~ `.*h`", true},
    {".route = `h`", true},
    {".host = `h`", true},
    {".host != nil", true},
    {"span.user = `user-93`", true},
    {"span.user = `user-30012`", false},
    {"span.user =~ `user-1.`", true},
    {"span.size = 7", true},
    {"span.size > 600", true},
    {"span.size <= -50", true},
    {"span.size < -50", false},
    {"span.size != 7", true},
    {"span.size = 7.0", false},
    {"span.code = 500", true},
    {"span.code >= 200", true},
    {"span.ok = true", true},
    {"span.ok != true", true},
    {"span.ok", true},
    {"!span.ok", true},
    {"span.mix = 6", true},
    {"span.mix = `6`", true},
    {"span.mix = 6.0", true},
    {"span.mix > 5", true},
    {"span.mix = `left`", true},
    {"span.mix =~ `l.*`", true},
    {"span.mix = true", true},
    {"span.mix != nil", true},
    {"span.last = `here`", true},
    {"span.zone != nil", true},
    {"span.nothing = 1", false},
    {"name = `op-2`", true},
    {"name = `op-4`", false},
    {"name =~ `op-[25]`", true},
    {"name != `op-2`", true},
    {"kind = server", true},
    {"kind != server", true},
    {"kind = consumer", false},
    {"status = error", true},
    {"status != error", true},
    {"duration > 4ms", true},
    {"duration > 1h", false},
    {"duration > 40m", true},
    {"duration = 3000s", true},
    {"duration < 0", true},
    {"duration != 1ms", true},
    {"duration >= -5 && duration <= 10", true},
    {"duration < 100.5", true},
    {"resource.service.name = `pay`", true},
    {"resource.service.name = ``", true},
    {"resource.service.name != `pay`", true},
    {"resource.service.name =~ `c.*|f.*`", true},
    {"resource.route = `/cart`", true},
    {"resource.host != nil", true},
    {"resource.service.name = `nobody`", false},
};

/* Each condition alone, and with each other one. */
static void test_conditions(void **state)
{
    enum { COUNT = sizeof rows / sizeof rows[0] };
    char text[256];
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(text, sizeof text, "{ %s }", rows[i].text);
        if (check(text) != rows[i].is_met)
            fail_msg("%s: met by %s", text, rows[i].is_met ? "none" : "some");
        size_t k = (i * 17 + 5) % COUNT, l = (i * 29 + 11) % COUNT;
        (void)snprintf(text, sizeof text, "{ %s && %s && %s }", rows[i].text, rows[k].text,
                       rows[l].text);
        (void)check(text);
        (void)snprintf(text, sizeof text, "{ (%s || %s) && !(%s) }", rows[i].text, rows[k].text,
                       rows[l].text);
        (void)check(text);
        (void)snprintf(text, sizeof text, "{ %s } && { %s }", rows[i].text, rows[k].text);
        (void)check(text);
    }
}

/* The text that each span has for an attribute, by its id. */
static void keys_of(struct segment *s, const struct ql_attribute *by, struct arena *a,
                    struct value *found)
{
    struct eval e;
    struct engine_selection all;
    struct engine_keys keys;
    eval_init(&e, s, a, NULL);
    assert_int_equal(engine_select(&e, NULL, NULL, 0, &all), ERR_OK);
    assert_int_equal(engine_select_keys(&e, by, &all, &keys), ERR_OK);
    assert_int_equal(eval_fixed(&e, SEG_F_SPAN_ID), ERR_OK);
    for (uint32_t i = 0; i < e.rows[SEG_SPAN]; i++) {
        struct value v = keys.values[keys.codes[i]];
        if (v.type == VALUE_STRING)
            v.s = arena_dup(a, v.s);
        found[e.fixed.span_id[i]] = v;
    }
    segment_close(s);
}

static void test_keys(void **state)
{
    static struct value head[SPANS + 1], block[SPANS + 1];
    static const struct {
        enum ql_scope scope;
        const char *name;
    } keys[] = {{QL_SCOPE_RESOURCE, "service.name"},
                {QL_SCOPE_RESOURCE, "host"},
                {QL_SCOPE_SPAN, "route"},
                {QL_SCOPE_SPAN, "zone"},
                {QL_SCOPE_SPAN, "mix"},
                {QL_SCOPE_SPAN, "user"},
                {QL_SCOPE_NONE, "route"},
                {QL_SCOPE_INSTRUMENTATION, "none"}};
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct ql_attribute by = {.scope = keys[i].scope, .name = slice_str(keys[i].name)};
        struct segment *s = NULL;
        struct arena a;
        arena_init(&a, NULL);
        assert_int_equal(head_segment(HEAD, NULL, &s), ERR_OK);
        keys_of(s, &by, &a, head);
        for (uint32_t g = 0; g < block_group_count(BLOCK); g++) {
            assert_int_equal(block_segment(BLOCK, g, NULL, &s), ERR_OK);
            keys_of(s, &by, &a, block);
        }
        for (uint32_t k = 1; k <= SPANS; k++)
            if (!eval_value_equal(head[k], block[k]))
                fail_msg("%s: span %u", keys[i].name, k);
        arena_release(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_conditions),
                                       cmocka_unit_test(test_keys)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
