/* tempopb.StreamingQuerier: requests as parameters, answers as packets. */
#include "common/codec/otlp_write.h"
#include "common/codec/pb_field.h"
#include "common/net/grpc.h"
#include "querier/stream.h"
#include "tests/lib/test.h"

static const struct stream_method *method(const char *path)
{
    const struct stream_method *m = stream_method(slice_str(path));
    assert_non_null(m);
    return m;
}

static void request_is(const char *path, struct slice message, const char *want_query,
                       const char *want_argument)
{
    struct arena a;
    struct slice query, argument;

    arena_init(&a, NULL);
    assert_int_equal(stream_request(&a, method(path), message, &query, &argument), ERR_OK);
    if (!slice_eq_str(query, want_query))
        fail_msg(SLICE_FMT, SLICE_ARG(query));
    assert_true(slice_eq_str(argument, want_argument));
    arena_release(&a);
}

static void put_tag(struct buf *b, const char *key, const char *value)
{
    size_t mark = pb_begin(b, 1);
    pb_bytes(b, 1, slice_str(key));
    pb_bytes(b, 2, slice_str(value));
    pb_end(b, mark);
}

static void test_requests_become_parameters(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 1000);
    request_is("/tempopb.StreamingQuerier/Search", SLICE_NONE, "", "");
    pb_bytes(&b, 8, SLICE_LIT("{}"));
    pb_varint(&b, 4, 7);
    pb_varint(&b, 5, 100);
    pb_varint(&b, 6, 200);
    pb_varint(&b, 9, 3);
    pb_bytes(&b, 10, SLICE_LIT("what nobody reads"));
    request_is("/tempopb.StreamingQuerier/Search", buf_slice(&b),
               "q=%7B%7D&limit=7&start=100&end=200&spss=3", "");
    buf_reset(&b);
    put_tag(&b, "a", "x y");
    put_tag(&b, "b", "\"\\");
    pb_varint(&b, 2, 5);
    pb_varint(&b, 3, 10);
    request_is(
        "/tempopb.StreamingQuerier/Search", buf_slice(&b),
        "minDuration=5ms&maxDuration=10ms&tags=%61%3D%22%78%20%79%22%20%62%3D%22%5C%22%5C%5C%22",
        "");
    buf_reset(&b);
    pb_bytes(&b, 1, SLICE_LIT("span"));
    pb_varint(&b, 5, 9);
    request_is("/tempopb.StreamingQuerier/SearchTagsV2", buf_slice(&b),
               "scope=%73%70%61%6E&limit=9", "");
    buf_reset(&b);
    pb_bytes(&b, 1, SLICE_LIT(".a"));
    pb_varint(&b, 4, 1);
    pb_varint(&b, 5, 2);
    request_is("/tempopb.StreamingQuerier/SearchTagValuesV2", buf_slice(&b), "start=1&end=2", ".a");
    buf_reset(&b);
    pb_varint(&b, 2, 1700000000000000000);
    pb_varint(&b, 4, 60000000000);
    pb_varint(&b, 17, 4);
    request_is("/tempopb.StreamingQuerier/MetricsQueryRange", buf_slice(&b),
               "start=1700000000000000000&step=60000000000ns&maxSeries=4", "");
    buf_release(&b);
}

static void test_what_is_no_request(void **state)
{
    (void)state;
    struct arena a;
    struct slice query, argument;

    assert_null(stream_method(SLICE_LIT("/tempopb.StreamingQuerier/Nothing")));
    assert_null(stream_method(SLICE_LIT("/tempopb.Querier/Search")));
    assert_null(stream_method(SLICE_NONE));
    arena_init(&a, NULL);
    const struct stream_method *m = method("/tempopb.StreamingQuerier/Search");
    assert_int_equal(stream_request(&a, m, SLICE_LIT("\x42\x05{}"), &query, &argument), ERR_FORMAT);
    assert_int_equal(stream_request(&a, m, SLICE_LIT("\x0a\x02\x0a\x09"), &query, &argument),
                     ERR_FORMAT);
    arena_release(&a);
}

struct packets {
    unsigned count, elements, with_metrics, with_message;
};

static struct packets read_packets(struct slice s)
{
    struct packets p = {0};

    while (s.len > 0) {
        assert_true(s.len >= GRPC_PREFIX_BYTES);
        size_t len =
            (size_t)s.ptr[1] << 24 | (size_t)s.ptr[2] << 16 | (size_t)s.ptr[3] << 8 | s.ptr[4];
        assert_true(s.len - GRPC_PREFIX_BYTES >= len);
        struct reader r = reader_of(slice_sub(s, GRPC_PREFIX_BYTES, GRPC_PREFIX_BYTES + len));
        struct pb_field f;
        p.count++;
        while (pb_field_next(&r, &f)) {
            p.elements += f.number == 1;
            p.with_metrics += f.number == 2;
            p.with_message += f.number == 4;
        }
        assert_false(reader_failed(&r));
        s = slice_sub(s, GRPC_PREFIX_BYTES + len, s.len);
    }
    return p;
}

static void test_packets(void **state)
{
    (void)state;
    struct buf answer, out;

    buf_init(&answer, 10000);
    buf_init(&out, 10000);
    stream_packets(SLICE_NONE, 100, &out);
    assert_int_equal(read_packets(buf_slice(&out)).count, 1);
    buf_reset(&out);
    for (unsigned i = 0; i < 10; i++)
        pb_bytes(&answer, 1, SLICE_LIT("twenty bytes of this."));
    pb_bytes(&answer, 1,
             SLICE_LIT("one that is larger than a packet may be: ........................."
                       "................................................"));
    size_t mark = pb_begin(&answer, 2);
    pb_varint(&answer, 1, 77);
    pb_end(&answer, mark);
    pb_bytes(&answer, 4, SLICE_LIT("message"));
    stream_packets(buf_slice(&answer), 1000, &out);
    struct packets p = read_packets(buf_slice(&out));
    assert_int_equal(p.count, 1);
    assert_int_equal(p.elements, 11);
    assert_int_equal(p.with_metrics, 1);
    buf_reset(&out);
    stream_packets(buf_slice(&answer), 60, &out);
    p = read_packets(buf_slice(&out));
    assert_int_equal(p.count, 6);
    assert_int_equal(p.elements, 11);
    assert_int_equal(p.with_metrics, 6);
    assert_int_equal(p.with_message, 1);
    buf_reset(&out);
    stream_packets(buf_slice(&answer), 0, &out); /* no bound */
    p = read_packets(buf_slice(&out));
    assert_int_equal(p.count, 1);
    assert_int_equal(p.elements, 11);
    buf_release(&out);
    buf_release(&answer);
}

static void test_codes(void **state)
{
    (void)state;
    assert_int_equal(stream_code(ERR_INVALID), STREAM_INVALID);
    assert_int_equal(stream_code(ERR_NOT_FOUND), STREAM_NOT_FOUND);
    assert_int_equal(stream_code(ERR_LIMIT), STREAM_EXHAUSTED);
    assert_int_equal(stream_code(ERR_CANCELED), STREAM_CANCELED);
    assert_int_equal(stream_code(ERR_TIMEOUT), STREAM_INTERNAL);
    assert_int_equal(stream_code(ERR_UNSUPPORTED), STREAM_UNIMPLEMENTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_become_parameters),
        cmocka_unit_test(test_what_is_no_request),
        cmocka_unit_test(test_packets),
        cmocka_unit_test(test_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
