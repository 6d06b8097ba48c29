/* A tenant's limits, and the log. */
#include "tests/lib/core_rig.h"

/* An entry with lower limits, and then a kill: what was acknowledged before is there, what comes now is refused. */
static void lower_limits_do_not_lose_what_the_log_has(void **state)
{
    char path[sizeof wal_dir];
    struct err_detail d = {0};
    struct otlp_group g;
    struct buf b;
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    begin_request(&g, &b);
    add_span(&g, 1, 1, 15000);
    otlp_group_end(&g);
    assert_int_equal(push_bytes("acme", 1, buf_slice(&b)).refused_count, 0);
    stop_core();
    overrides_free(overrides);
    scratch_dir_path(dir, "o.yml", path);
    assert_int_equal(
        fs_replace(path, SLICE_LIT("overrides: {acme: {max_bytes_per_trace: 5000}}\n")), ERR_OK);
    config.override_file = path;
    if (overrides_new(&config, &overrides, &d) != ERR_OK)
        fail_msg("%s", d.text);
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 1).spans, 1);
    buf_release(&b);
    begin_request(&g, &b);
    add_span(&g, 2, 1, 15000);
    otlp_group_end(&g);
    struct push p = push_bytes("acme", 2, buf_slice(&b));
    assert_int_equal(p.refused_count, 1);
    free(p.refused);
    assert_int_equal(push_bytes("zeta", 3, buf_slice(&b)).refused_count, 0);
    buf_release(&b);
    stop_core();
    overrides_free(overrides);
    config.override_file = "";
    assert_int_equal(overrides_new(&config, &overrides, &d), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lower_limits_do_not_lose_what_the_log_has, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
