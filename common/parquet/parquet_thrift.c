#include "common/parquet/parquet_thrift.h"

enum { SKIP_DEPTH_MAX = 32 };

bool parquet_thrift_next(struct reader *r, struct parquet_thrift_field *f)
{
    uint8_t head = reader_u8(r);

    if (reader_failed(r) || head == THRIFT_STOP)
        return false;
    f->type = head & 15;
    if (f->type == THRIFT_STOP || f->type > THRIFT_STRUCT) {
        reader_fail(r);
        return false;
    }
    int64_t id = (head >> 4) != 0 ? (int64_t)f->id + (head >> 4) : unzigzag(reader_varint(r));
    if (reader_failed(r) || id < 0 || id > INT16_MAX) {
        reader_fail(r);
        return false;
    }
    f->id = (int32_t)id;
    return true;
}

int64_t parquet_thrift_int(struct reader *r, const struct parquet_thrift_field *f)
{
    if (f->type == THRIFT_I8)
        return (int8_t)reader_u8(r);
    if (f->type < THRIFT_I16 || f->type > THRIFT_I64) {
        reader_fail(r);
        return 0;
    }
    return unzigzag(reader_varint(r));
}

struct slice parquet_thrift_binary(struct reader *r, const struct parquet_thrift_field *f)
{
    if (f->type != THRIFT_BINARY) {
        reader_fail(r);
        return SLICE_NONE;
    }
    return reader_bytes(r);
}

bool parquet_thrift_bool(struct reader *r, const struct parquet_thrift_field *f)
{
    if (f->type != THRIFT_TRUE && f->type != THRIFT_FALSE)
        reader_fail(r);
    return f->type == THRIFT_TRUE;
}

/* Head of a list: the number of elements and their type. */
static uint32_t list_head(struct reader *r, uint8_t *ret_type)
{
    uint8_t head = reader_u8(r);
    uint64_t count = head >> 4 == 15 ? reader_varint(r) : (uint64_t)head >> 4;

    *ret_type = head & 15;
    if (count > reader_left(r)) { /* no element takes less than a byte */
        reader_fail(r);
        return 0;
    }
    return (uint32_t)count;
}

uint32_t parquet_thrift_list(struct reader *r, const struct parquet_thrift_field *f, uint8_t type)
{
    uint8_t element;

    if (f->type != THRIFT_LIST) {
        reader_fail(r);
        return 0;
    }
    uint32_t count = list_head(r, &element);
    if (count != 0 && element != type)
        reader_fail(r);
    return reader_failed(r) ? 0 : count;
}

static void skip_value(struct reader *r, uint8_t type, bool is_element, unsigned depth);

static void skip_many(struct reader *r, uint8_t type, uint32_t count, unsigned depth)
{
    for (uint32_t i = 0; i < count && !reader_failed(r); i++)
        skip_value(r, type, true, depth);
}

static void skip_map(struct reader *r, unsigned depth)
{
    uint64_t count = reader_varint(r);

    if (count == 0)
        return;
    uint8_t types = reader_u8(r);
    if (count > reader_left(r)) {
        reader_fail(r);
        return;
    }
    for (uint64_t i = 0; i < count && !reader_failed(r); i++) {
        skip_value(r, types >> 4, true, depth);
        skip_value(r, types & 15, true, depth);
    }
}

static void skip_value(struct reader *r, uint8_t type, bool is_element, unsigned depth)
{
    struct parquet_thrift_field f = {0};
    uint8_t element;

    if (depth > SKIP_DEPTH_MAX) {
        reader_fail(r);
        return;
    }
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE:
        if (is_element) /* a field's is in its type */
            (void)reader_u8(r);
        break;
    case THRIFT_I8: (void)reader_u8(r); break;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64: (void)reader_varint(r); break;
    case THRIFT_DOUBLE: (void)reader_le64(r); break;
    case THRIFT_BINARY: (void)reader_bytes(r); break;
    case THRIFT_LIST:
    case THRIFT_SET: {
        uint32_t count = list_head(r, &element);
        skip_many(r, element, count, depth + 1);
        break;
    }
    case THRIFT_MAP: skip_map(r, depth + 1); break;
    case THRIFT_STRUCT:
        while (parquet_thrift_next(r, &f))
            skip_value(r, f.type, false, depth + 1);
        break;
    default: reader_fail(r); break;
    }
}

void parquet_thrift_skip(struct reader *r, const struct parquet_thrift_field *f)
{
    skip_value(r, f->type, false, 0);
}
