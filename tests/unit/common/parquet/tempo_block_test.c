/* Blocks of Tempo's: every trace is what Tempo's own lookup by id gave (tests/data/tempo/README.md). */
#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "common/parquet/tempo_block.h"
#include "common/sys/fs.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/test.h"

static enum err read_buf(void *arg, uint64_t offset, void *ret, size_t len)
{
    const struct buf *b = arg;
    if (offset > b->len || len > b->len - offset)
        return ERR_CORRUPT;
    if (len != 0)
        memcpy(ret, b->ptr + offset, len);
    return ERR_OK;
}

static void load(const char *folder, const char *name, struct buf *ret)
{
    char path[200];
    (void)snprintf(path, sizeof path, "tests/data/tempo/%s/%s", folder, name);
    buf_init(ret, 1 << 20);
    if (fs_read_file(path, ret) != ERR_OK)
        fail_msg("%s (run from the root of the repository)", path);
}

/* Tempo gives every span a Status, empty or not; nobody can tell an empty one from none, so it is left out here. */
static void add_without_empty_status(struct otlp_canon *c, struct slice request)
{
    struct otlp_iter it;
    struct slice span;
    struct buf out;
    struct otlp_group g;
    uint32_t resource = UINT32_MAX, scope = UINT32_MAX;
    static const uint8_t empty[] = {15 << 3 | 2, 0};
    buf_init(&out, 1 << 20);
    otlp_group_init(&g, &out);
    otlp_iter_init(&it, request);
    while (otlp_next_span(&it, &span)) {
        if (it.resource_seq != resource)
            otlp_group_resource(&g, it.resource, it.resource_schema_url);
        if (it.resource_seq != resource || it.scope_seq != scope)
            otlp_group_scope(&g, it.scope, it.scope_schema_url);
        resource = it.resource_seq;
        scope = it.scope_seq;
        if (span.len > 2 && memcmp(span.ptr + span.len - 2, empty, 2) == 0)
            span.len -= 2;
        otlp_group_span(&g, span);
    }
    otlp_group_end(&g);
    otlp_canon_add(c, buf_slice(&out));
    buf_release(&out);
}

static void check(const char *folder, uint64_t traces)
{
    struct buf data, json, want, otlp;
    struct arena a;
    struct budget budget;
    struct tempo_meta meta;
    struct tempo_block *b = NULL;
    struct err_detail detail = {0};
    struct otlp_canon got = {0}, expected = {0};
    load(folder, "data.parquet", &data);
    load(folder, "meta.json", &json);
    load(folder, "expected.pb", &want);
    buf_init(&otlp, 1 << 20);
    budget_init(&budget, 64 << 20, NULL);
    arena_init(&a, &budget);
    assert_int_equal(tempo_meta_from_json(buf_slice(&json), &a, &meta, &detail), ERR_OK);
    assert_int_equal(meta.trace_count, traces);
    assert_true(meta.dedicated_count > 3);
    struct parquet_source source = {&data, read_buf, data.len};
    if (tempo_block_open(&source, &meta, &budget, &b, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
    assert_int_equal(tempo_block_traces(b), traces);
    for (uint64_t i = 0; i < traces; i++) {
        if (tempo_block_next(b, &otlp, &detail) != ERR_OK)
            fail_msg("%s", detail.text);
        otlp_canon_add(&got, buf_slice(&otlp));
    }
    assert_int_equal(tempo_block_next(b, &otlp, &detail), ERR_OK);
    assert_int_equal(otlp.len, 0);
    assert_int_equal(tempo_block_unreadable(b), 0);
    tempo_block_close(b);
    arena_release(&a);
    assert_int_equal(budget_used(&budget), 0);
    add_without_empty_status(&expected, buf_slice(&want));
    otlp_canon_sort(&got, false);
    otlp_canon_sort(&expected, false);
    otlp_canon_assert_equal(&got, &expected);
    otlp_canon_release(&got);
    otlp_canon_release(&expected);
    buf_release(&data);
    buf_release(&json);
    buf_release(&want);
    buf_release(&otlp);
}

static void test_traces_are_those_of_tempo(void **state)
{
    (void)state;
    check("vparquet4", 14);
    check("vparquet5", 14);
}

static enum err meta_of(const char *json, struct err_detail *d)
{
    struct arena a;
    struct tempo_meta m;
    arena_init(&a, NULL);
    enum err e = tempo_meta_from_json(slice_str(json), &a, &m, d);
    arena_release(&a);
    return e;
}

static void test_meta(void **state)
{
    struct err_detail d = {0};
    (void)state;
    assert_int_equal(meta_of("{\"format\":\"vParquet4\",\"blockID\":\"x\",\"tenantID\":\"t\"}", &d),
                     ERR_OK);
    assert_int_equal(meta_of("{\"format\":\"vParquet4\",\"tenantID\":\"t\"}", &d), ERR_CORRUPT);
    assert_non_null(strstr(d.text, "blockID"));
    assert_int_equal(meta_of("[]", &d), ERR_CORRUPT);
    assert_int_equal(meta_of("", &d), ERR_CORRUPT);
    /* A column that nobody reads would be lost: refused. */
    assert_int_equal(
        meta_of(
            "{\"format\":\"vParquet4\",\"blockID\":\"x\",\"tenantID\":\"t\",\"dedicatedColumns\":[{\"n\":\"k\",\"t\":\"float\"}]}",
            &d),
        ERR_UNSUPPORTED);
}

static void test_other_versions_are_refused(void **state)
{
    struct tempo_meta m = {.version = "vParquet3"};
    struct parquet_source source = {NULL, read_buf, 0};
    struct tempo_block *b = NULL;
    struct err_detail d = {0};
    struct buf data;
    (void)state;
    assert_int_equal(tempo_block_open(&source, &m, NULL, &b, &d), ERR_UNSUPPORTED);
    assert_non_null(strstr(d.text, "vParquet3"));
    /* A Parquet file that is no block. */
    buf_init(&data, 1 << 20);
    assert_int_equal(fs_read_file("tests/data/parquet/v2-gzip.parquet", &data), ERR_OK);
    source = (struct parquet_source){&data, read_buf, data.len};
    (void)snprintf(m.version, sizeof m.version, "vParquet5");
    assert_int_equal(tempo_block_open(&source, &m, NULL, &b, &d), ERR_UNSUPPORTED);
    assert_non_null(strstr(d.text, "not the schema"));
    buf_release(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traces_are_those_of_tempo),
        cmocka_unit_test(test_meta),
        cmocka_unit_test(test_other_versions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
