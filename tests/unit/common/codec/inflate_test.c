#include <snappy-c.h>

#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/codec/inflate.h"
#include "tests/lib/test.h"

#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

enum { BIG = 64 << 20 };

/* `members` compressed copies of `data`, one behind the other. */
static void pack(enum inflate_kind kind, struct slice data, unsigned members, struct buf *out)
{
    for (unsigned i = 0; i < members; i++) {
        size_t bound = data.len * 2 + 1024;
        uint8_t *to = malloc(bound);
        assert_non_null(to);
        size_t len = bound;
        if (kind == INFLATE_GZIP || kind == INFLATE_ZLIB) {
            z_stream z = {0};
            assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, kind == INFLATE_GZIP ? 31 : 15, 8,
                                          Z_DEFAULT_STRATEGY),
                             Z_OK);
            uint8_t *in = malloc(data.len + 1);
            assert_non_null(in);
            if (data.len > 0)
                memcpy(in, data.ptr, data.len);
            z.next_in = in;
            z.avail_in = (uInt)data.len;
            z.next_out = to;
            z.avail_out = (uInt)bound;
            assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
            len = bound - z.avail_out;
            (void)deflateEnd(&z);
            free(in);
        } else if (kind == INFLATE_ZSTD) {
            len = ZSTD_compress(to, bound, data.ptr, data.len, 3);
            assert_false(ZSTD_isError(len));
        } else if (kind == INFLATE_LZ4) {
            len = LZ4F_compressFrame(to, bound, data.ptr, data.len, NULL);
            assert_false(LZ4F_isError(len));
        } else {
            assert_int_equal(snappy_compress((const char *)data.ptr, data.len, (char *)to, &len),
                             SNAPPY_OK);
        }
        buf_append(out, (struct slice){to, len});
        free(to);
    }
    assert_int_equal(buf_err(out), ERR_OK);
}

static void snappy_frames(struct slice data, struct buf *out)
{
    buf_append(out, SLICE_LIT("\xff\x06\0\0sNaPpY"));
    buf_append(out, SLICE_LIT("\xfe\x03\0\0pad"));
    for (size_t at = 0; at < data.len; at += 60000) {
        struct slice part = slice_sub(data, at, at + 60000);
        bool plain = at % 120000 == 0;
        struct buf block;
        buf_init(&block, 1 << 20);
        if (plain)
            buf_append(&block, part);
        else
            pack(INFLATE_SNAPPY, part, 1, &block);
        uint32_t crc = crc32c(part);
        buf_append_le32(out, (uint32_t)(block.len + 4) << 8 | (plain ? 1 : 0));
        buf_append_le32(out, (crc >> 15 | crc << 17) + 0xa282ead8u);
        buf_append(out, buf_slice(&block));
        buf_release(&block);
    }
}

/* Text that compresses like real requests do: some repetition, some noise. */
static void make_text(struct buf *b, size_t len)
{
    uint64_t x = 1;

    while (b->len < len) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        buf_appendf(b, "service.name=shop http.route=/a/%u id=%08x;", (unsigned)(x >> 60),
                    (unsigned)(x >> 32));
    }
    assert_int_equal(buf_err(b), ERR_OK);
}

static enum err run(enum inflate_kind kind, struct slice body, struct buf *out,
                    struct err_detail *detail)
{
    struct budget budget;
    /* An exact copy, so that the sanitizer sees a read past the end. */
    uint8_t *copy = malloc(body.len + (body.len == 0));
    assert_non_null(copy);
    if (body.len > 0)
        memcpy(copy, body.ptr, body.len);
    budget_init(&budget, SIZE_MAX, NULL);
    buf_init(out, BIG);
    enum err e = inflate_bytes(kind, (struct slice){copy, body.len}, &inflate_limits_default,
                               &budget, out, detail);
    assert_int_equal(budget_used(&budget), out->cap);
    free(copy);
    return e;
}

static void expect_same(enum inflate_kind kind, struct slice body, struct slice want)
{
    struct buf out;
    struct err_detail detail = {0};
    enum err e = run(kind, body, &out, &detail);

    if (e != ERR_OK)
        print_message("%s: %s\n", err_name(e), detail.text);
    assert_int_equal(e, ERR_OK);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.ptr, want.ptr, want.len);
    buf_release(&out);
}

static const enum inflate_kind kinds[] = {INFLATE_GZIP, INFLATE_ZLIB, INFLATE_ZSTD, INFLATE_SNAPPY,
                                          INFLATE_LZ4};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static void test_every_format_round_trips(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 100, 65536, 3000000};
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct buf text, packed;
        buf_init(&text, BIG);
        buf_init(&packed, BIG);
        make_text(&text, sizes[s]);
        expect_same(INFLATE_IDENTITY, buf_slice(&text), buf_slice(&text));
        for (unsigned k = 0; k < KINDS; k++) {
            buf_reset(&packed);
            pack(kinds[k], buf_slice(&text), 1, &packed);
            expect_same(kinds[k], buf_slice(&packed), buf_slice(&text));
        }
        buf_reset(&packed);
        snappy_frames(buf_slice(&text), &packed);
        expect_same(INFLATE_SNAPPY, buf_slice(&packed), buf_slice(&text));
        buf_release(&text);
        buf_release(&packed);
    }
}

static void test_members_follow_each_other(void **state)
{
    (void)state;
    static const enum inflate_kind many[] = {INFLATE_GZIP, INFLATE_ZSTD, INFLATE_LZ4};
    struct buf text, thrice, packed;
    buf_init(&text, BIG);
    buf_init(&thrice, BIG);
    buf_init(&packed, BIG);
    make_text(&text, 5000);
    for (unsigned i = 0; i < 3; i++)
        buf_append(&thrice, buf_slice(&text));
    for (unsigned k = 0; k < 3; k++) {
        buf_reset(&packed);
        pack(many[k], buf_slice(&text), 3, &packed);
        expect_same(many[k], buf_slice(&packed), buf_slice(&thrice));
    }
    buf_release(&text);
    buf_release(&thrice);
    buf_release(&packed);
}

static void test_every_cut_is_refused(void **state)
{
    (void)state;
    struct buf text, packed, out;
    buf_init(&text, BIG);
    make_text(&text, 700);
    for (unsigned k = 0; k < KINDS; k++) {
        buf_init(&packed, BIG);
        pack(kinds[k], buf_slice(&text), 1, &packed);
        for (size_t len = 0; len < packed.len; len++) {
            struct err_detail detail = {0};
            assert_int_equal(run(kinds[k], slice_sub(buf_slice(&packed), 0, len), &out, &detail),
                             ERR_FORMAT);
            assert_true(detail.text[0] != '\0');
            buf_release(&out);
        }
        buf_release(&packed);
    }
    buf_release(&text);
}

static void test_damage_is_survived(void **state)
{
    (void)state;
    struct buf text, packed, out;
    uint64_t x = 5;
    buf_init(&text, BIG);
    make_text(&text, 2000);
    for (unsigned k = 0; k < KINDS; k++) {
        buf_init(&packed, BIG);
        pack(kinds[k], buf_slice(&text), 1, &packed);
        for (unsigned round = 0; round < 2000; round++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(x >> 33) % packed.len;
            uint8_t was = packed.ptr[at];
            packed.ptr[at] ^= (uint8_t)(1u << (x >> 60 & 7));
            enum err e = run(kinds[k], buf_slice(&packed), &out, NULL);
            assert_true(e == ERR_OK || e == ERR_FORMAT || e == ERR_TOO_LARGE);
            assert_true(out.len <= 1 << 20);
            packed.ptr[at] = was;
            buf_release(&out);
        }
        buf_release(&packed);
    }
    buf_release(&text);
}

static void test_bombs_stop_at_the_ratio(void **state)
{
    (void)state;
    size_t size = 40u << 20;
    uint8_t *zeros = calloc(1, size);
    assert_non_null(zeros);
    for (unsigned k = 0; k < KINDS; k++) {
        if (kinds[k] == INFLATE_SNAPPY)
            continue; /* at best 21:1 */
        struct buf packed, out;
        struct err_detail detail = {0};
        buf_init(&packed, 128 << 20);
        pack(kinds[k], (struct slice){zeros, size}, 1, &packed);
        size_t allowed = packed.len * 100 < 1 << 20 ? 1 << 20 : packed.len * 100;
        assert_true(allowed < size);
        assert_int_equal(run(kinds[k], buf_slice(&packed), &out, &detail), ERR_TOO_LARGE);
        assert_non_null(strstr(detail.text, "request body too large"));
        assert_true(out.cap <= allowed);
        buf_release(&out);
        buf_release(&packed);
    }
    free(zeros);
}

static void test_the_limit_is_exact(void **state)
{
    (void)state;
    struct buf text, packed;
    buf_init(&text, BIG);
    make_text(&text, 5000);
    for (unsigned k = 0; k < KINDS; k++) {
        buf_init(&packed, BIG);
        pack(kinds[k], buf_slice(&text), 1, &packed);
        for (size_t less = 0; less < 2; less++) {
            struct inflate_limits limits = inflate_limits_default;
            struct buf out;
            limits.out_bytes_max = text.len - less;
            buf_init(&out, BIG);
            assert_int_equal(inflate_bytes(kinds[k], buf_slice(&packed), &limits, NULL, &out, NULL),
                             less == 0 ? ERR_OK : ERR_TOO_LARGE);
            buf_release(&out);
        }
        buf_release(&packed);
    }
    buf_release(&text);
}

static void test_a_used_up_budget_is_told(void **state)
{
    (void)state;
    struct buf text, packed, out;
    struct budget budget;
    buf_init(&text, BIG);
    make_text(&text, 200000);
    budget_init(&budget, 100000, NULL);
    for (unsigned k = 0; k < KINDS; k++) {
        buf_init(&packed, BIG);
        pack(kinds[k], buf_slice(&text), 1, &packed);
        buf_init(&out, BIG);
        assert_int_equal(inflate_bytes(kinds[k], buf_slice(&packed), &inflate_limits_default,
                                       &budget, &out, NULL),
                         ERR_LIMIT);
        assert_int_equal(budget_used(&budget), out.cap);
        budget_give(&budget, out.cap);
        buf_release(&out);
        buf_release(&packed);
    }
    buf_release(&text);
}

static void test_names(void **state)
{
    (void)state;
    enum inflate_kind kind;
    assert_true(inflate_kind_of(SLICE_NONE, &kind) && kind == INFLATE_IDENTITY);
    assert_true(inflate_kind_of(SLICE_LIT("GZip"), &kind) && kind == INFLATE_GZIP);
    assert_true(inflate_kind_of(SLICE_LIT("deflate"), &kind) && kind == INFLATE_ZLIB);
    assert_true(inflate_kind_of(SLICE_LIT("zstd"), &kind) && kind == INFLATE_ZSTD);
    assert_true(inflate_kind_of(SLICE_LIT("x-snappy-framed"), &kind) && kind == INFLATE_SNAPPY);
    assert_false(inflate_kind_of(SLICE_LIT("br"), &kind));
    assert_false(inflate_kind_of(SLICE_LIT("gzi"), &kind));
}

static void test_snappy_frames_check_their_sums(void **state)
{
    (void)state;
    struct buf text, packed, out;
    struct err_detail detail = {0};
    buf_init(&text, BIG);
    buf_init(&packed, BIG);
    make_text(&text, 1000);
    snappy_frames(buf_slice(&text), &packed);
    packed.ptr[packed.len - 1] ^= 1;
    assert_int_equal(run(INFLATE_SNAPPY, buf_slice(&packed), &out, &detail), ERR_FORMAT);
    assert_string_equal(detail.text, "corrupt snappy body: checksum mismatch");
    buf_release(&out);
    buf_release(&text);
    buf_release(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_format_round_trips),
        cmocka_unit_test(test_members_follow_each_other),
        cmocka_unit_test(test_every_cut_is_refused),
        cmocka_unit_test(test_damage_is_survived),
        cmocka_unit_test(test_bombs_stop_at_the_ratio),
        cmocka_unit_test(test_the_limit_is_exact),
        cmocka_unit_test(test_a_used_up_budget_is_told),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_snappy_frames_check_their_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
