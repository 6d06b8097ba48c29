/* Bytes as an ingester's answer; first byte: the field.  Properties: no crash; what is read lies in the answer; an answer that has a coverage has its field. */
#include "querier/messages.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice part, struct slice whole)
{
    assert(part.len == 0 ||
           (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct blocks_coverage c;
    struct slice *list;
    struct arena a;
    uint32_t count = 0;

    if (size == 0)
        return 0;
    struct slice answer = {data + 1, size - 1};
    uint32_t field = data[0] % 8;
    arena_init(&a, NULL);
    enum err found = messages_repeated(&a, answer, field, &list, &count);
    assert(found == ERR_OK || found == ERR_CORRUPT);
    for (uint32_t i = 0; found == ERR_OK && i < count; i++)
        inside(list[i], answer);
    enum err e = messages_coverage(&a, answer, field, &c);
    assert(e == ERR_OK || e == ERR_CORRUPT);
    if (e == ERR_OK) {
        assert(found == ERR_OK && count > 0 && c.is_known);
        inside(c.instance_id, list[0]);
        for (uint32_t i = 0; i < c.recent_count; i++)
            inside(c.recent[i], list[0]);
    }
    arena_release(&a);
    return 0;
}
