#include "common/base/clock.h"
#include "common/cli/cli_fetch.h"
#include "common/cli/cli_table.h"

#include <math.h>
#include <stdio.h>

enum { GRAPH_COLUMNS_MAX = 24, NUMBER_BYTES = 32 };

/* --- numbers --- */

static void put_number(double v, char ret[NUMBER_BYTES])
{
    double size = fabs(v);
    bool is_plain = size < 1e15 && (v == rint(v) || size >= 1e5);

    if (is_plain)
        (void)snprintf(ret, NUMBER_BYTES, "%.0f", v);
    else if (size < 1e5 && size >= 1)
        (void)snprintf(ret, NUMBER_BYTES, "%.*f", size < 100 ? 3 : 1, v);
    else
        (void)snprintf(ret, NUMBER_BYTES, "%.3g", v);
}

struct summary {
    double last, min, max, sum;
    uint32_t count;
};

static struct summary summary_of(const struct cli_series *s)
{
    struct summary m = {0};

    for (uint32_t i = 0; i < s->sample_count; i++) {
        double v = s->samples[i].value;
        if (isnan(v))
            continue;
        m.min = m.count == 0 || v < m.min ? v : m.min;
        m.max = m.count == 0 || v > m.max ? v : m.max;
        m.sum += v;
        m.last = v;
        m.count++;
    }
    return m;
}

/* --- the graph --- */

struct range {
    int64_t from_ms, to_ms;
    uint32_t columns;
};

static struct range range_of(const struct cli_answer *answer)
{
    struct range r = {INT64_MAX, 0, 1};

    for (uint32_t i = 0; i < answer->series_count; i++) {
        const struct cli_series *s = &answer->series[i];
        for (uint32_t k = 0; k < s->sample_count; k++) {
            r.from_ms = s->samples[k].time_ms < r.from_ms ? s->samples[k].time_ms : r.from_ms;
            r.to_ms = s->samples[k].time_ms > r.to_ms ? s->samples[k].time_ms : r.to_ms;
        }
        r.columns = s->sample_count > r.columns ? s->sample_count : r.columns;
    }
    r.columns = r.columns > GRAPH_COLUMNS_MAX ? GRAPH_COLUMNS_MAX : r.columns;
    return r;
}

/* Averages by column, from 0 (or the lowest, if that is below) up to the highest. */
static void put_graph(const struct cli_series *s, const struct summary *m, const struct range *r,
                      struct buf *out)
{
    static const char *const levels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double sums[GRAPH_COLUMNS_MAX] = {0}, floor = m->min < 0 ? m->min : 0;
    uint32_t counts[GRAPH_COLUMNS_MAX] = {0};
    double span = (double)(r->to_ms - r->from_ms) + 1;

    for (uint32_t i = 0; i < s->sample_count; i++) {
        double at = (double)(s->samples[i].time_ms - r->from_ms) / span * r->columns;
        uint32_t k = at < r->columns ? (uint32_t)at : r->columns - 1;
        if (!isfinite(s->samples[i].value))
            continue;
        sums[k] += s->samples[i].value;
        counts[k]++;
    }
    for (uint32_t k = 0; k < r->columns; k++) {
        double part = counts[k] == 0 || !(m->max > floor)
                          ? 0
                          : (sums[k] / counts[k] - floor) / (m->max - floor);
        unsigned level = part > 0 ? (unsigned)(part * 7.999) : 0;
        buf_append_str(out, counts[k] == 0 ? " " : levels[level > 7 ? 7 : level]);
    }
}

/* --- tables --- */

static void put_series(struct cli *c, struct cli_table *t, const struct cli_series *s,
                       const struct range *r)
{
    struct summary m = summary_of(s);
    const double numbers[] = {m.last, m.min, m.max, m.count == 0 ? 0 : m.sum / m.count};
    char texts[4][NUMBER_BYTES] = {"", "", "", ""};
    struct buf graph;

    buf_init(&graph, SIZE_MAX / 2);
    put_graph(s, &m, r, &graph);
    for (unsigned i = 0; i < 4 && m.count > 0; i++)
        put_number(numbers[i], texts[i]);
    if (buf_err(&graph) == ERR_OK)
        cli_table_row(t, (const struct slice[]){s->labels, slice_str(texts[0]), slice_str(texts[1]),
                                                slice_str(texts[2]), slice_str(texts[3]),
                                                buf_slice(&graph)});
    else
        c->out.err = buf_err(&graph);
    buf_release(&graph);
}

static void put_range(struct cli *c, const struct cli_answer *answer)
{
    static const struct cli_column columns[] = {{"SERIES", false, true}, {"LAST", true, false},
                                                {"MIN", true, false},    {"MAX", true, false},
                                                {"AVG", true, false},    {"GRAPH", false, false}};
    struct range r = range_of(answer);
    struct cli_table t;

    cli_table_init(&t, &c->arena, columns, 6);
    for (uint32_t i = 0; i < answer->series_count; i++)
        put_series(c, &t, &answer->series[i], &r);
    cli_table_write(&t, c->width, &c->out);
}

static void put_instant(struct cli *c, const struct cli_answer *answer)
{
    static const struct cli_column columns[] = {{"SERIES", false, true}, {"VALUE", true, false}};
    struct cli_table t;
    char text[NUMBER_BYTES];

    cli_table_init(&t, &c->arena, columns, 2);
    for (uint32_t i = 0; i < answer->series_count; i++) {
        const struct cli_series *s = &answer->series[i];
        put_number(s->sample_count == 0 ? 0 : s->samples[0].value, text);
        cli_table_row(&t, (const struct slice[]){s->labels, slice_str(text)});
    }
    cli_table_write(&t, c->width, &c->out);
}

static void put_request(struct cli *c, struct buf *request)
{
    cli_message_text(request, 1, c->options.operand);
    cli_message_number(request, 2, (uint64_t)c->start_ns);
    cli_message_number(request, 3, (uint64_t)c->end_ns);
    if (!c->options.is_instant)
        cli_message_number(request, 4, c->step_ns);
}

enum err cli_metrics(struct cli *c)
{
    bool is_instant = c->options.is_instant;
    struct cli_answer answer;
    struct buf request;

    enum err e = cli_ask_url(c, is_instant ? "/api/metrics/query" : "/api/metrics/query_range");
    if (e != ERR_OK)
        return e;
    cli_ask_param(c, "q", c->options.operand);
    cli_ask_param_u64(c, "start", (uint64_t)c->start_ns);
    cli_ask_param_u64(c, "end", (uint64_t)c->end_ns);
    if (c->step_ns > 0)
        cli_ask_param(c, "step", arena_printf(&c->arena, "%lluns", (unsigned long long)c->step_ns));
    buf_init(&request, CLI_URL_BYTES_MAX);
    put_request(c, &request);
    const struct cli_fetch how = {.kind = is_instant ? CLI_MESSAGE_INSTANT : CLI_MESSAGE_RANGE,
                                  .request = buf_slice(&request)};
    e = buf_err(&request) == ERR_OK ? cli_fetch(c, &how, &answer) : buf_err(&request);
    buf_release(&request);
    if (e != ERR_OK)
        return e;
    if (!c->is_json && answer.series_count > 0)
        is_instant ? put_instant(c, &answer) : put_range(c, &answer);
    return cli_fetch_end(c, answer.series_count, answer.message);
}
