/* Manifests: there and back, order, what is refused; a manifest of version 1 byte by byte. */
#include "common/objstore/manifest.h"
#include "tests/lib/test.h"

#include <string.h>

#define ID_A "11111111-2222-8333-8444-555555555555"
#define ID_B "aaaaaaaa-bbbb-8ccc-8ddd-eeeeeeeeeeee"
#define ID_C "cccccccc-2222-8333-8444-555555555555"

static struct arena arena;
static struct buf out;

static void encode(void)
{
    struct manifest_entry entries[] = {
        {.id = ID_B, .tail_bytes = 70000, .meta_json = SLICE_LIT("{\"b\":1}")},
        {.id = ID_A, .meta_json = SLICE_LIT("{}")}};
    struct manifest_gone gone[] = {
        {.id = ID_C, .why = MANIFEST_REPLACED, .is_deleted = true, .when_ns = 1ull << 60}};
    struct manifest m = {.tenant = SLICE_LIT("acme"),
                         .writer = SLICE_LIT("ingester-0"),
                         .number = 300,
                         .entries = entries,
                         .entry_count = 2,
                         .gone = gone,
                         .gone_count = 1};

    assert_int_equal(manifest_encode(&m, &out), ERR_OK);
}

static void test_there_and_back(void **state)
{
    struct manifest m;
    (void)state;

    encode();
    assert_int_equal(manifest_decode(buf_slice(&out), &arena, &m), ERR_OK);
    assert_true(slice_eq_str(m.tenant, "acme"));
    assert_true(slice_eq_str(m.writer, "ingester-0"));
    assert_int_equal(m.number, 300);
    assert_int_equal(m.entry_count, 2);
    assert_string_equal(m.entries[0].id, ID_A);
    assert_int_equal(manifest_find(&m, ID_B)->tail_bytes, 70000);
    assert_true(slice_eq_str(manifest_find(&m, ID_B)->meta_json, "{\"b\":1}"));
    assert_null(manifest_find(&m, ID_C));
    assert_int_equal(manifest_find_gone(&m, ID_C)->why, MANIFEST_REPLACED);
    assert_true(manifest_find_gone(&m, ID_C)->is_deleted);
    assert_true(manifest_find_gone(&m, ID_C)->when_ns == 1ull << 60);
    assert_null(manifest_find_gone(&m, ID_A));
}

static void test_every_changed_byte_is_seen(void **state)
{
    struct manifest m;
    (void)state;

    encode();
    for (size_t i = 0; i < out.len; i++) {
        if (i == 6 || i == 7)
            continue; /* two bytes that mean nothing yet */
        out.ptr[i] ^= 0x10;
        enum err e = manifest_decode(buf_slice(&out), &arena, &m);
        assert_true(e == ERR_CORRUPT || (e == ERR_UNSUPPORTED && (i == 4 || i == 5)));
        out.ptr[i] ^= 0x10;
    }
    for (size_t len = 0; len < out.len; len++)
        assert_int_equal(manifest_decode((struct slice){out.ptr, len}, &arena, &m), ERR_CORRUPT);
}

/* What this build writes today is what it will have to read for good. */
static void test_version_1_is_read(void **state)
{
    static const char head[] = "VVM1\x01\x00\x00\x00", raw[] = "\x01t\x02wr\x07\x00\x00";
    struct manifest empty = {.tenant = SLICE_LIT("t"), .writer = SLICE_LIT("wr"), .number = 7}, m;
    (void)state;

    assert_int_equal(manifest_encode(&empty, &out), ERR_OK);
    assert_int_equal(out.len, 8 + 20 + 8);
    assert_memory_equal(out.ptr, head, 8);
    assert_memory_equal(out.ptr + 28, raw, 8);
    assert_int_equal(manifest_decode(buf_slice(&out), &arena, &m), ERR_OK);
    assert_int_equal(m.number, 7);
    assert_int_equal(m.entry_count + m.gone_count, 0);
}

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, NULL);
    buf_init(&out, MANIFEST_BYTES_MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    buf_release(&out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_changed_byte_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_1_is_read, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
