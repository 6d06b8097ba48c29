/*
 * verdict.h - what a client is told, before it is put into either protocol's words.
 */
#ifndef VIVACE_DISTRIBUTOR_VERDICT_H
#define VIVACE_DISTRIBUTOR_VERDICT_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum verdict_code { /* google.rpc.Code */
                    VERDICT_OK = 0,
                    VERDICT_CANCELED = 1,
                    VERDICT_INVALID = 3,
                    VERDICT_EXHAUSTED = 8,
                    VERDICT_UNIMPLEMENTED = 12,
                    VERDICT_INTERNAL = 13,
                    VERDICT_UNAVAILABLE = 14,
                    VERDICT_UNAUTHENTICATED = 16
};

struct verdict {
    enum verdict_code code;
    uint16_t http_status; /* 0: by the code */
    int64_t retry_ns;     /* 0: no RetryInfo */
    uint32_t rejected_spans;
    char text[1024]; /* of the error, or of the partial success */
};

void verdict_set(struct verdict *v, enum verdict_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Of an error from reading the request; `detail` may be empty. */
void verdict_of_err(struct verdict *v, enum err e, const struct err_detail *detail,
                    int64_t retry_ns);
uint16_t verdict_http_status(const struct verdict *v);

#endif
