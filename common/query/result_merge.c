#include "common/query/eval.h"
#include "common/query/result.h"

#include <assert.h>

static const char ROOT_UNKNOWN[] = "<root span not yet received>";

static void add_stats(struct result_stats *to, const struct result_stats *from)
{
    to->inspected_traces += from->inspected_traces;
    to->inspected_bytes += from->inspected_bytes;
    to->inspected_spans += from->inspected_spans;
    to->total_blocks += from->total_blocks;
    to->total_jobs += from->total_jobs;
    to->completed_jobs += from->completed_jobs;
    to->total_block_bytes += from->total_block_bytes;
}

static int by_id(const void *a, const void *b)
{
    const struct result_trace *x = *(const struct result_trace *const *)a,
                              *y = *(const struct result_trace *const *)b;
    int c = trace_id_cmp(x->id, y->id);

    if (c != 0)
        return c;
    return (x->start_ns > y->start_ns) -
           (x->start_ns < y->start_ns); /* the same answer whatever the order of the parts */
}

static struct value value_of_trace(const struct result_order *o, const struct result_trace *t)
{
    struct value best = VALUE_NONE;

    for (uint32_t i = 0; i < t->spanset_count; i++)
        best = result_order_best(
            o, best,
            result_order_value(o, t->spansets[i].attributes, t->spansets[i].attribute_count));
    return best;
}

static int by_order(const void *a, const void *b, void *arg)
{
    const struct result_trace *x = a, *y = b;
    const struct result_order *o = arg;
    int c =
        o->key.len == 0 ? 0 : result_order_values(o, value_of_trace(o, x), value_of_trace(o, y));

    if (c != 0)
        return c;
    if (x->start_ns != y->start_ns)
        return x->start_ns > y->start_ns ? -1 : 1;
    return trace_id_cmp(x->id, y->id);
}

static bool is_by(struct slice key)
{
    return slice_has_prefix(key, SLICE_LIT("by("));
}

/* Spansets of one trace belong together when their by(...) attributes are equal. */
static bool is_same_group(const struct result_spanset *a, const struct result_spanset *b)
{
    uint32_t i = 0, k = 0;

    for (;; i++, k++) {
        while (i < a->attribute_count && !is_by(a->attributes[i].key))
            i++;
        while (k < b->attribute_count && !is_by(b->attributes[k].key))
            k++;
        if (i == a->attribute_count || k == b->attribute_count)
            return i == a->attribute_count && k == b->attribute_count;
        if (!slice_eq(a->attributes[i].key, b->attributes[k].key) ||
            !eval_value_equal(a->attributes[i].value, b->attributes[k].value))
            return false;
    }
}

static enum err join_spansets(struct arena *a, struct result_trace *to,
                              const struct result_trace *from)
{
    struct result_spanset *sets =
        ARENA_ARRAY(a, struct result_spanset, (size_t)to->spanset_count + from->spanset_count);
    uint32_t n = to->spanset_count;

    if (sets == NULL)
        return arena_err(a);
    if (n != 0)
        memcpy(sets, to->spansets, sizeof sets[0] * n);
    for (uint32_t i = 0; i < from->spanset_count; i++) {
        uint32_t k = 0;
        while (k < n && !is_same_group(&sets[k], &from->spansets[i]))
            k++;
        if (k == n)
            n++;
        else if (sets[k].matched >= from->spansets[i].matched)
            continue;
        sets[k] = from->spansets[i];
    }
    to->spansets = sets;
    to->spanset_count = n;
    return ERR_OK;
}

static enum err join_services(struct arena *a, struct result_trace *to,
                              const struct result_trace *from)
{
    struct result_service *list =
        ARENA_ARRAY(a, struct result_service, (size_t)to->service_count + from->service_count);
    uint32_t n = to->service_count;

    if (list == NULL)
        return arena_err(a);
    if (n != 0)
        memcpy(list, to->services, sizeof list[0] * n);
    for (uint32_t i = 0; i < from->service_count; i++) {
        const struct result_service *s = &from->services[i];
        uint32_t k = 0;
        while (k < n && !slice_eq(list[k].name, s->name))
            k++;
        if (k == n)
            list[n++] = (struct result_service){.name = s->name};
        if (s->span_count > list[k].span_count)
            list[k].span_count = s->span_count;
        if (s->error_count > list[k].error_count)
            list[k].error_count = s->error_count;
    }
    to->services = list;
    to->service_count = n;
    return ERR_OK;
}

static enum err join_trace(struct arena *a, struct result_trace *to,
                           const struct result_trace *from)
{
    assert(trace_id_eq(to->id, from->id));
    if (from->start_ns < to->start_ns)
        to->start_ns = from->start_ns;
    if (from->duration_ns > to->duration_ns)
        to->duration_ns = from->duration_ns;
    if (slice_eq_str(to->root_service, ROOT_UNKNOWN) &&
        !slice_eq_str(from->root_service, ROOT_UNKNOWN))
        to->root_service = from->root_service;
    if (to->root_name.len == 0)
        to->root_name = from->root_name;
    enum err err = join_spansets(a, to, from);
    return err != ERR_OK ? err : join_services(a, to, from);
}

enum err search_result_merge(struct arena *a, const struct search_result *parts,
                             uint32_t part_count, const struct result_order *order, uint32_t limit,
                             struct search_result *ret)
{
    struct result_order by = *order;
    struct search_result out = {0};
    size_t total = 0, n = 0;
    enum err err = ERR_OK;

    for (uint32_t p = 0; p < part_count; p++) {
        total += parts[p].trace_count;
        out.is_cut = out.is_cut || parts[p].is_cut;
        add_stats(&out.stats, &parts[p].stats);
    }
    if (total > UINT32_MAX)
        return ERR_LIMIT;
    const struct result_trace **all = ARENA_ARRAY(a, const struct result_trace *, total);
    out.traces = ARENA_ARRAY(a, struct result_trace, total);
    if (all == NULL || out.traces == NULL)
        return arena_err(a);
    for (uint32_t p = 0; p < part_count; p++)
        for (uint32_t i = 0; i < parts[p].trace_count; i++)
            all[n++] = &parts[p].traces[i];
    qsort(all, n, sizeof all[0], by_id);
    for (size_t i = 0; i < n && err == ERR_OK; i++) {
        bool is_again = i > 0 && trace_id_eq(all[i]->id, all[i - 1]->id);
        if (is_again)
            err = join_trace(a, &out.traces[out.trace_count - 1], all[i]);
        else
            out.traces[out.trace_count++] = *all[i];
    }
    if (err != ERR_OK)
        return err;
    qsort_r(out.traces, out.trace_count, sizeof out.traces[0], by_order, &by);
    if (limit != 0 && out.trace_count > limit) {
        out.trace_count = limit;
        out.is_cut = true;
    }
    *ret = out;
    return ERR_OK;
}

static int slice_order(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static int value_order(const void *a, const void *b)
{
    return eval_value_order(*(const struct value *)a, *(const struct value *)b);
}

enum err tag_names_merge(struct arena *a, const struct tag_names *parts, uint32_t part_count,
                         uint32_t limit, struct tag_names *ret)
{
    struct tag_names out = {0};

    for (uint32_t p = 0; p < part_count; p++)
        add_stats(&out.stats, &parts[p].stats);
    for (int k = 0; k < TAGS_SCOPE_COUNT; k++) {
        size_t total = 0, n = 0;
        for (uint32_t p = 0; p < part_count; p++)
            total += parts[p].counts[k];
        struct slice *names = ARENA_ARRAY(a, struct slice, total);
        if (names == NULL)
            return arena_err(a);
        for (uint32_t p = 0; p < part_count; p++)
            for (uint32_t i = 0; i < parts[p].counts[k]; i++)
                names[n++] = parts[p].names[k][i];
        qsort(names, n, sizeof names[0], slice_order);
        for (size_t i = 0; i < n; i++)
            if (out.counts[k] == 0 || !slice_eq(names[out.counts[k] - 1], names[i]))
                names[out.counts[k]++] = names[i];
        if (limit != 0 && out.counts[k] > limit)
            out.counts[k] = limit;
        out.names[k] = names;
    }
    *ret = out;
    return ERR_OK;
}

enum err tag_values_merge(struct arena *a, const struct tag_values *parts, uint32_t part_count,
                          uint32_t limit, uint64_t bytes_max, struct tag_values *ret)
{
    struct tag_values out = {0};
    size_t total = 0, n = 0;
    uint64_t bytes = 0;

    for (uint32_t p = 0; p < part_count; p++) {
        total += parts[p].count;
        out.is_cut = out.is_cut || parts[p].is_cut;
        add_stats(&out.stats, &parts[p].stats);
    }
    out.values = ARENA_ARRAY(a, struct value, total);
    if (out.values == NULL)
        return arena_err(a);
    for (uint32_t p = 0; p < part_count; p++)
        for (uint32_t i = 0; i < parts[p].count; i++)
            out.values[n++] = parts[p].values[i];
    qsort(out.values, n, sizeof out.values[0], value_order);
    for (size_t i = 0; i < n; i++) {
        struct value v = out.values[i];
        if (out.count != 0 && eval_value_equal(out.values[out.count - 1], v))
            continue;
        bytes += v.type == VALUE_STRING ? v.s.len : sizeof v.i;
        if ((limit != 0 && out.count == limit) || (bytes_max != 0 && bytes > bytes_max)) {
            out.is_cut = true;
            break;
        }
        out.values[out.count++] = v;
    }
    *ret = out;
    return ERR_OK;
}
