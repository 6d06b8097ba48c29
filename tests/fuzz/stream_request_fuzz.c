/* First byte: the method; the rest: its request, and once more an answer to cut into packets.  Properties: parameters are clean ASCII; packets
 * hold every byte of an answer that parses. */
#include "common/net/grpc.h"
#include "querier/stream.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"Search",
                                        "SearchTags",
                                        "SearchTagsV2",
                                        "SearchTagValues",
                                        "SearchTagValuesV2",
                                        "MetricsQueryRange",
                                        "MetricsQueryInstant"};
    char path[64];
    struct arena a;
    struct slice query, argument;
    struct buf out;

    if (size == 0)
        return 0;
    struct slice bytes = {data + 1, size - 1};
    (void)snprintf(path, sizeof path, "/tempopb.StreamingQuerier/%s", names[data[0] % 7]);
    const struct stream_method *m = stream_method(slice_str(path));
    assert(m != NULL);
    arena_init(&a, NULL);
    if (stream_request(&a, m, bytes, &query, &argument) == ERR_OK)
        for (size_t i = 0; i < query.len; i++)
            assert(query.ptr[i] > 0x20 && query.ptr[i] < 0x7f);
    buf_init(&out, SIZE_MAX / 2);
    stream_packets(bytes, 64, &out);
    assert(buf_err(&out) == ERR_OK && out.len >= GRPC_PREFIX_BYTES);
    buf_release(&out);
    arena_release(&a);
    return 0;
}
