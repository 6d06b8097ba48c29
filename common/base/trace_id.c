#include "common/base/trace_id.h"

#include "common/base/hash.h"
#include "common/base/utf8.h"

#include <assert.h>

static const char hex_digits[16] = {'0', '1', '2', '3', '4', '5', '6', '7',
                                    '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_all_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

enum err trace_id_from_wire(struct slice wire, struct trace_id *ret_id)
{
    if (wire.len != TRACE_ID_BYTES || is_all_zero(wire.ptr, TRACE_ID_BYTES))
        return ERR_INVALID;
    memcpy(ret_id->b, wire.ptr, TRACE_ID_BYTES);
    return ERR_OK;
}

enum err span_id_from_wire(struct slice wire, struct span_id *ret_id)
{
    if (wire.len != SPAN_ID_BYTES || is_all_zero(wire.ptr, SPAN_ID_BYTES))
        return ERR_INVALID;
    memcpy(ret_id->b, wire.ptr, SPAN_ID_BYTES);
    return ERR_OK;
}

enum err trace_id_from_hex(struct slice hex, struct trace_id *ret_id,
                           struct err_detail *reterr_detail)
{
    struct trace_id id = {0};

    if (hex.len == 0)
        return err_detail_set(reterr_detail, ERR_INVALID, "please provide a traceID");
    for (size_t i = 0; i < hex.len; i++) {
        if (hex_value(hex.ptr[i]) >= 0)
            continue;
        struct slice bad = slice_sub(hex, i, hex.len);
        size_t bytes = utf8_char_bytes(bad);
        bad = bytes == 0 ? SLICE_LIT("\xef\xbf\xbd") : slice_sub(bad, 0, bytes);
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "trace IDs can only contain hex characters: invalid character "
                              "'" SLICE_FMT "' at position %zu",
                              SLICE_ARG(bad), i + 1);
    }
    if (hex.len > TRACE_ID_HEX)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "trace IDs can't be larger than 128 bits");
    for (size_t i = 0; i < hex.len; i++) { /* from the right: digit i counts 16^i */
        int value = hex_value(hex.ptr[hex.len - 1 - i]);
        uint8_t *b = &id.b[TRACE_ID_BYTES - 1 - i / 2];
        *b = (uint8_t)(*b | value << (i % 2 * 4));
    }
    *ret_id = id;
    return ERR_OK;
}

void hex_encode(struct slice bytes, char *ret_hex)
{
    for (size_t i = 0; i < bytes.len; i++) {
        ret_hex[2 * i] = hex_digits[bytes.ptr[i] >> 4];
        ret_hex[2 * i + 1] = hex_digits[bytes.ptr[i] & 15];
    }
    ret_hex[2 * bytes.len] = '\0';
}

enum err hex_decode(struct slice hex, uint8_t *ret_bytes, size_t len)
{
    if (hex.len != 2 * len)
        return ERR_INVALID;
    for (size_t i = 0; i < hex.len; i++)
        if (hex_value(hex.ptr[i]) < 0)
            return ERR_INVALID;
    for (size_t i = 0; i < len; i++)
        ret_bytes[i] = (uint8_t)(hex_value(hex.ptr[2 * i]) << 4 | hex_value(hex.ptr[2 * i + 1]));
    return ERR_OK;
}

void trace_id_to_hex(struct trace_id id, char ret_hex[TRACE_ID_HEX + 1])
{
    hex_encode((struct slice){id.b, TRACE_ID_BYTES}, ret_hex);
}

void trace_id_to_hex_short(struct trace_id id, char ret_hex[TRACE_ID_HEX + 1])
{
    char hex[TRACE_ID_HEX + 1];
    size_t zeros = 0;

    trace_id_to_hex(id, hex);
    while (zeros < TRACE_ID_HEX - 1 && hex[zeros] == '0')
        zeros++;
    memcpy(ret_hex, hex + zeros, TRACE_ID_HEX + 1 - zeros);
}

void span_id_to_hex(struct span_id id, char ret_hex[SPAN_ID_HEX + 1])
{
    hex_encode((struct slice){id.b, SPAN_ID_BYTES}, ret_hex);
}

bool trace_id_eq(struct trace_id a, struct trace_id b)
{
    return memcmp(a.b, b.b, TRACE_ID_BYTES) == 0;
}

int trace_id_cmp(struct trace_id a, struct trace_id b)
{
    return memcmp(a.b, b.b, TRACE_ID_BYTES);
}

uint64_t trace_id_hash(struct trace_id id)
{
    return hash_seeded((struct slice){id.b, TRACE_ID_BYTES});
}
