/* otlp_one.h - requests of one span, put together from what a test says. */
#ifndef VIVACE_TESTS_OTLP_ONE_H
#define VIVACE_TESTS_OTLP_ONE_H

#include "common/base/clock.h"
#include "common/codec/otlp_json.h"
#include "tests/lib/test.h"

/* One span of a service that ends at end_ns; kind 2 server, 3 client.  `extra`: more fields of the span, as JSON, with a comma in front. */
static inline void otlp_one(struct buf *pb, const char *service, unsigned trace, unsigned span,
                            unsigned parent, int kind, int64_t end_ns, const char *extra)
{
    struct buf json;
    struct err_detail detail = {0};
    char parent_id[20] = "";

    if (parent != 0)
        (void)snprintf(parent_id, sizeof parent_id, "%016x", parent);
    buf_init(&json, 1 << 20);
    buf_appendf(
        &json,
        "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"%s\"}}]},\"scopeSpans\":[{\"spans\":[{"
        "\"traceId\":\"%032x\",\"spanId\":\"%016x\",\"parentSpanId\":\"%s\",\"name\":\"op\",\"kind\":%d,\"startTimeUnixNano\":\"%lld\",\"endTimeUnixNano\":\"%lld\"%s}]}]}]}",
        service, trace, span, parent_id, kind, (long long)(end_ns - 10 * NS_PER_MS),
        (long long)end_ns, extra);
    enum err e = otlp_json_to_pb(buf_slice(&json), NULL, pb, &detail);
    if (e != ERR_OK)
        fail_msg("%s", detail.text);
    buf_release(&json);
}

#endif
