#include "ingester/catalog.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <stdio.h>

#define WINDOW_NS UINT64_C(1000)

static char dir[SCRATCH_DIR_BYTES];
static struct backend *backend;
static struct catalog catalog;

static int set_up(void **state)
{
    (void)state;
    scratch_dir_make(dir);
    assert_int_equal(backend_local_new(dir, &backend, NULL), ERR_OK);
    catalog_init(&catalog, backend);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    catalog_release(&catalog);
    backend->ops->free(backend);
    scratch_dir_remove(dir);
    return 0;
}

static const char *id_of(uint32_t n)
{
    static char ids[8][37];
    static uint32_t next;
    char *id = ids[next++ % 8];
    (void)snprintf(id, 37, "00000000-0000-8000-8000-%012u", n);
    return id;
}

struct block_spec {
    uint64_t start_ns, end_ns, created_ns, traces, flagged, bytes;
    const char *writer;
};

static void publish(uint32_t n, const struct block_spec *spec, const struct block_lineage *l)
{
    struct block_meta m = {.tenant = "t",
                           .min_start_ns = spec->start_ns,
                           .max_end_ns = spec->end_ns,
                           .created_ns = spec->created_ns,
                           .trace_count = spec->traces,
                           .flagged_count = spec->flagged,
                           .bytes = spec->bytes,
                           .version = BLOCK_VERSION};
    char path[SCRATCH_DIR_BYTES * 2];
    struct buf json;
    (void)snprintf(m.id, sizeof m.id, "%s", id_of(n));
    (void)snprintf(m.writer, sizeof m.writer, "%s", spec->writer == NULL ? "i-0" : spec->writer);
    scratch_dir_path(dir, "data", path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    buf_init(&json, 1 << 16);
    assert_int_equal(
        l == NULL ? block_meta_to_json(&m, &json) : block_lineage_to_json(&m, l, &json), ERR_OK);
    assert_int_equal(backend->ops->publish(backend, "t", m.id, path, buf_slice(&json)), ERR_OK);
    buf_release(&json);
}

static const struct catalog_rules rules = {.now_ns = 10 * WINDOW_NS,
                                           .window_ns = WINDOW_NS,
                                           .traces_max = 100,
                                           .bytes_max = 1000,
                                           .inputs_max = 4};

static bool next_job(struct catalog_job *job)
{
    assert_int_equal(catalog_refresh(&catalog), ERR_OK);
    return catalog_next_job(&catalog, "t", &rules, job);
}

/* Blocks of one window, in order of time; the oldest window first; those that are open or young are left. */
static void test_windows(void **state)
{
    struct catalog_job job;
    (void)state;
    assert_false(next_job(&job));
    publish(1, &(struct block_spec){5100, 5200, 100, 1, 0, 1, NULL}, NULL);
    publish(2, &(struct block_spec){5050, 5900, 100, 1, 0, 1, NULL}, NULL);
    publish(3, &(struct block_spec){3900, 4100, 100, 1, 0, 1, NULL}, NULL); /* alone, whole */
    publish(4, &(struct block_spec){8000, 9100, 100, 1, 0, 1, NULL},
            NULL); /* not over long enough */
    publish(5, &(struct block_spec){9000, 9100, 100, 1, 0, 1, NULL}, NULL);
    assert_true(next_job(&job));
    assert_int_equal(job.input_count, 2);
    assert_string_equal(job.inputs[0]->meta.id, id_of(2));
    assert_string_equal(job.inputs[1]->meta.id, id_of(1));
    assert_int_equal(catalog_outstanding(&catalog, "t"), 5);
    assert_false(catalog_next_job(&catalog, "other", &rules, &job));
    publish(6, &(struct block_spec){5000, 5100, 9500, 1, 0, 1, NULL}, NULL); /* just made */
    assert_false(next_job(&job));                                            /* waited for */
    publish(10, &(struct block_spec){5100, 5200, 100, 1, 0, 1, NULL}, NULL);
    publish(11, &(struct block_spec){5100, 5200, 100, 1, 0, 1, NULL}, NULL);
    assert_true(next_job(&job)); /* no longer */
    assert_int_equal(job.input_count, 4);
    publish(7, &(struct block_spec){3900, 4200, 100, 1, 0, 1, NULL}, NULL);
    assert_true(next_job(&job));
    assert_string_equal(job.inputs[0]->meta.id, id_of(3));
}

/* A block alone is worth it only for its flags. */
static void test_alone(void **state)
{
    struct catalog_job job;
    (void)state;
    publish(1, &(struct block_spec){5100, 5200, 100, 1, 0, 1, NULL}, NULL);
    publish(2, &(struct block_spec){4100, 4200, 100, 1, 1, 1, NULL}, NULL);
    assert_true(next_job(&job));
    assert_int_equal(job.input_count, 1);
    assert_string_equal(job.inputs[0]->meta.id, id_of(2));
    job.inputs[0]->is_stuck = true;
    assert_false(next_job(&job));
}

static void test_limits(void **state)
{
    struct catalog_job job;
    (void)state;
    for (uint32_t n = 1; n <= 6; n++)
        publish(n, &(struct block_spec){5000 + n, 5900, 100, 10, 0, 10, NULL}, NULL);
    assert_true(next_job(&job));
    assert_int_equal(job.input_count, 4);
    publish(7, &(struct block_spec){4000, 5900, 100, 95, 0, 10, NULL}, NULL); /* no company */
    assert_true(next_job(&job));
    assert_int_equal(job.input_count, 4);
    assert_string_equal(job.inputs[0]->meta.id, id_of(1));
    publish(8, &(struct block_spec){5000, 5900, 100, 10, 0, 980, NULL}, NULL);
    assert_true(next_job(&job));
    assert_int_equal(job.input_count, 3);
    assert_string_equal(job.inputs[0]->meta.id, id_of(8));
}

/* What is in another block already is neither merged nor counted; the other is not merged on. */
static void test_merged(void **state)
{
    struct catalog_job job;
    struct block_lineage l = {.level = 1, .compacted_ns = 5};
    struct block_from from[2];
    (void)state;
    (void)snprintf(from[0].id, sizeof from[0].id, "%s", id_of(1));
    (void)snprintf(from[1].id, sizeof from[1].id, "%s", id_of(2));
    l.from = from;
    l.from_count = 2;
    publish(1, &(struct block_spec){5100, 5200, 100, 1, 0, 1, NULL}, NULL);
    publish(2, &(struct block_spec){5100, 5200, 100, 1, 0, 1, NULL}, NULL);
    publish(9, &(struct block_spec){5100, 5200, 100, 1, 1, 1, NULL}, &l);
    assert_false(next_job(&job));
    assert_string_equal(catalog_find(&catalog, "t", id_of(1))->successor->meta.id, id_of(9));
    assert_true(catalog_find(&catalog, "t", id_of(9))->has_inputs);
    assert_int_equal(catalog_outstanding(&catalog, "t"), 0);
    assert_int_equal(backend->ops->remove(backend, "t", id_of(1)), ERR_OK);
    assert_int_equal(backend->ops->remove(backend, "t", id_of(2)), ERR_OK);
    assert_false(next_job(&job));
    assert_false(catalog_find(&catalog, "t", id_of(9))->has_inputs);
    assert_null(catalog_find(&catalog, "t", id_of(1)));
}

/* Each job has one owner among those who wrote lately, and not always the same one. */
static void test_owner(void **state)
{
    static const char *const writers[] = {"i-0", "i-1", "i-2"};
    struct catalog_job job;
    unsigned jobs[3] = {0};
    (void)state;
    for (uint32_t n = 0; n < 3; n++)
        publish(n, &(struct block_spec){9500, 9600, 9700, 1, 0, 1, writers[n]}, NULL);
    for (uint32_t n = 10; n < 40; n++) {
        publish(n, &(struct block_spec){5000, 5100, 100, 1, 0, 1, "gone"}, NULL);
        assert_int_equal(catalog_refresh(&catalog), ERR_OK);
        job.inputs[0] = catalog_find(&catalog, "t", id_of(n));
        job.input_count = 1;
        unsigned owners = 0;
        for (int i = 0; i < 3; i++) {
            bool is = catalog_is_owner(&catalog, &job, writers[i], 9000);
            owners += is;
            jobs[i] += is;
        }
        assert_int_equal(owners, 1);
        assert_true(catalog_is_owner(&catalog, &job, writers[0], 10000)); /* alone */
    }
    assert_true(jobs[0] > 0 && jobs[1] > 0 && jobs[2] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_windows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_merged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_owner, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
