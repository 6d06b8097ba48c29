/* Nothing is allocated for a span on its way in: counted, not timed. */
#include "common/codec/otlp.h"
#include "common/store/head.h"
#include "distributor/split.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/core_rig.h"
#include "tests/lib/otlp_gen.h"

enum { REQUESTS = 40, WARM = 20, SPANS = 1000, FAR = 1000000000, TARGETS_MAX = 5 };

static struct buf requests[REQUESTS];
static uint32_t counts[REQUESTS];

static int make_requests(void **state)
{
    struct otlp_gen g;
    (void)state;

    assert_true(alloc_fault_is_linked());
    otlp_gen_init(&g, 1, 1790000000000000000);
    for (unsigned i = 0; i < REQUESTS; i++) {
        buf_init(&requests[i], 64 << 20);
        counts[i] = otlp_gen_request(&g, SPANS, &requests[i]);
        assert_int_equal(buf_err(&requests[i]), ERR_OK);
    }
    otlp_gen_release(&g);
    return 0;
}

static int free_requests(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REQUESTS; i++)
        buf_release(&requests[i]);
    return 0;
}

static void a_check_allocates_nothing(void **state)
{
    uint32_t count;
    (void)state;

    alloc_fault_at(FAR);
    for (unsigned i = 0; i < REQUESTS; i++)
        assert_int_equal(otlp_check(buf_slice(&requests[i]), &otlp_limits_default, &count, NULL),
                         ERR_OK);
    assert_int_equal(alloc_fault_made(), 0);
    (void)alloc_fault_hit();
}

static uint32_t place(void *arg, struct trace_id id)
{
    const unsigned *targets = arg;

    return id.b[15] % *targets;
}

/* Four for the request, three more a target. */
static void a_split_allocates_by_targets_not_by_spans(void **state)
{
    (void)state;
    for (unsigned targets = 1; targets <= TARGETS_MAX; targets++) {
        for (unsigned i = 0; i < REQUESTS; i++) {
            struct arena a;
            struct split s;
            alloc_fault_at(FAR);
            arena_init(&a, NULL);
            assert_int_equal(split_begin(&a, buf_slice(&requests[i]), counts[i], &s), ERR_OK);
            assert_int_equal(split_route(&s, place, &targets), ERR_OK);
            assert_in_range(alloc_fault_made(), 0, 4 + 3 * targets);
            (void)alloc_fault_hit();
            arena_release(&a);
        }
    }
}

/* Columns grow in chunks that double: now and then one, for thousands of spans. */
static void a_head_allocates_for_none_of_its_spans(void **state)
{
    struct head_append_result r;
    struct head_options o = {.max_attribute_bytes = 2048};
    struct budget budget;
    struct head *h = NULL;
    unsigned long made = 0;
    uint32_t spans = 0;
    (void)state;

    budget_init(&budget, SIZE_MAX, NULL);
    assert_int_equal(head_new(&budget, &o, &h), ERR_OK);
    for (unsigned i = 0; i < REQUESTS; i++) {
        alloc_fault_at(FAR);
        assert_int_equal(head_append_checked(h, buf_slice(&requests[i]), false, 1, &r), ERR_OK);
        assert_int_equal(r.spans, counts[i]);
        if (i >= WARM) {
            made += alloc_fault_made();
            spans += r.spans;
        }
        (void)alloc_fault_hit();
    }
    assert_in_range(made, 0, spans / 100);
    head_unref(h);
}

/* All threads of the core: from the push to its answer. */
static void a_push_allocates_a_handful(void **state)
{
    unsigned long made = 0, spans = 0;
    (void)state;

    config.limits.max_bytes_per_trace = 0;
    start_core();
    EVENTUALLY(is_ready());
    alloc_fault_any_thread(true);
    for (unsigned i = 0; i < REQUESTS; i++) {
        alloc_fault_at(FAR);
        struct push p = push_bytes("acme", ++next_part, buf_slice(&requests[i]));
        assert_int_equal(p.err, ERR_OK);
        if (i >= WARM) {
            made += alloc_fault_made();
            spans += counts[i];
        }
        (void)alloc_fault_hit();
    }
    alloc_fault_any_thread(false);
    assert_in_range(made, 0, (REQUESTS - WARM) * 7 + spans / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_allocates_nothing),
        cmocka_unit_test(a_split_allocates_by_targets_not_by_spans),
        cmocka_unit_test(a_head_allocates_for_none_of_its_spans),
        cmocka_unit_test_setup_teardown(a_push_allocates_a_handful, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, make_requests, free_requests);
}
