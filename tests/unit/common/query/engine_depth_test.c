/* The deepest queries that the parser accepts, run by the engine on a thread with the stack that threads have. */
#include "common/query/engine.h"
#include "common/sys/thread.h"
#include "tests/lib/fake_segment.h"
#include "tests/lib/test.h"

/* before, `count` times unit, after */
struct row {
    const char *before, *unit, *after;
    unsigned count;
    uint32_t matched;
};

static const struct row rows[] = {
    {"{ .none = 1", " || .a = 1", " }", 2046, 1},
    {"{ .a = 1", " && .a = 1", " }", 2046, 1},
    {"{ .none", " || .none", " || .a = 1 }", 4092, 1},
    {"{ .a", " || .b && .c", " || .a = 1 }", 2040, 1},
    {"{ .a = 0", " + .a", " }", 511, 0},
    {"{ (.a", " + .a", ") = 501 }", 500, 1},
    {"{ (.a", " || .a = 1", ") = true }", 500, 1},
    {"{ !(.none", " || .none", ") }", 4090, 1},
    {"{ event.none", " || event.none", " || .a = 1 }", 4092, 1},
    {"{ event.none", " || link.none || event.none", " || .a = 1 }", 2040, 1},
    {"{ event:name = `x`", " || event.a = 1", " || .a = 1 }", 2040, 1},
    {"{ event:name != nil", " && link.a = 1 || .a = 1", " }", 1000, 1},
    {"{ ", "!", "(.a = 1) }", 240, 1},
    {"{ .a", " && (.b || !.c)", " || .a = 1 }", 1300, 1},
    {"{ .a ^ 0", " ^ 1", " = 1 }", 240, 1},
    {"{ .a = 1 }", " || { .none }", "", 119, 1},
    {"{ .a = 1 }", " | { .a = 1 }", "", 1000, 1},
};

struct work {
    unsigned wrong;
    struct segment *segment;
};

static void run_row(struct work *w, const struct row *row)
{
    struct buf text;
    struct arena a;
    struct ql_query *ql = NULL;
    struct err_detail detail = {0};
    struct search_result result = {0};

    buf_init(&text, 1 << 20);
    arena_init(&a, NULL);
    buf_append_str(&text, row->before);
    for (unsigned i = 0; i < row->count; i++)
        buf_append_str(&text, row->unit);
    buf_append_str(&text, row->after);
    enum err e = ql_parse(&a, buf_slice(&text), &ql, &detail);
    if (e == ERR_OK) {
        struct engine_query q = {.ql = ql, .limit = 10, .spans_per_spanset = 3};
        e = engine_search(w->segment, &q, &a, &result);
    }
    if (e != ERR_OK || result.trace_count != row->matched) {
        print_error("%u times \"%s\": %s %s, %u traces\n", row->count, row->unit, err_name(e),
                    detail.text, result.trace_count);
        w->wrong++;
    }
    ql_release(ql);
    buf_release(&text);
    arena_release(&a);
}

static void run_rows(void *arg)
{
    struct work *w = arg;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run_row(w, &rows[i]);
}

static void test_depth(void **state)
{
    struct fake_attr attr = {.key = SLICE_LIT("a"), .value = value_int(1)};
    struct fake_attrs attrs = {&attr, 1}, none = {0};
    struct trace_id trace = {{1}};
    struct fake_event event = {.time_ns = 5, .name = SLICE_LIT("e")};
    struct fake_span span = {.id = {{1}},
                             .start_ns = 1,
                             .duration_ns = 2,
                             .name = SLICE_LIT("n"),
                             .attrs = attrs,
                             .events = &event,
                             .event_count = 1};
    struct fake_scope scope = {0};
    struct fake_data data = {.traces = &trace,
                             .trace_count = 1,
                             .resources = &none,
                             .resource_count = 1,
                             .scopes = &scope,
                             .scope_count = 1,
                             .spans = &span,
                             .span_count = 1};
    struct work w = {.segment = fake_segment_new(&data)};
    pthread_t thread;

    (void)state;
    assert_int_equal(thread_start(&thread, "query", run_rows, &w), ERR_OK);
    thread_join(thread);
    segment_close(w.segment);
    assert_int_equal(w.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_depth)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
