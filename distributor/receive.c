#include "distributor/receive.h"

#include "common/codec/otlp.h"
#include "common/codec/otlp_json.h"
#include "common/net/grpc.h"
#include "common/obs/log.h"
#include "distributor/push.h"
#include "distributor/reply.h"
#include "distributor/split.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stddef.h>

enum {
    WORKER_BYTES_MIN = 256 << 10, /* larger bodies are prepared off the loop */
    REQUEST_BYTES_MAX = 64 << 20
};

struct intake {
    struct loop_msg msg; /* back from a worker */
    struct work work;
    struct receive_shared *shared;
    struct loop *loop;
    struct http_req *req;
    enum stats_transport transport;
    bool is_json, is_kept_from_generators;
    struct slice message; /* as received */
    enum inflate_kind kind;
    char tenant_id[TENANT_ID_BYTES_MAX + 1];
    struct tenant *tenant;
    struct arena arena;
    struct buf inflated, converted;
    size_t converted_drawn; /* from the budget */
    struct slice request;   /* OTLP protobuf */
    uint32_t span_count;
    struct split split;
    struct push push;
    int64_t started_ns, deadline_ns; /* mono */
    int64_t received_ns;             /* wall */
    bool is_pushing;                 /* prepared, and there is something to push */
    struct verdict verdict;
};

static struct log_rate refused_log;

static void answer(struct intake *in)
{
    const struct verdict *v = &in->verdict;
    uint32_t refused = v->code != VERDICT_OK ? in->span_count : v->rejected_spans;

    metric_add(stats.refused[in->transport], refused);
    metric_add(stats.accepted[in->transport],
               in->span_count - (refused < in->span_count ? refused : in->span_count));
    metric_observe(stats.push_duration,
                   (double)(clock_mono_ns(in->shared->clock) - in->started_ns) / (double)NS_PER_S);
    uint64_t suppressed = 0;
    if (refused > 0 && log_rate_allow(&refused_log, NS_PER_S, &suppressed))
        log_warn("spans_refused", LOG_STR("tenant", in->tenant_id),
                 LOG_INT("code", (int64_t)v->code), LOG_UINT("spans", refused),
                 LOG_STR("text", v->text), LOG_UINT("suppressed", suppressed));
    if (in->transport == STATS_GRPC)
        reply_grpc(in->req, v);
    else
        reply_http(in->req, v, in->is_json);
    budget_give(in->shared->budget, in->inflated.cap + in->converted_drawn);
    buf_release(&in->inflated);
    buf_release(&in->converted);
    arena_release(&in->arena);
    free(in);
}

/* Spans refused here and by the ingesters, as words; the counters of discarded spans. */
static void add_reason(struct intake *in, uint32_t spans, const char *reason, const char *format,
                       ...) __attribute__((format(printf, 4, 5)));
static void add_reason(struct intake *in, uint32_t spans, const char *reason, const char *format,
                       ...)
{
    struct verdict *v = &in->verdict;
    size_t len = strlen(v->text);
    va_list ap;

    if (spans == 0)
        return;
    stats_discarded(reason, in->tenant_id, spans);
    v->rejected_spans += spans;
    if (len > 0 && len + 3 < sizeof v->text) {
        memcpy(v->text + len, "; ", 3);
        len += 2;
    }
    va_start(ap, format);
    (void)vsnprintf(v->text + len, sizeof v->text - len, format, ap); /* cut if longer */
    va_end(ap);
}

static void add_split_rejects(struct intake *in)
{
    const struct split *s = &in->split;

    add_reason(in, s->rejected[SPLIT_REJECT_TRACE_ID], "invalid_trace_id",
               "trace ids must be 128 bit%s, received %zu bits",
               s->is_first_reject_zero[SPLIT_REJECT_TRACE_ID] ? " and not all zero" : "",
               s->first_reject_bits[SPLIT_REJECT_TRACE_ID]);
    add_reason(in, s->rejected[SPLIT_REJECT_SPAN_ID], "invalid_span_id",
               "span ids must be 64 bit and not all zero, received %zu bits",
               s->first_reject_bits[SPLIT_REJECT_SPAN_ID]);
}

static void add_push_refusals(struct intake *in)
{
    const struct push_refused *r = &in->push.refused;
    struct overrides_hold h = overrides_get(in->shared->overrides, slice_str(in->tenant_id));
    char hex[PUSH_REASONS][TRACE_ID_HEX + 1];

    for (unsigned i = 0; i < PUSH_REASONS; i++)
        trace_id_to_hex(r->first[i], hex[i]);
    add_reason(in, r->spans[PUSH_TRACE_TOO_LARGE], "trace_too_large",
               "TRACE_TOO_LARGE: max size of trace (%llu) exceeded by trace %s of tenant %s",
               (unsigned long long)h.limits->max_bytes_per_trace, hex[PUSH_TRACE_TOO_LARGE],
               in->tenant_id);
    add_reason(
        in, r->spans[PUSH_LIVE_TRACES_EXCEEDED], "live_traces_exceeded",
        "LIVE_TRACES_EXCEEDED: max live traces exceeded for tenant %s: per-user traces limit (local: %lld)",
        in->tenant_id, (long long)h.limits->max_traces_per_user);
    add_reason(in, r->spans[PUSH_INVALID_SPAN_ID], "invalid_span_id", "invalid span id in trace %s",
               hex[PUSH_INVALID_SPAN_ID]);
    add_reason(in, r->spans[PUSH_UNKNOWN_ERROR], "unknown_error",
               "spans of trace %s and others refused by the ingester", hex[PUSH_UNKNOWN_ERROR]);
    overrides_put(&h);
}

static uint32_t place_one(void *arg, struct trace_id id, const struct peers *peers)
{
    const struct intake *in = arg;
    unsigned found;

    return peers->place(peers->arg, slice_str(in->tenant_id), id, &found, 1) == 0 ? SPLIT_NOWHERE
                                                                                  : found;
}

static uint32_t place_ingester(void *arg, struct trace_id id)
{
    const struct intake *in = arg;
    return place_one(arg, id, &in->shared->ingesters);
}

static uint32_t place_generator(void *arg, struct trace_id id)
{
    const struct intake *in = arg;
    return place_one(arg, id, &in->shared->generators);
}

/* Would a generator make something of the tenant's spans? */
static bool has_processors(const struct intake *in)
{
    struct overrides_hold h = overrides_get(in->shared->overrides, slice_str(in->tenant_id));
    bool has = h.limits->processors.count > 0;

    overrides_put(&h);
    return has;
}

/* After success only: what a client will send again must not be counted twice. */
static void hand_over(struct intake *in)
{
    struct forward *forward = in->shared->forward;

    if (forward == NULL || in->is_kept_from_generators || !has_processors(in))
        return;
    enum err e = split_route(&in->split, place_generator, in);
    if (e == ERR_UNAVAILABLE) {
        /* None is there now: the lane keeps it as one and finds an owner by its first trace when there is one. */
        e = split_route(&in->split, split_place_first, in);
    }
    if (e != ERR_OK) {
        metric_add(stats.generator_dropped[STATS_DROP_NO_MEMORY], in->split.span_count);
        return;
    }
    forward_add(forward, in->push.batch_id, slice_str(in->tenant_id), in->received_ns,
                in->split.parts, in->split.part_count);
}

static void on_pushed(struct push *p)
{
    struct intake *in = (struct intake *)(void *)((uint8_t *)p - offsetof(struct intake, push));

    if (p->failed_spans > 0) {
        verdict_set(&in->verdict, VERDICT_UNAVAILABLE, "%u of %u spans could not be stored: %s",
                    p->failed_spans, in->span_count, err_name(p->last_error));
        in->verdict.retry_ns = in->shared->config->retry_after_ns;
    } else {
        add_push_refusals(in);
        hand_over(in);
    }
    answer(in);
}

static void push_now(struct intake *in)
{
    struct receive_shared *shared = in->shared;
    struct push_setup setup = {.peers = &shared->ingesters,
                               .clock = shared->clock,
                               .loop = in->loop,
                               .post = loop_post,
                               .tenant = slice_str(in->tenant_id),
                               .received_ns = in->received_ns,
                               .deadline_ns = in->deadline_ns,
                               .first_attempt_timeout_ns =
                                   shared->config->distributor_first_attempt_timeout_ns,
                               .finished = on_pushed,
                               .observe = stats_ingester_append};
    struct err_detail none = {0};

    enum err e = push_start(&in->push, &setup, &in->arena, in->split.parts, in->split.part_count);
    if (e == ERR_OK)
        return; /* on_pushed answers, or has answered */
    verdict_of_err(&in->verdict, e, &none, shared->config->retry_after_ns);
    answer(in);
}

/* --- preparing: on the loop or on a worker; sets the verdict, or is_pushing --------------------------------- */

static enum err read_body(struct intake *in, struct err_detail *detail)
{
    struct slice bytes = in->message;

    if (in->kind != INFLATE_IDENTITY) {
        struct inflate_limits limits = inflate_limits_default;
        if (in->is_json)
            limits.out_bytes_max = OTLP_JSON_BYTES_MAX;
        enum err e = inflate_bytes(in->kind, in->message, &limits, in->shared->budget,
                                   &in->inflated, detail);
        if (e != ERR_OK)
            return e;
        bytes = buf_slice(&in->inflated);
    }
    if (in->is_json) {
        enum err e = budget_take(in->shared->budget, bytes.len);
        if (e != ERR_OK)
            return e;
        in->converted_drawn = bytes.len;
        e = otlp_json_to_pb(bytes, in->shared->budget, &in->converted, detail);
        if (e != ERR_OK)
            return e;
        bytes = buf_slice(&in->converted);
    }
    in->request = bytes;
    uint32_t spans = 0;
    enum err e = otlp_check(bytes, &otlp_limits_default, &spans, detail);
    if (e == ERR_OK)
        in->span_count = spans;
    return e;
}

/* The bucket: false and a verdict when the batch does not fit. */
static bool may_pass(struct intake *in)
{
    struct err_detail detail = {0};

    metric_add(in->tenant->ingress_bytes, (double)in->request.len);
    struct overrides_hold h = overrides_get(in->shared->overrides, slice_str(in->tenant_id));
    enum err e = tenants_take(in->shared->tenants, in->tenant, h.limits, in->request.len, &detail);
    overrides_put(&h);
    if (e == ERR_OK) {
        metric_add(in->tenant->spans_received, in->span_count);
        metric_add(in->tenant->bytes_received, (double)in->request.len);
        return true;
    }
    metric_add(in->tenant->rate_limited, in->span_count);
    verdict_set(&in->verdict, VERDICT_EXHAUSTED, "%s", detail.text);
    /* A batch over the burst never fits: to say "later" would make the client send it for ever. */
    in->verdict.retry_ns = e == ERR_LIMIT ? in->shared->config->retry_after_ns : 0;
    return false;
}

static void prepare(struct intake *in)
{
    struct err_detail detail = {0};
    int64_t retry_ns = in->shared->config->retry_after_ns;

    enum err e = read_body(in, &detail);
    if (e != ERR_OK) {
        verdict_of_err(&in->verdict, e, &detail, retry_ns);
        return;
    }
    if (in->span_count == 0 || !may_pass(in))
        return;
    e = split_begin(&in->arena, in->request, in->span_count, &in->split);
    if (e == ERR_OK)
        e = split_route(&in->split, place_ingester, in);
    if (e == ERR_UNAVAILABLE)
        (void)err_detail_set(&detail, e, "no ingester takes writes now");
    if (e != ERR_OK) {
        verdict_of_err(&in->verdict, e, &detail, retry_ns);
        return;
    }
    metric_observe(stats.traces_per_batch, in->split.trace_count);
    add_split_rejects(in);
    in->is_pushing = in->split.part_count > 0;
}

static void go_on(struct intake *in)
{
    if (in->is_pushing && atomic_load_explicit(http_req_gone(in->req), memory_order_relaxed)) {
        verdict_set(&in->verdict, VERDICT_CANCELED, "the client has left");
        in->is_pushing = false;
    }
    if (in->is_pushing)
        push_now(in);
    else
        answer(in);
}

static void on_prepared(struct loop_msg *m)
{
    go_on((struct intake *)m);
}

static void prepare_on_worker(struct work *w)
{
    struct intake *in = (struct intake *)(void *)((uint8_t *)w - offsetof(struct intake, work));

    prepare(in);
    in->msg.run = on_prepared;
    loop_post(in->loop, &in->msg);
}

static struct loop *own_loop(const struct receive_shared *shared)
{
    for (unsigned i = 0; i < shared->loop_count; i++) {
        if (loop_is_mine(shared->loops[i]))
            return shared->loops[i];
    }
    assert(!"a request must be handled on one of the loops");
    return NULL;
}

static void begin(struct intake *in)
{
    struct workers *workers = atomic_load_explicit(&in->shared->workers, memory_order_acquire);

    in->work.run = prepare_on_worker;
    if (in->message.len >= WORKER_BYTES_MIN && workers != NULL &&
        workers_run(workers, &in->work) == ERR_OK)
        return;
    prepare(in);
    go_on(in);
}

/* --- opening: what either protocol puts around the message ---------------------------------------------------- */

static struct intake *open_intake(struct receive_shared *shared, struct http_req *req,
                                  enum stats_transport transport)
{
    struct intake *in = calloc(1, sizeof *in);

    if (in == NULL)
        return NULL;
    in->shared = shared;
    in->loop = own_loop(shared);
    in->req = req;
    in->transport = transport;
    arena_init(&in->arena, shared->budget);
    buf_init(&in->inflated, REQUEST_BYTES_MAX);
    buf_init(&in->converted, REQUEST_BYTES_MAX);
    in->started_ns = clock_mono_ns(shared->clock);
    in->received_ns = clock_wall_ns(shared->clock);
    in->deadline_ns = in->started_ns + shared->config->distributor_request_timeout_ns;
    in->is_kept_from_generators = http_req_header_count(req, "no-generate-metrics") > 0;
    return in;
}

/* Missing or several ids are a plain error, which receivers make retryable; a bad one is the client's fault. */
static bool find_tenant(struct intake *in)
{
    struct err_detail detail = {0};
    enum err e = ERR_UNAUTHENTICATED;

    if (!in->shared->config->multitenancy_enabled ||
        http_req_header_count(in->req, "x-scope-orgid") <= 1)
        e = app_tenant(in->shared->config, in->req, in->tenant_id, &detail);
    if (e == ERR_OK)
        e = tenants_get(in->shared->tenants, in->tenant_id, &in->tenant, &detail);
    if (e == ERR_UNAUTHENTICATED)
        verdict_set(&in->verdict, VERDICT_UNAVAILABLE, "no org id");
    else if (e != ERR_OK)
        verdict_of_err(&in->verdict, e, &detail, in->shared->config->retry_after_ns);
    return e == ERR_OK;
}

/* Routes of the one service; false and a verdict for any other. */
static bool is_export(struct slice path, struct verdict *v)
{
    static const char service[] = "/opentelemetry.proto.collector.trace.v1.TraceService/";
    struct slice prefix = {(const uint8_t *)service, sizeof service - 1};

    if (slice_has_prefix(path, prefix)) {
        struct slice method = slice_sub(path, prefix.len, path.len);
        if (slice_eq_str(method, "Export"))
            return true;
        verdict_set(v, VERDICT_UNIMPLEMENTED,
                    "unknown method " SLICE_FMT
                    " for service opentelemetry.proto.collector.trace.v1.TraceService",
                    SLICE_ARG(slice_sub(method, 0, 200)));
        return false;
    }
    const uint8_t *slash = path.len > 1 ? memrchr(path.ptr, '/', path.len) : NULL;
    if (slash == NULL || slash == path.ptr)
        verdict_set(v, VERDICT_UNIMPLEMENTED, "malformed method name: \"" SLICE_FMT "\"",
                    SLICE_ARG(slice_sub(path, 0, 200)));
    else
        verdict_set(
            v, VERDICT_UNIMPLEMENTED, "unknown service " SLICE_FMT,
            SLICE_ARG(slice_sub(
                path, 1, (size_t)(slash - path.ptr) > 200 ? 200 : (size_t)(slash - path.ptr))));
    return false;
}

static bool open_grpc(struct intake *in)
{
    struct http_req *req = in->req;
    const struct config *config = in->shared->config;

    if (!is_export(http_req_path(req), &in->verdict))
        return false;
    if (http_req_is_too_large(req)) {
        verdict_set(&in->verdict, VERDICT_EXHAUSTED,
                    "grpc: received message larger than max (%llu)",
                    (unsigned long long)config->otlp_grpc.max_recv_msg_bytes);
        return false;
    }
    struct err_detail detail = {0};
    unsigned code;
    if (!grpc_message_read(http_req_body(req), http_req_header(req, "grpc-encoding"), &in->message,
                           &in->kind, &code, &detail)) {
        verdict_set(&in->verdict, (enum verdict_code)code, "%s", detail.text);
        return false;
    }
    int64_t timeout_ns = grpc_timeout_ns(http_req_header(req, "grpc-timeout"));
    if (timeout_ns >= 0 && timeout_ns < in->deadline_ns - in->started_ns)
        in->deadline_ns = in->started_ns + timeout_ns;
    return find_tenant(in);
}

void receive_grpc(void *arg, struct http_req *req)
{
    if (!http_req_is_http2(req)) {
        http_reply_text(req, 505, "text/plain; charset=utf-8", "gRPC requires HTTP/2\n");
        return;
    }
    struct slice type = http_req_header(req, "content-type");
    if (!slice_eq_str(http_req_method(req), "POST")) {
        http_reply_text(req, 405, "text/plain; charset=utf-8", "gRPC requests are POST\n");
        return;
    }
    if (!grpc_is_type(type)) {
        http_reply_text(req, 415, "text/plain; charset=utf-8",
                        "invalid gRPC request content-type \"" SLICE_FMT "\"\n",
                        SLICE_ARG(slice_sub(type, 0, 100)));
        return;
    }
    struct intake *in = open_intake(arg, req, STATS_GRPC);
    if (in == NULL) {
        struct verdict v;
        verdict_set(&v, VERDICT_EXHAUSTED, "no memory");
        reply_grpc(req, &v);
    } else if (open_grpc(in)) {
        begin(in);
    } else {
        answer(in);
    }
}

/* The media type alone, without parameters: 1 JSON, 0 protobuf, -1 anything else. */
static int http_media_type(struct slice type)
{
    static const char *const known[] = {"application/x-protobuf", "application/json"};
    const uint8_t *end = type.len == 0 ? NULL : memchr(type.ptr, ';', type.len);
    size_t len = end == NULL ? type.len : (size_t)(end - type.ptr);

    while (len > 0 && (type.ptr[len - 1] == ' ' || type.ptr[len - 1] == '\t'))
        len--;
    for (int i = 0; i < 2; i++) {
        size_t n = 0;
        if (strlen(known[i]) != len)
            continue;
        while (n < len && tolower(type.ptr[n]) == known[i][n])
            n++;
        if (n == len)
            return i;
    }
    return -1;
}

static bool open_http(struct intake *in)
{
    struct http_req *req = in->req;
    struct slice encoding = http_req_header(req, "content-encoding");

    if (!inflate_kind_of(encoding, &in->kind)) {
        verdict_set(&in->verdict, VERDICT_INVALID, "unsupported Content-Encoding: " SLICE_FMT,
                    SLICE_ARG(slice_sub(encoding, 0, 100)));
        return false;
    }
    if (http_req_is_too_large(req)) {
        verdict_set(&in->verdict, VERDICT_EXHAUSTED, "request body too large");
        in->verdict.http_status = 413;
        return false;
    }
    in->message = http_req_body(req);
    return find_tenant(in);
}

void receive_http(void *arg, struct http_req *req)
{
    if (!slice_eq_str(http_req_path(req), "/v1/traces")) {
        http_reply_text(req, 404, "text/plain; charset=utf-8", "404 page not found\n");
        return;
    }
    if (!slice_eq_str(http_req_method(req), "POST")) {
        http_reply_text(req, 405, "text/plain", "405 method not allowed, supported: [POST]");
        return;
    }
    int media = http_media_type(http_req_header(req, "content-type"));
    if (media < 0) {
        http_reply_text(
            req, 415, "text/plain",
            "415 unsupported media type, supported: [application/json, application/x-protobuf]");
        return;
    }
    struct intake *in = open_intake(arg, req, STATS_HTTP);
    if (in == NULL) {
        struct verdict v;
        verdict_set(&v, VERDICT_UNAVAILABLE, "no memory");
        reply_http(req, &v, media == 1);
        return;
    }
    in->is_json = media == 1;
    if (open_http(in))
        begin(in);
    else
        answer(in);
}
