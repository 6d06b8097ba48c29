/* Bytes as a manifest's content (with a right page around them), and as they are.  Properties: no crash; valid or an error; what is valid is the same after
 * it was written again, and its ids are found. */
#include "common/codec/lz4_page.h"
#include "common/objstore/manifest.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_bytes(struct slice bytes)
{
    struct manifest m, again;
    struct budget budget;
    struct arena a;
    struct buf out;

    budget_init(&budget, 64 << 20, NULL);
    arena_init(&a, &budget);
    buf_init(&out, 1 << 20);
    if (manifest_decode(bytes, &a, &m) == ERR_OK && manifest_encode(&m, &out) == ERR_OK) {
        assert(manifest_decode(buf_slice(&out), &a, &again) == ERR_OK);
        assert(again.entry_count == m.entry_count && again.gone_count == m.gone_count);
        assert(slice_eq(again.tenant, m.tenant) && again.number == m.number);
        for (uint32_t i = 0; i < m.entry_count; i++)
            assert(slice_eq(manifest_find(&again, m.entries[i].id)->meta_json,
                            m.entries[i].meta_json));
        for (uint32_t i = 0; i < m.gone_count; i++)
            assert(manifest_find_gone(&again, m.gone[i].id)->why == m.gone[i].why);
    }
    buf_release(&out);
    arena_release(&a);
    assert(budget_used(&budget) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf page;

    if (size < 2)
        return 0;
    try_bytes((struct slice){data, size});
    buf_init(&page, 1 << 20);
    buf_append(&page, (struct slice){(const uint8_t *)"VVM1\x01\0\0\0", 8});
    lz4_page_append(&page, MANIFEST_PAGE_KIND, data[0], (struct slice){data + 1, size - 1}, false);
    if (buf_err(&page) == ERR_OK)
        try_bytes(buf_slice(&page));
    buf_release(&page);
    return 0;
}
