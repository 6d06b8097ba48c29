/* Conditions on attributes and intrinsics of spans as masks, before anything is read: the segment is asked first, its columns are bound when it does not know. */
#include "common/query/eval.h"

#include <assert.h>

bool eval_match_is_late(const struct ql_attribute *at)
{
    if (at->is_parent || at->scope == QL_SCOPE_PARENT)
        return false;
    switch (at->intrinsic) {
    case QL_I_NONE: return at->scope != QL_SCOPE_EVENT && at->scope != QL_SCOPE_LINK;
    case QL_I_EVENT_NAME:
    case QL_I_EVENT_TIME_SINCE_START:
    case QL_I_LINK_TRACE_ID:
    case QL_I_LINK_SPAN_ID:
    case QL_I_PARENT: return false;
    case QL_I_DURATION:
    case QL_I_NAME:
    case QL_I_STATUS:
    case QL_I_STATUS_MESSAGE:
    case QL_I_KIND:
    case QL_I_CHILD_COUNT:
    case QL_I_SPAN_ID:
    case QL_I_PARENT_ID:
    case QL_I_TRACE_DURATION:
    case QL_I_ROOT_NAME:
    case QL_I_ROOT_SERVICE:
    case QL_I_TRACE_ID:
    case QL_I_NESTED_SET_LEFT:
    case QL_I_NESTED_SET_RIGHT:
    case QL_I_NESTED_SET_PARENT:
    case QL_I_SCOPE_NAME:
    case QL_I_SCOPE_VERSION: break;
    }
    return true;
}

/* --- a condition in the words of a segment --- */

struct asking {
    const struct eval_pred *p;
    struct arena *a;
};

static bool is_match(void *arg, enum seg_type type, struct slice value)
{
    struct asking *q = arg;
    struct value v = type == SEG_STR ? value_string(value) : eval_value_decode(q->a, value);

    return v.type != VALUE_NIL && eval_value_matches(q->p, v);
}

static struct seg_match_ints between(int64_t min, int64_t max)
{
    return (struct seg_match_ints){.is_possible = true, .min = min, .max = max};
}

static struct seg_match_ints ints_of(enum ql_op op, int64_t lit)
{
    const struct seg_match_ints none = {0};

    switch ((int)op) {
    case QL_EQ: return between(lit, lit);
    case QL_NE: return (struct seg_match_ints){true, true, lit, lit};
    case QL_LT: return lit == INT64_MIN ? none : between(INT64_MIN, lit - 1);
    case QL_LE: return between(INT64_MIN, lit);
    case QL_GT: return lit == INT64_MAX ? none : between(lit + 1, INT64_MAX);
    case QL_GE: return between(lit, INT64_MAX);
    default: return none;
    }
}

static void ask_attribute(struct asking *q, struct seg_match *ret)
{
    const struct eval_pred *p = q->p;
    enum value_type type = p->value.type;
    bool is_text = type == VALUE_STRING;

    *ret = (struct seg_match){.is_match = is_match, .arg = q, .are_doubles = type == VALUE_FLOAT};
    if (is_text && p->op == QL_EQ)
        ret->text = &p->value.s;
    if (type == VALUE_INT)
        ret->ints = ints_of(p->op, p->value.i);
    if (type == VALUE_BOOL && (p->op == QL_EQ || p->op == QL_NE))
        ret->bools = (struct seg_match_ints){true, (p->value.i != 0) == (p->op == QL_EQ), 0, 0};
}

/* --- masks --- */

/* ERR_NOT_FOUND: the segment does not know.  NULL: no row. */
static enum err ask_key(struct eval *e, enum seg_table table, struct slice key,
                        const struct seg_match *m, uint8_t **ret)
{
    uint8_t *mask = NULL;
    bool any = false;

    if (e->s->ops->match == NULL)
        return ERR_NOT_FOUND;
    enum err err = eval_mask_get(e, table, &mask);
    if (err == ERR_OK)
        err = segment_match(e->s, table, key, m, mask, &any);
    if (err != ERR_OK || !any) {
        eval_mask_put(e, table, mask);
        mask = NULL;
    }
    *ret = mask;
    return err;
}

static enum err ask_fixed(struct eval *e, uint32_t which, const struct seg_match *m, uint8_t **ret)
{
    uint8_t *mask = NULL;
    bool any = false;

    *ret = NULL;
    if (e->s->ops->match_fixed == NULL)
        return ERR_NOT_FOUND;
    enum err err = eval_mask_get(e, SEG_SPAN, &mask);
    if (err == ERR_OK)
        err = segment_match_fixed(e->s, which, m, mask, &any);
    if (err != ERR_OK || !any) {
        eval_mask_put(e, SEG_SPAN, mask);
        mask = NULL;
    }
    *ret = mask;
    return err;
}

enum err eval_match_shared(struct eval *e, uint32_t table, uint8_t **mask)
{
    uint32_t which = table == SEG_RESOURCE ? SEG_F_RESOURCE : SEG_F_SCOPE;
    const struct seg_match m = {.table = *mask};
    uint8_t *spans = NULL;

    assert(table == SEG_RESOURCE || table == SEG_SCOPE);
    assert((e->fixed_have & which) == 0);
    enum err err = ask_fixed(e, which, &m, &spans);
    if (err == ERR_OK) {
        eval_mask_put(e, table, *mask);
        *mask = spans;
    }
    return err;
}

/* Unscoped: the span's value hides the resource's. */
static enum err ask_unscoped(struct eval *e, struct slice key, const struct seg_match *m,
                             uint8_t **ret)
{
    uint8_t *span = NULL, *resource = NULL, *has = NULL;
    enum err err = ask_key(e, SEG_RESOURCE, key, m, &resource);

    if (err == ERR_OK)
        err = ask_key(e, SEG_SPAN, key, m, &span);
    if (err == ERR_OK && resource != NULL && m != NULL)
        err = ask_key(e, SEG_SPAN, key, NULL, &has);
    if (err == ERR_OK && resource != NULL)
        err = eval_to_spans(e, SEG_RESOURCE, &resource);
    if (err != ERR_OK) {
        eval_mask_put(e, SEG_SPAN, span);
        return err;
    }
    for (uint32_t r = 0; has != NULL && resource != NULL && r < e->rows[SEG_SPAN]; r++)
        resource[r] &= has[r] ^ 1;
    for (uint32_t r = 0; span != NULL && resource != NULL && r < e->rows[SEG_SPAN]; r++)
        span[r] |= resource[r];
    *ret = span != NULL ? span : resource;
    if (span != NULL)
        eval_mask_put(e, SEG_SPAN, resource);
    eval_mask_put(e, SEG_SPAN, has);
    return ERR_OK;
}

static bool is_default(const struct ql_attribute *at, const struct seg_match *m,
                       const struct eval_pred *p)
{
    bool is_service = (at->scope == QL_SCOPE_RESOURCE || at->scope == QL_SCOPE_NONE) &&
                      slice_eq(at->name, SLICE_LIT("service.name"));

    return is_service && (m == NULL || eval_value_matches(p, value_string(SLICE_LIT(""))));
}

static enum err match_attribute(struct eval *e, const struct eval_node *n, uint8_t **ret)
{
    const struct ql_attribute *at = n->late;
    struct asking q = {&n->pred, e->a};
    struct seg_match m, *asked = n->kind == EVAL_COMPARE ? &m : NULL;

    ask_attribute(&q, &m);
    if (is_default(at, asked, &n->pred)) /* a resource without a service has "" */
        return ERR_NOT_FOUND;
    if (at->scope == QL_SCOPE_NONE)
        return ask_unscoped(e, at->name, asked, ret);
    enum seg_table table = at->scope == QL_SCOPE_RESOURCE          ? SEG_RESOURCE
                           : at->scope == QL_SCOPE_INSTRUMENTATION ? SEG_SCOPE
                                                                   : SEG_SPAN;
    enum err err = ask_key(e, table, at->name, asked, ret);
    return err == ERR_OK && *ret != NULL && table != SEG_SPAN ? eval_to_spans(e, table, ret) : err;
}

/* Which numbers of kind or status meet the condition: mostly one, or all others. */
static void code_table(const struct eval_pred *p, enum value_type type,
                       uint8_t table[UINT8_MAX + 1])
{
    bool is_one = p->value.type == type && (p->op == QL_EQ || p->op == QL_NE) && p->value.i >= 0 &&
                  p->value.i <= UINT8_MAX;

    memset(table, is_one && p->op == QL_NE, UINT8_MAX + 1);
    if (is_one)
        table[p->value.i] ^= 1;
    for (int v = 0; !is_one && v <= UINT8_MAX; v++)
        table[v] = eval_value_matches(p, (struct value){.type = type, .i = v});
}

static enum err match_fixed(struct eval *e, const struct eval_node *n, uint8_t **ret)
{
    enum ql_intrinsic i = n->late->intrinsic;
    const struct eval_pred *p = &n->pred;
    enum value_type type = p->value.type;
    struct asking q = {p, e->a};
    struct seg_match m = {.arg = &q};
    uint8_t table[UINT8_MAX + 1];

    if (n->kind != EVAL_COMPARE)
        return ERR_NOT_FOUND;
    if (i == QL_I_NAME) {
        m.is_match = is_match;
        if (p->op == QL_EQ && type == VALUE_STRING)
            m.text = &p->value.s;
        return ask_fixed(e, SEG_F_NAME, &m, ret);
    }
    if (i == QL_I_DURATION && (type == VALUE_INT || type == VALUE_DURATION)) {
        m.ints = ints_of(p->op, p->value.i);
        return ask_fixed(e, SEG_F_DURATION, &m, ret);
    }
    if (i != QL_I_KIND && i != QL_I_STATUS)
        return ERR_NOT_FOUND;
    code_table(p, i == QL_I_KIND ? VALUE_KIND : VALUE_STATUS, table);
    m.table = table;
    return ask_fixed(e, i == QL_I_KIND ? SEG_F_KIND : SEG_F_STATUS, &m, ret);
}

enum err eval_match(struct eval *e, const struct eval_node *n, uint8_t **ret)
{
    assert(n->late != NULL);
    *ret = NULL;
    return n->late->intrinsic == QL_I_NONE ? match_attribute(e, n, ret) : match_fixed(e, n, ret);
}

/* --- what to look at first --- */

static unsigned compare_cost(const struct eval_node *n)
{
    switch ((int)n->late->intrinsic) {
    case QL_I_NONE: break;
    case QL_I_KIND:
    case QL_I_STATUS: return 1;
    case QL_I_NAME: return n->pred.op == QL_EQ ? 2 : 5;
    case QL_I_DURATION: return 3;
    default: return 8;
    }
    if (n->late->scope == QL_SCOPE_RESOURCE || n->late->scope == QL_SCOPE_INSTRUMENTATION)
        return 1;
    return n->kind != EVAL_COMPARE || n->pred.value.type != VALUE_STRING || n->pred.op == QL_EQ ? 4
                                                                                                : 6;
}

unsigned eval_match_cost(const struct eval_node *n)
{
    unsigned left, right;

    switch (n->kind) {
    case EVAL_CONST: return 0;
    case EVAL_COMPARE:
    case EVAL_EXISTS:
    case EVAL_NOT_EXISTS: return n->late == NULL ? 7 : compare_cost(n);
    case EVAL_AND:
    case EVAL_OR:
    case EVAL_NOT: break;
    case EVAL_ATTRIBUTE:
    case EVAL_GENERIC: return 9;
    }
    left = n->left->cost;
    right = n->right == NULL ? 0 : n->right->cost;
    return left > right ? left : right;
}
