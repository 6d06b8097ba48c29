#include "common/cli/cli_tree.h"

#include <assert.h>
#include <stdlib.h>

enum { BRANCHES_MAX = 16, BRANCHES_DEEP = 4 };

static int by_start(const void *pa, const void *pb)
{
    const struct cli_tree_span *a = pa, *b = pb;

    if (a->start_ns != b->start_ns)
        return a->start_ns < b->start_ns ? -1 : 1;
    if (a->end_ns != b->end_ns) /* the longer one first: it may hold the other */
        return a->end_ns > b->end_ns ? -1 : 1;
    return slice_cmp(a->id, b->id);
}

static enum err read_spans(struct slice otlp, struct cli_tree *t, struct arena *a)
{
    struct slice service = SLICE_NONE, body;
    uint32_t resource_seq = 0, i = 0;
    struct otlp_value value;
    struct otlp_iter it;

    t->spans = ARENA_ARRAY(a, struct cli_tree_span, t->count);
    if (t->spans == NULL)
        return arena_err(a);
    otlp_iter_init(&it, otlp);
    for (; i < t->count && otlp_next_span(&it, &body); i++) {
        struct otlp_span s;
        otlp_span_parse(body, &s);
        if (i == 0 || it.resource_seq != resource_seq)
            service = otlp_find(it.resource, OTLP_RESOURCE_ATTRIBUTES, SLICE_LIT("service.name"),
                                &value) &&
                              value.kind == OTLP_STR
                          ? value.bytes
                          : SLICE_NONE;
        resource_seq = it.resource_seq;
        t->spans[i] =
            (struct cli_tree_span){.id = s.span_id,
                                   .parent_id = s.parent_span_id,
                                   .service = service,
                                   .name = s.name,
                                   .start_ns = s.start_ns,
                                   .end_ns = s.end_ns < s.start_ns ? s.start_ns : s.end_ns,
                                   .status = s.status,
                                   .parent = CLI_TREE_NONE,
                                   .first_child = CLI_TREE_NONE,
                                   .next = CLI_TREE_NONE};
    }
    t->count = i;
    qsort(t->spans, t->count, sizeof *t->spans, by_start);
    return ERR_OK;
}

/* --- parents --- */

struct named {
    struct slice id;
    int32_t at;
};

static int by_id(const void *pa, const void *pb)
{
    const struct named *a = pa, *b = pb;
    int c = slice_cmp(a->id, b->id);

    return c != 0 ? c : (a->at > b->at) - (a->at < b->at);
}

/* The first span of this id. */
static int32_t find(const struct named *names, uint32_t count, struct slice id)
{
    uint32_t from = 0, to = count;

    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (slice_cmp(names[middle].id, id) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from < count && slice_eq(names[from].id, id) ? names[from].at : CLI_TREE_NONE;
}

static enum err find_parents(struct cli_tree *t, struct arena *a)
{
    struct named *names = ARENA_ARRAY(a, struct named, t->count);

    if (names == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < t->count; i++)
        names[i] = (struct named){t->spans[i].id, (int32_t)i};
    qsort(names, t->count, sizeof *names, by_id);
    for (uint32_t i = 0; i < t->count; i++) {
        struct cli_tree_span *s = &t->spans[i];
        if (s->parent_id.len == 0)
            continue;
        s->parent = find(names, t->count, s->parent_id);
        if (s->parent == (int32_t)i)
            s->parent = CLI_TREE_NONE;
        s->is_orphan = s->parent == CLI_TREE_NONE;
    }
    return ERR_OK;
}

/* Lists of children, each by start: spans are put in front, from the last to the first. */
static void link_children(struct cli_tree *t)
{
    for (uint32_t i = t->count; i-- > 0;) {
        struct cli_tree_span *s = &t->spans[i];
        if (s->parent == CLI_TREE_NONE)
            continue;
        s->next = t->spans[s->parent].first_child;
        t->spans[s->parent].first_child = (int32_t)i;
    }
}

/* --- the listing --- */

/* A span and all below it, without recursion: down to the first child, else on to the next of the nearest that has one. */
static void list_below(struct cli_tree *t, int32_t top, bool *is_listed, uint32_t *count)
{
    int32_t at = top;

    for (;;) {
        assert(!is_listed[at]);
        is_listed[at] = true;
        if (at != top)
            t->spans[at].depth = t->spans[t->spans[at].parent].depth + 1;
        t->listed[(*count)++] = at;
        int32_t next = t->spans[at].first_child;
        while (next == CLI_TREE_NONE && at != top) {
            next = t->spans[at].next;
            at = t->spans[at].parent;
        }
        if (next == CLI_TREE_NONE)
            return;
        at = next;
    }
}

static void unlink_child(struct cli_tree *t, int32_t at)
{
    int32_t *place = &t->spans[t->spans[at].parent].first_child;

    while (*place != at)
        place = &t->spans[*place].next;
    *place = t->spans[at].next;
    t->spans[at].next = t->spans[at].parent = CLI_TREE_NONE;
}

/* From any span of a ring, or below one: a span of the ring, where the way up comes by again. */
static int32_t in_ring(const struct cli_tree *t, int32_t at, bool *is_passed)
{
    for (; !is_passed[at]; at = t->spans[at].parent)
        is_passed[at] = true;
    return at;
}

static enum err list_all(struct cli_tree *t, struct arena *a)
{
    bool *is_listed = ARENA_ARRAY(a, bool, t->count), *is_passed = ARENA_ARRAY(a, bool, t->count);
    uint32_t count = 0;

    t->listed = ARENA_ARRAY(a, int32_t, t->count);
    if (is_listed == NULL || is_passed == NULL || t->listed == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < t->count; i++)
        if (t->spans[i].parent == CLI_TREE_NONE)
            list_below(t, (int32_t)i, is_listed, &count);
    for (uint32_t i = 0; i < t->count && count < t->count; i++)
        if (!is_listed[i]) { /* what is left hangs on rings: each is opened at one place */
            int32_t top = in_ring(t, (int32_t)i, is_passed);
            unlink_child(t, top);
            t->spans[top].is_orphan = true;
            list_below(t, top, is_listed, &count);
        }
    assert(count == t->count);
    return ERR_OK;
}

static int by_text(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static enum err sum_up(struct cli_tree *t, struct arena *a)
{
    struct slice *services = ARENA_ARRAY(a, struct slice, t->count);

    if (services == NULL)
        return arena_err(a);
    t->start_ns = t->count == 0 ? 0 : t->spans[0].start_ns;
    for (uint32_t i = 0; i < t->count; i++) {
        services[i] = t->spans[i].service;
        t->error_count += t->spans[i].status == 2;
        t->end_ns = t->spans[i].end_ns > t->end_ns ? t->spans[i].end_ns : t->end_ns;
    }
    qsort(services, t->count, sizeof *services, by_text);
    for (uint32_t i = 0; i < t->count; i++)
        t->service_count += i == 0 || !slice_eq(services[i], services[i - 1]);
    return ERR_OK;
}

enum err cli_tree_of(struct slice otlp, struct arena *a, struct cli_tree *ret,
                     struct err_detail *reterr_detail)
{
    struct otlp_limits limits = otlp_limits_default;
    struct cli_tree t = {0};

    limits.spans_max = CLI_TREE_SPANS_MAX;
    limits.attributes_max = limits.events_max = limits.links_max = UINT32_MAX;
    enum err e = otlp_check(otlp, &limits, &t.count, reterr_detail);
    if (e == ERR_OK && t.count > 0) {
        e = read_spans(otlp, &t, a);
        if (e == ERR_OK)
            e = find_parents(&t, a);
        if (e == ERR_OK) {
            link_children(&t);
            e = list_all(&t, a);
        }
        if (e == ERR_OK)
            e = sum_up(&t, a);
    }
    if (e == ERR_OK)
        *ret = t;
    return e;
}

void cli_tree_put_branch(const struct cli_tree *t, int32_t at, struct buf *out)
{
    int32_t above[BRANCHES_MAX] = {at}; /* the span, its parent, ...; without the top */
    uint32_t depth = t->spans[at].depth, count = depth > BRANCHES_MAX ? BRANCHES_DEEP : depth;

    for (uint32_t i = 0; i < count; i++)
        above[i] = i == 0 ? at : t->spans[above[i - 1]].parent;
    if (depth > BRANCHES_MAX)
        buf_appendf(out, "…%u ", depth);
    for (uint32_t i = count; i-- > 0;) {
        bool is_last = t->spans[above[i]].next == CLI_TREE_NONE;
        buf_append_str(out, i == 0 ? (is_last ? "└─ " : "├─ ") : (is_last ? "   " : "│  "));
    }
    if (t->spans[at].is_orphan)
        buf_append_str(out, "⋯ ");
}
