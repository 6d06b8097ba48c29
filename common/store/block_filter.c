/* Filters: per part of a plain column, which texts it can have; laid out by hash, so that one page tells it of BLOCK_FILTER_PARTS parts. */
#include "common/store/block_filter.h"

#include "common/store/page.h"

#include <assert.h>
#include <string.h>

enum {
    PAGE_TEXTS = 4096,
    TEXTS_MIN = 256, /* fewer are read as fast as a filter of them */
    FALSE_BITS = 7,  /* one absent text in 2^7 is taken for one that is there */
    DIGIT_BITS = 11,
    PART_MASK = BLOCK_FILTER_PARTS - 1
};
_Static_assert((BLOCK_FILTER_PARTS & PART_MASK) == 0, "the part takes the low bits of an entry");

static uint64_t entry_of(uint32_t part, uint64_t hash)
{
    return (hash & ~(uint64_t)PART_MASK) | (part & PART_MASK);
}

static uint32_t page_of(uint64_t entry, uint32_t pages)
{
    return (uint32_t)((entry >> 32) * pages >> 32);
}

static uint64_t value_of(uint64_t entry, uint32_t range)
{
    uint64_t low = entry & UINT32_MAX & ~(uint64_t)PART_MASK;
    return (entry & PART_MASK) * range + (low * range >> 32);
}

/* --- writing --- */

struct block_filter_entries {
    struct block_filter_entries *next;
    uint64_t entries[PAGE_TEXTS];
};

void block_filter_init(struct block_filter_maker *m, struct budget *budget)
{
    *m = (struct block_filter_maker){0};
    arena_init(&m->arena, budget);
}

void block_filter_release(struct block_filter_maker *m)
{
    arena_release(&m->arena);
}

enum err block_filter_add(struct block_filter_maker *m, uint32_t part, uint64_t hash)
{
    uint32_t at = m->count % PAGE_TEXTS;
    if (m->count == UINT32_MAX)
        return ERR_TOO_LARGE;
    if (at == 0) {
        struct block_filter_entries *more = arena_alloc(&m->arena, sizeof *more);
        if (more == NULL)
            return arena_err(&m->arena);
        more->next = m->newest;
        m->newest = more;
    }
    m->newest->entries[at] = entry_of(part, hash);
    m->count++;
    return ERR_OK;
}

/* By the bits from `first` on below `end`, stable: least digit first; *v and *tmp change places with each digit. */
static void sort(uint64_t **v, uint64_t **tmp, uint32_t n, unsigned first, unsigned end)
{
    for (unsigned shift = first; shift < end; shift += DIGIT_BITS) {
        uint32_t at[1 << DIGIT_BITS] = {0}, sum = 0, mask = (1 << DIGIT_BITS) - 1;
        for (uint32_t i = 0; i < n; i++)
            at[(*v)[i] >> shift & mask]++;
        for (uint32_t d = 0; d <= mask; d++) {
            uint32_t count = at[d];
            at[d] = sum;
            sum += count;
        }
        for (uint32_t i = 0; i < n; i++)
            (*tmp)[at[(*v)[i] >> shift & mask]++] = (*v)[i];
        uint64_t *swap = *v;
        *v = *tmp;
        *tmp = swap;
    }
}

static uint32_t unique(uint64_t *v, uint32_t n)
{
    uint32_t to = 0;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || v[i] != v[i - 1])
            v[to++] = v[i];
    return to;
}

static unsigned bits_of(uint64_t v)
{
    return v == 0 ? 0 : 64 - (unsigned)__builtin_clzll(v);
}

static bool is_sorted(const uint64_t *v, uint32_t n)
{
    bool is = true;
    for (uint32_t i = 1; i < n; i++)
        is &= v[i - 1] <= v[i];
    return is;
}

/* The entries in one row, sorted, each once; *ret_tmp is as long.  They come part by part, so those of one text ascend already: the high half of
 * the hash nearly always sorts them all. */
static enum err gather(struct block_filter_maker *m, uint64_t **ret, uint64_t **ret_tmp,
                       uint32_t *ret_count)
{
    uint64_t *v = arena_alloc(&m->arena, m->count * sizeof *v);
    uint64_t *tmp = arena_alloc(&m->arena, m->count * sizeof *tmp);
    if (v == NULL || tmp == NULL)
        return arena_err(&m->arena);
    uint32_t n = (m->count - 1) % PAGE_TEXTS + 1, at = m->count;
    for (const struct block_filter_entries *e = m->newest; e != NULL; e = e->next) {
        at -= n;
        memcpy(v + at, e->entries, n * sizeof *v);
        n = PAGE_TEXTS;
    }
    assert(at == 0);
    sort(&v, &tmp, m->count, 64 - 3 * DIGIT_BITS, 64);
    if (!is_sorted(v, m->count))
        sort(&v, &tmp, m->count, 0, 64);
    *ret_count = unique(v, m->count);
    *ret = v;
    *ret_tmp = tmp;
    return ERR_OK;
}

static enum err put_pages(struct block_writer *w, struct block_filter_maker *m, uint32_t parts,
                          struct arena *keep, struct block_filter *f)
{
    uint64_t *v = NULL, *tmp = NULL;
    uint32_t n = 0;
    enum err e = gather(m, &v, &tmp, &n);
    if (e != ERR_OK)
        return e;
    f->page_count = (n + PAGE_TEXTS - 1) / PAGE_TEXTS;
    f->range = (n / (f->page_count * parts) + 1) << FALSE_BITS;
    f->pages = ARENA_ARRAY(keep, struct block_ref, f->page_count);
    if (f->pages == NULL)
        return arena_err(keep);
    for (uint32_t p = 0, at = 0; e == ERR_OK && p < f->page_count; p++) {
        uint32_t first = at;
        for (; at < n && page_of(v[at], f->page_count) == p; at++)
            tmp[at] = value_of(v[at], f->range);
        uint64_t *values = tmp + first, *other = v + first;
        sort(&values, &other, at - first, 0, bits_of((uint64_t)parts * f->range));
        uint32_t count = unique(values, at - first);
        page_put_ascending(&w->raw, values, count);
        e = block_write_page(w, BLOCK_PAGE_FILTER, count, true, &f->pages[p]);
    }
    return e;
}

enum err block_filter_put(struct block_writer *w, struct block_filter_maker *m, uint32_t parts,
                          struct arena *keep, struct block_filter *ret)
{
    struct block_filter f = {0};
    assert(parts >= 1 && parts <= BLOCK_FILTER_PARTS);
    enum err e = m->count < TEXTS_MIN ? ERR_OK : put_pages(w, m, parts, keep, &f);
    m->count = 0;
    m->newest = NULL;
    arena_reset(&m->arena);
    if (e == ERR_OK)
        *ret = f;
    return e;
}

/* --- reading --- */

static enum err load(struct block *b, const struct block_piece_of *of, struct block_piece *p,
                     struct arena *tmp, uint64_t *io_bytes)
{
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    enum err e =
        block_page(b, &of->filter->pages[of->chunk], BLOCK_PAGE_FILTER, tmp, io_bytes, &page, &raw);
    if (e != ERR_OK)
        return e;
    if (page.count / PAGE_VECTOR > raw.len) /* a vector takes three bytes at least */
        return ERR_CORRUPT;
    p->count = page.count;
    p->values = arena_alloc(&p->arena, p->count * sizeof *p->values);
    if (p->values == NULL)
        return arena_err(&p->arena);
    struct reader r = reader_of(raw);
    return page_get_ascending(&r, p->count, p->values);
}

enum err block_filter_may_have(struct block *b, struct block_user *user,
                               const struct block_column *c, uint32_t part, struct slice text,
                               bool *ret)
{
    const struct block_filter *f =
        c->filters == NULL ? NULL : &c->filters[part / BLOCK_FILTER_PARTS];
    *ret = true;
    if (f == NULL || f->page_count == 0)
        return ERR_OK;
    uint64_t entry = entry_of(part, block_filter_hash(text)), value = value_of(entry, f->range);
    struct block_piece_of of = {.filter = f, .chunk = page_of(entry, f->page_count)};
    const struct block_piece *p;
    enum err e = block_piece_get(b, user, f->first_piece + of.chunk, load, &of, &p);
    if (e != ERR_OK)
        return e;
    uint32_t lo = 0, hi = p->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->values[mid] < value)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret = lo < p->count && p->values[lo] == value;
    return ERR_OK;
}
