#include "common/cli/cli_table.h"
#include "common/cli/cli_text.h"
#include "tests/lib/test.h"

static const struct cli_column columns[] = {
    {"ID", false, false}, {"MS", true, false}, {"SERVICE", false, true}, {"NAME", false, true}};

struct fixture {
    struct arena arena;
    struct cli_table table;
    struct buf out;
    char text[4096];
};

static void begin(struct fixture *f)
{
    arena_init(&f->arena, NULL);
    cli_table_init(&f->table, &f->arena, columns, 4);
    buf_init(&f->out, sizeof f->text - 1);
}

static void row(struct fixture *f, const char *id, const char *ms, const char *service,
                const char *name)
{
    cli_table_row(&f->table, (const struct slice[]){slice_str(id), slice_str(ms),
                                                    slice_str(service), slice_str(name)});
}

static const char *written(struct fixture *f, size_t width)
{
    cli_table_write(&f->table, width, &f->out);
    assert_int_equal(buf_err(&f->out), ERR_OK);
    memcpy(f->text, f->out.ptr, f->out.len);
    f->text[f->out.len] = '\0';
    buf_reset(&f->out);
    return f->text;
}

static void end(struct fixture *f)
{
    assert_int_equal(arena_err(&f->arena), ERR_OK);
    arena_release(&f->arena);
    buf_release(&f->out);
}

static void test_columns_are_as_wide_as_what_is_in_them(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    row(&f, "abcd", "5", "日本", "GET /");
    row(&f, "e", "1234", "cart", "");
    cli_table_line(&f.table, slice_str("  below e"));
    assert_string_equal(written(&f, 0), "ID      MS  SERVICE  NAME\n"
                                        "abcd     5  日本     GET /\n"
                                        "e     1234  cart\n"
                                        "  below e\n");
    end(&f);
}

static void test_flexible_columns_are_cut(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    row(&f, "0123456789abcdef", "100", "a-service-with-a-long-name",
        "and an operation, longer than that");
    cli_table_line(&f.table, slice_str("  a line that is longer than the terminal has columns"));
    assert_string_equal(written(&f, 50), "ID                 MS  SERVICE       NAME\n"
                                         "0123456789abcdef  100  a-service-w…  and an opera…\n"
                                         "  a line that is longer than the terminal has col…\n");
    row(&f, "an id that is longer", "7", "s", "n"); /* never cut, and the widths stay */
    assert_string_equal(written(&f, 50), "an id that is longer    7  s             n\n");
    end(&f);
}

static void test_rows_that_follow_have_room(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    f.table.has_follow = true;
    row(&f, "a", "1", "s", "n");
    assert_string_equal(written(&f, 40),
                        "ID  MS  SERVICE           NAME\na    1  s                 n\n");
    row(&f, "b", "2", "another-service", "another operation");
    assert_string_equal(written(&f, 40), "b    2  another-service   another opera…\n");
    assert_string_equal(written(&f, 40), "");
    end(&f);
}

static void test_cells_are_safe(void **state)
{
    struct fixture f;
    (void)state;

    begin(&f);
    row(&f, "\x1b[2J", "\n", "\xff", "x\ry");
    assert_string_equal(written(&f, 0), "ID       MS  SERVICE  NAME\n"
                                        "\\x1b[2J  \\n  \\xff     x\\ry\n");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_are_as_wide_as_what_is_in_them),
        cmocka_unit_test(test_flexible_columns_are_cut),
        cmocka_unit_test(test_rows_that_follow_have_room),
        cmocka_unit_test(test_cells_are_safe),
    };
    cli_text_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
