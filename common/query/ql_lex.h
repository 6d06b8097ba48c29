/*
 * ql_lex.h - TraceQL text to tokens, one at a time.
 *
 * Shape:   an attribute with its scope prefix is one token; so is a scope with its colon ("span:").  A struct ql_lex may be copied
 *          to look ahead.
 * Memory:  decoded strings and names in the arena; everything else are slices of the text, which must outlive the tokens.
 * Errors:  a QL_TOK_ERROR token with the text of what is wrong; after it the lexer stays where it is.
 * Source:  traceql.md 2; Go's text/scanner for literals and positions.
 */
#ifndef VIVACE_QUERY_QL_LEX_H
#define VIVACE_QUERY_QL_LEX_H

#include "common/base/arena.h"
#include "common/query/ql_ast.h"

enum ql_tok {
    QL_TOK_END,
    QL_TOK_ERROR,
    QL_TOK_IDENTIFIER,
    QL_TOK_STRING,
    QL_TOK_INTEGER,
    QL_TOK_FLOAT,
    QL_TOK_DURATION,
    QL_TOK_ATTRIBUTE,
    QL_TOK_SCOPE_SPAN, /* "span:" and its kin */
    QL_TOK_SCOPE_TRACE,
    QL_TOK_SCOPE_EVENT,
    QL_TOK_SCOPE_LINK,
    QL_TOK_SCOPE_INSTRUMENTATION,
#define QL_TOK_SIGN(name, spelling) QL_TOK_##name,
#include "common/query/ql_tok.def"
#undef QL_TOK_SIGN
#define QL_TOK_WORD(name, spelling) QL_TOK_##name,
#include "common/query/ql_tok.def"
#undef QL_TOK_WORD
    QL_TOK_COUNT_OF
};

struct ql_token {
    enum ql_tok kind;
    uint32_t line, column; /* 1-based; columns count characters */
    struct slice
        text; /* as written; of an attribute: its prefix ("span."), or the whole when dotless */
    size_t start, end;  /* offsets */
    const char *error;  /* ERROR, and ATTRIBUTE with a broken name: what to say */
    struct value value; /* STRING, INTEGER, FLOAT, DURATION */
    struct ql_attribute attribute;
};

struct ql_lex {
    struct arena *arena;
    struct slice text;
    size_t at;
    uint32_t line, column;
    const char *bad; /* why the text ends here although there is more: not UTF-8, or a NUL */
};

/* The text is at most QL_TEXT_BYTES_MAX long and outlives the lexer and its tokens. */
void ql_lex_init(struct ql_lex *l, struct arena *a, struct slice text);
void ql_lex_next(struct ql_lex *l, struct ql_token *ret);

/* How a token is named in "unexpected X". */
struct slice ql_lex_name(const struct ql_token *t);
const char *ql_lex_spelling(enum ql_tok kind); /* of signs, words, scopes; "" for others */

/* Whether a bare name (after a dot) reads back as itself without quotes. */
bool ql_lex_is_bare_name(struct slice name);

/* ql_lex_literal.c: numbers and strings. */
void ql_lex_number(struct ql_lex *l, struct ql_token *t);
void ql_lex_string(struct ql_lex *l, struct ql_token *t);
void ql_lex_advance(struct ql_lex *l, size_t to); /* to an offset, counting lines and columns */

#endif
