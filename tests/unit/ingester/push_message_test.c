#include "ingester/push_message.h"
#include "proto/push.pb-c.h"
#include "tests/lib/test.h"

#include <stdlib.h>

/* What protobuf-c writes from proto/push.proto is read, and the other way round. */
static size_t packed(uint8_t *out, const uint8_t *batch, size_t batch_len)
{
    Vivace__PushRequest r = VIVACE__PUSH_REQUEST__INIT;
    uint8_t id[32], tenant[] = "acme", target[] = "ingester-1", payload[] = "payload";

    memcpy(id, batch, batch_len);
    r.batch_id = (ProtobufCBinaryData){batch_len, id};
    r.part = 3;
    r.tenant = (ProtobufCBinaryData){4, tenant};
    r.attempt = 2;
    r.doubt = 1;
    r.first_target = (ProtobufCBinaryData){10, target};
    r.received_ns = 1790000000123456789ull;
    r.deadline_ms = 900;
    r.span_count = 12;
    r.payload = (ProtobufCBinaryData){7, payload};
    return vivace__push_request__pack(&r, out);
}

static void requests_are_read(void **state)
{
    static const uint8_t batch[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    uint8_t bytes[256];
    struct push_message m;
    (void)state;

    size_t n = packed(bytes, batch, 16);
    assert_int_equal(push_message_read((struct slice){bytes, n}, &m), ERR_OK);
    assert_memory_equal(m.batch_id, batch, 16);
    assert_int_equal(m.part, 3);
    assert_true(slice_eq_str(m.tenant, "acme"));
    assert_true(slice_eq_str(m.first_target, "ingester-1"));
    assert_true(slice_eq_str(m.payload, "payload"));
    assert_true(m.is_doubt);
    assert_int_equal(m.rank, 0);
    assert_int_equal(m.span_count, 12);
    assert_true(m.received_ns == 1790000000123456789ll);
    for (size_t cut = 0; cut < n; cut++) /* a cut one is refused, or lacks what comes later */
        assert_int_not_equal(push_message_read((struct slice){bytes, cut}, &m), ERR_LIMIT);
    n = packed(bytes, batch, 15);
    assert_int_equal(push_message_read((struct slice){bytes, n}, &m), ERR_INVALID);
    assert_int_equal(push_message_read(SLICE_NONE, &m), ERR_INVALID);
    assert_int_equal(push_message_read(SLICE_LIT("\xff\xff"), &m), ERR_FORMAT);
    assert_int_equal(push_message_read(SLICE_LIT("\x08\x01"), &m),
                     ERR_FORMAT); /* batch_id as a number */
}

static void replies_are_written(void **state)
{
    struct push_refusal refused[2] = {
        {.id = {{1, 2}}, .spans = 5, .reason = PUSH_TRACE_TOO_LARGE},
        {.id = {{3, 4}}, .spans = 1, .reason = PUSH_LIVE_TRACES_EXCEEDED}};
    struct buf b;
    (void)state;

    buf_init(&b, 4096);
    push_message_reply(&b, true, refused, 2);
    assert_int_equal(buf_err(&b), ERR_OK);
    Vivace__PushReply *r = vivace__push_reply__unpack(NULL, b.len, b.ptr);
    assert_non_null(r);
    assert_true(r->duplicate);
    assert_int_equal(r->n_refused, 2);
    assert_int_equal(r->refused[0]->spans, 5);
    assert_int_equal(r->refused[1]->reason, 2);
    assert_memory_equal(r->refused[1]->trace_id.data, refused[1].id.b, 16);
    vivace__push_reply__free_unpacked(r, NULL);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(requests_are_read),
                                       cmocka_unit_test(replies_are_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
