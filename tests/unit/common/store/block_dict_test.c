/* Looking for one text: in dictionaries of many chunks, in plain columns with filters, in arrays; what is found, and how little is read. */
#include "common/base/rng.h"
#include "common/codec/otlp_write.h"
#include "common/store/block.h"
#include "common/store/block_reader.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

enum { SPANS = 40000, USERS = 9000, SPANS_A_TRACE = 8 };

static void put_text(struct buf *b, const char *key, const char *text)
{
    size_t kv = pb_begin(b, 9);
    pb_bytes(b, 1, slice_str(key));
    size_t any = pb_begin(b, 2);
    pb_bytes(b, 1, slice_str(text));
    pb_end(b, any);
    pb_end(b, kv);
}

static void put_array(struct buf *b, const char *key, const char *text)
{
    size_t kv = pb_begin(b, 9);
    pb_bytes(b, 1, slice_str(key));
    size_t any = pb_begin(b, 2), array = pb_begin(b, 5), item = pb_begin(b, 1);
    pb_bytes(b, 1, slice_str(text));
    pb_end(b, item);
    pb_end(b, array);
    pb_end(b, any);
    pb_end(b, kv);
}

/* Texts of a user come in two kinds: those that differ in their first bytes, and those that are long and alike. */
static void user_text(uint32_t n, char *ret, size_t size)
{
    if (n % 2 == 0)
        (void)snprintf(ret, size, "%u-user", n * 7919 % USERS);
    else
        (void)snprintf(ret, size, "the-same-beginning-of-many-texts-%06u", n);
}

static void put_span(struct buf *b, uint32_t i, uint32_t user)
{
    uint8_t trace_id[TRACE_ID_BYTES] = {1};
    uint64_t span_id = i + 1;
    char text[80];
    uint32_t trace = i / SPANS_A_TRACE;
    memcpy(trace_id + 4, &trace, sizeof trace);
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, (struct slice){trace_id, sizeof trace_id});
    pb_bytes(b, 2, (struct slice){(const uint8_t *)&span_id, sizeof span_id});
    pb_bytes(b, 5, slice_str(i % 3 == 0 ? "GET" : "POST"));
    pb_fixed64(b, 7, 1700000000000000000 + i * 1000ull);
    pb_fixed64(b, 8, 1700000000000000000 + i * 1000ull + 500);
    user_text(user, text, sizeof text);
    put_text(b, "user", text);
    if (i % 2 == 0) {
        (void)snprintf(text, sizeof text, "request-%u", i);
        put_text(b, "unique", text);
    }
    if (i % 1000 == 0)
        put_array(b, "user", text);
    pb_end(b, span);
}

static struct block *make_block(struct buf *bytes)
{
    struct head *h = NULL;
    struct head_append_result r;
    struct segment *s = NULL;
    struct block_meta meta = {.id = "b", .tenant = "t", .writer = "w"};
    struct rng rng;
    struct object *o;
    struct block *b = NULL;
    struct buf request;
    void *dir = NULL;
    buf_init(&request, 1u << 28);
    rng_init(&rng, 3);
    size_t rs = pb_begin(&request, 1), ss = pb_begin(&request, 2);
    for (uint32_t i = 0; i < SPANS; i++)
        put_span(&request, i, i < 100 ? i : (uint32_t)rng_below(&rng, USERS));
    pb_end(&request, ss);
    pb_end(&request, rs);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    assert_int_equal(head_append(h, buf_slice(&request), false, 1, &r), ERR_OK);
    assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
    assert_int_equal(tmpdir_setup(&dir), 0);
    const char *path = tmpdir_path(&dir, "data.vvb");
    assert_int_equal(block_write(path, &s, 1, NULL, NULL, NULL, &meta), ERR_OK);
    buf_init(bytes, 1u << 28);
    assert_int_equal(fs_read_file(path, bytes), ERR_OK);
    assert_int_equal(tmpdir_teardown(&dir), 0);
    segment_close(s);
    head_unref(h);
    buf_release(&request);
    assert_int_equal(object_memory(buf_slice(bytes), &o), ERR_OK);
    assert_int_equal(block_open(o, NULL, &b), ERR_OK);
    assert_true(block_group_count(b) > 2);
    return b;
}

/* Both ways of asking give the same rows; returns how many. */
static uint32_t check_text(struct block *b, uint32_t g, const char *key, struct slice text)
{
    struct segment *whole = NULL, *one = NULL;
    const struct seg_column *all, *found;
    uint32_t all_count, found_count, rows = 0;
    assert_int_equal(block_segment(b, g, NULL, &whole), ERR_OK);
    assert_int_equal(block_segment(b, g, NULL, &one), ERR_OK);
    assert_int_equal(segment_attribute(whole, SEG_SPAN, slice_str(key), &all, &all_count), ERR_OK);
    assert_int_equal(
        segment_attribute_equal(one, SEG_SPAN, slice_str(key), text, &found, &found_count), ERR_OK);
    const struct seg_column *strs = NULL, *anys = NULL, *found_any = NULL, *found_str = NULL;
    for (uint32_t i = 0; i < all_count; i++)
        *(all[i].type == SEG_STR ? &strs : &anys) = &all[i];
    for (uint32_t i = 0; i < found_count; i++)
        *(found[i].type == SEG_STR ? &found_str : &found_any) = &found[i];
    assert_non_null(strs);
    for (uint32_t i = 0; i < strs->count; i++) {
        if (!slice_eq(strs->values[strs->codes[i]], text))
            continue;
        assert_non_null(found_str);
        assert_true(rows < found_str->count);
        assert_int_equal(found_str->rows[rows], strs->rows[i]);
        assert_true(slice_eq(found_str->values[found_str->codes[rows]], text));
        rows++;
    }
    assert_int_equal(found_str == NULL ? 0 : found_str->count, rows);
    assert_true(anys == NULL || (found_any != NULL && found_any->count == anys->count));
    assert_true(rows == 0 || block_group_may_have(b, g, SEG_SPAN, slice_str(key), &text));
    segment_close(whole);
    segment_close(one);
    return rows;
}

static void test_one_text(void **state)
{
    (void)state;
    struct buf bytes;
    struct block *b = make_block(&bytes);
    const struct block_index *x = &b->index;
    char text[80];
    uint32_t found = 0, unique = 0, chunks = 0, filters = 0;
    for (uint32_t i = 0; i < x->dict_count; i++)
        chunks = x->dicts[i].chunk_count > chunks ? x->dicts[i].chunk_count : chunks;
    for (uint32_t c = 0; c < x->column_count[SEG_SPAN]; c++)
        filters += x->columns[SEG_SPAN][c].filters != NULL &&
                   x->columns[SEG_SPAN][c].filters[0].page_count > 1;
    assert_true(chunks > 2); /* else this test tells little */
    assert_int_equal(filters, 1);
    for (uint32_t g = 0; g < block_group_count(b); g++) {
        for (uint32_t user = 0; user < USERS; user += user < 60 ? 1 : 97) {
            user_text(user, text, sizeof text);
            found += check_text(b, g, "user", slice_str(text));
            (void)check_text(b, g, "user", slice_sub(slice_str(text), 0, strlen(text) - 1));
            text[strlen(text) - 1]++;
            (void)check_text(b, g, "user", slice_str(text));
            (void)snprintf(text, sizeof text, "request-%u", user * 4);
            unique += check_text(b, g, "unique", slice_str(text));
        }
        assert_int_equal(check_text(b, g, "user", SLICE_LIT("")), 0);
        assert_int_equal(check_text(b, g, "user", SLICE_LIT("\xff\xff")), 0);
    }
    assert_true(found > 100);
    assert_true(unique > 100);
    block_unref(b);
    buf_release(&bytes);
}

/* Nobody has the text: what is read does not grow with the groups. */
static void test_absent_reads_little(void **state)
{
    (void)state;
    struct buf bytes;
    struct block *b = make_block(&bytes);
    static const char *const keys[] = {"user", "unique"};
    for (size_t k = 0; k < 2; k++) {
        uint64_t before = block_read_bytes(b), first = 0;
        for (uint32_t g = 0; g < block_group_count(b); g++) {
            struct slice text = SLICE_LIT("the-same-beginning-of-no-text");
            (void)block_group_may_have(b, g, SEG_SPAN, slice_str(keys[k]), &text);
            first = g == 0 ? block_read_bytes(b) - before : first;
        }
        assert_true(first > 0);
        assert_true(first * 20 < bytes.len);
        assert_int_equal(block_read_bytes(b) - before, first);
    }
    block_unref(b);
    buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_text),
                                       cmocka_unit_test(test_absent_reads_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
