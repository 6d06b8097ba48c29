#include "querier/shared_ids.h"

#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "common/model/value.h"

#include <assert.h>
#include <stdlib.h>

struct fix_span {
    struct slice body;
    uint64_t id, parent; /* big-endian numbers; 0: none */
    uint64_t new_id;     /* 0: keeps its own */
    uint32_t kind;
    uint32_t index;
};

struct fix {
    struct fix_span *spans;  /* in order */
    struct fix_span **by_id; /* sorted by id, then order */
    uint32_t count;
};

static uint64_t id_number(struct slice id)
{
    return id.len == SPAN_ID_BYTES ? be64_read(id.ptr) : 0;
}

static int by_id_cmp(const void *a, const void *b)
{
    const struct fix_span *x = *(const struct fix_span *const *)a,
                          *y = *(const struct fix_span *const *)b;

    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static enum err fix_load(struct fix *f, struct arena *a, struct slice otlp)
{
    struct otlp_iter it;
    struct slice body;

    f->count = 0;
    for (otlp_iter_init(&it, otlp); otlp_next_span(&it, &body);)
        f->count++;
    f->spans = ARENA_ARRAY(a, struct fix_span, f->count);
    f->by_id = ARENA_ARRAY(a, struct fix_span *, f->count);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    uint32_t n = 0;
    for (otlp_iter_init(&it, otlp); otlp_next_span(&it, &body); n++) {
        struct otlp_span s;
        otlp_span_parse(body, &s);
        f->spans[n] = (struct fix_span){.body = body,
                                        .id = id_number(s.span_id),
                                        .parent = id_number(s.parent_span_id),
                                        .kind = s.kind,
                                        .index = n};
        f->by_id[n] = &f->spans[n];
    }
    assert(n == f->count);
    qsort(f->by_id, f->count, sizeof *f->by_id, by_id_cmp);
    return ERR_OK;
}

/* First of the spans with this id in by_id, or count. */
static uint32_t first_with_id(const struct fix *f, uint64_t id)
{
    uint32_t lo = 0, hi = f->count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (f->by_id[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool id_is_used(const struct fix *f, uint64_t id)
{
    uint32_t i = first_with_id(f, id);
    return i < f->count && f->by_id[i]->id == id;
}

static bool has_client_with_id(const struct fix *f, uint64_t id)
{
    for (uint32_t i = first_with_id(f, id); i < f->count && f->by_id[i]->id == id; i++)
        if (f->by_id[i]->kind == KIND_CLIENT)
            return true;
    return false;
}

/* Gives new ids; returns whether any was needed. */
static bool assign(struct fix *f)
{
    uint64_t last = 0;
    bool any = false;

    for (uint32_t i = 0; i < f->count; i++) {
        struct fix_span *s = &f->spans[i];
        if (s->kind != KIND_SERVER || s->id == 0 || !has_client_with_id(f, s->id))
            continue;
        do
            last++;
        while (id_is_used(f, last));
        s->new_id = last;
        any = true;
    }
    return any;
}

/* The server span that took over from `id`, or NULL. */
static const struct fix_span *successor(const struct fix *f, uint64_t id)
{
    if (id == 0)
        return NULL;
    for (uint32_t i = first_with_id(f, id); i < f->count && f->by_id[i]->id == id; i++)
        if (f->by_id[i]->new_id != 0)
            return f->by_id[i];
    return NULL;
}

/* The span's bytes with ids replaced: all other fields as they stand. */
static void span_rewrite(struct buf *out, const struct fix_span *s, uint64_t id, uint64_t parent)
{
    struct reader r = reader_of(s->body);
    uint8_t bytes[SPAN_ID_BYTES];

    while (!reader_done(&r)) {
        const uint8_t *from = r.at;
        uint64_t tag = reader_varint(&r);
        switch (tag & 7) {
        case 0: (void)reader_varint(&r); break;
        case 1: (void)reader_take(&r, 8); break;
        case 2: (void)reader_bytes(&r); break;
        case 5: (void)reader_take(&r, 4); break;
        default: reader_fail(&r); break;
        }
        if (!reader_failed(&r) && tag >> 3 != 2 && tag >> 3 != 4)
            buf_append(out, (struct slice){from, (size_t)(r.at - from)});
    }
    be64_write(bytes, id);
    pb_bytes(out, 2, (struct slice){bytes, sizeof bytes});
    if (parent != 0) {
        be64_write(bytes, parent);
        pb_bytes(out, 4, (struct slice){bytes, sizeof bytes});
    }
}

static void request_rewrite(struct buf *out, const struct fix *f, struct slice otlp,
                            struct buf *scratch)
{
    struct otlp_iter it;
    struct otlp_group group;
    struct slice body;
    uint32_t n = 0, resource_seq = 0, scope_seq = 0;

    otlp_group_init(&group, out);
    for (otlp_iter_init(&it, otlp); otlp_next_span(&it, &body); n++) {
        const struct fix_span *s = &f->spans[n], *heir = successor(f, s->parent);
        bool is_new_resource = n == 0 || it.resource_seq != resource_seq;
        if (is_new_resource)
            otlp_group_resource(&group, it.resource, it.resource_schema_url);
        if (is_new_resource || it.scope_seq != scope_seq)
            otlp_group_scope(&group, it.scope, it.scope_schema_url);
        resource_seq = it.resource_seq;
        scope_seq = it.scope_seq;
        if (s->new_id == 0 && (heir == NULL || heir == s)) {
            otlp_group_span(&group, body);
            continue;
        }
        buf_reset(scratch);
        if (s->new_id != 0)
            span_rewrite(scratch, s, s->new_id, s->id);
        else
            span_rewrite(scratch, s, s->id, heir->new_id);
        otlp_group_span(&group, buf_slice(scratch));
    }
    otlp_group_end(&group);
}

enum err shared_ids_fix(struct arena *a, struct slice otlp, struct slice *ret)
{
    struct fix f;
    struct buf out, scratch;
    enum err e = fix_load(&f, a, otlp);

    if (e != ERR_OK)
        return e;
    if (!assign(&f)) {
        *ret = otlp;
        return ERR_OK;
    }
    buf_init(&out, otlp.len * 2 + 4096);
    buf_init(&scratch, otlp.len + 4096);
    request_rewrite(&out, &f, otlp, &scratch);
    e = buf_err(&out) != ERR_OK ? buf_err(&out) : buf_err(&scratch);
    if (e == ERR_OK) {
        *ret = arena_dup(a, buf_slice(&out));
        e = arena_err(a);
    }
    buf_release(&out);
    buf_release(&scratch);
    return e;
}
