/* Files of pyarrow, each of the same 700 rows in other encodings, compressions and page versions (tests/data/tempo/README.md); damage. */
#include "common/parquet/parquet.h"
#include "common/sys/fs.h"
#include "tests/lib/test.h"

#include <stdlib.h>

enum { ROWS = 700 };
#define FOLDER "tests/data/parquet/"

static enum err read_buf(void *arg, uint64_t offset, void *ret, size_t len)
{
    const struct buf *b = arg;
    if (offset > b->len || len > b->len - offset)
        return ERR_CORRUPT;
    if (len != 0)
        memcpy(ret, b->ptr + offset, len);
    return ERR_OK;
}

static void load(const char *path, struct buf *ret)
{
    buf_init(ret, 1 << 20);
    if (fs_read_file(path, ret) != ERR_OK)
        fail_msg("%s (run from the root of the repository)", path);
}

struct columns {
    uint32_t i32, i64, maybe, d, b, text, word, list, deep, n, texts;
};

static enum err open_all(struct buf *b, struct budget *budget, struct parquet_file **ret,
                         struct columns *c, struct err_detail *detail)
{
    struct parquet_source source = {b, read_buf, b->len};
    enum err e = parquet_open(&source, budget, ret, detail);
    if (e != ERR_OK)
        return e;
    struct parquet_node *root = parquet_root(*ret), *deep = parquet_child(root, "deep", &c->deep);
    const struct {
        const char *name;
        uint32_t *index;
        struct parquet_node *parent;
    } all[] = {{"i32", &c->i32, root},    {"i64", &c->i64, root},   {"maybe", &c->maybe, root},
               {"d", &c->d, root},        {"b", &c->b, root},       {"text", &c->text, root},
               {"word", &c->word, root},  {"list", &c->list, root}, {"n", &c->n, deep},
               {"texts", &c->texts, deep}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (parquet_child(all[i].parent, all[i].name, all[i].index) == NULL) {
            parquet_close(*ret);
            return ERR_NOT_FOUND;
        }
    parquet_want(root);
    return ERR_OK;
}

static void check_text(struct slice got, const char *want)
{
    if (!slice_eq_str(got, want))
        fail_msg("\"%.*s\" is not \"%s\"", (int)got.len, (const char *)got.ptr, want);
}

static void check_lists(const struct parquet_value *v, const struct columns *c, int64_t i)
{
    char text[40];
    const struct parquet_value *list = &v[c->list], *deep = &v[c->deep];
    assert_int_equal(list->count, i % 4);
    for (int64_t k = 0; k < i % 4; k++)
        assert_int_equal(list->items[k].i, i * 10 + k);
    assert_int_equal(deep->count, i % 3);
    for (int64_t k = 0; k < i % 3; k++) {
        const struct parquet_value *fields = deep->items[k].items;
        assert_int_equal(fields[c->n].i, k);
        assert_int_equal(fields[c->texts].count, (i + k) % 3);
        for (int64_t m = 0; m < (i + k) % 3; m++) {
            (void)snprintf(text, sizeof text, "t%d", (int)m);
            check_text(fields[c->texts].items[m].s, text);
        }
    }
}

static void check_row(const struct parquet_value *v, const struct columns *c, int64_t i)
{
    char text[40];
    assert_int_equal(v[c->i32].i, i * 7919 % 100003 - 50000);
    assert_int_equal(v[c->i64].i, i * i * i * 1000003 - ((int64_t)1 << 40));
    assert_int_equal(v[c->maybe].is_there, i % 3 != 0);
    if (i % 3 != 0)
        assert_int_equal(v[c->maybe].i, i);
    assert_true(v[c->d].d == (double)i / 8);
    assert_int_equal(v[c->b].i, i % 5 == 0);
    (void)snprintf(text, sizeof text, "prefix-%03d-%.*s", (int)(i / 4), (int)(i % 4), "xxx");
    check_text(v[c->text].s, text);
    (void)snprintf(text, sizeof text, "word-%d", (int)(i % 13));
    check_text(v[c->word].s, text);
    check_lists(v, c, i);
}

static void check_file(const char *path)
{
    struct buf b;
    struct budget budget;
    struct parquet_file *f = NULL;
    struct columns c;
    struct err_detail detail = {0};
    const struct parquet_value *row;
    load(path, &b);
    budget_init(&budget, 64 << 20, NULL);
    if (open_all(&b, &budget, &f, &c, &detail) != ERR_OK)
        fail_msg("%s: %s", path, detail.text);
    assert_int_equal(parquet_row_count(f), ROWS);
    for (int64_t i = 0; i < ROWS; i++) {
        if (parquet_next(f, &row, &detail) != ERR_OK)
            fail_msg("%s: row %d: %s", path, (int)i, detail.text);
        check_row(row->items, &c, i);
    }
    assert_int_equal(parquet_next(f, &row, &detail), ERR_OK);
    assert_null(row);
    parquet_close(f);
    assert_int_equal(budget_used(&budget), 0);
    buf_release(&b);
}

static void test_all_encodings(void **state)
{
    (void)state;
    check_file(FOLDER "v1-snappy.parquet");
    check_file(FOLDER "v1-none-delta.parquet");
    check_file(FOLDER "v2-zstd-delta.parquet");
    check_file(FOLDER "v2-gzip.parquet");
}

static void test_only_what_is_wanted_is_read(void **state)
{
    struct buf b;
    struct parquet_file *f = NULL;
    const struct parquet_value *row;
    uint32_t deep, n;
    (void)state;
    load(FOLDER "v1-snappy.parquet", &b);
    struct parquet_source source = {&b, read_buf, b.len};
    assert_int_equal(parquet_open(&source, NULL, &f, NULL), ERR_OK);
    struct parquet_node *node = parquet_child(parquet_root(f), "deep", &deep);
    parquet_want(parquet_child(node, "n", &n));
    for (int64_t i = 0; i < ROWS; i++) {
        assert_int_equal(parquet_next(f, &row, NULL), ERR_OK);
        assert_int_equal(row->items[deep].count, i % 3);
        for (uint32_t k = 0; k < row->items[deep].count; k++)
            assert_int_equal(row->items[deep].items[k].items[n].i, k);
        for (uint32_t k = 0; k < deep; k++)
            assert_false(row->items[k].is_there);
    }
    parquet_close(f);
    buf_release(&b);
}

/* Reads it whole; the answer. */
static enum err read_all(struct buf *b, struct budget *budget, struct err_detail *detail)
{
    struct parquet_file *f = NULL;
    struct columns c;
    const struct parquet_value *row = NULL;
    enum err e = open_all(b, budget, &f, &c, detail);
    if (e != ERR_OK)
        return e;
    do {
        e = parquet_next(f, &row, detail);
    } while (e == ERR_OK && row != NULL);
    parquet_close(f);
    return e;
}

static void check_damage(const char *path, size_t step, bool is_checked)
{
    struct buf b;
    struct budget budget;
    struct err_detail detail;
    load(path, &b);
    budget_init(&budget, 64 << 20, NULL);
    for (size_t i = 0; i < b.len; i += step) {
        b.ptr[i] ^= 0x41;
        detail = (struct err_detail){0};
        enum err e = read_all(&b, &budget, &detail);
        if (e == ERR_CORRUPT || e == ERR_UNSUPPORTED)
            assert_true(detail.text[0] != '\0');
        else
            assert_true(e == ERR_OK || e == ERR_LIMIT || e == ERR_NOT_FOUND);
        /* Between the first bytes and the footer lie pages, and all of a page but its header is under its checksum. */
        if (is_checked && i > 100 && i < 1000)
            assert_int_not_equal(e, ERR_OK);
        b.ptr[i] ^= 0x41;
        assert_int_equal(budget_used(&budget), 0);
    }
    for (size_t cut = 1; cut < b.len; cut += 97) {
        b.len -= cut;
        assert_int_not_equal(read_all(&b, &budget, NULL), ERR_OK);
        b.len += cut;
    }
    buf_release(&b);
}

static void test_damage_is_an_error_or_other_values(void **state)
{
    (void)state;
    check_damage(FOLDER "v1-none-delta.parquet", 7, true);
    check_damage(FOLDER "v2-zstd-delta.parquet", 5, false);
    check_damage(FOLDER "v2-gzip.parquet", 11, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_encodings),
        cmocka_unit_test(test_only_what_is_wanted_is_read),
        cmocka_unit_test(test_damage_is_an_error_or_other_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
