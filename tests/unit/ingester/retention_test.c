/* Blocks that are too old go, and do not come back from the log. */
#include "tests/lib/core_rig.h"

static void old_blocks_are_removed(void **state)
{
    (void)state;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 3), ERR_OK);
    assert_int_equal(flush(), ERR_OK);
    advance(23 * 3600 * NS_PER_S);
    assert_int_equal(push_spans("acme", 2, 1, 3), ERR_OK);
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(stored_of("acme", 1).blocks, 2);
    advance(2 * 3600 * NS_PER_S);
    EVENTUALLY(blocks_of("acme") == 1);
    assert_int_equal(stored_of("acme", 2).want_spans, 2);
}

/* What is past the tenant's retention does not come back from the log; a frame with something younger does, whole. */
static void the_log_does_not_bring_back_what_is_too_old(void **state)
{
    struct otlp_group g;
    struct buf b;
    (void)state;

    config.max_block_duration_ns = 1000 * 3600 * NS_PER_S; /* it stays in the log */
    config.limits.block_retention_ns = 0;                  /* for ever */
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 3), ERR_OK);
    begin_request(&g, &b);
    add_span(&g, 2, 1, 0);
    advance(25 * 3600 * NS_PER_S);
    add_span(&g, 2, 2, 0);
    otlp_group_end(&g);
    assert_int_equal(push_bytes("acme", ++next_part, buf_slice(&b)).err, ERR_OK);
    buf_release(&b);
    stop_core();
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 1).spans, 2);
    assert_int_equal(live_of("acme", 2).spans, 2);
    stop_core();
    config.limits.block_retention_ns = 24 * 3600 * NS_PER_S;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 1).spans, 0);
    assert_int_equal(live_of("acme", 2).spans, 2);
}

/* A block that retention took away says no more what it held; a log that was not trimmed yet has it still. */
static void a_removed_block_does_not_come_back_from_the_log(void **state)
{
    static char saved[sizeof wal_dir], cmd[2 * sizeof wal_dir + 64];
    (void)state;

    scratch_dir_path(dir, "wal-saved", saved);
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 1, 1, 3), ERR_OK);
    stop_core();
    (void)snprintf(cmd, sizeof cmd, "cp -a '%s' '%s'", wal_dir, saved);
    assert_int_equal(system(cmd), 0);
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(stored_of("acme", 1).blocks, 1);
    advance(25 * 3600 * NS_PER_S);
    EVENTUALLY(blocks_of("acme") == 0);
    assert_int_equal(push_spans("acme", 2, 1, 3), ERR_OK);
    stop_core();
    (void)snprintf(cmd, sizeof cmd, "cp -an '%s/.' '%s'", saved, wal_dir); /* what was trimmed */
    assert_int_equal(system(cmd), 0);
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(live_of("acme", 1).spans, 0);
    assert_int_equal(live_of("acme", 2).spans, 2);
    assert_int_equal(flush(), ERR_OK);
    assert_int_equal(stored_of("acme", 1).spans, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(old_blocks_are_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_log_does_not_bring_back_what_is_too_old, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_removed_block_does_not_come_back_from_the_log, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
