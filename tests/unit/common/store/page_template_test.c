#include "common/base/rng.h"
#include "common/store/page_template.h"
#include "tests/lib/test.h"

enum { TEXTS = 1500 };

static struct slice keep(struct arena *a, const char *s)
{
    return arena_dup(a, slice_str(s));
}

/* Returns the bytes, 0 when templates do not pay.  Every prefix of them is refused, or read within bounds. */
static size_t check_texts(const struct slice *texts, uint32_t count)
{
    struct arena a, tmp;
    struct buf b;
    struct slice *back;
    bool pays = false;
    arena_init(&a, NULL);
    arena_init(&tmp, NULL);
    buf_init(&b, 1u << 26);
    assert_int_equal(page_template_put(&b, texts, count, &tmp, &pays), ERR_OK);
    assert_int_equal(buf_err(&b), ERR_OK);
    size_t len = b.len;
    assert_true(pays || len == 0);
    if (pays) {
        uint8_t *copy = malloc(len); /* exactly as long, so that a read past the end is seen */
        uint8_t *is_it = calloc(count, 1);
        assert_true(copy != NULL && is_it != NULL);
        memcpy(copy, b.ptr, len);
        struct slice raw = {copy, len};
        assert_int_equal(page_template_get(raw, count, &a, &tmp, &back), ERR_OK);
        for (uint32_t i = 0; i < count; i++)
            assert_true(slice_eq(back[i], texts[i]));
        for (uint32_t i = 0; i < count; i += count / 20 + 1) {
            struct slice other = arena_dup(&a, texts[i]);
            assert_int_equal(page_template_equal(raw, count, texts[i], &tmp, is_it), ERR_OK);
            for (uint32_t k = 0; k < count; k++)
                assert_int_equal(is_it[k], slice_eq(texts[i], texts[k]));
            if (other.len != 0)
                ((uint8_t *)(uintptr_t)other.ptr)[other.len - 1] ^= 1;
            assert_int_equal(page_template_equal(raw, count, other, &tmp, is_it), ERR_OK);
            for (uint32_t k = 0; k < count; k++)
                assert_int_equal(is_it[k], slice_eq(other, texts[k]));
        }
        for (size_t cut = 0; cut < len && len < 2000; cut++) {
            struct slice less = arena_dup(&tmp, (struct slice){copy, cut});
            assert_int_equal(page_template_get(less, count, &a, &tmp, &back), ERR_CORRUPT);
        }
        free(copy);
        free(is_it);
    }
    buf_release(&b);
    arena_release(&a);
    arena_release(&tmp);
    return len;
}

/* Texts that look like something that varies, or nearly. */
static void test_edges(void **state)
{
    (void)state;
    static const char *const edges[] = {
        "",
        "0",
        "00",
        "000000000000000000",
        "0000000000000000000",
        "999999999999999999",
        "1234567890123456789012345678901234567890",
        "18446744073709551616",
        "user-000042@example.com",
        "user-123456@example.com",
        "10.1.2.3",
        "010.001.002.003",
        "deadbeef",
        "deadbee1",
        "DEADBEE1",
        "deadbee",
        "1deadbeef",
        "0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcde",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6a",
        "xf81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6",
        "00000000-0000-0000-0000-000000000000",
        "12345678-1234-1234-1234-123456789012",
        "\x01",
        "\x02\x03",
        "a\x04z1",
        "\x05\x06 7",
        "-1",
        "1.5e10",
        "\xc3\xa9t\xc3\xa9 2024",
        "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6",
        "/api/v1/users/42/orders/0042?x=1&y=01",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34",
    };
    enum { EDGES = sizeof edges / sizeof edges[0] };
    struct slice texts[EDGES * 8];
    for (size_t i = 0; i < EDGES; i++) {
        for (size_t k = 0; k < 8; k++)
            texts[k * EDGES + i] = slice_str(edges[i]);
        struct slice many[8];
        for (size_t k = 0; k < 8; k++)
            many[k] = slice_str(edges[i]);
        assert_true(check_texts(many, 8) > 0);
        assert_true(check_texts(many, 1) > 0);
    }
    assert_true(check_texts(texts, EDGES * 8) > 0);
}

static void test_kinds(void **state)
{
    (void)state;
    struct rng rng;
    struct arena a;
    static struct slice texts[TEXTS];
    char text[200];
    rng_init(&rng, 7);
    arena_init(&a, NULL);
    for (uint32_t i = 0; i < TEXTS; i++) {
        (void)snprintf(text, sizeof text, "/api/users/%u/items/%u",
                       (unsigned)rng_below(&rng, 1000000), (unsigned)rng_below(&rng, 100));
        texts[i] = keep(&a, text);
    }
    assert_true(check_texts(texts, TEXTS) < TEXTS * 4); /* 27 bits each */
    for (uint32_t i = 0; i < TEXTS; i++) {
        (void)snprintf(text, sizeof text, "%08x-%04x-4%03x-a%03x-%012llx", (unsigned)rng_u64(&rng),
                       (unsigned)rng_below(&rng, 65536), (unsigned)rng_below(&rng, 4096),
                       (unsigned)rng_below(&rng, 4096), (unsigned long long)(rng_u64(&rng) >> 16));
        texts[i] = keep(&a, text);
    }
    assert_true(check_texts(texts, TEXTS) < TEXTS * 16 + 100);
    for (uint32_t i = 0; i < TEXTS; i++) { /* words: nothing is gained */
        for (size_t k = 0; k < 12; k++)
            text[k] = (char)('g' + rng_below(&rng, 15));
        text[12] = '\0';
        texts[i] = keep(&a, text);
    }
    assert_int_equal(check_texts(texts, TEXTS), 0);
    arena_release(&a);
}

/* Texts of few letters that often come near a border: whatever they are, they come back. */
static void test_random(void **state)
{
    (void)state;
    static const char letters[] = "0001239abcdef-./gz\x01\x02\x03\x04\x05\xff";
    struct rng rng;
    struct arena a;
    static struct slice texts[TEXTS], some[40];
    rng_init(&rng, 11);
    arena_init(&a, NULL);
    for (int round = 0; round < 30; round++) {
        for (uint32_t i = 0; i < 40; i++) {
            uint32_t len = (uint32_t)rng_below(&rng, round % 3 == 0 ? 6 : 60);
            uint32_t letter_count = round % 2 == 0 ? 16 : sizeof letters - 1;
            uint8_t *to = arena_alloc(&a, len);
            for (uint32_t k = 0; k < len; k++)
                to[k] = (uint8_t)letters[rng_below(&rng, letter_count)];
            some[i] = (struct slice){to, len};
        }
        for (uint32_t i = 0; i < TEXTS; i++)
            texts[i] = some[rng_below(&rng, 40)];
        assert_true(check_texts(texts, TEXTS) > 0);
    }
    static uint8_t large[9000];
    memset(large, '7', sizeof large);
    for (uint32_t i = 0; i < 100; i++)
        texts[i] = (struct slice){large, sizeof large - i};
    assert_true(check_texts(texts, 100) > 0);
    arena_release(&a);
}

/* Variants of one text, most of them with the skeleton of another and a few nearly: they are split as if each came alone. */
static void test_variants(void **state)
{
    (void)state;
    static const char *const bases[] = {
        "GET /api/v1/users/1234?id=77&page=3 took 12",
        "user-000042@example.com",
        "deadbeef-aaaa-bbbb-cccc-dddd 12345678-",
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6 of 0a1b2c3d4e5f",
        "abcdefab-7dec-11d0-a765-00a0c91e6bf6/1",
        "x9y 8-7 cafe1234 12 ab12 3c",
    };
    static const char digits[] = "0123456789abcdef-";
    static struct slice texts[TEXTS];
    struct rng rng;
    struct arena a;
    rng_init(&rng, 23);
    arena_init(&a, NULL);
    for (int round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < 400; i++) {
            struct slice from = i < 8 || rng_below(&rng, 4) == 0 ? slice_str(bases[round % 6])
                                                                 : texts[rng_below(&rng, i)];
            uint8_t *to = arena_alloc(&a, from.len + 20);
            uint32_t len = (uint32_t)from.len;
            memcpy(to, from.ptr, from.len);
            for (uint32_t k = 0; k < len; k++)
                if (to[k] >= '0' && to[k] <= '9' && rng_below(&rng, 4) == 0)
                    to[k] = (uint8_t)digits[rng_below(&rng, 10)];
            if (len < 200 && rng_below(&rng, 6) == 0) {
                uint32_t at = (uint32_t)rng_below(&rng, len + 1),
                         n = (uint32_t)rng_below(&rng, 18) + 1;
                memmove(to + at + n, to + at, len - at);
                for (uint32_t k = 0; k < n; k++)
                    to[at + k] = (uint8_t)digits[rng_below(&rng, n > 4 ? 10 : 17)];
                len += n;
            }
            texts[i] = (struct slice){to, len};
        }
        (void)check_texts(texts, 400);
    }
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_edges), cmocka_unit_test(test_kinds),
                                       cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_variants)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
