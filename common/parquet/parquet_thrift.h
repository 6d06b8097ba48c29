/*
 * parquet_thrift.h - thrift's compact protocol, as far as Parquet's headers need it.
 *
 * Errors:  sticky in the reader.
 * Source:  thrift-compact-protocol.md.
 */
#ifndef VIVACE_PARQUET_PARQUET_THRIFT_H
#define VIVACE_PARQUET_PARQUET_THRIFT_H

#include "common/base/reader.h"

enum parquet_thrift_type {
    THRIFT_STOP,
    THRIFT_TRUE,
    THRIFT_FALSE,
    THRIFT_I8,
    THRIFT_I16,
    THRIFT_I32,
    THRIFT_I64,
    THRIFT_DOUBLE,
    THRIFT_BINARY,
    THRIFT_LIST,
    THRIFT_SET,
    THRIFT_MAP,
    THRIFT_STRUCT
};

struct parquet_thrift_field {
    int32_t id; /* 0 before the first one */
    uint8_t type;
};
/* The next field of a struct; false at its end and at damage. */
bool parquet_thrift_next(struct reader *r, struct parquet_thrift_field *f);
/* Values of a field whose type was looked at; another type fails the reader. */
int64_t parquet_thrift_int(struct reader *r, const struct parquet_thrift_field *f);
struct slice parquet_thrift_binary(struct reader *r, const struct parquet_thrift_field *f);
bool parquet_thrift_bool(struct reader *r, const struct parquet_thrift_field *f);
/* How many elements of `type` follow: never more than there are bytes. */
uint32_t parquet_thrift_list(struct reader *r, const struct parquet_thrift_field *f, uint8_t type);
void parquet_thrift_skip(struct reader *r, const struct parquet_thrift_field *f);

#endif
