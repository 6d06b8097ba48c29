#include "common/query/eval.h"

#include <assert.h>

static struct eval_source *source_new(struct eval *e, enum eval_source_kind kind, uint32_t table)
{
    struct eval_source *src = ARENA_NEW(e->a, struct eval_source);

    if (src != NULL)
        *src = (struct eval_source){.kind = kind, .table = table, .rows = e->rows[table]};
    return src;
}

/* Arrays stand as AnyValue bodies: decoded once per dictionary entry. */
static enum err columns_prepare(struct eval *e, struct eval_source *src)
{
    src->cursors = ARENA_ARRAY(e->a, uint32_t, src->column_count);
    src->decoded = ARENA_ARRAY(e->a, struct value *, src->column_count);
    if (src->cursors == NULL || src->decoded == NULL)
        return arena_err(e->a);
    for (uint32_t k = 0; k < src->column_count; k++) {
        const struct seg_column *c = &src->columns[k];
        if (c->type != SEG_ANY)
            continue;
        src->decoded[k] = ARENA_ARRAY(e->a, struct value, c->value_count);
        for (uint32_t i = 0; src->decoded[k] != NULL && i < c->value_count; i++)
            src->decoded[k][i] = eval_value_decode(e->a, c->values[i]);
    }
    return arena_err(e->a);
}

static bool has_default(enum seg_table table, struct slice name)
{
    return table == SEG_RESOURCE && slice_eq(name, SLICE_LIT("service.name"));
}

static enum err bind_attribute(struct eval *e, enum seg_table table, struct slice name,
                               const struct slice *only, struct eval_source **ret)
{
    struct eval_source *src = source_new(e, EVAL_COLUMNS, table);

    if (src == NULL)
        return arena_err(e->a);
    enum err err =
        only == NULL
            ? segment_attribute(e->s, table, name, &src->columns, &src->column_count)
            : segment_attribute_equal(e->s, table, name, *only, &src->columns, &src->column_count);
    if (err != ERR_OK)
        return err;
    src->has_default = has_default(table, name);
    *ret = src;
    return columns_prepare(e, src);
}

static enum err bind_field(struct eval *e, enum seg_table table, enum seg_field field,
                           struct eval_source **ret)
{
    struct eval_source *src = source_new(e, EVAL_COLUMNS, table);

    if (src == NULL)
        return arena_err(e->a);
    enum err err = segment_field(e->s, table, field, &src->columns, &src->column_count);
    if (err != ERR_OK)
        return err;
    src->has_default = true;
    *ret = src;
    return columns_prepare(e, src);
}

static enum err bind_fixed(struct eval *e, enum ql_intrinsic i, struct eval_source **ret)
{
    static const struct {
        enum ql_intrinsic intrinsic;
        uint32_t which;
        enum eval_source_kind kind;
        enum value_type type;
    } rows[] = {
        {QL_I_NAME, SEG_F_NAME, EVAL_CODES, VALUE_STRING},
        {QL_I_STATUS, SEG_F_STATUS, EVAL_U8, VALUE_STATUS},
        {QL_I_KIND, SEG_F_KIND, EVAL_U8, VALUE_KIND},
        {QL_I_DURATION, SEG_F_DURATION, EVAL_I64, VALUE_DURATION},
        {QL_I_SPAN_ID, SEG_F_SPAN_ID, EVAL_SPAN_ID, VALUE_STRING},
        {QL_I_PARENT_ID, SEG_F_PARENT, EVAL_SPAN_ID, VALUE_STRING},
    };
    size_t k = 0;

    while (k < sizeof rows / sizeof rows[0] && rows[k].intrinsic != i)
        k++;
    assert(k < sizeof rows / sizeof rows[0]);
    enum err err = eval_fixed(e, rows[k].which);
    if (err != ERR_OK)
        return err;
    struct eval_source *src = source_new(e, rows[k].kind, SEG_SPAN);
    if (src == NULL)
        return arena_err(e->a);
    src->type = rows[k].type;
    src->codes = e->fixed.name.codes;
    src->text = e->fixed.name.values;
    src->text_count = e->fixed.name.value_count;
    src->u8 = i == QL_I_STATUS ? e->fixed.status : e->fixed.kind;
    src->i64 =
        (const int64_t *)e->fixed.duration_ns; /* a span that ends before it starts: negative */
    src->span_ids = i == QL_I_SPAN_ID ? e->fixed.span_id : e->fixed.parent_id;
    *ret = src;
    return ERR_OK;
}

static enum err bind_tree(struct eval *e, enum ql_intrinsic i, struct eval_source **ret)
{
    enum err err = eval_tree_build(e);

    if (err != ERR_OK)
        return err;
    struct eval_source *src = source_new(e, EVAL_I64, SEG_SPAN);
    if (src == NULL)
        return arena_err(e->a);
    src->type = VALUE_INT;
    if (i == QL_I_CHILD_COUNT)
        src->i64 = e->tree.child_count;
    else if (i == QL_I_NESTED_SET_PARENT)
        src->i64 = e->tree.parent;
    else
        src->i64 = i == QL_I_NESTED_SET_LEFT ? e->tree.left : e->tree.right;
    *ret = src;
    return ERR_OK;
}

static enum err bind_trace_duration(struct eval *e, struct eval_source *src)
{
    int64_t *d = ARENA_ARRAY(e->a, int64_t, e->rows[EVAL_TRACE]);

    if (d == NULL)
        return arena_err(e->a);
    for (uint32_t t = 0; t < e->rows[EVAL_TRACE]; t++)
        d[t] = (int64_t)(e->traces.max_end_ns[t] - e->traces.min_start_ns[t]);
    src->kind = EVAL_I64;
    src->type = VALUE_DURATION;
    src->i64 = d;
    return ERR_OK;
}

static enum err bind_root_text(struct eval *e, bool is_service, struct eval_source *src)
{
    static const struct ql_attribute service = {.scope = QL_SCOPE_RESOURCE,
                                                .name = {(const uint8_t *)"service.name", 12}};
    struct eval_source *names = NULL;
    enum err err = eval_tree_roots(e);

    if (err == ERR_OK)
        err = is_service ? eval_bind_source(e, &service, QL_SCOPE_RESOURCE, &names)
                         : eval_fixed(e, SEG_F_NAME);
    if (err == ERR_OK && is_service)
        err = eval_fixed(e, SEG_F_RESOURCE);
    struct slice *text = ARENA_ARRAY(e->a, struct slice, e->rows[EVAL_TRACE]);
    if (err != ERR_OK || text == NULL)
        return err != ERR_OK ? err : arena_err(e->a);
    for (uint32_t t = 0; t < e->rows[EVAL_TRACE]; t++) {
        uint32_t row = e->roots[t];
        if (row == EVAL_NO_ROW)
            continue;
        if (!is_service) {
            text[t] = e->fixed.name.values[e->fixed.name.codes[row]];
            continue;
        }
        struct value v = eval_value_first(e, names, e->fixed.resource[row]);
        if (v.type == VALUE_STRING)
            text[t] = v.s;
    }
    src->kind = EVAL_TEXTS;
    src->text = text;
    return ERR_OK;
}

static enum err bind_trace(struct eval *e, enum ql_intrinsic i, struct eval_source **ret)
{
    enum err err = eval_traces(e);

    if (err == ERR_OK)
        err = eval_fixed(e, SEG_F_TRACE);
    if (err != ERR_OK)
        return err;
    struct eval_source *src = source_new(e, EVAL_TRACE_ID, EVAL_TRACE);
    if (src == NULL)
        return arena_err(e->a);
    src->is_short_id = true;
    src->trace_ids = e->traces.id;
    if (i == QL_I_TRACE_DURATION)
        err = bind_trace_duration(e, src);
    else if (i != QL_I_TRACE_ID)
        err = bind_root_text(e, i == QL_I_ROOT_SERVICE, src);
    if (err == ERR_OK)
        *ret = src;
    return err;
}

static enum err bind_event(struct eval *e, enum ql_intrinsic i, struct eval_source **ret)
{
    enum err err = eval_tree_children(e, SEG_EVENT);

    if (err == ERR_OK)
        err = eval_fixed(e, SEG_F_START);
    if (err != ERR_OK)
        return err;
    struct eval_source *src = source_new(e, EVAL_CODES, SEG_EVENT);
    if (src == NULL)
        return arena_err(e->a);
    src->codes = e->events.name.codes;
    src->text = e->events.name.values;
    src->text_count = e->events.name.value_count;
    if (i == QL_I_EVENT_TIME_SINCE_START) {
        int64_t *since = ARENA_ARRAY(e->a, int64_t, src->rows);
        if (since == NULL)
            return arena_err(e->a);
        for (uint32_t r = 0; r < src->rows; r++)
            since[r] = (int64_t)(e->events.time_ns[r] - e->fixed.start_ns[e->events.span[r]]);
        src->kind = EVAL_I64;
        src->type = VALUE_DURATION;
        src->i64 = since;
    }
    *ret = src;
    return ERR_OK;
}

static enum err bind_link(struct eval *e, enum ql_intrinsic i, struct eval_source **ret)
{
    enum err err = eval_tree_children(e, SEG_LINK);

    if (err != ERR_OK)
        return err;
    struct eval_source *src =
        source_new(e, i == QL_I_LINK_TRACE_ID ? EVAL_TRACE_ID : EVAL_SPAN_ID, SEG_LINK);
    if (src == NULL)
        return arena_err(e->a);
    src->trace_ids = e->links.trace_id;
    src->span_ids = e->links.span_id;
    *ret = src;
    return ERR_OK;
}

static enum err bind_intrinsic(struct eval *e, enum ql_intrinsic i, struct eval_source **ret)
{
    switch (i) {
    case QL_I_DURATION:
    case QL_I_NAME:
    case QL_I_STATUS:
    case QL_I_KIND:
    case QL_I_SPAN_ID:
    case QL_I_PARENT_ID: return bind_fixed(e, i, ret);
    case QL_I_STATUS_MESSAGE: return bind_field(e, SEG_SPAN, SEG_STATUS_MESSAGE, ret);
    case QL_I_CHILD_COUNT:
    case QL_I_NESTED_SET_LEFT:
    case QL_I_NESTED_SET_RIGHT:
    case QL_I_NESTED_SET_PARENT: return bind_tree(e, i, ret);
    case QL_I_TRACE_DURATION:
    case QL_I_ROOT_NAME:
    case QL_I_ROOT_SERVICE:
    case QL_I_TRACE_ID: return bind_trace(e, i, ret);
    case QL_I_EVENT_NAME:
    case QL_I_EVENT_TIME_SINCE_START: return bind_event(e, i, ret);
    case QL_I_LINK_TRACE_ID:
    case QL_I_LINK_SPAN_ID: return bind_link(e, i, ret);
    case QL_I_SCOPE_NAME: return bind_field(e, SEG_SCOPE, SEG_SCOPE_NAME, ret);
    case QL_I_SCOPE_VERSION: return bind_field(e, SEG_SCOPE, SEG_SCOPE_VERSION, ret);
    case QL_I_PARENT:
    case QL_I_NONE: break;
    }
    return ERR_UNSUPPORTED;
}

static enum err bind_scope(struct eval *e, const struct ql_attribute *at, enum ql_scope scope,
                           const struct slice *only, struct eval_source **ret)
{
    enum err err = ERR_OK;

    switch (scope) {
    case QL_SCOPE_SPAN: return bind_attribute(e, SEG_SPAN, at->name, only, ret);
    case QL_SCOPE_RESOURCE: return bind_attribute(e, SEG_RESOURCE, at->name, only, ret);
    case QL_SCOPE_INSTRUMENTATION: return bind_attribute(e, SEG_SCOPE, at->name, only, ret);
    case QL_SCOPE_EVENT:
        err = eval_tree_children(e, SEG_EVENT);
        return err != ERR_OK ? err : bind_attribute(e, SEG_EVENT, at->name, only, ret);
    case QL_SCOPE_LINK:
        err = eval_tree_children(e, SEG_LINK);
        return err != ERR_OK ? err : bind_attribute(e, SEG_LINK, at->name, only, ret);
    case QL_SCOPE_NONE:
    case QL_SCOPE_PARENT: break;
    }
    return ERR_UNSUPPORTED;
}

static bool is_same_only(const struct slice *a, const struct slice *b)
{
    return a == NULL || b == NULL ? a == b : slice_eq(*a, *b);
}

/* Whoever asks for the value of a span has to know its resource and scope. */
static enum err for_rows(struct eval *e, const struct eval_source *src)
{
    if (e->is_by_table || (src->table != SEG_RESOURCE && src->table != SEG_SCOPE))
        return ERR_OK;
    return eval_fixed(e, src->table == SEG_RESOURCE ? SEG_F_RESOURCE : SEG_F_SCOPE);
}

static enum err bind_only(struct eval *e, const struct ql_attribute *at, enum ql_scope scope,
                          const struct slice *only, struct eval_source **ret)
{
    enum err err;

    if (at->is_parent)
        return ERR_UNSUPPORTED;
    if (at->intrinsic != QL_I_NONE)
        scope = QL_SCOPE_NONE;
    for (struct eval_bound *b = e->bound; b != NULL; b = b->next)
        if (b->intrinsic == at->intrinsic && b->scope == scope && is_same_only(b->only, only) &&
            (at->intrinsic != QL_I_NONE || slice_eq(b->name, at->name))) {
            *ret = b->source;
            return for_rows(e, b->source);
        }
    struct eval_bound *b = ARENA_NEW(e->a, struct eval_bound);
    if (b == NULL)
        return arena_err(e->a);
    *b = (struct eval_bound){
        .intrinsic = at->intrinsic, .scope = scope, .name = at->name, .only = only};
    err = at->intrinsic != QL_I_NONE ? bind_intrinsic(e, at->intrinsic, &b->source)
                                     : bind_scope(e, at, scope, only, &b->source);
    if (err != ERR_OK)
        return err;
    b->next = e->bound;
    e->bound = b;
    *ret = b->source;
    return for_rows(e, b->source);
}

enum err eval_bind_source(struct eval *e, const struct ql_attribute *at, enum ql_scope scope,
                          struct eval_source **ret)
{
    return bind_only(e, at, scope, NULL, ret);
}

/* Whether one of the ints from min to max may meet the condition. */
static bool may_be_between(const struct eval_pred *p, int64_t min, int64_t max)
{
    int64_t lit = p->value.i;

    if (p->value.type != VALUE_INT)
        return true;
    switch ((int)p->op) {
    case QL_EQ: return min <= lit && lit <= max;
    case QL_NE: return min != lit || max != lit;
    case QL_LT: return min < lit;
    case QL_LE: return min <= lit;
    case QL_GT: return max > lit;
    case QL_GE: return max >= lit;
    default: return true;
    }
}

/* Whether a value of the attribute may meet the condition, as far as is known without reading a row. */
static enum err may_match(struct eval *e, const struct ql_attribute *at, enum seg_table table,
                          const struct eval_pred *pred, bool *ret)
{
    const struct slice *texts = NULL;
    uint32_t count = 0;
    enum err err = segment_texts(e->s, table, at->name, e->a, &texts, &count);

    *ret = err == ERR_NOT_FOUND;
    for (uint32_t i = 0; err == ERR_OK && i < count && !*ret; i++)
        *ret = eval_value_matches(pred, value_string(texts[i]));
    if (err != ERR_NOT_FOUND)
        return err;
    int64_t min, max;
    err = segment_range(e->s, table, at->name, &min, &max);
    if (err == ERR_OK)
        *ret = may_be_between(pred, min, max);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* As bind_only; and a source without columns where no value that occurs meets the condition. */
static enum err bind_matching(struct eval *e, const struct ql_attribute *at, enum ql_scope scope,
                              const struct eval_pred *pred, const struct slice *only,
                              struct eval_source **ret)
{
    enum seg_table table = scope == QL_SCOPE_RESOURCE          ? SEG_RESOURCE
                           : scope == QL_SCOPE_INSTRUMENTATION ? SEG_SCOPE
                                                               : SEG_SPAN;
    bool is_looked_up = pred != NULL && only == NULL && at->intrinsic == QL_I_NONE &&
                        !at->is_parent && scope != QL_SCOPE_EVENT && scope != QL_SCOPE_LINK &&
                        scope != QL_SCOPE_PARENT && !has_default(table, at->name);
    bool may = true;

    if (is_looked_up) {
        enum err err = may_match(e, at, table, pred, &may);
        if (err != ERR_OK)
            return err;
    }
    if (may)
        return bind_only(e, at, scope, only, ret);
    *ret =
        source_new(e, EVAL_COLUMNS,
                   SEG_SPAN); /* nothing of any table: the resource of a span need not be known */
    return *ret == NULL ? arena_err(e->a) : ERR_OK;
}

enum err eval_bind_sources(struct eval *e, const struct ql_attribute *at,
                           const struct eval_pred *pred, struct eval_source *ret[2])
{
    /* "" may also stand for a text that is not there. */
    bool is_text = pred != NULL && pred->op == QL_EQ && pred->value.type == VALUE_STRING &&
                   pred->value.s.len != 0 && at->intrinsic == QL_I_NONE;
    const struct slice *only = is_text ? &pred->value.s : NULL;

    ret[1] = NULL;
    if (at->intrinsic != QL_I_NONE || at->scope != QL_SCOPE_NONE)
        return bind_matching(e, at, at->scope, pred, only, &ret[0]);
    enum err err = bind_matching(e, at, QL_SCOPE_RESOURCE, pred, only, &ret[1]);
    if (err != ERR_OK)
        return err;
    /* Any value of the span hides one of the resource that may match. */
    return ret[1]->column_count == 0 ? bind_matching(e, at, QL_SCOPE_SPAN, pred, only, &ret[0])
                                     : bind_only(e, at, QL_SCOPE_SPAN, NULL, &ret[0]);
}

static enum err bind_sources(struct eval *e, const struct ql_attribute *at,
                             const struct eval_pred *pred, struct eval_node *n)
{
    enum err err = eval_bind_sources(e, at, pred, n->sources);
    if (err != ERR_OK)
        return err;
    if (n->sources[0]->table == SEG_EVENT)
        n->deps |= EVAL_EVENT;
    if (n->sources[0]->table == SEG_LINK)
        n->deps |= EVAL_LINK;
    return ERR_OK;
}

/* A condition: what it needs is read when it is its turn, if it comes to that. */
static enum err bind_condition(struct eval *e, const struct ql_attribute *at,
                               const struct eval_pred *pred, struct eval_node *n)
{
    if (!eval_match_is_late(at)) {
        n->cost = 7;
        return bind_sources(e, at, pred, n);
    }
    n->late = at;
    n->cost = eval_match_cost(n);
    return ERR_OK;
}

enum err eval_bind_ready(struct eval *e, const struct eval_node *node)
{
    struct eval_node *n = (struct eval_node *)(uintptr_t)node;
    enum err err = ERR_OK;

    for (; n != NULL && err == ERR_OK; n = n->left) {
        if (n->late != NULL && n->sources[0] == NULL)
            err = bind_sources(e, n->late, n->kind == EVAL_COMPARE ? &n->pred : NULL, n);
        if (err == ERR_OK && n->right != NULL)
            err = eval_bind_ready(e, n->right);
    }
    return err;
}

static enum ql_op flipped(enum ql_op op)
{
    switch ((int)op) {
    case QL_LT: return QL_GT;
    case QL_LE: return QL_GE;
    case QL_GT: return QL_LT;
    case QL_GE: return QL_LE;
    default: return op;
    }
}

bool eval_bind_pred(const struct ql_expr *expr, const struct ql_attribute **ret_attribute,
                    struct eval_pred *ret)
{
    if (expr->kind != QL_EXPR_BINARY || expr->op < QL_EQ || expr->op > QL_NOT_REGEX)
        return false;
    const struct ql_expr *l = expr->left, *r = expr->right;
    bool is_flipped =
        l->kind == QL_EXPR_STATIC && r->kind == QL_EXPR_ATTRIBUTE && expr->op < QL_REGEX;
    if (is_flipped) {
        l = expr->right;
        r = expr->left;
    }
    if (l->kind != QL_EXPR_ATTRIBUTE || r->kind != QL_EXPR_STATIC)
        return false;
    *ret_attribute = &l->attribute;
    *ret = (struct eval_pred){
        .op = is_flipped ? flipped(expr->op) : expr->op,
        .value = r->value,
        .regex = expr->regex,
        .is_strict = l->attribute.intrinsic == QL_I_NONE,
        .is_dotless = l->attribute.is_dotless,
    };
    return true;
}

static struct eval_node *node_new(struct eval *e, enum eval_kind kind)
{
    struct eval_node *n = ARENA_NEW(e->a, struct eval_node);

    if (n != NULL)
        n->kind = kind;
    return n;
}

static enum err bind_pair(struct eval *e, const struct ql_expr *expr, bool is_bool,
                          struct eval_node *n)
{
    enum err err =
        is_bool ? eval_bind(e, expr->left, &n->left) : eval_bind_value(e, expr->left, &n->left);

    if (err == ERR_OK && expr->kind == QL_EXPR_BINARY)
        err = is_bool ? eval_bind(e, expr->right, &n->right)
                      : eval_bind_value(e, expr->right, &n->right);
    if (err != ERR_OK)
        return err;
    n->deps = (uint8_t)(n->left->deps | (n->right != NULL ? n->right->deps : 0));
    n->cost = eval_match_cost(n);
    return ERR_OK;
}

/* !.flag is true only for a flag that is false; what is no boolean stays no match. */
static enum err bind_not(struct eval *e, const struct ql_expr *expr, struct eval_node **ret)
{
    const struct ql_expr *inner = expr;
    bool is_even = true;

    for (; inner->kind == QL_EXPR_UNARY && inner->op == QL_NOT; inner = inner->left)
        is_even = !is_even;
    bool is_attribute = inner->kind == QL_EXPR_ATTRIBUTE;
    struct eval_node *n = node_new(e, is_attribute ? EVAL_COMPARE : EVAL_NOT);
    if (n == NULL)
        return arena_err(e->a);
    *ret = n;
    if (!is_attribute)
        return bind_pair(e, expr, true, n);
    n->pred = (struct eval_pred){.op = QL_EQ, .value = value_bool(is_even), .is_strict = true};
    return bind_condition(e, &inner->attribute, NULL, n);
}

enum err eval_bind_value(struct eval *e, const struct ql_expr *expr, struct eval_node **ret)
{
    if (expr->kind == QL_EXPR_STATIC || expr->kind == QL_EXPR_ATTRIBUTE) {
        bool is_static = expr->kind == QL_EXPR_STATIC;
        struct eval_node *n = node_new(e, is_static ? EVAL_CONST : EVAL_ATTRIBUTE);
        if (n == NULL)
            return arena_err(e->a);
        n->value = expr->value;
        *ret = n;
        return is_static ? ERR_OK : bind_sources(e, &expr->attribute, NULL, n);
    }
    bool is_arithmetic = (expr->op >= QL_ADD && expr->op <= QL_POW) || expr->op == QL_NEG;
    if (!is_arithmetic) {
        enum err err = eval_bind(e, expr, ret);
        return err == ERR_OK ? eval_bind_ready(e, *ret) : err;
    }
    struct eval_node *n = node_new(e, EVAL_GENERIC);
    if (n == NULL)
        return arena_err(e->a);
    n->op = expr->op;
    *ret = n;
    return bind_pair(e, expr, false, n);
}

static enum err bind_unary(struct eval *e, const struct ql_expr *expr, struct eval_node **ret)
{
    if (expr->op == QL_NOT)
        return bind_not(e, expr, ret);
    if (expr->op != QL_EXISTS && expr->op != QL_NOT_EXISTS)
        return eval_bind_value(e, expr, ret);
    bool is_attribute = expr->left->kind == QL_EXPR_ATTRIBUTE;
    enum eval_kind kind = expr->op == QL_EXISTS ? EVAL_EXISTS : EVAL_NOT_EXISTS;
    struct eval_node *n = node_new(e, is_attribute ? kind : EVAL_GENERIC);
    if (n == NULL)
        return arena_err(e->a);
    n->op = expr->op;
    *ret = n;
    return is_attribute ? bind_condition(e, &expr->left->attribute, NULL, n)
                        : bind_pair(e, expr, false, n);
}

enum err eval_bind(struct eval *e, const struct ql_expr *expr, struct eval_node **ret)
{
    const struct ql_attribute *attribute;
    struct eval_pred pred = {.op = QL_EQ, .value = value_bool(true), .is_strict = true};

    assert(expr != NULL);
    if (expr->kind == QL_EXPR_UNARY)
        return bind_unary(e, expr, ret);
    if (expr->kind == QL_EXPR_STATIC ||
        (expr->kind == QL_EXPR_BINARY && expr->op >= QL_ADD && expr->op <= QL_POW))
        return eval_bind_value(e, expr, ret);
    if (expr->kind == QL_EXPR_ATTRIBUTE) {
        attribute = &expr->attribute;
    } else if (!eval_bind_pred(expr, &attribute, &pred)) {
        bool is_logic = expr->op == QL_AND || expr->op == QL_OR;
        struct eval_node *n = node_new(e, EVAL_GENERIC);
        if (n == NULL)
            return arena_err(e->a);
        if (is_logic)
            n->kind = expr->op == QL_AND ? EVAL_AND : EVAL_OR;
        n->op = expr->op;
        n->regex = expr->regex;
        *ret = n;
        return bind_pair(e, expr, is_logic, n);
    }
    struct eval_node *n = node_new(e, EVAL_COMPARE);
    if (n == NULL)
        return arena_err(e->a);
    n->pred = pred;
    *ret = n;
    return bind_condition(e, attribute, &n->pred, n);
}
