#include "common/objstore/s3_list.h"

#include "common/base/num.h"
#include "common/objstore/s3_priv.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/xml.h"

struct parser {
    struct arena *a;
    struct remote_page *page;
    bool is_encoded; /* keys are percent-encoded, as asked */
    bool is_listing;
    const char *key, *etag;
    uint64_t bytes;
};

static int hex_of(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static const char *decoded(struct parser *p, struct slice text)
{
    char *ret = arena_alloc(p->a, text.len + 1);
    size_t n = 0;

    for (size_t i = 0; ret != NULL && i < text.len; i++) {
        bool is_code = text.ptr[i] == '%' && i + 2 < text.len && hex_of(text.ptr[i + 1]) >= 0 &&
                       hex_of(text.ptr[i + 2]) >= 0;
        if (p->is_encoded && is_code) {
            ret[n++] = (char)(hex_of(text.ptr[i + 1]) << 4 | hex_of(text.ptr[i + 2]));
            i += 2;
        } else {
            ret[n++] = p->is_encoded && text.ptr[i] == '+' ? ' ' : (char)text.ptr[i];
        }
    }
    if (ret != NULL)
        ret[n] = '\0';
    return ret;
}

static enum err add_entry(struct parser *p, const char *key)
{
    enum err e = remote_page_add(p->page, p->a, key, p->bytes, p->etag);

    p->key = p->etag = NULL;
    p->bytes = 0;
    return e;
}

static enum err on_element(void *arg, const char *path, struct slice text)
{
    struct parser *p = arg;

    if (strncmp(path, "ListBucketResult", 16) != 0)
        return ERR_FORMAT;
    p->is_listing = true;
    const char *below = path + 16 + (path[16] == '/');
    if (strcmp(below, "EncodingType") == 0)
        p->is_encoded = slice_eq_str(text, "url");
    else if (strcmp(below, "IsTruncated") == 0)
        p->page->is_truncated = slice_eq_str(text, "true");
    else if (strcmp(below, "NextContinuationToken") == 0)
        p->page->token = arena_str(p->a, text);
    else if (strcmp(below, "NextMarker") == 0)
        p->page->marker = decoded(p, text);
    else if (strcmp(below, "Contents/Key") == 0)
        p->key = decoded(p, text);
    else if (strcmp(below, "Contents/ETag") == 0)
        p->etag = arena_str(p->a, text);
    else if (strcmp(below, "Contents/Size") == 0 && num_parse_u64(text, &p->bytes) != ERR_OK)
        return ERR_FORMAT;
    else if (strcmp(below, "Contents") == 0)
        return add_entry(p, p->key);
    else if (strcmp(below, "CommonPrefixes/Prefix") == 0)
        return add_entry(p, decoded(p, text));
    return arena_err(p->a);
}

enum err s3_list_parse(struct slice xml, struct arena *a, struct remote_page *ret)
{
    struct remote_page page = {0};
    struct parser p = {.a = a,
                       .page = &page,
                       .is_encoded = memmem(xml.ptr, xml.len, "<EncodingType>url<", 18) != NULL};
    enum err e = xml.len == 0 ? ERR_FORMAT : xml_walk(xml, on_element, &p);

    if (e == ERR_OK && !p.is_listing)
        e = ERR_FORMAT;
    if (e != ERR_OK)
        return e;
    remote_page_sort(&page);
    if (page.is_truncated && page.marker == NULL && page.count > 0)
        page.marker = page.entries[page.count - 1].key;
    *ret = page;
    return ERR_OK;
}

/* --- asking for one --- */

static const char *list_query(const struct remote_lister *l, bool is_v1, struct arena *a)
{
    const char *prefix = s3_sign_encode(a, slice_str(l->prefix), false);
    const char *from = is_v1 ? l->marker : l->token;
    const char *at = from != NULL ? s3_sign_encode(a, slice_str(from), false) : "";
    const char *slash = l->is_deep ? "" : "delimiter=%2F&";

    if (arena_err(a) != ERR_OK)
        return NULL;
    if (is_v1)
        return arena_printf(a, "%sencoding-type=url%s%s&max-keys=1000&prefix=%s", slash,
                            from != NULL ? "&marker=" : "", at, prefix);
    return arena_printf(a, "%s%s%s%sencoding-type=url&list-type=2&max-keys=1000&prefix=%s",
                        from != NULL ? "continuation-token=" : "", at, from != NULL ? "&" : "",
                        slash, prefix);
}

/* A server that does not know version 2 says so, or answers in the way of version 1. */
static bool note_v1(struct s3 *s, bool is_v1)
{
    mutex_lock(&s->remote.lock);
    if (is_v1)
        s->is_v1 = true;
    is_v1 = s->is_v1;
    mutex_unlock(&s->remote.lock);
    return is_v1;
}

enum err s3_list_page(struct remote *r, const struct remote_lister *l, struct arena *a,
                      struct remote_page *ret)
{
    struct s3 *s = (struct s3 *)r;
    struct remote_answer answer;
    bool is_v1 = note_v1(s, false);
    struct remote_request q = {
        .method = "GET", .query = list_query(l, is_v1, a), .body_bytes_max = REMOTE_LIST_BYTES_MAX};

    enum err e = q.query == NULL ? arena_err(a) : remote_call(r, &q, &answer);
    if ((e == ERR_INVALID || e == ERR_UNSUPPORTED) && !is_v1 && l->token == NULL) {
        (void)note_v1(s, true);
        return s3_list_page(r, l, a, ret);
    }
    if (e != ERR_OK)
        return e;
    e = s3_list_parse(buf_slice(&answer.body), a, ret);
    remote_answer_release(&answer);
    if (e == ERR_OK && ret->is_truncated && ret->token == NULL)
        (void)note_v1(s, true);
    return e;
}
