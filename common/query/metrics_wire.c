/* Parts between our processes.  Field numbers and the bytes of `cells`: proto/query.proto. */
#include "common/base/reader.h"
#include "common/codec/otlp_write.h"
#include "common/codec/pb_field.h"
#include "common/query/metrics_priv.h"

#include <assert.h>
#include <math.h>

enum { PART_SERIES = 1, PART_EXEMPLARS, PART_FUNCTION };
enum { SERIES_KEY = 1, SERIES_CELLS };
enum {
    EXEMPLAR_SERIES = 1,
    EXEMPLAR_TRACE,
    EXEMPLAR_START,
    EXEMPLAR_VALUE,
    EXEMPLAR_RANK,
    EXEMPLAR_ATTRIBUTES
};
enum { KEYS_MAX = 16, LABELS_MAX = 64 };

static void put_double(struct buf *out, double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    buf_append_le64(out, bits);
}

static void pack_bins(struct buf *out, const struct metrics_row *row)
{
    struct arena a;
    uint64_t last = 0;

    arena_init(&a, NULL);
    const struct metrics_bin *bins = metrics_part_bins_sorted(&a, &row->bins);
    for (uint32_t i = 0; bins != NULL && i < row->bins.count; i++) {
        buf_append_varint(out, bins[i].key - last);
        buf_append_varint(out, bins[i].count);
        last = bins[i].key;
    }
    if (bins == NULL)
        out->err = ERR_NOMEM;
    arena_release(&a);
}

static bool is_empty(const struct metrics_part *p, const struct metrics_row *row, uint32_t i)
{
    switch (p->cells) {
    case METRICS_COUNTS: return row->counts[i] == 0;
    case METRICS_SUMS: return row->sums[i].count == 0;
    case METRICS_EXTREMES: return isnan(row->extremes[i]);
    case METRICS_BINS: break;
    }
    return true;
}

static void pack_cells(struct buf *out, const struct metrics_part *p, const struct metrics_row *row)
{
    size_t mark = pb_begin(out, SERIES_CELLS);
    uint32_t next = 0;

    if (p->cells == METRICS_BINS)
        pack_bins(out, row);
    for (uint32_t i = 0; p->cells != METRICS_BINS && i < p->w.count; i++) {
        if (is_empty(p, row, i))
            continue;
        buf_append_varint(out, i - next);
        next = i + 1;
        if (p->cells == METRICS_COUNTS) {
            buf_append_varint(out, row->counts[i]);
        } else if (p->cells == METRICS_SUMS) {
            buf_append_varint(out, row->sums[i].count);
            put_double(out, row->sums[i].high);
            put_double(out, row->sums[i].low);
        } else {
            put_double(out, row->extremes[i]);
        }
    }
    pb_end(out, mark);
}

static uint32_t number_of(const struct metrics_part *p, const struct metrics_row *row)
{
    uint32_t i = 0;

    while (i < p->row_count && p->rows[i] != row)
        i++;
    return i;
}

static void pack_exemplar(struct buf *out, const struct metrics_part *p,
                          const struct metrics_example *x)
{
    size_t mark = pb_begin(out, PART_EXEMPLARS);

    pb_varint(out, EXEMPLAR_SERIES, number_of(p, x->row));
    pb_bytes(out, EXEMPLAR_TRACE, (struct slice){x->trace.b, TRACE_ID_BYTES});
    pb_fixed64(out, EXEMPLAR_START, x->start_ns);
    pb_double(out, EXEMPLAR_VALUE, x->value);
    pb_fixed64(out, EXEMPLAR_RANK, x->rank);
    result_attributes_pack(out, EXEMPLAR_ATTRIBUTES, x->attributes, x->attribute_count);
    pb_end(out, mark);
}

void metrics_wire_pack(struct buf *out, const struct metrics_part *p)
{
    pb_varint(out, PART_FUNCTION, p->leaf->fn);
    for (uint32_t i = 0; i < p->row_count; i++) {
        size_t mark = pb_begin(out, PART_SERIES);
        for (uint32_t k = 0; k < p->key_count; k++)
            result_value_pack(out, SERIES_KEY, p->rows[i]->key[k]);
        pack_cells(out, p, p->rows[i]);
        pb_end(out, mark);
    }
    for (uint32_t i = 0; i < p->example_count; i++)
        pack_exemplar(out, p, &p->examples[i]);
}

static double get_double(struct reader *r)
{
    uint64_t bits = reader_le64(r);
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static enum err add_bins(struct metrics_part *p, struct metrics_row *row, struct reader *r)
{
    uint64_t key = 0;
    enum err err = ERR_OK;

    while (err == ERR_OK && !reader_done(r)) {
        key += reader_varint(r);
        uint64_t count = reader_varint(r);
        if (reader_failed(r) || key >> 32 >= p->w.count)
            return ERR_FORMAT;
        err = metrics_part_bin(p, row, key, count);
    }
    return err;
}

static enum err add_cells(struct metrics_part *p, struct metrics_row *row, struct slice cells)
{
    struct reader r = reader_of(cells);
    uint64_t next = 0;

    if (p->cells == METRICS_BINS)
        return add_bins(p, row, &r);
    while (!reader_done(&r)) {
        uint64_t skip = reader_varint(&r), i = next + skip;
        uint64_t count = p->cells == METRICS_EXTREMES ? 0 : reader_varint(&r);
        double high = p->cells == METRICS_COUNTS ? 0 : get_double(&r);
        double low = p->cells == METRICS_SUMS ? get_double(&r) : 0;
        if (reader_failed(&r) || skip >= p->w.count || i >= p->w.count)
            return ERR_FORMAT;
        next = i + 1;
        if (p->cells == METRICS_COUNTS)
            row->counts[i] += count;
        else if (p->cells == METRICS_SUMS)
            metrics_part_sum(&row->sums[i], high, low, count);
        else
            row->extremes[i] = metrics_part_extreme(p, row->extremes[i], high);
    }
    return ERR_OK;
}

/* A key may be known already; *ret is NULL for one that is left out. */
static enum err row_of(struct metrics_part *p, const struct value *key, struct metrics_row **ret)
{
    if (p->leaf->fn == QL_M_COMPARE)
        return key[0].type == VALUE_STRING ? metrics_compare_row(p, key, ret) : ERR_FORMAT;
    if (p->leaf->fn == QL_M_HISTOGRAM && key[p->key_count - 1].type != VALUE_INT)
        return ERR_FORMAT;
    return metrics_part_row(p, key, ret);
}

static enum err add_series(struct metrics_part *p, struct slice bytes, struct metrics_row **ret)
{
    struct reader r = reader_of(bytes);
    struct value key[KEYS_MAX];
    struct slice cells = SLICE_NONE;
    struct pb_field f;
    uint32_t n = 0;
    enum err err = ERR_OK;

    *ret = NULL;
    assert(p->key_count <= KEYS_MAX);
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == SERIES_KEY && f.wire == WIRE_BYTES && n < p->key_count)
            err = result_value_unpack(p->a, f.bytes, &key[n++]);
        else if (f.number == SERIES_KEY)
            err = ERR_FORMAT;
        else if (f.number == SERIES_CELLS && f.wire == WIRE_BYTES)
            cells = f.bytes;
    }
    if (err == ERR_OK && (reader_failed(&r) || n != p->key_count))
        err = ERR_FORMAT;
    if (err == ERR_OK)
        err = row_of(p, key, ret);
    return err != ERR_OK || *ret == NULL ? err : add_cells(p, *ret, cells);
}

static enum err add_exemplar(struct metrics_part *p, struct slice bytes,
                             struct metrics_row *const *rows, uint32_t row_count)
{
    struct metrics_example x = {
        .value = NAN, .attributes = ARENA_ARRAY(p->a, struct result_attribute, LABELS_MAX)};
    struct reader r = reader_of(bytes);
    struct pb_field f;
    bool has_trace = false;
    enum err err = arena_err(p->a);

    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == EXEMPLAR_SERIES && f.wire == WIRE_VARINT)
            x.row = f.value < row_count ? rows[f.value] : NULL;
        else if (f.number == EXEMPLAR_START && f.wire == WIRE_FIXED64)
            x.start_ns = f.value;
        else if (f.number == EXEMPLAR_VALUE && f.wire == WIRE_FIXED64)
            memcpy(&x.value, &f.value, sizeof x.value);
        else if (f.number == EXEMPLAR_RANK && f.wire == WIRE_FIXED64)
            x.rank = f.value;
        else if (f.number == EXEMPLAR_ATTRIBUTES && f.wire == WIRE_BYTES)
            err = x.attribute_count == LABELS_MAX
                      ? ERR_FORMAT
                      : result_attribute_unpack(p->a, f.bytes, &x.attributes[x.attribute_count++]);
        if (f.number != EXEMPLAR_TRACE || f.wire != WIRE_BYTES || f.bytes.len != TRACE_ID_BYTES)
            continue;
        memcpy(x.trace.b, f.bytes.ptr, TRACE_ID_BYTES);
        has_trace = true;
    }
    if (err == ERR_OK && (reader_failed(&r) || !has_trace))
        err = ERR_FORMAT;
    if (err == ERR_OK && x.row != NULL)
        metrics_example_add(p, &x);
    return err;
}

/* The parts of the message, counted before there is room for them. */
static enum err count_fields(struct slice message, const struct metrics_part *p,
                             uint32_t *ret_series)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    uint32_t n = 0;
    bool is_same = false;

    while (pb_field_next(&r, &f)) {
        n += f.number == PART_SERIES;
        is_same |= f.number == PART_FUNCTION && f.value == (uint64_t)p->leaf->fn;
    }
    *ret_series = n;
    return reader_failed(&r) || !is_same ? ERR_FORMAT : ERR_OK;
}

enum err metrics_wire_add(struct metrics_part *p, struct slice packed)
{
    struct reader r = reader_of(packed);
    struct pb_field f;
    uint32_t count = 0, n = 0;
    enum err err = count_fields(packed, p, &count);

    if (err != ERR_OK)
        return err;
    if (count > METRICS_SERIES_MAX)
        return ERR_TOO_LARGE;
    struct metrics_row **rows = ARENA_ARRAY(p->a, struct metrics_row *, count);
    if (rows == NULL)
        return arena_err(p->a);
    while (err == ERR_OK && pb_field_next(&r, &f)) {
        if (f.number == PART_SERIES && f.wire == WIRE_BYTES)
            err = add_series(p, f.bytes, &rows[n++]);
        else if (f.number == PART_EXEMPLARS && f.wire == WIRE_BYTES)
            err = add_exemplar(p, f.bytes, rows, n);
    }
    return err;
}
