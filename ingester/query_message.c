#include "ingester/query_message.h"

#include "common/codec/otlp_write.h"
#include "common/codec/pb_field.h"
#include "common/net/rpc.h"

#include <assert.h>

enum what {
    W_NONE,
    W_TEXT,
    W_TAG,
    W_START,
    W_END,
    W_LIMIT,
    W_SPSS,
    W_MIN,
    W_MAX,
    W_DEADLINE,
    W_STEP,
    W_INTERVALS,
    W_EXEMPLARS,
    W_ANY,
    W_ID,
    W_PAIR
};

/* What field number n of a method's request is; all have the tenant as field 1. */
static enum what what_is(uint16_t method, uint32_t no)
{
    static const uint8_t trace[] = {[2] = W_ID};
    static const uint8_t search[] = {
        [2] = W_TEXT, [3] = W_PAIR, [4] = W_START, [5] = W_END, [6] = W_LIMIT,
        [7] = W_SPSS, [8] = W_MIN,  [9] = W_MAX,   [10] = W_ID, [11] = W_DEADLINE};
    static const uint8_t flagged[] = {[2] = W_START, [3] = W_END};
    static const uint8_t names[] = {[2] = W_TEXT, [3] = W_START, [4] = W_END};
    static const uint8_t values[] = {
        [2] = W_TAG, [3] = W_ANY, [4] = W_TEXT, [5] = W_START, [6] = W_END, [7] = W_LIMIT};
    static const uint8_t metrics[] = {
        [2] = W_TEXT,      [3] = W_START, [4] = W_STEP,    [5] = W_INTERVALS,
        [6] = W_EXEMPLARS, [7] = W_ID,    [8] = W_DEADLINE};
    static const struct {
        const uint8_t *map;
        size_t count;
    } maps[] = {{trace, sizeof trace},    {search, sizeof search}, {flagged, sizeof flagged},
                {names, sizeof names},    {values, sizeof values}, {trace, sizeof trace},
                {metrics, sizeof metrics}};
    size_t i = (size_t)(method - RPC_TRACE);

    if (method < RPC_TRACE || i >= sizeof maps / sizeof *maps || no >= maps[i].count)
        return W_NONE;
    return (enum what)maps[i].map[no];
}

static bool wants_bytes(enum what w)
{
    return w == W_TEXT || w == W_TAG || w == W_ID || w == W_PAIR;
}

static void tag_read(struct slice bytes, struct engine_tag *ret)
{
    struct reader r = reader_of(bytes);
    struct pb_field f;

    *ret = (struct engine_tag){0};
    while (pb_field_next(&r, &f)) {
        if (f.number == 1)
            ret->key = f.bytes;
        if (f.number == 2)
            ret->value = f.bytes;
    }
}

static uint32_t small(uint64_t v)
{
    return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static enum err put(enum what w, const struct pb_field *f, struct query_message *m)
{
    switch (w) {
    case W_TEXT: m->text = f->bytes; break;
    case W_TAG: m->tag = f->bytes; break;
    case W_START: m->start_ns = f->value; break;
    case W_END: m->end_ns = f->value; break;
    case W_LIMIT: m->limit = small(f->value); break;
    case W_SPSS: m->spans_per_spanset = small(f->value); break;
    case W_MIN: m->min_duration_ns = f->value; break;
    case W_MAX: m->max_duration_ns = f->value; break;
    case W_DEADLINE: m->deadline_ms = small(f->value); break;
    case W_STEP: m->step_ns = f->value; break;
    case W_INTERVALS: m->intervals = small(f->value); break;
    case W_EXEMPLARS: m->exemplars = small(f->value); break;
    case W_ANY: m->any_scope = f->value != 0; break;
    case W_ID:
        if (f->bytes.len != TRACE_ID_BYTES)
            return ERR_INVALID;
        memcpy(m->ids[m->id_count++].b, f->bytes.ptr, TRACE_ID_BYTES);
        break;
    case W_PAIR: tag_read(f->bytes, &m->tags[m->tag_count++]); break;
    case W_NONE: break;
    }
    return ERR_OK;
}

static int id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, TRACE_ID_BYTES);
}

enum err query_message_read(uint16_t method, struct slice bytes, struct arena *a,
                            struct query_message *ret)
{
    assert(ret != NULL);
    struct query_message m = {0};
    struct reader r = reader_of(bytes);
    struct pb_field f;
    uint32_t ids = 0, tags = 0;

    while (pb_field_next(&r, &f)) {
        ids += what_is(method, f.number) == W_ID;
        tags += what_is(method, f.number) == W_PAIR;
    }
    if (reader_failed(&r))
        return ERR_FORMAT;
    m.ids = ARENA_ARRAY(a, struct trace_id, ids);
    m.tags = ARENA_ARRAY(a, struct engine_tag, tags);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    r = reader_of(bytes);
    while (pb_field_next(&r, &f)) {
        enum what w = what_is(method, f.number);
        if (f.number == 1)
            m.tenant = f.bytes;
        if (w == W_NONE)
            continue;
        enum err e = (f.wire == WIRE_BYTES) == wants_bytes(w) ? put(w, &f, &m) : ERR_FORMAT;
        if (e != ERR_OK)
            return e;
    }
    if (m.tenant.len == 0 || m.tenant.len > WAL_TENANT_BYTES_MAX)
        return ERR_INVALID;
    /* The engine looks excluded ids up by bisection. */
    if ((method == RPC_SEARCH || method == RPC_METRICS_QUERY) && m.id_count > 1)
        qsort(m.ids, m.id_count, sizeof *m.ids, id_cmp);
    *ret = m;
    return ERR_OK;
}

void query_message_coverage(struct buf *out, uint32_t field, struct slice instance_id,
                            const struct view *v)
{
    size_t mark = pb_begin(out, field);

    pb_bytes(out, 1, instance_id);
    pb_varint(out, 2, v->published_lsn);
    for (uint32_t i = 0; i < v->recent_count; i++)
        pb_bytes(out, 3, slice_str(v->recent[i].id));
    if (v->is_replaying)
        pb_varint(out, 4, 1);
    pb_end(out, mark);
}
