#include "common/query/ql.h"
#include "common/query/ql_check.h"
#include "common/query/ql_parse_priv.h"

#include <assert.h>

/* A condition that is not complete counts as true; NULL stands for true everywhere here. */

enum { LENIENT_DEPTH_MAX = 64 };

struct lenient {
    struct arena *arena;
    struct slice text;
    struct ql_lex lex;
    struct ql_token token;
    uint32_t depth, terms;
};

static void advance(struct lenient *l)
{
    ql_lex_next(&l->lex, &l->token);
}

/* A matcher ends here: so does everything after something unreadable. */
static bool is_end(enum ql_tok kind)
{
    return kind == QL_TOK_END || kind == QL_TOK_ERROR || kind == QL_TOK_CLOSE_BRACE;
}

static bool is_logic(enum ql_tok kind)
{
    return kind == QL_TOK_AND || kind == QL_TOK_OR;
}

/* Skips a matcher with its balanced parentheses; returns the offset of its end. */
static size_t skip_matcher(struct lenient *l)
{
    uint32_t open = 0;
    size_t end = 0;

    while (!is_end(l->token.kind)) {
        if (open == 0 && (is_logic(l->token.kind) || l->token.kind == QL_TOK_CLOSE_PAREN))
            break;
        if (l->token.kind == QL_TOK_OPEN_PAREN)
            open++;
        else if (l->token.kind == QL_TOK_CLOSE_PAREN)
            open--;
        end = l->token.end;
        advance(l);
    }
    return end;
}

/* The text of one matcher as a checked expression; NULL when it is not complete or asks for nothing. */
static struct ql_expr *parse_matcher(struct lenient *l, struct slice text)
{
    struct ql_parser p;

    ql_parse_start(&p, l->arena, text, NULL);
    p.terms = l->terms;
    struct ql_expr *e = ql_parse_field(&p, QL_LEVEL_NONE);
    l->terms = p.terms;
    if (e == NULL || p.token.kind != QL_TOK_END || ql_parse_err(&p) != ERR_OK)
        return NULL;
    bool is_bare = e->kind == QL_EXPR_ATTRIBUTE; /* a comparison will follow */
    bool is_true = e->kind == QL_EXPR_STATIC && e->value.type == VALUE_BOOL && e->value.i != 0;
    if (is_bare || is_true || ql_check_filter(e) != ERR_OK)
        return NULL;
    return e;
}

static struct ql_expr *parse_any(struct lenient *l);

/* The current token is "(": conditions in parentheses.  What follows the closing one makes it no group. */
static struct ql_expr *parse_group(struct lenient *l)
{
    advance(l);
    struct ql_expr *inner = parse_any(l);
    if (l->token.kind == QL_TOK_CLOSE_PAREN)
        advance(l);
    if (is_end(l->token.kind) || is_logic(l->token.kind) || l->token.kind == QL_TOK_CLOSE_PAREN)
        return inner;
    ql_expr_release(inner);
    (void)skip_matcher(l);
    return NULL;
}

static struct ql_expr *parse_condition(struct lenient *l)
{
    struct lenient start = *l;

    size_t to = skip_matcher(l);
    struct ql_expr *e = to <= start.token.start
                            ? NULL
                            : parse_matcher(l, slice_sub(l->text, start.token.start, to));
    if (e != NULL || start.token.kind != QL_TOK_OPEN_PAREN || l->depth == LENIENT_DEPTH_MAX)
        return e;
    start.terms = l->terms;
    *l = start;
    l->depth++;
    e = parse_group(l);
    l->depth--;
    return e;
}

/* Both hold for a half-written condition, that is true. */
static struct ql_expr *combine(struct lenient *l, enum ql_op op, struct ql_expr *left,
                               struct ql_expr *right)
{
    if (left != NULL && right != NULL) {
        struct ql_expr *both = ARENA_NEW(l->arena, struct ql_expr);
        if (both != NULL) {
            *both = (struct ql_expr){.kind = QL_EXPR_BINARY,
                                     .line = left->line,
                                     .column = left->column,
                                     .op = op,
                                     .left = left,
                                     .right = right,
                                     .height = left->height > right->height ? left->height + 1
                                                                            : right->height + 1};
            return both;
        }
    } else if (op == QL_AND) {
        return left != NULL ? left : right;
    }
    ql_expr_release(left);
    ql_expr_release(right);
    return NULL;
}

static struct ql_expr *parse_any(struct lenient *l)
{
    struct ql_expr *left = parse_condition(l);

    while (is_logic(l->token.kind)) {
        enum ql_op op = l->token.kind == QL_TOK_AND ? QL_AND : QL_OR;
        advance(l);
        left = combine(l, op, left, parse_condition(l));
    }
    return left;
}

enum err ql_parse_lenient(struct arena *a, struct slice text, struct ql_expr **ret)
{
    struct lenient l = {.arena = a};
    struct ql_expr *e = NULL;

    if (text.len > QL_TEXT_BYTES_MAX)
        return ERR_TOO_LARGE;
    l.text = arena_dup(a, text);
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    ql_lex_init(&l.lex, a, l.text);
    advance(&l);
    if (l.token.kind == QL_TOK_OPEN_BRACE) {
        advance(&l);
        e = parse_any(&l);
        bool is_whole = is_end(l.token.kind);
        if (l.token.kind == QL_TOK_CLOSE_BRACE) { /* one filter, and perhaps stages behind it */
            advance(&l);
            is_whole = l.token.kind == QL_TOK_END || l.token.kind == QL_TOK_PIPE;
        }
        if (!is_whole || arena_err(a) != ERR_OK) {
            ql_expr_release(e);
            e = NULL;
        }
    }
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    *ret = e;
    return ERR_OK;
}

/* Deep to the left, less so to the right. */
static bool names_unscoped(const struct ql_expr *e)
{
    for (; e != NULL; e = e->left) {
        if (e->kind == QL_EXPR_ATTRIBUTE)
            return e->attribute.intrinsic == QL_I_NONE && e->attribute.scope == QL_SCOPE_NONE;
        if (e->right != NULL && names_unscoped(e->right))
            return true;
    }
    return false;
}

enum err ql_parse_tag_filter(struct arena *a, struct slice text, struct ql_expr **ret)
{
    struct ql_expr *e = NULL;
    enum err err = ql_parse_lenient(a, text, &e);

    if (err != ERR_OK)
        return err;
    if (names_unscoped(e)) {
        ql_expr_release(e);
        e = NULL;
    }
    *ret = e;
    return ERR_OK;
}
