#include "common/codec/otlp.h"
#include "common/codec/otlp_wire.h"

#include <assert.h>
#include <stdio.h>

const struct otlp_limits otlp_limits_default = {
    .depth_max = 64,
    .spans_max = 200000,
    .attributes_max = 1024,
    .events_max = 1024,
    .links_max = 1024,
};

/* What is checked is data: a shape per message, a row per known field.  Unknown fields are skipped. */
enum shape_id {
    SHAPE_NONE,
    SHAPE_REQUEST,
    SHAPE_RESOURCE_SPANS,
    SHAPE_RESOURCE,
    SHAPE_SCOPE_SPANS,
    SHAPE_SCOPE,
    SHAPE_SPAN,
    SHAPE_EVENT,
    SHAPE_LINK,
    SHAPE_STATUS,
    SHAPE_KEYVALUE,
    SHAPE_VALUE,
    SHAPE_ARRAY,
    SHAPE_KVLIST
};

enum count_kind {
    COUNT_ONCE,
    COUNT_SCALAR,
    COUNT_ITEMS,
    COUNT_SPANS,
    COUNT_ATTRIBUTES,
    COUNT_EVENTS,
    COUNT_LINKS
};

enum { FIELDS_MAX = 17, SLOTS = 3, IS_KNOWN = 0x80 };

struct field_row {
    const char *name;
    uint8_t type; /* enum wire_type, IS_KNOWN set */
    uint8_t shape;
    uint8_t count; /* enum count_kind */
    uint8_t slot;  /* which counter of the frame numbers the items */
};

#define TEXT(n)                                                 \
    {                                                           \
        (n), WIRE_BYTES | IS_KNOWN, SHAPE_NONE, COUNT_SCALAR, 0 \
    }
#define TEXT_ONCE(n)                                          \
    {                                                         \
        (n), WIRE_BYTES | IS_KNOWN, SHAPE_NONE, COUNT_ONCE, 0 \
    }
#define NUMBER(n)                                                \
    {                                                            \
        (n), WIRE_VARINT | IS_KNOWN, SHAPE_NONE, COUNT_SCALAR, 0 \
    }
#define FIXED64(n)                                                \
    {                                                             \
        (n), WIRE_FIXED64 | IS_KNOWN, SHAPE_NONE, COUNT_SCALAR, 0 \
    }
#define FIXED32(n)                                                \
    {                                                             \
        (n), WIRE_FIXED32 | IS_KNOWN, SHAPE_NONE, COUNT_SCALAR, 0 \
    }
#define ONE(n, s)                                            \
    {                                                        \
        (n), WIRE_BYTES | IS_KNOWN, SHAPE_##s, COUNT_ONCE, 0 \
    }
#define MEMBER(n, s)                                           \
    {                                                          \
        (n), WIRE_BYTES | IS_KNOWN, SHAPE_##s, COUNT_SCALAR, 0 \
    }
#define MANY(n, s, c, i)                                      \
    {                                                         \
        (n), WIRE_BYTES | IS_KNOWN, SHAPE_##s, COUNT_##c, (i) \
    }
#define ATTRIBUTES MANY("attributes", KEYVALUE, ATTRIBUTES, 0)

/* clang-format off */
static const struct field_row shapes[][FIELDS_MAX] = {
    [SHAPE_REQUEST] = {[1] = MANY("resource_spans", RESOURCE_SPANS, ITEMS, 0)},
    [SHAPE_RESOURCE_SPANS] = {[1] = ONE("resource", RESOURCE), [2] = MANY("scope_spans", SCOPE_SPANS, ITEMS, 0),
                              [3] = TEXT("schema_url")},
    [SHAPE_RESOURCE] = {[1] = ATTRIBUTES, [2] = NUMBER("dropped_attributes_count")},
    [SHAPE_SCOPE_SPANS] = {[1] = ONE("scope", SCOPE), [2] = MANY("spans", SPAN, SPANS, 0), [3] = TEXT("schema_url")},
    [SHAPE_SCOPE] = {[1] = TEXT("name"), [2] = TEXT("version"), [3] = ATTRIBUTES,
                     [4] = NUMBER("dropped_attributes_count")},
    [SHAPE_SPAN] = {[1] = TEXT_ONCE("trace_id"), [2] = TEXT_ONCE("span_id"), [3] = TEXT("trace_state"),
                    [4] = TEXT("parent_span_id"), [5] = TEXT("name"), [6] = NUMBER("kind"),
                    [7] = FIXED64("start_time_unix_nano"), [8] = FIXED64("end_time_unix_nano"), [9] = ATTRIBUTES,
                    [10] = NUMBER("dropped_attributes_count"), [11] = MANY("events", EVENT, EVENTS, 1),
                    [12] = NUMBER("dropped_events_count"), [13] = MANY("links", LINK, LINKS, 2),
                    [14] = NUMBER("dropped_links_count"), [15] = ONE("status", STATUS), [16] = FIXED32("flags")},
    [SHAPE_EVENT] = {[1] = FIXED64("time_unix_nano"), [2] = TEXT("name"), [3] = ATTRIBUTES,
                     [4] = NUMBER("dropped_attributes_count")},
    [SHAPE_LINK] = {[1] = TEXT("trace_id"), [2] = TEXT("span_id"), [3] = TEXT("trace_state"), [4] = ATTRIBUTES,
                    [5] = NUMBER("dropped_attributes_count"), [6] = FIXED32("flags")},
    [SHAPE_STATUS] = {[2] = TEXT("message"), [3] = NUMBER("code")},
    [SHAPE_KEYVALUE] = {[1] = TEXT_ONCE("key"), [2] = ONE("value", VALUE)},
    [SHAPE_VALUE] = {[1] = TEXT("string_value"), [2] = NUMBER("bool_value"), [3] = NUMBER("int_value"),
                     [4] = FIXED64("double_value"), [5] = MEMBER("array_value", ARRAY),
                     [6] = MEMBER("kvlist_value", KVLIST), [7] = TEXT("bytes_value")},
    [SHAPE_ARRAY] = {[1] = MANY("values", VALUE, ITEMS, 0)},
    [SHAPE_KVLIST] = {[1] = MANY("values", KEYVALUE, ITEMS, 0)},
};
/* clang-format on */

/* Messages above the outermost AnyValue, and messages that one level of AnyValue nesting takes at most. */
enum {
    FRAMES_ABOVE = 8,
    FRAMES_A_LEVEL = 3,
    DEPTH_LIMIT = 64,
    FRAMES_MAX = FRAMES_ABOVE + FRAMES_A_LEVEL * DEPTH_LIMIT
};

struct frame {
    const struct field_row *rows;
    const struct field_row *via; /* the row by which this message was entered */
    const uint8_t *end;
    uint32_t index; /* which of them, for repeated fields */
    uint32_t seen;  /* bit per field number */
    uint32_t counts[SLOTS];
};

struct check {
    const struct otlp_limits *limits;
    struct frame frames[FRAMES_MAX];
    unsigned top;
    uint32_t depth; /* of AnyValues open */
    uint32_t span_count;
    struct err_detail *detail;
};

static bool is_repeated(const struct field_row *row)
{
    return row->count != COUNT_ONCE && row->count != COUNT_SCALAR;
}

/* Writes the place and the reason; the innermost pieces of a very deep place are left out. */
static enum err fail_at(struct check *c, const struct field_row *row, enum err e, const char *what)
{
    char path[384];
    size_t len = 0;

    for (unsigned i = 1; i <= c->top && len < sizeof path - 64; i++) {
        const struct frame *f = &c->frames[i];
        int n = is_repeated(f->via) ? snprintf(path + len, sizeof path - len, "%s%s[%u]",
                                               len == 0 ? "" : ".", f->via->name, f->index)
                                    : snprintf(path + len, sizeof path - len, "%s%s",
                                               len == 0 ? "" : ".", f->via->name);
        assert(n > 0 && (size_t)n < sizeof path - len);
        len += (size_t)n;
    }
    path[len] = '\0';
    return err_detail_set(c->detail, e, "%s%s%s: %s", len == 0 && row == NULL ? "request" : path,
                          row != NULL && len > 0 ? "." : "", row == NULL ? "" : row->name, what);
}

/* Counts one more item of a repeated field; a maximum of 0 means none. */
static enum err count_item(struct check *c, const struct field_row *row, struct frame *f)
{
    uint32_t count = ++f->counts[row->slot];

    switch ((enum count_kind)row->count) {
    case COUNT_SPANS:
        if (++c->span_count > c->limits->spans_max)
            return fail_at(c, row, ERR_TOO_LARGE, "too many spans in one request");
        return ERR_OK;
    case COUNT_ATTRIBUTES:
        return count <= c->limits->attributes_max
                   ? ERR_OK
                   : fail_at(c, row, ERR_TOO_LARGE, "too many attributes");
    case COUNT_EVENTS:
        return count <= c->limits->events_max ? ERR_OK
                                              : fail_at(c, row, ERR_TOO_LARGE, "too many events");
    case COUNT_LINKS:
        return count <= c->limits->links_max ? ERR_OK
                                             : fail_at(c, row, ERR_TOO_LARGE, "too many links");
    case COUNT_ONCE:
    case COUNT_SCALAR:
    case COUNT_ITEMS:
    default: return ERR_OK;
    }
}

static enum err enter(struct check *c, const struct field_row *row, const uint8_t *end)
{
    if (row->shape == SHAPE_VALUE && c->depth == c->limits->depth_max)
        return fail_at(c, row, ERR_TOO_LARGE, "values are nested too deeply");
    c->depth += row->shape == SHAPE_VALUE;
    const struct frame *parent = &c->frames[c->top];
    uint32_t index = is_repeated(row) ? parent->counts[row->slot] - 1 : 0;
    c->top++;
    assert(c->top < FRAMES_MAX);
    c->frames[c->top] =
        (struct frame){.rows = shapes[row->shape], .via = row, .end = end, .index = index};
    return ERR_OK;
}

/* A value without further messages inside. */
static bool is_flat_value(struct slice value)
{
    struct reader r = reader_of(value);
    struct wire_field f;

    while (wire_next(&r, &f)) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_BYTES:
        case 2 << 3 | WIRE_VARINT:
        case 3 << 3 | WIRE_VARINT:
        case 4 << 3 | WIRE_FIXED64:
        case 7 << 3 | WIRE_BYTES: break;
        default: return false;
        }
    }
    return !reader_failed(&r);
}

/* A key and such a value, each once. */
static bool is_flat_keyvalue(struct slice keyvalue)
{
    struct reader r = reader_of(keyvalue);
    struct wire_field f;
    unsigned keys = 0, values = 0;

    while (wire_next(&r, &f)) {
        if (f.type != WIRE_BYTES || f.number > 2 || (f.number == 1 ? ++keys : ++values) > 1 ||
            (f.number == 2 && !is_flat_value(f.bytes)))
            return false;
    }
    return !reader_failed(&r);
}

static inline bool is_plain_keyvalue(const struct check *c, struct slice keyvalue)
{
    struct slice key, value;

    if (c->depth == c->limits->depth_max)
        return false;
    if (!wire_plain_keyvalue(keyvalue, &key, &value))
        return is_flat_keyvalue(keyvalue);
    return wire_plain_text(value) || is_flat_value(value);
}

static bool is_plain_event(const struct check *c, struct slice event)
{
    struct reader r = reader_of(event);
    struct wire_field f;
    uint32_t attributes = 0;

    while (wire_next(&r, &f)) {
        switch (f.number << 3 | f.type) {
        case 1 << 3 | WIRE_FIXED64:
        case 2 << 3 | WIRE_BYTES:
        case 4 << 3 | WIRE_VARINT: break;
        case 3 << 3 | WIRE_BYTES:
            if (++attributes > c->limits->attributes_max || !is_plain_keyvalue(c, f.bytes))
                return false;
            break;
        default: return false;
        }
    }
    return !reader_failed(&r);
}

static bool is_plain_status(struct slice status)
{
    struct reader r = reader_of(status);
    struct wire_field f;

    while (wire_next(&r, &f)) {
        if ((f.number << 3 | f.type) != (2 << 3 | WIRE_BYTES) &&
            (f.number << 3 | f.type) != (3 << 3 | WIRE_VARINT))
            return false;
    }
    return !reader_failed(&r);
}

/* Nearly all spans are seen to be sound here, in one pass; the others are gone through field by field, which also finds the words for what is wrong. */
static bool is_plain_span(const struct check *c, struct slice span)
{
    struct reader r = reader_of(span);
    struct wire_field f;
    uint32_t attributes = 0, events = 0, seen = 0;

    while (wire_next(&r, &f)) {
        switch (f.number << 3 | f.type) {
        case 9 << 3 | WIRE_BYTES:
            if (++attributes > c->limits->attributes_max || !is_plain_keyvalue(c, f.bytes))
                return false;
            break;
        case 11 << 3 | WIRE_BYTES:
            if (++events > c->limits->events_max || !is_plain_event(c, f.bytes))
                return false;
            break;
        case 1 << 3 | WIRE_BYTES:
        case 2 << 3 | WIRE_BYTES:
        case 15 << 3 | WIRE_BYTES:
            if ((seen >> f.number & 1) != 0 || (f.number == 15 && !is_plain_status(f.bytes)))
                return false;
            seen |= 1u << f.number;
            break;
        case 3 << 3 | WIRE_BYTES:
        case 4 << 3 | WIRE_BYTES:
        case 5 << 3 | WIRE_BYTES:
        case 6 << 3 | WIRE_VARINT:
        case 7 << 3 | WIRE_FIXED64:
        case 8 << 3 | WIRE_FIXED64:
        case 10 << 3 | WIRE_VARINT:
        case 12 << 3 | WIRE_VARINT:
        case 14 << 3 | WIRE_VARINT:
        case 16 << 3 | WIRE_FIXED32: break;
        default: return false; /* links and fields of tomorrow */
        }
    }
    return !reader_failed(&r);
}

/* One field of the message on top; `r` ends where that message ends. */
static enum err check_field(struct check *c, struct reader *r)
{
    struct frame *top = &c->frames[c->top];
    struct wire_field f;

    if (!wire_next(r, &f))
        return fail_at(c, NULL, ERR_FORMAT, "malformed or cut protobuf field");
    if (f.number >= FIELDS_MAX)
        return ERR_OK;
    const struct field_row *row = &top->rows[f.number];
    if (row->type == 0)
        return ERR_OK;
    if ((f.type | IS_KNOWN) != row->type)
        return fail_at(c, row, ERR_FORMAT, "wrong wire type");
    if (row->count == COUNT_SCALAR && row->shape == SHAPE_NONE)
        return ERR_OK;
    if (row->count == COUNT_ONCE) {
        if ((top->seen >> f.number & 1) != 0)
            return fail_at(c, row, ERR_FORMAT, "given more than once");
        top->seen |= 1u << f.number;
        if (row->shape == SHAPE_NONE)
            return ERR_OK;
    } else if (is_repeated(row)) {
        enum err e = count_item(c, row, top);
        if (e != ERR_OK)
            return e;
        if ((row->shape == SHAPE_KEYVALUE && is_plain_keyvalue(c, f.bytes)) ||
            (row->shape == SHAPE_SPAN && is_plain_span(c, f.bytes)))
            return ERR_OK;
    }
    enum err e = enter(c, row, f.bytes.ptr + f.bytes.len);
    if (e == ERR_OK)
        r->at = f.bytes.ptr; /* go on inside */
    return e;
}

enum err otlp_check(struct slice request, const struct otlp_limits *limits,
                    uint32_t *ret_span_count, struct err_detail *reterr_detail)
{
    assert(limits->depth_max <= DEPTH_LIMIT);
    assert(request.ptr != NULL || request.len == 0);
    struct check c;
    c.limits = limits;
    c.top = 0;
    c.depth = 0;
    c.span_count = 0;
    c.detail = reterr_detail;
    struct reader r = reader_of(request);
    c.frames[0] = (struct frame){.rows = shapes[SHAPE_REQUEST], .end = r.end};
    for (;;) {
        while (r.at == r.end) {
            if (c.top == 0) {
                *ret_span_count = c.span_count;
                return ERR_OK;
            }
            c.depth -= c.frames[c.top].via->shape == SHAPE_VALUE;
            c.top--;
            r.end = c.frames[c.top].end;
        }
        enum err e = check_field(&c, &r);
        if (e != ERR_OK)
            return e;
        r.end = c.frames[c.top].end;
    }
}
