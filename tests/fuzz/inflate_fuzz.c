/* First byte: the format; the rest: a compressed body.  Properties: no crash, never over the limit, the budget knows what the buffer holds, and the
 * same bytes give the same answer. */
#include "common/codec/inflate.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err run(enum inflate_kind kind, struct slice body, struct buf *out)
{
    static const struct inflate_limits limits = {
        .out_bytes_max = 4 << 20, .free_bytes = 64 << 10, .ratio_max = 100};
    struct budget budget;

    budget_init(&budget, 8 << 20, NULL);
    buf_init(out, 16 << 20);
    enum err e = inflate_bytes(kind, body, &limits, &budget, out, NULL);
    assert(budget_used(&budget) == out->cap);
    assert(out->len <= out->cap && out->cap <= limits.out_bytes_max);
    assert(out->cap <= limits.free_bytes || out->cap <= body.len * limits.ratio_max);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf first, second;

    if (size == 0)
        return 0;
    enum inflate_kind kind = (enum inflate_kind)(data[0] % (INFLATE_LZ4 + 1));
    struct slice body = {data + 1, size - 1};
    enum err e = run(kind, body, &first);
    assert(run(kind, body, &second) == e);
    assert(e != ERR_OK || slice_eq(buf_slice(&first), buf_slice(&second)));
    buf_release(&first);
    buf_release(&second);
    return 0;
}
