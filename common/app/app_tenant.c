#include "common/app/app.h"

#include <assert.h>

enum { TENANT_BYTES_MAX = 150, TEXT_BYTES_MAX = 1024 };

static bool is_allowed(uint8_t c)
{
    bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

    return is_word || (c != 0 && strchr("!-_.*'()", c) != NULL);
}

static void append_printable(struct buf *out, uint8_t c)
{
    if (c >= 0x20 && c < 0x7f)
        buf_append_byte(out, c);
    else
        buf_appendf(out, "\\x%02x", c);
}

static enum err refuse(struct slice id, uint8_t what, struct err_detail *detail)
{
    struct buf text;

    buf_init(&text, TEXT_BYTES_MAX);
    for (size_t i = 0; i < id.len; i++)
        append_printable(&text, id.ptr[i]);
    buf_append_str(&text, "' contains unsupported character '");
    append_printable(&text, what);
    (void)err_detail_set(detail, ERR_INVALID, "tenant ID '" SLICE_FMT "'",
                         SLICE_ARG(buf_slice(&text)));
    buf_release(&text);
    return ERR_INVALID;
}

enum err app_tenant_check(struct slice id, struct err_detail *reterr_detail)
{
    if (id.len == 0)
        return err_detail_set(reterr_detail, ERR_UNAUTHENTICATED, "no org id");
    if (id.len > TENANT_BYTES_MAX)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "tenant ID is too long: max %d characters", (int)TENANT_BYTES_MAX);
    for (size_t i = 0; i < id.len; i++)
        if (!is_allowed(id.ptr[i]))
            return refuse(id, id.ptr[i], reterr_detail);
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
