#include "distributor/reply.h"

#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/base/utf8.h"
#include "common/codec/otlp_write.h"
#include "common/net/grpc.h"
#include "distributor/grpc_frame.h"

enum { BODY_BYTES_MAX = 16 << 10 };

static void put_json_text(struct buf *out, const char *text)
{
    struct slice s = slice_str(text);

    buf_append_byte(out, '"');
    while (s.len > 0) {
        size_t len = utf8_char_bytes(s);
        if (len == 0) { /* a text that was cut in the middle of a character */
            buf_append_str(out, "\\ufffd");
            len = 1;
        } else if (s.ptr[0] == '"' || s.ptr[0] == '\\') {
            buf_appendf(out, "\\%c", (char)s.ptr[0]);
        } else if (s.ptr[0] < 0x20) {
            buf_appendf(out, "\\u%04x", (unsigned)s.ptr[0]);
        } else {
            buf_append(out, slice_sub(s, 0, len));
        }
        s = slice_sub(s, len, s.len);
    }
    buf_append_byte(out, '"');
}

void reply_body_pb(const struct verdict *v, struct buf *out)
{
    if (v->code != VERDICT_OK) {
        grpc_frame_status(v, out);
        return;
    }
    size_t partial = pb_begin(out, 1);
    if (v->rejected_spans > 0) {
        pb_varint(out, 1, v->rejected_spans);
        pb_bytes(out, 2, slice_str(v->text));
    }
    pb_end(out, partial);
}

void reply_body_json(const struct verdict *v, struct buf *out)
{
    if (v->code == VERDICT_OK && v->rejected_spans == 0) {
        buf_append_str(out, "{\"partialSuccess\":{}}");
        return;
    }
    if (v->code == VERDICT_OK)
        buf_appendf(out, "{\"partialSuccess\":{\"rejectedSpans\":\"%u\",\"errorMessage\":",
                    v->rejected_spans);
    else
        buf_appendf(out, "{\"code\":%d,\"message\":", (int)v->code);
    put_json_text(out, v->text);
    if (v->code != VERDICT_OK && v->retry_ns > 0) {
        buf_append_str(
            out,
            ",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"");
        num_append_double_f(out, (double)v->retry_ns / (double)NS_PER_S);
        buf_append_str(out, "s\"}]");
    }
    buf_append_str(out, v->code == VERDICT_OK ? "}}" : "}");
}

static void reply_grpc_ok(struct http_req *req, const struct verdict *v)
{
    static const struct http_header headers[] = {{"content-type", "application/grpc"}};
    static const struct http_header trailers[] = {{"grpc-status", "0"}};
    struct buf body;

    buf_init(&body, BODY_BYTES_MAX);
    size_t mark = grpc_message_open(&body);
    reply_body_pb(v, &body);
    grpc_message_close(&body, mark);
    if (buf_err(&body) == ERR_OK) {
        http_reply(req, &(struct http_reply){.status = 200,
                                             .headers = headers,
                                             .header_count = 1,
                                             .body = &body,
                                             .trailers = trailers,
                                             .trailer_count = 1});
    } else {
        /* Stored, but no memory to say so: the client may send it again, and its copy will be known. */
        static const struct http_header failed[] = {{"content-type", "application/grpc"},
                                                    {"grpc-status", "14"}};
        http_reply(req, &(struct http_reply){.status = 200, .headers = failed, .header_count = 2});
    }
    buf_release(&body);
}

void reply_grpc(struct http_req *req, const struct verdict *v)
{
    struct buf message, status, details;
    char code[12];

    if (v->code == VERDICT_OK) {
        reply_grpc_ok(req, v);
        return;
    }
    buf_init(&message, BODY_BYTES_MAX);
    buf_init(&status, BODY_BYTES_MAX);
    buf_init(&details, BODY_BYTES_MAX);
    grpc_escape(slice_str(v->text), &message);
    (void)snprintf(code, sizeof code, "%d", (int)v->code);
    struct http_header headers[4] = {{"content-type", "application/grpc"}, {"grpc-status", code}};
    unsigned count = 2;
    if (buf_err(&message) == ERR_OK)
        headers[count++] = (struct http_header){"grpc-message", (const char *)message.ptr};
    if (v->retry_ns > 0) {
        grpc_frame_status(v, &status);
        grpc_frame_base64(buf_slice(&status), &details);
        if (buf_err(&status) == ERR_OK && buf_err(&details) == ERR_OK)
            headers[count++] =
                (struct http_header){"grpc-status-details-bin", (const char *)details.ptr};
    }
    http_reply(req, &(struct http_reply){.status = 200, .headers = headers, .header_count = count});
    buf_release(&message);
    buf_release(&status);
    buf_release(&details);
}

void reply_http(struct http_req *req, const struct verdict *v, bool is_json)
{
    struct http_header headers[2] = {
        {"content-type", is_json ? "application/json" : "application/x-protobuf"}};
    unsigned count = 1;
    char retry_after[24];
    struct buf body;

    if (v->code != VERDICT_OK && v->retry_ns > 0) {
        (void)snprintf(retry_after, sizeof retry_after, "%lld",
                       (long long)((v->retry_ns + NS_PER_S - 1) / NS_PER_S));
        headers[count++] = (struct http_header){"retry-after", retry_after};
    }
    buf_init(&body, BODY_BYTES_MAX);
    if (is_json)
        reply_body_json(v, &body);
    else
        reply_body_pb(v, &body);
    unsigned status = buf_err(&body) == ERR_OK ? verdict_http_status(v) : 503;
    http_reply(req,
               &(struct http_reply){
                   .status = status, .headers = headers, .header_count = count, .body = &body});
    buf_release(&body);
}
