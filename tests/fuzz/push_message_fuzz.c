/* Bytes as each request of the ingester's lanes.  Properties: no crash; what is read lies inside the message and within its limits; a reply to what
 * was read can be written. */
#include "common/net/rpc.h"
#include "ingester/push_message.h"
#include "ingester/query_message.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_inside(struct slice part, struct slice whole)
{
    return part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {data, size};
    struct push_message m;

    if (push_message_read(bytes, &m) == ERR_OK) {
        assert(is_inside(m.tenant, bytes));
        assert(is_inside(m.first_target, bytes));
        assert(is_inside(m.payload, bytes));
        assert(m.tenant.len > 0 && m.tenant.len <= PUSH_TENANT_BYTES_MAX);
        assert(m.received_ns >= 0);
    }
    for (uint16_t method = RPC_TRACE - 1; method <= RPC_TAG_VALUES + 1; method++) {
        struct arena a;
        struct query_message q;
        arena_init(&a, NULL);
        if (query_message_read(method, bytes, &a, &q) == ERR_OK) {
            assert(is_inside(q.tenant, bytes));
            assert(is_inside(q.text, bytes));
            assert(is_inside(q.tag, bytes));
            for (uint32_t i = 1; i < q.id_count && method == RPC_SEARCH; i++)
                assert(trace_id_cmp(q.ids[i - 1], q.ids[i]) <= 0);
            for (uint32_t i = 0; i < q.tag_count; i++)
                assert(is_inside(q.tags[i].key, bytes) && is_inside(q.tags[i].value, bytes));
        }
        arena_release(&a);
    }
    return 0;
}
