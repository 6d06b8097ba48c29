/* Every allocation and every read of reading Tempo's block fails once: an error, nothing left behind; the next try works. */
#include "common/parquet/tempo_block.h"
#include "common/sys/fs.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/test.h"

static struct buf data, json;
static unsigned reads, fail_at; /* fail_at: this read fails; 0 none */

static enum err read_data(void *arg, uint64_t offset, void *ret, size_t len)
{
    (void)arg;
    if (++reads == fail_at)
        return ERR_IO;
    if (offset > data.len || len > data.len - offset)
        return ERR_CORRUPT;
    memcpy(ret, data.ptr + offset, len);
    return ERR_OK;
}

static enum err read_block(struct budget *budget, uint64_t *ret_traces)
{
    struct parquet_source source = {NULL, read_data, data.len};
    struct arena a;
    struct tempo_meta meta;
    struct tempo_block *b = NULL;
    struct buf otlp;
    uint64_t traces = 0;
    buf_init(&otlp, 1 << 20);
    arena_init(&a, budget);
    enum err e = tempo_meta_from_json(buf_slice(&json), &a, &meta, NULL);
    if (e == ERR_OK)
        e = tempo_block_open(&source, &meta, budget, &b, NULL);
    while (e == ERR_OK) {
        e = tempo_block_next(b, &otlp, NULL);
        if (e != ERR_OK || otlp.len == 0)
            break;
        traces++;
    }
    tempo_block_close(b);
    arena_release(&a);
    buf_release(&otlp);
    *ret_traces = traces;
    return e;
}

static void sweep(void *arg)
{
    struct budget budget;
    uint64_t traces;
    (void)arg;
    budget_init(&budget, SIZE_MAX, NULL);
    enum err e = read_block(&budget, &traces);
    assert_int_equal(budget_used(&budget), 0);
    /* The JSON library has no word for memory that is out: its document is then not one. */
    if (alloc_sweep_has_failed())
        assert_true(e == ERR_OK || e == ERR_NOMEM || e == ERR_CORRUPT);
    else
        assert_int_equal(e, ERR_OK);
    assert_true(e != ERR_OK || traces == 14);
}

static void load(void)
{
    buf_init(&data, 1 << 20);
    buf_init(&json, 1 << 20);
    assert_int_equal(fs_read_file("tests/data/tempo/vparquet5/data.parquet", &data), ERR_OK);
    assert_int_equal(fs_read_file("tests/data/tempo/vparquet5/meta.json", &json), ERR_OK);
}

static void test_memory(void **state)
{
    (void)state;
    load();
    fail_at = 0;
    assert_true(ALLOC_SWEEP(sweep, NULL) >= 50);
    for (size_t limit = 10000; limit < 4000000; limit += limit / 8) {
        struct budget budget;
        uint64_t traces;
        budget_init(&budget, limit, NULL);
        enum err e = read_block(&budget, &traces);
        assert_true(e == ERR_LIMIT || (e == ERR_OK && traces == 14));
        assert_int_equal(budget_used(&budget), 0);
    }
    buf_release(&data);
    buf_release(&json);
}

static void test_reads(void **state)
{
    uint64_t traces;
    enum err e;
    (void)state;
    load();
    fail_at = 0;
    do {
        reads = 0;
        fail_at++;
        e = read_block(NULL, &traces);
        assert_int_equal(e, reads >= fail_at ? ERR_IO : ERR_OK);
    } while (e != ERR_OK);
    assert_true(fail_at > 100);
    buf_release(&data);
    buf_release(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
