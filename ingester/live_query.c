#include "ingester/live_query.h"

#include "common/base/map.h"
#include "common/codec/otlp_write.h"
#include "common/query/metrics_query.h"
#include "common/query/ql.h"
#include "common/store/head.h"
#include "common/sys/queue.h"
#include "common/sys/thread.h"
#include "ingester/query_message.h"

#include <assert.h>
#include <stdlib.h>

enum {
    WAITING_MAX = 512,
    WATCH_MS = 10,
    REPLY_BYTES_MAX = (64 << 20) - 4096,
    TEXT_BYTES_MAX = QL_TEXT_BYTES_MAX
};

struct live_query {
    struct live_query_options o;
    struct budget budget;
    struct workers *workers;
    pthread_t watcher;
    bool has_watcher;
    struct mutex lock; /* jobs, is_stopping */
    pthread_cond_t changed;
    struct job *jobs;
    bool is_stopping;
};

struct job {
    struct work work; /* first */
    struct live_query *l;
    struct rpc_req *req;
    int64_t deadline_ns; /* mono */
    atomic_bool cancel;
    struct job *prev, *next;
};

/* What all methods need while they run. */
struct query {
    struct live_query *l;
    struct query_message m;
    struct arena *arena;
    struct view view;
    const atomic_bool *cancel;
    struct buf *out;
    struct err_detail *detail;
};

static int id_cmp(const void *a, const void *b)
{
    return memcmp(a, b, TRACE_ID_BYTES);
}

static bool has_id(const struct trace_id *ids, uint32_t count, struct trace_id id)
{
    return count > 0 && bsearch(&id, ids, count, sizeof id, id_cmp) != NULL;
}

static bool is_canceled(const struct query *q)
{
    return q->cancel != NULL && atomic_load(q->cancel);
}

static enum err write_trace(struct query *q, struct segment *s, struct trace_id id)
{
    const uint32_t *rows;
    uint32_t trace, count;
    enum err e = segment_find_trace(s, id, &trace);

    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    if (e == ERR_OK)
        e = segment_trace_rows(s, trace, q->arena, &rows, &count);
    if (e == ERR_OK)
        e = segment_write_otlp(s, rows, count, q->out);
    return e == ERR_OK ? buf_err(q->out) : e;
}

/* A trace in several heads: requests written one after the other are one request. */
static enum err run_trace(struct query *q)
{
    struct segment **segments = ARENA_ARRAY(q->arena, struct segment *, q->view.count);
    enum err e = arena_err(q->arena);

    query_message_coverage(q->out, 1, slice_str(q->l->o.instance_id), &q->view);
    for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++)
        e = head_segment(q->view.items[i].head, &q->l->budget, &segments[i]);
    for (uint32_t k = 0; k < q->m.id_count && e == ERR_OK; k++) {
        size_t mark = pb_begin(q->out, 2);
        for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++) {
            const struct view_item *v = &q->view.items[i];
            if (!has_id(v->skip, v->skip_count, q->m.ids[k]))
                e = write_trace(q, segments[i], q->m.ids[k]);
        }
        pb_end(q->out, mark);
        if (e == ERR_OK && is_canceled(q))
            e = ERR_CANCELED;
    }
    for (uint32_t i = 0; segments != NULL && i < q->view.count; i++)
        segment_close(segments[i]);
    return e;
}

/* An id once for each head that has the trace: the querier gathers those that are in more places than one. */
static enum err run_has(struct query *q)
{
    enum err e = ERR_OK;

    query_message_coverage(q->out, 1, slice_str(q->l->o.instance_id), &q->view);
    for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++) {
        const struct view_item *v = &q->view.items[i];
        struct segment *s = NULL;
        uint32_t trace;

        e = head_segment(v->head, &q->l->budget, &s);
        for (uint32_t k = 0; k < q->m.id_count && e == ERR_OK; k++) {
            if (has_id(v->skip, v->skip_count, q->m.ids[k]))
                continue;
            e = segment_find_trace(s, q->m.ids[k], &trace);
            if (e == ERR_OK)
                pb_bytes(q->out, 2, (struct slice){q->m.ids[k].b, TRACE_ID_BYTES});
            if (e == ERR_NOT_FOUND)
                e = ERR_OK;
        }
        segment_close(s);
        if (e == ERR_OK && is_canceled(q))
            e = ERR_CANCELED;
    }
    return e;
}

/* What is asked to be left out, and what is whole in a newer head. */
static enum err exclude(struct query *q, const struct view_item *v, struct engine_query *eq)
{
    uint32_t count = q->m.id_count + v->skip_count, n = 0;

    if (v->skip_count == 0) {
        eq->exclude = q->m.ids;
        eq->exclude_count = q->m.id_count;
        return ERR_OK;
    }
    struct trace_id *ids = ARENA_ARRAY(q->arena, struct trace_id, count);
    if (ids == NULL)
        return arena_err(q->arena);
    uint32_t i = 0, k = 0;
    while (i < q->m.id_count || k < v->skip_count) {
        bool is_first =
            k == v->skip_count || (i < q->m.id_count && trace_id_cmp(q->m.ids[i], v->skip[k]) <= 0);
        ids[n++] = is_first ? q->m.ids[i++] : v->skip[k++];
    }
    assert(n == count);
    eq->exclude = ids;
    eq->exclude_count = n;
    return ERR_OK;
}

static void stats_add(struct result_stats *to, const struct result_stats *from)
{
    to->inspected_traces += from->inspected_traces;
    to->inspected_bytes += from->inspected_bytes;
    to->inspected_spans += from->inspected_spans;
}

static enum err search_heads(struct query *q, struct engine_query *eq, struct search_result *ret)
{
    struct search_result *parts = ARENA_ARRAY(q->arena, struct search_result, q->view.count);
    struct result_stats stats = {0};
    enum err e = arena_err(q->arena);

    for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++) {
        struct segment *s = NULL;
        e = exclude(q, &q->view.items[i], eq);
        if (e == ERR_OK)
            e = head_segment(q->view.items[i].head, &q->l->budget, &s);
        if (e == ERR_OK)
            e = engine_search(s, eq, q->arena, &parts[i]);
        stats_add(&stats, &parts[i].stats);
        segment_close(s);
    }
    if (e == ERR_OK)
        e = search_result_merge(q->arena, parts, q->view.count, &eq->order, eq->limit, ret);
    ret->stats = stats;
    return e;
}

static enum err run_search(struct query *q)
{
    struct ql_query *ql = NULL;
    struct search_result result = {0};
    struct engine_query eq = {.tags = q->m.tags,
                              .tag_count = q->m.tag_count,
                              .min_duration_ns = q->m.min_duration_ns,
                              .max_duration_ns = q->m.max_duration_ns,
                              .start_ns = q->m.start_ns,
                              .end_ns = q->m.end_ns,
                              .limit = q->m.limit,
                              .spans_per_spanset = q->m.spans_per_spanset,
                              .cancel = q->cancel};
    enum err e = ERR_OK;

    if (q->m.text.len > 0)
        e = ql_parse(q->arena, q->m.text, &ql, q->detail);
    const char *unsupported = e == ERR_OK && ql != NULL ? ql_unsupported(ql) : NULL;
    if (unsupported != NULL)
        e = err_detail_set(q->detail, ERR_UNSUPPORTED, "%s", unsupported);
    eq.ql = ql;
    if (e == ERR_OK)
        e = engine_query_order(&eq, q->arena);
    if (e == ERR_OK && q->view.count > 0 && (ql == NULL || !ql_is_never(ql)))
        e = search_heads(q, &eq, &result);
    ql_release(ql);
    if (e != ERR_OK)
        return e;
    search_result_pack(q->out, &result);
    query_message_coverage(q->out, 4, slice_str(q->l->o.instance_id), &q->view);
    return ERR_OK;
}

static enum err run_flagged(struct query *q)
{
    enum err e = ERR_OK;

    query_message_coverage(q->out, 1, slice_str(q->l->o.instance_id), &q->view);
    for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++) {
        const struct view_item *v = &q->view.items[i];
        struct segment *s = NULL;
        struct trace_id *ids;
        uint32_t count = 0;

        for (uint32_t k = 0; k < v->split_count; k++)
            pb_bytes(q->out, 2, (struct slice){v->split[k].b, TRACE_ID_BYTES});
        e = head_segment(v->head, &q->l->budget, &s);
        if (e == ERR_OK)
            e = engine_flagged(s, q->m.start_ns, q->m.end_ns, q->arena, &ids, &count);
        for (uint32_t k = 0; k < count && e == ERR_OK; k++) {
            /* Whole in a newer head, which says for itself whether it is a fragment. */
            if (!has_id(v->skip, v->skip_count, ids[k]))
                pb_bytes(q->out, 2, (struct slice){ids[k].b, TRACE_ID_BYTES});
        }
        segment_close(s);
        if (e == ERR_OK && is_canceled(q))
            e = ERR_CANCELED;
    }
    return e;
}

static enum err run_tag_names(struct query *q)
{
    struct ql_expr *filter = NULL;
    struct tag_names result = {0}, *parts = ARENA_ARRAY(q->arena, struct tag_names, q->view.count);
    enum err e =
        q->m.text.len > 0 ? ql_parse_tag_filter(q->arena, q->m.text, &filter) : arena_err(q->arena);

    for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++) {
        struct segment *s = NULL;
        e = head_segment(q->view.items[i].head, &q->l->budget, &s);
        if (e == ERR_OK)
            e = engine_tag_names(s, filter, q->m.start_ns, q->m.end_ns, q->arena, &parts[i]);
        segment_close(s);
        if (e == ERR_OK && is_canceled(q))
            e = ERR_CANCELED;
    }
    if (e == ERR_OK && q->view.count > 0)
        e = tag_names_merge(q->arena, parts, q->view.count, 0, &result);
    if (filter != NULL)
        ql_expr_release(filter);
    if (e != ERR_OK)
        return e;
    tag_names_pack(q->out, &result);
    query_message_coverage(q->out, 3, slice_str(q->l->o.instance_id), &q->view);
    return ERR_OK;
}

static enum err run_tag_values(struct query *q)
{
    struct ql_expr *filter = NULL;
    struct ql_attribute tag = {.name = q->m.tag};
    struct tag_values result = {0},
                      *parts = ARENA_ARRAY(q->arena, struct tag_values, q->view.count);
    enum err e = arena_err(q->arena);

    /* A bare name of the v1 route is no TraceQL: any text names an attribute. */
    if (e == ERR_OK && !q->m.any_scope)
        e = ql_parse_attribute(q->arena, q->m.tag, &tag);
    if (e == ERR_OK && q->m.text.len > 0)
        e = ql_parse_tag_filter(q->arena, q->m.text, &filter);
    for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++) {
        struct segment *s = NULL;
        e = head_segment(q->view.items[i].head, &q->l->budget, &s);
        if (e == ERR_OK)
            e = engine_tag_values(s, &tag, q->m.any_scope, filter, q->m.start_ns, q->m.end_ns,
                                  q->m.limit, q->arena, &parts[i]);
        segment_close(s);
        if (e == ERR_OK && is_canceled(q))
            e = ERR_CANCELED;
    }
    if (e == ERR_OK && q->view.count > 0)
        e = tag_values_merge(q->arena, parts, q->view.count, q->m.limit, 0, &result);
    if (filter != NULL)
        ql_expr_release(filter);
    if (e != ERR_OK)
        return e;
    tag_values_pack(q->out, &result);
    query_message_coverage(q->out, 4, slice_str(q->l->o.instance_id), &q->view);
    return ERR_OK;
}

/* Each leaf of the query over each head. */
static enum err metrics_heads(struct query *q, struct metrics_part *const *parts, uint32_t count)
{
    enum err e = ERR_OK;

    for (uint32_t i = 0; i < q->view.count && e == ERR_OK; i++) {
        struct segment *s = NULL;
        struct engine_query left_out = {0};
        e = exclude(q, &q->view.items[i], &left_out);
        if (e == ERR_OK)
            e = head_segment(q->view.items[i].head, &q->l->budget, &s);
        for (uint32_t k = 0; k < count && e == ERR_OK; k++)
            e = metrics_observe(parts[k], s, left_out.exclude, left_out.exclude_count, q->cancel);
        segment_close(s);
    }
    return e;
}

static enum err metrics_parts(struct query *q, const struct ql_query *ql)
{
    const struct metrics_window w = {q->m.start_ns, q->m.step_ns, q->m.intervals};
    const struct ql_metrics *leaves[METRICS_LEAVES_MAX];
    struct metrics_part *parts[METRICS_LEAVES_MAX];
    uint32_t count = metrics_query_leaves(ql->metrics, leaves);
    uint32_t exemplars =
        q->m.exemplars > METRICS_EXEMPLARS_MAX ? METRICS_EXEMPLARS_MAX : q->m.exemplars;
    enum err e = count == 0 ? ERR_INVALID : ERR_OK;

    for (uint32_t k = 0; k < count && e == ERR_OK; k++)
        e = metrics_part_new(q->arena, leaves[k], &w, exemplars, &parts[k]);
    if (e == ERR_OK)
        e = metrics_heads(q, parts, count);
    if (e == ERR_TOO_LARGE)
        return err_detail_set(q->detail, e, "more than %d series", METRICS_SERIES_MAX);
    for (uint32_t k = 0; k < count && e == ERR_OK; k++) {
        size_t mark = pb_begin(q->out, 1);
        metrics_wire_pack(q->out, parts[k]);
        pb_end(q->out, mark);
    }
    return e;
}

static enum err run_metrics(struct query *q)
{
    struct ql_query *ql = NULL;

    if (!metrics_query_window_is_good(
            &(struct metrics_window){q->m.start_ns, q->m.step_ns, q->m.intervals}))
        return err_detail_set(q->detail, ERR_INVALID, "no such window");
    enum err e = ql_parse(q->arena, q->m.text, &ql, q->detail);
    const char *unsupported = e == ERR_OK ? ql_unsupported(ql) : NULL;
    if (unsupported != NULL)
        e = err_detail_set(q->detail, ERR_UNSUPPORTED, "%s", unsupported);
    if (e == ERR_OK && ql->metrics == NULL)
        e = err_detail_set(q->detail, ERR_INVALID, "not a metrics query");
    if (e == ERR_OK)
        e = metrics_parts(q, ql);
    ql_release(ql);
    if (e == ERR_OK)
        query_message_coverage(q->out, 2, slice_str(q->l->o.instance_id), &q->view);
    return e;
}

static enum err dispatch(uint16_t method, struct query *q)
{
    switch (method) {
    case RPC_TRACE: return run_trace(q);
    case RPC_SEARCH: return run_search(q);
    case RPC_FLAGGED: return run_flagged(q);
    case RPC_TAG_NAMES: return run_tag_names(q);
    case RPC_TAG_VALUES: return run_tag_values(q);
    case RPC_HAS_TRACES: return run_has(q);
    case RPC_METRICS_QUERY: return run_metrics(q);
    default:
        return err_detail_set(q->detail, ERR_UNSUPPORTED, "no such request on the query lane: %u",
                              method);
    }
}

static enum err run(struct live_query *l, uint16_t method, struct slice request,
                    const atomic_bool *cancel, struct buf *out, struct err_detail *detail)
{
    struct arena arena;
    struct query q = {.l = l, .arena = &arena, .cancel = cancel, .out = out, .detail = detail};

    arena_init(&arena, &l->budget);
    enum err e = query_message_read(method, request, &arena, &q.m);
    if (e == ERR_OK && q.m.text.len > TEXT_BYTES_MAX)
        e = ERR_TOO_LARGE;
    if (e == ERR_OK)
        e = core_view(l->o.core, q.m.tenant, &arena, &q.view);
    if (e == ERR_OK)
        e = dispatch(method, &q);
    if (e == ERR_OK)
        e = buf_err(out);
    core_view_release(l->o.core, &q.view);
    arena_release(&arena);
    return e;
}

enum err live_query_run(struct live_query *l, uint16_t method, struct slice request,
                        struct buf *ret, struct err_detail *reterr_detail)
{
    struct err_detail detail = {0};
    enum err e = run(l, method, request, NULL, ret, &detail);

    if (reterr_detail != NULL)
        *reterr_detail = detail;
    return e;
}

static void job_run(struct work *w)
{
    struct job *j = (struct job *)w;
    struct live_query *l = j->l;
    struct err_detail detail = {0};
    struct buf out;

    buf_init(&out, REPLY_BYTES_MAX);
    enum err e = atomic_load(&j->cancel) ? ERR_CANCELED
                                         : run(l, rpc_req_method(j->req), rpc_req_payload(j->req),
                                               &j->cancel, &out, &detail);
    mutex_lock(&l->lock);
    DL_DELETE(l->jobs, j);
    if (e == ERR_CANCELED)
        e = l->is_stopping ? ERR_UNAVAILABLE : ERR_TIMEOUT;
    (void)pthread_cond_broadcast(&l->changed);
    mutex_unlock(&l->lock);
    rpc_reply(j->req, e, e == ERR_OK ? buf_slice(&out) : slice_str(detail.text));
    buf_release(&out);
    free(j);
}

static void watch(void *arg)
{
    struct live_query *l = arg;
    struct job *j;

    mutex_lock(&l->lock);
    while (!l->is_stopping || l->jobs != NULL) {
        int64_t now = clock_mono_ns(&clock_system);
        DL_FOREACH (l->jobs, j) {
            if (l->is_stopping || now >= j->deadline_ns)
                atomic_store(&j->cancel, true);
        }
        (void)cond_wait(&l->changed, &l->lock, l->jobs != NULL ? WATCH_MS * NS_PER_MS : -1);
    }
    mutex_unlock(&l->lock);
}

/* The deadline that a search or a metrics query names; it must be known before the work begins. */
static int64_t timeout_of(const struct live_query *l, struct rpc_req *req)
{
    struct query_message m;
    struct arena a;
    int64_t timeout = l->o.timeout_ns;

    uint16_t method = rpc_req_method(req);
    if (method != RPC_SEARCH && method != RPC_METRICS_QUERY)
        return timeout;
    arena_init(&a, NULL);
    if (query_message_read(method, rpc_req_payload(req), &a, &m) == ERR_OK && m.deadline_ms > 0 &&
        m.deadline_ms * NS_PER_MS < timeout)
        timeout = m.deadline_ms * NS_PER_MS;
    arena_release(&a);
    return timeout;
}

void live_query_take(struct live_query *l, struct rpc_req *req)
{
    struct job *j = calloc(1, sizeof *j);
    enum err e = ERR_NOMEM;

    if (j != NULL) {
        *j = (struct job){.work.run = job_run, .l = l, .req = req};
        j->deadline_ns = clock_mono_ns(&clock_system) + timeout_of(l, req);
        mutex_lock(&l->lock);
        e = l->is_stopping ? ERR_UNAVAILABLE : ERR_OK;
        if (e == ERR_OK)
            DL_APPEND(l->jobs, j);
        (void)pthread_cond_broadcast(&l->changed);
        mutex_unlock(&l->lock);
        if (e == ERR_OK) {
            e = workers_run(l->workers, &j->work);
            if (e == ERR_OK)
                return;
            mutex_lock(&l->lock);
            DL_DELETE(l->jobs, j);
            mutex_unlock(&l->lock);
        }
        free(j);
    }
    rpc_reply(req, e, slice_str(err_name(e)));
}

enum err live_query_new(const struct live_query_options *o, struct live_query **ret)
{
    struct live_query *l = calloc(1, sizeof *l);

    if (l == NULL)
        return ERR_NOMEM;
    l->o = *o;
    budget_init(&l->budget, o->memory->limit_bytes / 5, o->memory);
    mutex_init(&l->lock);
    cond_init(&l->changed);
    enum err e = workers_new("live", o->threads, WAITING_MAX, &l->workers);
    if (e == ERR_OK)
        e = thread_start(&l->watcher, "live-watch", watch, l);
    l->has_watcher = e == ERR_OK;
    if (e != ERR_OK) {
        live_query_free(l);
        return e;
    }
    *ret = l;
    return ERR_OK;
}

void live_query_free(struct live_query *l)
{
    if (l == NULL)
        return;
    mutex_lock(&l->lock);
    l->is_stopping = true;
    (void)pthread_cond_broadcast(&l->changed);
    mutex_unlock(&l->lock);
    if (l->workers != NULL)
        workers_free(l->workers);
    if (l->has_watcher) {
        mutex_lock(&l->lock);
        (void)pthread_cond_broadcast(&l->changed);
        mutex_unlock(&l->lock);
        thread_join(l->watcher);
    }
    (void)pthread_cond_destroy(&l->changed);
    mutex_release(&l->lock);
    free(l);
}
