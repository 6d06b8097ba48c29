/* Answers that travel between our processes, from foreign bytes.  First byte: which of the three.  Properties: no crash; what unpacks packs to
 * bytes that unpack to the same bytes again; merging it with itself succeeds and adds no trace, name or value. */
#include "common/query/result.h"

#include <assert.h>

static const struct result_order newest;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 1 << 24 };

static void same_again(const struct buf *a, const struct buf *b)
{
    assert(buf_err(a) == ERR_OK);
    assert(a->len == b->len);
    assert(a->len == 0 || memcmp(a->ptr, b->ptr, a->len) == 0);
}

static void fuzz_search(struct arena *a, struct slice bytes, struct buf *one, struct buf *two)
{
    struct search_result r, again, merged, parts[2];

    if (search_result_unpack(a, bytes, &r) != ERR_OK)
        return;
    search_result_pack(one, &r);
    enum err e = search_result_unpack(a, buf_slice(one), &again);
    assert(e == ERR_OK);
    search_result_pack(two, &again);
    same_again(one, two);
    parts[0] = r;
    parts[1] = again;
    e = search_result_merge(a, parts, 2, &newest, 0, &merged);
    assert(e == ERR_OK);
    assert(merged.trace_count <= r.trace_count);
    for (uint32_t i = 1; i < merged.trace_count; i++)
        assert(merged.traces[i - 1].start_ns >= merged.traces[i].start_ns);
}

static void fuzz_names(struct arena *a, struct slice bytes, struct buf *one, struct buf *two)
{
    struct tag_names r, again, merged, parts[2];

    if (tag_names_unpack(a, bytes, &r) != ERR_OK)
        return;
    tag_names_pack(one, &r);
    enum err e = tag_names_unpack(a, buf_slice(one), &again);
    assert(e == ERR_OK);
    tag_names_pack(two, &again);
    same_again(one, two);
    parts[0] = r;
    parts[1] = again;
    e = tag_names_merge(a, parts, 2, 0, &merged);
    assert(e == ERR_OK);
    for (int k = 0; k < TAGS_SCOPE_COUNT; k++)
        assert(merged.counts[k] <= r.counts[k]);
}

static void fuzz_values(struct arena *a, struct slice bytes, struct buf *one, struct buf *two)
{
    struct tag_values r, again, merged, parts[2];

    if (tag_values_unpack(a, bytes, &r) != ERR_OK)
        return;
    tag_values_pack(one, &r);
    enum err e = tag_values_unpack(a, buf_slice(one), &again);
    assert(e == ERR_OK);
    tag_values_pack(two, &again);
    same_again(one, two);
    parts[0] = r;
    parts[1] = again;
    e = tag_values_merge(a, parts, 2, 0, 0, &merged);
    assert(e == ERR_OK);
    assert(merged.count <= r.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf one, two;
    struct arena a;

    if (size == 0)
        return 0;
    struct slice bytes = {data + 1, size - 1};
    arena_init(&a, NULL);
    buf_init(&one, BYTES_MAX);
    buf_init(&two, BYTES_MAX);
    if (data[0] % 3 == 0)
        fuzz_search(&a, bytes, &one, &two);
    else if (data[0] % 3 == 1)
        fuzz_names(&a, bytes, &one, &two);
    else
        fuzz_values(&a, bytes, &one, &two);
    buf_release(&one);
    buf_release(&two);
    arena_release(&a);
    return 0;
}
