/* Bytes as a file of the send queue.  Properties: no crash; what is read lies in the file; written again it gives the same bytes, as far as they were sound. */
#include "generator/send_queue.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice part, struct slice file)
{
    assert(part.len == 0 || (part.ptr >= file.ptr && part.ptr + part.len <= file.ptr + file.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice file = {data, size}, tenant, request;
    struct buf again;
    size_t at, before;

    if (!send_queue_tenant(file, &tenant, &at))
        return 0;
    inside(tenant, file);
    buf_init(&again, size + 64);
    send_queue_begin(&again, tenant);
    assert(again.len == at);
    for (before = at; at < file.len && send_queue_request(file, &at, &request); before = at) {
        inside(request, file);
        assert(at > before);
        send_queue_add(&again, request);
    }
    assert(buf_err(&again) == ERR_OK);
    assert(again.len == before && memcmp(again.ptr, data, before) == 0);
    buf_release(&again);
    return 0;
}
