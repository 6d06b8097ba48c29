#include "tests/lib/fake_segment.h"

#include "common/base/bytes.h"

#include <assert.h>

enum { COLUMNS_MAX = 512 };

struct cached {
    enum seg_table table;
    int field; /* -1: an attribute */
    struct slice key;
    struct seg_column columns[SEG_TYPE_COUNT];
    uint32_t count;
};

struct fake {
    struct segment segment;
    const struct fake_data *d;
    struct arena a;
    struct cached *cached[COLUMNS_MAX];
    uint32_t cached_count;
    enum err fail;
};

static struct fake *fake_of(struct segment *s)
{
    return (struct fake *)(void *)s;
}

static void *need(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

#define NEW_ARRAY(f, type, count) ((type *)need(ARENA_ARRAY(&(f)->a, type, (count))))

struct slice fake_segment_any(struct arena *a, struct value v)
{
    struct buf b;
    uint64_t bits;

    buf_init(&b, 1 << 20);
    if (v.type == VALUE_STRING) {
        buf_append_byte(&b, 1 << 3 | 2);
        buf_append_varint(&b, v.s.len);
        buf_append(&b, v.s);
    } else if (v.type == VALUE_BOOL || v.type == VALUE_INT) {
        buf_append_byte(&b, (uint8_t)((v.type == VALUE_BOOL ? 2 : 3) << 3));
        buf_append_varint(&b, (uint64_t)v.i);
    } else if (v.type == VALUE_FLOAT) {
        buf_append_byte(&b, 4 << 3 | 1);
        memcpy(&bits, &v.f, sizeof bits);
        buf_append_le64(&b, bits);
    } else if (value_is_array(v)) {
        struct buf list;
        buf_init(&list, 1 << 20);
        for (uint32_t i = 0; i < v.array.count; i++) {
            struct slice item = fake_segment_any(a, v.array.items[i]);
            buf_append_byte(&list, 1 << 3 | 2);
            buf_append_varint(&list, item.len);
            buf_append(&list, item);
        }
        buf_append_byte(&b, 5 << 3 | 2);
        buf_append_varint(&b, list.len);
        buf_append(&b, buf_slice(&list));
        buf_release(&list);
    }
    struct slice s = arena_dup(a, buf_slice(&b));
    buf_release(&b);
    return s;
}

static enum seg_type type_of(const struct fake_attr *at)
{
    if (at->raw.ptr != NULL || value_is_array(at->value) || at->value.type == VALUE_NIL)
        return SEG_ANY;
    if (at->value.type == VALUE_STRING)
        return SEG_STR;
    if (at->value.type == VALUE_INT)
        return SEG_INT;
    return at->value.type == VALUE_FLOAT ? SEG_DOUBLE : SEG_BOOL;
}

/* Attributes of a row of a table; rows of events and links count through the spans. */
static const struct fake_attrs *attrs_of(const struct fake *f, enum seg_table table, uint32_t row)
{
    const struct fake_data *d = f->d;

    if (table == SEG_SPAN)
        return &d->spans[row].attrs;
    if (table == SEG_RESOURCE)
        return &d->resources[row];
    if (table == SEG_SCOPE)
        return &d->scopes[row].attrs;
    for (uint32_t s = 0; s < d->span_count; s++) {
        uint32_t n = table == SEG_EVENT ? d->spans[s].event_count : d->spans[s].link_count;
        if (row < n)
            return table == SEG_EVENT ? &d->spans[s].events[row].attrs
                                      : &d->spans[s].links[row].attrs;
        row -= n;
    }
    abort();
}

/* Builders of one typed column. */
struct builder {
    uint32_t *rows, *codes;
    struct slice *values;
    int64_t *ints;
    double *doubles;
    uint8_t *bools;
    uint32_t count, value_count;
};

static void builder_text(struct builder *b, struct slice s, bool is_unique)
{
    uint32_t k = 0;

    while (k < b->value_count && !(is_unique && slice_eq(b->values[k], s)))
        k++;
    if (k == b->value_count)
        b->values[b->value_count++] = s;
    b->codes[b->count] = k;
}

static void builder_init(struct fake *f, struct builder *b, uint32_t room)
{
    *b = (struct builder){.rows = NEW_ARRAY(f, uint32_t, room),
                          .codes = NEW_ARRAY(f, uint32_t, room),
                          .values = NEW_ARRAY(f, struct slice, room),
                          .ints = NEW_ARRAY(f, int64_t, room),
                          .doubles = NEW_ARRAY(f, double, room),
                          .bools = NEW_ARRAY(f, uint8_t, room)};
}

static void builder_add(struct fake *f, struct cached *c, enum seg_type t, const struct builder *b,
                        bool is_unique)
{
    (void)f;
    if (b->count == 0)
        return;
    c->columns[c->count++] = (struct seg_column){.type = t,
                                                 .count = b->count,
                                                 .rows = b->rows,
                                                 .codes = b->codes,
                                                 .values = b->values,
                                                 .value_count = b->value_count,
                                                 .is_unique_text = is_unique,
                                                 .ints = b->ints,
                                                 .doubles = b->doubles,
                                                 .bools = b->bools};
}

static struct cached *cached_find(struct fake *f, enum seg_table table, int field, struct slice key,
                                  bool *ret_is_new)
{
    for (uint32_t i = 0; i < f->cached_count; i++) {
        struct cached *c = f->cached[i];
        if (c->table == table && c->field == field && (field >= 0 || slice_eq(c->key, key))) {
            *ret_is_new = false;
            return c;
        }
    }
    assert(f->cached_count < COLUMNS_MAX);
    struct cached *c = NEW_ARRAY(f, struct cached, 1);
    *c = (struct cached){.table = table, .field = field, .key = key};
    f->cached[f->cached_count++] = c;
    *ret_is_new = true;
    return c;
}

static void build_attribute(struct fake *f, struct cached *c)
{
    uint32_t rows = f->segment.row_count[c->table], room = 0;

    for (uint32_t r = 0; r < rows; r++)
        room += attrs_of(f, c->table, r)->count;
    for (int t = 0; t < SEG_TYPE_COUNT; t++) {
        struct builder b;
        bool is_unique = (c->key.len & 1) != 0; /* both kinds of dictionary */
        builder_init(f, &b, room);
        for (uint32_t r = 0; r < rows; r++) {
            const struct fake_attrs *list = attrs_of(f, c->table, r);
            for (uint32_t i = 0; i < list->count; i++) {
                const struct fake_attr *at = &list->list[i];
                if (!slice_eq(at->key, c->key) || (int)type_of(at) != t)
                    continue;
                b.rows[b.count] = r;
                if (t == SEG_STR)
                    builder_text(&b, at->value.s, is_unique);
                if (t == SEG_ANY)
                    builder_text(&b,
                                 at->raw.ptr != NULL ? at->raw : fake_segment_any(&f->a, at->value),
                                 is_unique);
                b.ints[b.count] = at->value.i;
                b.doubles[b.count] = at->value.f;
                b.bools[b.count] = at->value.i != 0;
                b.count++;
            }
        }
        builder_add(f, c, (enum seg_type)t, &b, is_unique);
    }
}

static enum err op_attribute(struct segment *s, enum seg_table table, struct slice key,
                             const struct seg_column **ret, uint32_t *ret_count)
{
    struct fake *f = fake_of(s);
    bool is_new;

    if (f->fail != ERR_OK)
        return f->fail;
    struct cached *c = cached_find(f, table, -1, arena_dup(&f->a, key), &is_new);
    if (is_new)
        build_attribute(f, c);
    *ret = c->columns;
    *ret_count = c->count;
    return ERR_OK;
}

static enum err op_field(struct segment *s, enum seg_table table, enum seg_field field,
                         const struct seg_column **ret, uint32_t *ret_count)
{
    struct fake *f = fake_of(s);
    struct builder b;
    bool is_new;

    if (f->fail != ERR_OK)
        return f->fail;
    struct cached *c = cached_find(f, table, (int)field, SLICE_NONE, &is_new);
    uint32_t rows = s->row_count[table];
    if (is_new)
        builder_init(f, &b, rows);
    for (uint32_t r = 0; is_new && r < rows; r++) {
        struct slice text = SLICE_NONE;
        if (table == SEG_SPAN && field == SEG_STATUS_MESSAGE)
            text = f->d->spans[r].status_message;
        if (table == SEG_SCOPE && field == SEG_SCOPE_NAME)
            text = f->d->scopes[r].name;
        if (table == SEG_SCOPE && field == SEG_SCOPE_VERSION)
            text = f->d->scopes[r].version;
        if (text.len == 0)
            continue;
        b.rows[b.count] = r;
        builder_text(&b, text, true);
        b.count++;
    }
    if (is_new)
        builder_add(f, c, SEG_STR, &b, true);
    *ret = c->columns;
    *ret_count = c->count;
    return ERR_OK;
}

static struct seg_names names_new(struct fake *f, uint32_t rows)
{
    return (struct seg_names){.codes = NEW_ARRAY(f, uint32_t, rows),
                              .values = NEW_ARRAY(f, struct slice, rows),
                              .value_count = rows};
}

static enum err op_fixed(struct segment *s, uint32_t which, struct seg_fixed *ret)
{
    struct fake *f = fake_of(s);
    uint32_t n = f->d->span_count;

    if (f->fail != ERR_OK)
        return f->fail;
    uint32_t *trace = NEW_ARRAY(f, uint32_t, n), *resource = NEW_ARRAY(f, uint32_t, n),
             *scope = NEW_ARRAY(f, uint32_t, n);
    uint64_t *id = NEW_ARRAY(f, uint64_t, n), *parent = NEW_ARRAY(f, uint64_t, n),
             *start = NEW_ARRAY(f, uint64_t, n), *dur = NEW_ARRAY(f, uint64_t, n);
    uint8_t *kind = NEW_ARRAY(f, uint8_t, n), *status = NEW_ARRAY(f, uint8_t, n);
    uint32_t *codes = NEW_ARRAY(f, uint32_t, n);
    struct slice *names = NEW_ARRAY(f, struct slice, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct fake_span *p = &f->d->spans[i];
        trace[i] = p->trace;
        resource[i] = p->resource;
        scope[i] = p->scope;
        memcpy(&id[i], &p->id, sizeof id[i]);
        memcpy(&parent[i], &p->parent, sizeof parent[i]);
        start[i] = p->start_ns;
        dur[i] = p->duration_ns;
        kind[i] = p->kind;
        status[i] = p->status;
        codes[i] = i;
        names[i] = p->name;
    }
#define PUT(bit, field, value) \
    if ((which & (bit)) != 0)  \
    ret->field = (value)
    PUT(SEG_F_TRACE, trace, trace);
    PUT(SEG_F_SPAN_ID, span_id, id);
    PUT(SEG_F_PARENT, parent_id, parent);
    PUT(SEG_F_START, start_ns, start);
    PUT(SEG_F_DURATION, duration_ns, dur);
    PUT(SEG_F_NAME, name, ((struct seg_names){codes, names, n}));
    PUT(SEG_F_KIND, kind, kind);
    PUT(SEG_F_STATUS, status, status);
    PUT(SEG_F_RESOURCE, resource, resource);
    PUT(SEG_F_SCOPE, scope, scope);
    return ERR_OK;
}

static enum err op_traces(struct segment *s, struct seg_traces *ret)
{
    struct fake *f = fake_of(s);
    uint32_t n = f->d->trace_count;

    if (f->fail != ERR_OK)
        return f->fail;
    uint64_t *min = NEW_ARRAY(f, uint64_t, n), *max = NEW_ARRAY(f, uint64_t, n);
    uint32_t *count = NEW_ARRAY(f, uint32_t, n);
    for (uint32_t i = 0; i < f->d->span_count; i++) {
        const struct fake_span *p = &f->d->spans[i];
        uint64_t end = p->start_ns + p->duration_ns;
        if (count[p->trace] == 0 || p->start_ns < min[p->trace])
            min[p->trace] = p->start_ns;
        if (count[p->trace] == 0 || end > max[p->trace])
            max[p->trace] = end;
        count[p->trace]++;
    }
    *ret = (struct seg_traces){f->d->traces, min, max, count,
                               f->d->trace_flags != NULL ? f->d->trace_flags
                                                         : NEW_ARRAY(f, uint8_t, n)};
    return ERR_OK;
}

static enum err op_events(struct segment *s, struct seg_events *ret)
{
    struct fake *f = fake_of(s);
    uint32_t n = s->row_count[SEG_EVENT], k = 0;
    uint32_t *span = NEW_ARRAY(f, uint32_t, n), *dropped = NEW_ARRAY(f, uint32_t, n);
    uint64_t *time = NEW_ARRAY(f, uint64_t, n);
    struct seg_names names = names_new(f, n);

    if (f->fail != ERR_OK)
        return f->fail;
    uint32_t *codes = NEW_ARRAY(f, uint32_t, n);
    struct slice *text = NEW_ARRAY(f, struct slice, n);
    for (uint32_t i = 0; i < f->d->span_count; i++)
        for (uint32_t e = 0; e < f->d->spans[i].event_count; e++, k++) {
            span[k] = i;
            time[k] = f->d->spans[i].events[e].time_ns;
            codes[k] = k;
            text[k] = f->d->spans[i].events[e].name;
        }
    names.codes = codes;
    names.values = text;
    *ret = (struct seg_events){span, time, names, dropped};
    return ERR_OK;
}

static enum err op_links(struct segment *s, struct seg_links *ret)
{
    struct fake *f = fake_of(s);
    uint32_t n = s->row_count[SEG_LINK], k = 0;
    uint32_t *span = NEW_ARRAY(f, uint32_t, n), *zero = NEW_ARRAY(f, uint32_t, n);
    struct trace_id *trace = NEW_ARRAY(f, struct trace_id, n);
    uint64_t *id = NEW_ARRAY(f, uint64_t, n);

    if (f->fail != ERR_OK)
        return f->fail;
    for (uint32_t i = 0; i < f->d->span_count; i++)
        for (uint32_t e = 0; e < f->d->spans[i].link_count; e++, k++) {
            span[k] = i;
            trace[k] = f->d->spans[i].links[e].trace_id;
            memcpy(&id[k], &f->d->spans[i].links[e].span_id, sizeof id[k]);
        }
    *ret = (struct seg_links){span, trace, id, NEW_ARRAY(f, struct slice, n), zero, zero};
    return ERR_OK;
}

static enum err op_keys(struct segment *s, enum seg_table table, struct arena *a,
                        struct seg_key **ret, uint32_t *ret_count)
{
    struct fake *f = fake_of(s);
    uint32_t room = 0, n = 0;

    if (f->fail != ERR_OK)
        return f->fail;
    for (uint32_t r = 0; r < s->row_count[table]; r++)
        room += attrs_of(f, table, r)->count;
    struct seg_key *keys = ARENA_ARRAY(a, struct seg_key, room);
    if (keys == NULL)
        return arena_err(a);
    for (uint32_t r = 0; r < s->row_count[table]; r++) {
        const struct fake_attrs *list = attrs_of(f, table, r);
        for (uint32_t i = 0; i < list->count; i++) {
            uint32_t k = 0;
            while (k < n && !slice_eq(keys[k].key, list->list[i].key))
                k++;
            if (k == n)
                keys[n++].key = list->list[i].key;
            keys[k].types |= 1u << type_of(&list->list[i]);
        }
    }
    *ret = keys;
    *ret_count = n;
    return ERR_OK;
}

static enum err op_trace_rows(struct segment *s, uint32_t trace, struct arena *a,
                              const uint32_t **ret_rows, uint32_t *ret_count)
{
    struct fake *f = fake_of(s);
    uint32_t n = 0;

    if (f->fail != ERR_OK)
        return f->fail;
    uint32_t *rows = ARENA_ARRAY(a, uint32_t, f->d->span_count);
    if (rows == NULL)
        return arena_err(a);
    for (uint32_t i = f->d->span_count; i-- > 0;) /* any order is allowed */
        if (f->d->spans[i].trace == trace)
            rows[n++] = i;
    *ret_rows = rows;
    *ret_count = n;
    return ERR_OK;
}

static enum err op_find_trace(struct segment *s, struct trace_id id, uint32_t *ret_trace)
{
    struct fake *f = fake_of(s);

    for (uint32_t t = 0; t < f->d->trace_count; t++)
        if (trace_id_eq(f->d->traces[t], id)) {
            *ret_trace = t;
            return ERR_OK;
        }
    return ERR_NOT_FOUND;
}

static enum err op_write_otlp(struct segment *s, const uint32_t *rows, uint32_t row_count,
                              struct buf *out)
{
    (void)s, (void)rows, (void)row_count, (void)out;
    return ERR_UNSUPPORTED;
}

static void op_close(struct segment *s)
{
    struct fake *f = fake_of(s);

    arena_release(&f->a);
    free(f);
}

static const struct segment_ops OPS = {.fixed = op_fixed,
                                       .traces = op_traces,
                                       .events = op_events,
                                       .links = op_links,
                                       .attribute = op_attribute,
                                       .field = op_field,
                                       .keys = op_keys,
                                       .trace_rows = op_trace_rows,
                                       .find_trace = op_find_trace,
                                       .write_otlp = op_write_otlp,
                                       .close = op_close};

struct segment *fake_segment_new(const struct fake_data *d)
{
    struct fake *f = need(calloc(1, sizeof *f));

    f->d = d;
    f->segment =
        (struct segment){.ops = &OPS, .trace_count = d->trace_count, .min_start_ns = UINT64_MAX};
    f->segment.row_count[SEG_SPAN] = d->span_count;
    f->segment.row_count[SEG_RESOURCE] = d->resource_count;
    f->segment.row_count[SEG_SCOPE] = d->scope_count;
    arena_init(&f->a, NULL);
    for (uint32_t i = 0; i < d->span_count; i++) {
        const struct fake_span *p = &d->spans[i];
        f->segment.row_count[SEG_EVENT] += p->event_count;
        f->segment.row_count[SEG_LINK] += p->link_count;
        if (p->start_ns < f->segment.min_start_ns)
            f->segment.min_start_ns = p->start_ns;
        if (p->start_ns + p->duration_ns > f->segment.max_end_ns)
            f->segment.max_end_ns = p->start_ns + p->duration_ns;
    }
    return &f->segment;
}

void fake_segment_fail(struct segment *s, enum err e)
{
    fake_of(s)->fail = e;
}
