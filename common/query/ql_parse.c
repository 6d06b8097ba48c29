#include "common/query/ql.h"
#include "common/query/ql_parse_priv.h"
#include "common/query/regex.h"

#include <assert.h>

/* --- the parser's state -------------------------------------------------------------------------- */

void ql_parse_start(struct ql_parser *p, struct arena *a, struct slice text,
                    struct err_detail *detail)
{
    assert(text.len <= QL_TEXT_BYTES_MAX);
    *p = (struct ql_parser){.arena = a, .detail = detail};
    ql_lex_init(&p->lex, a, text);
    ql_lex_next(&p->lex, &p->token);
}

void ql_parse_advance(struct ql_parser *p)
{
    ql_lex_next(&p->lex, &p->token);
}

enum err ql_parse_err(const struct ql_parser *p)
{
    return p->err != ERR_OK ? p->err : arena_err(p->arena);
}

void *ql_parse_fail(struct ql_parser *p, uint32_t line, uint32_t column, const char *message)
{
    if (p->err != ERR_OK)
        return NULL;
    if (arena_err(p->arena) != ERR_OK) { /* the message may lack what could not be allocated */
        p->err = arena_err(p->arena);
        return NULL;
    }
    p->err = line == 0
                 ? err_detail_set(p->detail, ERR_INVALID, "parse error : %s", message)
                 : err_detail_set(p->detail, ERR_INVALID, "parse error at line %u, col %u: %s",
                                  line, column, message);
    if (p->detail != NULL) {
        p->detail->line = line;
        p->detail->column = column;
    }
    return NULL;
}

/* What people write from other query languages, and what it is here. */
static const char *hint_for(struct slice word)
{
    static const struct {
        const char *word, *hint;
    } hints[] = {
        {"AND", "; use &&"},
        {"and", "; use &&"},
        {"OR", "; use ||"},
        {"or", "; use ||"},
        {"NOT", "; use !"},
        {"not", "; use !"},
        {"IN", "; use =~ with alternatives, or ||"},
    };

    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        if (slice_eq_str(word, hints[i].word))
            return hints[i].hint;
    }
    return "";
}

void *ql_parse_unexpected(struct ql_parser *p, const char *expecting)
{
    const struct ql_token *t = &p->token;

    if (t->kind == QL_TOK_ERROR)
        return ql_parse_fail(p, t->line, t->column, t->error);
    bool is_empty =
        t->kind == QL_TOK_END && p->lex.at == 0; /* of an empty text no position is known */
    struct slice name = ql_lex_name(t);
    const char *message =
        arena_printf(p->arena, "syntax error: unexpected " SLICE_FMT "%s%s%s", SLICE_ARG(name),
                     expecting == NULL ? "" : ", expecting ", expecting == NULL ? "" : expecting,
                     t->kind == QL_TOK_IDENTIFIER ? hint_for(t->text) : "");
    return ql_parse_fail(p, is_empty ? 0 : t->line, t->column, message);
}

void *ql_parse_unknown(struct ql_parser *p)
{
    const struct ql_token *t = &p->token;
    const char *hint = hint_for(t->text);
    uint8_t first = t->text.len == 0 ? 0 : (uint8_t)(t->text.ptr[0] | 0x20);
    bool is_word = first >= 'a' && first <= 'z' && t->text.len < 100;

    assert(t->kind == QL_TOK_IDENTIFIER);
    const char *message = *hint == '\0' && is_word
                              ? arena_printf(p->arena,
                                             "unknown identifier: " SLICE_FMT "; write ." SLICE_FMT
                                             " for an attribute",
                                             SLICE_ARG(t->text), SLICE_ARG(t->text))
                              : arena_printf(p->arena, "unknown identifier: " SLICE_FMT "%s",
                                             SLICE_ARG(t->text), hint);
    return ql_parse_fail(p, t->line, t->column, message);
}

void *ql_parse_too_large(struct ql_parser *p, const char *what, uint32_t max)
{
    if (p->err == ERR_OK)
        p->err = err_detail_set(p->detail, ERR_TOO_LARGE,
                                "TraceQL expression exceeds the maximum %s of %u", what, max);
    return NULL;
}

enum err ql_parse_expect(struct ql_parser *p, enum ql_tok kind, const char *expecting)
{
    if (p->token.kind != kind) {
        (void)ql_parse_unexpected(p, expecting);
        return p->err;
    }
    ql_parse_advance(p);
    return ERR_OK;
}

enum err ql_parse_enter(struct ql_parser *p, uint32_t *depth)
{
    if (*depth == QL_DEPTH_MAX) {
        (void)ql_parse_too_large(p, "nesting depth", QL_DEPTH_MAX);
        return p->err;
    }
    (*depth)++;
    return ERR_OK;
}

enum err ql_parse_term(struct ql_parser *p)
{
    if (p->terms == QL_TERMS_MAX) {
        (void)ql_parse_too_large(p, "number of terms", QL_TERMS_MAX);
        return p->err;
    }
    p->terms++;
    return ql_parse_err(p);
}

bool ql_parse_is_call(const struct ql_parser *p, const char *name)
{
    if (p->token.kind != QL_TOK_IDENTIFIER || !slice_eq_str(p->token.text, name))
        return false;
    struct ql_lex ahead = p->lex;
    struct ql_token next;
    ql_lex_next(&ahead, &next);
    return next.kind == QL_TOK_OPEN_PAREN;
}

void *ql_parse_grow(struct ql_parser *p, void *items, uint32_t count, size_t item_bytes)
{
    if (count != 0 && (count & (count - 1)) != 0) /* room up to the next power of two */
        return items;
    void *grown = arena_calloc(p->arena, count == 0 ? 1 : (size_t)count * 2, item_bytes);
    if (grown == NULL)
        return ql_parse_fail(p, 0, 0, "");
    if (count != 0)
        memcpy(grown, items, count * item_bytes);
    return grown;
}

/* --- the whole query ------------------------------------------------------------------------------ */

static enum err parse_hint(struct ql_parser *p, struct ql_query *q)
{
    if (ql_parse_term(p) != ERR_OK)
        return ql_parse_err(p);
    struct ql_hint hint = {.name = p->token.text};
    if (ql_parse_expect(p, QL_TOK_IDENTIFIER, "IDENTIFIER") != ERR_OK ||
        ql_parse_expect(p, QL_TOK_EQ, "=") != ERR_OK ||
        ql_parse_field_static(p, &hint.value) != ERR_OK)
        return ql_parse_err(p);
    q->hints = ql_parse_grow(p, q->hints, q->hint_count, sizeof *q->hints);
    if (q->hints == NULL)
        return ql_parse_err(p);
    q->hints[q->hint_count++] = hint;
    return ERR_OK;
}

/* with(a=1, b=true); a later list replaces an earlier one. */
static enum err parse_hints(struct ql_parser *p, struct ql_query *q)
{
    while (p->token.kind == QL_TOK_WITH) {
        ql_parse_advance(p);
        q->hints = NULL;
        q->hint_count = 0;
        if (ql_parse_expect(p, QL_TOK_OPEN_PAREN, "(") != ERR_OK)
            return p->err;
        while (true) {
            enum err e = parse_hint(p, q);
            if (e != ERR_OK)
                return e;
            if (p->token.kind != QL_TOK_COMMA)
                break;
            ql_parse_advance(p);
        }
        if (ql_parse_expect(p, QL_TOK_CLOSE_PAREN, ") or ,") != ERR_OK)
            return p->err;
    }
    return ERR_OK;
}

static struct ql_pipeline *pipeline_of_stage(struct ql_parser *p, struct ql_stage stage)
{
    struct ql_pipeline *pipeline = ARENA_NEW(p->arena, struct ql_pipeline);
    struct ql_stage *copy = ARENA_NEW(p->arena, struct ql_stage);

    if (pipeline == NULL || copy == NULL)
        return NULL;
    *copy = stage;
    *pipeline = (struct ql_pipeline){copy, 1};
    return pipeline;
}

/* ({...} | count()) > 2: parses, and is refused by the checker, as in Tempo. */
static enum err parse_scalar_pipeline_filter(struct ql_parser *p, const struct ql_node *left,
                                             struct ql_query *q)
{
    struct ql_stage stage = {.kind = QL_STAGE_SCALAR_FILTER, .left = left->scalar};
    struct ql_node right = {0};

    stage.op = ql_parse_field_compare(p->token.kind);
    if (stage.op == QL_OP_NONE) {
        (void)ql_parse_unexpected(p, NULL);
        return p->err;
    }
    ql_parse_advance(p);
    enum err e = ql_parse_node(p, QL_NODE_SCALAR_PIPELINE | QL_NODE_SCALAR, QL_LEVEL_SUM, &right);
    if (e != ERR_OK)
        return e;
    stage.right = right.scalar;
    q->pipeline = pipeline_of_stage(p, stage);
    return ql_parse_err(p);
}

static enum err set_root(struct ql_parser *p, const struct ql_content *c, struct ql_query *q)
{
    if (c->metrics != NULL) {
        q->metrics = c->metrics;
    } else if (c->pipeline != NULL) {
        q->pipeline = c->pipeline;
    } else if (c->node.kind == QL_NODE_METRICS) {
        q->metrics = c->node.metrics;
        return ql_parse_metrics_seconds(p, q->metrics);
    } else if (c->node.kind == QL_NODE_SCALAR_PIPELINE) {
        return parse_scalar_pipeline_filter(p, &c->node, q);
    } else if (c->node.kind == QL_NODE_PIPELINE) {
        const struct ql_spanset *s = c->node.spanset;
        q->pipeline =
            s->kind == QL_SPANSET_PIPELINE /* one pair of parentheses around it all says nothing */
                ? s->pipeline
                : pipeline_of_stage(
                      p, (struct ql_stage){.kind = QL_STAGE_SPANSET, .spanset = c->node.spanset});
    } else {
        (void)ql_parse_unexpected(p, NULL); /* a number or an aggregate that nothing compares */
    }
    return ql_parse_err(p);
}

static enum err parse_root(struct ql_parser *p, struct ql_query *q)
{
    struct ql_content content = {0};

    enum err e = ql_parse_stage_content(p, QL_NODE_ANY, &content);
    if (e == ERR_OK)
        e = set_root(p, &content, q);
    if (e == ERR_OK)
        e = parse_hints(p, q);
    if (e == ERR_OK && p->token.kind != QL_TOK_END) {
        (void)ql_parse_unexpected(p, NULL);
        e = p->err;
    }
    return e != ERR_OK ? e : ql_parse_err(p);
}

static enum err copy_text(struct arena *a, struct slice text, struct slice *ret,
                          struct err_detail *reterr_detail)
{
    if (text.len > QL_TEXT_BYTES_MAX)
        return err_detail_set(
            reterr_detail, ERR_TOO_LARGE,
            "TraceQL expression exceeds the configured maximum size of %d bytes, reduce the query size",
            QL_TEXT_BYTES_MAX);
    *ret = arena_dup(a, text);
    return arena_err(a);
}

static enum err parse_text(struct arena *a, struct slice text, struct ql_query **ret,
                           struct err_detail *reterr_detail)
{
    struct ql_parser p;
    struct slice copy;

    enum err e = copy_text(a, text, &copy, reterr_detail);
    if (e != ERR_OK)
        return e;
    struct ql_query *q = ARENA_NEW(a, struct ql_query);
    if (q == NULL)
        return arena_err(a);
    ql_parse_start(&p, a, copy, reterr_detail);
    e = parse_root(&p, q);
    if (e == ERR_OK)
        *ret = q;
    return e;
}

enum err ql_parse_syntax(struct arena *a, struct slice text, struct ql_query **ret,
                         struct err_detail *reterr_detail)
{
    enum err e = parse_text(a, text, ret, reterr_detail);

    if (e == ERR_LIMIT)
        (void)err_detail_set(reterr_detail, e,
                             "TraceQL expression needs more memory than the query may use");
    return e;
}

enum err ql_parse(struct arena *a, struct slice text, struct ql_query **ret,
                  struct err_detail *reterr_detail)
{
    struct ql_query *q;

    enum err e = ql_parse_syntax(a, text, &q, reterr_detail);
    if (e == ERR_OK)
        e = ql_check(a, q, reterr_detail);
    if (e == ERR_OK)
        *ret = q;
    return e;
}

enum err ql_parse_attribute(struct arena *a, struct slice text, struct ql_attribute *ret)
{
    struct ql_parser p;
    struct slice copy;
    struct ql_attribute attribute = {0};

    enum err e = copy_text(a, text, &copy, NULL);
    if (e != ERR_OK)
        return e;
    ql_parse_start(&p, a, copy, NULL);
    e = ql_parse_field_attribute(&p, &attribute);
    if (e == ERR_OK && p.token.kind != QL_TOK_END)
        e = ERR_INVALID;
    if (e == ERR_OK)
        e = ql_parse_err(&p);
    if (e == ERR_OK)
        *ret = attribute;
    return e;
}

/* --- questions about a tree, and its end ------------------------------------------------------------ */

static bool is_literal(const struct ql_expr *e, bool value)
{
    return e->kind == QL_EXPR_STATIC && e->value.type == VALUE_BOOL && (e->value.i != 0) == value;
}

bool ql_is_match_all(const struct ql_query *q)
{
    if (q->pipeline == NULL || q->pipeline->stage_count != 1)
        return false;
    const struct ql_stage *s = &q->pipeline->stages[0];
    return s->kind == QL_STAGE_SPANSET && s->spanset->kind == QL_SPANSET_FILTER &&
           is_literal(s->spanset->filter, true);
}

static bool is_never_pipeline(const struct ql_pipeline *p);

static bool is_never_spanset(const struct ql_spanset *s)
{
    switch (s->kind) {
    case QL_SPANSET_FILTER: return is_literal(s->filter, false);
    case QL_SPANSET_PIPELINE: return is_never_pipeline(s->pipeline);
    case QL_SPANSET_NOT: return false;
    case QL_SPANSET_MINUS: return is_never_spanset(s->left);
    case QL_SPANSET_BINARY: break;
    }
    bool is_left_optional = s->op == QL_OR || (s->op >= QL_NOT_CHILD && s->op <= QL_NOT_SIBLING);
    if (is_never_spanset(s->right))
        return s->op != QL_OR || is_never_spanset(s->left);
    return !is_left_optional && is_never_spanset(s->left);
}

static bool is_never_pipeline(const struct ql_pipeline *p)
{
    for (uint32_t i = 0; i < p->stage_count; i++) {
        if (p->stages[i].kind == QL_STAGE_SPANSET && is_never_spanset(p->stages[i].spanset))
            return true;
    }
    return false;
}

bool ql_is_never(const struct ql_query *q)
{
    const struct ql_pipeline *p = q->pipeline != NULL ? q->pipeline : q->metrics->pipeline;

    return p != NULL && is_never_pipeline(p);
}

void ql_expr_release(struct ql_expr *e)
{
    for (; e != NULL;
         e = e->left) { /* chains lean to the left and may be long; to the right they are bounded */
        regex_free(e->regex);
        e->regex = NULL;
        ql_expr_release(e->right);
    }
}

static void release_pipeline(struct ql_pipeline *p);

static void release_scalar(struct ql_scalar *s)
{
    for (; s != NULL; s = s->left) {
        ql_expr_release(s->argument);
        release_pipeline(s->pipeline);
        release_scalar(s->right);
    }
}

static void release_spanset(struct ql_spanset *s)
{
    for (; s != NULL; s = s->left) {
        ql_expr_release(s->filter);
        release_pipeline(s->pipeline);
        release_spanset(s->right);
    }
}

static void release_pipeline(struct ql_pipeline *p)
{
    for (uint32_t i = 0; p != NULL && i < p->stage_count; i++) {
        release_spanset(p->stages[i].spanset);
        release_scalar(p->stages[i].left);
        release_scalar(p->stages[i].right);
        ql_expr_release(p->stages[i].by);
    }
}

static void release_metrics(struct ql_metrics *m)
{
    for (; m != NULL; m = m->left) {
        release_pipeline(m->pipeline);
        release_spanset(m->compare);
        release_metrics(m->right);
    }
}

void ql_release(struct ql_query *q)
{
    if (q == NULL)
        return;
    release_pipeline(q->pipeline);
    release_metrics(q->metrics);
}
