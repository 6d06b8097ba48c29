#include "common/objstore/s3_list.h"

#include "common/base/num.h"
#include "common/objstore/s3_priv.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/s3_xml.h"

#include <stdlib.h>

enum { PAGES_MAX = 100000, ENTRIES_MAX = 10000 };

struct parser {
    struct arena *a;
    struct s3_list_page *page;
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
    struct s3_list_page *page = p->page;

    if (key == NULL || page->count == ENTRIES_MAX)
        return key == NULL ? ERR_FORMAT : ERR_LIMIT;
    if (page->count == page->cap) {
        uint32_t cap = page->cap == 0 ? 64 : 2 * page->cap;
        struct bucket_entry *to = ARENA_ARRAY(p->a, struct bucket_entry, cap);
        if (to == NULL)
            return arena_err(p->a);
        if (page->count > 0)
            memcpy(to, page->entries, page->count * sizeof *to);
        page->entries = to;
        page->cap = cap;
    }
    page->entries[page->count++] =
        (struct bucket_entry){key, p->bytes, p->etag != NULL ? p->etag : ""};
    p->key = p->etag = NULL;
    p->bytes = 0;
    return ERR_OK;
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

static int entry_cmp(const void *a, const void *b)
{
    const struct bucket_entry *x = a, *y = b;

    return strcmp(x->key, y->key);
}

enum err s3_list_parse(struct slice xml, struct arena *a, struct s3_list_page *ret)
{
    struct s3_list_page page = {0};
    struct parser p = {.a = a,
                       .page = &page,
                       .is_encoded = memmem(xml.ptr, xml.len, "<EncodingType>url<", 18) != NULL};
    enum err e = xml.len == 0 ? ERR_FORMAT : s3_xml_walk(xml, on_element, &p);

    if (e == ERR_OK && !p.is_listing)
        e = ERR_FORMAT;
    if (e != ERR_OK)
        return e;
    if (page.count > 1)
        qsort(page.entries, page.count, sizeof *page.entries, entry_cmp);
    if (page.is_truncated && page.marker == NULL && page.count > 0)
        page.marker = page.entries[page.count - 1].key;
    *ret = page;
    return ERR_OK;
}

/* --- all pages --- */

struct lister {
    struct s3 *s;
    const char *prefix; /* with the bucket's own in front */
    size_t own_bytes;   /* of the bucket's own prefix and its slash */
    bool is_deep;
    const char *token, *marker; /* where the next page begins */
    struct arena texts;         /* of token and marker */
};

static const char *list_query(const struct lister *l, bool is_v1, struct arena *a)
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
    mutex_lock(&s->lock);
    if (is_v1)
        s->is_v1 = true;
    is_v1 = s->is_v1;
    mutex_unlock(&s->lock);
    return is_v1;
}

static enum err list_page(struct lister *l, struct arena *a, struct s3_list_page *ret)
{
    struct s3_answer answer;
    bool is_v1 = note_v1(l->s, false);
    struct s3_request r = {
        .method = "GET", .query = list_query(l, is_v1, a), .body_bytes_max = S3_LIST_BYTES_MAX};

    enum err e = r.query == NULL ? arena_err(a) : s3_call(l->s, &r, &answer);
    if ((e == ERR_INVALID || e == ERR_UNSUPPORTED) && !is_v1 && l->token == NULL) {
        (void)note_v1(l->s, true);
        return list_page(l, a, ret);
    }
    if (e != ERR_OK)
        return e;
    e = s3_list_parse(buf_slice(&answer.body), a, ret);
    s3_answer_release(&answer);
    if (e == ERR_OK && ret->is_truncated && ret->token == NULL)
        (void)note_v1(l->s, true);
    return e == ERR_FORMAT ? ERR_CORRUPT : e;
}

static enum err give_page(const struct lister *l, const struct s3_list_page *page,
                          bucket_entry_fn *fn, void *arg)
{
    enum err e = ERR_OK;

    for (uint32_t i = 0; i < page->count && e == ERR_OK; i++) {
        struct bucket_entry entry = page->entries[i];
        if (strncmp(entry.key, l->prefix, strlen(l->prefix)) != 0)
            continue; /* not what was asked for */
        entry.key += l->own_bytes;
        e = fn(arg, &entry);
    }
    return e;
}

static enum err next_page(struct lister *l, const struct s3_list_page *page)
{
    struct slice token = page->token != NULL ? slice_str(page->token) : SLICE_NONE;
    struct slice marker = page->marker != NULL ? slice_str(page->marker) : SLICE_NONE;
    bool stands = page->token == NULL && l->marker != NULL && page->marker != NULL &&
                  strcmp(page->marker, l->marker) <= 0;

    if ((page->token == NULL && page->marker == NULL) || stands)
        return ERR_CORRUPT; /* more, but not from where; or the same again */
    const char *new_token = page->token != NULL ? arena_str(&l->texts, token) : NULL;
    l->marker = page->marker != NULL ? arena_str(&l->texts, marker) : NULL;
    l->token = new_token;
    return arena_err(&l->texts);
}

enum err s3_list(struct s3 *s, const char *prefix, bool is_deep, bucket_entry_fn *fn, void *arg)
{
    struct lister l = {.s = s, .is_deep = is_deep};
    struct s3_list_page page = {.is_truncated = true};
    struct arena a;
    enum err e;

    arena_init(&l.texts, NULL);
    arena_init(&a, NULL);
    bool has_own = s->o.prefix[0] != '\0';
    l.prefix = arena_printf(&l.texts, "%s%s%s", s->o.prefix, has_own ? "/" : "", prefix);
    l.own_bytes = has_own ? strlen(s->o.prefix) + 1 : 0;
    e = arena_err(&l.texts);
    for (unsigned i = 0; i < PAGES_MAX && e == ERR_OK && page.is_truncated; i++) {
        arena_reset(&a);
        e = list_page(&l, &a, &page);
        if (e == ERR_OK)
            e = give_page(&l, &page, fn, arg);
        if (e == ERR_OK && page.is_truncated)
            e = next_page(&l, &page);
    }
    arena_release(&a);
    arena_release(&l.texts);
    return e;
}
