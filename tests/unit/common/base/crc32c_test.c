#include "common/base/crc32c.h"
#include "common/base/rng.h"
#include "tests/lib/test.h"

/* RFC 3720, B.4; and the check value that everybody quotes. */
static void test_vectors(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(crc32c(SLICE_LIT("123456789")), 0xe3069283);
    assert_int_equal(crc32c(SLICE_NONE), 0);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c((struct slice){bytes, 32}), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c((struct slice){bytes, 32}), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c((struct slice){bytes, 32}), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c((struct slice){bytes, 32}), 0x113fdb5c);
    assert_int_equal(crc32c_extend_portable(0, SLICE_LIT("123456789")), 0xe3069283);
}

static void test_instruction_and_table_agree(void **state)
{
    struct rng r;
    uint8_t bytes[300];

    (void)state;
    rng_init(&r, 3);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)rng_u64(&r);
    for (size_t from = 0; from < 16; from++)
        for (size_t len = 0; from + len <= sizeof bytes; len++) {
            struct slice s = {bytes + from, len};
            uint32_t start = (uint32_t)rng_u64(&r);
            assert_int_equal(crc32c_extend(start, s), crc32c_extend_portable(start, s));
        }
}

/* Long texts go in lanes: around the borders of one and of several rounds. */
static void test_long_texts(void **state)
{
    static uint8_t bytes[8192];
    struct rng r;

    (void)state;
    rng_init(&r, 4);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)rng_u64(&r);
    for (size_t lanes = 1; lanes < 5; lanes++)
        for (size_t len = lanes * 1536 - 20; len < lanes * 1536 + 20; len++) {
            struct slice s = {bytes + len % 8, len};
            uint32_t start = (uint32_t)rng_u64(&r);
            assert_int_equal(crc32c_extend(start, s), crc32c_extend_portable(start, s));
        }
}

static void test_extends_in_parts(void **state)
{
    struct slice all = SLICE_LIT("the quick brown fox jumps over the lazy dog");

    (void)state;
    for (size_t cut = 0; cut <= all.len; cut++)
        assert_int_equal(
            crc32c_extend(crc32c(slice_sub(all, 0, cut)), slice_sub(all, cut, all.len)),
            crc32c(all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_instruction_and_table_agree),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_extends_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
