#include "tests/lib/query_oracle.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static struct arena *A; /* of the call that is running */
static const uint8_t NO_ID[SPAN_ID_BYTES];

static struct slice text(const char *s)
{
    return slice_str(s);
}

struct place {
    const struct fake_data *d;
    uint32_t span;
    const struct fake_event *event;
    const struct fake_link *link;
};

struct found {
    struct value list[32];
    uint32_t count;
};

static void found_add(struct found *f, struct value v)
{
    if (v.type == VALUE_NIL || (value_is_array(v) && v.array.count == 0))
        return;
    if (value_is_array(v) && v.array.count == 1)
        v = v.array.items[0];
    assert(f->count < 32);
    f->list[f->count++] = v;
}

/* In the order of types that a segment gives its columns in: string, int, float, bool, arrays. */
static void found_attrs(struct found *f, const struct fake_attrs *list, struct slice key)
{
    for (int pass = 0; pass < 5; pass++)
        for (uint32_t i = 0; i < list->count; i++) {
            struct value v = list->list[i].value;
            int rank = value_is_array(v)        ? 4
                       : v.type == VALUE_STRING ? 0
                       : v.type == VALUE_INT    ? 1
                       : v.type == VALUE_FLOAT  ? 2
                                                : 3;
            if (slice_eq(list->list[i].key, key) && rank == pass)
                found_add(f, v);
        }
}

static void found_service(struct found *f, const struct fake_attrs *list)
{
    bool has_text = false;

    found_attrs(f, list, text("service.name"));
    for (uint32_t i = 0; i < f->count; i++)
        has_text |= f->list[i].type == VALUE_STRING;
    if (!has_text)
        found_add(f, value_string(text("")));
}

static struct value hex(const uint8_t *bytes, size_t len, bool is_short)
{
    char *s = arena_alloc(A, 2 * len + 1);

    for (size_t i = 0; i < len; i++)
        (void)snprintf(s + 2 * i, 3, "%02x", bytes[i]);
    while (is_short && *s == '0' && s[1] != '\0')
        s++;
    return value_string(text(s));
}

static bool is_root(const struct fake_span *s)
{
    return memcmp(s->parent.b, NO_ID, 8) == 0;
}

int query_oracle_root(const struct fake_data *d, uint32_t trace)
{
    int best = -1;

    for (uint32_t i = 0; i < d->span_count; i++) {
        const struct fake_span *s = &d->spans[i];
        if (s->trace != trace || !is_root(s))
            continue;
        if (best < 0 || s->start_ns < d->spans[best].start_ns ||
            (s->start_ns == d->spans[best].start_ns && memcmp(s->id.b, d->spans[best].id.b, 8) < 0))
            best = (int)i;
    }
    return best;
}

void query_oracle_times(const struct fake_data *d, uint32_t trace, uint64_t *min, uint64_t *max)
{
    *min = UINT64_MAX;
    *max = 0;
    for (uint32_t i = 0; i < d->span_count; i++) {
        const struct fake_span *s = &d->spans[i];
        if (s->trace != trace)
            continue;
        *min = s->start_ns < *min ? s->start_ns : *min;
        *max = s->start_ns + s->duration_ns > *max ? s->start_ns + s->duration_ns : *max;
    }
}

/* The parent among the spans of the trace, -1: none.  Of two with its id the client for a server, else the server; not when both are that. */
static int oracle_parent(const struct fake_data *d, uint32_t span)
{
    const struct fake_span *s = &d->spans[span];
    int only = -1, wanted = -1, count = 0, wanted_count = 0;

    for (uint32_t i = 0; i < d->span_count && !is_root(s); i++) {
        const struct fake_span *p = &d->spans[i];
        if (p->trace != s->trace || memcmp(p->id.b, s->parent.b, 8) != 0)
            continue;
        count++;
        if (i == span)
            continue;
        only = (int)i;
        if (p->kind == (s->kind == KIND_SERVER ? KIND_CLIENT : KIND_SERVER))
            wanted = wanted_count++ == 0 ? (int)i : -1;
    }
    return count == 1 ? only : count == 2 ? wanted : -1;
}

static bool has_triple(const struct fake_data *d, uint32_t trace)
{
    for (uint32_t i = 0; i < d->span_count; i++) {
        int same = 0;
        for (uint32_t k = 0; k < d->span_count; k++)
            same += d->spans[k].trace == trace && d->spans[i].trace == trace &&
                    memcmp(d->spans[k].id.b, d->spans[i].id.b, 8) == 0;
        if (same > 2)
            return true;
    }
    return false;
}

static bool is_connected(const struct fake_data *d, uint32_t span)
{
    int at = (int)span;

    if (has_triple(d, d->spans[span].trace))
        return false;
    for (uint32_t steps = 0; steps <= d->span_count && at >= 0; steps++) {
        if (is_root(&d->spans[at]))
            return true;
        at = oracle_parent(d, (uint32_t)at);
    }
    return false;
}

static void found_intrinsic(struct found *f, enum ql_intrinsic i, const struct place *p)
{
    const struct fake_span *s = &p->d->spans[p->span];
    uint64_t min, max;
    int root = query_oracle_root(p->d, s->trace), children = 0, parent;
    struct found service = {.count = 0};

    query_oracle_times(p->d, s->trace, &min, &max);
    switch ((int)i) {
    case QL_I_DURATION: found_add(f, value_duration((int64_t)s->duration_ns)); break;
    case QL_I_NAME: found_add(f, value_string(s->name)); break;
    case QL_I_STATUS: found_add(f, value_status(s->status)); break;
    case QL_I_KIND: found_add(f, value_kind(s->kind)); break;
    case QL_I_STATUS_MESSAGE: found_add(f, value_string(s->status_message)); break;
    case QL_I_SPAN_ID: found_add(f, hex(s->id.b, 8, false)); break;
    case QL_I_PARENT_ID: found_add(f, hex(s->parent.b, 8, false)); break;
    case QL_I_CHILD_COUNT:
        for (uint32_t k = 0; k < p->d->span_count; k++)
            children += oracle_parent(p->d, k) == (int)p->span || (0 && k);
        found_add(f, value_int(children));
        break;
    case QL_I_TRACE_DURATION: found_add(f, value_duration((int64_t)(max - min))); break;
    case QL_I_ROOT_NAME:
        found_add(f, value_string(root < 0 ? text("") : p->d->spans[root].name));
        break;
    case QL_I_ROOT_SERVICE:
        if (root >= 0)
            found_service(&service, &p->d->resources[p->d->spans[root].resource]);
        for (uint32_t k = 0; k < service.count; k++)
            if (k == 0)
                found_add(f, service.list[k].type == VALUE_STRING ? service.list[k]
                                                                  : value_string(text("")));
        if (root < 0)
            found_add(f, value_string(text("")));
        break;
    case QL_I_TRACE_ID: found_add(f, hex(p->d->traces[s->trace].b, 16, true)); break;
    case QL_I_EVENT_NAME:
        if (p->event != NULL)
            found_add(f, value_string(p->event->name));
        break;
    case QL_I_EVENT_TIME_SINCE_START:
        if (p->event != NULL)
            found_add(f, value_duration((int64_t)(p->event->time_ns - s->start_ns)));
        break;
    case QL_I_LINK_SPAN_ID:
        if (p->link != NULL)
            found_add(f, hex(p->link->span_id.b, 8, false));
        break;
    case QL_I_SCOPE_NAME: found_add(f, value_string(p->d->scopes[s->scope].name)); break;
    case QL_I_SCOPE_VERSION: found_add(f, value_string(p->d->scopes[s->scope].version)); break;
    case QL_I_NESTED_SET_PARENT: /* -1, 0, or something above 0 */
        parent = !is_connected(p->d, p->span) ? 0 : is_root(s) ? -1 : 1;
        found_add(f, value_int(parent));
        break;
    default: abort();
    }
}

static void oracle_values(const struct ql_attribute *at, const struct place *p, struct found *f)
{
    const struct fake_span *s = &p->d->spans[p->span];

    f->count = 0;
    if (at->intrinsic != QL_I_NONE) {
        found_intrinsic(f, at->intrinsic, p);
        return;
    }
    if (at->scope == QL_SCOPE_NONE || at->scope == QL_SCOPE_SPAN)
        found_attrs(f, &s->attrs, at->name);
    if (at->scope == QL_SCOPE_RESOURCE || (at->scope == QL_SCOPE_NONE && f->count == 0)) {
        if (slice_eq_str(at->name, "service.name"))
            found_service(f, &p->d->resources[s->resource]);
        else
            found_attrs(f, &p->d->resources[s->resource], at->name);
    }
    if (at->scope == QL_SCOPE_INSTRUMENTATION)
        found_attrs(f, &p->d->scopes[s->scope].attrs, at->name);
    if (at->scope == QL_SCOPE_EVENT && p->event != NULL)
        found_attrs(f, &p->event->attrs, at->name);
    if (at->scope == QL_SCOPE_LINK && p->link != NULL)
        found_attrs(f, &p->link->attrs, at->name);
}

static bool is_num(struct value v)
{
    return v.type == VALUE_INT || v.type == VALUE_FLOAT || v.type == VALUE_DURATION;
}

static double num(struct value v)
{
    return v.type == VALUE_FLOAT ? v.f : (double)v.i;
}

static bool by_sign(enum ql_op op, double c)
{
    return (op == QL_EQ && c == 0) || (op == QL_NE && c != 0) || (op == QL_LT && c < 0) ||
           (op == QL_LE && c <= 0) || (op == QL_GT && c > 0) || (op == QL_GE && c >= 0);
}

static bool oracle_compare_numbers(enum ql_op op, struct value a, struct value b)
{
    if (a.type != VALUE_FLOAT && b.type != VALUE_FLOAT)
        return by_sign(op, a.i < b.i ? -1 : a.i > b.i);
    double x = num(a), y = num(b);
    if (isnan(x) || isnan(y))
        return op == QL_NE;
    return by_sign(op, x < y ? -1 : x > y);
}

static bool oracle_compare_one(enum ql_op op, struct value a, struct value b, bool is_strict,
                               bool is_dotless)
{
    if (a.type == VALUE_STRING && b.type == VALUE_STRING) {
        bool is_match = a.s.len > 0 && a.s.ptr[0] == 'x'; /* "x.*" */
        if (op == QL_REGEX || op == QL_NOT_REGEX)
            return is_match == (op == QL_REGEX);
        return by_sign(op, slice_cmp(a.s, b.s));
    }
    if (is_dotless && a.type == VALUE_STRING && (b.type == VALUE_INT || b.type == VALUE_FLOAT)) {
        if (b.type == VALUE_INT && slice_eq_str(a.s, "7"))
            return oracle_compare_numbers(op, value_int(7), b);
        if (b.type == VALUE_INT && slice_eq_str(a.s, "-3"))
            return oracle_compare_numbers(op, value_int(-3), b);
        return b.type == VALUE_FLOAT && slice_eq_str(a.s, "0.5") &&
               oracle_compare_numbers(op, value_float(0.5), b);
    }
    if (is_strict && a.type != b.type)
        return false;
    if (is_num(a) && is_num(b))
        return oracle_compare_numbers(op, a, b);
    if (a.type == b.type &&
        (a.type == VALUE_BOOL || a.type == VALUE_STATUS || a.type == VALUE_KIND))
        return op == QL_EQ ? a.i == b.i : op == QL_NE && a.i != b.i;
    return false;
}

static bool oracle_compare(enum ql_op op, struct value a, struct value b, bool is_strict,
                           bool is_dotless)
{
    if (value_is_array(a) && value_is_array(b))
        return false;
    for (uint32_t i = 0; value_is_array(a) && i < a.array.count; i++)
        if (oracle_compare_one(op, a.array.items[i], b, is_strict, is_dotless))
            return true;
    for (uint32_t i = 0; value_is_array(b) && i < b.array.count; i++)
        if (oracle_compare_one(op, a, b.array.items[i], is_strict, is_dotless))
            return true;
    return !value_is_array(a) && !value_is_array(b) &&
           oracle_compare_one(op, a, b, is_strict, is_dotless);
}

static struct value oracle_arithmetic(enum ql_op op, struct value a, struct value b)
{
    if (!is_num(a) || !is_num(b))
        return VALUE_NONE;
    double x = num(a), y = num(b);
    if (a.type == VALUE_INT && b.type == VALUE_INT) {
        __extension__ __int128 r = 1, base = a.i;
        if (op == QL_ADD || op == QL_SUB || op == QL_MUL)
            r = op == QL_ADD ? base + b.i : op == QL_SUB ? base - b.i : base * b.i;
        else if ((op == QL_DIV || op == QL_MOD) && b.i == 0)
            return VALUE_NONE;
        else if (op == QL_DIV || op == QL_MOD)
            r = op == QL_DIV ? base / b.i : base % b.i;
        else if (b.i < 0 && a.i == 0)
            return VALUE_NONE;
        else if (b.i < 0)
            r = (int64_t)trunc(pow(x, y));
        else
            for (int64_t i = 0; i < b.i && i < 4000; i++)
                r = (int64_t)(uint64_t)(r * base);
        return value_int((int64_t)r);
    }
    switch ((int)op) {
    case QL_ADD: return value_float(x + y);
    case QL_SUB: return value_float(x - y);
    case QL_MUL: return value_float(x * y);
    case QL_DIV: return value_float(x / y);
    case QL_MOD: return value_float(fmod(x, y));
    default: return value_float(pow(x, y));
    }
}

static struct value oracle_eval(const struct ql_expr *x, const struct place *p);

static bool oracle_bool(const struct ql_expr *x, const struct place *p)
{
    struct found f;

    if (x->kind == QL_EXPR_ATTRIBUTE) { /* a test: one value that is true */
        oracle_values(&x->attribute, p, &f);
        for (uint32_t i = 0; i < f.count; i++)
            if (oracle_compare(QL_EQ, f.list[i], value_bool(true), true, false))
                return true;
        return false;
    }
    struct value v = oracle_eval(x, p);
    return v.type == VALUE_BOOL && v.i != 0;
}

/* The key with a value that can not be searched: neither there nor missing. */
static bool has_key(const struct ql_attribute *at, const struct place *p)
{
    const struct fake_span *s = &p->d->spans[p->span];
    const struct fake_attrs *lists[2] = {NULL, NULL};

    switch ((int)at->scope) {
    case QL_SCOPE_NONE:
        lists[1] = &p->d->resources[s->resource];
        lists[0] = &s->attrs;
        break;
    case QL_SCOPE_SPAN: lists[0] = &s->attrs; break;
    case QL_SCOPE_RESOURCE: lists[0] = &p->d->resources[s->resource]; break;
    case QL_SCOPE_INSTRUMENTATION: lists[0] = &p->d->scopes[s->scope].attrs; break;
    case QL_SCOPE_EVENT: lists[0] = p->event != NULL ? &p->event->attrs : NULL; break;
    default: lists[0] = p->link != NULL ? &p->link->attrs : NULL;
    }
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; lists[k] != NULL && i < lists[k]->count; i++)
            if (slice_eq(lists[k]->list[i].key, at->name))
                return true;
    return false;
}

static bool oracle_unary(const struct ql_expr *x, const struct place *p)
{
    struct found f = {.count = 0};
    const struct ql_expr *inner = x->left;
    bool is_true = false;

    if (x->op == QL_EXISTS || x->op == QL_NOT_EXISTS) {
        oracle_values(&inner->attribute, p, &f);
        bool is_bound = inner->attribute.scope == QL_SCOPE_EVENT
                            ? p->event != NULL
                            : inner->attribute.scope != QL_SCOPE_LINK || p->link != NULL;
        return x->op == QL_EXISTS ? f.count > 0
                                  : is_bound && f.count == 0 && !has_key(&inner->attribute, p);
    }
    for (; inner->kind == QL_EXPR_UNARY && inner->op == QL_NOT; inner = inner->left)
        is_true = !is_true;
    if (inner->kind != QL_EXPR_ATTRIBUTE)
        return !oracle_bool(x->left, p);
    oracle_values(&inner->attribute, p, &f); /* !.flag: a flag that is false */
    for (uint32_t i = 0; i < f.count; i++)
        if (oracle_compare(QL_EQ, f.list[i], value_bool(is_true), true, false))
            return true;
    return false;
}

static struct value oracle_binary(const struct ql_expr *x, const struct place *p)
{
    const struct ql_expr *l = x->left, *r = x->right;
    enum ql_op op = x->op;
    struct found f;

    if (op == QL_AND || op == QL_OR) {
        bool a = oracle_bool(l, p), b = oracle_bool(r, p);
        return value_bool(op == QL_AND ? a && b : a || b);
    }
    if (op < QL_EQ)
        return oracle_arithmetic(op, oracle_eval(l, p), oracle_eval(r, p));
    if (l->kind == QL_EXPR_STATIC && r->kind == QL_EXPR_ATTRIBUTE) {
        const struct ql_expr *swap = l;
        l = r;
        r = swap;
        op = op == QL_LT   ? QL_GT
             : op == QL_GT ? QL_LT
             : op == QL_LE ? QL_GE
             : op == QL_GE ? QL_LE
                           : op;
    }
    if (l->kind == QL_EXPR_ATTRIBUTE && r->kind == QL_EXPR_STATIC) {
        oracle_values(&l->attribute, p, &f);
        for (uint32_t i = 0; i < f.count; i++)
            if (oracle_compare(op, f.list[i], r->value, l->attribute.intrinsic == QL_I_NONE,
                               l->attribute.is_dotless))
                return value_bool(true);
        return value_bool(false);
    }
    return value_bool(oracle_compare(op, oracle_eval(l, p), oracle_eval(r, p), false, false));
}

static struct value oracle_eval(const struct ql_expr *x, const struct place *p)
{
    struct found f;
    struct value v;

    switch (x->kind) {
    case QL_EXPR_STATIC: return x->value;
    case QL_EXPR_ATTRIBUTE:
        oracle_values(&x->attribute, p, &f);
        return f.count > 0 ? f.list[0] : VALUE_NONE;
    case QL_EXPR_BINARY: return oracle_binary(x, p);
    case QL_EXPR_UNARY: break;
    }
    if (x->op != QL_NEG)
        return value_bool(oracle_unary(x, p));
    v = oracle_eval(x->left, p);
    if (v.type == VALUE_FLOAT)
        return value_float(-v.f);
    return is_num(v) ? (struct value){.type = v.type, .i = -v.i} : VALUE_NONE;
}

static unsigned mentions(const struct ql_expr *x)
{
    if (x == NULL)
        return 0;
    if (x->kind == QL_EXPR_ATTRIBUTE) {
        enum ql_intrinsic i = x->attribute.intrinsic;
        if (x->attribute.scope == QL_SCOPE_EVENT || i == QL_I_EVENT_NAME ||
            i == QL_I_EVENT_TIME_SINCE_START)
            return 1;
        return x->attribute.scope == QL_SCOPE_LINK || i == QL_I_LINK_SPAN_ID ? 2 : 0;
    }
    return mentions(x->left) | mentions(x->right);
}

static bool oracle_matches(const struct fake_data *d, const struct ql_expr *x, uint32_t span)
{
    const struct fake_span *s = &d->spans[span];
    unsigned m = mentions(x);
    uint32_t events = (m & 1) != 0 && s->event_count > 0 ? s->event_count : 1,
             links = (m & 2) != 0 && s->link_count > 0 ? s->link_count : 1;

    for (uint32_t e = 0; e < events; e++)
        for (uint32_t l = 0; l < links; l++) {
            struct place p = {d, span, NULL, NULL};
            if ((m & 1) != 0 && s->event_count > 0)
                p.event = &s->events[e];
            if ((m & 2) != 0 && s->link_count > 0)
                p.link = &s->links[l];
            if (oracle_bool(x, &p))
                return true;
        }
    return false;
}

static bool is_empty(const struct oset *s)
{
    for (int i = 0; i < QUERY_GEN_SPANS_MAX; i++)
        if (s->in[i])
            return false;
    return true;
}

static bool stands(const struct fake_data *d, enum ql_op op, uint32_t a, uint32_t b)
{
    int pb = oracle_parent(d, b), pa = oracle_parent(d, a);

    if (!is_connected(d, a) || !is_connected(d, b))
        return false;
    switch ((int)op) {
    case QL_CHILD: return pb == (int)a && !is_root(&d->spans[b]);
    case QL_PARENT: return pa == (int)b && !is_root(&d->spans[a]);
    case QL_SIBLING:
        return a != b && is_root(&d->spans[a]) == is_root(&d->spans[b]) &&
               (is_root(&d->spans[a]) || pa == pb);
    default: break;
    }
    uint32_t low = op == QL_DESCENDANT ? b : a, high = op == QL_DESCENDANT ? a : b;
    for (int at = (int)low; at >= 0 && !is_root(&d->spans[at]);) {
        at = oracle_parent(d, (uint32_t)at);
        if (at == (int)high)
            return true;
    }
    return false;
}

static void oracle_structure(const struct fake_data *d, enum ql_op op, const struct oset *a,
                             const struct oset *b, struct oset *ret)
{
    bool is_negated = op >= QL_NOT_CHILD && op <= QL_NOT_SIBLING, is_union = op >= QL_UNION_CHILD;
    enum ql_op plain = is_negated ? op - 5 : is_union ? op - 10 : op;

    for (uint32_t j = 0; j < d->span_count; j++) {
        bool any = false;
        for (uint32_t i = 0; b->in[j] && i < d->span_count; i++)
            if (a->in[i] && stands(d, plain, i, j)) {
                any = true;
                ret->in[i] |= is_union;
            }
        if (b->in[j] && any != is_negated)
            ret->in[j] = true;
    }
}

static struct oset oracle_spanset(const struct fake_data *d, const struct ql_spanset *s,
                                  const struct oset *in)
{
    struct oset r = {.value_count = 0};

    if (s->kind == QL_SPANSET_FILTER) {
        for (uint32_t i = 0; i < d->span_count; i++)
            r.in[i] = in->in[i] && oracle_matches(d, s->filter, i);
        return r;
    }
    struct oset a = oracle_spanset(d, s->left, in);
    if (s->kind == QL_SPANSET_NOT)
        return is_empty(&a) ? *in : r;
    struct oset b = oracle_spanset(d, s->right, in);
    if (s->kind == QL_SPANSET_MINUS)
        return is_empty(&b) ? a : r;
    if (s->op == QL_AND && (is_empty(&a) || is_empty(&b)))
        return r;
    if (s->op != QL_AND && s->op != QL_OR) {
        oracle_structure(d, s->op, &a, &b, &r);
        return r;
    }
    for (int i = 0; i < QUERY_GEN_SPANS_MAX; i++)
        r.in[i] = a.in[i] || b.in[i];
    return r;
}

static struct value oracle_one(const struct fake_data *d, const struct ql_expr *x, uint32_t span)
{
    const struct fake_span *s = &d->spans[span];
    struct place p = {d, span, s->event_count > 0 ? &s->events[0] : NULL,
                      s->link_count > 0 ? &s->links[0] : NULL};

    return oracle_eval(x, &p);
}

static int number_cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y)) /* NaN first */
        return !!isnan(y) - !!isnan(x);
    return (x > y) - (x < y);
}

static struct value oracle_distinct(const struct fake_data *d, const struct ql_expr *x,
                                    const struct oset *set)
{
    struct value seen[QUERY_GEN_SPANS_MAX];
    uint32_t n = 0;

    for (uint32_t i = 0; i < d->span_count; i++) {
        struct value v = set->in[i] ? oracle_one(d, x, i) : VALUE_NONE;
        bool is_new = v.type != VALUE_NIL;
        for (uint32_t k = 0; k < n; k++)
            is_new = is_new && !query_oracle_same(seen[k], v);
        if (is_new)
            seen[n++] = v;
    }
    return value_int(n);
}

static struct value oracle_aggregate(const struct fake_data *d, const struct ql_scalar *s,
                                     const struct oset *set)
{
    double list[QUERY_GEN_SPANS_MAX];
    struct value best = VALUE_NONE;
    uint32_t n = 0, ints = 0, durations = 0, spans = 0;
    int64_t sum = 0;
    double real = 0;

    for (uint32_t i = 0; i < d->span_count; i++) {
        spans += set->in[i];
        struct value v =
            set->in[i] && s->argument != NULL ? oracle_one(d, s->argument, i) : VALUE_NONE;
        if (!is_num(v))
            continue;
        list[n++] = num(v);
        ints += v.type == VALUE_INT;
        durations += v.type == VALUE_DURATION;
        sum += v.type == VALUE_FLOAT ? 0 : v.i;
        real += num(v);
        bool is_better = s->aggregate == QL_MIN ? num(v) < num(best) : num(v) > num(best);
        bool is_tie = v.type < best.type && num(v) == num(best); /* of 3 and 3.0 the int */
        if (best.type == VALUE_NIL || is_better || is_tie || isnan(num(best)))
            best = v;
    }
    if (s->aggregate == QL_COUNT)
        return value_int(spans);
    if (s->aggregate == QL_COUNT_DISTINCT)
        return oracle_distinct(d, s->argument, set);
    if (n == 0)
        return VALUE_NONE;
    if (s->aggregate == QL_MIN || s->aggregate == QL_MAX)
        return best;
    if (s->aggregate == QL_SUM)
        return ints == n        ? value_int(sum)
               : durations == n ? value_duration(sum)
                                : value_float(real);
    if (s->aggregate == QL_AVG)
        return durations == n ? value_duration(sum / n)
                              : value_float(ints == n ? (double)sum / n : real / n);
    qsort(list, n, sizeof list[0], number_cmp);
    double h = s->quantile * (n - 1);
    uint32_t k = (uint32_t)floor(h);
    double r = list[k] + (h - k) * (list[k + 1 < n ? k + 1 : k] - list[k]);
    return durations == n ? value_duration((int64_t)r) : value_float(r);
}

bool query_oracle_same(struct value a, struct value b)
{
    if (a.type != b.type)
        return false;
    if (a.type == VALUE_NIL)
        return true;
    if (a.type == VALUE_STRING)
        return slice_eq(a.s, b.s);
    if (a.type == VALUE_FLOAT)
        return a.f == b.f || (isnan(a.f) && isnan(b.f)) || fabs(a.f - b.f) < 1e-9 * (1 + fabs(a.f));
    if (!value_is_array(a))
        return a.i == b.i;
    for (uint32_t i = 0; a.array.count == b.array.count && i < a.array.count; i++)
        if (!query_oracle_same(a.array.items[i], b.array.items[i]))
            return false;
    return a.array.count == b.array.count;
}

static void oracle_group(const struct fake_data *d, const struct ql_expr *by, const struct oset *in,
                         struct osets *out)
{
    uint32_t from = out->count;

    for (uint32_t i = 0; i < d->span_count; i++) {
        if (!in->in[i])
            continue;
        struct value v = oracle_one(d, by, i);
        uint32_t k = from;
        while (k < out->count && !query_oracle_same(out->list[k].values[in->value_count], v))
            k++;
        if (k == out->count) {
            assert(out->count < QUERY_ORACLE_SETS_MAX);
            out->list[out->count++] = *in;
            memset(out->list[k].in, 0, sizeof out->list[k].in);
            out->list[k].values[out->list[k].value_count++] = v;
        }
        out->list[k].in[i] = true;
    }
}

static void oracle_stage(const struct fake_data *d, const struct ql_stage *s,
                         const struct osets *in, struct osets *out)
{
    out->count = 0;
    for (uint32_t i = 0; i < in->count; i++) {
        struct oset set = in->list[i];
        bool keep = true;
        if (s->kind == QL_STAGE_GROUP) {
            oracle_group(d, s->by, &set, out);
            continue;
        }
        if (s->kind == QL_STAGE_SPANSET) {
            struct oset r = oracle_spanset(d, s->spanset, &set);
            memcpy(set.in, r.in, sizeof set.in);
            keep = !is_empty(&set);
        } else if (s->kind == QL_STAGE_COALESCE) {
            if (out->count == 0)
                out->list[out->count++] = (struct oset){.value_count = 0};
            for (int k = 0; k < QUERY_GEN_SPANS_MAX; k++)
                out->list[0].in[k] |= set.in[k];
            continue;
        } else {
            struct value v = oracle_aggregate(d, s->left, &set);
            keep = v.type != VALUE_NIL;
            set.values[set.value_count++] = v;
            if (keep && s->kind == QL_STAGE_SCALAR_FILTER)
                keep = oracle_compare_one(s->op, v, s->right->value, false, false);
        }
        if (keep)
            out->list[out->count++] = set;
    }
}

void query_oracle_trace(struct arena *arena, const struct fake_data *d, const struct ql_pipeline *p,
                        uint32_t trace, struct osets *ret)
{
    A = arena;
    struct osets *a = ARENA_NEW(A, struct osets), *b = ARENA_NEW(A, struct osets);

    a->count = 1;
    for (uint32_t i = 0; i < d->span_count; i++)
        a->list[0].in[i] = d->spans[i].trace == trace;
    for (uint32_t i = 0; i < p->stage_count; i++) {
        oracle_stage(d, &p->stages[i], a, b);
        struct osets *swap = a;
        a = b;
        b = swap;
    }
    *ret = *a;
}

/* --- an answer of the engine ------------------------------------------------------------------- */

static const struct fake_data *SORTING;

static int span_cmp(const void *a, const void *b)
{
    const struct fake_span *x = &SORTING->spans[*(const uint32_t *)a],
                           *y = &SORTING->spans[*(const uint32_t *)b];

    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    return memcmp(x->id.b, y->id.b, 8);
}

static bool same_set(const struct fake_data *d, const struct oset *o,
                     const struct result_spanset *s, uint32_t spss)
{
    uint32_t rows[QUERY_GEN_SPANS_MAX], n = 0;

    for (uint32_t i = 0; i < d->span_count; i++)
        if (o->in[i])
            rows[n++] = i;
    SORTING = d;
    qsort(rows, n, sizeof rows[0], span_cmp);
    spss = spss == 0 ? 3 : spss;
    if (s->matched != n || s->span_count != (n < spss ? n : spss) ||
        s->attribute_count != o->value_count)
        return false;
    for (uint32_t i = 0; i < s->span_count; i++) {
        const struct fake_span *p = &d->spans[rows[i]];
        if (p->start_ns != s->spans[i].start_ns || memcmp(p->id.b, s->spans[i].id.b, 8) != 0)
            return false;
    }
    for (uint32_t i = 0; i < s->attribute_count; i++) {
        struct value v = o->values[i];
        if (v.type == VALUE_STATUS || v.type == VALUE_KIND)
            v = value_string(
                slice_str(v.type == VALUE_STATUS ? value_status_name(v.i) : value_kind_name(v.i)));
        if (!query_oracle_same(v, s->attributes[i].value))
            return false;
    }
    return true;
}

bool query_oracle_same_trace(const struct fake_data *d, uint32_t trace, const struct osets *o,
                             const struct result_trace *t, uint32_t spss)
{
    uint64_t min, max;
    int root = query_oracle_root(d, trace);
    struct slice name = root < 0 ? text("") : d->spans[root].name;

    query_oracle_times(d, trace, &min, &max);
    if (!trace_id_eq(d->traces[trace], t->id) || t->start_ns != min ||
        t->duration_ns != max - min || !slice_eq(name, t->root_name) ||
        o->count != t->spanset_count)
        return false;
    bool used[QUERY_ORACLE_SETS_MAX] = {false};
    for (uint32_t i = 0; i < o->count; i++) {
        uint32_t k = 0;
        while (k < t->spanset_count &&
               (used[k] || !same_set(d, &o->list[i], &t->spansets[k], spss)))
            k++;
        if (k == t->spanset_count)
            return false;
        used[k] = true;
    }
    uint32_t spans = 0, all = 0;
    for (uint32_t i = 0; i < t->service_count; i++)
        spans += t->services[i].span_count;
    for (uint32_t i = 0; i < d->span_count; i++)
        all += d->spans[i].trace == trace;
    return spans == all;
}

struct value query_oracle_value(struct arena *arena, const struct fake_data *d,
                                const struct ql_attribute *at, uint32_t span)
{
    const struct ql_expr x = {.kind = QL_EXPR_ATTRIBUTE, .attribute = *at};

    A = arena;
    return oracle_one(d, &x, span);
}

bool query_oracle_matches(struct arena *arena, const struct fake_data *d, const struct ql_expr *x,
                          uint32_t span)
{
    A = arena;
    return oracle_matches(d, x, span);
}
