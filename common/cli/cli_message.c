#include "common/cli/cli_message.h"

#include "common/codec/otlp_write.h"
#include "common/codec/pb_field.h"

#include <assert.h>

enum type {
    TYPE_TEXT,
    TYPE_BYTES,
    TYPE_BOOL,
    TYPE_U32,
    TYPE_U64, /* a text in JSON, as all numbers of 64 bits */
    TYPE_I64,
    TYPE_DOUBLE,
    TYPE_STATUS, /* PartialStatus */
    TYPE_MESSAGE,
    TYPE_LIST,   /* of messages */
    TYPE_ANSWER, /* the list that is written even if empty */
    TYPE_TEXTS,  /* of texts */
    TYPE_MAP     /* from text to message */
};

/* Messages of an answer; the first ones are enum cli_message. */
enum shape {
    SHAPE_SEARCH,
    SHAPE_TAGS,
    SHAPE_VALUES,
    SHAPE_RANGE,
    SHAPE_INSTANT,
    SHAPE_TRACE,
    SHAPE_STATS,
    SHAPE_SPAN_SET,
    SHAPE_SPAN,
    SHAPE_METRICS,
    SHAPE_SCOPE,
    SHAPE_TYPED,
    SHAPE_METADATA,
    SHAPE_SERIES,
    SHAPE_SAMPLE,
    SHAPE_EXEMPLAR,
    SHAPE_INSTANT_SERIES,
    SHAPE_KEYVALUE,
    SHAPE_VALUE,
    SHAPE_ARRAY,
    SHAPE_KVLIST
};

struct row {
    uint32_t field;
    const char *name; /* NULL ends the shape */
    enum type type;
    enum shape shape; /* of messages */
};

enum { ROWS_MAX = 9 };

/* clang-format off */
static const struct row shapes[][ROWS_MAX] = {
    [SHAPE_SEARCH] = {{1, "traces", TYPE_ANSWER, SHAPE_TRACE}, {2, "metrics", TYPE_MESSAGE, SHAPE_METRICS}},
    [SHAPE_TAGS] = {{1, "scopes", TYPE_ANSWER, SHAPE_SCOPE}, {2, "metrics", TYPE_MESSAGE, SHAPE_METADATA}},
    [SHAPE_VALUES] = {{1, "tagValues", TYPE_ANSWER, SHAPE_TYPED}, {2, "metrics", TYPE_MESSAGE, SHAPE_METADATA}},
    [SHAPE_RANGE] = {{1, "series", TYPE_ANSWER, SHAPE_SERIES}, {2, "metrics", TYPE_MESSAGE, SHAPE_METRICS},
                     {3, "status", TYPE_STATUS, 0}, {4, "message", TYPE_TEXT, 0}},
    [SHAPE_INSTANT] = {{1, "series", TYPE_ANSWER, SHAPE_INSTANT_SERIES}, {2, "metrics", TYPE_MESSAGE, SHAPE_METRICS},
                       {3, "status", TYPE_STATUS, 0}, {4, "message", TYPE_TEXT, 0}},
    [SHAPE_TRACE] = {{1, "traceID", TYPE_TEXT, 0}, {2, "rootServiceName", TYPE_TEXT, 0}, {3, "rootTraceName", TYPE_TEXT, 0},
                     {4, "startTimeUnixNano", TYPE_U64, 0}, {5, "durationMs", TYPE_U32, 0}, {6, "spanSet", TYPE_MESSAGE, SHAPE_SPAN_SET},
                     {7, "spanSets", TYPE_LIST, SHAPE_SPAN_SET}, {8, "serviceStats", TYPE_MAP, SHAPE_STATS}},
    [SHAPE_STATS] = {{1, "spanCount", TYPE_U32, 0}, {2, "errorCount", TYPE_U32, 0}},
    [SHAPE_SPAN_SET] = {{1, "spans", TYPE_LIST, SHAPE_SPAN}, {2, "matched", TYPE_U32, 0}, {3, "attributes", TYPE_LIST, SHAPE_KEYVALUE}},
    [SHAPE_SPAN] = {{1, "spanID", TYPE_TEXT, 0}, {2, "name", TYPE_TEXT, 0}, {3, "startTimeUnixNano", TYPE_U64, 0},
                    {4, "durationNanos", TYPE_U64, 0}, {5, "attributes", TYPE_LIST, SHAPE_KEYVALUE}},
    [SHAPE_METRICS] = {{1, "inspectedTraces", TYPE_U32, 0}, {2, "inspectedBytes", TYPE_U64, 0}, {3, "totalBlocks", TYPE_U32, 0},
                       {4, "completedJobs", TYPE_U32, 0}, {5, "totalJobs", TYPE_U32, 0}, {6, "totalBlockBytes", TYPE_U64, 0},
                       {7, "inspectedSpans", TYPE_U64, 0}},
    [SHAPE_SCOPE] = {{1, "name", TYPE_TEXT, 0}, {2, "tags", TYPE_TEXTS, 0}},
    [SHAPE_TYPED] = {{1, "type", TYPE_TEXT, 0}, {2, "value", TYPE_TEXT, 0}},
    [SHAPE_METADATA] = {{1, "inspectedBytes", TYPE_U64, 0}, {2, "totalJobs", TYPE_U32, 0}, {3, "completedJobs", TYPE_U32, 0},
                        {4, "totalBlocks", TYPE_U32, 0}, {5, "totalBlockBytes", TYPE_U64, 0}},
    [SHAPE_SERIES] = {{1, "labels", TYPE_LIST, SHAPE_KEYVALUE}, {2, "samples", TYPE_LIST, SHAPE_SAMPLE},
                      {4, "exemplars", TYPE_LIST, SHAPE_EXEMPLAR}},
    [SHAPE_SAMPLE] = {{2, "timestampMs", TYPE_I64, 0}, {1, "value", TYPE_DOUBLE, 0}},
    [SHAPE_EXEMPLAR] = {{1, "labels", TYPE_LIST, SHAPE_KEYVALUE}, {2, "value", TYPE_DOUBLE, 0}, {3, "timestampMs", TYPE_I64, 0}},
    [SHAPE_INSTANT_SERIES] = {{1, "labels", TYPE_LIST, SHAPE_KEYVALUE}, {2, "value", TYPE_DOUBLE, 0}},
    [SHAPE_KEYVALUE] = {{1, "key", TYPE_TEXT, 0}, {2, "value", TYPE_MESSAGE, SHAPE_VALUE}},
    [SHAPE_VALUE] = {{1, "stringValue", TYPE_TEXT, 0}, {2, "boolValue", TYPE_BOOL, 0}, {3, "intValue", TYPE_I64, 0},
                     {4, "doubleValue", TYPE_DOUBLE, 0}, {5, "arrayValue", TYPE_MESSAGE, SHAPE_ARRAY},
                     {6, "kvlistValue", TYPE_MESSAGE, SHAPE_KVLIST}, {7, "bytesValue", TYPE_BYTES, 0}},
    [SHAPE_ARRAY] = {{1, "values", TYPE_LIST, SHAPE_VALUE}},
    [SHAPE_KVLIST] = {{1, "values", TYPE_LIST, SHAPE_KEYVALUE}},
};
/* clang-format on */

static_assert((int)SHAPE_INSTANT == (int)CLI_MESSAGE_INSTANT, "shapes begin with the answers");

static uint32_t wire_of(enum type type)
{
    switch (type) {
    case TYPE_BOOL:
    case TYPE_U32:
    case TYPE_U64:
    case TYPE_I64:
    case TYPE_STATUS: return WIRE_VARINT;
    case TYPE_DOUBLE: return WIRE_FIXED64;
    case TYPE_TEXT:
    case TYPE_BYTES:
    case TYPE_MESSAGE:
    case TYPE_LIST:
    case TYPE_ANSWER:
    case TYPE_TEXTS:
    case TYPE_MAP: break;
    }
    return WIRE_BYTES;
}

/* The next field of this row; false at the end. */
static bool next_of(struct reader *r, const struct row *row, struct pb_field *ret)
{
    while (pb_field_next(r, ret))
        if (ret->number == row->field && ret->wire == wire_of(row->type))
            return true;
    return false;
}

static enum err write_message(enum shape shape, struct slice message, struct json_out *j,
                              unsigned depth);

static enum err write_entry(const struct row *row, struct slice entry, struct json_out *j,
                            unsigned depth)
{
    struct reader r = reader_of(entry);
    struct slice pair[2] = {SLICE_NONE, SLICE_NONE};
    struct pb_field f;

    while (pb_field_next(&r, &f))
        if (f.wire == WIRE_BYTES && (f.number == 1 || f.number == 2))
            pair[f.number - 1] = f.bytes;
    if (reader_failed(&r))
        return ERR_FORMAT;
    json_out_key_slice(j, pair[0]);
    return write_message(row->shape, pair[1], j, depth + 1);
}

static enum err write_list(const struct row *row, struct slice message, struct json_out *j,
                           unsigned depth)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    enum err e = ERR_OK;
    bool is_map = row->type == TYPE_MAP, is_open = row->type == TYPE_ANSWER;

    if (is_open) {
        json_out_key(j, row->name);
        json_out_begin_array(j);
    }
    while (e == ERR_OK && next_of(&r, row, &f)) {
        if (!is_open) {
            json_out_key(j, row->name);
            is_map ? json_out_begin_object(j) : json_out_begin_array(j);
            is_open = true;
        }
        if (is_map)
            e = write_entry(row, f.bytes, j, depth);
        else if (row->type == TYPE_TEXTS)
            json_out_string(j, f.bytes);
        else
            e = write_message(row->shape, f.bytes, j, depth + 1);
    }
    if (is_open)
        is_map ? json_out_end_object(j) : json_out_end_array(j);
    return e;
}

static enum err write_value(const struct row *row, const struct pb_field *f, struct json_out *j,
                            unsigned depth)
{
    double d;

    json_out_key(j, row->name);
    switch (row->type) {
    case TYPE_TEXT: json_out_string(j, f->bytes); break;
    case TYPE_BYTES: json_out_base64(j, f->bytes); break;
    case TYPE_BOOL: json_out_bool(j, f->value != 0); break;
    case TYPE_U32: json_out_u64(j, (uint32_t)f->value); break;
    case TYPE_U64: json_out_u64_text(j, f->value); break;
    case TYPE_I64: json_out_i64_text(j, (int64_t)f->value); break;
    case TYPE_STATUS: json_out_cstring(j, f->value == 1 ? "PARTIAL" : "COMPLETE"); break;
    case TYPE_DOUBLE:
        memcpy(&d, &f->value, sizeof d);
        json_out_double(j, d);
        break;
    case TYPE_MESSAGE: return write_message(row->shape, f->bytes, j, depth + 1);
    case TYPE_LIST:
    case TYPE_ANSWER:
    case TYPE_TEXTS:
    case TYPE_MAP: assert(false);
    }
    return ERR_OK;
}

/* What protobuf leaves out, and its JSON too; a value of several kinds says which it is even then. */
static bool is_default(enum shape shape, const struct row *row, const struct pb_field *f)
{
    return shape != SHAPE_VALUE && row->type != TYPE_MESSAGE && f->value == 0 && f->bytes.len == 0;
}

/* The last of a field counts, as in protobuf. */
static enum err write_single(enum shape shape, const struct row *row, struct slice message,
                             struct json_out *j, unsigned depth)
{
    struct reader r = reader_of(message);
    struct pb_field f, last;
    bool is_there = false;

    while (next_of(&r, row, &f)) {
        last = f;
        is_there = true;
    }
    return is_there && !is_default(shape, row, &last) ? write_value(row, &last, j, depth) : ERR_OK;
}

static bool is_sound(struct slice message)
{
    struct reader r = reader_of(message);
    struct pb_field f;

    while (pb_field_next(&r, &f))
        ;
    return !reader_failed(&r);
}

/* Once over the message for each row: they are few, and fields may come in any order. */
static enum err write_message(enum shape shape, struct slice message, struct json_out *j,
                              unsigned depth)
{
    enum err e = depth > CLI_MESSAGE_DEPTH_MAX ? ERR_TOO_LARGE
                 : is_sound(message)           ? ERR_OK
                                               : ERR_FORMAT;

    json_out_begin_object(j);
    for (const struct row *row = shapes[shape];
         e == ERR_OK && row < shapes[shape] + ROWS_MAX && row->name != NULL; row++) {
        if (row->type >= TYPE_LIST)
            e = write_list(row, message, j, depth);
        else
            e = write_single(shape, row, message, j, depth);
    }
    json_out_end_object(j);
    return e;
}

enum err cli_message_to_json(enum cli_message kind, struct slice message, struct json_out *j)
{
    enum err e = write_message((enum shape)kind, message, j, 0);

    return e == ERR_OK ? buf_err(j->out) : e;
}

void cli_message_text(struct buf *out, uint32_t field, const char *text)
{
    if (text != NULL)
        pb_bytes(out, field, slice_str(text));
}

void cli_message_number(struct buf *out, uint32_t field, uint64_t v)
{
    if (v != 0)
        pb_varint(out, field, v);
}
