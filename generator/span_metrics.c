#include "generator/span_metrics.h"

#include <assert.h>

/* Values by number: the attributes' numbers first, then these. */
enum { SERVICE = ATTRIBUTES_MAX, SPAN_NAME, SPAN_KIND, STATUS_CODE, VALUE_COUNT };
enum { LABELS_BYTES_MAX = 256 * 1024 };

static const char *const kind_names[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
                                         "SPAN_KIND_SERVER",      "SPAN_KIND_CLIENT",
                                         "SPAN_KIND_PRODUCER",    "SPAN_KIND_CONSUMER"};
static const char *const status_names[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK",
                                           "STATUS_CODE_ERROR"};

static enum err plan_make(struct span_metrics *m, const struct limits *l, struct attributes *wanted)
{
    unsigned number;
    enum err e = attributes_want(wanted, "service.name", &m->service);

    if (e == ERR_OK)
        e = labels_plan_fixed(&m->plan, "service", SERVICE);
    if (e == ERR_OK)
        e = labels_plan_fixed(&m->plan, "span_name", SPAN_NAME);
    if (e == ERR_OK)
        e = labels_plan_fixed(&m->plan, "span_kind", SPAN_KIND);
    if (e == ERR_OK)
        e = labels_plan_fixed(&m->plan, "status_code", STATUS_CODE);
    for (unsigned i = 0; i < l->span_metrics_dimensions.count && e == ERR_OK; i++) {
        e = attributes_want(wanted, l->span_metrics_dimensions.items[i], &number);
        if (e == ERR_OK)
            e = labels_plan_attribute(&m->plan, "", l->span_metrics_dimensions.items[i], number,
                                      true);
    }
    labels_plan_sort(&m->plan);
    return e;
}

enum err span_metrics_init(struct span_metrics *m, const struct config *c, const struct limits *l,
                           struct attributes *wanted, struct arena *a, struct budget *budget)
{
    *m = (struct span_metrics){0};
    buf_init(&m->labels, LABELS_BYTES_MAX);
    labels_plan_init(&m->plan, a, (uint32_t)c->max_label_name_length,
                     (uint32_t)c->max_label_value_length);
    enum err e = plan_make(m, l, wanted);
    if (e == ERR_OK)
        e = series_init(&m->series, SERIES_SPAN, l->span_metrics_buckets.items,
                        l->span_metrics_buckets.count, (uint32_t)l->max_active_series, budget);
    return e;
}

void span_metrics_release(struct span_metrics *m)
{
    series_release(&m->series);
    buf_release(&m->labels);
}

enum err span_metrics_take(struct span_metrics *m, const struct attributes *attributes,
                           const struct otlp_span *span, size_t span_bytes, struct trace_id id,
                           int64_t now_ns)
{
    struct slice values[VALUE_COUNT];
    uint32_t kind = span->kind < 6 ? span->kind : 0, status = span->status < 3 ? span->status : 0;

    for (unsigned i = 0; i < m->plan.count; i++) {
        unsigned n = m->plan.slots[i].number;
        if (n == SERVICE)
            values[n] = attributes->resource[m->service];
        else if (n == SPAN_NAME)
            values[n] = span->name;
        else if (n == SPAN_KIND)
            values[n] = slice_str(kind_names[kind]);
        else if (n == STATUS_CODE)
            values[n] = slice_str(status_names[status]);
        else
            values[n] = attributes_both(attributes, n);
    }
    buf_reset(&m->labels);
    enum err e = labels_write(&m->plan, values, &m->labels);
    if (e != ERR_OK)
        return e;
    struct series_entity *entity = series_get(&m->series, buf_slice(&m->labels), now_ns);
    if (entity == NULL)
        return ERR_NOMEM;
    double seconds =
        span->end_ns > span->start_ns ? (double)(span->end_ns - span->start_ns) / 1e9 : 0;
    entity->counters[0] += 1;
    entity->counters[1] += (double)span_bytes;
    series_observe(&m->series, &entity->histograms[0], seconds, id);
    return ERR_OK;
}
