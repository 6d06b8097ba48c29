#include "generator/collect.h"

#include "common/base/clock.h"
#include "common/base/num.h"
#include "common/codec/otlp_write.h"
#include "common/codec/snappy_block.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { REQUEST_BYTES_MAX = 32 * 1024 * 1024, LABELS_MAX = SERIES_LABELS_MAX + 64 };

struct label {
    struct slice name, value;
};

struct collect {
    const struct collect_options *o;
    struct tenant *tenant;
    struct buf requests[COLLECT_VARIANT_COUNT], compressed, le;
    struct label labels[LABELS_MAX]; /* of the entity, sorted; without __name__ and le */
    unsigned label_count;
    uint32_t samples;
    int64_t now_ms;
    bool is_zero; /* the series being written are announced, not given */
};

static int label_cmp(const void *a, const void *b)
{
    return slice_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

/* An external label wins over a label of the same name. */
static void label_set(struct collect *c, struct slice name, struct slice value)
{
    if (value.len == 0)
        return;
    for (unsigned i = 0; i < c->label_count; i++) {
        if (slice_eq(c->labels[i].name, name)) {
            c->labels[i].value = value;
            return;
        }
    }
    if (c->label_count < LABELS_MAX)
        c->labels[c->label_count++] = (struct label){name, value};
}

static void entity_labels(struct collect *c, const struct series_entity *e)
{
    struct slice blob = {e->labels, e->labels_len}, name, value;
    const struct config *config = c->tenant->config;

    c->label_count = 0;
    for (size_t at = 0; series_label_next(blob, &at, &name, &value);)
        label_set(c, name, value);
    label_set(c, SLICE_LIT("__metrics_gen_instance"), slice_str(c->o->instance));
    if (config->inject_tenant_id_as[0] != '\0')
        label_set(c, slice_str(config->inject_tenant_id_as), slice_str(c->tenant->name));
    for (unsigned i = 0; i < config->external_label_count; i++)
        label_set(c, slice_str(config->external_labels[i].name),
                  slice_str(config->external_labels[i].value));
    qsort(c->labels, c->label_count, sizeof c->labels[0], label_cmp);
}

static void label_write(struct buf *out, struct slice name, struct slice value)
{
    size_t mark = pb_begin(out, 1);

    pb_bytes(out, 1, name);
    pb_bytes(out, 2, value);
    pb_end(out, mark);
}

/* The entity's labels with __name__ and (if not empty) le in their places. */
static void labels_write_all(const struct collect *c, struct buf *out, const char *name,
                             struct slice le)
{
    struct label extra[2] = {{SLICE_LIT("__name__"), slice_str(name)}, {SLICE_LIT("le"), le}};
    unsigned extra_count = le.len != 0 ? 2 : 1, x = 0;

    for (unsigned i = 0; i < c->label_count; i++) {
        if (slice_eq(c->labels[i].name, extra[0].name) ||
            (extra_count == 2 && slice_eq(c->labels[i].name, extra[1].name)))
            continue; /* a name twice would have the whole request refused */
        while (x < extra_count && slice_cmp(extra[x].name, c->labels[i].name) < 0) {
            label_write(out, extra[x].name, extra[x].value);
            x++;
        }
        label_write(out, c->labels[i].name, c->labels[i].value);
    }
    for (; x < extra_count; x++)
        label_write(out, extra[x].name, extra[x].value);
}

static void exemplar_write(const struct collect *c, struct buf *out,
                           const struct series_exemplar *e)
{
    char hex[TRACE_ID_HEX + 1];

    trace_id_to_hex_short(e->trace_id, hex);
    size_t mark = pb_begin(out, 3);
    label_write(out, slice_str(c->tenant->limits.trace_id_label_name), slice_str(hex));
    pb_double(out, 2, e->value);
    pb_varint(out, 3, (uint64_t)c->now_ms);
    pb_end(out, mark);
}

static void series_write(struct collect *c, const char *name, struct slice le, double value,
                         struct series_exemplar *exemplar)
{
    bool has_exemplar = exemplar != NULL && !c->is_zero && !isnan(exemplar->value);

    for (unsigned v = 0; v < COLLECT_VARIANT_COUNT; v++) {
        struct buf *out = &c->requests[v];
        if (!c->o->wants[v])
            continue;
        size_t mark = pb_begin(out, 1);
        labels_write_all(c, out, name, le);
        size_t sample = pb_begin(out, 2);
        pb_double(out, 1, c->is_zero ? 0 : value);
        pb_varint(out, 2, (uint64_t)c->now_ms);
        pb_end(out, sample);
        if (has_exemplar && v == COLLECT_EXEMPLARS)
            exemplar_write(c, out, exemplar);
        pb_end(out, mark);
    }
    if (has_exemplar)
        exemplar->value = NAN;
    c->samples++;
}

static void histogram_write(struct collect *c, const struct series_set *s,
                            struct series_histogram *h, const char *bucket, const char *sum,
                            const char *count)
{
    uint64_t total = 0;

    for (unsigned b = 0; b <= s->bound_count; b++) {
        total += h->buckets[b];
        buf_reset(&c->le);
        if (b == s->bound_count)
            buf_append_str(&c->le, "+Inf");
        else
            num_append_double_f(&c->le, s->bounds[b]);
        series_write(c, bucket, buf_slice(&c->le), (double)total, &h->exemplars[b]);
    }
    series_write(c, sum, SLICE_NONE, h->sum, NULL);
    series_write(c, count, SLICE_NONE, (double)h->count, NULL);
}

static enum err request_done(struct collect *c)
{
    enum err e = ERR_OK;

    for (unsigned v = 0; v < COLLECT_VARIANT_COUNT; v++) {
        struct buf *request = &c->requests[v];
        if (e == ERR_OK)
            e = buf_err(request);
        if (e == ERR_OK && request->len != 0) {
            buf_reset(&c->compressed);
            e = snappy_block_compress(buf_slice(request), &c->compressed);
            if (e == ERR_OK)
                e = c->o->done(c->o->arg, (enum collect_variant)v, buf_slice(&c->compressed));
        }
        buf_reset(request);
    }
    c->samples = 0;
    return e;
}

static void spans_write(struct collect *c, const struct series_set *s, struct series_entity *e)
{
    const struct span_metrics *m = &c->tenant->spans;

    c->is_zero = (e->announced & SERIES_ANNOUNCED_ALL) == 0;
    e->announcing = SERIES_ANNOUNCED_ALL;
    if (m->has_calls)
        series_write(c, "traces_spanmetrics_calls_total", SLICE_NONE, e->counters[0], NULL);
    if (m->has_size)
        series_write(c, "traces_spanmetrics_size_total", SLICE_NONE, e->counters[1], NULL);
    if (m->has_latency)
        histogram_write(c, s, &e->histograms[0], "traces_spanmetrics_latency_bucket",
                        "traces_spanmetrics_latency_sum", "traces_spanmetrics_latency_count");
}

static void edges_write(struct collect *c, const struct series_set *s, struct series_entity *e)
{
    c->is_zero = (e->announced & SERIES_ANNOUNCED_ALL) == 0;
    e->announcing = SERIES_ANNOUNCED_ALL;
    series_write(c, "traces_service_graph_request_total", SLICE_NONE, e->counters[0], NULL);
    histogram_write(c, s, &e->histograms[0], "traces_service_graph_request_server_seconds_bucket",
                    "traces_service_graph_request_server_seconds_sum",
                    "traces_service_graph_request_server_seconds_count");
    histogram_write(c, s, &e->histograms[1], "traces_service_graph_request_client_seconds_bucket",
                    "traces_service_graph_request_client_seconds_sum",
                    "traces_service_graph_request_client_seconds_count");
    if (e->counters[1] > 0) { /* exists from the first failure on */
        c->is_zero = (e->announced & SERIES_ANNOUNCED_FAILURES) == 0;
        series_write(c, "traces_service_graph_request_failed_total", SLICE_NONE, e->counters[1],
                     NULL);
        e->announcing |= SERIES_ANNOUNCED_FAILURES;
    }
}

static enum err entity_write(void *arg, struct series_set *s, struct series_entity *e)
{
    struct collect *c = arg;

    entity_labels(c, e);
    if (s->kind == SERIES_SPAN)
        spans_write(c, s, e);
    else
        edges_write(c, s, e);
    return c->samples >= c->o->samples_per_request ? request_done(c) : ERR_OK;
}

static enum err entity_settle(void *arg, struct series_set *s, struct series_entity *e)
{
    const bool *is_kept = arg;

    (void)s;
    if (*is_kept)
        e->announced |= e->announcing;
    e->announcing = 0;
    return ERR_OK;
}

static enum err entity_mark(void *arg, struct series_set *s, struct series_entity *e)
{
    (void)arg;
    e->announced |= SERIES_ANNOUNCED_ALL;
    if (s->kind == SERIES_EDGE && e->counters[1] > 0)
        e->announced |= SERIES_ANNOUNCED_FAILURES;
    return ERR_OK;
}

void collect_mark(struct tenant *t)
{
    enum err e = ERR_OK;

    if (t->has_spans)
        e = series_each(&t->spans.series, entity_mark, NULL);
    if (e == ERR_OK && t->has_graph)
        e = series_each(&t->graph.series, entity_mark, NULL);
    assert(e == ERR_OK); /* entity_mark has no other answer */
}

void collect_settle(struct tenant *t, bool is_kept)
{
    enum err e = ERR_OK;

    if (t->has_spans)
        e = series_each(&t->spans.series, entity_settle, &is_kept);
    if (e == ERR_OK && t->has_graph)
        e = series_each(&t->graph.series, entity_settle, &is_kept);
    assert(e == ERR_OK); /* entity_settle has no other answer */
}

enum err collect_run(struct tenant *t, const struct collect_options *o)
{
    struct collect *c = calloc(1, sizeof *c);
    enum err e = ERR_OK;

    assert(o->samples_per_request > 0);
    if (c == NULL)
        return ERR_NOMEM;
    c->o = o;
    c->tenant = t;
    c->now_ms = o->now_ns / NS_PER_MS;
    for (unsigned v = 0; v < COLLECT_VARIANT_COUNT; v++)
        buf_init(&c->requests[v], REQUEST_BYTES_MAX);
    buf_init(&c->compressed, REQUEST_BYTES_MAX * 2);
    buf_init(&c->le, 64);
    if (t->has_spans)
        e = series_each(&t->spans.series, entity_write, c);
    if (e == ERR_OK && t->has_graph)
        e = series_each(&t->graph.series, entity_write, c);
    if (e == ERR_OK)
        e = request_done(c);
    for (unsigned v = 0; v < COLLECT_VARIANT_COUNT; v++)
        buf_release(&c->requests[v]);
    buf_release(&c->compressed);
    buf_release(&c->le);
    free(c);
    return e;
}
