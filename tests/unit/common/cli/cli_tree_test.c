#include "common/cli/cli_tree.h"
#include "common/codec/otlp_write.h"
#include "tests/lib/test.h"

#include <stdio.h>

enum { BYTES_MAX = 16 << 20 };

struct one {
    const char *id, *parent, *service;
    uint64_t start, end;
    uint32_t status;
};

static void put(struct buf *b, const struct one *s)
{
    size_t resource_spans = pb_begin(b, 1), resource = pb_begin(b, 1), attribute = pb_begin(b, 1);
    pb_bytes(b, 1, slice_str("service.name"));
    size_t value = pb_begin(b, 2);
    pb_bytes(b, 1, slice_str(s->service));
    pb_end(b, value);
    pb_end(b, attribute);
    pb_end(b, resource);
    size_t scope_spans = pb_begin(b, 2), span = pb_begin(b, 2);
    pb_bytes(b, 2, slice_str(s->id));
    if (s->parent != NULL)
        pb_bytes(b, 4, slice_str(s->parent));
    pb_bytes(b, 5, slice_str(s->id));
    pb_fixed64(b, 7, s->start);
    pb_fixed64(b, 8, s->end);
    size_t status = pb_begin(b, 15);
    pb_varint(b, 3, s->status);
    pb_end(b, status);
    pb_end(b, span);
    pb_end(b, scope_spans);
    pb_end(b, resource_spans);
}

/* The listing, a line a span. */
static char *listing(const struct cli_tree *t)
{
    static char text[4096];
    struct buf out;

    buf_init(&out, sizeof text - 1);
    for (uint32_t i = 0; i < t->count; i++) {
        cli_tree_put_branch(t, t->listed[i], &out);
        buf_append(&out, t->spans[t->listed[i]].name);
        buf_append_byte(&out, '\n');
    }
    assert_int_equal(buf_err(&out), ERR_OK);
    memcpy(text, out.ptr, out.len);
    text[out.len] = '\0';
    buf_release(&out);
    return text;
}

static void check(const struct one *spans, unsigned count, const char *want, struct cli_tree *ret,
                  struct arena *a)
{
    struct err_detail d = {0};
    struct buf b;

    buf_init(&b, BYTES_MAX);
    for (unsigned i = 0; i < count; i++)
        put(&b, &spans[i]);
    if (cli_tree_of(buf_slice(&b), a, ret, &d) != ERR_OK)
        fail_msg("%s", d.text);
    assert_string_equal(listing(ret), want);
    buf_release(&b);
}

static void test_children_by_start(void **state)
{
    const struct one spans[] = {
        {"late", "root", "shop", 50, 60, 0},  {"root", NULL, "shop", 10, 90, 0},
        {"deep", "early", "cart", 21, 22, 2}, {"early", "root", "cart", 20, 40, 1},
        {"last", "late", "db", 55, 200, 0},
    };
    struct cli_tree t;
    struct arena a;
    (void)state;

    arena_init(&a, NULL);
    check(spans, 5, "root\n├─ early\n│  └─ deep\n└─ late\n   └─ last\n", &t, &a);
    assert_int_equal(t.service_count, 3);
    assert_int_equal(t.error_count, 1);
    assert_int_equal(t.start_ns, 10);
    assert_int_equal(t.end_ns, 200);
    arena_release(&a);
}

static void test_parents_that_are_not_there(void **state)
{
    const struct one spans[] = {
        {"orphan", "gone", "s", 5, 6, 0}, {"child", "orphan", "s", 6, 7, 0},
        {"own", "own", "s", 7, 8, 0},     {"x", "z", "s", 8, 9, 0},
        {"y", "x", "s", 9, 1, 0},         {"z", "y", "s", 10, 11, 0},
        {"hang", "z", "s", 11, 12, 0},
    };
    struct cli_tree t;
    struct arena a;
    (void)state;

    arena_init(&a, NULL);
    check(spans, 7, "⋯ orphan\n└─ child\n⋯ own\n⋯ x\n└─ y\n   └─ z\n      └─ hang\n", &t, &a);
    assert_int_equal(t.end_ns, 12); /* an end before its start counts as the start */
    arena_release(&a);
}

static void test_equal_ids(void **state)
{
    const struct one spans[] = {{"a", NULL, "s", 1, 9, 0},
                                {"a", "a", "s", 2, 8, 0},
                                {"a", "a", "s", 3, 7, 0},
                                {"b", "a", "s", 4, 5, 0}};
    struct cli_tree t;
    struct arena a;
    (void)state;

    arena_init(&a, NULL);
    check(spans, 4, "a\n├─ a\n├─ a\n└─ b\n", &t, &a);
    arena_release(&a);
}

static void test_deep(void **state)
{
    enum { DEPTH = 20000 };
    static char names[DEPTH][8];
    struct err_detail d = {0};
    struct cli_tree t;
    struct arena a;
    struct buf b;
    (void)state;

    arena_init(&a, NULL);
    buf_init(&b, BYTES_MAX);
    for (unsigned i = 0; i < DEPTH; i++) {
        (void)snprintf(names[i], sizeof names[i], "%u", i);
        put(&b, &(struct one){names[i], i == 0 ? NULL : names[i - 1], "s", i, i + 1, 0});
    }
    assert_int_equal(cli_tree_of(buf_slice(&b), &a, &t, &d), ERR_OK);
    assert_int_equal(t.count, DEPTH);
    buf_reset(&b);
    cli_tree_put_branch(&t, t.listed[DEPTH - 1], &b);
    assert_true(slice_eq_str(buf_slice(&b), "…19999          └─ "));
    buf_reset(&b);
    cli_tree_put_branch(&t, t.listed[16], &b);
    assert_true(slice_has_prefix(buf_slice(&b), SLICE_LIT("   ")));
    buf_release(&b);
    arena_release(&a);
}

static void test_what_is_no_trace(void **state)
{
    struct err_detail d = {0};
    struct cli_tree t;
    struct arena a;
    (void)state;

    arena_init(&a, NULL);
    assert_int_equal(cli_tree_of(SLICE_NONE, &a, &t, &d), ERR_OK);
    assert_int_equal(t.count, 0);
    assert_int_equal(cli_tree_of(SLICE_LIT("\x0a\x7f"), &a, &t, &d), ERR_FORMAT);
    assert_true(d.text[0] != '\0');
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_children_by_start), cmocka_unit_test(test_parents_that_are_not_there),
        cmocka_unit_test(test_equal_ids),         cmocka_unit_test(test_deep),
        cmocka_unit_test(test_what_is_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
