/* Any bytes as the footer of a block: u8 version, u32 bytes of the file, the footer.  Property: what can be read is written, read again and written the same. */
#include "common/base/bytes.h"
#include "common/store/block_priv.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct block_index x = {0}, again = {0};
    struct budget budget;
    struct arena a;
    struct buf out, out_again;

    if (size < 5)
        return 0;
    uint32_t version = 1u + data[0] % BLOCK_VERSION, file_bytes = le32_read(data + 1);
    budget_init(&budget, 64 << 20, NULL);
    arena_init(&a, &budget);
    buf_init(&out, 1 << 28);
    buf_init(&out_again, 1 << 28);
    enum err e = block_footer_get((struct slice){data + 5, size - 5}, file_bytes, version, &a, &x);
    assert(e == ERR_OK || e == ERR_CORRUPT || e == ERR_LIMIT || e == ERR_NOMEM);
    /* What is written is of the newest version. */
    if (e == ERR_OK && version == BLOCK_VERSION) {
        block_footer_put(&x, &out);
        assert(buf_err(&out) == ERR_OK);
        e = block_footer_get(buf_slice(&out), file_bytes, version, &a, &again);
        assert(e == ERR_OK || e == ERR_LIMIT);
        if (e == ERR_OK) {
            block_footer_put(&again, &out_again);
            assert(slice_eq(buf_slice(&out), buf_slice(&out_again)));
        }
    }
    buf_release(&out);
    buf_release(&out_again);
    arena_release(&a);
    assert(budget_used(&budget) == 0);
    return 0;
}
