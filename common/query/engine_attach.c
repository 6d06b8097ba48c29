#include "common/query/engine_attach.h"

#include <assert.h>

enum { NAME_BYTES_MAX = 1 << 17 };

struct wanted {
    struct wanted *next;
    const struct ql_attribute *attribute;
    struct slice key;
    struct eval_source *sources[2];
    bool is_name, is_any, is_nil;
    struct wanted_pred {
        struct wanted_pred *next;
        struct eval_pred pred;
    } * preds;
};

struct engine_attach {
    struct wanted *first, **last;
    uint32_t count;
};

static bool is_left_out(enum ql_intrinsic i)
{
    return i == QL_I_DURATION || i == QL_I_SPAN_ID || i == QL_I_TRACE_ID ||
           i == QL_I_TRACE_DURATION || i == QL_I_ROOT_NAME || i == QL_I_ROOT_SERVICE;
}

static enum err key_of(struct eval *e, const struct ql_attribute *at, struct slice *ret)
{
    struct buf text;

    if (at->intrinsic == QL_I_NONE) {
        *ret = at->name;
        return ERR_OK;
    }
    buf_init(&text, NAME_BYTES_MAX);
    ql_dump_attribute(&text, at);
    *ret = arena_dup(e->a, buf_slice(&text));
    enum err err = buf_err(&text);
    buf_release(&text);
    return err != ERR_OK ? err : arena_err(e->a);
}

/* *ret is NULL for attributes that are never attached. */
static enum err want(struct eval *e, struct engine_attach *w, const struct ql_attribute *at,
                     struct wanted **ret)
{
    *ret = NULL;
    if (is_left_out(at->intrinsic))
        return ERR_OK;
    for (struct wanted *n = w->first; n != NULL; n = n->next)
        if (n->attribute->intrinsic == at->intrinsic &&
            (at->intrinsic != QL_I_NONE ||
             (n->attribute->scope == at->scope && slice_eq(n->attribute->name, at->name)))) {
            *ret = n;
            return ERR_OK;
        }
    struct wanted *n = ARENA_NEW(e->a, struct wanted);
    if (n == NULL)
        return arena_err(e->a);
    n->attribute = at;
    n->is_name = at->intrinsic == QL_I_NAME;
    enum err err = key_of(e, at, &n->key);
    if (err != ERR_OK)
        return err;
    *w->last = n;
    w->last = &n->next;
    w->count++;
    *ret = n;
    return ERR_OK;
}

static enum err want_any(struct eval *e, struct engine_attach *w, const struct ql_attribute *at)
{
    struct wanted *n;
    enum err err = want(e, w, at, &n);

    if (err == ERR_OK && n != NULL)
        n->is_any = true;
    return err;
}

static enum err want_pred(struct eval *e, struct engine_attach *w, const struct ql_attribute *at,
                          const struct eval_pred *pred)
{
    struct wanted *n;
    enum err err = want(e, w, at, &n);

    if (err != ERR_OK || n == NULL)
        return err;
    struct wanted_pred *p = ARENA_NEW(e->a, struct wanted_pred);
    if (p == NULL)
        return arena_err(e->a);
    *p = (struct wanted_pred){n->preds, *pred};
    n->preds = p;
    return ERR_OK;
}

/* Below a `!` a value that fails the condition is what matches: any value is attached. */
static enum err walk_expr(struct eval *e, struct engine_attach *w, const struct ql_expr *x,
                          bool is_negated)
{
    const struct ql_attribute *attribute;
    struct eval_pred pred;
    struct wanted *n;
    enum err err = ERR_OK;

    for (; x != NULL && err == ERR_OK; x = x->left) { /* chains lean to the left */
        is_negated = is_negated || (x->kind == QL_EXPR_UNARY && x->op == QL_NOT);
        if (!is_negated && eval_bind_pred(x, &attribute, &pred))
            return want_pred(e, w, attribute, &pred);
        if (x->kind == QL_EXPR_ATTRIBUTE)
            return want_any(e, w, &x->attribute);
        if (x->kind == QL_EXPR_STATIC)
            return ERR_OK;
        if (x->kind == QL_EXPR_UNARY && x->op == QL_NOT_EXISTS &&
            x->left->kind == QL_EXPR_ATTRIBUTE) {
            err = want(e, w, &x->left->attribute, &n);
            if (err == ERR_OK && n != NULL)
                n->is_nil = true;
            return err;
        }
        if (x->kind == QL_EXPR_BINARY)
            err = walk_expr(e, w, x->right, is_negated);
    }
    return err;
}

static enum err walk_pipeline(struct eval *e, struct engine_attach *w, const struct ql_pipeline *p);

static enum err walk_spanset(struct eval *e, struct engine_attach *w, const struct ql_spanset *s)
{
    enum err err = ERR_OK;

    for (; s != NULL && err == ERR_OK; s = s->left) {
        if (s->kind == QL_SPANSET_FILTER)
            return walk_expr(e, w, s->filter, false);
        if (s->kind == QL_SPANSET_PIPELINE)
            return walk_pipeline(e, w, s->pipeline);
        err = walk_spanset(e, w, s->right);
    }
    return err;
}

static enum err walk_scalar(struct eval *e, struct engine_attach *w, const struct ql_scalar *s)
{
    enum err err = ERR_OK;

    for (; s != NULL && err == ERR_OK; s = s->left) {
        if (s->kind == QL_SCALAR_AGGREGATE)
            return walk_expr(e, w, s->argument, false);
        if (s->kind != QL_SCALAR_BINARY)
            return ERR_OK;
        err = walk_scalar(e, w, s->right);
    }
    return err;
}

static enum err walk_pipeline(struct eval *e, struct engine_attach *w, const struct ql_pipeline *p)
{
    enum err err = ERR_OK;

    for (uint32_t i = 0; err == ERR_OK && i < p->stage_count; i++) {
        const struct ql_stage *s = &p->stages[i];
        if (s->spanset != NULL)
            err = walk_spanset(e, w, s->spanset);
        if (err == ERR_OK && s->left != NULL)
            err = walk_scalar(e, w, s->left);
        if (err == ERR_OK && s->right != NULL)
            err = walk_scalar(e, w, s->right);
        if (err == ERR_OK && s->by != NULL)
            err = walk_expr(e, w, s->by, false);
        for (uint32_t k = 0; err == ERR_OK && k < s->select_count; k++)
            err = want_any(e, w, &s->select[k]);
    }
    return err;
}

enum err engine_attach_new(struct eval *e, const struct ql_pipeline *p, struct engine_attach **ret)
{
    struct engine_attach *w = ARENA_NEW(e->a, struct engine_attach);

    if (w == NULL)
        return arena_err(e->a);
    w->last = &w->first;
    enum err err = walk_pipeline(e, w, p);
    for (struct wanted *n = w->first; err == ERR_OK && n != NULL; n = n->next) {
        bool is_one = n->preds != NULL && n->preds->next == NULL && !n->is_any && !n->is_nil;
        err = eval_bind_sources(e, n->attribute, is_one ? &n->preds->pred : NULL, n->sources);
    }
    if (err == ERR_OK)
        *ret = w;
    return err;
}

struct value engine_attach_copy(struct arena *a, struct value v)
{
    if (v.type == VALUE_STATUS)
        return value_string(slice_str(value_status_name(v.i)));
    if (v.type == VALUE_KIND)
        return value_string(slice_str(value_kind_name(v.i)));
    if (v.type == VALUE_STRING)
        return value_string(arena_dup(a, v.s));
    if (!value_is_array(v))
        return v;
    struct value *items = ARENA_ARRAY(a, struct value, v.array.count);
    for (uint32_t i = 0; items != NULL && i < v.array.count; i++)
        items[i] = engine_attach_copy(a, v.array.items[i]);
    v.array.items = items;
    v.array.count = items == NULL ? 0 : v.array.count;
    return v;
}

static uint32_t met_count(const struct wanted *n, struct value v)
{
    uint32_t count = 0;

    for (const struct wanted_pred *p = n->preds; p != NULL; p = p->next)
        count += eval_value_matches(&p->pred, v);
    return count;
}

static bool meets(const struct wanted *n, struct value v)
{
    if (n->is_any)
        return true;
    for (const struct wanted_pred *p = n->preds; p != NULL; p = p->next)
        if (eval_value_matches(&p->pred, v))
            return true;
    return false;
}

/* The part of a value that is attached: of an array the elements that meet a condition.  NIL when none does. */
static struct value part_of(const struct wanted *n, struct arena *a, struct value v)
{
    if (!value_is_array(v))
        return meets(n, v) ? engine_attach_copy(a, v) : VALUE_NONE;
    struct value *items = ARENA_ARRAY(a, struct value, v.array.count);
    uint32_t count = 0;
    for (uint32_t i = 0; items != NULL && i < v.array.count; i++)
        if (meets(n, v.array.items[i]))
            items[count++] = engine_attach_copy(a, v.array.items[i]);
    if (count < 2)
        return count == 0 ? VALUE_NONE : items[0];
    v.array.items = items;
    v.array.count = count;
    return v;
}

struct looking {
    const struct wanted *wanted;
    struct arena *a;
    struct value found;
    uint32_t met; /* conditions that the found value meets */
    bool is_present;
};

static bool look(void *arg, struct value v)
{
    struct looking *l = arg;

    l->is_present = true;
    l->found = part_of(l->wanted, l->a, v);
    l->met = met_count(l->wanted, v);
    return l->found.type != VALUE_NIL;
}

static void look_in_row(struct eval *e, struct eval_source *src, uint32_t row, struct looking *l)
{
    l->is_present = false;
    (void)eval_value_each(e, src, row, look, l);
}

/* Intrinsics of an event or link that a span has none of. */
static struct value absent_child(enum ql_intrinsic i)
{
    switch ((int)i) {
    case QL_I_EVENT_NAME: return value_string(SLICE_LIT(""));
    case QL_I_EVENT_TIME_SINCE_START: return value_duration(0);
    case QL_I_LINK_SPAN_ID: return value_string(SLICE_LIT("0000000000000000"));
    case QL_I_LINK_TRACE_ID: return value_string(SLICE_LIT("00000000000000000000000000000000"));
    default: return VALUE_NONE;
    }
}

/* Of several events or links the one that meets the most conditions, the last of such.  Returns whether there is something to attach. */
static bool child_value(struct eval *e, const struct wanted *n, uint32_t row, struct looking *l)
{
    unsigned k = n->sources[0]->table == SEG_LINK;
    uint32_t from = e->first[k][row], to = e->first[k][row + 1];
    struct looking one = *l;
    bool is_lacking = false;

    for (uint32_t i = from; i < to; i++) {
        one.found = VALUE_NONE;
        look_in_row(e, n->sources[0], e->list[k][i], &one);
        is_lacking |= !one.is_present;
        if (one.found.type != VALUE_NIL && (l->found.type == VALUE_NIL || one.met >= l->met))
            *l = one;
    }
    if (l->found.type == VALUE_NIL && n->is_any && from == to)
        l->found = absent_child(n->attribute->intrinsic);
    return l->found.type != VALUE_NIL || (n->is_nil && is_lacking);
}

static bool span_value(struct eval *e, const struct wanted *n, uint32_t row, struct looking *l)
{
    struct eval_at at = {row, EVAL_NO_ROW, EVAL_NO_ROW};
    bool is_present = false;

    for (int i = 0; i < 2 && n->sources[i] != NULL && !is_present; i++) {
        look_in_row(e, n->sources[i], eval_value_row(e, n->sources[i], at), l);
        is_present = l->is_present;
    }
    return l->found.type != VALUE_NIL || (n->is_nil && !is_present);
}

enum err engine_attach_fill(struct eval *e, struct engine_attach *at, struct arena *a, uint32_t row,
                            struct result_span *span)
{
    span->attributes = ARENA_ARRAY(a, struct result_attribute, at->count);
    if (span->attributes == NULL)
        return arena_err(a);
    for (const struct wanted *n = at->first; n != NULL; n = n->next) {
        struct looking l = {.wanted = n, .a = a, .found = VALUE_NONE};
        bool is_child = n->sources[0]->table == SEG_EVENT || n->sources[0]->table == SEG_LINK;
        if (!(is_child ? child_value(e, n, row, &l) : span_value(e, n, row, &l)))
            continue;
        if (n->is_name)
            span->name = l.found.s;
        else
            span->attributes[span->attribute_count++] =
                (struct result_attribute){arena_dup(a, n->key), l.found};
    }
    assert(span->attribute_count <= at->count);
    return arena_err(a);
}
