/* Series as Tempo writes them.  Grafana reads these answers strictly: no field that its schema does not have. */
#include "common/base/clock.h"
#include "common/codec/otlp_write.h"
#include "querier/answers.h"

#include <math.h>

static void value_json(struct json_out *j, double v)
{
    if (v == 0)
        return; /* as protobuf's JSON does */
    json_out_key(j, "value");
    json_out_double(j, v);
}

static void timestamp_json(struct json_out *j, uint64_t ns)
{
    json_out_key(j, "timestampMs");
    json_out_u64_text(j, ns / (uint64_t)NS_PER_MS);
}

static void samples_json(struct json_out *j, const struct answers_metrics *m,
                         const struct metrics_series *s)
{
    json_out_key(j, "samples");
    json_out_begin_array(j);
    for (uint32_t i = 0; i < m->result.interval_count; i++) {
        if (isnan(s->points[i]))
            continue;
        json_out_begin_object(j);
        timestamp_json(j, m->window.first_ns + (i + 1) * m->window.step_ns);
        value_json(j, s->points[i]);
        json_out_end_object(j);
    }
    json_out_end_array(j);
}

static void exemplars_json(struct json_out *j, const struct metrics_series *s)
{
    if (s->exemplar_count == 0)
        return;
    json_out_key(j, "exemplars");
    json_out_begin_array(j);
    for (uint32_t i = 0; i < s->exemplar_count; i++) {
        const struct metrics_exemplar *x = &s->exemplars[i];
        json_out_begin_object(j);
        answers_attributes_json(j, "labels", x->labels, x->label_count);
        value_json(j, x->value);
        timestamp_json(j, x->start_ns);
        json_out_end_object(j);
    }
    json_out_end_array(j);
}

static void number_json(struct json_out *j, const char *key, uint64_t v, bool is_text)
{
    if (v == 0)
        return;
    json_out_key(j, key);
    if (is_text)
        json_out_u64_text(j, v);
    else
        json_out_u64(j, v);
}

static void stats_json(struct json_out *j, const struct result_stats *s)
{
    json_out_key(j, "metrics");
    json_out_begin_object(j);
    number_json(j, "inspectedTraces", s->inspected_traces, false);
    number_json(j, "inspectedBytes", s->inspected_bytes, true);
    number_json(j, "totalBlocks", s->total_blocks, false);
    number_json(j, "completedJobs", s->completed_jobs, false);
    number_json(j, "totalJobs", s->total_jobs, false);
    number_json(j, "totalBlockBytes", s->total_block_bytes, true);
    number_json(j, "inspectedSpans", s->inspected_spans, true);
    json_out_end_object(j);
}

/* The warning of an answer that leaves series out. */
static void cut_text(const struct answers_metrics *m, char ret[200])
{
    (void)snprintf(ret, 200,
                   "Response exceeds maximum series limit of %u, a partial response is returned. "
                   "Warning: the accuracy of each individual value is not guaranteed.",
                   m->series_max);
}

void answers_metrics_json(struct buf *out, const struct answers_metrics *m, bool is_range)
{
    bool is_cut = m->series_max != 0 && m->result.count > m->series_max;
    uint32_t count = is_cut ? m->series_max : m->result.count;
    struct json_out j;
    char text[200];

    json_out_init(&j, out);
    json_out_begin_object(&j);
    json_out_key(&j, "series");
    json_out_begin_array(&j);
    for (uint32_t i = 0; i < count; i++) {
        const struct metrics_series *s = &m->result.series[i];
        json_out_begin_object(&j);
        answers_attributes_json(&j, "labels", s->labels, s->label_count);
        if (is_range) {
            samples_json(&j, m, s);
            exemplars_json(&j, s);
        } else {
            value_json(&j, s->points[0]);
        }
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    stats_json(&j, &m->stats);
    if (is_cut) {
        cut_text(m, text);
        json_out_key(&j, "status");
        json_out_cstring(&j, "PARTIAL");
        json_out_key(&j, "message");
        json_out_cstring(&j, text);
    } else if (m->message != NULL) {
        json_out_key(&j, "message");
        json_out_cstring(&j, m->message);
    }
    json_out_end_object(&j);
}

static void samples_pb(struct buf *out, const struct answers_metrics *m,
                       const struct metrics_series *s)
{
    for (uint32_t i = 0; i < m->result.interval_count; i++) {
        if (isnan(s->points[i]))
            continue;
        uint64_t at_ns = m->window.first_ns + (i + 1) * m->window.step_ns;
        size_t mark = pb_begin(out, 2);
        pb_double(out, 1, s->points[i]);
        pb_varint(out, 2, at_ns / (uint64_t)NS_PER_MS);
        pb_end(out, mark);
    }
}

static void exemplars_pb(struct buf *out, const struct metrics_series *s)
{
    for (uint32_t i = 0; i < s->exemplar_count; i++) {
        const struct metrics_exemplar *x = &s->exemplars[i];
        size_t mark = pb_begin(out, 4);
        answers_attributes_pb(out, 1, x->labels, x->label_count);
        pb_double(out, 2, x->value);
        pb_varint(out, 3, x->start_ns / (uint64_t)NS_PER_MS);
        pb_end(out, mark);
    }
}

void answers_metrics_pb(struct buf *out, const struct answers_metrics *m, bool is_range)
{
    bool is_cut = m->series_max != 0 && m->result.count > m->series_max;
    uint32_t count = is_cut ? m->series_max : m->result.count;
    char text[200];

    for (uint32_t i = 0; i < count; i++) {
        const struct metrics_series *s = &m->result.series[i];
        size_t mark = pb_begin(out, 1);
        answers_attributes_pb(out, 1, s->labels, s->label_count);
        if (is_range) {
            samples_pb(out, m, s);
            exemplars_pb(out, s);
        } else {
            pb_double(out, 2, s->points[0]);
        }
        pb_end(out, mark);
    }
    answers_stats_pb(out, &m->stats);
    if (is_cut) {
        cut_text(m, text);
        pb_varint(out, 3, 1); /* PARTIAL */
        pb_bytes(out, 4, slice_str(text));
    } else if (m->message != NULL) {
        pb_bytes(out, 4, slice_str(m->message));
    }
}
