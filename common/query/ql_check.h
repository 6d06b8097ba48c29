/*
 * ql_check.h - the part of the checker that other files of the language use; see ql.h for ql_check.
 */
#ifndef VIVACE_QUERY_QL_CHECK_H
#define VIVACE_QUERY_QL_CHECK_H

#include "common/base/err.h"
#include "common/query/ql_ast.h"

/* Checks one filter expression and compiles its regexes; they are released again on failure. */
MUST_CHECK enum err ql_check_filter(struct ql_expr *e);

#endif
