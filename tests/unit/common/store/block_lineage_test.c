#include "common/store/block_lineage.h"
#include "tests/lib/test.h"

static struct block_meta meta_of(const char *id, const char *writer, uint64_t lo, uint64_t hi)
{
    struct block_meta m = {.tenant = "t", .lsn_lo = lo, .lsn_hi = hi, .version = BLOCK_VERSION};
    (void)snprintf(m.id, sizeof m.id, "%s", id);
    (void)snprintf(m.writer, sizeof m.writer, "%s", writer);
    return m;
}

static void add(struct block_lineage *l, const char *id, const char *writer, uint64_t lo,
                uint64_t hi, struct arena *a)
{
    struct block_meta m = meta_of(id, writer, lo, hi);
    assert_int_equal(block_lineage_add(l, &m, &(struct block_lineage){0}, a), ERR_OK);
}

/* Ranges that touch become one, others stay apart; a merged block hands on what it holds. */
static void test_add(void **state)
{
    struct block_lineage l = {0}, upper = {.compacted_ns = 9};
    struct arena a;
    (void)state;
    arena_init(&a, NULL);
    add(&l, "a", "i-0", 11, 20, &a);
    add(&l, "b", "i-1", 5, 6, &a);
    add(&l, "c", "i-0", 1, 10, &a);
    add(&l, "d", "i-0", 22, 30, &a);
    assert_int_equal(l.level, 1);
    assert_int_equal(l.from_count, 4);
    assert_string_equal(l.from[3].id, "d");
    assert_int_equal(l.holds_count, 3);
    assert_string_equal(l.holds[0].writer, "i-0");
    assert_int_equal(l.holds[0].lsn_lo, 1);
    assert_int_equal(l.holds[0].lsn_hi, 20);
    assert_int_equal(l.holds[1].lsn_lo, 22);
    assert_string_equal(l.holds[2].writer, "i-1");
    struct block_meta merged = meta_of("m", "", 0, 0);
    assert_int_equal(block_lineage_add(&upper, &merged, &l, &a), ERR_OK);
    assert_int_equal(upper.level, 2);
    assert_int_equal(upper.from_count, 1);
    assert_int_equal(upper.holds_count, 3);
    assert_int_equal(upper.compacted_ns, 9);
    arena_release(&a);
}

static void test_limits(void **state)
{
    struct block_lineage l = {0};
    struct arena a;
    struct block_meta m = meta_of("x", "i", 1, 1);
    (void)state;
    arena_init(&a, NULL);
    for (uint32_t i = 0; i < BLOCK_LINEAGE_FROM_MAX; i++)
        add(&l, "a", "i-0", i * 2 + 1, i * 2 + 1, &a);
    assert_int_equal(block_lineage_add(&l, &m, &(struct block_lineage){0}, &a), ERR_TOO_LARGE);
    assert_int_equal(l.from_count, BLOCK_LINEAGE_FROM_MAX);
    arena_release(&a);
}

static void test_json(void **state)
{
    struct block_lineage l = {.compacted_ns = UINT64_MAX - 1}, back;
    struct block_meta m = meta_of("00000000-0000-8000-8000-000000000001", "", 0, 0), meta;
    struct arena a;
    struct buf json;
    (void)state;
    arena_init(&a, NULL);
    buf_init(&json, 1 << 20);
    add(&l, "00000000-0000-8000-8000-00000000000a", "i-0", 11, 1ull << 62, &a);
    add(&l, "00000000-0000-8000-8000-00000000000b", "i \"1\"", 5, 6, &a);
    assert_int_equal(block_lineage_to_json(&m, &l, &json), ERR_OK);
    assert_int_equal(block_meta_from_json(buf_slice(&json), &meta, NULL), ERR_OK);
    assert_string_equal(meta.id, m.id);
    assert_int_equal(block_lineage_from_json(buf_slice(&json), &a, &back), ERR_OK);
    assert_int_equal(back.level, 1);
    assert_true(back.compacted_ns == l.compacted_ns);
    assert_int_equal(back.from_count, 2);
    assert_memory_equal(back.from, l.from, 2 * sizeof *l.from);
    assert_int_equal(back.holds_count, 2);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(back.holds[i].writer, l.holds[i].writer);
        assert_true(back.holds[i].lsn_hi == l.holds[i].lsn_hi);
    }
    /* One of a head has none. */
    buf_reset(&json);
    assert_int_equal(block_meta_to_json(&m, &json), ERR_OK);
    assert_int_equal(block_lineage_from_json(buf_slice(&json), &a, &back), ERR_OK);
    assert_int_equal(back.level, 0);
    assert_int_equal(back.from_count, 0);
    buf_release(&json);
    arena_release(&a);
}

static void test_wrong_json(void **state)
{
    static const char *const wrong[] = {
        "",
        "[",
        "{\"level\":-1,\"compacted_ns\":\"1\",\"compacted_from\":[],\"holds\":[]}",
        "{\"level\":1e9,\"compacted_ns\":\"1\",\"compacted_from\":[],\"holds\":[]}",
        "{\"level\":1,\"compacted_ns\":1,\"compacted_from\":[],\"holds\":[]}",
        "{\"level\":1,\"compacted_ns\":\"1\",\"compacted_from\":{},\"holds\":[]}",
        "{\"level\":1,\"compacted_ns\":\"1\",\"compacted_from\":[5],\"holds\":[]}",
        "{\"level\":1,\"compacted_ns\":\"1\",\"compacted_from\":[\"0123456789012345678901234567890123456\"],\"holds\":[]}",
        "{\"level\":1,\"compacted_ns\":\"1\",\"compacted_from\":[],\"holds\":[{}]}",
        "{\"level\":1,\"compacted_ns\":\"1\",\"compacted_from\":[],\"holds\":[{\"writer\":\"i\",\"lsn_lo\":\"1\"}]}",
        "{\"level\":1,\"compacted_ns\":\"1\",\"compacted_from\":[]}",
    };
    struct block_lineage l;
    struct arena a;
    (void)state;
    arena_init(&a, NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(block_lineage_from_json(slice_str(wrong[i]), &a, &l), ERR_CORRUPT);
    arena_release(&a);
}

static void test_id(void **state)
{
    char a[37], b[37], c[37];
    (void)state;
    block_lineage_id(SLICE_LIT("x"), a);
    block_lineage_id(SLICE_LIT("x"), b);
    block_lineage_id(SLICE_LIT("y"), c);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '8');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add),  cmocka_unit_test(test_limits),
        cmocka_unit_test(test_json), cmocka_unit_test(test_wrong_json),
        cmocka_unit_test(test_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
