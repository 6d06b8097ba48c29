/* The engine against a brute-force oracle: random traces, random queries; the oracle looks at plain structs, one span at a time. */
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/query/engine.h"
#include "common/query/regex.h"
#include "tests/lib/fake_segment.h"
#include "tests/lib/test.h"

#include <assert.h>
#include <math.h>

enum { SPANS_MAX = 40, TRACES_MAX = 5, VALUES_MAX = 8, SETS_MAX = 64, LIMIT = 3 };

/* ---- random data ---- */
static struct arena *A;
static struct rng *R;

static uint32_t pick(uint32_t n)
{
    return (uint32_t)rng_below(R, n);
}

static struct slice text(const char *s)
{
    return slice_str(s);
}

static const char *const WORDS[] = {"", "x", "xy", "y", "7", "-3", "0.5"};
static const char *const KEYS[] = {"a", "b", "cc", "service.name"};

static struct value random_scalar(int type)
{
    static const double floats[] = {0.5, -1.5, 7, 3, -0.0};
    switch (type) {
    case 0: return value_string(text(WORDS[pick(7)]));
    case 1: return value_int((int64_t)pick(8) - 3);
    case 2: return value_float(floats[pick(5)]);
    default: return value_bool(pick(2) != 0);
    }
}

static struct fake_attr random_attr(void)
{
    struct fake_attr at = {.key = text(KEYS[pick(3)])};
    uint32_t kind = pick(10);

    if (kind < 7) {
        at.value = random_scalar((int)pick(4));
        return at;
    }
    uint32_t n = pick(4);
    struct value *items = ARENA_ARRAY(A, struct value, n);
    int type = (int)pick(4);
    bool is_mixed = kind == 9 && n > 1;
    for (uint32_t i = 0; i < n; i++)
        items[i] = random_scalar(is_mixed ? (int)(i % 4) : type);
    static const enum value_type types[] = {VALUE_STRING_ARRAY, VALUE_INT_ARRAY, VALUE_FLOAT_ARRAY,
                                            VALUE_BOOL_ARRAY};
    at.value.type = types[type];
    at.value.array.items = items;
    at.value.array.count = n;
    if (is_mixed) { /* not searchable: the oracle sees nil */
        at.raw = fake_segment_any(A, at.value);
        at.value = VALUE_NONE;
    }
    return at;
}

static struct fake_attrs random_attrs(uint32_t max)
{
    struct fake_attrs list = {ARENA_ARRAY(A, struct fake_attr, max + 1), pick(max + 1)};

    for (uint32_t i = 0; i < list.count; i++)
        list.list[i] = random_attr();
    return list;
}

static struct span_id small_id(uint32_t n)
{
    struct span_id id = {{0}};
    id.b[7] = (uint8_t)n;
    return id;
}

static void random_span(struct fake_data *d, struct fake_span *s)
{
    s->trace = pick(d->trace_count);
    s->resource = pick(d->resource_count);
    s->scope = pick(d->scope_count);
    s->id = small_id(1 + pick(14));
    if (pick(4) != 0)
        s->parent = small_id(1 + pick(16));
    s->start_ns = 1000 + pick(12);
    s->duration_ns = pick(5);
    s->name = text(WORDS[pick(4)]);
    s->status_message = text(WORDS[pick(3)]);
    s->kind = (uint8_t)pick(6);
    s->status = (uint8_t)pick(3);
    s->attrs = random_attrs(3);
    s->event_count = pick(3);
    s->events = ARENA_ARRAY(A, struct fake_event, s->event_count);
    for (uint32_t i = 0; i < s->event_count; i++)
        s->events[i] =
            (struct fake_event){s->start_ns + pick(3) - 1, text(WORDS[pick(3)]), random_attrs(2)};
    s->link_count = pick(3);
    s->links = ARENA_ARRAY(A, struct fake_link, s->link_count);
    for (uint32_t i = 0; i < s->link_count; i++) {
        s->links[i] =
            (struct fake_link){.span_id = small_id(1 + pick(3)), .attrs = random_attrs(2)};
        s->links[i].trace_id.b[15] = (uint8_t)(1 + pick(3));
    }
}

static struct fake_data *random_data(void)
{
    struct fake_data *d = ARENA_NEW(A, struct fake_data);

    d->trace_count = 1 + pick(TRACES_MAX);
    d->traces = ARENA_ARRAY(A, struct trace_id, d->trace_count);
    for (uint32_t t = 0; t < d->trace_count; t++)
        d->traces[t].b[15] = (uint8_t)(d->trace_count - t);
    d->resource_count = 1 + pick(3);
    d->resources = ARENA_ARRAY(A, struct fake_attrs, d->resource_count);
    for (uint32_t i = 0; i < d->resource_count; i++) {
        d->resources[i] = random_attrs(2);
        if (pick(3) != 0) { /* room for one more was left */
            struct fake_attr at = {.key = text("service.name"),
                                   .value = pick(5) == 0 ? value_int(7)
                                                         : value_string(text(WORDS[pick(3)]))};
            d->resources[i].list[d->resources[i].count++] = at;
        }
    }
    d->scope_count = 1 + pick(2);
    d->scopes = ARENA_ARRAY(A, struct fake_scope, d->scope_count);
    for (uint32_t i = 0; i < d->scope_count; i++)
        d->scopes[i] =
            (struct fake_scope){text(WORDS[pick(3)]), text(WORDS[pick(2)]), random_attrs(1)};
    d->span_count = d->trace_count + pick(SPANS_MAX - TRACES_MAX);
    d->spans = ARENA_ARRAY(A, struct fake_span, d->span_count);
    for (uint32_t i = 0; i < d->span_count; i++)
        random_span(d, &d->spans[i]);
    for (uint32_t t = 0; t < d->trace_count; t++)
        d->spans[t].trace = t; /* no empty trace */
    return d;
}

/* ---- random queries ---- */
static struct ql_expr *expr_new(enum ql_expr_kind kind)
{
    struct ql_expr *x = ARENA_NEW(A, struct ql_expr);
    x->kind = kind;
    return x;
}

static struct ql_expr *random_attribute(void)
{
    static const enum ql_scope scopes[] = {QL_SCOPE_NONE,  QL_SCOPE_SPAN, QL_SCOPE_RESOURCE,
                                           QL_SCOPE_EVENT, QL_SCOPE_LINK, QL_SCOPE_INSTRUMENTATION};
    struct ql_expr *x = expr_new(QL_EXPR_ATTRIBUTE);

    x->attribute = (struct ql_attribute){.scope = scopes[pick(6)], .name = text(KEYS[pick(4)])};
    if (x->attribute.scope == QL_SCOPE_NONE)
        x->attribute.is_dotless = pick(2) != 0;
    return x;
}

static struct ql_expr *literal(struct value v)
{
    struct ql_expr *x = expr_new(QL_EXPR_STATIC);
    x->value = v;
    return x;
}

static struct ql_expr *binary(enum ql_op op, struct ql_expr *l, struct ql_expr *r)
{
    struct ql_expr *x = expr_new(QL_EXPR_BINARY);
    x->op = op;
    x->left = l;
    x->right = r;
    return x;
}

static struct ql_expr *unary(enum ql_op op, struct ql_expr *l)
{
    struct ql_expr *x = expr_new(QL_EXPR_UNARY);
    x->op = op;
    x->left = l;
    return x;
}

static enum ql_op random_comparison(void)
{
    static const enum ql_op ops[] = {QL_EQ, QL_NE, QL_LT, QL_LE, QL_GT, QL_GE};
    return ops[pick(6)];
}

/* Comparisons with an intrinsic that a checker lets pass. */
static struct ql_expr *random_intrinsic(void)
{
    static const char *const ids[] = {"0000000000000001", "0000000000000003", "0000000000000000",
                                      "1", ""};
    static const struct {
        enum ql_intrinsic intrinsic;
        enum value_type type;
    } rows[] = {
        {QL_I_DURATION, VALUE_DURATION},       {QL_I_NAME, VALUE_STRING},
        {QL_I_STATUS, VALUE_STATUS},           {QL_I_KIND, VALUE_KIND},
        {QL_I_STATUS_MESSAGE, VALUE_STRING},   {QL_I_SPAN_ID, VALUE_NIL},
        {QL_I_PARENT_ID, VALUE_NIL},           {QL_I_CHILD_COUNT, VALUE_INT},
        {QL_I_TRACE_DURATION, VALUE_DURATION}, {QL_I_ROOT_NAME, VALUE_STRING},
        {QL_I_ROOT_SERVICE, VALUE_STRING},     {QL_I_TRACE_ID, VALUE_NIL},
        {QL_I_EVENT_NAME, VALUE_STRING},       {QL_I_EVENT_TIME_SINCE_START, VALUE_DURATION},
        {QL_I_LINK_SPAN_ID, VALUE_NIL},        {QL_I_SCOPE_NAME, VALUE_STRING},
        {QL_I_SCOPE_VERSION, VALUE_STRING},    {QL_I_NESTED_SET_PARENT, VALUE_INT}};
    uint32_t k = pick(18);
    struct ql_expr *x = expr_new(QL_EXPR_ATTRIBUTE), *lit;
    enum ql_op op = random_comparison();

    x->attribute.intrinsic = rows[k].intrinsic;
    if (rows[k].type == VALUE_STATUS || rows[k].type == VALUE_KIND) {
        lit = literal((struct value){.type = rows[k].type, .i = pick(3)});
        op = pick(2) != 0 ? QL_EQ : QL_NE;
    } else if (rows[k].type == VALUE_STRING) {
        lit = literal(value_string(text(WORDS[pick(4)])));
    } else if (rows[k].type == VALUE_NIL) {
        lit = literal(value_string(text(ids[pick(5)])));
    } else if (rows[k].intrinsic == QL_I_NESTED_SET_PARENT) {
        lit = literal(value_int((int64_t)pick(2) - 1));
        op = pick(2) != 0 ? QL_EQ : QL_LT; /* only what does not hang on the order of numbering */
        if (op == QL_EQ && lit->value.i == 0)
            op = QL_NE;
    } else {
        lit = literal(pick(3) == 0   ? value_float(1.5)
                      : pick(2) != 0 ? value_duration(pick(5))
                                     : value_int(pick(5)));
    }
    return pick(6) == 0 ? binary(op, lit, x) : binary(op, x, lit);
}

static struct ql_regex *REGEX; /* "x.*" */

static struct ql_expr *random_number(int depth)
{
    static const enum ql_op ops[] = {QL_ADD, QL_SUB, QL_MUL, QL_DIV, QL_MOD, QL_POW};
    switch (depth == 0 ? pick(3) : pick(6)) {
    case 0: return literal(random_scalar(1 + (int)pick(2)));
    case 1: return random_attribute();
    case 2: {
        struct ql_expr *x = expr_new(QL_EXPR_ATTRIBUTE);
        x->attribute.intrinsic = QL_I_DURATION;
        return x;
    }
    case 3: return unary(QL_NEG, random_number(depth - 1));
    default: return binary(ops[pick(6)], random_number(depth - 1), random_number(depth - 1));
    }
}

static struct ql_expr *random_filter(int depth)
{
    uint32_t k = depth == 0 ? 4 + pick(8) : pick(12);

    switch (k) {
    case 0:
    case 1:
    case 2:
        return binary(pick(3) == 0 ? QL_OR : QL_AND, random_filter(depth - 1),
                      random_filter(depth - 1));
    case 3: return unary(QL_NOT, random_filter(depth - 1));
    case 4: return unary(pick(2) != 0 ? QL_EXISTS : QL_NOT_EXISTS, random_attribute());
    case 5: return random_attribute();
    case 6: return random_intrinsic();
    case 7: return binary(random_comparison(), random_number(2), random_number(2));
    case 8: {
        struct ql_expr *x = binary(pick(2) != 0 ? QL_REGEX : QL_NOT_REGEX, random_attribute(),
                                   literal(value_string(text("x.*"))));
        x->regex = REGEX;
        return x;
    }
    case 9: return pick(8) == 0 ? literal(value_bool(pick(2) != 0)) : random_intrinsic();
    default: {
        struct ql_expr *lit = literal(random_scalar((int)pick(4)));
        if (pick(12) == 0)
            lit->value = value_duration(1);
        return pick(6) == 0 ? binary(random_comparison(), lit, random_attribute())
                            : binary(random_comparison(), random_attribute(), lit);
    }
    }
}

static struct ql_spanset *random_spanset(int depth)
{
    struct ql_spanset *s = ARENA_NEW(A, struct ql_spanset);

    if (depth == 0 || pick(2) != 0) {
        s->kind = QL_SPANSET_FILTER;
        s->filter = random_filter((int)pick(4));
        return s;
    }
    s->kind = QL_SPANSET_BINARY;
    s->op = pick(2) == 0 ? QL_AND : pick(3) == 0 ? QL_OR : (enum ql_op)(QL_CHILD + (int)pick(15));
    s->left = random_spanset(depth - 1);
    s->right = random_spanset(depth - 1);
    return s;
}

static struct ql_scalar *random_aggregate(void)
{
    struct ql_scalar *s = ARENA_NEW(A, struct ql_scalar);

    s->kind = QL_SCALAR_AGGREGATE;
    s->aggregate = (enum ql_aggregate)pick(QL_QUANTILE + 1);
    s->quantile = (double)pick(5) / 4;
    if (s->aggregate != QL_COUNT)
        s->argument = random_number(1);
    return s;
}

static struct ql_pipeline *random_pipeline(void)
{
    struct ql_pipeline *p = ARENA_NEW(A, struct ql_pipeline);

    p->stage_count = 1 + pick(3);
    p->stages = ARENA_ARRAY(A, struct ql_stage, p->stage_count);
    for (uint32_t i = 0; i < p->stage_count; i++) {
        struct ql_stage *s = &p->stages[i];
        uint32_t k = i == 0 && pick(8) != 0 ? 0 : pick(6);
        if (k < 2) {
            s->kind = QL_STAGE_SPANSET;
            s->spanset = random_spanset(2);
        } else if (k == 2) {
            s->kind = QL_STAGE_SCALAR_FILTER;
            s->op = random_comparison();
            s->left = random_aggregate();
            s->right = ARENA_NEW(A, struct ql_scalar);
            s->right->kind = QL_SCALAR_STATIC;
            s->right->value = pick(2) != 0 ? value_int(pick(5)) : value_float(1.5);
        } else if (k == 3) {
            s->kind = QL_STAGE_SCALAR;
            s->left = random_aggregate();
        } else if (k == 4) {
            s->kind = QL_STAGE_GROUP;
            s->by = pick(2) != 0 ? random_attribute() : random_number(1);
        } else {
            s->kind = QL_STAGE_COALESCE;
        }
    }
    return p;
}

/* ---- the oracle: values ---- */
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
    return memcmp(s->parent.b, small_id(0).b, 8) == 0;
}

static int oracle_root(const struct fake_data *d, uint32_t trace)
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

static void oracle_times(const struct fake_data *d, uint32_t trace, uint64_t *min, uint64_t *max)
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

/* The parent among the spans of the trace, -1: none.  Of two with its id the client for a server, else the server. */
static int oracle_parent(const struct fake_data *d, uint32_t span)
{
    const struct fake_span *s = &d->spans[span];
    int only = -1, wanted = -1, count = 0;

    for (uint32_t i = 0; i < d->span_count && !is_root(s); i++) {
        const struct fake_span *p = &d->spans[i];
        if (p->trace != s->trace || memcmp(p->id.b, s->parent.b, 8) != 0)
            continue;
        count++;
        if (i == span)
            continue;
        only = (int)i;
        if (p->kind == (s->kind == KIND_SERVER ? KIND_CLIENT : KIND_SERVER))
            wanted = wanted < 0 ? (int)i : wanted;
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
    int root = oracle_root(p->d, s->trace), children = 0, parent;
    struct found service = {.count = 0};

    oracle_times(p->d, s->trace, &min, &max);
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

/* ---- the oracle: expressions ---- */
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

/* ---- the oracle: spansets ---- */
struct oset {
    bool in[SPANS_MAX];
    struct value values[VALUES_MAX];
    uint32_t value_count;
};
struct osets {
    struct oset list[SETS_MAX];
    uint32_t count;
};

static bool is_empty(const struct oset *s)
{
    for (int i = 0; i < SPANS_MAX; i++)
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
    struct oset a = oracle_spanset(d, s->left, in), b = oracle_spanset(d, s->right, in);
    if (s->op == QL_AND && (is_empty(&a) || is_empty(&b)))
        return r;
    if (s->op != QL_AND && s->op != QL_OR) {
        oracle_structure(d, s->op, &a, &b, &r);
        return r;
    }
    for (int i = 0; i < SPANS_MAX; i++)
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
    return (x > y) - (x < y);
}

static struct value oracle_aggregate(const struct fake_data *d, const struct ql_scalar *s,
                                     const struct oset *set)
{
    double list[SPANS_MAX];
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
        if (best.type == VALUE_NIL || is_better || isnan(num(best)))
            best = v;
    }
    if (s->aggregate == QL_COUNT)
        return value_int(spans);
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

static bool same_value(struct value a, struct value b)
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
        if (!same_value(a.array.items[i], b.array.items[i]))
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
        while (k < out->count && !same_value(out->list[k].values[in->value_count], v))
            k++;
        if (k == out->count) {
            assert(out->count < SETS_MAX);
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
            for (int k = 0; k < SPANS_MAX; k++)
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

static void oracle_trace(const struct fake_data *d, const struct ql_pipeline *p, uint32_t trace,
                         struct osets *ret)
{
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

/* ---- comparing ---- */
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
    uint32_t rows[SPANS_MAX], n = 0;

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
        if (!same_value(v, s->attributes[i].value))
            return false;
    }
    return true;
}

static bool same_trace(const struct fake_data *d, uint32_t trace, const struct osets *o,
                       const struct result_trace *t, uint32_t spss)
{
    uint64_t min, max;
    int root = oracle_root(d, trace);
    struct slice name = root < 0 ? text("") : d->spans[root].name;

    oracle_times(d, trace, &min, &max);
    if (!trace_id_eq(d->traces[trace], t->id) || t->start_ns != min ||
        t->duration_ns != max - min || !slice_eq(name, t->root_name) ||
        o->count != t->spanset_count)
        return false;
    bool used[SETS_MAX] = {false};
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

static bool trace_before(const struct fake_data *d, uint32_t a, uint32_t b)
{
    uint64_t min_a, min_b, max;

    oracle_times(d, a, &min_a, &max);
    oracle_times(d, b, &min_b, &max);
    return min_a != min_b ? min_a > min_b : trace_id_cmp(d->traces[a], d->traces[b]) < 0;
}

static void check_query(const struct fake_data *d, const struct ql_query *ql, uint64_t seed)
{
    static const uint32_t spss_of[] = {0, 1, 5, 100};
    struct engine_query q = {.ql = ql,
                             .limit = pick(3) == 0 ? LIMIT - 2 + pick(3) : 20,
                             .spans_per_spanset = spss_of[pick(4)]};
    struct search_result got = {0};
    uint32_t order[TRACES_MAX], n = 0, k = 0;

    if (pick(4) == 0) {
        q.start_ns = 1000 + pick(8);
        q.end_ns = q.start_ns + pick(4);
    }
    if (pick(6) == 0) {
        q.exclude = &d->traces[pick(d->trace_count)];
        q.exclude_count = 1;
    }
    struct segment *s = fake_segment_new(d);
    assert_int_equal(engine_search(s, &q, A, &got), ERR_OK);
    segment_close(s);
    for (uint32_t t = 0; t < d->trace_count; t++) {
        uint32_t at = n++;
        for (; at > 0 && trace_before(d, t, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = t;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct osets *want = ARENA_NEW(A, struct osets);
        uint64_t min, max;
        oracle_times(d, order[i], &min, &max);
        if (q.end_ns != 0 && (min > q.end_ns || max < q.start_ns))
            continue;
        if (q.exclude_count != 0 && trace_id_eq(*q.exclude, d->traces[order[i]]))
            continue;
        oracle_trace(d, ql->pipeline, order[i], want);
        if (want->count == 0)
            continue;
        if (k == q.limit) {
            assert_true(got.is_cut);
            break;
        }
        if (k >= got.trace_count ||
            !same_trace(d, order[i], want, &got.traces[k], q.spans_per_spanset)) {
            struct buf b;
            buf_init(&b, 1 << 20);
            ql_dump(&b, ql);
            fail_msg("seed %llu: trace %u differs: %.*s", (unsigned long long)seed, order[i],
                     (int)b.len, (const char *)b.ptr);
        }
        k++;
    }
    if (k != got.trace_count)
        fail_msg("seed %llu: %u traces, oracle %u", (unsigned long long)seed, got.trace_count, k);
}

static void test_against_oracle(void **state)
{
    (void)state;
    struct arena a;
    struct rng r;
    const char *env = getenv("SEED");
    uint64_t first = env != NULL ? strtoull(env, NULL, 10) : 1, seeds = env != NULL ? 1 : 20000;
    int64_t begin = clock_mono_ns(&clock_system);

    assert_int_equal(regex_compile(text("x.*"), &REGEX, NULL), ERR_OK);
    arena_init(&a, NULL);
    A = &a;
    R = &r;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        arena_reset(&a);
        rng_init(&r, seed);
        struct fake_data *d = random_data();
        struct ql_query ql = {.pipeline = random_pipeline()};
        check_query(d, &ql, seed);
    }
    print_message("%llu queries in %lld ms\n", (unsigned long long)seeds,
                  (long long)(clock_mono_ns(&clock_system) - begin) / 1000000);
    arena_release(&a);
    regex_free(REGEX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_oracle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
