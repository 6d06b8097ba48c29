/* The block list: polls, what ingesters' coverage leaves out or asks for, blocks that come, go, and can not be read. */
#include "common/obs/metrics.h"
#include "common/store/backend.h"
#include "common/store/block_lineage.h"
#include "common/store/head.h"
#include "common/sys/fs.h"
#include "querier/blocks.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"
#include "tests/unit/generator/otlp_one.h"

#include <stdio.h>
#include <stdlib.h>

#define BASE_NS (1700000000LL * NS_PER_S)

static struct backend *backend;
static struct budget budget;
static struct arena arena;
static struct blocks *blocks;

static int set_up(void **state)
{
    struct err_detail d = {0};

    if (tmpdir_setup(state) != 0)
        return -1;
    budget_init(&budget, 64 << 20, NULL);
    arena_init(&arena, NULL);
    if (backend_local_new(tmpdir_path(state, "b"), &backend, &d) != ERR_OK)
        fail_msg("%s", d.text);
    return blocks_new(backend, &budget, &blocks) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    blocks_free(blocks);
    backend->ops->free(backend);
    arena_release(&arena);
    assert_int_equal(budget_used(&budget), 0);
    return tmpdir_teardown(state);
}

static const char *id_of(unsigned n)
{
    static char ids[8][37];

    (void)snprintf(ids[n % 8], sizeof ids[0], "00000000-0000-4000-8000-%012u", n);
    return ids[n % 8];
}

/* A block of one trace that ends n seconds after the base, of frames up to lsn; merged out of others if there is a lineage. */
static void publish_with(void **state, const char *tenant, unsigned n, const char *writer,
                         uint64_t lsn, const struct block_lineage *lineage)
{
    struct head_append_result appended;
    struct block_meta meta = {.lsn_lo = 1, .lsn_hi = lsn};
    struct segment *segment;
    struct head *head;
    struct buf b;

    buf_init(&b, 1 << 20);
    otlp_one(&b, "shop", n, 1, 0, 2, BASE_NS + n * NS_PER_S, "");
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &head), ERR_OK);
    assert_int_equal(head_append(head, buf_slice(&b), false, 0, &appended), ERR_OK);
    assert_int_equal(head_segment(head, NULL, &segment), ERR_OK);
    (void)snprintf(meta.id, sizeof meta.id, "%s", id_of(n));
    (void)snprintf(meta.tenant, sizeof meta.tenant, "%s", tenant);
    (void)snprintf(meta.writer, sizeof meta.writer, "%s", writer);
    const char *path = tmpdir_path(state, "data.vvb");
    assert_int_equal(block_write(path, &segment, 1, NULL, NULL, NULL, &meta), ERR_OK);
    buf_reset(&b);
    assert_int_equal(lineage == NULL ? block_meta_to_json(&meta, &b)
                                     : block_lineage_to_json(&meta, lineage, &b),
                     ERR_OK);
    assert_int_equal(backend->ops->publish(backend, tenant, meta.id, path, buf_slice(&b)), ERR_OK);
    segment_close(segment);
    head_unref(head);
    buf_release(&b);
}

static void publish(void **state, const char *tenant, unsigned n, const char *writer, uint64_t lsn)
{
    publish_with(state, tenant, n, writer, lsn, NULL);
}

/* The taken blocks' numbers in order, as text, and how many could not be read. */
static const char *taken(const char *tenant, uint64_t start_s, uint64_t end_s,
                         const struct blocks_coverage *coverage, uint32_t count)
{
    static char text[256];
    struct blocks_set set = {0};
    size_t n = 0;
    uint64_t start = start_s == 0 ? 0 : (uint64_t)BASE_NS + start_s * (uint64_t)NS_PER_S,
             end = end_s == 0 ? 0 : (uint64_t)BASE_NS + end_s * (uint64_t)NS_PER_S;

    assert_int_equal(blocks_take(blocks, tenant, start, end, coverage, count, &arena, &set),
                     ERR_OK);
    text[0] = '\0';
    for (uint32_t i = 0; i < set.count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%d", n == 0 ? "" : " ",
                              (int)strtol(block_meta(set.blocks[i])->id + 24, NULL, 10));
    if (set.unreadable != 0)
        (void)snprintf(text + n, sizeof text - n, "%s+%u", n == 0 ? "" : " ", set.unreadable);
    blocks_give(&set);
    return text;
}

static void test_polled_in_order_of_their_end(void **state)
{
    publish(state, "acme", 2, "i", 5);
    publish(state, "acme", 3, "i", 9);
    publish(state, "acme", 1, "i", 2);
    publish(state, "acm", 4, "i", 2);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "3 2 1"); /* the first who asks lists */
    publish(state, "acme", 5, "i", 9);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "3 2 1"); /* not polled since, nobody told */
    assert_int_equal(backend->ops->remove(backend, "acme", id_of(5)), ERR_OK);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_int_equal(blocks_count(blocks, "acme"), 3);
    assert_int_equal(blocks_count(blocks, "acm"), 1);
    assert_int_equal(blocks_count(blocks, "ac"), 0);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "3 2 1");
    assert_string_equal(taken("acm", 0, 0, NULL, 0), "4");
    assert_string_equal(taken("acme", 2, 2, NULL, 0), "2");
    assert_string_equal(taken("acme", 1, 2, NULL, 0), "2 1");
    assert_string_equal(taken("acme", 7, 9, NULL, 0), "");
}

static void test_a_new_block_is_known_by_coverage(void **state)
{
    struct slice recent = slice_str(id_of(2));
    struct blocks_coverage c = {.instance_id = SLICE_LIT("i"),
                                .published_lsn = 9,
                                .recent = &recent,
                                .recent_count = 1,
                                .is_known = true};

    publish(state, "acme", 1, "i", 5);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    publish(state, "acme", 2, "i", 9);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "1");
    assert_string_equal(taken("acme", 0, 0, &c, 1), "2 1");
}

static void test_what_a_live_writer_still_answers_is_left_out(void **state)
{
    struct blocks_coverage c[2] = {
        {.instance_id = SLICE_LIT("other"), .published_lsn = 1, .is_known = true},
        {.instance_id = SLICE_LIT("i"), .published_lsn = 5, .is_known = true}};

    publish(state, "acme", 1, "i", 5);
    publish(state, "acme", 2, "i", 6);
    publish(state, "acme", 3, "gone", 100);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_string_equal(taken("acme", 0, 0, c, 2), "3 1");
    c[1].published_lsn = 6;
    assert_string_equal(taken("acme", 0, 0, c, 2), "3 2 1");
    c[1].published_lsn = 0;
    c[1].is_known = false; /* it did not answer: its blocks must */
    assert_string_equal(taken("acme", 0, 0, c, 2), "3 2 1");
}

static void test_what_can_not_be_read_is_counted(void **state)
{
    char path[512];

    publish(state, "acme", 1, "i", 5);
    publish(state, "acme", 2, "i", 6);
    publish(state, "acme", 3, "i", 7);
    (void)snprintf(path, sizeof path, "%s/acme/%s/data.vvb", tmpdir_path(state, "b"), id_of(2));
    assert_int_equal(fs_replace(path, SLICE_LIT("damaged")), ERR_OK);
    (void)snprintf(path, sizeof path, "%s/acme/%s/meta.json", tmpdir_path(state, "b"), id_of(3));
    assert_int_equal(fs_replace(path, SLICE_LIT("{")), ERR_OK);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "1 +2");
    struct metric_cell *damaged = metric_cell0(metrics_gauge("vivace_damaged_blocks", "", ""));
    assert_true(metric_value(damaged) == 2);
    assert_int_equal(backend->ops->quarantine(backend, "acme", id_of(2), "test"), ERR_OK);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_true(metric_value(damaged) == 1);
}

/* Footers of blocks that are not used make room for those that are; what does not fit all the same is told. */
static void test_footers_make_room(void **state)
{
    size_t limit = budget.limit_bytes;

    for (unsigned n = 1; n <= 6; n++)
        publish(state, "acme", n, "i", n);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_string_equal(taken("acme", 1, 1, NULL, 0), "1");
    size_t one = budget_used(&budget);
    assert_true(one > 0);
    budget.limit_bytes = 3 * one;
    for (unsigned round = 0; round < 3; round++)
        for (unsigned n = 1; n <= 6; n++) {
            char want[8];
            (void)snprintf(want, sizeof want, "%u", n);
            assert_string_equal(taken("acme", n, n, NULL, 0), want);
            assert_true(budget_used(&budget) <= 3 * one);
        }
    budget.limit_bytes = one / 2; /* not even one */
    assert_string_equal(taken("acme", 1, 1, NULL, 0), "+1");
    budget.limit_bytes = limit;
    assert_string_equal(taken("acme", 1, 6, NULL, 0), "6 5 4 3 2 1");
}

static enum err tenants_err;
static unsigned listings;

static enum err failing_tenants(struct backend *b, backend_name_fn *fn, void *arg)
{
    (void)b, (void)fn, (void)arg;
    listings++;
    return tenants_err;
}

/* What was never listed is said to be missing, and queries do not wait for a store that is away. */
static void test_a_store_that_is_away(void **state)
{
    const struct backend_ops *real = backend->ops;
    struct backend_ops ops = *real;

    publish(state, "acme", 1, "i", 5);
    ops.tenants = failing_tenants;
    backend->ops = &ops;
    tenants_err = ERR_UNAVAILABLE;
    listings = 0;
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "+1");
    assert_int_equal(listings, 1);
    assert_true(blocks_are_away(blocks));
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "+1");
    assert_int_equal(listings, 1);
    assert_int_equal(blocks_poll(blocks), ERR_UNAVAILABLE);
    assert_int_equal(listings, 2);
    backend->ops = real;
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_false(blocks_are_away(blocks));
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "1");
    backend->ops = &ops; /* what is known stays */
    assert_int_equal(blocks_poll(blocks), ERR_UNAVAILABLE);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "1");
    backend->ops = real;
}

static void test_blocks_go(void **state)
{
    struct blocks_set set;
    struct segment *s;

    publish(state, "acme", 1, "i", 5);
    publish(state, "acme", 2, "i", 6);
    publish(state, "other", 3, "i", 6);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_int_equal(blocks_take(blocks, "acme", 0, 0, NULL, 0, &arena, &set), ERR_OK);
    assert_int_equal(backend->ops->remove(backend, "acme", id_of(1)), ERR_OK);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "2");
    assert_int_equal(block_segment(set.blocks[1], 0, NULL, &s), ERR_OK); /* who has it keeps it */
    segment_close(s);
    blocks_give(&set);
    assert_int_equal(fs_remove_tree(tmpdir_path(state, "b/acme")), ERR_OK);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_int_equal(blocks_count(blocks, "acme"), 0);
    assert_string_equal(taken("other", 0, 0, NULL, 0), "3");
}

/* A backend in which a tenant's folder goes away between two looks. */
static struct backend_ops vanishing_ops;
static const struct backend_ops *real_ops;

static enum err vanishing_blocks(struct backend *b, const char *tenant, backend_name_fn *fn,
                                 void *arg)
{
    return strcmp(tenant, "acme") == 0 ? ERR_NOT_FOUND : real_ops->blocks(b, tenant, fn, arg);
}

static void test_a_tenant_that_vanishes_takes_no_other_with_it(void **state)
{
    publish(state, "aaa", 1, "i", 5);
    publish(state, "acme", 2, "i", 5);
    publish(state, "zzz", 3, "i", 5);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    real_ops = backend->ops;
    vanishing_ops = *real_ops;
    vanishing_ops.blocks = vanishing_blocks;
    backend->ops = &vanishing_ops;
    enum err e = blocks_poll(blocks);
    backend->ops = real_ops;
    assert_int_equal(e, ERR_OK);
    assert_int_equal(blocks_count(blocks, "acme"), 0);
    assert_int_equal(blocks_count(blocks, "aaa"), 1);
    assert_int_equal(blocks_count(blocks, "zzz"), 1);
}

/* While a block takes the place of others all of them may be listed: it alone counts.  What is held goes on being read. */
static void test_merged(void **state)
{
    struct block_from from[2];
    struct block_lineage l = {.level = 1, .from = from, .from_count = 2};
    struct blocks_set held;
    struct segment *s;
    struct seg_traces traces;
    struct slice recent = slice_str("00000000-0000-4000-8000-000000000001");
    struct blocks_coverage coverage = {
        .instance_id = SLICE_LIT("i"), .is_known = true, .recent = &recent, .recent_count = 1};

    publish(state, "acme", 1, "j", 5);
    publish(state, "acme", 2, "j", 5);
    publish(state, "other", 1, "j", 5);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_int_equal(blocks_take(blocks, "acme", 0, 0, NULL, 0, &arena, &held), ERR_OK);
    assert_int_equal(held.count, 2);
    memcpy(from[0].id, id_of(1), sizeof from[0].id);
    memcpy(from[1].id, id_of(2), sizeof from[1].id);
    publish_with(state, "acme", 7, "", 0, &l);
    publish(state, "acme", 3, "j", 6);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "7 3");
    assert_string_equal(taken("other", 0, 0, NULL, 0), "1");
    assert_int_equal(backend->ops->remove(backend, "acme", id_of(1)), ERR_OK);
    assert_int_equal(backend->ops->remove(backend, "acme", id_of(2)), ERR_OK);
    assert_int_equal(blocks_poll(blocks), ERR_OK);
    assert_string_equal(taken("acme", 0, 0, NULL, 0), "7 3");
    /* An ingester that still names a merged block does not make every query list anew. */
    assert_string_equal(taken("acme", 0, 0, &coverage, 1), "7 3");
    for (uint32_t i = 0; i < held.count; i++) {
        assert_int_equal(block_segment(held.blocks[i], 0, NULL, &s), ERR_OK);
        assert_int_equal(segment_traces(s, &traces), ERR_OK);
        assert_int_equal(s->trace_count, 1);
        segment_close(s);
    }
    blocks_give(&held);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_merged),
        T(test_polled_in_order_of_their_end),
        T(test_a_new_block_is_known_by_coverage),
        T(test_what_a_live_writer_still_answers_is_left_out),
        T(test_what_can_not_be_read_is_counted),
        T(test_footers_make_room),
        T(test_a_store_that_is_away),
        T(test_blocks_go),
        T(test_a_tenant_that_vanishes_takes_no_other_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
