/* write_request.h - remote-write requests read back: snappy block, then protobuf, each series as "name{a=b,c=d}" in the order of its labels. */
#ifndef VIVACE_TESTS_WRITE_REQUEST_H
#define VIVACE_TESTS_WRITE_REQUEST_H

#include "common/base/buf.h"
#include "common/base/reader.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WRITE_SERIES_MAX = 4096, WRITE_TEXT_BYTES = 512 };

struct write_series {
    char text[WRITE_TEXT_BYTES]; /* labels as they stand */
    char name[128];
    double value;
    int64_t ms;
    unsigned samples, exemplars;
    char exemplar[160]; /* "label=value at value" of the last one */
};

struct write_request {
    struct write_series *series;
    unsigned count;
};

/* Snappy's block format: a length, then literals and copies. */
static inline void write_unsnappy(struct slice block, struct buf *out)
{
    struct reader r = reader_of(block);
    uint64_t len = reader_varint(&r);

    while (!reader_done(&r)) {
        uint8_t tag = reader_u8(&r);
        uint32_t n, offset;
        switch (tag & 3) {
        case 0:
            n = tag >> 2;
            if (n >= 60) {
                uint32_t bytes = n - 59;
                n = 0;
                for (uint32_t i = 0; i < bytes; i++)
                    n |= (uint32_t)reader_u8(&r) << (8 * i);
            }
            buf_append(out, reader_take(&r, n + 1));
            continue;
        case 1:
            n = (tag >> 2 & 7) + 4u;
            offset = (uint32_t)(tag >> 5) << 8 | reader_u8(&r);
            break;
        case 2:
            n = (tag >> 2) + 1u;
            offset = reader_le16(&r);
            break;
        default:
            n = (tag >> 2) + 1u;
            offset = reader_le32(&r);
            break;
        }
        assert_true(offset != 0 && offset <= out->len);
        for (uint32_t i = 0; i < n; i++)
            buf_append_byte(out, out->ptr[out->len - offset]);
    }
    assert_false(reader_failed(&r));
    assert_int_equal(out->len, len);
}

static inline double write_double(struct reader *r)
{
    uint64_t bits = reader_le64(r);
    double d;

    memcpy(&d, &bits, sizeof d);
    return d;
}

static inline void write_label(struct slice bytes, char *name, char *value)
{
    struct reader r = reader_of(bytes);

    name[0] = value[0] = '\0';
    while (!reader_done(&r)) {
        uint64_t tag = reader_varint(&r);
        struct slice s = reader_bytes(&r);
        assert_true(tag == 10 || tag == 18);
        (void)snprintf(tag == 10 ? name : value, 128, SLICE_FMT, SLICE_ARG(s));
    }
    assert_false(reader_failed(&r));
}

static inline void write_point(struct slice bytes, bool is_exemplar, struct write_series *s)
{
    struct reader r = reader_of(bytes);
    char name[128] = "", value[128] = "";
    double v = 0;
    int64_t ms = 0;

    while (!reader_done(&r)) {
        uint64_t field = reader_varint(&r) >> 3;
        if (is_exemplar && field == 1)
            write_label(reader_bytes(&r), name, value);
        else if (field == (is_exemplar ? 2u : 1u))
            v = write_double(&r);
        else
            ms = (int64_t)reader_varint(&r);
    }
    assert_false(reader_failed(&r));
    if (is_exemplar) {
        s->exemplars++;
        (void)snprintf(s->exemplar, sizeof s->exemplar, "%.60s=%.60s at %g", name, value, v);
        return;
    }
    s->samples++;
    s->value = v;
    s->ms = ms;
}

static inline void write_series_read(struct slice bytes, struct write_series *s)
{
    struct reader r = reader_of(bytes);
    char last[128] = "";
    size_t n = 0;

    *s = (struct write_series){.samples = 0};
    while (!reader_done(&r)) {
        uint64_t field = reader_varint(&r) >> 3;
        struct slice part = reader_bytes(&r);
        char name[128], value[128];
        if (field != 1) {
            write_point(part, field == 3, s);
            continue;
        }
        write_label(part, name, value);
        assert_true(strcmp(last, name) < 0); /* sorted, each once */
        (void)snprintf(last, sizeof last, "%s", name);
        if (strcmp(name, "__name__") == 0)
            (void)snprintf(s->name, sizeof s->name, "%s", value);
        else
            n += (size_t)snprintf(s->text + n, sizeof s->text - n, "%s%s=%s", n == 0 ? "" : ",",
                                  name, value);
    }
    assert_false(reader_failed(&r));
    assert_int_equal(s->samples, 1);
    assert_true(s->name[0] != '\0');
}

/* Adds what a request holds. */
static inline void write_request_add(struct write_request *w, struct slice block)
{
    struct buf raw;

    buf_init(&raw, 64 << 20);
    write_unsnappy(block, &raw);
    struct reader r = reader_of(buf_slice(&raw));
    if (w->series == NULL)
        w->series = calloc(WRITE_SERIES_MAX, sizeof *w->series);
    assert_non_null(w->series);
    while (!reader_done(&r)) {
        assert_int_equal(reader_varint(&r), 10);
        assert_true(w->count < WRITE_SERIES_MAX);
        write_series_read(reader_bytes(&r), &w->series[w->count++]);
    }
    assert_false(reader_failed(&r));
    buf_release(&raw);
}

static inline void write_request_clear(struct write_request *w)
{
    free(w->series);
    *w = (struct write_request){0};
}

/* The one series of this name whose labels hold `part`. */
static inline const struct write_series *write_find(const struct write_request *w, const char *name,
                                                    const char *part)
{
    const struct write_series *found = NULL;

    for (unsigned i = 0; i < w->count; i++) {
        if (strcmp(w->series[i].name, name) != 0 || strstr(w->series[i].text, part) == NULL)
            continue;
        assert_null(found);
        found = &w->series[i];
    }
    return found;
}

#endif
