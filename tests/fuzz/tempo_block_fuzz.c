/*
 * Any bytes as a block of Tempo's: the first byte chooses the version, the rest is data.parquet.
 * Property: every row ends with an answer or an error, within the budget; what is given as OTLP is well formed, and stays so when it is read again.
 */
#include "common/codec/otlp.h"
#include "common/parquet/tempo_block.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BUDGET_BYTES = 32 << 20, ROWS_MAX = 200 };

static enum err read_bytes(void *arg, uint64_t offset, void *ret, size_t len)
{
    const struct slice *s = arg;
    if (offset > s->len || len > s->len - offset)
        return ERR_CORRUPT;
    if (len != 0)
        memcpy(ret, s->ptr + offset, len);
    return ERR_OK;
}

static void check_request(struct slice otlp)
{
    struct otlp_limits limits = {.depth_max = 64,
                                 .spans_max = UINT32_MAX,
                                 .attributes_max = UINT32_MAX,
                                 .events_max = UINT32_MAX,
                                 .links_max = UINT32_MAX};
    uint32_t spans, walked = 0;
    struct otlp_iter it;
    struct slice span;
    enum err e = otlp_check(otlp, &limits, &spans, NULL);
    if (e != ERR_OK) /* invalid UTF-8 is all that it may hold against it */
        return;
    otlp_iter_init(&it, otlp);
    while (otlp_next_span(&it, &span))
        walked++;
    assert(walked == spans);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tempo_dedicated dedicated[] = {{TEMPO_RESOURCE, false, "host.name"},
                                          {TEMPO_SPAN, false, "db.system"},
                                          {TEMPO_SPAN, true, "t.int"},
                                          {TEMPO_EVENT, false, "exception.type"}};
    struct tempo_meta meta = {
        .id = "x", .tenant = "t", .dedicated = dedicated, .dedicated_count = 4};
    struct budget budget;
    struct tempo_block *b = NULL;
    struct buf otlp;
    struct err_detail detail = {0};
    if (size == 0)
        return 0;
    struct slice file = {data + 1, size - 1};
    struct parquet_source source = {&file, read_bytes, file.len};
    memcpy(meta.version, (data[0] & 1) != 0 ? "vParquet5" : "vParquet4", 10);
    budget_init(&budget, BUDGET_BYTES, NULL);
    buf_init(&otlp, 8 << 20);
    if (tempo_block_open(&source, &meta, &budget, &b, &detail) == ERR_OK) {
        for (int i = 0; i < ROWS_MAX; i++) {
            if (tempo_block_next(b, &otlp, &detail) != ERR_OK || otlp.len == 0)
                break;
            check_request(buf_slice(&otlp));
        }
        tempo_block_close(b);
    }
    buf_release(&otlp);
    assert(budget_used(&budget) == 0);
    return 0;
}
