#include "tests/lib/query_gen.h"

static struct arena *A; /* of the call that is running */
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

/* few_ids: pairs and triples of one id abound; else every span has its own. */
static void random_span(struct fake_data *d, struct fake_span *s, bool few_ids)
{
    uint32_t number = (uint32_t)(s - d->spans);

    s->trace = pick(d->trace_count);
    s->resource = pick(d->resource_count);
    s->scope = pick(d->scope_count);
    s->id = small_id(few_ids ? 1 + pick(14) : 1 + number);
    if (pick(4) != 0)
        s->parent = small_id(1 + pick(few_ids ? 16 : number + 3));
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

struct fake_data *query_gen_data(struct arena *a, struct rng *r)
{
    A = a;
    R = r;
    struct fake_data *d = ARENA_NEW(A, struct fake_data);

    d->trace_count = 1 + pick(QUERY_GEN_TRACES_MAX);
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
    d->span_count = d->trace_count + pick(QUERY_GEN_SPANS_MAX - QUERY_GEN_TRACES_MAX);
    d->spans = ARENA_ARRAY(A, struct fake_span, d->span_count);
    bool few_ids = pick(2) != 0;
    for (uint32_t i = 0; i < d->span_count; i++)
        random_span(d, &d->spans[i], few_ids);
    for (uint32_t t = 0; t < d->trace_count; t++)
        d->spans[t].trace = t; /* no empty trace */
    return d;
}

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

static struct ql_regex *REGEX;

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
    if (pick(4) == 0) { /* traces without */
        s->kind = pick(2) == 0 ? QL_SPANSET_NOT : QL_SPANSET_MINUS;
        s->left = random_spanset(depth - 1);
        if (s->kind == QL_SPANSET_MINUS)
            s->right = random_spanset(depth - 1);
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
    s->aggregate = (enum ql_aggregate)pick(QL_COUNT_DISTINCT + 1);
    s->quantile = (double)pick(5) / 4;
    if (s->aggregate == QL_COUNT_DISTINCT)
        s->argument = random_attribute();
    else if (s->aggregate != QL_COUNT)
        s->argument = random_number(1);
    return s;
}

struct ql_pipeline *query_gen_pipeline(struct arena *a, struct rng *r, struct ql_regex *regex)
{
    A = a;
    R = r;
    REGEX = regex;
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
