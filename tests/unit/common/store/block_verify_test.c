/* A sound block is found sound; any changed byte is found, with its place; what no checksum sees is found between pages. */
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/store/block_inspect.h"
#include "common/store/block_priv.h"
#include "common/store/block_reader.h"
#include "common/store/block_walk.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

enum { PAGE_HEADER = 20 };

static void make_block(uint64_t seed, bool is_odd, uint32_t spans, struct buf *ret)
{
    struct otlp_gen g;
    struct head *h = NULL;
    struct head_append_result r;
    struct segment *s = NULL;
    struct buf b;
    struct block_meta meta = {.id = "01234567-89ab-cdef-0123-456789abcdef", .tenant = "t"};
    void *dir = NULL;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, seed, 1700000000000000000);
    if (is_odd)
        otlp_gen_odd_request(&g, spans, &b);
    else
        otlp_gen_request(&g, spans, &b);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
    assert_int_equal(tmpdir_setup(&dir), 0);
    const char *path = tmpdir_path(&dir, "data.vvb");
    assert_int_equal(block_write(path, &s, 1, NULL, NULL, NULL, &meta), ERR_OK);
    buf_init(ret, 1u << 28);
    assert_int_equal(fs_read_file(path, ret), ERR_OK);
    assert_int_equal(tmpdir_teardown(&dir), 0);
    segment_close(s);
    head_unref(h);
    otlp_gen_release(&g);
    buf_release(&b);
}

static struct block *open_bytes(struct slice bytes)
{
    struct object *o;
    struct block *b = NULL;
    assert_int_equal(object_memory(bytes, &o), ERR_OK);
    return block_open(o, NULL, &b) == ERR_OK ? b : NULL;
}

struct seen {
    uint64_t damages, done, total;
    char last[512], all[4096];
};

static void damage(void *arg, const char *place, enum err e)
{
    struct seen *s = arg;
    assert_int_not_equal(e, ERR_OK);
    s->damages++;
    (void)snprintf(s->last, sizeof s->last, "%s", place);
    size_t at = strlen(s->all);
    (void)snprintf(s->all + at, sizeof s->all - at, "%s\n", place);
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
    struct seen *s = arg;
    assert_true(done >= s->done && done <= total);
    s->done = done;
    s->total = total;
}

static enum err verify(struct block *b, struct seen *s, struct block_verify_result *r)
{
    struct block_verify_hooks hooks = {damage, progress, s};
    *s = (struct seen){0};
    enum err e = block_verify(b, NULL, &hooks, r);
    assert_int_equal(r->damages, s->damages);
    assert_int_equal(e, s->damages == 0 ? ERR_OK : ERR_CORRUPT);
    return e;
}

static void check_sound(uint64_t seed, bool is_odd, uint32_t spans)
{
    struct buf bytes;
    struct seen s;
    struct block_verify_result r;
    make_block(seed, is_odd, spans, &bytes);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_non_null(b);
    if (verify(b, &s, &r) != ERR_OK)
        fail_msg("%s", s.all);
    assert_int_equal(r.spans, block_meta(b)->span_count);
    assert_int_equal(r.traces, block_meta(b)->trace_count);
    assert_int_equal(r.groups, block_group_count(b));
    assert_true(r.pages > 20 && s.done > bytes.len);
    block_unref(b);
    buf_release(&bytes);
}

static void test_sound(void **state)
{
    (void)state;
    check_sound(1, false, 200);
    check_sound(2, true, 200);
    check_sound(3, false, 40000); /* several groups */
}

/* No byte of a block is without effect. */
static void test_every_byte(void **state)
{
    struct buf bytes;
    struct seen s;
    struct block_verify_result r;
    (void)state;
    make_block(4, false, 12, &bytes);
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.ptr[i] ^= 0x10;
        struct block *b = open_bytes(buf_slice(&bytes));
        if (b != NULL && verify(b, &s, &r) == ERR_OK)
            fail_msg("byte %zu of %zu", i, bytes.len);
        block_unref(b);
        bytes.ptr[i] ^= 0x10;
    }
    buf_release(&bytes);
}

struct wanted { /* a page to be found */
    enum block_part_class class;
    uint32_t number;
    struct block_ref ref;
};

static enum err want(void *arg, const struct block_walk_page *p)
{
    struct wanted *w = arg;
    if (p->class == w->class && p->number == w->number && w->ref.bytes == 0)
        w->ref = p->ref;
    return ERR_OK;
}

/* Changes a byte of what a page holds and makes its checksum right again: only what stands elsewhere can tell. */
static void forge(struct buf *bytes, enum block_part_class class, uint32_t number, size_t at,
                  uint8_t flip)
{
    struct wanted w = {.class = class, .number = number};
    struct block *b = open_bytes(buf_slice(bytes));
    assert_non_null(b);
    assert_int_equal(block_walk(&b->index, want, &w), ERR_OK);
    block_unref(b);
    assert_true(w.ref.bytes > PAGE_HEADER + at);
    uint8_t *page = bytes->ptr + w.ref.offset;
    page[PAGE_HEADER + at] ^= flip;
    le32_write(page, crc32c((struct slice){page + 4, w.ref.bytes - 4}));
}

static void check_forged(enum block_part_class class, uint32_t number, size_t at, uint8_t flip,
                         const char *word)
{
    struct buf bytes;
    struct seen s;
    struct block_verify_result r;
    make_block(5, false, 60, &bytes);
    forge(&bytes, class, number, at, flip);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_non_null(b);
    assert_int_equal(verify(b, &s, &r), ERR_CORRUPT);
    if (strstr(s.all, word) == NULL)
        fail_msg("\"%s\" is not in: %s", word, s.all);
    block_unref(b);
    buf_release(&bytes);
}

static void test_between_pages(void **state)
{
    (void)state;
    check_forged(BLOCK_PART_STREAM, BLOCK_TRACE_ID, 15, 1, "locator");
    check_forged(BLOCK_PART_STREAM, BLOCK_TRACE_FLAGS, 1, 1, "may have more elsewhere");
    check_forged(BLOCK_PART_STREAM, BLOCK_TRACE_LENGTH, 2, 1, "start and end");
}

/* A filter that forgets a text hides spans from queries. */
static void test_filter(void **state)
{
    struct buf bytes;
    struct seen s;
    struct block_verify_result r;
    (void)state;
    make_block(8, false, 2000, &bytes);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_non_null(b);
    uint32_t column = 0;
    while (b->index.columns[SEG_SPAN][column].filters == NULL ||
           b->index.columns[SEG_SPAN][column].filters[0].page_count == 0)
        assert_true(++column < b->index.column_count[SEG_SPAN]);
    block_unref(b);
    forge(&bytes, BLOCK_PART_FILTER, column, 40, 1);
    b = open_bytes(buf_slice(&bytes));
    assert_non_null(b);
    assert_int_equal(verify(b, &s, &r), ERR_CORRUPT);
    assert_non_null(strstr(s.all, "not found"));
    block_unref(b);
    buf_release(&bytes);
}

static void test_the_place_of_damage(void **state)
{
    struct buf bytes;
    struct seen s;
    struct block_verify_result r;
    struct wanted w = {.class = BLOCK_PART_COLUMN, .number = 0};
    char place[64];
    (void)state;
    make_block(6, false, 60, &bytes);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_non_null(b);
    assert_int_equal(block_walk(&b->index, want, &w), ERR_OK);
    block_unref(b);
    bytes.ptr[w.ref.offset + w.ref.bytes - 1] ^= 1;
    b = open_bytes(buf_slice(&bytes));
    assert_int_equal(verify(b, &s, &r), ERR_CORRUPT);
    (void)snprintf(place, sizeof place, "group 0: span attribute \"");
    assert_memory_equal(s.all, place, strlen(place));
    (void)snprintf(place, sizeof place, "page of %u bytes at %llu", w.ref.bytes,
                   (unsigned long long)w.ref.offset);
    assert_non_null(strstr(s.all, place));
    block_unref(b);
    buf_release(&bytes);
}

static enum err add_up(void *arg, const struct block_part *p)
{
    uint64_t *sum = arg;
    assert_true(p->pages > 0 && p->stored_bytes > 0);
    *sum += p->stored_bytes;
    return ERR_OK;
}

/* Everything in the file has its place in the list. */
static void test_inspect(void **state)
{
    struct buf bytes;
    struct block_summary sum;
    uint64_t total = 0;
    (void)state;
    make_block(7, true, 300, &bytes);
    struct block *b = open_bytes(buf_slice(&bytes));
    assert_int_equal(block_inspect(b, NULL, add_up, &total), ERR_OK);
    assert_int_equal(total, bytes.len);
    block_summary(b, &sum);
    assert_int_equal(sum.groups, block_group_count(b));
    assert_true(sum.columns[SEG_SPAN] > 0 && sum.shapes[SEG_SPAN] > 0 && sum.events > 0);
    block_unref(b);
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),         cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_between_pages), cmocka_unit_test(test_the_place_of_damage),
        cmocka_unit_test(test_filter),        cmocka_unit_test(test_inspect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
