#include "common/app/config_priv.h"
#include "common/base/num.h"
#include "common/base/utf8.h"

#include <assert.h>
#include <math.h>

enum { NUMBER_BYTES_MAX = 64 };

static void *field(const struct config_row *row, void *base)
{
    return (uint8_t *)base + row->offset;
}

static const void *field_const(const struct config_row *row, const void *base)
{
    return (const uint8_t *)base + row->offset;
}

static enum err value_fail(struct config_reader *r, const struct config_value *v, struct slice text,
                           const char *what)
{
    return config_fail(r, v->line, "%s: \"" SLICE_FMT "\" %s", v->label,
                       (int)(text.len > 80 ? 80 : text.len), (const char *)text.ptr, what);
}

static enum err range_fail(struct config_reader *r, const struct config_row *row,
                           const struct config_value *v, struct slice text)
{
    if (row->min[0] != '\0' && strcmp(row->min, row->max) == 0)
        return config_fail(r, v->line, "%s: " SLICE_FMT " is not supported yet; only %s is",
                           v->label, (int)(text.len > 80 ? 80 : text.len), (const char *)text.ptr,
                           row->min);
    return config_fail(r, v->line, "%s: " SLICE_FMT " is out of range (%s%s%s%s%s)", v->label,
                       (int)(text.len > 80 ? 80 : text.len), (const char *)text.ptr,
                       row->min[0] != '\0' ? "at least " : "", row->min,
                       row->min[0] != '\0' && row->max[0] != '\0' ? ", " : "",
                       row->max[0] != '\0' ? "at most " : "", row->max);
}

static bool text_is_any(struct slice s, const char *const *words)
{
    for (; *words != NULL; words++)
        if (slice_eq_str(s, *words))
            return true;
    return false;
}

/* Go's yaml.v2 takes these for a bool. */
static enum err parse_bool(struct slice s, bool *ret)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on",
                                      "On",   "ON",   "y",    "Y",   "1",   NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off",
                                     "Off",   "OFF",   "n",     "N",  "0",  NULL};

    if (!text_is_any(s, yes) && !text_is_any(s, no))
        return ERR_INVALID;
    *ret = text_is_any(s, yes);
    return ERR_OK;
}

/* Whole numbers also as Tempo prints and documents them: 2e+07, 100_000. */
static enum err parse_int(struct slice s, int64_t *ret)
{
    uint8_t plain[NUMBER_BYTES_MAX];
    struct slice p = {plain, 0};
    double d;

    if (s.len > sizeof plain)
        return ERR_INVALID;
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] != '_' || i == 0)
            plain[p.len++] = s.ptr[i];
    if (num_parse_i64(p, ret) == ERR_OK)
        return ERR_OK;
    if (num_parse_double(p, &d) != ERR_OK || !(fabs(d) < 9e18) || d != trunc(d))
        return ERR_INVALID;
    *ret = (int64_t)d;
    return ERR_OK;
}

static enum err parse_bytes(struct slice s, uint64_t *ret)
{
    int64_t n;

    if (parse_int(s, &n) == ERR_OK) {
        if (n < 0)
            return ERR_INVALID;
        *ret = (uint64_t)n;
        return ERR_OK;
    }
    return num_parse_size(s, ret);
}

static enum err set_bool(struct config_reader *r, const struct config_row *row, void *base,
                         const struct config_value *v)
{
    bool b;

    if (parse_bool(v->items[0], &b) != ERR_OK)
        return value_fail(r, v, v->items[0], "is not true or false");
    *(bool *)field(row, base) = b;
    return ERR_OK;
}

static enum err set_int(struct config_reader *r, const struct config_row *row, void *base,
                        const struct config_value *v)
{
    int64_t n, min, max;

    if (parse_int(v->items[0], &n) != ERR_OK)
        return value_fail(r, v, v->items[0], "is not a whole number");
    if ((num_parse_i64(slice_str(row->min), &min) == ERR_OK && n < min) ||
        (num_parse_i64(slice_str(row->max), &max) == ERR_OK && n > max))
        return range_fail(r, row, v, v->items[0]);
    *(int64_t *)field(row, base) = n;
    return ERR_OK;
}

static enum err set_double(struct config_reader *r, const struct config_row *row, void *base,
                           const struct config_value *v)
{
    double d, min, max;

    if (num_parse_double(v->items[0], &d) != ERR_OK || !isfinite(d))
        return value_fail(r, v, v->items[0], "is not a number");
    if ((num_parse_double(slice_str(row->min), &min) == ERR_OK && d < min) ||
        (num_parse_double(slice_str(row->max), &max) == ERR_OK && d > max))
        return range_fail(r, row, v, v->items[0]);
    *(double *)field(row, base) = d;
    return ERR_OK;
}

static enum err set_duration(struct config_reader *r, const struct config_row *row, void *base,
                             const struct config_value *v)
{
    int64_t ns, min, max;

    if (num_parse_duration(v->items[0], &ns) != ERR_OK)
        return value_fail(r, v, v->items[0], "is not a duration (like 500ms, 30s, 5m, 168h)");
    if (ns < 0 || (num_parse_duration(slice_str(row->min), &min) == ERR_OK && ns < min) ||
        (num_parse_duration(slice_str(row->max), &max) == ERR_OK && ns > max))
        return range_fail(r, row, v, v->items[0]);
    *(int64_t *)field(row, base) = ns;
    return ERR_OK;
}

static enum err set_bytes(struct config_reader *r, const struct config_row *row, void *base,
                          const struct config_value *v)
{
    uint64_t bytes, min, max;

    if (parse_bytes(v->items[0], &bytes) != ERR_OK)
        return value_fail(r, v, v->items[0], "is not a size (like 1500, 64KiB, 500MiB)");
    if ((num_parse_size(slice_str(row->min), &min) == ERR_OK && bytes < min) ||
        (num_parse_size(slice_str(row->max), &max) == ERR_OK && bytes > max))
        return range_fail(r, row, v, v->items[0]);
    *(uint64_t *)field(row, base) = bytes;
    return ERR_OK;
}

static enum err set_string(struct config_reader *r, const struct config_row *row, void *base,
                           const struct config_value *v)
{
    *(const char **)field(row, base) = arena_str(r->arena, v->items[0]);
    return arena_err(r->arena);
}

static enum err set_enum(struct config_reader *r, const struct config_row *row, void *base,
                         const struct config_value *v)
{
    const char *at = row->words;

    while (*at != '\0') {
        size_t len = strcspn(at, " ");

        if (slice_eq((struct slice){(const uint8_t *)at, len}, v->items[0]))
            return set_string(r, row, base, v);
        at += len + strspn(at + len, " ");
    }
    if (strchr(row->words, ' ') == NULL)
        return config_fail(r, v->line, "%s: \"" SLICE_FMT "\" must be %s", v->label,
                           (int)(v->items[0].len > 80 ? 80 : v->items[0].len),
                           (const char *)v->items[0].ptr, row->words);
    return config_fail(r, v->line, "%s: \"" SLICE_FMT "\" must be one of: %s", v->label,
                       (int)(v->items[0].len > 80 ? 80 : v->items[0].len),
                       (const char *)v->items[0].ptr, row->words);
}

static enum err check_length(struct config_reader *r, const struct config_row *row,
                             const struct config_value *v)
{
    int64_t max;

    if (num_parse_i64(slice_str(row->max), &max) == ERR_OK && v->count > (uint64_t)max)
        return config_fail(r, v->line, "%s: a list of more than %s", v->label, row->max);
    return ERR_OK;
}

static enum err set_list(struct config_reader *r, const struct config_row *row, void *base,
                         const struct config_value *v)
{
    struct arena *a = r->arena;
    struct config_list list = {.items = ARENA_ARRAY(a, const char *, v->count), .count = v->count};

    for (unsigned i = 0; i < v->count && arena_err(a) == ERR_OK; i++) {
        if (v->items[i].len == 0)
            return config_fail(r, v->line, "%s: item %u of the list is empty", v->label, i + 1);
        list.items[i] = arena_str(a, v->items[i]);
    }
    if (arena_err(a) == ERR_OK)
        *(struct config_list *)field(row, base) = list;
    return arena_err(a);
}

static enum err set_doubles(struct config_reader *r, const struct config_row *row, void *base,
                            const struct config_value *v)
{
    struct arena *a = r->arena;
    struct config_doubles list = {.items = ARENA_ARRAY(a, double, v->count), .count = v->count};

    for (unsigned i = 0; i < v->count && arena_err(a) == ERR_OK; i++) {
        if (num_parse_double(v->items[i], &list.items[i]) != ERR_OK || !isfinite(list.items[i]))
            return value_fail(r, v, v->items[i], "is not a number");
        if (i > 0 && list.items[i] <= list.items[i - 1]) {
            struct buf now, last;
            buf_init(&now, NUMBER_BYTES_MAX);
            buf_init(&last, NUMBER_BYTES_MAX);
            num_append_double_json(&now, list.items[i]);
            num_append_double_json(&last, list.items[i - 1]);
            enum err e = config_fail(r, v->line,
                                     "%s must be strictly increasing: bucket[%u]=" SLICE_FMT
                                     " is <= bucket[%u]=" SLICE_FMT,
                                     v->label, i, SLICE_ARG(buf_slice(&now)), i - 1,
                                     SLICE_ARG(buf_slice(&last)));
            buf_release(&now);
            buf_release(&last);
            return e;
        }
    }
    if (arena_err(a) == ERR_OK)
        *(struct config_doubles *)field(row, base) = list;
    return arena_err(a);
}

/* "a, b" is a list of two; nothing is the empty list. */
static enum err split_commas(struct config_reader *r, const struct config_value *v,
                             struct config_value *ret)
{
    struct slice s = v->items[0];
    unsigned count = 0, commas = 0;

    for (size_t i = 0; i < s.len; i++)
        commas += s.ptr[i] == ',';
    if (commas >= CONFIG_ITEMS_MAX)
        return config_fail(r, v->line, "%s: a list of more than %d", v->label,
                           (int)CONFIG_ITEMS_MAX);
    struct slice *items = ARENA_ARRAY(r->arena, struct slice, commas + 1);
    if (items == NULL)
        return arena_err(r->arena);
    for (size_t from = 0; from <= s.len && s.len > 0;) {
        const uint8_t *comma = memchr(s.ptr + from, ',', s.len - from);
        size_t to = comma == NULL ? s.len : (size_t)(comma - s.ptr);
        struct slice item = slice_sub(s, from, to);

        while (item.len > 0 && item.ptr[0] == ' ')
            item = slice_sub(item, 1, item.len);
        while (item.len > 0 && item.ptr[item.len - 1] == ' ')
            item.len--;
        items[count++] = item;
        from = to + 1;
    }
    *ret = (struct config_value){
        .items = items, .count = count, .is_list = true, .line = v->line, .label = v->label};
    return ERR_OK;
}

enum err config_value_set(struct config_reader *r, const struct config_row *row, void *base,
                          const struct config_value *v)
{
    typedef enum err set_fn(struct config_reader *, const struct config_row *, void *,
                            const struct config_value *);
    static set_fn *const setters[] = {
        [CONFIG_BOOL] = set_bool,         [CONFIG_INT] = set_int,
        [CONFIG_DOUBLE] = set_double,     [CONFIG_STRING] = set_string,
        [CONFIG_DURATION] = set_duration, [CONFIG_BYTES] = set_bytes,
        [CONFIG_ENUM] = set_enum,         [CONFIG_LIST] = set_list,
        [CONFIG_DOUBLES] = set_doubles,   [CONFIG_SECRET] = set_string,
    };
    struct config_value list;

    assert(row->type < CONFIG_PART);
    assert(v->is_list || v->count == 1);
    if (row->type == CONFIG_LIST || row->type == CONFIG_DOUBLES) {
        enum err e = v->is_list ? ERR_OK : split_commas(r, v, &list);
        if (e == ERR_OK)
            e = check_length(r, row, v->is_list ? v : &list);
        return e != ERR_OK ? e : setters[row->type](r, row, base, v->is_list ? v : &list);
    }
    if (v->is_list)
        return config_fail(r, v->line, "%s: expected a single value, got a list", v->label);
    return setters[row->type](r, row, base, v);
}

/* The field as bytes: its size goes by its type. */
static size_t field_bytes(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_BOOL: return sizeof(bool);
    case CONFIG_INT:
    case CONFIG_DURATION: return sizeof(int64_t);
    case CONFIG_BYTES: return sizeof(uint64_t);
    case CONFIG_DOUBLE: return sizeof(double);
    case CONFIG_STRING:
    case CONFIG_SECRET:
    case CONFIG_ENUM: return sizeof(const char *);
    case CONFIG_LIST: return sizeof(struct config_list);
    case CONFIG_DOUBLES: return sizeof(struct config_doubles);
    case CONFIG_PART:
    case CONFIG_IGNORED:
    case CONFIG_LATER:
    case CONFIG_UNSUPPORTED: break;
    }
    assert(!"a row without a value");
    return 0;
}

static bool is_text(const struct config_row *row)
{
    return row->type == CONFIG_STRING || row->type == CONFIG_SECRET || row->type == CONFIG_ENUM;
}

bool config_value_is_zero(const struct config_row *row, const void *base)
{
    static const uint8_t zeros[sizeof(struct config_list)];
    const void *p = field_const(row, base);

    if (is_text(row))
        return **(const char *const *)p == '\0';
    if (row->type == CONFIG_LIST)
        return ((const struct config_list *)p)->count == 0;
    if (row->type == CONFIG_DOUBLES)
        return ((const struct config_doubles *)p)->count == 0;
    return memcmp(p, zeros, field_bytes(row)) == 0;
}

static bool lists_equal(const struct config_list *a, const struct config_list *b)
{
    bool is_equal = a->count == b->count;

    for (unsigned i = 0; is_equal && i < a->count; i++)
        is_equal = strcmp(a->items[i], b->items[i]) == 0;
    return is_equal;
}

bool config_value_equals(const struct config_row *row, const void *base, const void *other)
{
    const void *p = field_const(row, base), *q = field_const(row, other);

    if (is_text(row))
        return strcmp(*(const char *const *)p, *(const char *const *)q) == 0;
    if (row->type == CONFIG_LIST)
        return lists_equal(p, q);
    if (row->type == CONFIG_DOUBLES) {
        const struct config_doubles *x = p, *y = q;

        return x->count == y->count &&
               (x->count == 0 || memcmp(x->items, y->items, x->count * sizeof *x->items) == 0);
    }
    return memcmp(p, q, field_bytes(row)) == 0;
}

static void own_list(struct config_list *list, struct arena *a)
{
    const char **items = ARENA_ARRAY(a, const char *, list->count);

    for (unsigned i = 0; items != NULL && i < list->count; i++)
        items[i] = arena_str(a, slice_str(list->items[i]));
    list->items = items;
}

static void own_doubles(struct config_doubles *list, struct arena *a)
{
    double *items = ARENA_ARRAY(a, double, list->count);

    if (items != NULL && list->count > 0)
        memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
}

void config_value_copy(const struct config_row *row, const void *from_field, void *ret_field,
                       struct arena *a)
{
    memcpy(ret_field, from_field, field_bytes(row));
    if (a == NULL)
        return;
    if (is_text(row))
        *(const char **)ret_field = arena_str(a, slice_str(*(const char **)ret_field));
    else if (row->type == CONFIG_LIST)
        own_list(ret_field, a);
    else if (row->type == CONFIG_DOUBLES)
        own_doubles(ret_field, a);
}

enum err config_value_defaults(struct config_reader *r, const struct config_spec *spec, void *base)
{
    enum err e = ERR_OK;

    for (unsigned i = 0; i < spec->row_count && e == ERR_OK; i++) {
        const struct config_row *row = &spec->rows[i];
        struct slice items[32];
        struct config_value v = {.items = items, .count = 1, .label = row->key};

        if (row->type >= CONFIG_PART)
            continue;
        items[0] = slice_str(row->def);
        if (row->type == CONFIG_LIST || row->type == CONFIG_DOUBLES) {
            v.is_list = true;
            v.count = 0;
            for (const char *at = row->def; *at != '\0';) {
                size_t len = strcspn(at, " ");

                assert(v.count < sizeof items / sizeof items[0]);
                items[v.count++] = (struct slice){(const uint8_t *)at, len};
                at += len + strspn(at + len, " ");
            }
        }
        e = config_value_set(r, row, base, &v);
    }
    return e;
}

static bool is_plain(const char *s)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on",
                                        "off",  "null",  "y",   "n",  NULL};

    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '/'))
        return false;
    for (const char *at = s; *at != '\0'; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
              (*at >= '0' && *at <= '9') || strchr("/._-", *at) != NULL))
            return false;
    for (unsigned i = 0; words[i] != NULL; i++)
        if (strcasecmp(s, words[i]) == 0)
            return false;
    return true;
}

/* Line breaks and what YAML has no place for, beyond ASCII: U+0080..9F, U+2028, U+2029, U+FEFF, U+FFFE, U+FFFF. */
static uint32_t odd_character(struct slice s, size_t len)
{
    uint32_t c = len == 2 ? (s.ptr[0] & 0x1fu) << 6 | (s.ptr[1] & 0x3fu) : 0;

    if (len == 3)
        c = (s.ptr[0] & 0x0fu) << 12 | (s.ptr[1] & 0x3fu) << 6 | (s.ptr[2] & 0x3fu);
    return (c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe ||
                   c == 0xffff
               ? c
               : 0;
}

void config_value_write_escaped(struct slice s, struct buf *out)
{
    while (s.len > 0) {
        size_t len = utf8_char_bytes(s);
        uint32_t odd = odd_character(s, len);
        uint8_t c = s.ptr[0];

        if (c == '"' || c == '\\')
            buf_appendf(out, "\\%c", c);
        else if (len == 0 || c < 0x20 || c == 0x7f)
            buf_appendf(out, "\\x%02x", c);
        else if (odd != 0)
            buf_appendf(out, "\\u%04x", odd);
        else
            buf_append(out, slice_sub(s, 0, len));
        s = slice_sub(s, len == 0 ? 1 : len, s.len);
    }
}

void config_value_write_string(const char *s, struct buf *out)
{
    if (is_plain(s)) {
        buf_append_str(out, s);
        return;
    }
    buf_append_byte(out, '"');
    config_value_write_escaped(slice_str(s), out);
    buf_append_byte(out, '"');
}

static void write_list(const struct config_list *list, struct buf *out)
{
    buf_append_byte(out, '[');
    for (unsigned i = 0; i < list->count; i++) {
        buf_append_str(out, i > 0 ? ", " : "");
        config_value_write_string(list->items[i], out);
    }
    buf_append_byte(out, ']');
}

static void write_doubles(const struct config_doubles *list, struct buf *out)
{
    buf_append_byte(out, '[');
    for (unsigned i = 0; i < list->count; i++) {
        buf_append_str(out, i > 0 ? ", " : "");
        num_append_double_json(out, list->items[i]);
    }
    buf_append_byte(out, ']');
}

void config_value_write(const struct config_row *row, const void *base, struct buf *out)
{
    const void *p = field_const(row, base);

    switch (row->type) {
    case CONFIG_BOOL: buf_append_str(out, *(const bool *)p ? "true" : "false"); break;
    case CONFIG_INT: num_append_i64(out, *(const int64_t *)p); break;
    case CONFIG_BYTES: num_append_u64(out, *(const uint64_t *)p); break;
    case CONFIG_DOUBLE: num_append_double_json(out, *(const double *)p); break;
    case CONFIG_DURATION: num_append_duration(out, *(const int64_t *)p); break;
    case CONFIG_SECRET:
        config_value_write_string(**(const char *const *)p != '\0' ? "<secret>" : "", out);
        break;
    case CONFIG_STRING:
    case CONFIG_ENUM: config_value_write_string(*(const char *const *)p, out); break;
    case CONFIG_LIST: write_list(p, out); break;
    case CONFIG_DOUBLES: write_doubles(p, out); break;
    case CONFIG_PART:
    case CONFIG_IGNORED:
    case CONFIG_LATER:
    case CONFIG_UNSUPPORTED: assert(!"a row without a value"); break;
    }
}
