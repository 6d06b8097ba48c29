#include "common/base/num.h"
#include "common/base/utf8.h"
#include "common/obs/metrics_priv.h"

#include <assert.h>

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

static void put_escaped(struct buf *out, struct slice s, bool has_quotes)
{
    while (s.len != 0) {
        size_t bytes = utf8_char_bytes(s);
        uint8_t c = s.ptr[0];
        if (bytes == 0 || c == 0) /* a NUL ends the text for some readers */
            buf_append(out, SLICE_LIT("\xef\xbf\xbd"));
        else if (c == '\\')
            buf_append(out, SLICE_LIT("\\\\"));
        else if (c == '\n')
            buf_append(out, SLICE_LIT("\\n"));
        else if (c == '"' && has_quotes)
            buf_append(out, SLICE_LIT("\\\""));
        else
            buf_append(out, slice_sub(s, 0, bytes));
        s = slice_sub(s, bytes == 0 ? 1 : bytes, s.len);
    }
}

/* `bound` NULL: no le label. */
static void put_series(struct buf *out, const struct metric_cell *c, const char *suffix,
                       const char *bound)
{
    const struct metric_family *f = c->family;
    const uint8_t *at = c->key;
    const char *before = "{";

    buf_append_str(out, f->name);
    buf_append_str(out, suffix);
    for (unsigned i = 0; i < f->label_count; i++) {
        struct slice value = {at + 2, c->value_bytes[i]};
        buf_append_str(out, before);
        buf_append_str(out, f->labels[i]);
        buf_append_str(out, "=\"");
        put_escaped(out, value, true);
        buf_append_byte(out, '"');
        before = ",";
        at += 2 + value.len;
    }
    assert(at == c->key + c->key_bytes);
    if (bound != NULL) {
        buf_append_str(out, before);
        buf_append_str(out, "le=\"");
        buf_append_str(out, bound);
        buf_append_byte(out, '"');
    }
    if (f->label_count != 0 || bound != NULL)
        buf_append_byte(out, '}');
    buf_append_byte(out, ' ');
}

static double cell_double(const struct metric_cell *c)
{
    uint64_t bits = atomic_load_explicit(&c->bits, memory_order_relaxed);
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static void put_histogram(struct buf *out, const struct metric_cell *c)
{
    const struct metric_family *f = c->family;
    char bound[NUM_TEXT_BYTES];
    uint64_t count = 0; /* from the buckets, so that +Inf and _count always agree */

    for (unsigned i = 0; i <= f->bound_count; i++) {
        count += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
        if (i < f->bound_count)
            (void)num_format_double_g(f->bounds[i], bound);
        put_series(out, c, "_bucket", i < f->bound_count ? bound : "+Inf");
        num_append_u64(out, count);
        buf_append_byte(out, '\n');
    }
    put_series(out, c, "_sum", NULL);
    num_append_double_g(out, cell_double(c));
    buf_append_byte(out, '\n');
    put_series(out, c, "_count", NULL);
    num_append_u64(out, count);
    buf_append_byte(out, '\n');
}

static void put_cell(struct buf *out, const struct metric_cell *c)
{
    if (c->family->kind == METRIC_HISTOGRAM) {
        put_histogram(out, c);
        return;
    }
    put_series(out, c, "", NULL);
    num_append_double_g(out, cell_double(c));
    buf_append_byte(out, '\n');
}

static int cell_order(const struct metric_cell *a, const struct metric_cell *b)
{
    const uint8_t *at_a = a->key, *at_b = b->key;

    for (unsigned i = 0; i < a->family->label_count; i++) {
        struct slice value_a = {at_a + 2, a->value_bytes[i]},
                     value_b = {at_b + 2, b->value_bytes[i]};
        int order = slice_cmp(value_a, value_b);
        if (order != 0)
            return order;
        at_a += 2 + value_a.len;
        at_b += 2 + value_b.len;
    }
    return 0;
}

static void put_family(struct buf *out, struct metric_family *f)
{
    if (f->cells == NULL && !f->is_overflowed)
        return;
    buf_append_str(out, "# HELP ");
    buf_append_str(out, f->name);
    buf_append_byte(out, ' ');
    put_escaped(out, slice_str(f->help), false);
    buf_append_str(out, "\n# TYPE ");
    buf_append_str(out, f->name);
    buf_append_byte(out, ' ');
    buf_append_str(out, kind_names[f->kind]);
    buf_append_byte(out, '\n');
    if (f->is_unsorted)
        HASH_SORT(f->cells, cell_order);
    f->is_unsorted = false;
    for (const struct metric_cell *c = f->cells; c != NULL; c = c->hh.next)
        put_cell(out, c);
    if (f->is_overflowed)
        put_cell(out, f->overflow);
}

void metrics_write_text(struct buf *out)
{
    metrics_collect();
    int rc = pthread_mutex_lock(&metrics_registry.lock);
    assert(rc == 0);
    for (struct metric_family *f = metrics_registry.families; f != NULL; f = f->next)
        put_family(out, f);
    rc = pthread_mutex_unlock(&metrics_registry.lock);
    assert(rc == 0);
    (void)rc;
}

/* The NAME of "# HELP NAME ..." and "# TYPE NAME ..."; empty for other lines. */
static struct slice line_family(struct slice line)
{
    if (!slice_has_prefix(line, SLICE_LIT("# HELP ")) &&
        !slice_has_prefix(line, SLICE_LIT("# TYPE ")))
        return SLICE_NONE;
    struct slice rest = slice_sub(line, 7, line.len);
    const uint8_t *space = rest.len == 0 ? NULL : memchr(rest.ptr, ' ', rest.len);
    return slice_sub(rest, 0, space == NULL ? rest.len : (size_t)(space - rest.ptr));
}

static bool has_type_line(struct slice text, struct slice name)
{
    static const char prefix[] = "# TYPE ";
    enum { PREFIX_BYTES = sizeof prefix - 1 };

    while (text.len > PREFIX_BYTES) {
        const uint8_t *at = memmem(text.ptr, text.len, prefix, PREFIX_BYTES);
        if (at == NULL)
            return false;
        bool is_line_start = at == text.ptr || at[-1] == '\n';
        text = slice_sub(text, (size_t)(at - text.ptr) + PREFIX_BYTES, text.len);
        if (is_line_start && slice_has_prefix(text, name) && text.len > name.len &&
            text.ptr[name.len] == ' ')
            return true;
    }
    return false;
}

void metrics_merge_text(struct buf *out, struct slice other)
{
    size_t own_bytes = out->len; /* what stood there before */
    struct slice family = SLICE_NONE;
    bool is_left_out = false;

    while (other.len != 0) {
        const uint8_t *newline = memchr(other.ptr, '\n', other.len);
        size_t len = newline == NULL ? other.len : (size_t)(newline - other.ptr);
        struct slice line = slice_sub(other, 0, len);
        struct slice name = line_family(line);
        if (name.len != 0 && !slice_eq(name, family)) {
            family = name;
            is_left_out = has_type_line(slice_sub(buf_slice(out), 0, own_bytes), name);
        }
        if (!is_left_out && line.len != 0) {
            buf_append(out, line);
            buf_append_byte(out, '\n');
        }
        other = slice_sub(other, len + 1, other.len);
    }
}
