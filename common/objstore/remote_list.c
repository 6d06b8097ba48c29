/* Listings: all pages of one, in order. */
#include "common/objstore/remote.h"

#include <stdlib.h>

enum { PAGES_MAX = 100000, ENTRIES_MAX = 10000 };

enum err remote_page_add(struct remote_page *page, struct arena *a, const char *key, uint64_t bytes,
                         const char *etag)
{
    if (key == NULL || page->count == ENTRIES_MAX)
        return key == NULL ? ERR_FORMAT : ERR_LIMIT;
    if (page->count == page->cap) {
        uint32_t cap = page->cap == 0 ? 64 : 2 * page->cap;
        struct bucket_entry *to = ARENA_ARRAY(a, struct bucket_entry, cap);
        if (to == NULL)
            return arena_err(a);
        if (page->count > 0)
            memcpy(to, page->entries, page->count * sizeof *to);
        page->entries = to;
        page->cap = cap;
    }
    page->entries[page->count++] = (struct bucket_entry){key, bytes, etag != NULL ? etag : ""};
    return ERR_OK;
}

static int entry_cmp(const void *a, const void *b)
{
    const struct bucket_entry *x = a, *y = b;

    return strcmp(x->key, y->key);
}

void remote_page_sort(struct remote_page *page)
{
    if (page->count > 1)
        qsort(page->entries, page->count, sizeof *page->entries, entry_cmp);
}

static enum err give_page(const struct remote_lister *l, const struct remote_page *page,
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

static enum err next_page(struct remote_lister *l, const struct remote_page *page)
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

enum err remote_list(struct bucket *b, const char *prefix, bool is_deep, bucket_entry_fn *fn,
                     void *arg)
{
    struct remote *r = (struct remote *)b;
    struct remote_lister l = {.is_deep = is_deep};
    struct remote_page page = {.is_truncated = true};
    struct arena a;
    enum err e;

    arena_init(&l.texts, NULL);
    arena_init(&a, NULL);
    l.prefix = remote_key(r, prefix, &l.texts);
    l.own_bytes = r->prefix[0] != '\0' ? strlen(r->prefix) + 1 : 0;
    e = arena_err(&l.texts);
    for (unsigned i = 0; i < PAGES_MAX && e == ERR_OK && page.is_truncated; i++) {
        arena_reset(&a);
        e = r->ops->list_page(r, &l, &a, &page);
        if (e == ERR_FORMAT)
            e = ERR_CORRUPT;
        if (e == ERR_OK)
            e = give_page(&l, &page, fn, arg);
        if (e == ERR_OK && page.is_truncated)
            e = next_page(&l, &page);
    }
    arena_release(&a);
    arena_release(&l.texts);
    return e;
}
