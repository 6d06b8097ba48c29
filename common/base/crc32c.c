#include "common/base/crc32c.h"

#include "common/base/bytes.h"

#include <assert.h>

#define CRC32C_POLY_REVERSED 0x82f63b78u

/* tables[k][b]: the checksum of byte b followed by k zero bytes.  Written once, before main. */
static uint32_t tables[8][256];
static bool has_instruction;

#if defined(__x86_64__)
/* lane[k][b]: what byte k of a checksum, being b, has become after LANE_BYTES zero bytes. */
enum { LANE_BYTES = 512 };
static uint32_t lane[4][256];

static uint32_t after_lane(uint32_t crc)
{
    return lane[0][crc & 0xff] ^ lane[1][crc >> 8 & 0xff] ^ lane[2][crc >> 16 & 0xff] ^
           lane[3][crc >> 24];
}

static void lane_setup(void)
{
    uint32_t bit[32]; /* what each bit becomes; the rest are their sums */

    for (unsigned i = 0; i < 32; i++) {
        uint32_t crc = 1u << i;
        for (unsigned n = 0; n < LANE_BYTES; n++)
            crc = crc >> 8 ^ tables[0][crc & 0xff];
        bit[i] = crc;
    }
    for (unsigned k = 0; k < 4; k++)
        for (unsigned b = 0; b < 256; b++) {
            lane[k][b] = 0;
            for (unsigned i = 0; i < 8; i++)
                lane[k][b] ^= (b >> i & 1) != 0 ? bit[8 * k + i] : 0;
        }
}
#endif

__attribute__((constructor)) static void crc32c_setup(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? CRC32C_POLY_REVERSED : 0);
        tables[0][b] = crc;
    }
    for (unsigned k = 1; k < 8; k++)
        for (unsigned b = 0; b < 256; b++)
            tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 0xff];
#if defined(__x86_64__)
    __builtin_cpu_init();
    has_instruction = __builtin_cpu_supports("sse4.2") != 0;
    lane_setup();
#endif
    assert(tables[0][1] == 0xf26b8303u);
}

uint32_t crc32c_extend_portable(uint32_t crc, struct slice s)
{
    const uint8_t *p = s.ptr;
    size_t left = s.len;

    crc = ~crc;
    for (; left >= 8; p += 8, left -= 8) {
        uint32_t lo = crc ^ le32_read(p), hi = le32_read(p + 4);
        crc = tables[7][lo & 0xff] ^ tables[6][lo >> 8 & 0xff] ^ tables[5][lo >> 16 & 0xff] ^
              tables[4][lo >> 24] ^ tables[3][hi & 0xff] ^ tables[2][hi >> 8 & 0xff] ^
              tables[1][hi >> 16 & 0xff] ^ tables[0][hi >> 24];
    }
    for (; left != 0; p++, left--)
        crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
/* The instruction takes three cycles but can be begun in each: three lanes of a long text at a time, joined by what a lane's zeros do to a checksum. */
__attribute__((target("sse4.2"))) static uint64_t lanes_sse42(uint64_t crc, const uint8_t *p)
{
    uint64_t b = 0, c = 0;

    for (size_t i = 0; i < LANE_BYTES; i += 8) {
        crc = __builtin_ia32_crc32di(crc, le64_read(p + i));
        b = __builtin_ia32_crc32di(b, le64_read(p + LANE_BYTES + i));
        c = __builtin_ia32_crc32di(c, le64_read(p + 2 * LANE_BYTES + i));
    }
    return after_lane((uint32_t)(after_lane((uint32_t)crc) ^ b)) ^ c;
}

__attribute__((target("sse4.2"))) static uint32_t extend_sse42(uint32_t crc, struct slice s)
{
    const uint8_t *p = s.ptr;
    size_t left = s.len;
    uint64_t wide = ~crc;

    for (; left >= 3 * LANE_BYTES; p += 3 * LANE_BYTES, left -= 3 * LANE_BYTES)
        wide = lanes_sse42(wide, p);
    for (; left >= 8; p += 8, left -= 8)
        wide = __builtin_ia32_crc32di(wide, le64_read(p));
    crc = (uint32_t)wide;
    for (; left != 0; p++, left--)
        crc = __builtin_ia32_crc32qi(crc, *p);
    return ~crc;
}
#endif

uint32_t crc32c_extend(uint32_t crc, struct slice s)
{
    assert(s.ptr != NULL || s.len == 0);
#if defined(__x86_64__)
    if (has_instruction)
        return extend_sse42(crc, s);
#endif
    return crc32c_extend_portable(crc, s);
}

uint32_t crc32c(struct slice s)
{
    return crc32c_extend(0, s);
}
