#include "querier/params.h"

#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/base/rfc3339.h"
#include "common/net/http_server.h"

#include <assert.h>

enum { SEARCH_DEFAULT_WINDOW_S = 15 * 60, INTERVALS_MAX = 10000 };

/* An integer as Go's strconv would read it, with its words. */
static enum err go_int(struct slice text, const char *param, const char *function, int64_t min,
                       int64_t max, int64_t *ret, struct err_detail *detail)
{
    enum err e = num_parse_i64(text, ret);

    if (e == ERR_OK && (*ret < min || *ret > max))
        e = ERR_TOO_LARGE;
    if (e == ERR_OK)
        return ERR_OK;
    return err_detail_set(
        detail, ERR_INVALID, "invalid %s: strconv.%s: parsing \"" SLICE_FMT "\": %s", param,
        function, SLICE_ARG(text), e == ERR_TOO_LARGE ? "value out of range" : "invalid syntax");
}

static enum err seconds_param(struct arena *a, struct slice query, const char *name, int64_t max,
                              int64_t *ret, bool *ret_given, struct err_detail *detail)
{
    struct slice text = http_query_get(a, query, name);

    *ret = 0;
    *ret_given = text.ptr != NULL && text.len != 0;
    if (!*ret_given)
        return ERR_OK;
    return go_int(text, name, "ParseInt", -max - 1, max, ret, detail);
}

static enum err order_error(int64_t start, int64_t end, struct err_detail *detail)
{
    return err_detail_set(detail, ERR_INVALID,
                          "http parameter start must be before end. received start=%lld end=%lld",
                          (long long)start, (long long)end);
}

static uint64_t seconds_ns(int64_t s)
{
    return s <= 0 ? 0 : s >= 18000000000 ? UINT64_MAX : (uint64_t)s * (uint64_t)NS_PER_S;
}

enum err params_trace_window(struct arena *a, struct slice query, struct params_window *ret,
                             struct err_detail *reterr_detail)
{
    int64_t start, end;
    bool has_start, has_end;
    struct slice mode = http_query_get(a, query, "mode");

    if (mode.len != 0 && !slice_eq_str(mode, "all") && !slice_eq_str(mode, "ingesters") &&
        !slice_eq_str(mode, "blocks") && !slice_eq_str(mode, "external"))
        return err_detail_set(reterr_detail, ERR_INVALID, "invalid value for mode " SLICE_FMT,
                              SLICE_ARG(mode));
    enum err e = seconds_param(a, query, "start", INT64_MAX, &start, &has_start, reterr_detail);
    if (e == ERR_OK)
        e = seconds_param(a, query, "end", INT64_MAX, &end, &has_end, reterr_detail);
    if (e != ERR_OK)
        return e;
    if (start != 0 && end != 0 && end <= start)
        return order_error(start, end, reterr_detail);
    *ret = (struct params_window){
        .start_ns = seconds_ns(start), .end_ns = seconds_ns(end), .is_given = has_start && has_end};
    return ERR_OK;
}

/* `since` moves the window: it ends now. */
static enum err since_window(const struct config *c, struct slice since, int64_t now_ns,
                             struct params_window *ret, struct err_detail *detail)
{
    int64_t ns;

    if (num_parse_duration_prom(since, &ns) != ERR_OK || ns <= 0)
        return err_detail_set(detail, ERR_INVALID,
                              "invalid since: not a valid duration string: \"" SLICE_FMT "\"",
                              SLICE_ARG(since));
    int64_t end = now_ns - c->query_end_cutoff_ns;
    *ret = (struct params_window){
        .start_ns = (uint64_t)(end > ns ? end - ns : 0), .end_ns = (uint64_t)end, .is_given = true};
    return ERR_OK;
}

static const char one_of_two[] =
    "error parsing date range: only one of start and end provided: must provide both or neither";

static enum err default_window(const struct config *c, int64_t now_ns, struct params_window *ret)
{
    int64_t until = now_ns - c->query_end_cutoff_ns;

    *ret =
        (struct params_window){.start_ns = (uint64_t)(until - SEARCH_DEFAULT_WINDOW_S * NS_PER_S),
                               .end_ns = (uint64_t)until,
                               .is_given = false};
    return ERR_OK;
}

/* A given window, cut at the end and checked against the longest allowed. */
static enum err window_limit(const struct params_rules *rules, int64_t start, int64_t end,
                             int64_t now_ns, struct params_window *ret, struct err_detail *detail)
{
    int64_t cutoff = rules->config->query_end_cutoff_ns;
    int64_t longest = rules->limits->max_search_duration_ns;
    /* Of a reversed one only the tag routes come here: the difference of unsigned numbers, as recorded. */
    int64_t range = end < start ? (int64_t)(uint32_t)(end - start) : end - start;

    if (cutoff > 0 && end > (now_ns - cutoff) / NS_PER_S)
        end = (now_ns - cutoff) / NS_PER_S;
    if (longest > 0 && range > longest / NS_PER_S) {
        struct buf text;
        buf_init(&text, 64);
        num_append_duration(&text, longest);
        enum err e = err_detail_set(detail, ERR_INVALID,
                                    "range specified by start and end exceeds " SLICE_FMT
                                    ". received start=%lld end=%lld",
                                    SLICE_ARG(buf_slice(&text)), (long long)start, (long long)end);
        buf_release(&text);
        return e;
    }
    *ret = (struct params_window){
        .start_ns = seconds_ns(start), .end_ns = seconds_ns(end), .is_given = true};
    return ERR_OK;
}

/* The window of a search: unsigned 32-bit seconds, both or neither. */
static enum err search_window(struct arena *a, const struct params_rules *rules, struct slice query,
                              int64_t now_ns, struct params_window *ret, struct err_detail *detail)
{
    int64_t start, end;
    bool has_start, has_end;
    struct slice since = http_query_get(a, query, "since");

    if (since.len != 0)
        return since_window(rules->config, since, now_ns, ret, detail);
    enum err e = seconds_param(a, query, "start", INT32_MAX, &start, &has_start, detail);
    if (e == ERR_OK)
        e = seconds_param(a, query, "end", INT32_MAX, &end, &has_end, detail);
    if (e != ERR_OK)
        return e;
    start = (int64_t)(uint32_t)start; /* as Tempo does: a negative second wraps */
    end = (int64_t)(uint32_t)end;
    if (!has_start && !has_end)
        return default_window(rules->config, now_ns, ret);
    if (!has_start)
        return err_detail_set(detail, ERR_INVALID, one_of_two);
    if (end <= start)
        return order_error(start, end, detail);
    return window_limit(rules, start, end, now_ns, ret, detail);
}

/* The window of the tag routes, with the words and the arithmetic of another parser: both or neither; the range is unsigned. */
static enum err tags_window(struct arena *a, const struct params_rules *rules, struct slice query,
                            int64_t now_ns, struct params_window *ret, struct err_detail *detail)
{
    static const char *const names[2] = {"start", "end"};
    struct slice since = http_query_get(a, query, "since");
    int64_t at[2] = {0, 0};
    unsigned given = 0;

    if (since.len != 0)
        return since_window(rules->config, since, now_ns, ret, detail);
    for (unsigned i = 0; i < 2; i++) {
        struct slice text = http_query_get(a, query, names[i]);
        struct err_detail why = {0};
        if (text.len == 0)
            continue;
        given++;
        if (go_int(text, names[i], "ParseInt", -(int64_t)INT32_MAX - 1, INT32_MAX, &at[i], &why) !=
            ERR_OK)
            return err_detail_set(detail, ERR_INVALID,
                                  "error parsing date range: could not parse '%s' parameter: %s",
                                  names[i], strstr(why.text, "strconv"));
        at[i] = (int64_t)(uint32_t)at[i];
    }
    if (given == 0)
        return default_window(rules->config, now_ns, ret);
    if (given == 1)
        return err_detail_set(detail, ERR_INVALID, one_of_two);
    return window_limit(rules, at[0], at[1], now_ns, ret, detail);
}

static enum err limit_param(struct arena *a, const struct config *c, struct slice query,
                            uint32_t *ret, struct err_detail *detail)
{
    struct slice text = http_query_get(a, query, "limit");
    int64_t v = c->search_default_limit;

    if (text.len != 0) {
        enum err e = go_int(text, "limit", "Atoi", INT64_MIN, INT64_MAX, &v, detail);
        if (e != ERR_OK)
            return e;
        if (v <= 0)
            return err_detail_set(detail, ERR_INVALID, "invalid limit: must be a positive number");
    }
    if (v > c->search_max_limit)
        return err_detail_set(detail, ERR_INVALID, "limit %lld exceeds max limit %lld",
                              (long long)v, (long long)c->search_max_limit);
    *ret = (uint32_t)v;
    return ERR_OK;
}

static enum err spss_param(struct arena *a, const struct config *c, struct slice query,
                           uint32_t *ret, struct err_detail *detail)
{
    struct slice text = http_query_get(a, query, "spss");
    int64_t v = c->search_default_spss;

    if (text.len != 0) {
        enum err e = go_int(text, "spss", "Atoi", INT64_MIN, INT64_MAX, &v, detail);
        if (e != ERR_OK)
            return e;
        if (v < 0)
            return err_detail_set(detail, ERR_INVALID,
                                  "invalid spss: must be a non-negative number");
    }
    if (c->search_max_spss > 0 && v > c->search_max_spss)
        return err_detail_set(detail, ERR_INVALID, "spans per span set exceeds %lld. received %lld",
                              (long long)c->search_max_spss, (long long)v);
    *ret = v == 0 ? (uint32_t)c->search_default_spss : (uint32_t)v;
    return ERR_OK;
}

static enum err duration_param(struct arena *a, struct slice query, const char *name, uint64_t *ret,
                               struct err_detail *detail)
{
    struct slice text = http_query_get(a, query, name);
    int64_t ns = 0;

    if (text.len != 0 && num_parse_duration_go(text, &ns) != ERR_OK) {
        bool is_number = text.len != 0;
        for (size_t i = 0; i < text.len; i++)
            is_number = is_number &&
                        ((text.ptr[i] >= '0' && text.ptr[i] <= '9') ||
                         (text.ptr[i] == '.' && text.len > 1) ||
                         (i == 0 && text.len > 1 && (text.ptr[i] == '-' || text.ptr[i] == '+')));
        return err_detail_set(detail, ERR_INVALID,
                              "invalid %s: time: %s duration \"" SLICE_FMT "\"", name,
                              is_number ? "missing unit in" : "invalid", SLICE_ARG(text));
    }
    *ret = ns < 0 ? UINT64_MAX : (uint64_t)ns; /* a negative one is beyond all, as in Tempo */
    return ERR_OK;
}

/* One logfmt token: bare up to a delimiter, or in double quotes with \" and \\.  False at a broken quote. */
static bool logfmt_token(struct arena *a, struct slice s, size_t *at, bool is_key,
                         struct slice *ret)
{
    if (*at < s.len && s.ptr[*at] == '"' && !is_key) {
        uint8_t *out = arena_alloc(a, s.len + 1);
        size_t n = 0;
        if (out == NULL)
            return false;
        for ((*at)++; *at < s.len && s.ptr[*at] != '"'; (*at)++) {
            if (s.ptr[*at] == '\\' && *at + 1 < s.len)
                (*at)++;
            out[n++] = s.ptr[*at];
        }
        if (*at == s.len)
            return false;
        (*at)++;
        *ret = (struct slice){out, n};
        return true;
    }
    size_t from = *at;
    while (*at < s.len && s.ptr[*at] > ' ' && s.ptr[*at] != '"' && (!is_key || s.ptr[*at] != '='))
        (*at)++;
    *ret = slice_sub(s, from, *at);
    return !is_key || *at > from;
}

static enum err tags_param(struct arena *a, struct slice text, struct params_search *ret,
                           struct err_detail *detail)
{
    enum { TAGS_MAX = 64 };
    size_t at = 0;

    ret->tags = ARENA_ARRAY(a, struct engine_tag, TAGS_MAX);
    if (ret->tags == NULL)
        return arena_err(a);
    for (;;) {
        struct engine_tag tag = {0};
        while (at < text.len && text.ptr[at] <= ' ')
            at++;
        if (at == text.len)
            return ERR_OK;
        if (!logfmt_token(a, text, &at, true, &tag.key))
            return err_detail_set(detail, ERR_INVALID, "invalid tags: unexpected '%c' at pos %zu",
                                  text.ptr[at], at + 1);
        if (at < text.len && text.ptr[at] == '=') {
            at++;
            if (!logfmt_token(a, text, &at, false, &tag.value))
                return err_detail_set(detail, ERR_INVALID,
                                      "invalid tags: unterminated quoted value at pos %zu", at + 1);
        }
        for (uint32_t i = 0; i < ret->tag_count; i++)
            if (slice_eq(ret->tags[i].key, tag.key))
                return err_detail_set(detail, ERR_INVALID,
                                      "invalid tags: tag " SLICE_FMT " has been set twice",
                                      SLICE_ARG(tag.key));
        if (ret->tag_count == TAGS_MAX)
            return err_detail_set(detail, ERR_INVALID, "invalid tags: more than %d tags", TAGS_MAX);
        ret->tags[ret->tag_count++] = tag;
    }
}

enum err params_search(struct arena *a, const struct params_rules *rules, struct slice query,
                       int64_t now_ns, struct params_search *ret, struct err_detail *reterr_detail)
{
    struct params_search p = {0};
    enum err e = search_window(a, rules, query, now_ns, &p.window, reterr_detail);

    if (e == ERR_OK)
        e = limit_param(a, rules->config, query, &p.limit, reterr_detail);
    if (e == ERR_OK)
        e = spss_param(a, rules->config, query, &p.spss, reterr_detail);
    if (e == ERR_OK)
        e = duration_param(a, query, "minDuration", &p.min_duration_ns, reterr_detail);
    if (e == ERR_OK)
        e = duration_param(a, query, "maxDuration", &p.max_duration_ns, reterr_detail);
    if (e != ERR_OK)
        return e;
    if (p.max_duration_ns != 0 && p.max_duration_ns <= p.min_duration_ns)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "invalid maxDuration: must be greater than minDuration");
    struct slice q = http_query_get(a, query, "q"), tags = http_query_get(a, query, "tags");
    if (q.len != 0 && tags.len != 0)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "invalid request: can't specify tags and q in the same query");
    if (q.len > (size_t)rules->config->max_query_bytes)
        return err_detail_set(
            reterr_detail, ERR_INVALID,
            "TraceQL expression exceeds the configured maximum size of %lld bytes, reduce the query expression size or contact your system administrator",
            (long long)rules->config->max_query_bytes);
    if (q.len != 0) {
        p.q = q;
        p.min_duration_ns = p.max_duration_ns = 0; /* of tag searches only */
    } else if (tags.len != 0) {
        e = tags_param(a, tags, &p, reterr_detail);
        if (e != ERR_OK)
            return e;
    }
    *ret = p;
    return ERR_OK;
}

enum err params_tags(struct arena *a, const struct params_rules *rules, struct slice query,
                     int64_t now_ns, struct params_tags *ret, struct err_detail *reterr_detail)
{
    static const char *const scopes[] = {
        "", "none", "resource", "span", "event", "link", "instrumentation", "trace", "intrinsic"};
    struct params_tags p = {.scope = http_query_get(a, query, "scope"),
                            .q = http_query_get(a, query, "q")};
    struct slice limit = http_query_get(a, query, "limit");
    int64_t n = 0;
    bool is_known = false;

    enum err e = tags_window(a, rules, query, now_ns, &p.window, reterr_detail);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++)
        is_known = is_known || slice_eq_str(p.scope, scopes[i]);
    if (!is_known)
        return err_detail_set(reterr_detail, ERR_INVALID, "invalid scope: " SLICE_FMT,
                              SLICE_ARG(p.scope));
    if (num_parse_i64(limit, &n) == ERR_OK && n > 0)
        p.limit = n > INT32_MAX ? INT32_MAX : (uint32_t)n;
    *ret = p;
    return ERR_OK;
}

/* Seconds (up to 10 digits, or with a fraction), nanoseconds, or RFC 3339. */
static enum err metrics_time(struct slice text, const char *name, uint64_t *ret,
                             struct err_detail *detail)
{
    int64_t i;
    double d;

    if (memchr(text.ptr, '.', text.len) == NULL && num_parse_i64(text, &i) == ERR_OK && i >= 0) {
        *ret = text.len <= 10 ? (uint64_t)i * (uint64_t)NS_PER_S : (uint64_t)i;
        return ERR_OK;
    }
    if (num_parse_double(text, &d) == ERR_OK && d >= 0 && d < 1e10) {
        *ret = (uint64_t)(d * 1e9);
        return ERR_OK;
    }
    if (rfc3339_parse(text, ret))
        return ERR_OK;
    return err_detail_set(detail, ERR_INVALID,
                          "could not parse '%s' parameter: cannot parse \"" SLICE_FMT
                          "\" to a valid timestamp",
                          name, SLICE_ARG(text));
}

/* Tempo's table: a 240th of the range, rounded down to a multiple of the largest of these that it exceeds. */
static uint64_t default_step(uint64_t range_ns)
{
    static const uint64_t seconds[] = {3600, 300, 60, 15, 5, 1};
    uint64_t base = range_ns / 240;

    if (range_ns < 60 * (uint64_t)NS_PER_S) {
        uint64_t grain = 50 * (uint64_t)NS_PER_MS;
        return base < grain ? grain : base / grain * grain;
    }
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        uint64_t grain = seconds[i] * (uint64_t)NS_PER_S;
        if (base > grain)
            return base / grain * grain;
    }
    return (uint64_t)NS_PER_S;
}

/* A number that is none counts as not given, as in Tempo. */
static uint32_t lenient_number(struct arena *a, struct slice query, const char *name,
                               uint32_t fallback)
{
    int64_t n = 0;

    if (num_parse_i64(http_query_get(a, query, name), &n) != ERR_OK || n < 0)
        return fallback;
    return n > INT32_MAX ? INT32_MAX : (uint32_t)n;
}

static enum err metrics_range(const struct limits *limits, uint64_t range_ns,
                              struct err_detail *detail)
{
    int64_t longest = limits->max_metrics_duration_ns;
    struct buf text;

    if (longest == 0 || range_ns <= (uint64_t)longest)
        return ERR_OK;
    buf_init(&text, 64);
    num_append_duration(&text, longest);
    enum err e = err_detail_set(
        detail, ERR_INVALID,
        "metrics query time range exceeds the maximum allowed duration of " SLICE_FMT,
        SLICE_ARG(buf_slice(&text)));
    buf_release(&text);
    return e;
}

enum err params_metrics(struct arena *a, const struct params_rules *rules, struct slice query,
                        int64_t now_ns, struct params_metrics *ret,
                        struct err_detail *reterr_detail)
{
    struct params_metrics p = {.q = http_query_get(a, query, "q"),
                               .end_ns = (uint64_t)now_ns,
                               .exemplars = lenient_number(a, query, "exemplars", UINT32_MAX),
                               .series_max = lenient_number(a, query, "maxSeries", 0)};
    struct slice start = http_query_get(a, query, "start"), end = http_query_get(a, query, "end"),
                 since = http_query_get(a, query, "since"), step = http_query_get(a, query, "step");
    int64_t ns = 3600 * NS_PER_S;
    double seconds;
    enum err e = ERR_OK;

    if (p.q.len == 0)
        p.q = http_query_get(a, query, "query");
    if (end.len != 0)
        e = metrics_time(end, "end", &p.end_ns, reterr_detail);
    if (e == ERR_OK && since.len != 0 && num_parse_duration_prom(since, &ns) != ERR_OK)
        e = err_detail_set(
            reterr_detail, ERR_INVALID,
            "could not parse 'since' parameter: not a valid duration string: \"" SLICE_FMT "\"",
            SLICE_ARG(since));
    p.start_ns = p.end_ns > (uint64_t)ns ? p.end_ns - (uint64_t)ns : 0;
    if (e == ERR_OK && start.len != 0)
        e = metrics_time(start, "start", &p.start_ns, reterr_detail);
    if (e != ERR_OK)
        return e;
    if (p.end_ns <= p.start_ns)
        return err_detail_set(reterr_detail, ERR_INVALID, "end must be greater than start");
    p.step_ns = default_step(p.end_ns - p.start_ns);
    if (step.len != 0) {
        if (num_parse_double(step, &seconds) == ERR_OK && seconds >= 0 && seconds < 1e9)
            p.step_ns = (uint64_t)(seconds * 1e9);
        else if (num_parse_duration_go(step, &ns) == ERR_OK && ns >= 0)
            p.step_ns = (uint64_t)ns;
        else
            return err_detail_set(reterr_detail, ERR_INVALID,
                                  "cannot parse \"" SLICE_FMT "\" to a valid duration",
                                  SLICE_ARG(step));
    }
    if (p.step_ns == 0)
        return err_detail_set(reterr_detail, ERR_INVALID, "step must be greater than 0");
    uint64_t intervals = (uint64_t)rules->config->metrics_max_intervals;
    if (intervals == 0)
        intervals = INTERVALS_MAX;
    if ((p.end_ns - p.start_ns) / p.step_ns > intervals)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "step of %gs is too small, minimum step for given range is %gs",
                              (double)p.step_ns / 1e9,
                              (double)(p.end_ns - p.start_ns) / 1e9 / (double)intervals);
    *ret = p;
    return metrics_range(rules->limits, p.end_ns - p.start_ns, reterr_detail);
}
