#include <protobuf-c/protobuf-c.h>

#include "distributor/push.h"
#include "proto/push.pb-c.h"
#include "tests/unit/distributor/fake_peers.h"

struct fixture {
    struct arena arena;
    struct push push;
    struct push_setup setup;
    struct split_part parts[3];
    struct slice pieces[2];
    unsigned finished, observed, observed_failures;
};

static struct fixture fx;

static void on_finished(struct push *p)
{
    assert_ptr_equal(p, &fx.push);
    fx.finished++;
}

static void on_observed(void *arg, const char *peer, enum err e)
{
    assert_ptr_equal(arg, &fx);
    assert_memory_equal(peer, "peer-", 5);
    fx.observed++;
    fx.observed_failures += e != ERR_OK;
}

/* `parts` parts of 10, 11, 12 spans; part i belongs to peer i. */
static void start(unsigned up_count, unsigned parts)
{
    memset(&fx, 0, sizeof fx);
    fake_init(up_count);
    arena_init(&fx.arena, NULL);
    fx.pieces[0] = SLICE_LIT("pay");
    fx.pieces[1] = SLICE_LIT("load");
    for (unsigned i = 0; i < parts; i++) {
        fx.parts[i] = (struct split_part){.target = i,
                                          .number = i,
                                          .span_count = 10 + i,
                                          .pieces = fx.pieces,
                                          .piece_count = 2,
                                          .bytes = 7};
        fx.parts[i].first_trace.b[TRACE_ID_BYTES - 1] = (uint8_t)i;
    }
    fx.setup = (struct push_setup){.peers = &fake.peers,
                                   .clock = &fake.clock.clock,
                                   .post = fake_post,
                                   .tenant = SLICE_LIT("tenant-a"),
                                   .received_ns = 77,
                                   .deadline_ns = clock_mono_ns(&fake.clock.clock) + 5 * NS_PER_S,
                                   .first_attempt_timeout_ns = NS_PER_S,
                                   .finished = on_finished,
                                   .observe = on_observed,
                                   .observe_arg = &fx};
    assert_int_equal(push_start(&fx.push, &fx.setup, &fx.arena, fx.parts, parts), ERR_OK);
}

static void end(void)
{
    arena_release(&fx.arena);
    fake_release();
}

/* By the library that the ingester reads it with. */
static Vivace__PushRequest *unpack(unsigned call)
{
    Vivace__PushRequest *r =
        vivace__push_request__unpack(NULL, fake.calls[call].bytes.len, fake.calls[call].bytes.ptr);
    assert_non_null(r);
    return r;
}

static void test_all_parts_kept_is_success(void **state)
{
    (void)state;
    start(3, 3);
    assert_int_equal(fake.call_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        Vivace__PushRequest *r = unpack(i);
        assert_int_equal(fake.calls[i].index, i);
        assert_int_equal(fake.calls[i].method, RPC_PUSH);
        assert_true(fake.calls[i].timeout_ns == NS_PER_S);
        assert_int_equal(r->batch_id.len, 16);
        assert_memory_equal(r->batch_id.data, fx.push.batch_id, 16);
        assert_int_equal(r->part, i);
        assert_int_equal(r->attempt, 0);
        assert_false(r->doubt);
        assert_int_equal(r->first_target.len, 0);
        assert_int_equal(r->received_ns, 77);
        assert_int_equal(r->deadline_ms, 1000);
        assert_int_equal(r->span_count, 10 + i);
        assert_memory_equal(r->tenant.data, "tenant-a", r->tenant.len);
        assert_int_equal(r->payload.len, 7);
        assert_memory_equal(r->payload.data, "payload", 7);
        vivace__push_request__free_unpacked(r, NULL);
    }
    fake_answer(2, ERR_OK, SLICE_NONE);
    fake_answer(0, ERR_OK, SLICE_NONE);
    assert_int_equal(fx.finished, 0); /* one is still open */
    fake_answer(1, ERR_OK, SLICE_NONE);
    assert_int_equal(fx.finished, 1);
    assert_int_equal(fx.push.stored_spans, 33);
    assert_int_equal(fx.push.failed_spans, 0);
    assert_int_equal(fx.observed, 3);
    assert_int_equal(fx.observed_failures, 0);
    end();
}

static void test_no_answer_moves_on_with_doubt(void **state)
{
    (void)state;
    start(3, 1);
    fake_answer(0, ERR_TIMEOUT, SLICE_NONE);
    assert_int_equal(fake.call_count, 2);
    assert_int_equal(fake.reports[0], 1);
    Vivace__PushRequest *r = unpack(1);
    assert_int_equal(fake.calls[1].index, 1);
    assert_true(r->doubt);
    assert_int_equal(r->attempt, 1);
    assert_int_equal(r->part, 0);
    assert_memory_equal(r->batch_id.data, fx.push.batch_id, 16);
    assert_int_equal(r->first_target.len, 6);
    assert_memory_equal(r->first_target.data, "peer-0", 6);
    vivace__push_request__free_unpacked(r, NULL);
    fake_answer(1, ERR_UNAVAILABLE, SLICE_NONE);
    r = unpack(2);
    assert_memory_equal(r->first_target.data, "peer-0", 6); /* the first one, still */
    assert_int_equal(r->attempt, 2);
    vivace__push_request__free_unpacked(r, NULL);
    fake_answer(2, ERR_OK, SLICE_NONE);
    assert_int_equal(fx.finished, 1);
    assert_int_equal(fx.push.stored_spans, 10);
    assert_int_equal(fx.observed_failures, 2);
    end();
}

static void test_a_sure_refusal_moves_on_without_doubt(void **state)
{
    (void)state;
    start(2, 1);
    fake_answer(0, ERR_FULL, SLICE_NONE);
    assert_int_equal(fake.call_count, 2);
    Vivace__PushRequest *r = unpack(1);
    assert_false(r->doubt);
    assert_int_equal(r->first_target.len, 0);
    vivace__push_request__free_unpacked(r, NULL);
    assert_int_equal(fake.reports[0], 0);
    fake_answer(1, ERR_OK, SLICE_NONE);
    assert_int_equal(fx.push.stored_spans, 10);
    end();
}

static void test_nobody_kept_it_is_a_failure(void **state)
{
    (void)state;
    start(4, 1);
    fake_answer(0, ERR_TIMEOUT, SLICE_NONE);
    fake_answer(1, ERR_IO, SLICE_NONE);
    fake_answer(2, ERR_LIMIT, SLICE_NONE);
    assert_int_equal(fake.call_count, 3); /* never a fourth */
    assert_int_equal(fx.finished, 1);
    assert_int_equal(fx.push.stored_spans, 0);
    assert_int_equal(fx.push.failed_spans, 10);
    assert_int_equal(fx.push.last_error, ERR_LIMIT);
    end();
}

static void test_one_part_lost_fails_only_its_spans(void **state)
{
    (void)state;
    start(3, 3);
    for (unsigned i = 0; i < FAKE_PEERS; i++)
        fake.refuse[i] = ERR_UNAVAILABLE; /* for the attempts that follow */
    fake_answer(0, ERR_OK, SLICE_NONE);
    fake_answer(1, ERR_TIMEOUT, SLICE_NONE);
    fake_answer(2, ERR_OK, SLICE_NONE);
    assert_int_equal(fx.finished, 1);
    assert_int_equal(fx.push.stored_spans, 22);
    assert_int_equal(fx.push.failed_spans, 11);
    end();
}

static void test_lanes_that_refuse_at_once_are_skipped(void **state)
{
    (void)state;
    memset(&fx, 0, sizeof fx);
    start(3, 1);
    fake_answer(0, ERR_OK, SLICE_NONE);
    end();
    /* Now the owner's lane is full from the beginning. */
    fake_init(3);
    fake.refuse[0] = ERR_FULL;
    arena_init(&fx.arena, NULL);
    fx.finished = 0;
    assert_int_equal(push_start(&fx.push, &fx.setup, &fx.arena, fx.parts, 1), ERR_OK);
    assert_int_equal(fake.call_count, 1);
    assert_int_equal(fake.calls[0].index, 1);
    Vivace__PushRequest *r = unpack(0);
    assert_false(r->doubt);
    vivace__push_request__free_unpacked(r, NULL);
    fake_answer(0, ERR_OK, SLICE_NONE);
    assert_int_equal(fx.finished, 1);
    end();
    /* And all of them: finished before push_start returns. */
    fake_init(3);
    for (unsigned i = 0; i < FAKE_PEERS; i++)
        fake.refuse[i] = ERR_FULL;
    arena_init(&fx.arena, NULL);
    fx.finished = 0;
    assert_int_equal(push_start(&fx.push, &fx.setup, &fx.arena, fx.parts, 1), ERR_OK);
    assert_int_equal(fx.finished, 1);
    assert_int_equal(fx.push.failed_spans, 10);
    assert_int_equal(fx.push.last_error, ERR_FULL);
    end();
}

static void test_time_is_shared_by_the_attempts(void **state)
{
    (void)state;
    start(3, 1);
    assert_true(fake.calls[0].timeout_ns == NS_PER_S);
    fake_clock_advance(&fake.clock, NS_PER_S);
    fake_answer(0, ERR_TIMEOUT, SLICE_NONE);
    assert_true(fake.calls[1].timeout_ns == NS_PER_S);
    fake_clock_advance(&fake.clock, NS_PER_S);
    fake_answer(1, ERR_TIMEOUT, SLICE_NONE);
    assert_true(fake.calls[2].timeout_ns == 3 * NS_PER_S); /* the last one has all that is left */
    end();
    start(1, 1);
    assert_true(fake.calls[0].timeout_ns == 5 * NS_PER_S); /* there is nobody else to ask */
    end();
    start(3, 1);
    fake_clock_advance(&fake.clock, 5 * NS_PER_S);
    fake_answer(0, ERR_UNAVAILABLE, SLICE_NONE);
    assert_int_equal(fake.call_count, 1); /* too late for another */
    assert_int_equal(fx.push.failed_spans, 10);
    assert_int_equal(fx.push.last_error, ERR_TIMEOUT);
    end();
}

static void put_refusal(struct buf *b, const char *trace, uint32_t spans, uint32_t reason)
{
    size_t mark = pb_begin(b, 2);
    pb_bytes(b, 1, slice_str(trace));
    pb_varint(b, 2, spans);
    pb_varint(b, 3, reason);
    pb_end(b, mark);
}

static void test_refused_spans_are_counted_by_reason(void **state)
{
    (void)state;
    struct buf reply;
    buf_init(&reply, 4096);
    start(2, 2);
    pb_varint(&reply, 1, 1);
    put_refusal(&reply, "0123456789abcdef", 2, PUSH_TRACE_TOO_LARGE);
    put_refusal(&reply, "fedcba9876543210", 3, PUSH_TRACE_TOO_LARGE);
    put_refusal(&reply, "0123456789abcdef", 1, 99); /* of a newer ingester */
    fake_answer(0, ERR_OK, buf_slice(&reply));
    buf_reset(&reply);
    put_refusal(&reply, "0000000000000001", 4, PUSH_LIVE_TRACES_EXCEEDED);
    fake_answer(1, ERR_OK, buf_slice(&reply));
    assert_int_equal(fx.finished, 1);
    assert_int_equal(fx.push.refused.spans[PUSH_TRACE_TOO_LARGE], 5);
    assert_memory_equal(fx.push.refused.first[PUSH_TRACE_TOO_LARGE].b, "0123456789abcdef", 16);
    assert_int_equal(fx.push.refused.spans[PUSH_UNKNOWN_ERROR], 1);
    assert_int_equal(fx.push.refused.spans[PUSH_LIVE_TRACES_EXCEEDED], 4);
    assert_int_equal(fx.push.stored_spans, 21 - 10);
    assert_int_equal(fx.push.failed_spans, 0);
    end();
    buf_release(&reply);
}

static void test_a_part_refused_for_good_is_not_tried_again(void **state)
{
    (void)state;
    start(3, 1);
    fake_answer(0, ERR_FORMAT, SLICE_LIT("bad payload"));
    assert_int_equal(fake.call_count, 1);
    assert_int_equal(fx.push.refused.spans[PUSH_UNKNOWN_ERROR], 10);
    assert_int_equal(fx.push.stored_spans, 0);
    assert_int_equal(fx.push.failed_spans, 0);
    end();
}

static void test_a_damaged_reply_is_doubt(void **state)
{
    (void)state;
    start(2, 1);
    fake_answer(0, ERR_OK, SLICE_LIT("\x12\x7f"));
    assert_int_equal(fake.call_count, 2);
    Vivace__PushRequest *r = unpack(1);
    assert_true(r->doubt);
    vivace__push_request__free_unpacked(r, NULL);
    fake_answer(1, ERR_OK, SLICE_NONE);
    assert_int_equal(fx.push.stored_spans, 10);
    end();
}

static void test_every_error_has_its_fate(void **state)
{
    (void)state;
    assert_int_equal(push_fate_of(ERR_OK), PUSH_FATE_KEPT);
    for (int e = 1; e < ERR_COUNT; e++)
        assert_int_not_equal(push_fate_of((enum err)e), PUSH_FATE_KEPT);
    assert_int_equal(push_fate_of(ERR_IO), PUSH_FATE_UNKNOWN);
    assert_int_equal(push_fate_of(ERR_CANCELED), PUSH_FATE_UNKNOWN);
    assert_int_equal(push_fate_of(ERR_FULL), PUSH_FATE_NOT_KEPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_parts_kept_is_success),
        cmocka_unit_test(test_no_answer_moves_on_with_doubt),
        cmocka_unit_test(test_a_sure_refusal_moves_on_without_doubt),
        cmocka_unit_test(test_nobody_kept_it_is_a_failure),
        cmocka_unit_test(test_one_part_lost_fails_only_its_spans),
        cmocka_unit_test(test_lanes_that_refuse_at_once_are_skipped),
        cmocka_unit_test(test_time_is_shared_by_the_attempts),
        cmocka_unit_test(test_refused_spans_are_counted_by_reason),
        cmocka_unit_test(test_a_part_refused_for_good_is_not_tried_again),
        cmocka_unit_test(test_a_damaged_reply_is_doubt),
        cmocka_unit_test(test_every_error_has_its_fate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
