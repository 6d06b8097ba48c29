/*
 * err.h - the one error type.  Every fallible function returns enum err and must be checked.
 *
 * Shape:   rows of err.def; ERR_OK is zero.
 * Threads: constants only.
 * Source:  google.rpc.Code for the gRPC numbers.
 */
#ifndef VIVACE_BASE_ERR_H
#define VIVACE_BASE_ERR_H

#include <stdbool.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
#define X(name, word, http, grpc, retry) ERR_##name,
#include "common/base/err.def"
#undef X
    ERR_COUNT
};

/* Human detail for the one who can act: parsers, configuration, request checks.  May be NULL where
 * a function takes one.  `line` and `column` are 1-based, 0 when unknown. */
struct err_detail {
    uint32_t line, column;
    char text[512]; /* NUL-terminated, cut if longer */
};

const char *err_name(enum err e); /* fixed lower-case word, for logs and metric labels */
uint16_t err_http_status(enum err e);
uint8_t err_grpc_status(enum err e);
bool err_is_retryable(enum err e);

/* Writes the detail (if not NULL) and returns `e`, so that a failing branch is one statement. */
enum err err_detail_set(struct err_detail *detail, enum err e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
