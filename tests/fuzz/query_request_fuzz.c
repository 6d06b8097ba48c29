/* Requests of an ingester's query lane from foreign bytes.  First byte: the method.  Properties: no crash; what is read lies in the request, and
 * excluded ids ascend. */
#include "common/net/rpc.h"
#include "ingester/query_message.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice part, struct slice whole)
{
    assert(part.len == 0 ||
           (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct query_message m;
    struct arena a;

    if (size == 0)
        return 0;
    uint16_t method = (uint16_t)(RPC_TRACE + data[0] % 8);
    struct slice bytes = {data + 1, size - 1};
    arena_init(&a, NULL);
    enum err e = query_message_read(method, bytes, &a, &m);
    assert(e == ERR_OK || e == ERR_FORMAT || e == ERR_INVALID);
    if (e == ERR_OK) {
        assert(m.tenant.len != 0);
        inside(m.tenant, bytes);
        inside(m.text, bytes);
        inside(m.tag, bytes);
        for (uint32_t i = 0; i < m.tag_count; i++) {
            inside(m.tags[i].key, bytes);
            inside(m.tags[i].value, bytes);
        }
        bool is_sorted = method == RPC_SEARCH || method == RPC_METRICS_QUERY;
        for (uint32_t i = 1; is_sorted && i < m.id_count; i++)
            assert(trace_id_cmp(m.ids[i - 1], m.ids[i]) <= 0);
    }
    arena_release(&a);
    return 0;
}
