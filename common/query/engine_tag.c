#include "common/query/engine.h"
#include "common/query/eval.h"

#include <assert.h>

enum { VALUES_FIRST = 256 };

static bool in_window(const struct segment *s, uint64_t start_ns, uint64_t end_ns)
{
    return (start_ns == 0 && end_ns == 0) ||
           (s->min_start_ns <= end_ns && s->max_end_ns >= start_ns);
}

/* Rows of every table that belong to the spans of a filter; all NULL without one. */
struct picked {
    uint8_t *rows[EVAL_TABLES];
    bool is_all;
};

static enum err pick_all(struct picked *p)
{
    p->is_all = true;
    return ERR_OK;
}

static void spread(const uint8_t *spans, uint32_t count, const uint32_t *index, uint8_t *mask)
{
    for (uint32_t r = 0; r < count; r++)
        mask[index[r]] |= spans[r];
}

static enum err pick(struct eval *e, const struct ql_expr *filter, struct picked *p)
{
    struct eval_node *node = NULL;
    uint8_t *spans = NULL;

    if (filter == NULL)
        return pick_all(p);
    enum err err = eval_bind(e, filter, &node);
    if (err == ERR_OK)
        err = eval_spans(e, node, &spans);
    if (err == ERR_OK)
        err = eval_fixed(e, SEG_F_TRACE | SEG_F_RESOURCE | SEG_F_SCOPE);
    if (err == ERR_OK)
        err = eval_tree_children(e, SEG_EVENT);
    if (err == ERR_OK)
        err = eval_tree_children(e, SEG_LINK);
    if (err == ERR_OK && spans == NULL)
        err = eval_mask_get(e, SEG_SPAN, &spans);
    p->rows[SEG_SPAN] = spans;
    for (uint32_t t = 0; err == ERR_OK && t < EVAL_TABLES; t++)
        if (t != SEG_SPAN)
            err = eval_mask_get(e, t, &p->rows[t]);
    if (err != ERR_OK)
        return err;
    spread(spans, e->rows[SEG_SPAN], e->fixed.resource, p->rows[SEG_RESOURCE]);
    spread(spans, e->rows[SEG_SPAN], e->fixed.scope, p->rows[SEG_SCOPE]);
    spread(spans, e->rows[SEG_SPAN], e->fixed.trace, p->rows[EVAL_TRACE]);
    for (uint32_t r = 0; r < e->rows[SEG_EVENT]; r++)
        p->rows[SEG_EVENT][r] = spans[e->events.span[r]];
    for (uint32_t r = 0; r < e->rows[SEG_LINK]; r++)
        p->rows[SEG_LINK][r] = spans[e->links.span[r]];
    return ERR_OK;
}

static bool is_picked(const struct picked *p, uint32_t table, uint32_t row)
{
    return p->is_all || p->rows[table][row] != 0;
}

static enum err key_is_picked(struct eval *e, const struct picked *p, enum seg_table table,
                              struct slice key, bool *ret)
{
    const struct seg_column *columns = NULL;
    uint32_t count = 0;

    *ret = p->is_all;
    if (p->is_all)
        return ERR_OK;
    enum err err = segment_attribute(e->s, table, key, &columns, &count);
    for (uint32_t k = 0; err == ERR_OK && k < count && !*ret; k++)
        for (uint32_t i = 0; i < columns[k].count && !*ret; i++)
            *ret = p->rows[table][columns[k].rows[i]] != 0;
    return err;
}

static int slice_order(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static enum err scope_names(struct eval *e, const struct picked *p, enum seg_table table,
                            struct arena *a, struct slice **ret, uint32_t *ret_count)
{
    struct seg_key *keys = NULL;
    uint32_t count = 0, n = 0;
    bool is_in = false;
    enum err err = segment_keys(e->s, table, e->a, &keys, &count);

    struct slice *names = ARENA_ARRAY(a, struct slice, count);
    if (err != ERR_OK || names == NULL)
        return err != ERR_OK ? err : arena_err(a);
    for (uint32_t i = 0; err == ERR_OK && i < count; i++) {
        err = key_is_picked(e, p, table, keys[i].key, &is_in);
        if (err == ERR_OK && is_in)
            names[n++] = arena_dup(a, keys[i].key);
    }
    if (err != ERR_OK)
        return err;
    qsort(names, n, sizeof names[0], slice_order);
    *ret = names;
    *ret_count = n;
    return arena_err(a);
}

enum err engine_tag_names(struct segment *s, const struct ql_expr *filter, uint64_t start_ns,
                          uint64_t end_ns, struct arena *a, struct tag_names *ret)
{
    static const enum seg_table tables[TAGS_SCOPE_COUNT] = {SEG_SPAN, SEG_RESOURCE, SEG_EVENT,
                                                            SEG_LINK, SEG_SCOPE};
    struct tag_names out = {.stats = ret->stats};
    struct picked p = {.is_all = false};
    struct arena scratch;
    struct eval e;
    uint64_t read_bytes = s->read_bytes;

    if (s->row_count[SEG_SPAN] == 0 || !in_window(s, start_ns, end_ns)) {
        *ret = out;
        return ERR_OK;
    }
    arena_init(&scratch, a->budget);
    eval_init(&e, s, &scratch, NULL);
    enum err err = pick(&e, filter, &p);
    for (int k = 0; err == ERR_OK && k < TAGS_SCOPE_COUNT; k++)
        err = scope_names(&e, &p, tables[k], a, &out.names[k], &out.counts[k]);
    arena_release(&scratch);
    if (err != ERR_OK)
        return err;
    out.stats.inspected_bytes += s->read_bytes - read_bytes;
    *ret = out;
    return ERR_OK;
}

/* Distinct values, sorted and made unique whenever the list is full. */
struct distinct {
    struct arena *a;
    struct value *list;
    uint32_t count, cap;
};

static int value_order(const void *a, const void *b)
{
    return eval_value_order(*(const struct value *)a, *(const struct value *)b);
}

static void distinct_squeeze(struct distinct *d)
{
    uint32_t n = 0;

    if (d->count == 0)
        return;
    qsort(d->list, d->count, sizeof d->list[0], value_order);
    for (uint32_t i = 0; i < d->count; i++)
        if (n == 0 || !eval_value_equal(d->list[n - 1], d->list[i]))
            d->list[n++] = d->list[i];
    d->count = n;
}

static void distinct_add(struct distinct *d, struct value v)
{
    for (uint32_t i = 0; value_is_array(v) && i < v.array.count; i++)
        distinct_add(d, v.array.items[i]);
    if (value_is_array(v) || v.type == VALUE_NIL)
        return;
    if (v.type != VALUE_STRING && v.type != VALUE_FLOAT && v.type != VALUE_BOOL)
        v.type = VALUE_INT; /* status, kind, durations: as recorded */
    if (d->count == d->cap) {
        distinct_squeeze(d);
        if (d->count >= d->cap / 2) {
            uint32_t cap = d->cap == 0 ? VALUES_FIRST : d->cap * 2;
            struct value *more = ARENA_ARRAY(d->a, struct value, cap);
            if (more == NULL)
                return; /* sticky in the arena */
            if (d->count != 0)
                memcpy(more, d->list, sizeof more[0] * d->count);
            d->list = more;
            d->cap = cap;
        }
    }
    d->list[d->count++] = v;
}

static bool add_each(void *arg, struct value v)
{
    distinct_add(arg, v);
    return false;
}

static enum err codes_values(struct eval *e, const struct picked *p, uint32_t table,
                             const uint32_t *rows, const uint32_t *codes, uint32_t count,
                             uint32_t code_count, uint8_t **ret)
{
    uint8_t *used = ARENA_ARRAY(e->a, uint8_t, code_count);

    if (used == NULL)
        return arena_err(e->a);
    for (uint32_t i = 0; i < count; i++)
        if (is_picked(p, table, rows == NULL ? i : rows[i]))
            used[codes[i]] = 1;
    *ret = used;
    return ERR_OK;
}

static enum err columns_values(struct eval *e, const struct picked *p, struct eval_source *src,
                               struct distinct *d)
{
    enum err err = ERR_OK;

    for (uint32_t k = 0; err == ERR_OK && k < src->column_count; k++) {
        const struct seg_column *c = &src->columns[k];
        uint8_t *used = NULL;
        if (c->type == SEG_STR || c->type == SEG_ANY)
            err =
                codes_values(e, p, src->table, c->rows, c->codes, c->count, c->value_count, &used);
        for (uint32_t i = 0; used != NULL && i < c->value_count; i++)
            if (used[i] != 0)
                distinct_add(d,
                             c->type == SEG_STR ? value_string(c->values[i]) : src->decoded[k][i]);
        for (uint32_t i = 0; used == NULL && err == ERR_OK && i < c->count; i++) {
            if (!is_picked(p, src->table, c->rows[i]))
                continue;
            if (c->type == SEG_INT)
                distinct_add(d, value_int(c->ints[i]));
            else
                distinct_add(d, c->type == SEG_DOUBLE ? value_float(c->doubles[i])
                                                      : value_bool(c->bools[i] != 0));
        }
    }
    for (uint32_t r = 0; err == ERR_OK && src->has_default && r < src->rows; r++) {
        struct value v = is_picked(p, src->table, r) ? eval_value_first(e, src, r) : VALUE_NONE;
        struct eval_pred empty = {.op = QL_EQ, .value = value_string(SLICE_LIT(""))};
        if (v.type != VALUE_NIL && (eval_value_matches(&empty, v) || v.type != VALUE_STRING)) {
            distinct_add(d, value_string(SLICE_LIT("")));
            break;
        }
    }
    return err;
}

static enum err source_values(struct eval *e, const struct picked *p, struct eval_source *src,
                              struct distinct *d)
{
    if (src->kind == EVAL_COLUMNS)
        return columns_values(e, p, src, d);
    if (src->kind == EVAL_CODES) {
        uint8_t *used = NULL;
        enum err err =
            codes_values(e, p, src->table, NULL, src->codes, src->rows, src->text_count, &used);
        for (uint32_t i = 0; err == ERR_OK && i < src->text_count; i++)
            if (used[i] != 0)
                distinct_add(d, value_string(src->text[i]));
        return err;
    }
    for (uint32_t r = 0; r < src->rows; r++)
        if (is_picked(p, src->table, r))
            (void)eval_value_each(e, src, r, add_each, d);
    return ERR_OK;
}

/* The old route knows some intrinsics by bare names; every other name is an attribute. */
static enum ql_intrinsic bare_intrinsic(struct slice name)
{
    if (slice_eq_str(name, "name"))
        return QL_I_NAME;
    if (slice_eq_str(name, "rootName") || slice_eq_str(name, "root.name"))
        return QL_I_ROOT_NAME;
    if (slice_eq_str(name, "rootServiceName") || slice_eq_str(name, "root.service.name"))
        return QL_I_ROOT_SERVICE;
    return QL_I_NONE;
}

static bool has_values(enum ql_intrinsic i)
{
    switch ((int)i) {
    case QL_I_NAME:
    case QL_I_STATUS:
    case QL_I_KIND:
    case QL_I_STATUS_MESSAGE:
    case QL_I_ROOT_NAME:
    case QL_I_ROOT_SERVICE:
    case QL_I_TRACE_DURATION:
    case QL_I_EVENT_NAME:
    case QL_I_EVENT_TIME_SINCE_START:
    case QL_I_SCOPE_NAME:
    case QL_I_SCOPE_VERSION: return true;
    default: return false; /* durations of spans, ids, positions: too many to choose from */
    }
}

/* The old route lists texts: int 404 and string "404" are one. */
static enum err as_texts(struct arena *a, struct distinct *d)
{
    struct buf text;

    distinct_squeeze(d);
    buf_init(&text, 4096);
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->list[i].type == VALUE_STRING)
            continue;
        buf_reset(&text);
        ql_dump_value(&text, d->list[i]);
        d->list[i] = value_string(arena_dup(a, buf_slice(&text)));
    }
    enum err err = buf_err(&text);
    buf_release(&text);
    return err != ERR_OK ? err : arena_err(a);
}

static enum seg_table table_of(enum ql_scope scope)
{
    switch ((int)scope) {
    case QL_SCOPE_RESOURCE: return SEG_RESOURCE;
    case QL_SCOPE_INSTRUMENTATION: return SEG_SCOPE;
    case QL_SCOPE_EVENT: return SEG_EVENT;
    case QL_SCOPE_LINK: return SEG_LINK;
    default: return SEG_SPAN;
    }
}

/* Values of all rows, where the segment can tell them without reading any: ERR_NOT_FOUND when not. */
static enum err known_texts(struct eval *e, const struct ql_attribute *at, enum ql_scope scope,
                            struct distinct *d)
{
    const struct slice *texts = NULL;
    uint32_t count = 0;

    if (at->intrinsic != QL_I_NONE || at->is_parent || scope == QL_SCOPE_PARENT ||
        (scope == QL_SCOPE_RESOURCE && slice_eq(at->name, SLICE_LIT("service.name"))))
        return ERR_NOT_FOUND; /* "" stands for a service.name that is missing: the rows tell */
    enum err err = segment_texts(e->s, table_of(scope), at->name, e->a, &texts, &count);
    for (uint32_t i = 0; err == ERR_OK && i < count; i++)
        distinct_add(d, value_string(texts[i]));
    return err;
}

static enum err collect(struct eval *e, const struct ql_attribute *tag, bool any_scope,
                        const struct picked *p, struct distinct *d)
{
    static const enum ql_scope unscoped[] = {QL_SCOPE_SPAN, QL_SCOPE_RESOURCE,
                                             QL_SCOPE_INSTRUMENTATION};
    struct ql_attribute at = *tag;
    struct eval_source *src = NULL;
    enum err err = ERR_OK;

    if (any_scope && at.name.len != 0) {
        at.intrinsic = bare_intrinsic(at.name);
        at.scope = QL_SCOPE_NONE;
        at.is_parent = false;
    }
    bool is_unscoped = at.intrinsic == QL_I_NONE && at.scope == QL_SCOPE_NONE;
    if (at.intrinsic != QL_I_NONE && !has_values(at.intrinsic))
        return ERR_OK;
    for (int k = 0; err == ERR_OK && k < (is_unscoped ? 3 : 1); k++) {
        enum ql_scope scope = is_unscoped ? unscoped[k] : at.scope;
        err = p->is_all ? known_texts(e, &at, scope, d) : ERR_NOT_FOUND;
        if (err != ERR_NOT_FOUND)
            continue;
        err = eval_bind_source(e, &at, scope, &src);
        if (err == ERR_OK)
            err = source_values(e, p, src, d);
    }
    return err != ERR_OK ? err : arena_err(e->a);
}

static void drop_empty(struct distinct *d)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < d->count; i++)
        if (d->list[i].type != VALUE_STRING || d->list[i].s.len != 0)
            d->list[n++] = d->list[i];
    d->count = n;
}

static enum err copy_values(const struct distinct *d, uint32_t limit, struct arena *a,
                            struct tag_values *out)
{
    out->is_cut = limit != 0 && d->count > limit;
    out->count = out->is_cut ? limit : d->count;
    out->values = ARENA_ARRAY(a, struct value, out->count);
    for (uint32_t i = 0; out->values != NULL && i < out->count; i++) {
        out->values[i] = d->list[i];
        if (d->list[i].type == VALUE_STRING)
            out->values[i].s = arena_dup(a, d->list[i].s);
    }
    return arena_err(a);
}

enum err engine_tag_values(struct segment *s, const struct ql_attribute *tag, bool any_scope,
                           const struct ql_expr *filter, uint64_t start_ns, uint64_t end_ns,
                           uint32_t limit, struct arena *a, struct tag_values *ret)
{
    struct tag_values out = {.stats = ret->stats};
    struct picked p = {.is_all = false};
    struct arena scratch;
    struct eval e;
    uint64_t read_bytes = s->read_bytes;

    assert(tag != NULL);
    if (s->row_count[SEG_SPAN] == 0 || !in_window(s, start_ns, end_ns)) {
        *ret = out;
        return ERR_OK;
    }
    arena_init(&scratch, a->budget);
    eval_init(&e, s, &scratch, NULL);
    struct distinct d = {.a = &scratch};
    e.is_by_table = filter == NULL;
    enum err err = pick(&e, filter, &p);
    if (err == ERR_OK)
        err = collect(&e, tag, any_scope, &p, &d);
    if (err == ERR_OK && any_scope)
        err = as_texts(&scratch, &d);
    bool is_scope = tag->intrinsic == QL_I_SCOPE_NAME || tag->intrinsic == QL_I_SCOPE_VERSION;
    if (err == ERR_OK) {
        distinct_squeeze(&d);
        if (filter != NULL && is_scope) /* as recorded */
            drop_empty(&d);
        err = copy_values(&d, limit, a, &out);
    }
    arena_release(&scratch);
    if (err != ERR_OK)
        return err;
    out.stats.inspected_bytes += s->read_bytes - read_bytes;
    *ret = out;
    return ERR_OK;
}
