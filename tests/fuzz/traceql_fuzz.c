/* TraceQL text.  Whatever parses has a canonical text that reads back as itself; and no text may hurt. */
#include "common/query/ql.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_dump(struct arena *a, const struct ql_query *q)
{
    struct buf first, second;
    struct ql_query *again = NULL;
    struct err_detail detail = {0};

    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    ql_dump(&first, q);
    assert(buf_err(&first) == ERR_OK && first.len != 0);
    if (first.len <= QL_TEXT_BYTES_MAX) {
        enum err e = ql_parse_syntax(a, buf_slice(&first), &again, &detail);
        if (e != ERR_OK) {
            fprintf(stderr, SLICE_FMT "\n%s\n", SLICE_ARG(buf_slice(&first)), detail.text);
            abort();
        }
        ql_dump(&second, again);
        if (!slice_eq(buf_slice(&first), buf_slice(&second))) {
            fprintf(stderr, SLICE_FMT "\n" SLICE_FMT "\n", SLICE_ARG(buf_slice(&first)),
                    SLICE_ARG(buf_slice(&second)));
            abort();
        }
    }
    buf_release(&first);
    buf_release(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct ql_query *q = NULL;
    struct ql_attribute attribute;
    struct err_detail detail = {0};
    struct slice text = {data, size};

    arena_init(&a, NULL);
    enum err e = ql_parse_syntax(&a, text, &q, &detail);
    assert(e == ERR_OK || e == ERR_INVALID || e == ERR_TOO_LARGE);
    assert(e == ERR_OK || detail.text[0] != '\0');
    if (e == ERR_OK) {
        check_dump(&a, q);
        e = ql_check(&a, q, &detail);
        assert(e == ERR_OK || ((e == ERR_INVALID || e == ERR_TOO_LARGE) && detail.text[0] != '\0'));
        if (e == ERR_OK) {
            (void)ql_unsupported(q);
            (void)ql_is_never(q);
            (void)ql_is_match_all(q);
            ql_release(q);
        }
    }
    e = ql_parse_attribute(&a, text, &attribute);
    assert(e == ERR_OK || e == ERR_INVALID || e == ERR_TOO_LARGE);
    arena_release(&a);
    return 0;
}
