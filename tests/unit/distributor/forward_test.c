#include "distributor/forward.h"
#include "distributor/stats.h"
#include "proto/push.pb-c.h"
#include "tests/unit/distributor/fake_peers.h"

enum { BUFFER_BYTES = 20000 };

static const uint8_t batch_id[BATCH_ID_BYTES] = "batch batch batc";
static struct slice pieces[] = {{(const uint8_t *)"pay", 3}, {(const uint8_t *)"load", 4}};

static struct forward *start(unsigned up_count)
{
    struct forward *f = NULL;
    stats_init();
    fake_init(up_count);
    struct forward_options o = {.peers = &fake.peers,
                                .clock = &fake.clock.clock,
                                .post = fake_post,
                                .bytes_max = BUFFER_BYTES};
    assert_int_equal(forward_new(&o, &f), ERR_OK);
    return f;
}

static void add(struct forward *f, uint32_t number)
{
    struct split_part part = {
        .number = number, .span_count = 10, .pieces = pieces, .piece_count = 2, .bytes = 7};
    forward_add(f, batch_id, SLICE_LIT("tenant-a"), 77, &part, 1);
    fake_run_posted();
}

static Vivace__PushRequest *unpack(unsigned call)
{
    Vivace__PushRequest *r =
        vivace__push_request__unpack(NULL, fake.calls[call].bytes.len, fake.calls[call].bytes.ptr);
    assert_non_null(r);
    return r;
}

static double dropped(enum stats_drop why)
{
    return metric_value(stats.generator_dropped[why]);
}

static void test_kept_until_acknowledged(void **state)
{
    (void)state;
    struct forward *f = start(2);
    add(f, 3);
    assert_int_equal(fake.call_count, 1);
    assert_int_equal(fake.calls[0].method, RPC_GENERATE);
    Vivace__PushRequest *r = unpack(0);
    assert_memory_equal(r->batch_id.data, batch_id, 16);
    assert_int_equal(r->part, 3);
    assert_int_equal(r->span_count, 10);
    assert_memory_equal(r->payload.data, "payload", 7);
    vivace__push_request__free_unpacked(r, NULL);
    assert_true(forward_bytes(f) > 7);
    fake_answer(0, ERR_OK, SLICE_NONE);
    assert_int_equal(forward_bytes(f), 0);
    forward_free(f);
    fake_release();
}

static double doubtful(enum stats_doubt how)
{
    return metric_value(stats.generator_doubts_ended[how]);
}

/* It may have counted the spans: nobody else is asked while it may come back and tell. */
static void test_a_lost_answer_is_asked_for_where_it_was_lost(void **state)
{
    (void)state;
    struct forward *f = start(2);
    double answered = doubtful(STATS_DOUBT_ANSWERED), given_up = doubtful(STATS_DOUBT_GIVEN_UP);
    add(f, 0);
    fake_answer(0, ERR_TIMEOUT, SLICE_NONE);
    assert_true(metric_value(stats.generator_doubts) == 1);
    forward_tick(f);
    assert_int_equal(fake.call_count, 1); /* the back-off is not over */
    fake.is_down[0] = true;
    for (unsigned i = 0; i < 60; i++) {
        fake_clock_advance(&fake.clock, 5 * NS_PER_S);
        forward_tick(f);
    }
    assert_int_equal(fake.call_count, 1);
    fake.is_down[0] = false;
    static const enum err unclear[] = {ERR_UNAVAILABLE, ERR_FULL,
                                       ERR_OK}; /* a full one has not looked */
    for (unsigned i = 0; i < 3; i++) {
        fake_clock_advance(&fake.clock, 5 * NS_PER_S);
        forward_tick(f);
        assert_int_equal(fake.call_count, 2 + i);
        assert_int_equal(fake.calls[1 + i].index, fake.calls[0].index);
        Vivace__PushRequest *r = unpack(1 + i);
        assert_true(r->doubt);
        assert_memory_equal(r->first_target.data, "peer-0", 6);
        assert_memory_equal(r->batch_id.data, batch_id, 16);
        vivace__push_request__free_unpacked(r, NULL);
        fake_answer(1 + i, unclear[i], SLICE_NONE);
    }
    assert_int_equal(forward_bytes(f), 0);
    assert_true(metric_value(stats.generator_doubts) == 0);
    assert_true(doubtful(STATS_DOUBT_ANSWERED) - answered == 10);
    assert_true(doubtful(STATS_DOUBT_GIVEN_UP) == given_up);
    forward_free(f);
    fake_release();
}

/* Others go on meanwhile: an item in doubt takes none of the calls under way. */
static void test_doubt_holds_up_nobody(void **state)
{
    (void)state;
    struct forward *f = start(2);
    for (uint32_t n = 0; n < FORWARD_IN_FLIGHT; n++)
        add(f, n);
    for (unsigned n = 0; n < FORWARD_IN_FLIGHT; n++)
        fake_answer(n, ERR_TIMEOUT, SLICE_NONE);
    fake.is_down[0] = true;
    fake_clock_advance(&fake.clock, 5 * NS_PER_S);
    forward_tick(f);
    assert_int_equal(fake.call_count, FORWARD_IN_FLIGHT);
    add(f, 100);
    assert_int_equal(fake.call_count, FORWARD_IN_FLIGHT + 1);
    fake_answer(FORWARD_IN_FLIGHT, ERR_OK, SLICE_NONE);
    double dropped_before = doubtful(STATS_DOUBT_DROPPED);
    forward_free(f);
    assert_true(doubtful(STATS_DOUBT_DROPPED) - dropped_before == 10.0 * FORWARD_IN_FLIGHT);
    fake_release();
}

/* Gone for ever: after the time for which it would remember the spans go to another, rather than to nobody. */
static void test_doubt_is_given_up_and_counted(void **state)
{
    (void)state;
    struct forward *f = start(2);
    double given_up = doubtful(STATS_DOUBT_GIVEN_UP);
    add(f, 0);
    fake_answer(0, ERR_TIMEOUT, SLICE_NONE);
    fake.is_down[0] = true;
    fake_clock_advance(&fake.clock, FORWARD_DOUBT_NS + NS_PER_S);
    forward_tick(f);
    assert_int_equal(fake.call_count, 2);
    assert_int_not_equal(fake.calls[1].index, fake.calls[0].index);
    assert_int_equal(fake.reports[0], 1);
    assert_true(doubtful(STATS_DOUBT_GIVEN_UP) == given_up);
    Vivace__PushRequest *r = unpack(1);
    assert_true(r->doubt);
    assert_int_equal(r->attempt, 1);
    assert_memory_equal(r->first_target.data, "peer-0", 6);
    assert_memory_equal(r->batch_id.data, batch_id, 16);
    vivace__push_request__free_unpacked(r, NULL);
    fake_answer(1, ERR_OK, SLICE_NONE);
    assert_int_equal(forward_bytes(f), 0);
    assert_true(doubtful(STATS_DOUBT_GIVEN_UP) - given_up == 10);
    forward_free(f);
    fake_release();
}

static void test_waits_for_the_first_generator(void **state)
{
    (void)state;
    struct forward *f = start(0);
    add(f, 0);
    for (unsigned i = 0; i < 100; i++) {
        fake_clock_advance(&fake.clock, NS_PER_S);
        forward_tick(f);
    }
    assert_int_equal(fake.call_count, 0);
    assert_true(forward_bytes(f) > 0);
    fake.up_count = 1;
    fake_clock_advance(&fake.clock, 5 * NS_PER_S);
    forward_tick(f);
    assert_int_equal(fake.call_count, 1);
    Vivace__PushRequest *r = unpack(0);
    assert_false(r->doubt); /* it was never sent before */
    vivace__push_request__free_unpacked(r, NULL);
    fake_answer(0, ERR_OK, SLICE_NONE);
    assert_int_equal(forward_bytes(f), 0);
    forward_free(f);
    fake_release();
}

static void test_overflow_is_dropped_and_counted(void **state)
{
    (void)state;
    struct forward *f = start(1);
    double before = dropped(STATS_DROP_BUFFER_FULL), shut = dropped(STATS_DROP_SHUTDOWN);
    unsigned kept = 0;
    for (unsigned i = 0; i < 100; i++) {
        size_t bytes = forward_bytes(f);
        add(f, i);
        kept += forward_bytes(f) > bytes;
        assert_true(forward_bytes(f) <= BUFFER_BYTES);
    }
    assert_true(kept > 10 && kept < 100);
    assert_true(dropped(STATS_DROP_BUFFER_FULL) - before == (100.0 - kept) * 10);
    assert_int_equal(fake.call_count, kept < FORWARD_IN_FLIGHT ? kept : FORWARD_IN_FLIGHT);
    unsigned answered = fake.call_count;
    for (unsigned i = 0; i < answered; i++) {
        fake.refuse[0] = ERR_FULL; /* no new ones */
        fake_answer(i, ERR_OK, SLICE_NONE);
    }
    forward_free(f); /* the rest is dropped, and counted */
    assert_true(dropped(STATS_DROP_SHUTDOWN) - shut == (double)(kept - answered) * 10);
    fake_release();
}

static void test_what_is_refused_for_good_is_dropped(void **state)
{
    (void)state;
    struct forward *f = start(1);
    double before = dropped(STATS_DROP_REFUSED);
    add(f, 0);
    fake_answer(0, ERR_INVALID, SLICE_NONE);
    assert_int_equal(forward_bytes(f), 0);
    fake.refuse[0] = ERR_TOO_LARGE;
    add(f, 1);
    assert_int_equal(forward_bytes(f), 0);
    assert_true(dropped(STATS_DROP_REFUSED) - before == 20);
    forward_free(f);
    fake_release();
}

static void test_calls_in_flight_are_bounded_and_in_order(void **state)
{
    (void)state;
    struct forward *f = start(1);
    for (unsigned i = 0; i < FORWARD_IN_FLIGHT + 5; i++)
        add(f, i);
    assert_int_equal(fake.call_count, FORWARD_IN_FLIGHT);
    for (unsigned i = 0; i < FORWARD_IN_FLIGHT + 5; i++) {
        Vivace__PushRequest *r = unpack(i);
        assert_int_equal(r->part, i);
        vivace__push_request__free_unpacked(r, NULL);
        fake_answer(i, ERR_OK, SLICE_NONE);
    }
    assert_int_equal(forward_bytes(f), 0);
    forward_free(f);
    fake_release();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_until_acknowledged),
        cmocka_unit_test(test_a_lost_answer_is_asked_for_where_it_was_lost),
        cmocka_unit_test(test_doubt_holds_up_nobody),
        cmocka_unit_test(test_doubt_is_given_up_and_counted),
        cmocka_unit_test(test_waits_for_the_first_generator),
        cmocka_unit_test(test_overflow_is_dropped_and_counted),
        cmocka_unit_test(test_what_is_refused_for_good_is_dropped),
        cmocka_unit_test(test_calls_in_flight_are_bounded_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
