#include "common/store/block_text.h"

#include "common/store/page.h"
#include "common/store/page_template.h"

enum { SAMPLE_TEXTS = 1024, PAGES_ALIKE = 8 };

/* --- writing --- */

static size_t stored_bytes(struct buf *page, struct slice raw)
{
    buf_reset(page);
    lz4_page_append(page, 0, 0, raw, LZ4_PAGE_SMALL);
    return page->len;
}

/* Whether templates take less, told by the first of the texts. */
static enum err templates_pay(struct block_writer *w, const struct slice *texts, uint32_t count,
                              bool *ret)
{
    struct buf page, raw;
    count = count < SAMPLE_TEXTS ? count : SAMPLE_TEXTS;
    buf_init(&page, LZ4_PAGE_BYTES_MAX);
    buf_init(&raw, LZ4_PAGE_BYTES_MAX);
    enum err e = page_template_put(&raw, texts, count, &w->scratch, ret);
    if (e == ERR_OK && *ret) {
        size_t templates = stored_bytes(&page, buf_slice(&raw));
        if (buf_err(&raw) == ERR_OK)
            buf_reset(&raw);
        page_put_texts(&raw, texts, count);
        *ret = templates < stored_bytes(&page, buf_slice(&raw));
        e = buf_err(&raw) != ERR_OK ? buf_err(&raw) : buf_err(&page);
    }
    buf_release(&page);
    buf_release(&raw);
    return e;
}

enum err block_text_put(struct block_writer *w, struct block_text_plan *plan,
                        const struct slice *texts, uint32_t count, struct block_ref *ret)
{
    enum err e = ERR_OK;
    if (plan->pages_left == 0) {
        plan->pages_left = PAGES_ALIKE;
        e = templates_pay(w, texts, count, &plan->is_split);
    }
    plan->pages_left--;
    bool is_split = plan->is_split;
    if (e == ERR_OK && is_split)
        e = page_template_put(&w->raw, texts, count, &w->scratch, &is_split);
    if (e != ERR_OK)
        return e;
    if (!is_split)
        page_put_texts(&w->raw, texts, count);
    return block_write_page(w, is_split ? BLOCK_PAGE_TEMPLATES : BLOCK_PAGE_TEXTS, count, false,
                            ret);
}

/* --- reading --- */

static enum err page_of(struct block_segment *s, const struct block_ref *ref, uint32_t count,
                        bool *ret_is_split, struct slice *ret)
{
    struct lz4_page page;
    if (ref->bytes == 0)
        return ERR_CORRUPT;
    enum err e = block_page(s->b, ref, BLOCK_PAGE_ANY_TEXTS, &s->tmp, &s->base.segment.read_bytes,
                            &page, ret);
    if (e != ERR_OK || page.count != count)
        return e == ERR_OK ? ERR_CORRUPT : e;
    *ret_is_split = page.kind == BLOCK_PAGE_TEMPLATES;
    return ERR_OK;
}

enum err block_text_get(struct block_segment *s, const struct block_ref *ref, uint32_t count,
                        struct slice **ret)
{
    bool is_split;
    struct slice raw = SLICE_NONE;
    enum err e = page_of(s, ref, count, &is_split, &raw);
    if (e != ERR_OK)
        return e;
    if (is_split)
        return page_template_get(raw, count, &s->arena, &s->tmp, ret);
    raw = arena_dup(&s->arena, raw);
    if (arena_err(&s->arena) != ERR_OK)
        return arena_err(&s->arena);
    struct reader r = reader_of(raw);
    return page_get_texts(&r, count, &s->arena, ret);
}

enum err block_text_equal(struct block_segment *s, const struct block_ref *ref, uint32_t count,
                          struct slice text, uint8_t *ret)
{
    bool is_split;
    struct slice raw = SLICE_NONE, *values;
    enum err e = page_of(s, ref, count, &is_split, &raw);
    if (e == ERR_OK && is_split)
        return page_template_equal(raw, count, text, &s->tmp, ret);
    struct reader r = reader_of(raw);
    if (e == ERR_OK)
        e = page_get_texts(&r, count, &s->tmp, &values);
    for (uint32_t i = 0; e == ERR_OK && i < count; i++)
        ret[i] = slice_eq(values[i], text);
    return e;
}
