/*
 * value.h - a TraceQL static: one value of one type, by value; strings and arrays borrow.
 *
 * Source:  traceql types: nil int float string bool duration status kind and arrays of the first kinds.
 */
#ifndef VIVACE_MODEL_VALUE_H
#define VIVACE_MODEL_VALUE_H

#include "common/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum value_type {
    VALUE_NIL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_BOOL,
    VALUE_DURATION,
    VALUE_STATUS,
    VALUE_KIND,
    VALUE_INT_ARRAY,
    VALUE_FLOAT_ARRAY,
    VALUE_STRING_ARRAY,
    VALUE_BOOL_ARRAY
};

enum { STATUS_UNSET = 0, STATUS_OK = 1, STATUS_ERROR = 2 }; /* OTLP StatusCode */
enum {
    KIND_UNSPECIFIED,
    KIND_INTERNAL,
    KIND_SERVER,
    KIND_CLIENT,
    KIND_PRODUCER,
    KIND_CONSUMER
}; /* OTLP SpanKind */

struct value {
    enum value_type type;
    union {
        int64_t i; /* int; duration in ns; status, kind: OTLP's number; bool 0 or 1 */
        double f;
        struct slice s;
        struct {
            const struct value *items; /* all of the element type */
            uint32_t count;
        } array;
    };
};

#define VALUE_NONE ((struct value){.type = VALUE_NIL})
static inline struct value value_int(int64_t i)
{
    return (struct value){.type = VALUE_INT, .i = i};
}
static inline struct value value_float(double f)
{
    return (struct value){.type = VALUE_FLOAT, .f = f};
}
static inline struct value value_string(struct slice s)
{
    return (struct value){.type = VALUE_STRING, .s = s};
}
static inline struct value value_bool(bool b)
{
    return (struct value){.type = VALUE_BOOL, .i = b};
}
static inline struct value value_duration(int64_t ns)
{
    return (struct value){.type = VALUE_DURATION, .i = ns};
}
static inline struct value value_status(int64_t s)
{
    return (struct value){.type = VALUE_STATUS, .i = s};
}
static inline struct value value_kind(int64_t k)
{
    return (struct value){.type = VALUE_KIND, .i = k};
}
static inline bool value_is_array(struct value v)
{
    return v.type >= VALUE_INT_ARRAY;
}

const char *value_status_name(int64_t status); /* "error" "ok" "unset" */
const char *value_kind_name(int64_t kind);     /* "server" ... "unspecified" */

#endif
