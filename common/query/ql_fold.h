/*
 * ql_fold.h - types of expressions, and evaluation of constants while parsing.
 *
 * Threads: pure functions.
 * Source:  traceql.md 3.4, 5.
 */
#ifndef VIVACE_QUERY_QL_FOLD_H
#define VIVACE_QUERY_QL_FOLD_H

#include "common/base/err.h"
#include "common/query/ql_ast.h"

/* A static type as the checker sees it: a value's type, or unknown until run time. */
enum ql_type {
    QL_TYPE_NIL,
    QL_TYPE_INT,
    QL_TYPE_FLOAT,
    QL_TYPE_STRING,
    QL_TYPE_BOOL,
    QL_TYPE_DURATION,
    QL_TYPE_STATUS,
    QL_TYPE_KIND,
    QL_TYPE_ANY
};

enum ql_type ql_fold_type_of_value(struct value v); /* not of arrays: no literal is one */
bool ql_fold_is_numeric(enum ql_type t);
bool ql_fold_types_meet(enum ql_type a, enum ql_type b);
bool ql_fold_op_fits(enum ql_op op, enum ql_type t);
bool ql_fold_is_boolean_op(enum ql_op op);

/* Evaluates an operation on two literals.  False: it stays as it is (types that do not fit, division by zero, a result that is not
 * finite); the checker or the engine says so later. */
bool ql_fold_binary(enum ql_op op, struct value a, struct value b, struct value *ret);
bool ql_fold_unary(enum ql_op op, struct value a, struct value *ret);

/* Arithmetic of constants outside filters ("> 10 * 1024").  ERR_INVALID with the reason in *ret_reason. */
MUST_CHECK enum err ql_fold_scalar(enum ql_op op, struct value a, struct value b, struct value *ret,
                                   const char **ret_reason);

#endif
