#include "common/query/engine.h"

#include "common/query/engine_attach.h"
#include "common/query/engine_legacy.h"
#include "common/query/engine_pipeline.h"

#include <assert.h>
#include <stdlib.h>

enum { SPANS_PER_SPANSET_DEFAULT = 3 };
enum {
    ANSWER_COLUMNS = SEG_F_TRACE | SEG_F_SPAN_ID | SEG_F_PARENT | SEG_F_START | SEG_F_DURATION |
                     SEG_F_NAME | SEG_F_STATUS | SEG_F_RESOURCE
};
static const char ROOT_UNKNOWN[] = "<root span not yet received>";

struct run {
    struct eval eval;
    const struct engine_query *q;
    struct engine_pipeline *pipeline; /* NULL: no query, no spansets */
    struct engine_attach *attach;
    struct arena *a;     /* the answer */
    struct arena *trace; /* one trace at a time */
    uint32_t *heap;      /* candidates, newest on top */
    uint32_t heap_count;
};

static bool in_window(uint64_t min_ns, uint64_t max_ns, uint64_t start_ns, uint64_t end_ns)
{
    if (start_ns == 0 && end_ns == 0)
        return true;
    return min_ns <= end_ns && max_ns >= start_ns;
}

static bool is_excluded(const struct engine_query *q, struct trace_id id)
{
    uint32_t low = 0, high = q->exclude_count;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (trace_id_cmp(q->exclude[mid], id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < q->exclude_count && trace_id_eq(q->exclude[low], id);
}

/* Newest start first, then the smaller id. */
static bool is_before(const struct seg_traces *t, uint32_t a, uint32_t b)
{
    if (t->min_start_ns[a] != t->min_start_ns[b])
        return t->min_start_ns[a] > t->min_start_ns[b];
    return trace_id_cmp(t->id[a], t->id[b]) < 0;
}

static void sift_down(struct run *r, uint32_t at)
{
    const struct seg_traces *t = &r->eval.traces;

    for (;;) {
        uint32_t best = at, left = 2 * at + 1;
        for (uint32_t k = left; k < left + 2 && k < r->heap_count; k++)
            if (is_before(t, r->heap[k], r->heap[best]))
                best = k;
        if (best == at)
            return;
        uint32_t swap = r->heap[at];
        r->heap[at] = r->heap[best];
        r->heap[best] = swap;
        at = best;
    }
}

static uint32_t pop(struct run *r)
{
    uint32_t top = r->heap[0];

    assert(r->heap_count > 0);
    r->heap[0] = r->heap[--r->heap_count];
    sift_down(r, 0);
    return top;
}

static bool duration_fits(const struct engine_query *q, uint64_t ns)
{
    return ns >= q->min_duration_ns && (q->max_duration_ns == 0 || ns <= q->max_duration_ns);
}

static enum err gather_candidates(struct run *r)
{
    struct eval *e = &r->eval;
    uint8_t *mask = NULL;
    enum err err = eval_mask_get(e, EVAL_TRACE, &mask);
    bool is_known = false;

    r->heap = ARENA_ARRAY(e->a, uint32_t, e->rows[EVAL_TRACE]);
    if (err != ERR_OK || r->heap == NULL)
        return err != ERR_OK ? err : arena_err(e->a);
    if (r->pipeline != NULL)
        is_known = engine_pipeline_candidates(e, r->pipeline, mask);
    else
        err = engine_legacy_traces(e, r->q->tags, r->q->tag_count, mask);
    if (err != ERR_OK)
        return err;
    if (r->pipeline != NULL && !is_known)
        memset(mask, 1, e->rows[EVAL_TRACE]);
    for (uint32_t t = 0; t < e->rows[EVAL_TRACE]; t++) {
        uint64_t start = e->traces.min_start_ns[t], end = e->traces.max_end_ns[t];
        if (mask[t] == 0 || start < r->q->not_before_ns ||
            !in_window(start, end, r->q->start_ns, r->q->end_ns) ||
            is_excluded(r->q, e->traces.id[t]))
            continue;
        if (r->pipeline == NULL && !duration_fits(r->q, end - start))
            continue;
        r->heap[r->heap_count++] = t;
    }
    for (uint32_t i = r->heap_count / 2; i-- > 0;)
        sift_down(r, i);
    return ERR_OK;
}

static struct slice service_of(struct eval *e, struct eval_source *names, uint32_t row)
{
    struct value v = eval_value_first(e, names, e->fixed.resource[row]);

    return v.type == VALUE_STRING ? v.s : SLICE_LIT("");
}

static enum err service_source(struct eval *e, struct eval_source **ret)
{
    struct ql_attribute at = {.scope = QL_SCOPE_RESOURCE, .name = SLICE_LIT("service.name")};

    return eval_bind_source(e, &at, QL_SCOPE_RESOURCE, ret);
}

static enum err fill_services(struct run *r, struct eval_source *names, const uint32_t *rows,
                              uint32_t count, struct result_trace *t)
{
    struct eval *e = &r->eval;
    /* Few distinct resources a trace: found again by looking back from the last. */
    struct result_service *list = NULL;
    uint32_t cap = 0, n = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct slice name = service_of(e, names, rows[i]);
        uint32_t k = n;
        while (k > 0 && !slice_eq(list[k - 1].name, name))
            k--;
        if (k == 0) {
            if (n == cap) {
                struct result_service *more =
                    ARENA_ARRAY(r->a, struct result_service, cap == 0 ? 4 : cap * 2);
                if (more == NULL)
                    return arena_err(r->a);
                if (n != 0)
                    memcpy(more, list, sizeof list[0] * n);
                list = more;
                cap = cap == 0 ? 4 : cap * 2;
            }
            list[n] = (struct result_service){.name = arena_dup(r->a, name)};
            k = ++n;
        }
        list[k - 1].span_count++;
        list[k - 1].error_count += e->fixed.status[rows[i]] == STATUS_ERROR;
    }
    t->services = list;
    t->service_count = n;
    return arena_err(r->a);
}

static void fill_root(struct run *r, struct eval_source *names, const uint32_t *rows,
                      uint32_t count, struct result_trace *t)
{
    const struct seg_fixed *f = &r->eval.fixed;
    uint32_t root = EVAL_NO_ROW;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = rows[i];
        if (f->parent_id[k] != 0)
            continue;
        if (root == EVAL_NO_ROW || f->start_ns[k] < f->start_ns[root] ||
            (f->start_ns[k] == f->start_ns[root] &&
             memcmp(&f->span_id[k], &f->span_id[root], SPAN_ID_BYTES) < 0))
            root = k;
    }
    t->root_service = slice_str(ROOT_UNKNOWN);
    t->root_name = SLICE_LIT("");
    if (root == EVAL_NO_ROW)
        return;
    t->root_name = arena_dup(r->a, f->name.values[f->name.codes[root]]);
    struct slice service = service_of(&r->eval, names, root);
    if (service.len != 0)
        t->root_service = arena_dup(r->a, service);
}

/* The `keep` spans of a spanset that come first by start, then id, moved to its front. */
static void order_spans(const struct seg_fixed *f, uint32_t *rows, uint32_t count, uint32_t keep)
{
    for (uint32_t i = 0; i < keep; i++) {
        uint32_t best = i;
        for (uint32_t k = i + 1; k < count; k++) {
            uint64_t a = f->start_ns[rows[k]], b = f->start_ns[rows[best]];
            if (a < b || (a == b &&
                          memcmp(&f->span_id[rows[k]], &f->span_id[rows[best]], SPAN_ID_BYTES) < 0))
                best = k;
        }
        uint32_t swap = rows[i];
        rows[i] = rows[best];
        rows[best] = swap;
    }
}

static enum err fill_spanset(struct run *r, struct engine_spanset *set, struct result_spanset *ret)
{
    const struct seg_fixed *f = &r->eval.fixed;
    uint32_t keep =
        r->q->spans_per_spanset == 0 ? SPANS_PER_SPANSET_DEFAULT : r->q->spans_per_spanset;

    keep = keep < set->count ? keep : set->count;
    *ret = (struct result_spanset){
        .matched = set->count, .span_count = keep, .attribute_count = set->attribute_count};
    ret->spans = ARENA_ARRAY(r->a, struct result_span, keep);
    ret->attributes = ARENA_ARRAY(r->a, struct result_attribute, set->attribute_count);
    if (ret->spans == NULL || ret->attributes == NULL)
        return arena_err(r->a);
    for (uint32_t i = 0; i < set->attribute_count; i++)
        ret->attributes[i] =
            (struct result_attribute){arena_dup(r->a, set->attributes[i].key),
                                      engine_attach_copy(r->a, set->attributes[i].value)};
    order_spans(f, set->rows, set->count, keep);
    for (uint32_t i = 0; i < keep; i++) {
        uint32_t row = set->rows[i];
        struct result_span *s = &ret->spans[i];
        memcpy(&s->id, &f->span_id[row], sizeof s->id);
        s->start_ns = f->start_ns[row];
        s->duration_ns = f->duration_ns[row];
        enum err err = engine_attach_fill(&r->eval, r->attach, r->a, row, s);
        if (err != ERR_OK)
            return err;
    }
    return arena_err(r->a);
}

static enum err fill_trace(struct run *r, uint32_t trace, const uint32_t *rows, uint32_t count,
                           struct engine_spansets *sets, struct result_trace *t)
{
    struct eval *e = &r->eval;
    struct eval_source *names = NULL;
    enum err err = service_source(e, &names);

    if (err == ERR_OK)
        err = eval_fixed(e, ANSWER_COLUMNS);
    if (err != ERR_OK)
        return err;
    *t =
        (struct result_trace){.id = e->traces.id[trace], .start_ns = e->traces.min_start_ns[trace]};
    t->duration_ns = e->traces.max_end_ns[trace] - e->traces.min_start_ns[trace];
    fill_root(r, names, rows, count, t);
    if (r->pipeline == NULL)
        return arena_err(r->a);
    if (r->attach == NULL)
        err = engine_attach_new(e, r->q->ql->pipeline,
                                &r->attach); /* columns that only answers need */
    if (err == ERR_OK)
        err = fill_services(r, names, rows, count, t);
    t->spansets = ARENA_ARRAY(r->a, struct result_spanset, sets->count);
    if (err != ERR_OK || t->spansets == NULL)
        return err != ERR_OK ? err : arena_err(r->a);
    for (uint32_t i = 0; err == ERR_OK && i < sets->count; i++)
        err = fill_spanset(r, &sets->items[i], &t->spansets[t->spanset_count++]);
    return err;
}

enum err engine_query_order(struct engine_query *q, struct arena *a)
{
    const struct ql_stage *by = NULL;
    const struct ql_pipeline *p = q->ql == NULL ? NULL : q->ql->pipeline;
    struct buf key;

    q->order = (struct result_order){0};
    for (uint32_t i = 0; p != NULL && i < p->stage_count; i++)
        if (p->stages[i].kind == QL_STAGE_ORDER_BY || p->stages[i].kind == QL_STAGE_TOP)
            by = &p->stages[i];
    if (by == NULL)
        return ERR_OK;
    buf_init(&key, QL_TEXT_BYTES_MAX * 4);
    ql_dump_stage(&key, by);
    q->order.key = arena_dup(a, buf_slice(&key));
    q->order.is_descending = by->is_descending;
    if (by->kind == QL_STAGE_TOP && by->top_count < q->limit)
        q->limit = by->top_count;
    enum err err = buf_err(&key);
    buf_release(&key);
    return err != ERR_OK ? err : arena_err(a);
}

/* A trace that matches, and what stands for it in the order. */
struct ranked {
    struct value value;
    uint32_t trace, place; /* newest first */
};

static int ranked_cmp(const void *a, const void *b, void *arg)
{
    const struct ranked *x = a, *y = b;
    int c = result_order_values(arg, x->value, y->value);

    return c != 0 ? c : (x->place > y->place) - (x->place < y->place);
}

/* All traces that match, each with its value; the value in the eval's arena. */
static enum err rank_traces(struct run *r, struct ranked *list, uint32_t *ret_count)
{
    const struct result_order *o = &r->q->order;
    enum err err = ERR_OK;
    uint32_t n = 0;

    while (err == ERR_OK && r->heap_count > 0) {
        struct engine_spansets sets = {0};
        const uint32_t *rows = NULL;
        uint32_t count = 0, trace = pop(r);
        struct value best = VALUE_NONE;
        if (r->q->cancel != NULL && atomic_load_explicit(r->q->cancel, memory_order_relaxed))
            return ERR_CANCELED;
        arena_reset(r->trace);
        err = engine_pipeline_rows(&r->eval, trace, r->trace, &rows, &count);
        if (err == ERR_OK)
            err = engine_pipeline_run(&r->eval, r->pipeline, r->trace, rows, count, &sets);
        if (err != ERR_OK || sets.count == 0)
            continue;
        for (uint32_t i = 0; i < sets.count; i++)
            best = result_order_best(
                o, best,
                result_order_value(o, sets.items[i].attributes, sets.items[i].attribute_count));
        list[n] = (struct ranked){engine_attach_copy(r->eval.a, best), trace, n};
        n++;
    }
    *ret_count = n;
    return err != ERR_OK ? err : arena_err(r->eval.a);
}

/* The order is known when all have been looked at: only then is it worth to read what answers need. */
static enum err take_ordered(struct run *r, struct search_result *ret)
{
    struct result_order order = r->q->order;
    struct ranked *list = ARENA_ARRAY(r->eval.a, struct ranked, r->heap_count);
    uint32_t n = 0;
    enum err err = list == NULL ? arena_err(r->eval.a) : rank_traces(r, list, &n);

    if (err != ERR_OK)
        return err;
    qsort_r(list, n, sizeof list[0], ranked_cmp, &order);
    ret->is_cut = n > r->q->limit;
    n = ret->is_cut ? r->q->limit : n;
    ret->trace_count = 0;
    ret->traces = ARENA_ARRAY(r->a, struct result_trace, n);
    if (ret->traces == NULL)
        return arena_err(r->a);
    for (uint32_t i = 0; i < n && err == ERR_OK; i++) {
        struct engine_spansets sets = {0};
        const uint32_t *rows = NULL;
        uint32_t count = 0;
        arena_reset(r->trace);
        err = engine_pipeline_rows(&r->eval, list[i].trace, r->trace, &rows, &count);
        if (err == ERR_OK)
            err = engine_pipeline_run(&r->eval, r->pipeline, r->trace, rows, count, &sets);
        if (err == ERR_OK)
            err =
                fill_trace(r, list[i].trace, rows, count, &sets, &ret->traces[ret->trace_count++]);
    }
    return err;
}

static enum err take_winners(struct run *r, struct search_result *ret)
{
    enum err err = ERR_OK;
    uint32_t room = r->heap_count < r->q->limit ? r->heap_count : r->q->limit;

    ret->trace_count = 0;
    ret->traces = ARENA_ARRAY(r->a, struct result_trace, room);
    if (ret->traces == NULL)
        return arena_err(r->a);
    while (err == ERR_OK && r->heap_count > 0) {
        struct engine_spansets sets = {0};
        const uint32_t *rows = NULL;
        uint32_t count = 0;
        if (r->q->cancel != NULL && atomic_load_explicit(r->q->cancel, memory_order_relaxed))
            return ERR_CANCELED;
        uint32_t trace = pop(r);
        arena_reset(r->trace);
        err = engine_pipeline_rows(&r->eval, trace, r->trace, &rows, &count);
        if (err == ERR_OK && r->pipeline != NULL)
            err = engine_pipeline_run(&r->eval, r->pipeline, r->trace, rows, count, &sets);
        if (err != ERR_OK || (r->pipeline != NULL && sets.count == 0))
            continue;
        if (ret->trace_count == room) {
            ret->is_cut = true;
            break;
        }
        err = fill_trace(r, trace, rows, count, &sets, &ret->traces[ret->trace_count++]);
    }
    return err;
}

/* Reads what the first filters need, then the traces if there may be any. */
static enum err run_bind(struct run *r, bool *ret_is_empty)
{
    struct eval *e = &r->eval;
    const struct ql_query *ql = r->q->ql;
    enum err err = ERR_OK;

    *ret_is_empty = false;
    if (ql != NULL && ql->pipeline == NULL)
        return ERR_UNSUPPORTED;
    if (ql != NULL)
        err = engine_pipeline_bind(e, ql->pipeline, &r->pipeline);
    if (err != ERR_OK)
        return err;
    *ret_is_empty = r->pipeline != NULL && engine_pipeline_is_empty(r->pipeline);
    if (*ret_is_empty)
        return ERR_OK;
    err = eval_traces(e);
    return err != ERR_OK ? err : eval_fixed(e, SEG_F_TRACE);
}

enum err engine_search(struct segment *s, const struct engine_query *q, struct arena *a,
                       struct search_result *ret)
{
    struct arena scratch, trace;
    struct run r = {.q = q, .a = a, .trace = &trace};
    struct search_result out = {.stats = ret->stats};
    uint64_t read_bytes = s->read_bytes;
    bool is_empty = false;
    enum err err = ERR_OK;

    assert(q->exclude_count == 0 || q->exclude != NULL);
    if (s->trace_count == 0 || !in_window(s->min_start_ns, s->max_end_ns, q->start_ns, q->end_ns)) {
        *ret = out;
        return q->ql != NULL && q->ql->pipeline == NULL ? ERR_UNSUPPORTED : ERR_OK;
    }
    arena_init(&scratch, a->budget);
    arena_init(&trace, a->budget);
    eval_init(&r.eval, s, &scratch, q->cancel);
    err = run_bind(&r, &is_empty);
    if (err == ERR_OK && !is_empty)
        err = gather_candidates(&r);
    if (err == ERR_OK && !is_empty)
        err = q->order.key.len != 0 ? take_ordered(&r, &out) : take_winners(&r, &out);
    arena_release(&scratch);
    arena_release(&trace);
    if (err != ERR_OK)
        return err;
    out.stats.inspected_traces += s->trace_count;
    out.stats.inspected_spans += s->row_count[SEG_SPAN];
    out.stats.inspected_bytes += s->read_bytes - read_bytes;
    *ret = out;
    return ERR_OK;
}

static int id_cmp(const void *a, const void *b)
{
    return trace_id_cmp(*(const struct trace_id *)a, *(const struct trace_id *)b);
}

enum err engine_flagged(struct segment *s, uint64_t start_ns, uint64_t end_ns, struct arena *a,
                        struct trace_id **ret, uint32_t *ret_count)
{
    struct seg_traces t = {0};
    uint32_t n = 0;
    enum err err = segment_traces(s, &t);

    if (err != ERR_OK)
        return err;
    for (uint32_t i = 0; i < s->trace_count; i++)
        n += (t.flags[i] & SEG_TRACE_FLAGGED) != 0;
    struct trace_id *ids = ARENA_ARRAY(a, struct trace_id, n);
    if (ids == NULL)
        return arena_err(a);
    n = 0;
    for (uint32_t i = 0; i < s->trace_count; i++)
        if ((t.flags[i] & SEG_TRACE_FLAGGED) != 0 &&
            in_window(t.min_start_ns[i], t.max_end_ns[i], start_ns, end_ns))
            ids[n++] = t.id[i];
    qsort(ids, n, sizeof ids[0], id_cmp);
    *ret = ids;
    *ret_count = n;
    return ERR_OK;
}
