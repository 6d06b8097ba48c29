/* Half-written filters.  What is left of one is itself a whole, valid filter. */
#include "common/query/ql.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rest(struct arena *a, const struct ql_expr *rest)
{
    struct buf text;
    struct ql_query *q = NULL;
    struct err_detail detail = {0};

    buf_init(&text, 1 << 20);
    buf_append_str(&text, "{ ");
    ql_dump_expr(&text, rest);
    buf_append_str(&text, " }");
    assert(buf_err(&text) == ERR_OK);
    enum err e = ql_parse(a, buf_slice(&text), &q, &detail);
    if (e != ERR_OK && e != ERR_TOO_LARGE) { /* more regexes, or deeper, than one query may have */
        fprintf(stderr, SLICE_FMT "\n%s\n", SLICE_ARG(buf_slice(&text)), detail.text);
        abort();
    }
    ql_release(q);
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct ql_expr *rest = NULL;

    arena_init(&a, NULL);
    enum err e = ql_parse_lenient(&a, (struct slice){data, size}, &rest);
    assert(e == ERR_OK || (e == ERR_TOO_LARGE && size > QL_TEXT_BYTES_MAX));
    if (rest != NULL)
        check_rest(&a, rest);
    ql_expr_release(rest);
    arena_release(&a);
    return 0;
}
