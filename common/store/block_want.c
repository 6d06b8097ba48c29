/* What will be read of a block, told to its object: a far store then loads it together. */
#include "common/base/hash.h"
#include "common/store/block_reader.h"

#include <stdlib.h>

enum { WANTS_MAX = 4096 };

struct wants {
    struct object_range *list; /* [WANTS_MAX] */
    uint32_t count;
};

static void want_ref(struct wants *w, enum object_part part, const struct block_ref *ref)
{
    if (ref->bytes > 0 && w->count < WANTS_MAX)
        w->list[w->count++] = (struct object_range){ref->offset, ref->bytes, part};
}

static void want_dict(struct wants *w, const struct block_index *x, uint32_t dict)
{
    const struct block_dict_ref *d = &x->dicts[dict];

    for (uint32_t i = 0; i < d->chunk_count; i++) {
        want_ref(w, OBJECT_WORDS, &d->chunks[i].texts);
        want_ref(w, OBJECT_WORDS, &d->chunks[i].lists);
    }
}

void block_want_group(struct block *b, uint32_t group)
{
    const struct block_index *x = &b->index;
    struct wants w = {.count = 0};

    if (b->object->ops->want == NULL)
        return;
    w.list = malloc(WANTS_MAX * sizeof *w.list);
    if (w.list == NULL)
        return; /* it is then read page by page */
    for (int s = 0; s < BLOCK_STREAM_COUNT; s++) {
        bool is_shared = block_is_shared(block_stream_table((enum block_stream)s));
        want_ref(&w, s >= BLOCK_TRACE_ID && s <= BLOCK_TRACE_FLAGS ? OBJECT_TRACES : OBJECT_VALUES,
                 &x->streams[s][is_shared ? 0 : group]);
    }
    want_dict(&w, x, BLOCK_DICT_SPAN_NAMES);
    want_dict(&w, x, BLOCK_DICT_EVENT_NAMES);
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t i = 0; i < x->column_count[t]; i++) {
            const struct block_column *c = &x->columns[t][i];
            const struct block_ref *page =
                &c->pages[block_is_shared((enum seg_table)t) ? 0 : group];
            want_ref(&w, OBJECT_VALUES, page);
            if (page->bytes > 0 && c->form == BLOCK_FORM_DICT)
                want_dict(&w, x, c->dict);
        }
    object_want(b->object, w.list, w.count);
    free(w.list);
}

void block_want_trace(struct block *b, struct trace_id id)
{
    uint32_t hash = (uint32_t)(hash_plain((struct slice){id.b, TRACE_ID_BYTES}) >> 32), at = 0;
    const struct block_index *x = &b->index;

    while (at < x->chunk_count && x->chunks[at].first_hash <= hash)
        at++;
    if (at > 0)
        object_want(b->object,
                    &(struct object_range){x->chunks[at - 1].page.offset,
                                           x->chunks[at - 1].page.bytes, OBJECT_LOOKUP},
                    1);
}

void block_want_flagged(struct block *b)
{
    const struct block_ref *ref = &b->index.flagged;

    if (ref->bytes > 0)
        object_want(b->object, &(struct object_range){ref->offset, ref->bytes, OBJECT_LOOKUP}, 1);
}

struct object_range block_want_tail_range(const struct object *o)
{
    uint64_t len = BLOCK_TAIL_READ_BYTES;

    if (o->tail_bytes > len)
        len = o->tail_bytes;
    if (len > o->bytes)
        len = o->bytes;
    return (struct object_range){o->bytes - len, (size_t)len, OBJECT_FOOTER};
}

void block_want_tail(struct object *o)
{
    struct object_range tail = block_want_tail_range(o);

    object_want(o, &tail, 1);
}
