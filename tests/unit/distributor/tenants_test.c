#include "distributor/stats.h"
#include "distributor/tenants.h"
#include "tests/lib/test.h"

static struct fake_clock fake;
static struct limits limits;

static struct tenant *start(struct tenants *t, uint64_t rate, uint64_t burst)
{
    struct tenant *tenant = NULL;
    stats_init();
    fake_clock_init(&fake, 0);
    limits = (struct limits){.rate_limit_bytes = rate, .burst_size_bytes = burst};
    tenants_init(t, false, &fake.clock);
    assert_int_equal(tenants_get(t, "single-tenant", &tenant, NULL), ERR_OK);
    return tenant;
}

static void test_the_bucket_fills_at_its_rate(void **state)
{
    (void)state;
    struct tenants t;
    struct err_detail detail = {0};
    struct tenant *tenant = start(&t, 1000, 3000);
    assert_int_equal(tenants_take(&t, tenant, &limits, 3000, NULL), ERR_OK);
    assert_int_equal(tenants_take(&t, tenant, &limits, 1, &detail), ERR_LIMIT);
    assert_string_equal(
        detail.text,
        "RATE_LIMITED: ingestion rate limit (local: 1000 bytes/s, global: 0 bytes/s, burst: 3000 bytes) exceeded "
        "while adding 1 bytes for user single-tenant. consider increasing the limit or reducing ingestion rate.");
    fake_clock_advance(&fake, NS_PER_S / 2);
    assert_int_equal(tenants_take(&t, tenant, &limits, 501, NULL), ERR_LIMIT);
    assert_int_equal(tenants_take(&t, tenant, &limits, 500, NULL), ERR_OK);
    fake_clock_advance(&fake, 100 * NS_PER_S); /* never over the burst */
    assert_int_equal(tenants_take(&t, tenant, &limits, 3000, NULL), ERR_OK);
    assert_int_equal(tenants_take(&t, tenant, &limits, 1, NULL), ERR_LIMIT);
    tenants_release(&t);
}

static void test_a_batch_over_the_burst_never_fits(void **state)
{
    (void)state;
    struct tenants t;
    struct err_detail detail = {0};
    struct tenant *tenant = start(&t, 1000, 3000);
    assert_int_equal(tenants_take(&t, tenant, &limits, 3001, &detail), ERR_TOO_LARGE);
    assert_string_equal(
        detail.text,
        "RATE_LIMITED: batch size (3001 bytes) exceeds ingestion limit (local: 1000 bytes/s, global: 0 bytes/s, "
        "burst: 3000 bytes) while adding 3001 bytes for user single-tenant. consider reducing batch size or "
        "increasing rate limit.");
    assert_int_equal(tenants_take(&t, tenant, &limits, 3000, NULL), ERR_OK); /* nothing was taken */
    tenants_release(&t);
}

static void test_a_rate_of_zero_blocks(void **state)
{
    (void)state;
    struct tenants t;
    struct tenant *tenant = start(&t, 0, 3000);
    assert_int_equal(tenants_take(&t, tenant, &limits, 1, NULL), ERR_LIMIT);
    fake_clock_advance(&fake, 1000 * NS_PER_S);
    assert_int_equal(tenants_take(&t, tenant, &limits, 1, NULL), ERR_LIMIT);
    tenants_release(&t);
}

/* Limits that come while the tenant is there: what is in the bucket stays, up to the burst. */
static void test_limits_change(void **state)
{
    (void)state;
    struct tenants t;
    struct tenant *tenant = start(&t, 1000, 3000);
    assert_int_equal(tenants_take(&t, tenant, &limits, 1000, NULL), ERR_OK);
    limits.burst_size_bytes = 500;
    assert_int_equal(tenants_take(&t, tenant, &limits, 501, NULL), ERR_TOO_LARGE);
    assert_int_equal(tenants_take(&t, tenant, &limits, 500, NULL), ERR_OK);
    limits = (struct limits){.rate_limit_bytes = 10, .burst_size_bytes = 9000};
    assert_int_equal(tenants_take(&t, tenant, &limits, 1, NULL), ERR_LIMIT);
    fake_clock_advance(&fake, 2 * NS_PER_S);
    assert_int_equal(tenants_take(&t, tenant, &limits, 20, NULL), ERR_OK);
    assert_int_equal(tenants_take(&t, tenant, &limits, 1, NULL), ERR_LIMIT);
    limits.rate_limit_bytes = 0;
    fake_clock_advance(&fake, 2 * NS_PER_S);
    assert_int_equal(tenants_take(&t, tenant, &limits, 1, NULL), ERR_LIMIT);
    tenants_release(&t);
}

static void test_tenants_do_not_share(void **state)
{
    (void)state;
    struct tenants t;
    struct tenant *a = start(&t, 1000, 3000), *b = NULL, *again = NULL;
    assert_int_equal(tenants_get(&t, "b", &b, NULL), ERR_OK);
    assert_int_equal(tenants_get(&t, "single-tenant", &again, NULL), ERR_OK);
    assert_ptr_equal(a, again);
    assert_int_equal(tenants_take(&t, a, &limits, 3000, NULL), ERR_OK);
    assert_int_equal(tenants_take(&t, a, &limits, 1, NULL), ERR_LIMIT);
    assert_int_equal(tenants_take(&t, b, &limits, 3000, NULL), ERR_OK);
    tenants_release(&t);
}

static void test_their_number_is_limited(void **state)
{
    (void)state;
    struct tenants t;
    struct tenant *tenant = start(&t, 1000, 3000);
    struct err_detail detail = {0};
    char id[32];
    for (unsigned i = 1; i < TENANTS_MAX; i++) {
        (void)snprintf(id, sizeof id, "t%u", i);
        assert_int_equal(tenants_get(&t, id, &tenant, NULL), ERR_OK);
    }
    assert_int_equal(tenants_get(&t, "one-more", &tenant, &detail), ERR_LIMIT);
    assert_non_null(strstr(detail.text, "too many tenants"));
    assert_int_equal(tenants_get(&t, "t5", &tenant, NULL), ERR_OK);
    tenants_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bucket_fills_at_its_rate),
        cmocka_unit_test(test_a_batch_over_the_burst_never_fits),
        cmocka_unit_test(test_a_rate_of_zero_blocks),
        cmocka_unit_test(test_limits_change),
        cmocka_unit_test(test_tenants_do_not_share),
        cmocka_unit_test(test_their_number_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
