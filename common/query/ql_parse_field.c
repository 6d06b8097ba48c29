#include "common/query/ql_fold.h"
#include "common/query/ql_parse_priv.h"

#include <assert.h>

/* --- leaves ------------------------------------------------------------------------------------- */

static const struct intrinsic_row {
    enum ql_tok scope; /* QL_TOK_END: without */
    enum ql_tok word;
    enum ql_intrinsic intrinsic;
} intrinsics[] = {
    {QL_TOK_END, QL_TOK_W_DURATION, QL_I_DURATION},
    {QL_TOK_END, QL_TOK_W_NAME, QL_I_NAME},
    {QL_TOK_END, QL_TOK_W_STATUS, QL_I_STATUS},
    {QL_TOK_END, QL_TOK_W_STATUS_MESSAGE, QL_I_STATUS_MESSAGE},
    {QL_TOK_END, QL_TOK_W_KIND, QL_I_KIND},
    {QL_TOK_END, QL_TOK_W_TRACE_DURATION, QL_I_TRACE_DURATION},
    {QL_TOK_END, QL_TOK_W_ROOT_NAME, QL_I_ROOT_NAME},
    {QL_TOK_END, QL_TOK_W_ROOT_SERVICE_NAME, QL_I_ROOT_SERVICE},
    {QL_TOK_END, QL_TOK_W_NESTED_SET_LEFT, QL_I_NESTED_SET_LEFT},
    {QL_TOK_END, QL_TOK_W_NESTED_SET_RIGHT, QL_I_NESTED_SET_RIGHT},
    {QL_TOK_END, QL_TOK_W_NESTED_SET_PARENT, QL_I_NESTED_SET_PARENT},
    {QL_TOK_END, QL_TOK_W_PARENT, QL_I_PARENT},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_DURATION, QL_I_DURATION},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_NAME, QL_I_NAME},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_STATUS, QL_I_STATUS},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_STATUS_MESSAGE, QL_I_STATUS_MESSAGE},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_KIND, QL_I_KIND},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_ID, QL_I_SPAN_ID},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_PARENT_ID, QL_I_PARENT_ID},
    {QL_TOK_SCOPE_SPAN, QL_TOK_W_CHILD_COUNT, QL_I_CHILD_COUNT},
    {QL_TOK_SCOPE_TRACE, QL_TOK_W_DURATION, QL_I_TRACE_DURATION},
    {QL_TOK_SCOPE_TRACE, QL_TOK_W_ROOT_NAME, QL_I_ROOT_NAME},
    {QL_TOK_SCOPE_TRACE, QL_TOK_W_ROOT_SERVICE, QL_I_ROOT_SERVICE},
    {QL_TOK_SCOPE_TRACE, QL_TOK_W_ID, QL_I_TRACE_ID},
    {QL_TOK_SCOPE_EVENT, QL_TOK_W_NAME, QL_I_EVENT_NAME},
    {QL_TOK_SCOPE_EVENT, QL_TOK_W_TIME_SINCE_START, QL_I_EVENT_TIME_SINCE_START},
    {QL_TOK_SCOPE_LINK, QL_TOK_W_TRACE_ID, QL_I_LINK_TRACE_ID},
    {QL_TOK_SCOPE_LINK, QL_TOK_W_SPAN_ID, QL_I_LINK_SPAN_ID},
    {QL_TOK_SCOPE_INSTRUMENTATION, QL_TOK_W_NAME, QL_I_SCOPE_NAME},
    {QL_TOK_SCOPE_INSTRUMENTATION, QL_TOK_W_VERSION, QL_I_SCOPE_VERSION},
};

static enum ql_intrinsic intrinsic_of(enum ql_tok scope, enum ql_tok word)
{
    for (size_t i = 0; i < sizeof intrinsics / sizeof *intrinsics; i++) {
        if (intrinsics[i].scope == scope && intrinsics[i].word == word)
            return intrinsics[i].intrinsic;
    }
    return QL_I_NONE;
}

static bool is_scope(enum ql_tok kind)
{
    return kind >= QL_TOK_SCOPE_SPAN && kind <= QL_TOK_SCOPE_INSTRUMENTATION;
}

bool ql_parse_field_is_attribute(const struct ql_parser *p)
{
    return p->token.kind == QL_TOK_ATTRIBUTE || is_scope(p->token.kind) ||
           intrinsic_of(QL_TOK_END, p->token.kind) != QL_I_NONE;
}

enum err ql_parse_field_attribute(struct ql_parser *p, struct ql_attribute *ret)
{
    enum ql_tok scope = QL_TOK_END;

    if (p->token.kind == QL_TOK_ATTRIBUTE) {
        if (p->token.error != NULL) {
            (void)ql_parse_fail(p, p->token.line, p->token.column, p->token.error);
            return p->err;
        }
        *ret = p->token.attribute;
        ql_parse_advance(p);
        return ERR_OK;
    }
    if (is_scope(p->token.kind)) {
        scope = p->token.kind;
        ql_parse_advance(p);
    }
    enum ql_intrinsic intrinsic = intrinsic_of(scope, p->token.kind);
    if (intrinsic == QL_I_NONE) {
        (void)ql_parse_unexpected(p, NULL);
        return p->err;
    }
    *ret = (struct ql_attribute){.intrinsic = intrinsic};
    ql_parse_advance(p);
    return ERR_OK;
}

static bool is_static(const struct ql_token *t)
{
    return (t->kind >= QL_TOK_STRING && t->kind <= QL_TOK_DURATION) || t->kind == QL_TOK_TRUE ||
           t->kind == QL_TOK_FALSE ||
           (t->kind >= QL_TOK_STATUS_OK && t->kind <= QL_TOK_KIND_CONSUMER) ||
           t->kind == QL_TOK_IDENTIFIER;
}

enum err ql_parse_field_static(struct ql_parser *p, struct value *ret)
{
    const struct ql_token *t = &p->token;

    if (!is_static(t)) {
        (void)ql_parse_unexpected(p, NULL);
        return p->err;
    }
    switch ((int)t->kind) {
    case QL_TOK_TRUE:
    case QL_TOK_FALSE: *ret = value_bool(t->kind == QL_TOK_TRUE); break;
    case QL_TOK_STATUS_OK: *ret = value_status(STATUS_OK); break;
    case QL_TOK_STATUS_ERROR: *ret = value_status(STATUS_ERROR); break;
    case QL_TOK_STATUS_UNSET: *ret = value_status(STATUS_UNSET); break;
    case QL_TOK_KIND_UNSPECIFIED: *ret = value_kind(KIND_UNSPECIFIED); break;
    case QL_TOK_KIND_INTERNAL: *ret = value_kind(KIND_INTERNAL); break;
    case QL_TOK_KIND_SERVER: *ret = value_kind(KIND_SERVER); break;
    case QL_TOK_KIND_CLIENT: *ret = value_kind(KIND_CLIENT); break;
    case QL_TOK_KIND_PRODUCER: *ret = value_kind(KIND_PRODUCER); break;
    case QL_TOK_KIND_CONSUMER: *ret = value_kind(KIND_CONSUMER); break;
    case QL_TOK_IDENTIFIER:
        if (slice_eq_str(t->text, "minInt")) {
            *ret = value_int(INT64_MIN);
        } else if (slice_eq_str(t->text, "maxInt")) {
            *ret = value_int(INT64_MAX);
        } else {
            (void)ql_parse_unknown(p);
            return p->err;
        }
        break;
    default: *ret = t->value; break;
    }
    ql_parse_advance(p);
    return ql_parse_err(p);
}

/* --- operators ----------------------------------------------------------------------------------- */

enum ql_op ql_parse_field_compare(enum ql_tok kind)
{
    switch ((int)kind) {
    case QL_TOK_EQ: return QL_EQ;
    case QL_TOK_NE: return QL_NE;
    case QL_TOK_LT: return QL_LT;
    case QL_TOK_LE: return QL_LE;
    case QL_TOK_GT: return QL_GT;
    case QL_TOK_GE: return QL_GE;
    default: return QL_OP_NONE;
    }
}

enum ql_op ql_parse_field_arithmetic(enum ql_tok kind, enum ql_level *ret_level)
{
    static const struct {
        enum ql_op op;
        enum ql_level level;
    } rows[] = {
        [QL_TOK_ADD] = {QL_ADD, QL_LEVEL_SUM},     [QL_TOK_SUB] = {QL_SUB, QL_LEVEL_SUM},
        [QL_TOK_MUL] = {QL_MUL, QL_LEVEL_PRODUCT}, [QL_TOK_DIV] = {QL_DIV, QL_LEVEL_PRODUCT},
        [QL_TOK_MOD] = {QL_MOD, QL_LEVEL_PRODUCT}, [QL_TOK_POW] = {QL_POW, QL_LEVEL_POWER},
    };

    if (kind >= sizeof rows / sizeof *rows || rows[kind].op == QL_OP_NONE)
        return QL_OP_NONE;
    *ret_level = rows[kind].level;
    return rows[kind].op;
}

static enum ql_op field_op(enum ql_tok kind, enum ql_level *ret_level)
{
    enum ql_op op = ql_parse_field_arithmetic(kind, ret_level);

    if (op != QL_OP_NONE)
        return op;
    *ret_level = QL_LEVEL_COMPARE;
    if (kind == QL_TOK_REGEX || kind == QL_TOK_NOT_REGEX)
        return kind == QL_TOK_REGEX ? QL_REGEX : QL_NOT_REGEX;
    if (kind == QL_TOK_AND || kind == QL_TOK_OR) {
        *ret_level = QL_LEVEL_LOGIC;
        return kind == QL_TOK_AND ? QL_AND : QL_OR;
    }
    return ql_parse_field_compare(kind);
}

/* --- nodes ---------------------------------------------------------------------------------------- */

static struct ql_expr *new_expr(struct ql_parser *p, struct ql_expr e)
{
    struct ql_expr *node = ARENA_NEW(p->arena, struct ql_expr);

    if (node == NULL)
        return ql_parse_fail(p, 0, 0, "");
    *node = e;
    return node;
}

/* The node over `left` and `right` (may be NULL).  Chains of && and || may be long; of other operators nobody needs many. */
static struct ql_expr *new_operation(struct ql_parser *p, struct ql_expr e)
{
    bool is_logic = e.op == QL_AND || e.op == QL_OR || e.op == QL_NOT;

    assert(e.left != NULL);
    e.height = e.left->height;
    if (e.right != NULL && e.right->height > e.height)
        e.height = e.right->height;
    e.height++;
    if (!is_logic && e.height > QL_VALUE_HEIGHT_MAX)
        return ql_parse_too_large(p, "number of operators in a row", QL_VALUE_HEIGHT_MAX);
    return new_expr(p, e);
}

static struct ql_expr *new_static(struct ql_parser *p, const struct ql_expr *at, struct value v)
{
    return new_expr(
        p, (struct ql_expr){
               .kind = QL_EXPR_STATIC, .line = at->line, .column = at->column, .value = v});
}

static struct ql_expr *new_unary(struct ql_parser *p, enum ql_op op, struct ql_expr at,
                                 struct ql_expr *operand)
{
    struct value v;

    if (operand->kind == QL_EXPR_STATIC) {
        if (op == QL_EXISTS || op == QL_NOT_EXISTS)
            return new_static(p, &at, value_bool(op == QL_EXISTS));
        if (ql_fold_unary(op, operand->value, &v))
            return new_static(p, &at, v);
    }
    return new_operation(p, (struct ql_expr){.kind = QL_EXPR_UNARY,
                                             .line = at.line,
                                             .column = at.column,
                                             .op = op,
                                             .left = operand});
}

/* A trace id is compared as it is shown: without leading zeros. */
static void strip_zeros(const struct ql_expr *id, struct ql_expr *literal)
{
    if (id->kind != QL_EXPR_ATTRIBUTE || id->attribute.intrinsic != QL_I_TRACE_ID ||
        literal->kind != QL_EXPR_STATIC || literal->value.type != VALUE_STRING)
        return;
    struct slice *s = &literal->value.s;
    while (s->len != 0 && s->ptr[0] == '0')
        *s = slice_sub(*s, 1, s->len);
}

static struct ql_expr *new_binary(struct ql_parser *p, enum ql_op op, struct ql_expr at,
                                  struct ql_expr *left, struct ql_expr *right)
{
    struct value v;

    strip_zeros(left, right);
    strip_zeros(right, left);
    if (left->kind == QL_EXPR_STATIC && right->kind == QL_EXPR_STATIC &&
        ql_fold_binary(op, left->value, right->value, &v))
        return new_static(p, left, v);
    return new_operation(p, (struct ql_expr){.kind = QL_EXPR_BINARY,
                                             .line = at.line,
                                             .column = at.column,
                                             .op = op,
                                             .left = left,
                                             .right = right});
}

/* --- expressions ----------------------------------------------------------------------------------- */

static struct ql_expr here(const struct ql_parser *p)
{
    return (struct ql_expr){.line = p->token.line, .column = p->token.column};
}

/* nil stands only beside = and !=. */
static struct ql_expr *parse_nil_first(struct ql_parser *p)
{
    struct ql_expr at = here(p);

    ql_parse_advance(p);
    bool is_equal = p->token.kind == QL_TOK_EQ;
    if (!is_equal && p->token.kind != QL_TOK_NE)
        return ql_parse_unexpected(p, "= or !=");
    ql_parse_advance(p);
    if (p->token.kind == QL_TOK_NIL) {
        ql_parse_advance(p);
        return new_static(p, &at, value_bool(false)); /* either way */
    }
    struct ql_expr *operand = ql_parse_field(p, QL_LEVEL_SUM);
    return operand == NULL ? NULL : new_unary(p, is_equal ? QL_NOT_EXISTS : QL_EXISTS, at, operand);
}

static struct ql_expr *parse_prefix(struct ql_parser *p, enum ql_op op)
{
    struct ql_expr at = here(p);

    ql_parse_advance(p);
    struct ql_expr *operand = ql_parse_field(p, op == QL_NEG ? QL_LEVEL_NOT : QL_LEVEL_PRODUCT);
    return operand == NULL ? NULL : new_unary(p, op, at, operand);
}

static struct ql_expr *parse_operand(struct ql_parser *p)
{
    struct ql_expr at = here(p);

    if (p->token.kind == QL_TOK_NOT || p->token.kind == QL_TOK_SUB)
        return parse_prefix(p, p->token.kind == QL_TOK_SUB ? QL_NEG : QL_NOT);
    if (ql_parse_term(p) != ERR_OK)
        return NULL;
    if (p->token.kind == QL_TOK_NIL)
        return parse_nil_first(p);
    if (ql_parse_field_is_attribute(p)) {
        at.kind = QL_EXPR_ATTRIBUTE;
        return ql_parse_field_attribute(p, &at.attribute) != ERR_OK ? NULL : new_expr(p, at);
    }
    at.kind = QL_EXPR_STATIC;
    return ql_parse_field_static(p, &at.value) != ERR_OK ? NULL : new_expr(p, at);
}

/* What follows `left`, as long as it binds at least as strongly as `level`. */
static struct ql_expr *parse_operators(struct ql_parser *p, enum ql_level level,
                                       struct ql_expr *left)
{
    while (left != NULL) {
        enum ql_level op_level;
        enum ql_op op = field_op(p->token.kind, &op_level);
        if (op == QL_OP_NONE || op_level < level)
            break;
        struct ql_expr at = here(p);
        ql_parse_advance(p);
        if (p->token.kind == QL_TOK_NIL && (op == QL_EQ || op == QL_NE)) {
            ql_parse_advance(p);
            left = new_unary(p, op == QL_EQ ? QL_NOT_EXISTS : QL_EXISTS, at, left);
            continue;
        }
        struct ql_expr *right =
            ql_parse_field(p, op_level == QL_LEVEL_POWER ? QL_LEVEL_POWER : op_level + 1);
        left = right == NULL ? NULL : new_binary(p, op, at, left, right);
    }
    return left;
}

/* Opening parentheses are counted, not descended into: the canonical form of a long chain begins with thousands. */
struct ql_expr *ql_parse_field(struct ql_parser *p, enum ql_level level)
{
    uint32_t open = 0;

    if (ql_parse_enter(p, &p->field_depth) != ERR_OK)
        return NULL;
    for (; p->token.kind == QL_TOK_OPEN_PAREN; open++)
        ql_parse_advance(p);
    struct ql_expr *e = parse_operand(p);
    for (; open != 0 && e != NULL; open--) {
        e = parse_operators(p, QL_LEVEL_NONE, e);
        if (e != NULL && ql_parse_expect(p, QL_TOK_CLOSE_PAREN, NULL) != ERR_OK)
            e = NULL;
    }
    e = parse_operators(p, level, e);
    p->field_depth--;
    return e;
}
