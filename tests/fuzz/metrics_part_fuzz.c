/* Parts of metrics queries from foreign bytes.  First byte: which query.  Properties: no crash; what is taken packs to bytes that, added to an
 * empty part, pack to the same bytes again; series can be made of it. */
#include "common/query/metrics_query.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 24 };
static const char *const QUERIES[] = {
    "{} | rate() by(name, span.a)",
    "{} | sum_over_time(span.a)",
    "{} | min_over_time(duration) by(kind)",
    "{} | histogram_over_time(duration) by(name)",
    "{} | quantile_over_time(duration, .5, .99) by(name)",
    "{} | compare({ status = error }, 3)",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct metrics_window w = {1000, 10, 7};
    struct metrics_part *one, *two;
    struct metrics_result r;
    struct ql_query *ql;
    struct buf first, second;
    struct arena a;

    if (size == 0)
        return 0;
    struct slice query = slice_str(QUERIES[data[0] % (sizeof QUERIES / sizeof QUERIES[0])]);
    arena_init(&a, NULL);
    buf_init(&first, BYTES_MAX);
    buf_init(&second, BYTES_MAX);
    enum err e = ql_parse(&a, query, &ql, NULL);
    assert(e == ERR_OK);
    e = metrics_part_new(&a, ql->metrics, &w, 5, &one);
    assert(e == ERR_OK);
    e = metrics_wire_add(one, (struct slice){data + 1, size - 1});
    if (e == ERR_OK) {
        metrics_wire_pack(&first, one);
        e = metrics_part_new(&a, ql->metrics, &w, 5, &two);
        assert(e == ERR_OK);
        e = metrics_wire_add(two, buf_slice(&first));
        assert(e == ERR_OK);
        metrics_wire_pack(&second, two);
        assert(buf_err(&first) == ERR_OK);
        assert(slice_eq(buf_slice(&first), buf_slice(&second)));
        e = metrics_eval(&a, ql->metrics, &two, 10, &r);
        assert(e == ERR_OK);
    }
    ql_release(ql);
    buf_release(&first);
    buf_release(&second);
    arena_release(&a);
    return 0;
}
