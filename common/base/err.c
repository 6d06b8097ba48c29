#include "common/base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

struct err_row {
    const char *word;
    uint16_t http;
    uint8_t grpc;
    bool is_retryable;
};

static const struct err_row err_rows[ERR_COUNT] = {
#define X(name, word, http, grpc, retry) [ERR_##name] = {word, http, grpc, (retry) != 0},
#include "common/base/err.def"
#undef X
};

const char *err_name(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return err_rows[e].word;
}

uint16_t err_http_status(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return err_rows[e].http;
}

uint8_t err_grpc_status(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return err_rows[e].grpc;
}

bool err_is_retryable(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return err_rows[e].is_retryable;
}

enum err err_detail_set(struct err_detail *detail, enum err e, const char *format, ...)
{
    if (detail != NULL) {
        va_list ap;
        va_start(ap, format);
        (void)vsnprintf(detail->text, sizeof detail->text, format, ap); /* cut if longer */
        va_end(ap);
    }
    return e;
}
