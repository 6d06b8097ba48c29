/* Every allocation of reading an answer, and of writing it as a table, fails once: an error, nothing left behind; the next try works. */
#include "common/cli/cli_answer.h"
#include "common/cli/cli_message.h"
#include "common/cli/cli_table.h"
#include "common/cli/cli_text.h"
#include "common/cli/cli_tree.h"
#include "common/codec/otlp_write.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"

enum { BYTES_MAX = 4 << 20, TRACES = 40 };

static struct buf message, otlp;

static void check(enum err e)
{
    /* The JSON library has no word for memory that is out: its document is then not one. */
    if (alloc_sweep_has_failed())
        assert_true(e == ERR_OK || e == ERR_NOMEM || e == ERR_FORMAT);
    else
        assert_int_equal(e, ERR_OK);
}

static enum err as_table(struct arena *a, const struct cli_answer *answer)
{
    static const struct cli_column columns[] = {{"ID", false, false}, {"NAME", false, true}};
    struct cli_table t;
    struct buf out;

    buf_init(&out, BYTES_MAX);
    cli_table_init(&t, a, columns, 2);
    for (uint32_t i = 0; i < answer->found_count; i++)
        cli_table_row(&t, (const struct slice[]){answer->found[i].trace_id, answer->found[i].name});
    cli_table_write(&t, 40, &out);
    enum err e = arena_err(a) != ERR_OK ? arena_err(a) : buf_err(&out);
    if (e == ERR_OK)
        assert_int_equal(out.ptr[out.len - 1], '\n');
    buf_release(&out);
    return e;
}

static void sweep_answer(void *arg)
{
    struct cli_answer answers[2], joined;
    struct budget budget;
    struct json_out j;
    struct arena a;
    struct buf json;
    (void)arg;

    budget_init(&budget, SIZE_MAX, NULL);
    arena_init(&a, &budget);
    buf_init(&json, BYTES_MAX);
    json_out_init(&j, &json);
    enum err e = cli_message_to_json(CLI_MESSAGE_SEARCH, buf_slice(&message), &j);
    for (unsigned i = 0; i < 2 && e == ERR_OK; i++)
        e = cli_answer_from_json(buf_slice(&json), &a, &answers[i], NULL);
    if (e == ERR_OK)
        e = cli_answer_join(answers, 2, &a, &joined);
    if (e == ERR_OK)
        e = as_table(&a, &joined);
    check(e);
    if (e == ERR_OK && !alloc_sweep_has_failed())
        assert_int_equal(joined.found_count, TRACES);
    buf_release(&json);
    arena_release(&a);
    assert_int_equal(budget_used(&budget), 0);
}

static void sweep_tree(void *arg)
{
    struct budget budget;
    struct cli_tree t;
    struct arena a;
    (void)arg;

    budget_init(&budget, SIZE_MAX, NULL);
    arena_init(&a, &budget);
    enum err e = cli_tree_of(buf_slice(&otlp), &a, &t, NULL);
    check(e);
    if (e == ERR_OK)
        assert_true(t.count > 0);
    arena_release(&a);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_answers(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(sweep_answer, NULL) > 50);
}

static void test_trees(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(sweep_tree, NULL) >= 1);
}

static int set_up(void **state)
{
    (void)state;
    char id[16];

    buf_init(&message, BYTES_MAX);
    for (unsigned i = 0; i < TRACES; i++) {
        size_t trace = pb_begin(&message, 1);
        (void)snprintf(id, sizeof id, "%x", i);
        pb_bytes(&message, 1, slice_str(id));
        pb_bytes(&message, 3, slice_str("an operation with \x1b in it"));
        pb_end(&message, trace);
    }
    buf_init(&otlp, BYTES_MAX);
    for (unsigned i = 0; i < 3; i++) {
        size_t resource_spans = pb_begin(&otlp, 1), scope_spans = pb_begin(&otlp, 2),
               span = pb_begin(&otlp, 2);
        pb_bytes(&otlp, 2, slice_str("12345678"));
        pb_end(&otlp, span);
        pb_end(&otlp, scope_spans);
        pb_end(&otlp, resource_spans);
    }
    cli_text_init();
    return buf_err(&message) == ERR_OK && buf_err(&otlp) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    buf_release(&message);
    buf_release(&otlp);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_trees),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
