#include "common/codec/otlp_json.h"

#include "common/base/arena.h"
#include "common/base/num.h"
#include "common/base/trace_id.h"
#include "common/codec/json_scan.h"
#include "common/codec/otlp_write.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>

enum json_type {
    JSON_TEXT,
    JSON_ID,
    JSON_UINT32,
    JSON_FIXED32,
    JSON_FIXED64,
    JSON_KIND,
    JSON_CODE,
    JSON_BOOL,
    JSON_INT64,
    JSON_DOUBLE,
    JSON_BYTES,
    JSON_MESSAGE,
    JSON_LIST
};

enum json_shape {
    JSON_REQUEST,
    JSON_RESOURCE_SPANS,
    JSON_RESOURCE,
    JSON_SCOPE_SPANS,
    JSON_SCOPE,
    JSON_SPAN,
    JSON_EVENT,
    JSON_LINK,
    JSON_STATUS,
    JSON_KEYVALUE,
    JSON_VALUE,
    JSON_ARRAY,
    JSON_KVLIST
};

struct json_row {
    const char *name; /* lowerCamelCase; NULL ends the shape */
    uint8_t field, type, shape;
};

enum { ROWS_MAX = 17 };

/* clang-format off */
static const struct json_row shapes[][ROWS_MAX] = {
    [JSON_REQUEST] = {{"resourceSpans", 1, JSON_LIST, JSON_RESOURCE_SPANS}},
    [JSON_RESOURCE_SPANS] = {{"resource", 1, JSON_MESSAGE, JSON_RESOURCE}, {"scopeSpans", 2, JSON_LIST, JSON_SCOPE_SPANS},
                             {"schemaUrl", 3, JSON_TEXT, 0}},
    [JSON_RESOURCE] = {{"attributes", 1, JSON_LIST, JSON_KEYVALUE}, {"droppedAttributesCount", 2, JSON_UINT32, 0}},
    [JSON_SCOPE_SPANS] = {{"scope", 1, JSON_MESSAGE, JSON_SCOPE}, {"spans", 2, JSON_LIST, JSON_SPAN}, {"schemaUrl", 3, JSON_TEXT, 0}},
    [JSON_SCOPE] = {{"name", 1, JSON_TEXT, 0}, {"version", 2, JSON_TEXT, 0}, {"attributes", 3, JSON_LIST, JSON_KEYVALUE},
                    {"droppedAttributesCount", 4, JSON_UINT32, 0}},
    [JSON_SPAN] = {{"traceId", 1, JSON_ID, 0}, {"spanId", 2, JSON_ID, 0}, {"traceState", 3, JSON_TEXT, 0},
                   {"parentSpanId", 4, JSON_ID, 0}, {"name", 5, JSON_TEXT, 0}, {"kind", 6, JSON_KIND, 0},
                   {"startTimeUnixNano", 7, JSON_FIXED64, 0}, {"endTimeUnixNano", 8, JSON_FIXED64, 0},
                   {"attributes", 9, JSON_LIST, JSON_KEYVALUE}, {"droppedAttributesCount", 10, JSON_UINT32, 0},
                   {"events", 11, JSON_LIST, JSON_EVENT}, {"droppedEventsCount", 12, JSON_UINT32, 0},
                   {"links", 13, JSON_LIST, JSON_LINK}, {"droppedLinksCount", 14, JSON_UINT32, 0},
                   {"status", 15, JSON_MESSAGE, JSON_STATUS}, {"flags", 16, JSON_FIXED32, 0}},
    [JSON_EVENT] = {{"timeUnixNano", 1, JSON_FIXED64, 0}, {"name", 2, JSON_TEXT, 0}, {"attributes", 3, JSON_LIST, JSON_KEYVALUE},
                    {"droppedAttributesCount", 4, JSON_UINT32, 0}},
    [JSON_LINK] = {{"traceId", 1, JSON_ID, 0}, {"spanId", 2, JSON_ID, 0}, {"traceState", 3, JSON_TEXT, 0},
                   {"attributes", 4, JSON_LIST, JSON_KEYVALUE}, {"droppedAttributesCount", 5, JSON_UINT32, 0},
                   {"flags", 6, JSON_FIXED32, 0}},
    [JSON_STATUS] = {{"message", 2, JSON_TEXT, 0}, {"code", 3, JSON_CODE, 0}},
    [JSON_KEYVALUE] = {{"key", 1, JSON_TEXT, 0}, {"value", 2, JSON_MESSAGE, JSON_VALUE}},
    [JSON_VALUE] = {{"stringValue", 1, JSON_TEXT, 0}, {"boolValue", 2, JSON_BOOL, 0}, {"intValue", 3, JSON_INT64, 0},
                    {"doubleValue", 4, JSON_DOUBLE, 0}, {"arrayValue", 5, JSON_MESSAGE, JSON_ARRAY},
                    {"kvlistValue", 6, JSON_MESSAGE, JSON_KVLIST}, {"bytesValue", 7, JSON_BYTES, 0}},
    [JSON_ARRAY] = {{"values", 1, JSON_LIST, JSON_VALUE}},
    [JSON_KVLIST] = {{"values", 1, JSON_LIST, JSON_KEYVALUE}},
};
/* clang-format on */

struct place {
    const struct place *up;
    const char *name;
    int64_t index; /* -1: not in a list */
};

struct convert {
    struct buf *out;
    struct err_detail *detail;
};

/* cJSON's memory: the arena of the conversion that runs on this thread; the heap for anyone else who uses cJSON. */
static _Thread_local struct arena *tree_arena;

static void *tree_alloc(size_t bytes)
{
    return tree_arena != NULL ? arena_alloc(tree_arena, bytes) : malloc(bytes);
}

static void tree_free(void *p)
{
    if (tree_arena == NULL)
        free(p);
}

static void set_hooks(void)
{
    cJSON_Hooks hooks = {.malloc_fn = tree_alloc, .free_fn = tree_free};
    cJSON_InitHooks(&hooks);
}

static size_t write_place(const struct place *at, char *text, size_t cap)
{
    size_t len = at->up == NULL ? 0 : write_place(at->up, text, cap);

    if (len + 64 > cap)
        return len; /* the innermost pieces of a very deep place are left out */
    int n = at->index < 0 ? snprintf(text + len, cap - len, "%s%s", len == 0 ? "" : ".", at->name)
                          : snprintf(text + len, cap - len, "%s%s[%lld]", len == 0 ? "" : ".",
                                     at->name, (long long)at->index);
    assert(n > 0 && len + (size_t)n < cap);
    return len + (size_t)n;
}

static enum err fail_at(const struct convert *c, const struct place *at, const char *what)
{
    char path[384];

    (void)write_place(at, path, sizeof path);
    return err_detail_set(c->detail, ERR_FORMAT, "%s: %s", path, what);
}

/* Text of a string or of a number, which the scan made a string too. */
static bool text_of(const cJSON *item, struct slice *ret, bool *ret_is_number)
{
    if (!cJSON_IsString(item))
        return false;
    struct slice s = slice_str(item->valuestring);
    *ret_is_number = s.len > 0 && s.ptr[0] == JSON_SCAN_NUMBER;
    *ret = *ret_is_number ? slice_sub(s, 1, s.len) : s;
    return true;
}

static enum err put_text(const struct convert *c, const struct json_row *row, const cJSON *item,
                         const struct place *at)
{
    struct slice s;
    bool is_number;

    if (!text_of(item, &s, &is_number) || is_number)
        return fail_at(c, at, "must be a string");
    pb_bytes(c->out, row->field, s);
    if (buf_err(c->out) != ERR_OK || s.len == 0)
        return buf_err(c->out);
    uint8_t *end = c->out->ptr + c->out->len;
    for (uint8_t *nul = memchr(end - s.len, JSON_SCAN_NUL, s.len); nul != NULL;
         nul = memchr(nul, JSON_SCAN_NUL, (size_t)(end - nul)))
        *nul = 0;
    return ERR_OK;
}

static enum err put_id(const struct convert *c, const struct json_row *row, const cJSON *item,
                       const struct place *at)
{
    enum { ID_BYTES_MAX = 64 };
    uint8_t bytes[ID_BYTES_MAX];
    struct slice s;
    bool is_number;

    if (!text_of(item, &s, &is_number) || is_number)
        return fail_at(c, at, "must be a string of hex digits");
    if (s.len % 2 != 0 || s.len > sizeof bytes * 2 || hex_decode(s, bytes, s.len / 2) != ERR_OK)
        return fail_at(c, at, "is not hex");
    if (s.len > 0)
        pb_bytes(c->out, row->field, (struct slice){bytes, s.len / 2});
    return ERR_OK;
}

/* Whole numbers may be written with a point or an exponent ("1e3", "5.0"): exact as long as a double holds them. */
static bool whole_of(struct slice s, double *ret)
{
    return num_parse_double(s, ret) == ERR_OK && fabs(*ret) <= 9007199254740992.0 &&
           floor(*ret) == *ret;
}

static bool has_only_number_letters(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (memchr("0123456789+-.eE", s.ptr[i], 15) == NULL)
            return false;
    }
    return s.len > 0;
}

static bool uint_of(const cJSON *item, uint64_t max, uint64_t *ret)
{
    struct slice s;
    bool is_number;
    double d;

    if (!text_of(item, &s, &is_number) || !has_only_number_letters(s))
        return false;
    if (num_parse_u64(s, ret) == ERR_OK)
        return *ret <= max;
    if (!whole_of(s, &d) || d < 0)
        return false;
    *ret = (uint64_t)d;
    return *ret <= max;
}

static bool int_of(const cJSON *item, int64_t *ret)
{
    struct slice s;
    bool is_number;
    double d;

    if (!text_of(item, &s, &is_number) || !has_only_number_letters(s))
        return false;
    if (num_parse_i64(s, ret) == ERR_OK)
        return true;
    if (!whole_of(s, &d))
        return false;
    *ret = (int64_t)d;
    return true;
}

static bool double_of(const cJSON *item, double *ret)
{
    struct slice s;
    bool is_number;

    if (!text_of(item, &s, &is_number))
        return false;
    if (slice_eq_str(s, "NaN"))
        *ret = (double)NAN;
    else if (slice_eq_str(s, "Infinity"))
        *ret = (double)INFINITY;
    else if (slice_eq_str(s, "-Infinity"))
        *ret = -(double)INFINITY;
    else
        return has_only_number_letters(s) && num_parse_double(s, ret) == ERR_OK;
    return true;
}

static enum err put_enum(const struct convert *c, const struct json_row *row, const cJSON *item,
                         const struct place *at)
{
    static const char *const kinds[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                        "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                        "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
    static const char *const codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};
    const char *const *names = row->type == JSON_KIND ? kinds : codes;
    unsigned count = row->type == JSON_KIND ? 6 : 3;
    struct slice s;
    bool is_number;
    int64_t v;

    if (!text_of(item, &s, &is_number))
        return fail_at(c, at, "must be a number or a name");
    for (unsigned i = 0; i < count && !is_number; i++) {
        if (slice_eq_str(s, names[i])) {
            pb_varint(c->out, row->field, i);
            return ERR_OK;
        }
    }
    if (!int_of(item, &v) || v < INT32_MIN || v > INT32_MAX)
        return fail_at(c, at, "is not a known name or a 32-bit number");
    pb_varint(c->out, row->field, (uint64_t)v);
    return ERR_OK;
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

static enum err put_base64(const struct convert *c, const struct json_row *row, const cJSON *item,
                           const struct place *at)
{
    struct slice s;
    bool is_number;

    if (!text_of(item, &s, &is_number) || is_number)
        return fail_at(c, at, "must be a base64 string");
    for (unsigned pad = 0; pad < 2 && s.len > 0 && s.ptr[s.len - 1] == '='; pad++)
        s.len--;
    if (s.len % 4 == 1)
        return fail_at(c, at, "is not base64");
    size_t mark = pb_begin(c->out, row->field);
    uint32_t bits = 0;
    unsigned bit_count = 0;
    for (size_t i = 0; i < s.len; i++) {
        int digit = base64_digit(s.ptr[i]);
        if (digit < 0)
            return fail_at(c, at, "is not base64");
        bits = (bits << 6 | (uint32_t)digit) & 0xffffff;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            buf_append_byte(c->out, (uint8_t)(bits >> bit_count));
        }
    }
    pb_end(c->out, mark);
    return ERR_OK;
}

static enum err put_number(const struct convert *c, const struct json_row *row, const cJSON *item,
                           const struct place *at)
{
    uint64_t u;
    int64_t i;
    double d;

    switch ((enum json_type)row->type) {
    case JSON_UINT32:
        if (!uint_of(item, UINT32_MAX, &u))
            return fail_at(c, at, "is not a 32-bit unsigned number");
        pb_varint(c->out, row->field, u);
        return ERR_OK;
    case JSON_FIXED32:
        if (!uint_of(item, UINT32_MAX, &u))
            return fail_at(c, at, "is not a 32-bit unsigned number");
        pb_fixed32(c->out, row->field, (uint32_t)u);
        return ERR_OK;
    case JSON_FIXED64:
        if (!uint_of(item, UINT64_MAX, &u))
            return fail_at(c, at, "is not a 64-bit unsigned number");
        pb_fixed64(c->out, row->field, u);
        return ERR_OK;
    case JSON_INT64:
        if (!int_of(item, &i))
            return fail_at(c, at, "is not a 64-bit number");
        pb_varint(c->out, row->field, (uint64_t)i);
        return ERR_OK;
    case JSON_DOUBLE:
        if (!double_of(item, &d))
            return fail_at(c, at, "is not a number");
        pb_double(c->out, row->field, d);
        return ERR_OK;
    case JSON_TEXT:
    case JSON_ID:
    case JSON_KIND:
    case JSON_CODE:
    case JSON_BOOL:
    case JSON_BYTES:
    case JSON_MESSAGE:
    case JSON_LIST:
    default: assert(false); return ERR_INTERNAL;
    }
}

static enum err put_message(const struct convert *c, enum json_shape shape, const cJSON *object,
                            const struct place *at);

static enum err put_list(const struct convert *c, const struct json_row *row, const cJSON *list,
                         const struct place *at)
{
    struct place here = *at;

    if (!cJSON_IsArray(list))
        return fail_at(c, at, "must be an array");
    here.index = 0;
    for (const cJSON *item = list->child; item != NULL; item = item->next, here.index++) {
        size_t mark = pb_begin(c->out, row->field);
        enum err e = put_message(c, (enum json_shape)row->shape, item, &here);
        if (e != ERR_OK)
            return e;
        pb_end(c->out, mark);
    }
    return ERR_OK;
}

static enum err put_row(const struct convert *c, const struct json_row *row, const cJSON *item,
                        const struct place *up)
{
    struct place at = {up, row->name, -1};

    switch ((enum json_type)row->type) {
    case JSON_TEXT: return put_text(c, row, item, &at);
    case JSON_ID: return put_id(c, row, item, &at);
    case JSON_KIND:
    case JSON_CODE: return put_enum(c, row, item, &at);
    case JSON_BOOL:
        if (!cJSON_IsBool(item))
            return fail_at(c, &at, "must be true or false");
        pb_varint(c->out, row->field, cJSON_IsTrue(item) != 0);
        return ERR_OK;
    case JSON_BYTES: return put_base64(c, row, item, &at);
    case JSON_MESSAGE: {
        size_t mark = pb_begin(c->out, row->field);
        enum err e = put_message(c, (enum json_shape)row->shape, item, &at);
        if (e == ERR_OK)
            pb_end(c->out, mark);
        return e;
    }
    case JSON_LIST: return put_list(c, row, item, &at);
    case JSON_UINT32:
    case JSON_FIXED32:
    case JSON_FIXED64:
    case JSON_INT64:
    case JSON_DOUBLE:
    default: return put_number(c, row, item, &at);
    }
}

/* Is `name` this lowerCamelCase name, or its snake_case form? */
static bool name_is(const char *name, const char *camel)
{
    for (; *camel != '\0'; camel++, name++) {
        if (*name == *camel)
            continue;
        if (name[0] != '_' || name[1] < 'a' || name[1] > 'z' || name[1] - 'a' + 'A' != *camel)
            return false;
        name++;
    }
    return *name == '\0';
}

static enum err put_message(const struct convert *c, enum json_shape shape, const cJSON *object,
                            const struct place *at)
{
    /* In an array of AnyValues null is the empty value. */
    if (shape == JSON_VALUE && cJSON_IsNull(object))
        return ERR_OK;
    if (!cJSON_IsObject(object))
        return at == NULL ? err_detail_set(c->detail, ERR_FORMAT, "the request must be an object")
                          : fail_at(c, at, "must be an object");
    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        const struct json_row *row = shapes[shape];
        while (row->name != NULL && !name_is(item->string, row->name))
            row++;
        if (row->name == NULL || cJSON_IsNull(item))
            continue;
        enum err e = put_row(c, row, item, at);
        if (e != ERR_OK)
            return e;
    }
    return buf_err(c->out);
}

static enum err convert_in(struct arena *a, struct slice json, struct buf *ret,
                           struct err_detail *detail)
{
    size_t len = 0;
    enum err e = json_scan(json, OTLP_JSON_DEPTH_MAX, NULL, &len, detail);

    if (e != ERR_OK)
        return e;
    uint8_t *text = arena_alloc(a, len);
    if (text == NULL)
        return arena_err(a);
    e = json_scan(json, OTLP_JSON_DEPTH_MAX, text, &len, detail);
    if (e != ERR_OK)
        return e;
    tree_arena = a;
    const cJSON *root = cJSON_ParseWithLength((const char *)text, len);
    tree_arena = NULL;
    if (root == NULL) {
        /* The scan proved the grammar, so memory is what is missing; if not, say so rather than guess. */
        return arena_err(a) != ERR_OK
                   ? arena_err(a)
                   : err_detail_set(detail, ERR_FORMAT, "JSON was not understood");
    }
    struct convert c = {.out = ret, .detail = detail};
    return put_message(&c, JSON_REQUEST, root, NULL);
}

enum err otlp_json_to_pb(struct slice json, struct budget *budget, struct buf *ret,
                         struct err_detail *reterr_detail)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct arena a;

    assert(ret->len == 0);
    assert(tree_arena == NULL);
    if (json.len > OTLP_JSON_BYTES_MAX)
        return err_detail_set(reterr_detail, ERR_TOO_LARGE,
                              "OTLP JSON requests are limited to %d bytes", OTLP_JSON_BYTES_MAX);
    (void)pthread_once(&once, set_hooks);
    arena_init(&a, budget);
    enum err e = convert_in(&a, json, ret, reterr_detail);
    arena_release(&a);
    if (e == ERR_LIMIT || e == ERR_NOMEM)
        return err_detail_set(reterr_detail, e, "no memory left for reading the JSON request");
    return e;
}
