#include "distributor/verdict.h"

#include <stdarg.h>

void verdict_set(struct verdict *v, enum verdict_code code, const char *format, ...)
{
    va_list ap;

    *v = (struct verdict){.code = code};
    va_start(ap, format);
    (void)vsnprintf(v->text, sizeof v->text, format, ap); /* cut if longer */
    va_end(ap);
}

void verdict_of_err(struct verdict *v, enum err e, const struct err_detail *detail,
                    int64_t retry_ns)
{
    const char *text = detail->text[0] != '\0' ? detail->text : err_name(e);

    switch (err_grpc_status(e)) {
    case VERDICT_INVALID: verdict_set(v, VERDICT_INVALID, "%s", text); return;
    case VERDICT_EXHAUSTED: verdict_set(v, VERDICT_EXHAUSTED, "%s", text); break;
    case VERDICT_UNAVAILABLE: verdict_set(v, VERDICT_UNAVAILABLE, "%s", text); break;
    case VERDICT_UNIMPLEMENTED: verdict_set(v, VERDICT_UNIMPLEMENTED, "%s", text); return;
    default: verdict_set(v, VERDICT_INTERNAL, "%s", text); return;
    }
    if (err_is_retryable(e))
        v->retry_ns = retry_ns;
    else
        v->http_status = err_http_status(e);
}

uint16_t verdict_http_status(const struct verdict *v)
{
    if (v->http_status != 0)
        return v->http_status;
    switch (v->code) {
    case VERDICT_OK: return 200;
    case VERDICT_INVALID: return 400;
    case VERDICT_UNAUTHENTICATED: return 401;
    case VERDICT_UNIMPLEMENTED: return 404;
    case VERDICT_EXHAUSTED: return 429;
    case VERDICT_CANCELED:
    case VERDICT_UNAVAILABLE: return 503;
    case VERDICT_INTERNAL:
    default: return 500;
    }
}
