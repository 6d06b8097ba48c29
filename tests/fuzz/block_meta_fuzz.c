/* Any bytes as a meta.json.  Property: what is read is written and read again as the same. */
#include "common/store/block_lineage.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct block_lineage *a, const struct block_lineage *b)
{
    assert(a->level == b->level);
    assert(a->from_count == b->from_count);
    assert(a->holds_count == b->holds_count);
    for (uint32_t i = 0; i < a->from_count; i++)
        assert(strcmp(a->from[i].id, b->from[i].id) == 0);
    for (uint32_t i = 0; i < a->holds_count; i++)
        assert(strcmp(a->holds[i].writer, b->holds[i].writer) == 0 &&
               a->holds[i].lsn_lo == b->holds[i].lsn_lo &&
               a->holds[i].lsn_hi == b->holds[i].lsn_hi);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct block_meta meta, meta_again;
    struct block_lineage lineage, again;
    struct err_detail detail;
    struct arena a;
    struct buf json;
    arena_init(&a, NULL);
    buf_init(&json, 1 << 24);
    if (block_meta_from_json((struct slice){data, size}, &meta, &detail) == ERR_OK &&
        block_lineage_from_json((struct slice){data, size}, &a, &lineage) == ERR_OK &&
        block_lineage_to_json(&meta, &lineage, &json) == ERR_OK && json.len <= 64 << 10) {
        assert(block_meta_from_json(buf_slice(&json), &meta_again, &detail) == ERR_OK);
        assert(strcmp(meta.id, meta_again.id) == 0);
        assert(meta.lsn_hi == meta_again.lsn_hi);
        assert(block_lineage_from_json(buf_slice(&json), &a, &again) == ERR_OK);
        check_same(&lineage, &again);
    }
    buf_release(&json);
    arena_release(&a);
    return 0;
}
