#include "common/app/app.h"

#include <assert.h>

enum { TENANT_BYTES_MAX = 150 };

enum err app_tenant_check(struct slice id, struct err_detail *reterr_detail)
{
    if (id.len == 0)
        return err_detail_set(reterr_detail, ERR_UNAUTHENTICATED, "no org id");
    if (id.len > TENANT_BYTES_MAX)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "tenant ID is too long: max %d characters", (int)TENANT_BYTES_MAX);
    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != 0 && strchr("!-_.*'()", c) != NULL)))
            return err_detail_set(
                reterr_detail, ERR_INVALID,
                c >= 0x20 && c < 0x7f
                    ? "tenant ID '" SLICE_FMT "' contains unsupported character '%c'"
                    : "tenant ID '" SLICE_FMT "' contains unsupported character '\\x%02x'",
                (int)i, (const char *)id.ptr, c);
    }
    if (slice_eq_str(id, ".") || slice_eq_str(id, ".."))
        return err_detail_set(reterr_detail, ERR_INVALID, "tenant ID is '.' or '..'");
    return ERR_OK;
}

enum err app_tenant(const struct config *c, const struct http_req *req, char *ret,
                    struct err_detail *reterr_detail)
{
    struct slice id = SLICE_LIT("single-tenant");

    assert(ret != NULL);
    if (c->multitenancy_enabled) {
        id = http_req_header(req, "x-scope-orgid");
        if (http_req_header_count(req, "x-scope-orgid") != 1)
            return err_detail_set(reterr_detail, ERR_UNAUTHENTICATED, "no org id");
        enum err e = app_tenant_check(id, reterr_detail);
        if (e != ERR_OK)
            return e;
    }
    memcpy(ret, id.ptr, id.len);
    ret[id.len] = '\0';
    return ERR_OK;
}
