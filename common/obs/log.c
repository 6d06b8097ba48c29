#include "common/obs/log.h"

#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/base/trace_id.h"
#include "common/base/utf8.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <unistd.h>

enum {
    LOG_LINE_BYTES = 4096,
    LOG_TAIL_BYTES = 64,
    LOG_HEX_BYTES_MAX = 64,
    LOG_COMPONENT_BYTES = 32
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static atomic_int level_now = LOG_LEVEL_INFO;
static bool is_json_now;                        /* written by log_configure, before threads start */
static char component_now[LOG_COMPONENT_BYTES]; /* likewise */

/* A line being written.  Text stops LOG_TAIL_BYTES before the end; the tail closes what is open. */
struct line {
    char text[LOG_LINE_BYTES];
    size_t len;
    bool is_json, is_cut;
};

void log_configure(enum log_level level, bool is_json, const char *component)
{
    assert(level <= LOG_LEVEL_ERROR);
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
    is_json_now = is_json;
    (void)snprintf(component_now, sizeof component_now, "%s", component); /* a short word of ours */
}

enum err log_level_parse(struct slice s, enum log_level *ret)
{
    for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
        if (slice_eq_str(s, level_names[i])) {
            *ret = (enum log_level)i;
            return ERR_OK;
        }
    return ERR_INVALID;
}

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* Never beyond `limit`; false when there is no room for the whole of it. */
static bool line_put(struct line *l, struct slice s, size_t limit)
{
    assert(limit <= sizeof l->text);
    if (s.len > limit - l->len)
        return false;
    memcpy(l->text + l->len, s.ptr, s.len);
    l->len += s.len;
    return true;
}

static void line_put_text(struct line *l, struct slice s)
{
    if (!line_put(l, s, LOG_LINE_BYTES - LOG_TAIL_BYTES))
        l->is_cut = true;
}

static void line_put_tail(struct line *l, struct slice s)
{
    bool has_room = line_put(l, s, LOG_LINE_BYTES);

    assert(has_room); /* what goes into the tail is fixed and short */
    (void)has_room;
}

/* The next character of *s as it stands between quotes. */
static struct slice escape_next(struct slice *s, char ret_escaped[8])
{
    size_t bytes = utf8_char_bytes(*s);
    struct slice c = slice_sub(*s, 0, bytes);
    uint8_t lead = s->ptr[0];
    int n = 0;

    *s = slice_sub(*s, bytes == 0 ? 1 : bytes, s->len);
    if (bytes == 0)
        return SLICE_LIT("\\ufffd");
    if (lead == '"' || lead == '\\')
        n = snprintf(ret_escaped, 8, "\\%c", lead);
    else if (lead == '\n')
        n = snprintf(ret_escaped, 8, "\\n");
    else if (lead == '\r')
        n = snprintf(ret_escaped, 8, "\\r");
    else if (lead == '\t')
        n = snprintf(ret_escaped, 8, "\\t");
    else if (lead < 0x20 || lead == 0x7f)
        n = snprintf(ret_escaped, 8, "\\u%04x", lead);
    else if (bytes == 2 && lead == 0xc2 && c.ptr[1] < 0xa0) /* C1: terminals obey them */
        n = snprintf(ret_escaped, 8, "\\u%04x", c.ptr[1]);
    return n == 0 ? c : (struct slice){(const uint8_t *)ret_escaped, (size_t)n};
}

/* A value that logfmt readers take without quotes. */
static bool is_bare(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] == '"' || s.ptr[i] == '=' || s.ptr[i] == '\\' ||
            s.ptr[i] >= 0x7f)
            return false;
    return true;
}

static void line_put_string(struct line *l, struct slice s)
{
    bool has_quotes = l->is_json || !is_bare(s);

    if (has_quotes)
        line_put_tail(l, SLICE_LIT("\""));
    while (s.len != 0 && !l->is_cut) {
        char escaped[8];
        line_put_text(l, escape_next(&s, escaped));
    }
    if (has_quotes)
        line_put_tail(l, SLICE_LIT("\""));
}

static void line_put_key(struct line *l, const char *key)
{
    if (l->is_json)
        line_put_text(l, l->len == 0 ? SLICE_LIT("{\"") : SLICE_LIT(",\""));
    else if (l->len != 0)
        line_put_text(l, SLICE_LIT(" "));
    line_put_text(l, slice_str(key));
    line_put_text(l, l->is_json ? SLICE_LIT("\":") : SLICE_LIT("="));
}

static void line_put_value(struct line *l, const struct log_field *f)
{
    char text[NUM_TEXT_BYTES];
    size_t len = 0;

    switch (f->kind) {
    case LOG_KIND_STR: line_put_string(l, slice_str(f->v.str == NULL ? "null" : f->v.str)); return;
    case LOG_KIND_SLICE: line_put_string(l, f->v.slice); return;
    case LOG_KIND_HEX:
        hex_encode(slice_sub(f->v.slice, 0, LOG_HEX_BYTES_MAX), text);
        line_put_string(l, slice_str(text));
        return;
    case LOG_KIND_NS:
        (void)num_format_duration(f->v.i, text);
        if (l->is_json)
            line_put_string(l, slice_str(text));
        else
            line_put_text(l, slice_str(text)); /* the micro sign needs no quotes */
        return;
    case LOG_KIND_DOUBLE:
        len = num_format_double_g(f->v.d, text);
        if (l->is_json && !isfinite(f->v.d)) {
            line_put_string(l, slice_str(text)); /* JSON has no such number */
            return;
        }
        break;
    case LOG_KIND_INT: len = (size_t)snprintf(text, sizeof text, "%lld", (long long)f->v.i); break;
    case LOG_KIND_UINT:
        len = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)f->v.u);
        break;
    case LOG_KIND_BOOL:
        len = (size_t)snprintf(text, sizeof text, f->v.u != 0 ? "true" : "false");
        break;
    }
    line_put_text(l, (struct slice){(const uint8_t *)text, len});
}

/* A field whose beginning has no room is left out whole; a long string is cut. */
static void line_put_field(struct line *l, const struct log_field *f)
{
    size_t len_before = l->len;

    if (l->is_cut)
        return;
    bool is_text = f->kind == LOG_KIND_STR || f->kind == LOG_KIND_SLICE;
    line_put_key(l, f->key);
    bool has_key = !l->is_cut;
    if (has_key)
        line_put_value(l, f);
    if (l->is_cut && !(has_key && is_text))
        l->len = len_before;
}

static void format_time(int64_t wall_ns, char ret[40])
{
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm tm;
    char date[24];

    (void)gmtime_r(&seconds, &tm);
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(ret, 40, "%s.%09dZ", date, (int)(wall_ns % NS_PER_S));
}

void log_write(enum log_level level, const char *caller, const char *event,
               const struct log_field *fields, size_t count)
{
    struct line l;
    char time_text[40];

    assert(level <= LOG_LEVEL_ERROR);
    assert(event != NULL);
    l.len = 0;
    l.is_json = is_json_now;
    l.is_cut = false;
    format_time(clock_wall_ns(&clock_system), time_text);
    line_put_field(&l, &LOG_STR("level", level_names[level]));
    line_put_field(&l, &LOG_STR("ts", time_text));
    line_put_field(&l, &LOG_STR("caller", caller));
    if (component_now[0] != '\0')
        line_put_field(&l, &LOG_STR("component", component_now));
    line_put_field(&l, &LOG_STR("msg", event));
    for (size_t i = 0; i < count; i++)
        line_put_field(&l, &fields[i]);
    if (l.is_cut)
        line_put_tail(&l,
                      l.is_json ? SLICE_LIT(",\"truncated\":true") : SLICE_LIT(" truncated=true"));
    line_put_tail(&l, l.is_json ? SLICE_LIT("}\n") : SLICE_LIT("\n"));
    ssize_t n;
    do
        n = write(STDERR_FILENO, l.text, l.len);
    while (n < 0 && errno == EINTR);
    (void)n; /* nowhere left to complain */
}

bool log_rate_allow(struct log_rate *r, int64_t interval_ns, uint64_t *ret_suppressed)
{
    long long now_ns = clock_mono_ns(&clock_system);
    long long next_ns = atomic_load_explicit(&r->next_ns, memory_order_relaxed);

    assert(interval_ns >= 0);
    if (now_ns < next_ns ||
        !atomic_compare_exchange_strong_explicit(&r->next_ns, &next_ns, now_ns + interval_ns,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        (void)atomic_fetch_add_explicit(&r->suppressed, 1, memory_order_relaxed);
        return false;
    }
    *ret_suppressed = atomic_exchange_explicit(&r->suppressed, 0, memory_order_relaxed);
    return true;
}
