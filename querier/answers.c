#include "querier/answers.h"

#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/codec/otlp_write.h"
#include "common/query/ql.h"

#include <assert.h>
#include <stdlib.h>

enum { TEXT_BYTES_MAX = 1 << 20 };

const char *const answers_intrinsics[ANSWERS_INTRINSIC_COUNT] = {"duration",
                                                                 "event:name",
                                                                 "event:timeSinceStart",
                                                                 "instrumentation:name",
                                                                 "instrumentation:version",
                                                                 "kind",
                                                                 "link:spanID",
                                                                 "link:traceID",
                                                                 "name",
                                                                 "rootName",
                                                                 "rootServiceName",
                                                                 "span:duration",
                                                                 "span:id",
                                                                 "span:kind",
                                                                 "span:name",
                                                                 "span:parentID",
                                                                 "span:status",
                                                                 "span:statusMessage",
                                                                 "status",
                                                                 "statusMessage",
                                                                 "trace:duration",
                                                                 "trace:id",
                                                                 "trace:rootName",
                                                                 "trace:rootService",
                                                                 "traceDuration"};

/* Text of a value that has no type of its own in OTLP: duration, status, kind, nil. */
static struct slice special_text(struct buf *scratch, struct value v)
{
    buf_reset(scratch);
    switch (v.type) {
    case VALUE_DURATION: num_append_duration(scratch, v.i); break;
    case VALUE_STATUS: buf_append_str(scratch, value_status_name(v.i)); break;
    case VALUE_KIND: buf_append_str(scratch, value_kind_name(v.i)); break;
    case VALUE_NIL: buf_append_str(scratch, "nil"); break;
    case VALUE_INT:
    case VALUE_FLOAT:
    case VALUE_STRING:
    case VALUE_BOOL:
    case VALUE_INT_ARRAY:
    case VALUE_FLOAT_ARRAY:
    case VALUE_STRING_ARRAY:
    case VALUE_BOOL_ARRAY: assert(false && "has a type of its own"); break;
    }
    return buf_slice(scratch);
}

static void array_json(struct json_out *j, struct value v)
{
    json_out_key(j, "arrayValue");
    json_out_begin_object(j);
    json_out_key(j, "values");
    json_out_begin_array(j);
    for (uint32_t i = 0; i < v.array.count; i++)
        answers_value_json(j, v.array.items[i]);
    json_out_end_array(j);
    json_out_end_object(j);
}

void answers_value_json(struct json_out *j, struct value v)
{
    struct buf scratch;

    json_out_begin_object(j);
    if (value_is_array(v)) {
        array_json(j, v);
    } else if (v.type == VALUE_INT) {
        json_out_key(j, "intValue");
        json_out_i64_text(j, v.i);
    } else if (v.type == VALUE_FLOAT) {
        json_out_key(j, "doubleValue");
        json_out_double(j, v.f);
    } else if (v.type == VALUE_BOOL) {
        json_out_key(j, "boolValue");
        json_out_bool(j, v.i != 0);
    } else if (v.type == VALUE_STRING) {
        json_out_key(j, "stringValue");
        json_out_string(j, v.s);
    } else {
        buf_init(&scratch, TEXT_BYTES_MAX);
        json_out_key(j, "stringValue");
        json_out_string(j, special_text(&scratch, v));
        buf_release(&scratch);
    }
    json_out_end_object(j);
}

static void value_pb(struct buf *out, uint32_t field, struct value v)
{
    struct buf scratch;
    size_t mark = pb_begin(out, field);

    if (value_is_array(v)) {
        size_t array = pb_begin(out, 5);
        for (uint32_t i = 0; i < v.array.count; i++)
            value_pb(out, 1, v.array.items[i]);
        pb_end(out, array);
    } else if (v.type == VALUE_INT) {
        pb_varint(out, 3, (uint64_t)v.i);
    } else if (v.type == VALUE_FLOAT) {
        pb_double(out, 4, v.f);
    } else if (v.type == VALUE_BOOL) {
        pb_varint(out, 2, v.i != 0);
    } else if (v.type == VALUE_STRING) {
        pb_bytes(out, 1, v.s);
    } else {
        buf_init(&scratch, TEXT_BYTES_MAX);
        pb_bytes(out, 1, special_text(&scratch, v));
        buf_release(&scratch);
    }
    pb_end(out, mark);
}

void answers_attributes_json(struct json_out *j, const char *key,
                             const struct result_attribute *list, uint32_t count)
{
    json_out_key(j, key);
    json_out_begin_array(j);
    for (uint32_t i = 0; i < count; i++) {
        json_out_begin_object(j);
        json_out_key(j, "key");
        json_out_string(j, list[i].key);
        json_out_key(j, "value");
        answers_value_json(j, list[i].value);
        json_out_end_object(j);
    }
    json_out_end_array(j);
}

static void attributes_json(struct json_out *j, const struct result_attribute *list, uint32_t count)
{
    if (count != 0)
        answers_attributes_json(j, "attributes", list, count);
}

void answers_attributes_pb(struct buf *out, uint32_t field, const struct result_attribute *list,
                           uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t mark = pb_begin(out, field);
        pb_bytes(out, 1, list[i].key);
        value_pb(out, 2, list[i].value);
        pb_end(out, mark);
    }
}

static void span_json(struct json_out *j, const struct result_span *s)
{
    char hex[SPAN_ID_HEX + 1];

    span_id_to_hex(s->id, hex);
    json_out_begin_object(j);
    json_out_key(j, "spanID");
    json_out_cstring(j, hex);
    if (s->name.len != 0) {
        json_out_key(j, "name");
        json_out_string(j, s->name);
    }
    json_out_key(j, "startTimeUnixNano");
    json_out_u64_text(j, s->start_ns);
    if (s->duration_ns != 0) {
        json_out_key(j, "durationNanos");
        json_out_u64_text(j, s->duration_ns);
    }
    attributes_json(j, s->attributes, s->attribute_count);
    json_out_end_object(j);
}

static void spanset_json(struct json_out *j, const struct result_spanset *s)
{
    json_out_begin_object(j);
    if (s->span_count != 0) {
        json_out_key(j, "spans");
        json_out_begin_array(j);
        for (uint32_t i = 0; i < s->span_count; i++)
            span_json(j, &s->spans[i]);
        json_out_end_array(j);
    }
    if (s->matched != 0) {
        json_out_key(j, "matched");
        json_out_u64(j, s->matched);
    }
    attributes_json(j, s->attributes, s->attribute_count);
    json_out_end_object(j);
}

static void services_json(struct json_out *j, const struct result_trace *t)
{
    if (t->service_count == 0)
        return;
    json_out_key(j, "serviceStats");
    json_out_begin_object(j);
    for (uint32_t i = 0; i < t->service_count; i++) {
        json_out_key_slice(j, t->services[i].name);
        json_out_begin_object(j);
        if (t->services[i].span_count != 0) {
            json_out_key(j, "spanCount");
            json_out_u64(j, t->services[i].span_count);
        }
        if (t->services[i].error_count != 0) {
            json_out_key(j, "errorCount");
            json_out_u64(j, t->services[i].error_count);
        }
        json_out_end_object(j);
    }
    json_out_end_object(j);
}

static void trace_json(struct json_out *j, const struct result_trace *t)
{
    char hex[TRACE_ID_HEX + 1];

    trace_id_to_hex_short(t->id, hex);
    json_out_begin_object(j);
    json_out_key(j, "traceID");
    json_out_cstring(j, hex);
    if (t->root_service.len != 0) {
        json_out_key(j, "rootServiceName");
        json_out_string(j, t->root_service);
    }
    if (t->root_name.len != 0) {
        json_out_key(j, "rootTraceName");
        json_out_string(j, t->root_name);
    }
    json_out_key(j, "startTimeUnixNano");
    json_out_u64_text(j, t->start_ns);
    if (t->duration_ns >= (uint64_t)NS_PER_MS) {
        json_out_key(j, "durationMs");
        json_out_u64(j, (uint32_t)(t->duration_ns / (uint64_t)NS_PER_MS));
    }
    if (t->spanset_count != 0) {
        json_out_key(j, "spanSet");
        spanset_json(j, &t->spansets[0]);
        json_out_key(j, "spanSets");
        json_out_begin_array(j);
        for (uint32_t i = 0; i < t->spanset_count; i++)
            spanset_json(j, &t->spansets[i]);
        json_out_end_array(j);
    }
    services_json(j, t);
    json_out_end_object(j);
}

static void u64_text_field(struct json_out *j, const char *name, uint64_t v)
{
    if (v != 0) {
        json_out_key(j, name);
        json_out_u64_text(j, v);
    }
}

static void u32_field(struct json_out *j, const char *name, uint32_t v)
{
    if (v != 0) {
        json_out_key(j, name);
        json_out_u64(j, v);
    }
}

static void stats_json(struct json_out *j, const struct result_stats *s)
{
    json_out_key(j, "metrics");
    json_out_begin_object(j);
    u32_field(j, "inspectedTraces", (uint32_t)s->inspected_traces);
    u64_text_field(j, "inspectedBytes", s->inspected_bytes);
    u32_field(j, "totalBlocks", s->total_blocks);
    u32_field(j, "completedJobs", s->completed_jobs);
    u32_field(j, "totalJobs", s->total_jobs);
    u64_text_field(j, "totalBlockBytes", s->total_block_bytes);
    u64_text_field(j, "inspectedSpans", s->inspected_spans);
    json_out_end_object(j);
}

void answers_search_json(struct buf *out, const struct search_result *r)
{
    struct json_out j;

    json_out_init(&j, out);
    json_out_begin_object(&j);
    json_out_key(&j, "traces");
    json_out_begin_array(&j);
    for (uint32_t i = 0; i < r->trace_count; i++)
        trace_json(&j, &r->traces[i]);
    json_out_end_array(&j);
    stats_json(&j, &r->stats);
    json_out_end_object(&j);
}

static void spanset_pb(struct buf *out, uint32_t field, const struct result_spanset *s)
{
    char hex[SPAN_ID_HEX + 1];
    size_t mark = pb_begin(out, field);

    for (uint32_t i = 0; i < s->span_count; i++) {
        const struct result_span *span = &s->spans[i];
        size_t one = pb_begin(out, 1);
        span_id_to_hex(span->id, hex);
        pb_bytes(out, 1, slice_str(hex));
        if (span->name.len != 0)
            pb_bytes(out, 2, span->name);
        pb_varint(out, 3, span->start_ns);
        pb_varint(out, 4, span->duration_ns);
        answers_attributes_pb(out, 5, span->attributes, span->attribute_count);
        pb_end(out, one);
    }
    pb_varint(out, 2, s->matched);
    answers_attributes_pb(out, 3, s->attributes, s->attribute_count);
    pb_end(out, mark);
}

static void trace_pb(struct buf *out, const struct result_trace *t)
{
    char hex[TRACE_ID_HEX + 1];
    size_t mark = pb_begin(out, 1);

    trace_id_to_hex_short(t->id, hex);
    pb_bytes(out, 1, slice_str(hex));
    pb_bytes(out, 2, t->root_service);
    pb_bytes(out, 3, t->root_name);
    pb_varint(out, 4, t->start_ns);
    pb_varint(out, 5, (uint32_t)(t->duration_ns / (uint64_t)NS_PER_MS));
    if (t->spanset_count != 0)
        spanset_pb(out, 6, &t->spansets[0]);
    for (uint32_t i = 0; i < t->spanset_count; i++)
        spanset_pb(out, 7, &t->spansets[i]);
    for (uint32_t i = 0; i < t->service_count; i++) {
        size_t entry = pb_begin(out, 8);
        pb_bytes(out, 1, t->services[i].name);
        size_t stats = pb_begin(out, 2);
        pb_varint(out, 1, t->services[i].span_count);
        pb_varint(out, 2, t->services[i].error_count);
        pb_end(out, stats);
        pb_end(out, entry);
    }
    pb_end(out, mark);
}

void answers_stats_pb(struct buf *out, const struct result_stats *s)
{
    size_t mark = pb_begin(out, 2);
    pb_varint(out, 1, s->inspected_traces);
    pb_varint(out, 2, s->inspected_bytes);
    pb_varint(out, 3, s->total_blocks);
    pb_varint(out, 4, s->completed_jobs);
    pb_varint(out, 5, s->total_jobs);
    pb_varint(out, 6, s->total_block_bytes);
    pb_varint(out, 7, s->inspected_spans);
    pb_end(out, mark);
}

void answers_search_pb(struct buf *out, const struct search_result *r)
{
    for (uint32_t i = 0; i < r->trace_count; i++)
        trace_pb(out, &r->traces[i]);
    answers_stats_pb(out, &r->stats);
}

/* `metrics` of the tag routes. */
static void tag_stats(struct buf *out, struct json_out *j, const struct result_stats *s, bool is_pb)
{
    if (is_pb) {
        size_t mark = pb_begin(out, 2);
        pb_varint(out, 1, s->inspected_bytes);
        pb_end(out, mark);
        return;
    }
    json_out_key(j, "metrics");
    json_out_begin_object(j);
    u64_text_field(j, "inspectedBytes", s->inspected_bytes);
    json_out_end_object(j);
}

static int text_cmp(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* All names of the scopes, sorted, each once. */
static uint32_t names_flat(struct arena *a, const struct tag_names *r, unsigned scopes,
                           struct slice **ret)
{
    uint32_t total = ANSWERS_INTRINSIC_COUNT, n = 0, unique = 0;

    for (unsigned s = 0; s < TAGS_SCOPE_COUNT; s++)
        total += r->counts[s];
    struct slice *list = ARENA_ARRAY(a, struct slice, total);
    if (list == NULL)
        return 0;
    for (unsigned s = 0; s < TAGS_SCOPE_COUNT; s++)
        for (uint32_t i = 0; (scopes >> s & 1) != 0 && i < r->counts[s]; i++)
            list[n++] = r->names[s][i];
    for (unsigned i = 0; (scopes & ANSWERS_INTRINSIC) != 0 && i < ANSWERS_INTRINSIC_COUNT; i++)
        list[n++] = slice_str(answers_intrinsics[i]);
    if (n > 1)
        qsort(list, n, sizeof *list, text_cmp);
    for (uint32_t i = 0; i < n; i++)
        if (unique == 0 || !slice_eq(list[unique - 1], list[i]))
            list[unique++] = list[i];
    *ret = list;
    return unique;
}

void answers_tags_v1(struct buf *out, struct arena *a, const struct tag_names *r, unsigned scopes,
                     bool is_pb)
{
    struct json_out j;
    struct slice *names = NULL;
    uint32_t count = names_flat(a, r, scopes, &names);

    json_out_init(&j, out);
    if (is_pb) {
        for (uint32_t i = 0; i < count; i++)
            pb_bytes(out, 1, names[i]);
        tag_stats(out, &j, &r->stats, is_pb);
        return;
    }
    json_out_begin_object(&j);
    json_out_key(&j, "tagNames");
    json_out_begin_array(&j);
    for (uint32_t i = 0; i < count; i++)
        json_out_string(&j, names[i]);
    json_out_end_array(&j);
    tag_stats(out, &j, &r->stats, is_pb);
    json_out_end_object(&j);
}

static void scope_answer(struct buf *out, struct json_out *j, const char *name,
                         const struct slice *names, uint32_t count, bool is_pb)
{
    if (is_pb) {
        size_t mark = pb_begin(out, 1);
        pb_bytes(out, 1, slice_str(name));
        for (uint32_t i = 0; i < count; i++)
            pb_bytes(out, 2, names[i]);
        pb_end(out, mark);
        return;
    }
    json_out_begin_object(j);
    json_out_key(j, "name");
    json_out_cstring(j, name);
    if (count != 0) {
        json_out_key(j, "tags");
        json_out_begin_array(j);
        for (uint32_t i = 0; i < count; i++)
            json_out_string(j, names[i]);
        json_out_end_array(j);
    }
    json_out_end_object(j);
}

void answers_tags_v2(struct buf *out, const struct tag_names *r, unsigned scopes, bool is_pb)
{
    static const char *const names[TAGS_SCOPE_COUNT] = {"span", "resource", "event", "link",
                                                        "instrumentation"};
    struct slice intrinsics[ANSWERS_INTRINSIC_COUNT];
    struct json_out j;
    uint32_t count = 0;

    json_out_init(&j, out);
    if (!is_pb) {
        json_out_begin_object(&j);
        json_out_key(&j, "scopes");
        json_out_begin_array(&j);
    }
    for (unsigned s = 0; s < TAGS_SCOPE_COUNT; s++)
        if ((scopes >> s & 1) != 0 && r->counts[s] != 0)
            scope_answer(out, &j, names[s], r->names[s], r->counts[s], is_pb);
    if ((scopes & ANSWERS_INTRINSIC) != 0) {
        for (; count < ANSWERS_INTRINSIC_COUNT; count++)
            intrinsics[count] = slice_str(answers_intrinsics[count]);
        scope_answer(out, &j, "intrinsic", intrinsics, count, is_pb);
    }
    if (!is_pb)
        json_out_end_array(&j);
    tag_stats(out, &j, &r->stats, is_pb);
    if (!is_pb)
        json_out_end_object(&j);
}

struct slice answers_value_text(struct buf *scratch, struct value v)
{
    if (v.type == VALUE_STRING)
        return v.s;
    buf_reset(scratch);
    if (v.type == VALUE_STATUS || v.type == VALUE_KIND)
        num_append_i64(scratch, v.i); /* recorded: statuses and kinds come as numbers */
    else
        ql_dump_value(scratch, v);
    return buf_slice(scratch);
}

const char *answers_value_type(struct value v)
{
    switch (v.type) {
    case VALUE_STRING: return "string";
    case VALUE_INT:
    case VALUE_STATUS:
    case VALUE_KIND: return "int";
    case VALUE_FLOAT: return "float";
    case VALUE_BOOL: return "bool";
    case VALUE_DURATION: return "duration";
    case VALUE_NIL:
    case VALUE_INT_ARRAY:
    case VALUE_FLOAT_ARRAY:
    case VALUE_STRING_ARRAY:
    case VALUE_BOOL_ARRAY: break;
    }
    return "keyword";
}

void answers_values_v1(struct buf *out, const struct tag_values *r, bool is_pb)
{
    struct json_out j;
    struct buf scratch;

    buf_init(&scratch, TEXT_BYTES_MAX);
    json_out_init(&j, out);
    if (!is_pb) {
        json_out_begin_object(&j);
        json_out_key(&j, "tagValues");
        json_out_begin_array(&j);
    }
    for (uint32_t i = 0; i < r->count; i++) {
        struct slice text = answers_value_text(&scratch, r->values[i]);
        if (is_pb)
            pb_bytes(out, 1, text);
        else
            json_out_string(&j, text);
    }
    if (!is_pb)
        json_out_end_array(&j);
    tag_stats(out, &j, &r->stats, is_pb);
    if (!is_pb)
        json_out_end_object(&j);
    buf_release(&scratch);
}

void answers_values_v2(struct buf *out, const struct tag_values *r, bool is_pb)
{
    struct json_out j;
    struct buf scratch;

    buf_init(&scratch, TEXT_BYTES_MAX);
    json_out_init(&j, out);
    if (!is_pb) {
        json_out_begin_object(&j);
        json_out_key(&j, "tagValues");
        json_out_begin_array(&j);
    }
    for (uint32_t i = 0; i < r->count; i++) {
        struct slice text = answers_value_text(&scratch, r->values[i]);
        if (is_pb) {
            size_t mark = pb_begin(out, 1);
            pb_bytes(out, 1, slice_str(answers_value_type(r->values[i])));
            pb_bytes(out, 2, text);
            pb_end(out, mark);
            continue;
        }
        json_out_begin_object(&j);
        json_out_key(&j, "type");
        json_out_cstring(&j, answers_value_type(r->values[i]));
        if (text.len != 0) {
            json_out_key(&j, "value");
            json_out_string(&j, text);
        }
        json_out_end_object(&j);
    }
    if (!is_pb)
        json_out_end_array(&j);
    tag_stats(out, &j, &r->stats, is_pb);
    if (!is_pb)
        json_out_end_object(&j);
    buf_release(&scratch);
}
