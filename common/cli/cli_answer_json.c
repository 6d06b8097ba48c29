#include "common/base/num.h"
#include "common/cli/cli_answer.h"

#include <cjson/cJSON.h>

enum { JSON_BYTES_MAX = 1 << 30, VALUE_BYTES_MAX = 64 << 10 };

/* --- single values; what is missing is empty or 0, as protobuf leaves it out --- */

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

static struct slice text_of(const cJSON *o, const char *key, struct arena *a)
{
    const char *text = cJSON_GetStringValue(get(o, key));

    return text == NULL ? SLICE_NONE : arena_dup(a, slice_str(text));
}

/* A number, or a text of one (64 bits). */
static uint64_t u64_of(const cJSON *o, const char *key)
{
    const cJSON *item = get(o, key);
    const char *text = cJSON_GetStringValue(item);
    uint64_t v = 0;

    if (text != NULL && num_parse_u64(slice_str(text), &v) != ERR_OK)
        return 0;
    if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 1e18)
        v = (uint64_t)item->valuedouble;
    return v;
}

static double double_of(const cJSON *o, const char *key)
{
    const cJSON *item = get(o, key);
    const char *text = cJSON_GetStringValue(item);
    double v = 0;

    if (text != NULL && num_parse_double(slice_str(text), &v) != ERR_OK)
        return 0;
    return cJSON_IsNumber(item) ? item->valuedouble : v;
}

/* Room for the elements of a list; *ret_count 0 when it is none. */
static void *list_of(const cJSON *list, size_t bytes, struct arena *a, uint32_t *ret_count)
{
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;

    *ret_count = (uint32_t)count;
    void *room = count == 0 ? NULL : arena_calloc(a, (size_t)count, bytes);
    if (room == NULL)
        *ret_count = 0;
    return room;
}

/* --- attributes as text --- */

static void put_value(struct buf *out, const cJSON *any_value, bool is_quoted)
{
    const cJSON *item = any_value == NULL ? NULL : any_value->child;
    const char *text = cJSON_GetStringValue(item);
    const char *kind = item == NULL || item->string == NULL ? "" : item->string;

    if (text != NULL) {
        bool is_number = strcmp(kind, "intValue") == 0 || strcmp(kind, "doubleValue") == 0;
        const char *quote = is_quoted && !is_number ? "\"" : "";
        buf_append_str(out, quote);
        buf_append_str(out, text);
        buf_append_str(out, quote);
        return;
    }
    char *json = item == NULL ? NULL : cJSON_PrintUnformatted(item);
    if (json != NULL)
        buf_append_str(out, json);
    cJSON_free(json);
}

/* "key=value key2=value2", or as labels: {key="value", key2=2}.  What is too long is cut. */
static struct slice attributes_of(const cJSON *list, bool is_labels, struct arena *a)
{
    const cJSON *item;
    struct buf text;

    buf_init(&text, VALUE_BYTES_MAX);
    buf_append_str(&text, is_labels ? "{" : "");
    cJSON_ArrayForEach(item, list)
    {
        const char *key = cJSON_GetStringValue(get(item, "key"));
        if (item != list->child)
            buf_append_str(&text, is_labels ? ", " : " ");
        buf_append_str(&text, key == NULL ? "" : key);
        buf_append_byte(&text, '=');
        put_value(&text, get(item, "value"), is_labels);
    }
    buf_append_str(&text, is_labels ? "}" : "");
    if (buf_err(&text) == ERR_NOMEM && arena_err(a) == ERR_OK)
        a->err = ERR_NOMEM;
    struct slice copy = arena_dup(a, buf_slice(&text));
    buf_release(&text);
    return copy;
}

/* --- searches --- */

static void read_span(const cJSON *o, struct arena *a, struct cli_span *ret)
{
    *ret = (struct cli_span){.id = text_of(o, "spanID", a),
                             .name = text_of(o, "name", a),
                             .attributes = attributes_of(get(o, "attributes"), false, a),
                             .start_ns = u64_of(o, "startTimeUnixNano"),
                             .duration_ns = u64_of(o, "durationNanos")};
}

static void read_span_sets(const cJSON *trace, struct arena *a, struct cli_found *found)
{
    const cJSON *sets = get(trace, "spanSets"), *set, *span;
    size_t count = 0;

    cJSON_ArrayForEach(set, sets) count += (size_t)cJSON_GetArraySize(get(set, "spans"));
    found->spans = count == 0 ? NULL : ARENA_ARRAY(a, struct cli_span, count);
    cJSON_ArrayForEach(set, sets)
    {
        found->matched += u64_of(set, "matched");
        if (found->spans != NULL)
            cJSON_ArrayForEach(span, get(set, "spans"))
                read_span(span, a, &found->spans[found->span_count++]);
    }
}

static void read_traces(const cJSON *list, struct arena *a, struct cli_answer *ret)
{
    const cJSON *item;

    ret->found = list_of(list, sizeof *ret->found, a, &ret->found_count);
    struct cli_found *at = ret->found;
    if (at != NULL)
        cJSON_ArrayForEach(item, list)
        {
            *at = (struct cli_found){.trace_id = text_of(item, "traceID", a),
                                     .service = text_of(item, "rootServiceName", a),
                                     .name = text_of(item, "rootTraceName", a),
                                     .start_ns = u64_of(item, "startTimeUnixNano")};
            uint64_t ms = u64_of(item, "durationMs");
            at->duration_ns = ms < UINT64_MAX / 1000000 ? ms * 1000000 : UINT64_MAX;
            read_span_sets(item, a, at++);
        }
}

/* --- tags --- */

static void read_scopes(const cJSON *scopes, struct arena *a, struct cli_answer *ret)
{
    const cJSON *scope, *tag;
    size_t count = 0;

    cJSON_ArrayForEach(scope, scopes) count += (size_t)cJSON_GetArraySize(get(scope, "tags"));
    ret->tags = count == 0 ? NULL : ARENA_ARRAY(a, struct cli_tag, count);
    if (ret->tags == NULL)
        return;
    cJSON_ArrayForEach(scope, scopes)
    {
        struct slice name = text_of(scope, "name", a);
        cJSON_ArrayForEach(tag, get(scope, "tags"))
        {
            const char *text = cJSON_GetStringValue(tag);
            ret->tags[ret->tag_count++] =
                (struct cli_tag){name, text == NULL ? SLICE_NONE : arena_dup(a, slice_str(text))};
        }
    }
}

static void read_values(const cJSON *list, struct arena *a, struct cli_answer *ret)
{
    const cJSON *item;

    ret->tags = list_of(list, sizeof *ret->tags, a, &ret->tag_count);
    struct cli_tag *at = ret->tags;
    if (at != NULL)
        cJSON_ArrayForEach(item, list) *at++ =
            (struct cli_tag){text_of(item, "type", a), text_of(item, "value", a)};
}

/* --- metrics --- */

static void read_samples(const cJSON *one, struct arena *a, struct cli_series *series)
{
    const cJSON *list = get(one, "samples"), *item;

    if (list == NULL) { /* of an instant */
        series->samples = ARENA_NEW(a, struct cli_sample);
        if (series->samples != NULL)
            series->samples[series->sample_count++].value = double_of(one, "value");
        return;
    }
    series->samples = list_of(list, sizeof *series->samples, a, &series->sample_count);
    struct cli_sample *at = series->samples;
    if (at != NULL)
        cJSON_ArrayForEach(item, list) *at++ = (struct cli_sample){
            (int64_t)(u64_of(item, "timestampMs") & INT64_MAX), double_of(item, "value")};
}

static void read_series(const cJSON *list, struct arena *a, struct cli_answer *ret)
{
    const cJSON *item;

    ret->series = list_of(list, sizeof *ret->series, a, &ret->series_count);
    struct cli_series *at = ret->series;
    if (at != NULL)
        cJSON_ArrayForEach(item, list)
        {
            at->labels = attributes_of(get(item, "labels"), true, a);
            read_samples(item, a, at++);
        }
}

static enum err parse(struct slice json, cJSON **ret, struct err_detail *detail)
{
    if (json.len > JSON_BYTES_MAX)
        return err_detail_set(detail, ERR_TOO_LARGE, "the answer is too large");
    cJSON *o = json.len == 0 ? NULL : cJSON_ParseWithLength((const char *)json.ptr, json.len);
    if (!cJSON_IsObject(o)) {
        cJSON_Delete(o);
        return err_detail_set(detail, ERR_FORMAT, "the server's answer is no JSON object");
    }
    *ret = o;
    return ERR_OK;
}

enum err cli_answer_from_json(struct slice json, struct arena *a, struct cli_answer *ret,
                              struct err_detail *reterr_detail)
{
    struct cli_answer answer = {0};
    cJSON *o;
    enum err e = parse(json, &o, reterr_detail);

    if (e != ERR_OK)
        return e;
    if (get(o, "traces") != NULL)
        read_traces(get(o, "traces"), a, &answer);
    else if (get(o, "scopes") != NULL)
        read_scopes(get(o, "scopes"), a, &answer);
    else if (get(o, "tagValues") != NULL)
        read_values(get(o, "tagValues"), a, &answer);
    else if (get(o, "series") != NULL)
        read_series(get(o, "series"), a, &answer);
    answer.completed_jobs = u64_of(get(o, "metrics"), "completedJobs");
    answer.total_jobs = u64_of(get(o, "metrics"), "totalJobs");
    answer.message = text_of(o, "message", a);
    cJSON_Delete(o);
    if (arena_err(a) == ERR_OK)
        *ret = answer;
    return arena_err(a) == ERR_OK
               ? ERR_OK
               : err_detail_set(reterr_detail, arena_err(a), "no memory for the answer");
}

enum err cli_answer_has_trace_json(struct slice json, bool *ret, struct err_detail *reterr_detail)
{
    const cJSON *resource, *scope;
    cJSON *o;
    enum err e = parse(json, &o, reterr_detail);

    if (e != ERR_OK)
        return e;
    *ret = false;
    cJSON_ArrayForEach(resource, get(get(o, "trace"), "resourceSpans"))
        cJSON_ArrayForEach(scope, get(resource, "scopeSpans")) *ret =
            *ret || cJSON_GetArraySize(get(scope, "spans")) > 0;
    cJSON_Delete(o);
    return ERR_OK;
}
