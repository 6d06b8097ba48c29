/* Any bytes as the meta.json of a block of Tempo's.  Property: an answer whose texts are whole, or an error that says why. */
#include "common/parquet/tempo_block.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct tempo_meta m;
    struct err_detail d = {0};
    arena_init(&a, NULL);
    enum err e = tempo_meta_from_json((struct slice){data, size}, &a, &m, &d);
    if (e == ERR_OK) {
        assert(m.version[0] != 0 && m.id[0] != 0 && m.tenant[0] != 0);
        for (uint32_t i = 0; i < m.dedicated_count; i++)
            assert(m.dedicated[i].key != NULL && m.dedicated[i].scope < TEMPO_SCOPE_COUNT);
    } else {
        assert(d.text[0] != 0);
    }
    arena_release(&a);
    return 0;
}
