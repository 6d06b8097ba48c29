/* Dictionaries: written in chunks of sorted texts, read chunk by chunk. */
#include "common/store/block_dict.h"

#include "common/store/page.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- writing --- */

static int compare_sorting(const void *a, const void *b)
{
    const struct block_dict_text *x = a, *y = b;
    if (x->prefix != y->prefix)
        return x->prefix < y->prefix ? -1 : 1;
    return slice_cmp(x->text, y->text);
}

static uint64_t prefix_of(struct slice s)
{
    uint64_t prefix = 0;
    for (size_t i = 0; i < 8; i++)
        prefix = prefix << 8 | (i < s.len ? s.ptr[i] : 0);
    return prefix;
}

enum err block_dict_sort(struct arena *a, struct slice *texts, uint32_t count, uint32_t **ret_rank)
{
    struct block_dict_text *sorting = arena_alloc(a, count * sizeof *sorting);
    uint32_t *rank = arena_alloc(a, count * sizeof *rank);
    if (sorting == NULL || rank == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < count; i++)
        sorting[i] = (struct block_dict_text){prefix_of(texts[i]), texts[i], i};
    qsort(sorting, count, sizeof *sorting, compare_sorting);
    for (uint32_t i = 0; i < count; i++) {
        texts[i] = sorting[i].text;
        rank[sorting[i].number] = i;
    }
    *ret_rank = rank;
    return ERR_OK;
}

/* The shortest beginning of `text` that does not stand before `before`, nor is it. */
static struct slice separator(struct slice before, struct slice text)
{
    size_t same = 0;
    while (same < before.len && same < text.len && before.ptr[same] == text.ptr[same])
        same++;
    assert(same < text.len);
    return slice_sub(text, 0, same + 1);
}

/* The codes of a chunk in every part: part by part, as part * texts + code. */
static enum err put_lists(struct block_writer *w, const struct block_dict_lists *l,
                          const struct block_dict_chunk *c, uint32_t *at, struct block_ref *ret)
{
    uint32_t total = 0, end = c->first_code + c->count;
    uint64_t *values = ARENA_ARRAY(&w->scratch, uint64_t, l->part_count);
    if (values == NULL)
        return arena_err(&w->scratch);
    for (uint32_t p = 0, first = 0; p < l->part_count; first = l->end[p++]) {
        values[p] = at[p] - first;
        for (uint32_t i = at[p]; i < l->end[p] && l->codes[i] < end; i++)
            total++;
    }
    page_put_ints(&w->raw, values, l->part_count);
    values = arena_alloc(&w->scratch, total * sizeof *values);
    if (values == NULL)
        return arena_err(&w->scratch);
    uint32_t n = 0;
    for (uint32_t p = 0; p < l->part_count; p++)
        for (; at[p] < l->end[p] && l->codes[at[p]] < end; at[p]++)
            values[n++] = (uint64_t)p * c->count + (l->codes[at[p]] - c->first_code);
    page_put_ascending(&w->raw, values, total);
    return block_write_page(w, BLOCK_PAGE_LISTS, total, false, ret);
}

static uint32_t chunk_texts(const struct slice *texts, uint32_t first, uint32_t count)
{
    size_t bytes = 0;
    uint32_t n = 0;
    while (first + n < count && n < BLOCK_DICT_CHUNK_TEXTS && bytes < BLOCK_DICT_CHUNK_BYTES)
        bytes += texts[first + n++].len;
    return n;
}

enum err block_dict_put(struct block_writer *w, const struct slice *texts, uint32_t count,
                        const struct block_dict_lists *l, struct arena *keep,
                        struct block_dict_ref *ret)
{
    uint32_t chunks = 0, *at = ARENA_ARRAY(&w->scratch, uint32_t, l->part_count);
    for (uint32_t first = 0; first < count; chunks++)
        first += chunk_texts(texts, first, count);
    struct block_dict_ref d = {.count = count,
                               .chunk_count = chunks,
                               .chunks = ARENA_ARRAY(keep, struct block_dict_chunk, chunks)};
    if (at == NULL || d.chunks == NULL)
        return at == NULL ? arena_err(&w->scratch) : arena_err(keep);
    for (uint32_t p = 1; p < l->part_count; p++)
        at[p] = l->end[p - 1];
    enum err e = ERR_OK;
    for (uint32_t i = 0, first = 0; e == ERR_OK && i < chunks; first += d.chunks[i++].count) {
        struct block_dict_chunk *c = &d.chunks[i];
        c->first_code = first;
        c->count = chunk_texts(texts, first, count);
        if (i != 0)
            c->first = arena_dup(keep, separator(texts[first - 1], texts[first]));
        page_put_texts(&w->raw, texts + first, c->count);
        e = block_write_page(w, BLOCK_PAGE_DICT, c->count, false, &c->texts);
        if (e == ERR_OK)
            e = put_lists(w, l, c, at, &c->lists);
    }
    *ret = d;
    return e == ERR_OK ? arena_err(keep) : e;
}

/* --- pieces --- */

static void piece_free(struct block_piece *p)
{
    struct arena arena = p->arena;
    arena_release(&arena); /* p lies in it */
}

void block_piece_free_all(struct block_piece *p)
{
    for (struct block_piece *next; p != NULL; p = next) {
        next = p->next;
        piece_free(p);
    }
}

static enum err piece_make(struct block *b, struct budget *budget, block_piece_fn *load,
                           const struct block_piece_of *of, uint64_t *io_bytes,
                           struct block_piece **ret)
{
    struct arena arena, tmp;
    arena_init(&arena, budget);
    struct block_piece *p = ARENA_NEW(&arena, struct block_piece);
    if (p == NULL) {
        enum err e = arena_err(&arena);
        arena_release(&arena);
        return e;
    }
    p->arena = arena;
    arena_init(&tmp, budget);
    enum err e = load(b, of, p, &tmp, io_bytes);
    arena_release(&tmp);
    if (e != ERR_OK)
        piece_free(p);
    else
        *ret = p;
    return e;
}

enum err block_piece_get(struct block *b, struct block_user *user, uint32_t number,
                         block_piece_fn *load, const struct block_piece_of *of,
                         const struct block_piece **ret)
{
    assert(number < b->index.piece_count);
    struct block_piece *known = atomic_load_explicit(&b->pieces[number], memory_order_acquire),
                       *made = NULL;
    for (struct block_piece *p = user->own; known == NULL && p != NULL; p = p->next)
        if (p->number == number)
            known = p;
    if (known != NULL) {
        *ret = known;
        return ERR_OK;
    }
    enum err e = piece_make(b, b->budget, load, of, user->read_bytes, &made);
    bool is_own = e == ERR_LIMIT || e == ERR_NOMEM;
    if (is_own)
        e = piece_make(b, user->budget, load, of, user->read_bytes, &made);
    if (e != ERR_OK)
        return e;
    made->number = number;
    if (is_own) {
        made->next = user->own;
        user->own = made;
    } else if (!atomic_compare_exchange_strong_explicit(
                   &b->pieces[number], &known, made, memory_order_acq_rel, memory_order_acquire)) {
        piece_free(made); /* another thread was faster */
        made = known;
    }
    *ret = made;
    return ERR_OK;
}

/* --- reading --- */

static enum err load_texts(struct block *b, const struct block_piece_of *of, struct block_piece *p,
                           struct arena *tmp, uint64_t *io_bytes)
{
    const struct block_dict_chunk *c = &b->index.dicts[of->dict].chunks[of->chunk];
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    enum err e = block_page(b, &c->texts, BLOCK_PAGE_DICT, tmp, io_bytes, &page, &raw);
    if (e != ERR_OK || page.count != c->count)
        return e == ERR_OK ? ERR_CORRUPT : e;
    raw = arena_dup(&p->arena, raw);
    struct reader r = reader_of(raw);
    p->count = c->count;
    return arena_err(&p->arena) != ERR_OK ? arena_err(&p->arena)
                                          : page_get_texts(&r, p->count, &p->arena, &p->texts);
}

/* Version 1: counts per part, then the codes of each part. */
static enum err get_lists_v1(struct reader *r, const struct block_piece_of *of,
                             struct block_piece *p, uint64_t *values, uint32_t texts)
{
    uint32_t at = 0;
    enum err e = page_get_ints(r, of->parts, values);
    for (uint32_t i = 0; e == ERR_OK && i < of->parts; i++) {
        if (values[i] > p->count - at || values[i] > texts)
            return ERR_CORRUPT;
        uint32_t n = (uint32_t)values[i];
        uint64_t *codes = values + of->parts;
        e = page_get_ints(r, n, codes);
        for (uint32_t k = 0; e == ERR_OK && k < n; k++) {
            if (codes[k] >= texts || (k != 0 && codes[k] <= codes[k - 1]))
                return ERR_CORRUPT;
            p->codes[at++] = (uint32_t)codes[k];
        }
        p->end[i] = at;
    }
    return e == ERR_OK && at != p->count ? ERR_CORRUPT : e;
}

static enum err get_lists(struct reader *r, const struct block_piece_of *of, struct block_piece *p,
                          uint64_t *values, const struct block_dict_chunk *c)
{
    uint32_t at = 0;
    enum err e = page_get_ints(r, of->parts, values);
    for (uint32_t i = 0; e == ERR_OK && i < of->parts; i++) {
        if (values[i] > c->first_code)
            return ERR_CORRUPT;
        p->before[i] = (uint32_t)values[i];
    }
    if (e == ERR_OK)
        e = page_get_ascending(r, p->count, values);
    for (uint32_t i = 0; e == ERR_OK && i < of->parts; i++) {
        uint64_t from = (uint64_t)i * c->count;
        for (uint32_t first = at; at < p->count && values[at] - from < c->count; at++) {
            if (at != first && values[at] == values[at - 1])
                return ERR_CORRUPT;
            p->codes[at] = c->first_code + (uint32_t)(values[at] - from);
        }
        p->end[i] = at;
    }
    return e == ERR_OK && at != p->count ? ERR_CORRUPT : e;
}

static enum err load_lists(struct block *b, const struct block_piece_of *of, struct block_piece *p,
                           struct arena *tmp, uint64_t *io_bytes)
{
    const struct block_dict_chunk *c = &b->index.dicts[of->dict].chunks[of->chunk];
    struct lz4_page page;
    struct slice raw = SLICE_NONE;
    enum err e = block_page(b, &c->lists, BLOCK_PAGE_LISTS, tmp, io_bytes, &page, &raw);
    if (e != ERR_OK)
        return e;
    if (page.count > (uint64_t)of->parts * c->count)
        return ERR_CORRUPT;
    p->count = page.count;
    p->part_count = of->parts;
    uint64_t *values = arena_alloc(tmp, ((size_t)of->parts + p->count) * sizeof *values);
    p->before = ARENA_ARRAY(&p->arena, uint32_t, of->parts);
    p->end = ARENA_ARRAY(&p->arena, uint32_t, of->parts);
    p->codes = arena_alloc(&p->arena, p->count * sizeof *p->codes);
    if (values == NULL || arena_err(&p->arena) != ERR_OK)
        return values == NULL ? arena_err(tmp) : arena_err(&p->arena);
    struct reader r = reader_of(raw);
    return block_has_sorted_dicts(&b->index) ? get_lists(&r, of, p, values, c)
                                             : get_lists_v1(&r, of, p, values, c->count);
}

static enum err texts_of(struct block *b, struct block_user *user, uint32_t dict, uint32_t chunk,
                         const struct block_piece **ret)
{
    struct block_piece_of of = {.dict = dict, .chunk = chunk};
    return block_piece_get(b, user, b->index.dicts[dict].first_piece + 2 * chunk, load_texts, &of,
                           ret);
}

/* Two columns of different tables can not share a dictionary. */
static enum err lists_of(struct block *b, struct block_user *user, uint32_t dict, uint32_t chunk,
                         uint32_t parts, const struct block_piece **ret)
{
    struct block_piece_of of = {.dict = dict, .chunk = chunk, .parts = parts};
    enum err e = block_piece_get(b, user, b->index.dicts[dict].first_piece + 2 * chunk + 1,
                                 load_lists, &of, ret);
    return e == ERR_OK && (*ret)->part_count != parts ? ERR_CORRUPT : e;
}

enum err block_dict_listed(struct block *b, struct block_user *user, uint32_t dict, uint32_t parts,
                           uint32_t part, struct arena *a, const struct slice **ret,
                           uint32_t *ret_count)
{
    const struct block_dict_ref *d = &b->index.dicts[dict];
    const struct block_piece *lists = NULL, *texts = NULL;
    uint64_t total = 0;
    enum err e = ERR_OK;
    for (uint32_t c = 0; e == ERR_OK && c < d->chunk_count; c++) {
        e = lists_of(b, user, dict, c, parts, &lists);
        if (e == ERR_OK && lists->before[part] != (block_has_sorted_dicts(&b->index) ? total : 0))
            e = ERR_CORRUPT;
        if (e == ERR_OK)
            total += lists->end[part] - (part == 0 ? 0 : lists->end[part - 1]);
    }
    if (e != ERR_OK)
        return e;
    assert(total <= d->count);
    struct slice *to = arena_alloc(a, total * sizeof *to);
    if (to == NULL)
        return arena_err(a);
    *ret = to;
    *ret_count = (uint32_t)total;
    for (uint32_t c = 0; c < d->chunk_count; c++) {
        e = lists_of(b, user, dict, c, parts, &lists);
        uint32_t first = e != ERR_OK || part == 0 ? 0 : lists->end[part - 1];
        if (e == ERR_OK && first == lists->end[part])
            continue;
        if (e == ERR_OK)
            e = texts_of(b, user, dict, c, &texts);
        if (e != ERR_OK)
            return e;
        for (uint32_t i = first; i < lists->end[part]; i++)
            *to++ = texts->texts[lists->codes[i] - d->chunks[c].first_code];
    }
    return ERR_OK;
}

/* --- finding one text --- */

static uint32_t chunk_of(const struct block_dict_ref *d, struct slice text)
{
    uint32_t lo = 0, hi = d->chunk_count;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (slice_cmp(d->chunks[mid].first, text) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

static uint32_t place_of(const struct block_piece *p, bool is_sorted, struct slice text)
{
    uint32_t lo = 0, hi = p->count;
    if (!is_sorted) {
        while (lo < hi && !slice_eq(p->texts[lo], text))
            lo++;
        return lo < hi ? lo : BLOCK_NONE;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (slice_cmp(p->texts[mid], text) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < p->count && slice_eq(p->texts[lo], text) ? lo : BLOCK_NONE;
}

enum err block_dict_find(struct block *b, struct block_user *user, uint32_t dict, uint32_t parts,
                         uint32_t part, struct slice text, uint32_t *ret_number)
{
    const struct block_dict_ref *d = &b->index.dicts[dict];
    const struct block_piece *p;
    *ret_number = BLOCK_NONE;
    if (d->chunk_count == 0)
        return ERR_OK;
    uint32_t chunk = chunk_of(d, text);
    enum err e = texts_of(b, user, dict, chunk, &p);
    if (e != ERR_OK)
        return e;
    uint32_t code = place_of(p, block_has_sorted_dicts(&b->index), text);
    if (code == BLOCK_NONE)
        return ERR_OK;
    code += d->chunks[chunk].first_code;
    e = lists_of(b, user, dict, chunk, parts, &p);
    if (e != ERR_OK)
        return e;
    uint32_t first = part == 0 ? 0 : p->end[part - 1], lo = first, hi = p->end[part];
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->codes[mid] < code)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < p->end[part] && p->codes[lo] == code)
        *ret_number = p->before[part] + lo - first;
    return ERR_OK;
}
