#include "querier/stream.h"

#include "common/codec/pb_field.h"
#include "common/net/grpc.h"

#include <stdio.h>

enum { QUERY_BYTES_MAX = 16 << 20, METRICS_FIELD = 2, ELEMENTS_FIELD = 1 };

/* What a field of a request becomes. */
enum stream_kind {
    STREAM_TEXT,
    STREAM_NUMBER,
    STREAM_MILLISECONDS,
    STREAM_NANOSECONDS,
    STREAM_TAG,     /* an entry of the map of tags: one pair of logfmt */
    STREAM_ARGUMENT /* of the path */
};
struct stream_field {
    uint32_t number;
    enum stream_kind kind;
    const char *param;
};
struct stream_method {
    const char *name;
    const struct stream_field *fields;
    unsigned field_count;
    struct api_route route;
};

static const struct stream_field search_fields[] = {
    {1, STREAM_TAG, "tags"},
    {2, STREAM_MILLISECONDS, "minDuration"},
    {3, STREAM_MILLISECONDS, "maxDuration"},
    {4, STREAM_NUMBER, "limit"},
    {5, STREAM_NUMBER, "start"},
    {6, STREAM_NUMBER, "end"},
    {8, STREAM_TEXT, "q"},
    {9, STREAM_NUMBER, "spss"},
};
static const struct stream_field tags_fields[] = {
    {1, STREAM_TEXT, "scope"}, {2, STREAM_TEXT, "q"},       {3, STREAM_NUMBER, "start"},
    {4, STREAM_NUMBER, "end"}, {5, STREAM_NUMBER, "limit"},
};
static const struct stream_field values_fields[] = {
    {1, STREAM_ARGUMENT, NULL}, {2, STREAM_TEXT, "q"},       {4, STREAM_NUMBER, "start"},
    {5, STREAM_NUMBER, "end"},  {6, STREAM_NUMBER, "limit"},
};
static const struct stream_field range_fields[] = {
    {1, STREAM_TEXT, "q"},
    {2, STREAM_NUMBER, "start"},
    {3, STREAM_NUMBER, "end"},
    {4, STREAM_NANOSECONDS, "step"},
    {16, STREAM_NUMBER, "exemplars"},
    {17, STREAM_NUMBER, "maxSeries"},
};
static const struct stream_field instant_fields[] = {
    {1, STREAM_TEXT, "q"},
    {2, STREAM_NUMBER, "start"},
    {3, STREAM_NUMBER, "end"},
};

#define FIELDS(f) f, sizeof(f) / sizeof(f)[0]
static const struct stream_method methods[] = {
    {"Search",
     FIELDS(search_fields),
     {.name = "streaming_search", .op = "search", .fn = api_search}},
    {"SearchTags",
     FIELDS(tags_fields),
     {.name = "streaming_search_tags", .op = "metadata", .fn = api_tags_v1}},
    {"SearchTagsV2",
     FIELDS(tags_fields),
     {.name = "streaming_search_tags_v2", .op = "metadata", .fn = api_tags_v2}},
    {"SearchTagValues",
     FIELDS(values_fields),
     {.name = "streaming_search_tag_values", .op = "metadata", .fn = api_values_v1}},
    {"SearchTagValuesV2",
     FIELDS(values_fields),
     {.name = "streaming_search_tag_values_v2", .op = "metadata", .fn = api_values_v2}},
    {"MetricsQueryRange",
     FIELDS(range_fields),
     {.name = "streaming_metrics_query_range", .op = "metrics", .fn = api_query_range}},
    {"MetricsQueryInstant",
     FIELDS(instant_fields),
     {.name = "streaming_metrics_query_instant", .op = "metrics", .fn = api_query_instant}},
};

const struct stream_method *stream_method(struct slice path)
{
    struct slice service = SLICE_LIT("/tempopb.StreamingQuerier/");

    if (!slice_has_prefix(path, service))
        return NULL;
    struct slice name = slice_sub(path, service.len, path.len);
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (slice_eq_str(name, methods[i].name))
            return &methods[i];
    return NULL;
}

const struct api_route *stream_route(const struct stream_method *m)
{
    return &m->route;
}

static void put_escaped(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        buf_appendf(out, "%%%02X", (unsigned)text.ptr[i]);
}

static void put_name(struct buf *out, const char *name)
{
    buf_appendf(out, "%s%s=", out->len == 0 ? "" : "&", name);
}

/* key="value", with a blank between two. */
static bool put_tag(struct buf *tags, struct slice entry)
{
    struct reader r = reader_of(entry);
    struct slice pair[2] = {SLICE_NONE, SLICE_NONE};
    struct pb_field f;

    while (pb_field_next(&r, &f))
        if (f.wire == WIRE_BYTES && (f.number == 1 || f.number == 2))
            pair[f.number - 1] = f.bytes;
    if (tags->len != 0)
        buf_append_byte(tags, ' ');
    buf_append(tags, pair[0]);
    buf_append_str(tags, "=\"");
    for (size_t i = 0; i < pair[1].len; i++) {
        if (pair[1].ptr[i] == '"' || pair[1].ptr[i] == '\\')
            buf_append_byte(tags, '\\');
        buf_append_byte(tags, pair[1].ptr[i]);
    }
    buf_append_byte(tags, '"');
    return !reader_failed(&r);
}

static const struct stream_field *field_of(const struct stream_method *m, const struct pb_field *f)
{
    for (unsigned i = 0; i < m->field_count; i++) {
        bool is_number = m->fields[i].kind == STREAM_NUMBER ||
                         m->fields[i].kind == STREAM_MILLISECONDS ||
                         m->fields[i].kind == STREAM_NANOSECONDS;
        if (m->fields[i].number == f->number &&
            f->wire == (is_number ? (uint32_t)WIRE_VARINT : (uint32_t)WIRE_BYTES))
            return &m->fields[i];
    }
    return NULL;
}

/* A field that is zero or empty counts as not given, as in protobuf. */
static bool put_field(struct buf *query, struct buf *tags, const struct stream_field *known,
                      const struct pb_field *f, struct slice *ret_argument)
{
    static const char *const units[] = {[STREAM_MILLISECONDS] = "ms", [STREAM_NANOSECONDS] = "ns"};

    if (known->kind == STREAM_TAG)
        return put_tag(tags, f->bytes);
    if (known->kind == STREAM_ARGUMENT) {
        *ret_argument = f->bytes;
        return true;
    }
    if (f->value == 0 && f->bytes.len == 0)
        return true;
    put_name(query, known->param);
    if (known->kind == STREAM_TEXT)
        put_escaped(query, f->bytes);
    else
        buf_appendf(query, "%llu%s", (unsigned long long)f->value,
                    known->kind == STREAM_NUMBER ? "" : units[known->kind]);
    return true;
}

enum err stream_request(struct arena *a, const struct stream_method *m, struct slice message,
                        struct slice *ret_query, struct slice *ret_argument)
{
    struct reader r = reader_of(message);
    struct buf query, tags;
    struct pb_field f;
    bool is_good = true;

    *ret_argument = SLICE_NONE;
    buf_init(&query, QUERY_BYTES_MAX);
    buf_init(&tags, QUERY_BYTES_MAX);
    while (is_good && pb_field_next(&r, &f)) {
        const struct stream_field *known = field_of(m, &f);
        if (known != NULL)
            is_good = put_field(&query, &tags, known, &f, ret_argument);
    }
    if (tags.len != 0) {
        put_name(&query, "tags");
        put_escaped(&query, buf_slice(&tags));
    }
    enum err e = !is_good || reader_failed(&r) ? ERR_FORMAT : ERR_OK;
    if (e == ERR_OK)
        e = buf_err(&tags) != ERR_OK ? buf_err(&tags) : buf_err(&query);
    if (e == ERR_OK) {
        *ret_query = arena_dup(a, buf_slice(&query));
        *ret_argument = arena_dup(a, *ret_argument);
        e = arena_err(a);
    }
    buf_release(&query);
    buf_release(&tags);
    return e;
}

static struct slice metrics_of(struct slice answer)
{
    struct reader r = reader_of(answer);
    struct pb_field f;

    for (size_t from = 0; pb_field_next(&r, &f); from = answer.len - reader_left(&r))
        if (f.number == METRICS_FIELD)
            return slice_sub(answer, from, answer.len - reader_left(&r));
    return SLICE_NONE;
}

static void packet_end(struct buf *out, size_t from, struct slice metrics, bool has_metrics)
{
    if (!has_metrics)
        buf_append(out, metrics);
    grpc_message_close(out, from);
}

void stream_packets(struct slice answer, size_t packet_bytes_max, struct buf *out)
{
    struct slice metrics = metrics_of(answer);
    struct reader r = reader_of(answer);
    struct pb_field f;
    size_t packet = grpc_message_open(out);
    bool has_metrics = false;

    for (size_t from = 0; pb_field_next(&r, &f); from = answer.len - reader_left(&r)) {
        struct slice field = slice_sub(answer, from, answer.len - reader_left(&r));
        size_t len = out->len - packet;
        if (packet_bytes_max > 0 && f.number == ELEMENTS_FIELD && len > GRPC_PREFIX_BYTES &&
            len + field.len + metrics.len > packet_bytes_max) {
            packet_end(out, packet, metrics, has_metrics);
            packet = grpc_message_open(out);
            has_metrics = false;
        }
        has_metrics = has_metrics || f.number == METRICS_FIELD;
        buf_append(out, field);
    }
    packet_end(out, packet, metrics, has_metrics);
}

static enum err inflated(struct arena *a, enum inflate_kind kind, struct slice *message,
                         struct err_detail *detail)
{
    struct buf bytes;

    if (kind == INFLATE_IDENTITY)
        return ERR_OK;
    buf_init(&bytes, QUERY_BYTES_MAX);
    enum err e = inflate_bytes(kind, *message, &inflate_limits_default, a->budget, &bytes, detail);
    if (e == ERR_OK) {
        *message = arena_dup(a, buf_slice(&bytes));
        e = arena_err(a);
    }
    budget_give(a->budget, bytes.cap);
    buf_release(&bytes);
    return e;
}

unsigned stream_open(struct arena *a, const struct http_req *req, const struct stream_method *m,
                     struct slice *ret_query, struct slice *ret_argument,
                     struct err_detail *reterr_detail)
{
    struct slice message;
    enum inflate_kind kind;
    unsigned code;

    if (http_req_is_too_large(req)) {
        (void)err_detail_set(reterr_detail, ERR_TOO_LARGE,
                             "grpc: received message larger than max");
        return STREAM_EXHAUSTED;
    }
    if (!grpc_message_read(http_req_body(req), http_req_header(req, "grpc-encoding"), &message,
                           &kind, &code, reterr_detail))
        return code;
    enum err e = inflated(a, kind, &message, reterr_detail);
    if (e == ERR_OK)
        e = stream_request(a, m, message, ret_query, ret_argument);
    if (e == ERR_FORMAT && reterr_detail->text[0] == '\0')
        (void)err_detail_set(reterr_detail, e, "grpc: error unmarshalling request");
    return e == ERR_OK ? 0 : e == ERR_FORMAT ? STREAM_INTERNAL : stream_code(e);
}

void stream_refuse(struct http_req *req, unsigned code, struct slice text)
{
    struct buf message;
    char number[12];
    struct http_header headers[3] = {{"content-type", "application/grpc"}, {"grpc-status", number}};
    unsigned count = 2;

    (void)snprintf(number, sizeof number, "%u", code);
    buf_init(&message, 16 << 10);
    grpc_escape(text, &message);
    if (buf_err(&message) == ERR_OK)
        headers[count++] = (struct http_header){"grpc-message", (const char *)message.ptr};
    http_reply(req, &(struct http_reply){.status = 200, .headers = headers, .header_count = count});
    buf_release(&message);
}

void stream_reply(struct http_req *req, struct slice answer, size_t packet_bytes_max,
                  unsigned missing)
{
    char places[16];
    struct http_header headers[] = {{"content-type", "application/grpc"},
                                    {"x-vivace-partial", places}};
    static const struct http_header trailers[] = {{"grpc-status", "0"}, {"grpc-message", ""}};
    struct buf body;

    (void)snprintf(places, sizeof places, "%u", missing);
    buf_init(&body, SIZE_MAX / 2);
    stream_packets(answer, packet_bytes_max, &body);
    if (buf_err(&body) != ERR_OK)
        stream_refuse(req, STREAM_EXHAUSTED, SLICE_LIT("no memory"));
    else
        http_reply(req, &(struct http_reply){.status = 200,
                                             .headers = headers,
                                             .header_count = missing != 0 ? 2 : 1,
                                             .body = &body,
                                             .trailers = trailers,
                                             .trailer_count = 2});
    buf_release(&body);
}

unsigned stream_code(enum err e)
{
    switch (err_http_status(e)) {
    case 200: return 0;
    case 400: return STREAM_INVALID;
    case 404: return STREAM_NOT_FOUND;
    case 429: return STREAM_EXHAUSTED;
    case 499: return STREAM_CANCELED;
    case 500:
    case 503:
    case 504: return STREAM_INTERNAL;
    default: return err_grpc_status(e);
    }
}
