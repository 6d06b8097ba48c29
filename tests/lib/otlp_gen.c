#include "tests/lib/otlp_gen.h"

#include "common/codec/otlp_write.h"

#include <math.h>
#include <stdarg.h>

enum { TEXT_MAX = 512 };

static const char *const services[OTLP_GEN_SERVICES] = {
    "gateway", "frontend", "checkout",       "cart", "payment", "shipping", "inventory", "catalog",
    "search",  "user",     "recommendation", "auth", "email",   "pricing",  "order",     "billing"};
static const char *const systems[] = {"postgresql", "mariadb", "redis", "mongodb"};
static const char *const tables[] = {"users",    "orders",   "items",  "stock",
                                     "payments", "sessions", "prices", "reviews"};
static const char *const methods[] = {"GET", "GET", "GET", "POST", "PUT", "DELETE"};
static const char *const routes[] = {
    "/", "/api/v1/%s/{id}", "/api/v1/%s", "/api/v1/%s/{id}/items", "/api/v2/%s/search", "/healthz"};
static const char *const agents[] = {"Mozilla/5.0 (X11; Linux x86_64) Firefox/141.0",
                                     "okhttp/4.12.0", "python-requests/2.32.3",
                                     "Go-http-client/2.0"};
#define PICK(g, list) (list)[rng_below(&(g)->rng, sizeof(list) / sizeof((list)[0]))]

static void key_begin(struct buf *b, uint32_t field, const char *key, size_t *mark,
                      size_t *value_mark)
{
    *mark = pb_begin(b, field);
    pb_bytes(b, 1, slice_str(key));
    *value_mark = pb_begin(b, 2);
}

static void key_end(struct buf *b, size_t mark, size_t value_mark)
{
    pb_end(b, value_mark);
    pb_end(b, mark);
}

static void put_str(struct buf *b, uint32_t field, const char *key, const char *value)
{
    size_t mark, value_mark;
    key_begin(b, field, key, &mark, &value_mark);
    pb_bytes(b, 1, slice_str(value));
    key_end(b, mark, value_mark);
}

static void put_int(struct buf *b, uint32_t field, const char *key, int64_t value)
{
    size_t mark, value_mark;
    key_begin(b, field, key, &mark, &value_mark);
    pb_varint(b, 3, (uint64_t)value);
    key_end(b, mark, value_mark);
}

static void put_bool(struct buf *b, uint32_t field, const char *key, bool value)
{
    size_t mark, value_mark;
    key_begin(b, field, key, &mark, &value_mark);
    pb_varint(b, 2, value);
    key_end(b, mark, value_mark);
}

static void put_double(struct buf *b, uint32_t field, const char *key, double value)
{
    size_t mark, value_mark;
    key_begin(b, field, key, &mark, &value_mark);
    pb_double(b, 4, value);
    key_end(b, mark, value_mark);
}

__attribute__((format(printf, 4, 5))) static void put_strf(struct buf *b, uint32_t field,
                                                           const char *key, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    put_str(b, field, key, text);
}

static void make_resource(struct otlp_gen *g, uint32_t source)
{
    struct buf *b = &g->resource[source];
    const char *name = services[source / OTLP_GEN_PODS];
    char pod[64];
    (void)snprintf(pod, sizeof pod, "%s-%08x-%05x", name, (unsigned)rng_below(&g->rng, UINT32_MAX),
                   (unsigned)rng_below(&g->rng, 1 << 20));
    put_str(b, 1, "service.name", name);
    put_str(b, 1, "service.namespace", source < 12 ? "edge" : "shop");
    put_strf(b, 1, "service.version", "1.%u.0", (unsigned)rng_below(&g->rng, 20));
    put_str(b, 1, "service.instance.id", pod);
    put_str(b, 1, "k8s.pod.name", pod);
    put_strf(b, 1, "k8s.node.name", "node-%02u", (unsigned)rng_below(&g->rng, 12));
    put_str(b, 1, "k8s.cluster.name", "prod-eu-1");
    put_int(b, 1, "process.pid", (int64_t)rng_below(&g->rng, 40) + 1);
    put_str(b, 1, "telemetry.sdk.language", source % 3 == 0 ? "java" : "go");
    put_str(b, 1, "telemetry.sdk.name", "opentelemetry");
    put_str(b, 1, "deployment.environment", "production");
}

void otlp_gen_init(struct otlp_gen *g, uint64_t seed, uint64_t start_ns)
{
    *g = (struct otlp_gen){.now_ns = start_ns, .step_ns = 2000000};
    rng_init(&g->rng, seed);
    buf_init(&g->span, 1u << 24);
    for (uint32_t i = 0; i < OTLP_GEN_SOURCES; i++) {
        buf_init(&g->source[i], 1u << 30);
        buf_init(&g->resource[i], 1u << 20);
        make_resource(g, i);
    }
}

void otlp_gen_release(struct otlp_gen *g)
{
    buf_release(&g->span);
    for (uint32_t i = 0; i < OTLP_GEN_SOURCES; i++) {
        buf_release(&g->source[i]);
        buf_release(&g->resource[i]);
    }
}

/* Skewed like latencies: mostly about `base_us`, sometimes many times that. */
static uint64_t latency_ns(struct otlp_gen *g, double base_us)
{
    double u = rng_unit(&g->rng) + rng_unit(&g->rng) + rng_unit(&g->rng) - 1.5;
    return (uint64_t)(base_us * exp(u * 1.6) * 1000.0);
}

struct call {
    uint64_t id, parent;
    uint32_t source, depth;
    uint64_t start_ns;
};

static void span_begin(struct otlp_gen *g, const struct call *c, uint32_t kind, const char *name)
{
    struct buf *b = &g->span;
    buf_reset(b);
    pb_bytes(b, 1, (struct slice){g->trace.b, TRACE_ID_BYTES});
    pb_bytes(b, 2, (struct slice){(const uint8_t *)&c->id, SPAN_ID_BYTES});
    if (c->parent != 0)
        pb_bytes(b, 4, (struct slice){(const uint8_t *)&c->parent, SPAN_ID_BYTES});
    pb_bytes(b, 5, slice_str(name));
    pb_varint(b, 6, kind);
    pb_fixed64(b, 7, c->start_ns);
}

static void put_exception(struct otlp_gen *g, uint64_t time_ns)
{
    struct buf *b = &g->span;
    size_t event = pb_begin(b, 11);
    pb_fixed64(b, 1, time_ns);
    pb_bytes(b, 2, SLICE_LIT("exception"));
    put_str(b, 3, "exception.type",
            rng_below(&g->rng, 2) == 0 ? "TimeoutError" : "IllegalStateException");
    put_strf(b, 3, "exception.message", "request %u failed after %u ms",
             (unsigned)rng_below(&g->rng, 1000000), (unsigned)rng_below(&g->rng, 5000));
    put_strf(
        b, 3, "exception.stacktrace",
        "failed\n\tat com.shop.Handler.handle(Handler.java:%u)\n\tat com.shop.Filter.doFilter(Filter.java:%u)\n"
        "\tat java.base/java.lang.Thread.run(Thread.java:840)",
        (unsigned)rng_below(&g->rng, 400), (unsigned)rng_below(&g->rng, 90));
    pb_end(b, event);
}

static void span_end(struct otlp_gen *g, const struct call *c, uint64_t end_ns, double fail)
{
    struct buf *b = &g->span;
    pb_fixed64(b, 8, end_ns);
    if (rng_unit(&g->rng) < fail) {
        put_exception(g, c->start_ns + 1000);
        size_t status = pb_begin(b, 15);
        pb_bytes(b, 2, SLICE_LIT("upstream failure"));
        pb_varint(b, 3, 2);
        pb_end(b, status);
    }
    pb_fixed32(b, 16, 257);
    pb_bytes(&g->source[c->source], 2, buf_slice(b));
    g->made++;
}

static uint64_t db_call(struct otlp_gen *g, const struct call *parent, uint64_t start_ns)
{
    struct call c = {rng_u64(&g->rng) | 1, parent->id, parent->source, parent->depth + 1, start_ns};
    const char *table = PICK(g, tables), *op = rng_below(&g->rng, 4) == 0 ? "UPDATE" : "SELECT";
    const char *service = services[c.source / OTLP_GEN_PODS];
    char name[96];
    (void)snprintf(name, sizeof name, "%s %s_db.%s", op, service, table);
    span_begin(g, &c, 3, name);
    struct buf *b = &g->span;
    put_str(b, 9, "db.system", systems[c.source / OTLP_GEN_PODS % 4]);
    put_strf(b, 9, "db.name", "%s_db", service);
    put_str(b, 9, "db.operation", op);
    put_str(b, 9, "db.sql.table", table);
    put_strf(b, 9, "db.statement", "%s * FROM %s WHERE id = %u LIMIT %u", op, table,
             (unsigned)rng_below(&g->rng, 1000000), (unsigned)rng_below(&g->rng, 100));
    put_int(b, 9, "net.peer.port", 5432);
    uint64_t end_ns = start_ns + latency_ns(g, 1500);
    span_end(g, &c, end_ns, 0.004);
    return end_ns;
}

static uint64_t server(struct otlp_gen *g, struct call c);

static uint64_t http_call(struct otlp_gen *g, const struct call *parent, uint64_t start_ns)
{
    struct call c = {rng_u64(&g->rng) | 1, parent->id, parent->source, parent->depth + 1, start_ns};
    uint32_t to = (uint32_t)rng_below(&g->rng, OTLP_GEN_SOURCES);
    g->budget--;
    uint64_t end_ns = server(g, (struct call){rng_u64(&g->rng) | 1, c.id, to, c.depth + 1,
                                              start_ns + latency_ns(g, 200)}) +
                      latency_ns(g, 200);
    const char *service = services[to / OTLP_GEN_PODS];
    span_begin(g, &c, 3, "GET");
    struct buf *b = &g->span;
    put_str(b, 9, "http.method", "GET");
    put_strf(b, 9, "http.url", "http://%s.shop.svc:8080/api/v1/%s/%u", service, service,
             (unsigned)rng_below(&g->rng, 1000000));
    put_int(b, 9, "http.status_code", 200);
    put_strf(b, 9, "net.peer.name", "%s.shop.svc", service);
    put_int(b, 9, "net.peer.port", 8080);
    put_str(b, 9, "peer.service", service);
    span_end(g, &c, end_ns, 0.006);
    return end_ns;
}

static uint64_t internal(struct otlp_gen *g, const struct call *parent, uint64_t start_ns)
{
    static const char *const names[] = {"serialize", "validate", "render", "cache.lookup"};
    struct call c = {rng_u64(&g->rng) | 1, parent->id, parent->source, parent->depth + 1, start_ns};
    span_begin(g, &c, 1, PICK(g, names));
    put_bool(&g->span, 9, "cache.hit", rng_below(&g->rng, 2) != 0);
    put_double(&g->span, 9, "batch.ratio", (double)rng_below(&g->rng, 1000) / 1000.0);
    uint64_t end_ns = start_ns + latency_ns(g, 300);
    span_end(g, &c, end_ns, 0);
    return end_ns;
}

static uint64_t server(struct otlp_gen *g, struct call c)
{
    const char *service = services[c.source / OTLP_GEN_PODS], *method = PICK(g, methods);
    char route[96], name[128];
    (void)snprintf(route, sizeof route, "%s", PICK(g, routes));
    const char *hole = strstr(route, "%s");
    if (hole != NULL)
        (void)snprintf(name, sizeof name, "%s %.*s%s%s", method, (int)(hole - route), route,
                       service, hole + 2);
    else
        (void)snprintf(name, sizeof name, "%s %s", method, route);
    uint64_t at = c.start_ns + latency_ns(g, 400);
    g->budget -= g->budget != 0;
    for (int i = 0; i < 3 && g->budget > 1 && c.depth < 12; i++) {
        double x = rng_unit(&g->rng);
        g->budget--;
        if (x < 0.35)
            at = db_call(g, &c, at);
        else if (x < 0.8)
            at = http_call(g, &c, at);
        else
            at = internal(g, &c, at);
    }
    span_begin(g, &c, 2, name);
    struct buf *b = &g->span;
    if (c.source % 3 == 0) {
        put_int(b, 9, "thread.id", (int64_t)rng_below(&g->rng, 200) + 20);
        put_strf(b, 9, "thread.name", "http-nio-8080-exec-%u", (unsigned)rng_below(&g->rng, 50));
    }
    put_str(b, 9, "http.method", method);
    put_str(b, 9, "http.route", strchr(name, ' ') + 1);
    put_int(b, 9, "http.status_code",
            rng_below(&g->rng, 100) == 0  ? 500
            : rng_below(&g->rng, 25) == 0 ? 404
                                          : 200);
    put_str(b, 9, "http.scheme", "https");
    put_strf(b, 9, "http.target", "%s?id=%u", strchr(name, ' ') + 1,
             (unsigned)rng_below(&g->rng, 1000000));
    put_str(b, 9, "http.user_agent", PICK(g, agents));
    put_strf(b, 9, "net.peer.ip", "10.%u.%u.%u", (unsigned)rng_below(&g->rng, 4),
             (unsigned)rng_below(&g->rng, 256), (unsigned)rng_below(&g->rng, 256));
    put_int(b, 9, "http.response_content_length", (int64_t)rng_below(&g->rng, 1 << 16));
    if (c.parent == 0)
        put_strf(b, 9, "user.id", "user-%06u@example.com", (unsigned)rng_below(&g->rng, 200000));
    uint64_t end_ns = at + latency_ns(g, 600);
    span_end(g, &c, end_ns, 0.012);
    return end_ns;
}

static void flush_sources(struct otlp_gen *g, struct buf *out)
{
    for (uint32_t i = 0; i < OTLP_GEN_SOURCES; i++) {
        if (g->source[i].len == 0)
            continue;
        size_t resource_spans = pb_begin(out, 1);
        pb_bytes(out, 1, buf_slice(&g->resource[i]));
        size_t scope_spans = pb_begin(out, 2);
        size_t scope = pb_begin(out, 1);
        pb_bytes(out, 1,
                 i % 3 == 0 ? SLICE_LIT("io.opentelemetry.java-instrumentation")
                            : SLICE_LIT("io.opentelemetry.go-instrumentation"));
        pb_bytes(out, 2, SLICE_LIT("2.9.0"));
        pb_end(out, scope);
        buf_append(out, buf_slice(&g->source[i]));
        pb_end(out, scope_spans);
        pb_bytes(out, 3, SLICE_LIT("https://opentelemetry.io/schemas/1.26.0"));
        pb_end(out, resource_spans);
        buf_reset(&g->source[i]);
    }
}

uint32_t otlp_gen_request(struct otlp_gen *g, uint32_t spans, struct buf *out)
{
    g->made = 0;
    while (g->made < spans) {
        for (size_t i = 0; i < TRACE_ID_BYTES; i++)
            g->trace.b[i] = (uint8_t)rng_u64(&g->rng);
        g->trace.b[0] |= 1;
        g->now_ns += rng_below(&g->rng, g->step_ns * 2) + 1;
        double size = exp((rng_unit(&g->rng) + rng_unit(&g->rng)) * 2.0 + 0.2);
        g->budget = size > OTLP_GEN_TRACE_SPANS_MAX ? OTLP_GEN_TRACE_SPANS_MAX : (uint32_t)size + 1;
        (void)server(g, (struct call){rng_u64(&g->rng) | 1, 0, (uint32_t)rng_below(&g->rng, 8), 0,
                                      g->now_ns});
    }
    flush_sources(g, out);
    return g->made;
}

/* --- odd spans --- */

static const char *const odd_keys[] = {
    "a", "b", "", "http.status_code", "x.y.z", "service.name", "k\xc3\xa9y", "dup", "dup", "long"};
static const int64_t odd_ints[] = {0, 1, -1, INT64_MAX, INT64_MIN, 42, 255, 65536, -65536};
static const double odd_doubles[] = {
    0.0, -0.0, 1.5, -1e300, 5e-324, (double)INFINITY, -(double)INFINITY, (double)NAN};
static const uint64_t odd_times[] = {
    0, 1, 1700000000000000000, 1ull << 63, UINT64_MAX, 1700000000000000001, 1700000000500000000};

static void odd_text(struct otlp_gen *g, struct buf *b, uint32_t field)
{
    uint8_t bytes[64];
    size_t len =
        rng_below(&g->rng, 4) == 0 ? rng_below(&g->rng, sizeof bytes) : rng_below(&g->rng, 3);
    for (size_t i = 0; i < len; i++)
        bytes[i] = rng_below(&g->rng, 10) == 0 ? 0 : (uint8_t)('a' + rng_below(&g->rng, 3));
    pb_bytes(b, field, (struct slice){bytes, len});
}

static void odd_attribute(struct otlp_gen *g, struct buf *b, uint32_t field, int depth);

/* The body of an AnyValue. */
static void odd_value(struct otlp_gen *g, struct buf *b, int depth)
{
    size_t mark, item;
    uint64_t kind = rng_below(&g->rng, depth > 3 ? 6 : 9);
    switch (kind) {
    case 0: return; /* empty */
    case 1:
    case 2: odd_text(g, b, 1); return;
    case 3: pb_varint(b, 2, rng_below(&g->rng, 2)); return;
    case 4: pb_varint(b, 3, (uint64_t)PICK(g, odd_ints)); return;
    case 5: pb_double(b, 4, PICK(g, odd_doubles)); return;
    case 6: odd_text(g, b, 7); return;
    case 7:
        mark = pb_begin(b, 5);
        for (uint64_t n = rng_below(&g->rng, 4); n > 0; n--) {
            item = pb_begin(b, 1);
            odd_value(g, b, depth + 1);
            pb_end(b, item);
        }
        pb_end(b, mark);
        return;
    default:
        mark = pb_begin(b, 6);
        for (uint64_t n = rng_below(&g->rng, 4); n > 0; n--)
            odd_attribute(g, b, 1, depth + 1);
        pb_end(b, mark);
        return;
    }
}

static void odd_attribute(struct otlp_gen *g, struct buf *b, uint32_t field, int depth)
{
    size_t mark = pb_begin(b, field);
    pb_bytes(b, 1, slice_str(PICK(g, odd_keys)));
    size_t value = pb_begin(b, 2);
    odd_value(g, b, depth);
    pb_end(b, value);
    pb_end(b, mark);
}

static void odd_attributes(struct otlp_gen *g, struct buf *b, uint32_t field)
{
    for (uint64_t n = rng_below(&g->rng, 6); n > 0; n--)
        odd_attribute(g, b, field, 0);
}

static bool maybe(struct otlp_gen *g)
{
    return rng_below(&g->rng, 3) == 0;
}

static void odd_number(struct otlp_gen *g, struct buf *b, uint32_t field)
{
    if (maybe(g))
        pb_varint(b, field, rng_below(&g->rng, 2) == 0 ? UINT32_MAX : rng_below(&g->rng, 5) + 1);
}

/* Few ids, so that parents meet children, sometimes; never all zero. */
static uint64_t odd_id(struct otlp_gen *g)
{
    return (rng_below(&g->rng, 12) + 1) << (8 * rng_below(&g->rng, 8));
}

static void odd_trace_id(struct otlp_gen *g, struct buf *b, uint32_t field)
{
    uint8_t id[TRACE_ID_BYTES] = {0};
    id[rng_below(&g->rng, 2) * 15] = (uint8_t)(rng_below(&g->rng, 9) + 1);
    pb_bytes(b, field, (struct slice){id, sizeof id});
}

static void odd_event(struct otlp_gen *g, struct buf *b)
{
    size_t mark = pb_begin(b, 11);
    if (maybe(g))
        pb_fixed64(b, 1, PICK(g, odd_times));
    if (maybe(g))
        odd_text(g, b, 2);
    odd_attributes(g, b, 3);
    odd_number(g, b, 4);
    if (maybe(g))
        pb_bytes(b, 99, SLICE_LIT("from the future"));
    pb_end(b, mark);
}

static void odd_link(struct otlp_gen *g, struct buf *b)
{
    size_t mark = pb_begin(b, 13);
    if (!maybe(g)) {
        uint64_t id = odd_id(g);
        odd_trace_id(g, b, 1);
        pb_bytes(b, 2, (struct slice){(const uint8_t *)&id, sizeof id});
    }
    if (maybe(g))
        odd_text(g, b, 3);
    odd_attributes(g, b, 4);
    odd_number(g, b, 5);
    if (maybe(g))
        pb_fixed32(b, 6, 0x80000001);
    pb_end(b, mark);
}

static void odd_span(struct otlp_gen *g, struct buf *b)
{
    uint64_t id = odd_id(g), parent = odd_id(g);
    buf_reset(b);
    odd_trace_id(g, b, 1);
    pb_bytes(b, 2, (struct slice){(const uint8_t *)&id, sizeof id});
    if (maybe(g))
        odd_text(g, b, 3);
    if (!maybe(g))
        pb_bytes(b, 4, (struct slice){(const uint8_t *)&parent, sizeof parent});
    if (!maybe(g))
        odd_text(g, b, 5);
    odd_number(g, b, 6);
    if (!maybe(g))
        pb_fixed64(b, 7, PICK(g, odd_times));
    if (!maybe(g))
        pb_fixed64(b, 8, PICK(g, odd_times));
    odd_attributes(g, b, 9);
    odd_number(g, b, 10);
    for (uint64_t n = maybe(g) ? rng_below(&g->rng, 4) : 0; n > 0; n--)
        odd_event(g, b);
    odd_number(g, b, 12);
    for (uint64_t n = maybe(g) ? rng_below(&g->rng, 3) : 0; n > 0; n--)
        odd_link(g, b);
    odd_number(g, b, 14);
    if (maybe(g)) {
        size_t status = pb_begin(b, 15);
        if (maybe(g))
            odd_text(g, b, 2);
        odd_number(g, b, 3);
        pb_end(b, status);
    }
    if (maybe(g))
        pb_fixed32(b, 16, 0x101);
    if (maybe(g))
        pb_varint(b, 77, 7);
}

static void odd_resource(struct otlp_gen *g, struct buf *out)
{
    size_t mark = pb_begin(out, 1);
    odd_attributes(g, out, 1);
    odd_number(g, out, 2);
    if (maybe(g))
        pb_bytes(out, 3, SLICE_LIT("entity"));
    pb_end(out, mark);
}

static void odd_scope(struct otlp_gen *g, struct buf *out)
{
    size_t mark = pb_begin(out, 1);
    if (maybe(g))
        odd_text(g, out, 1);
    if (maybe(g))
        odd_text(g, out, 2);
    odd_attributes(g, out, 3);
    odd_number(g, out, 4);
    pb_end(out, mark);
}

uint32_t otlp_gen_odd_request(struct otlp_gen *g, uint32_t spans, struct buf *out)
{
    uint32_t made = 0;
    while (made < spans) {
        size_t resource_spans = pb_begin(out, 1);
        if (!maybe(g))
            odd_resource(g, out);
        for (uint64_t scopes = rng_below(&g->rng, 3); scopes > 0; scopes--) {
            size_t scope_spans = pb_begin(out, 2);
            if (!maybe(g))
                odd_scope(g, out);
            for (uint64_t n = rng_below(&g->rng, 5); n > 0 && made < spans; n--, made++) {
                odd_span(g, &g->span);
                pb_bytes(out, 2, buf_slice(&g->span));
                if (maybe(g) && made + 1 < spans) { /* and an exact copy */
                    pb_bytes(out, 2, buf_slice(&g->span));
                    made++;
                }
            }
            if (maybe(g))
                pb_bytes(out, 3, SLICE_LIT("https://example.com/scope"));
            pb_end(out, scope_spans);
        }
        if (maybe(g))
            pb_bytes(out, 3, SLICE_LIT("https://example.com/resource"));
        pb_end(out, resource_spans);
    }
    return made;
}
