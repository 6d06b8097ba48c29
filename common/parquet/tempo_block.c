#include "common/parquet/tempo_block.h"

#include "common/codec/otlp.h"
#include "common/codec/otlp_json.h"
#include "common/codec/otlp_write.h"

#include <stdio.h>
#include <stdlib.h>

enum { NONE = UINT32_MAX, OWN_MAX = 160 };
enum { ANY_TEXT = 1, ANY_BOOL, ANY_INT, ANY_DOUBLE, ANY_ARRAY }; /* fields of AnyValue */

struct own { /* a column of one attribute */
    struct slice key;
    uint32_t group, field;                  /* group: NONE when it stands in the parent itself */
    bool is_int, is_list, is_text_required; /* is_text_required: empty is how absence is written */
};

struct attributes { /* of a resource, scope, span, event or link */
    uint32_t list, key, is_array, texts, ints, doubles, bools, other, dropped;
    struct own *own;
    uint32_t own_count;
};

struct tempo_block {
    struct parquet_file *file;
    const struct tempo_meta *meta;
    struct budget *budget;
    struct arena arena;
    struct err_detail *detail; /* of the call under way */
    const char *missing;       /* a column that must be there and is not */
    struct buf json, otlp;     /* of a value that is kept as JSON */
    uint64_t unreadable;
    uint32_t trace_id, resources, resource, scopes, scope, scope_name, scope_version, spans;
    struct {
        uint32_t id, parent, name, kind, state, start, duration, status, message, events, links,
            dropped_events, dropped_links;
    } span;
    struct {
        uint32_t time, name;
    } event;
    struct {
        uint32_t trace_id, span_id, state;
    } link;
    struct attributes of_resource, of_scope, of_span, of_event, of_link;
};

/* --- the schema: where everything is; a column that must be there and is not ends it --- */

enum shape { ONE, LIST, ONE_OR_LIST };

/* What a node is within its list's levels: how often it repeats, whether any of them may be absent. */
static const struct parquet_node *inner_of(const struct parquet_node *n, unsigned *ret_lists,
                                           unsigned *ret_optionals)
{
    *ret_lists = *ret_optionals = 0;
    for (;; n = &n->children[0]) {
        *ret_lists += n->repetition == PARQUET_REPEATED;
        *ret_optionals += n->repetition == PARQUET_OPTIONAL;
        if (!n->is_through)
            return n;
    }
}

static bool is_shape(enum shape shape, unsigned lists)
{
    return shape == ONE_OR_LIST ? lists <= 1 : lists == (shape == LIST);
}

static void set_missing(struct tempo_block *b, const char *name)
{
    if (b->missing == NULL)
        b->missing = name;
}

/* A group, or a list of groups; none of them may be absent, so that whoever has the parent has its values. */
static struct parquet_node *group(struct tempo_block *b, struct parquet_node *parent,
                                  const char *name, enum shape shape, uint32_t *ret_index)
{
    struct parquet_node *n = parquet_child(parent, name, ret_index);
    unsigned lists, optionals;

    if (n != NULL && !inner_of(n, &lists, &optionals)->is_leaf && optionals == 0 &&
        is_shape(shape, lists))
        return n;
    *ret_index = 0;
    set_missing(b, name);
    return NULL;
}

/* A leaf, or a list of values, of this type: wanted.  An optional one that is absent reads as 0 or empty.  INT64 stands for INT32 too. */
static bool leaf(struct tempo_block *b, struct parquet_node *parent, const char *name,
                 enum parquet_type type, enum shape shape, uint32_t *ret_index)
{
    struct parquet_node *n = parquet_child(parent, name, ret_index);
    unsigned lists = 0, optionals;
    const struct parquet_node *inner = n == NULL ? NULL : inner_of(n, &lists, &optionals);

    if (inner == NULL || !inner->is_leaf || !is_shape(shape, lists) ||
        (lists != 0 && optionals != 0) ||
        (inner->type != type && !(type == PARQUET_INT64 && inner->type == PARQUET_INT32))) {
        *ret_index = 0;
        set_missing(b, name);
        return false;
    }
    parquet_want(n);
    return lists != 0;
}

static void find_attributes(struct tempo_block *b, struct parquet_node *parent,
                            struct attributes *a)
{
    struct parquet_node *list = group(b, parent, "Attrs", LIST, &a->list);

    (void)leaf(b, list, "Key", PARQUET_BYTES, ONE, &a->key);
    (void)leaf(b, list, "IsArray", PARQUET_BOOLEAN, ONE, &a->is_array);
    (void)leaf(b, list, "Value", PARQUET_BYTES, LIST, &a->texts);
    (void)leaf(b, list, "ValueInt", PARQUET_INT64, LIST, &a->ints);
    (void)leaf(b, list, "ValueDouble", PARQUET_DOUBLE, LIST, &a->doubles);
    (void)leaf(b, list, "ValueBool", PARQUET_BOOLEAN, LIST, &a->bools);
    (void)leaf(b, list, "ValueUnsupported", PARQUET_BYTES, ONE, &a->other);
    (void)leaf(b, parent, "DroppedAttributesCount", PARQUET_INT64, ONE, &a->dropped);
}

/* A column that some versions have; nothing happens where it is not. */
static void add_own(struct tempo_block *b, struct parquet_node *parent, struct attributes *a,
                    const char *column, const char *key, bool is_int)
{
    uint32_t index;

    if (parquet_child(parent, column, &index) == NULL || a->own_count == OWN_MAX)
        return;
    struct own *o = &a->own[a->own_count++];
    *o = (struct own){.key = slice_str(key), .group = NONE, .is_int = is_int};
    o->is_list =
        leaf(b, parent, column, is_int ? PARQUET_INT64 : PARQUET_BYTES, ONE_OR_LIST, &o->field);
}

/* The nth attribute of a scope and type has the nth spare column; those beyond the last have none and stand among the others. */
static void add_dedicated(struct tempo_block *b, struct parquet_node *parent,
                          enum tempo_scope scope, struct attributes *a)
{
    unsigned count[2] = {0, 0};
    uint32_t at, index;
    struct parquet_node *spare = NULL;

    if (parquet_child(parent, "DedicatedAttributes", &at) != NULL)
        spare = group(b, parent, "DedicatedAttributes", ONE, &at);
    for (uint32_t i = 0; spare != NULL && i < b->meta->dedicated_count; i++) {
        const struct tempo_dedicated *d = &b->meta->dedicated[i];
        char name[24];
        if (d->scope != scope)
            continue;
        (void)snprintf(name, sizeof name, "%s%02u", d->is_int ? "Int" : "String",
                       ++count[d->is_int]);
        if (parquet_child(spare, name, &index) == NULL || a->own_count == OWN_MAX)
            continue;
        struct own *o = &a->own[a->own_count++];
        *o = (struct own){.key = slice_str(d->key), .group = at, .is_int = d->is_int};
        o->is_list =
            leaf(b, spare, name, d->is_int ? PARQUET_INT64 : PARQUET_BYTES, ONE_OR_LIST, &o->field);
    }
}

static void find_resource(struct tempo_block *b, struct parquet_node *n)
{
    static const char *const known[][2] = {{"Cluster", "cluster"},
                                           {"Namespace", "namespace"},
                                           {"Pod", "pod"},
                                           {"Container", "container"},
                                           {"K8sClusterName", "k8s.cluster.name"},
                                           {"K8sNamespaceName", "k8s.namespace.name"},
                                           {"K8sPodName", "k8s.pod.name"},
                                           {"K8sContainerName", "k8s.container.name"}};
    struct attributes *a = &b->of_resource;

    find_attributes(b, n, a);
    add_dedicated(b, n, TEMPO_RESOURCE, a);
    uint32_t before = a->own_count;
    add_own(b, n, a, "ServiceName", "service.name", false);
    if (a->own_count == before)
        set_missing(b, "ServiceName");
    else
        a->own[before].is_text_required = true;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        add_own(b, n, a, known[i][0], known[i][1], false);
}

static void find_span(struct tempo_block *b, struct parquet_node *n)
{
    struct parquet_node *events = group(b, n, "Events", LIST, &b->span.events);
    struct parquet_node *links = group(b, n, "Links", LIST, &b->span.links);

    (void)leaf(b, n, "SpanID", PARQUET_BYTES, ONE, &b->span.id);
    (void)leaf(b, n, "ParentSpanID", PARQUET_BYTES, ONE, &b->span.parent);
    (void)leaf(b, n, "Name", PARQUET_BYTES, ONE, &b->span.name);
    (void)leaf(b, n, "Kind", PARQUET_INT64, ONE, &b->span.kind);
    (void)leaf(b, n, "TraceState", PARQUET_BYTES, ONE, &b->span.state);
    (void)leaf(b, n, "StartTimeUnixNano", PARQUET_INT64, ONE, &b->span.start);
    (void)leaf(b, n, "DurationNano", PARQUET_INT64, ONE, &b->span.duration);
    (void)leaf(b, n, "StatusCode", PARQUET_INT64, ONE, &b->span.status);
    (void)leaf(b, n, "StatusMessage", PARQUET_BYTES, ONE, &b->span.message);
    (void)leaf(b, n, "DroppedEventsCount", PARQUET_INT64, ONE, &b->span.dropped_events);
    (void)leaf(b, n, "DroppedLinksCount", PARQUET_INT64, ONE, &b->span.dropped_links);
    find_attributes(b, n, &b->of_span);
    add_dedicated(b, n, TEMPO_SPAN, &b->of_span);
    add_own(b, n, &b->of_span, "HttpMethod", "http.method", false);
    add_own(b, n, &b->of_span, "HttpUrl", "http.url", false);
    add_own(b, n, &b->of_span, "HttpStatusCode", "http.status_code", true);

    (void)leaf(b, events, "TimeSinceStartNano", PARQUET_INT64, ONE, &b->event.time);
    (void)leaf(b, events, "Name", PARQUET_BYTES, ONE, &b->event.name);
    find_attributes(b, events, &b->of_event);
    add_dedicated(b, events, TEMPO_EVENT, &b->of_event);

    (void)leaf(b, links, "TraceID", PARQUET_BYTES, ONE, &b->link.trace_id);
    (void)leaf(b, links, "SpanID", PARQUET_BYTES, ONE, &b->link.span_id);
    (void)leaf(b, links, "TraceState", PARQUET_BYTES, ONE, &b->link.state);
    find_attributes(b, links, &b->of_link);
}

static enum err find_all(struct tempo_block *b)
{
    struct attributes *const all[] = {&b->of_resource, &b->of_scope, &b->of_span, &b->of_event,
                                      &b->of_link};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        all[i]->own = ARENA_ARRAY(&b->arena, struct own, OWN_MAX);
    if (arena_err(&b->arena) != ERR_OK)
        return arena_err(&b->arena);
    struct parquet_node *root = parquet_root(b->file);
    struct parquet_node *resources = group(b, root, "rs", LIST, &b->resources);
    struct parquet_node *resource = group(b, resources, "Resource", ONE, &b->resource);
    struct parquet_node *scopes = group(b, resources, "ss", LIST, &b->scopes);
    struct parquet_node *scope = group(b, scopes, "Scope", ONE, &b->scope);
    struct parquet_node *spans = group(b, scopes, "Spans", LIST, &b->spans);
    (void)leaf(b, root, "TraceID", PARQUET_BYTES, ONE, &b->trace_id);
    (void)leaf(b, scope, "Name", PARQUET_BYTES, ONE, &b->scope_name);
    (void)leaf(b, scope, "Version", PARQUET_BYTES, ONE, &b->scope_version);
    find_attributes(b, scope, &b->of_scope);
    find_resource(b, resource);
    find_span(b, spans);
    if (b->missing != NULL)
        return err_detail_set(b->detail, ERR_UNSUPPORTED,
                              "not the schema of %s: no column %s of the kind that belongs there",
                              b->meta->version, b->missing);
    return ERR_OK;
}

enum err tempo_block_open(const struct parquet_source *source, const struct tempo_meta *meta,
                          struct budget *budget, struct tempo_block **ret,
                          struct err_detail *reterr_detail)
{
    if (strcmp(meta->version, "vParquet4") != 0 && strcmp(meta->version, "vParquet5") != 0)
        return err_detail_set(reterr_detail, ERR_UNSUPPORTED,
                              "a block of version %s: vParquet4 and vParquet5 are read",
                              meta->version);
    struct tempo_block *b = calloc(1, sizeof *b);
    if (b == NULL)
        return ERR_NOMEM;
    b->meta = meta;
    b->budget = budget;
    b->detail = reterr_detail;
    arena_init(&b->arena, budget);
    buf_init(&b->json, OTLP_JSON_BYTES_MAX);
    buf_init(&b->otlp, OTLP_JSON_BYTES_MAX);
    enum err e = parquet_open(source, budget, &b->file, reterr_detail);
    if (e == ERR_OK)
        e = find_all(b);
    if (e != ERR_OK) {
        tempo_block_close(b);
        return e;
    }
    *ret = b;
    return ERR_OK;
}

void tempo_block_close(struct tempo_block *b)
{
    if (b == NULL)
        return;
    parquet_close(b->file);
    buf_release(&b->json);
    buf_release(&b->otlp);
    arena_release(&b->arena);
    free(b);
}

uint64_t tempo_block_traces(const struct tempo_block *b)
{
    return parquet_row_count(b->file);
}

uint64_t tempo_block_unreadable(const struct tempo_block *b)
{
    return b->unreadable;
}

/* --- values --- */

static void put_text(struct buf *out, uint32_t field, struct slice s)
{
    if (s.len != 0)
        pb_bytes(out, field, s);
}

static void put_number(struct buf *out, uint32_t field, uint64_t v)
{
    if (v != 0)
        pb_varint(out, field, v);
}

static void put_count(struct buf *out, uint32_t field, const struct parquet_value *v)
{
    put_number(out, field, (uint32_t)v->i);
}

static void any_of(struct buf *out, uint32_t kind, const struct parquet_value *v)
{
    switch (kind) {
    case ANY_TEXT: pb_bytes(out, ANY_TEXT, v->s); break;
    case ANY_DOUBLE: pb_double(out, ANY_DOUBLE, v->d); break;
    default: pb_varint(out, kind, (uint64_t)v->i); break;
    }
}

/* AnyValue of a list: one value, or an array of them. */
static void any_of_list(struct buf *out, uint32_t kind, const struct parquet_value *items,
                        uint32_t count, bool is_array)
{
    if (!is_array) {
        any_of(out, kind, &items[0]);
        return;
    }
    size_t array = pb_begin(out, ANY_ARRAY);
    for (uint32_t i = 0; i < count; i++) {
        size_t item = pb_begin(out, 1);
        any_of(out, kind, &items[i]);
        pb_end(out, item);
    }
    pb_end(out, array);
}

/* Maps, bytes, mixed arrays and empty values are kept as the JSON of their AnyValue.  The receivers' reader takes it, as an attribute of a request. */
static enum err any_of_json(struct tempo_block *b, struct slice json, struct buf *out)
{
    struct otlp_iter it;
    struct otlp_field_iter fields;
    struct slice span, keyvalue, key;
    struct otlp_value value;

    buf_release(&b->otlp);
    buf_init(&b->otlp, OTLP_JSON_BYTES_MAX);
    buf_reset(&b->json);
    buf_append_str(&b->json,
                   "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"\",\"value\":");
    buf_append(&b->json, json);
    buf_append_str(&b->json, "}]},\"scopeSpans\":[{\"spans\":[{}]}]}]}");
    enum err e = buf_err(&b->json);
    if (e == ERR_OK)
        e = otlp_json_to_pb(buf_slice(&b->json), b->budget, &b->otlp, NULL);
    if (e == ERR_NOMEM || e == ERR_LIMIT)
        return e;
    otlp_iter_init(&it, buf_slice(&b->otlp));
    if (e == ERR_OK && otlp_next_span(&it, &span)) {
        otlp_fields_init(&fields, it.resource, OTLP_RESOURCE_ATTRIBUTES);
        if (otlp_next_field(&fields, &keyvalue)) {
            otlp_keyvalue_parse(keyvalue, &key, &value);
            buf_append(out, value.raw);
            return ERR_OK;
        }
    }
    b->unreadable++;
    return ERR_OK;
}

static enum err put_attribute(struct tempo_block *b, const struct attributes *a,
                              const struct parquet_value *v, uint32_t field, struct buf *out)
{
    const struct {
        uint32_t index, kind;
    } lists[] = {
        {a->texts, ANY_TEXT}, {a->ints, ANY_INT}, {a->doubles, ANY_DOUBLE}, {a->bools, ANY_BOOL}};
    bool is_array = v->items[a->is_array].i != 0, is_found = false;
    enum err e = ERR_OK;
    size_t keyvalue = pb_begin(out, field);

    pb_bytes(out, 1, v->items[a->key].s);
    size_t any = pb_begin(out, 2);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0] && !is_found; i++) {
        const struct parquet_value *list = &v->items[lists[i].index];
        is_found = list->count != 0;
        if (is_found)
            any_of_list(out, lists[i].kind, list->items, list->count, is_array);
    }
    if (!is_found && is_array)
        pb_bytes(out, ANY_ARRAY, SLICE_NONE);
    else if (!is_found && v->items[a->other].is_there)
        e = any_of_json(b, v->items[a->other].s, out);
    pb_end(out, any);
    pb_end(out, keyvalue);
    return e;
}

/* An attribute with a column of its own: absent, a value, or several (version 5). */
static void put_own(const struct own *o, const struct parquet_value *parent, uint32_t field,
                    struct buf *out)
{
    const struct parquet_value *at = o->group == NONE ? parent : &parent->items[o->group];
    const struct parquet_value *v = &at->items[o->field];

    if (!v->is_there || (o->is_list && v->count == 0) || (o->is_text_required && v->s.len == 0))
        return;
    size_t keyvalue = pb_begin(out, field);
    pb_bytes(out, 1, o->key);
    size_t any = pb_begin(out, 2);
    if (o->is_list)
        any_of_list(out, o->is_int ? ANY_INT : ANY_TEXT, v->items, v->count, v->count > 1);
    else
        any_of(out, o->is_int ? ANY_INT : ANY_TEXT, v);
    pb_end(out, any);
    pb_end(out, keyvalue);
}

static enum err put_attributes(struct tempo_block *b, const struct attributes *a,
                               const struct parquet_value *parent, uint32_t field, struct buf *out)
{
    const struct parquet_value *list = &parent->items[a->list];
    enum err e = ERR_OK;

    for (uint32_t i = 0; e == ERR_OK && i < list->count; i++)
        e = put_attribute(b, a, &list->items[i], field, out);
    for (uint32_t i = 0; e == ERR_OK && i < a->own_count; i++)
        put_own(&a->own[i], parent, field, out);
    return e;
}

/* --- messages --- */

static enum err put_event(struct tempo_block *b, const struct parquet_value *v, uint64_t start,
                          struct buf *out)
{
    size_t mark = pb_begin(out, OTLP_SPAN_EVENTS);

    pb_fixed64(out, 1, start + (uint64_t)v->items[b->event.time].i);
    put_text(out, 2, v->items[b->event.name].s);
    enum err e = put_attributes(b, &b->of_event, v, OTLP_EVENT_ATTRIBUTES, out);
    put_count(out, 4, &v->items[b->of_event.dropped]);
    pb_end(out, mark);
    return e;
}

static enum err put_link(struct tempo_block *b, const struct parquet_value *v, struct buf *out)
{
    size_t mark = pb_begin(out, OTLP_SPAN_LINKS);

    put_text(out, 1, v->items[b->link.trace_id].s);
    put_text(out, 2, v->items[b->link.span_id].s);
    put_text(out, 3, v->items[b->link.state].s);
    enum err e = put_attributes(b, &b->of_link, v, OTLP_LINK_ATTRIBUTES, out);
    put_count(out, 5, &v->items[b->of_link.dropped]);
    pb_end(out, mark);
    return e;
}

static void put_status(struct tempo_block *b, const struct parquet_value *v, struct buf *out)
{
    uint64_t code = (uint64_t)v->items[b->span.status].i;
    struct slice message = v->items[b->span.message].s;

    if (code == 0 && message.len == 0)
        return;
    size_t mark = pb_begin(out, 15);
    put_text(out, 2, message);
    put_number(out, 3, code);
    pb_end(out, mark);
}

static enum err put_span(struct tempo_block *b, struct slice trace_id,
                         const struct parquet_value *v, struct buf *out)
{
    const struct parquet_value *events = &v->items[b->span.events];
    const struct parquet_value *links = &v->items[b->span.links];
    uint64_t start = (uint64_t)v->items[b->span.start].i;
    size_t mark = pb_begin(out, 2);

    pb_bytes(out, 1, trace_id);
    pb_bytes(out, 2, v->items[b->span.id].s);
    put_text(out, 3, v->items[b->span.state].s);
    put_text(out, 4, v->items[b->span.parent].s);
    put_text(out, 5, v->items[b->span.name].s);
    put_number(out, 6, (uint64_t)v->items[b->span.kind].i);
    pb_fixed64(out, 7, start);
    pb_fixed64(out, 8, start + (uint64_t)v->items[b->span.duration].i);
    enum err e = put_attributes(b, &b->of_span, v, OTLP_SPAN_ATTRIBUTES, out);
    put_count(out, 10, &v->items[b->of_span.dropped]);
    for (uint32_t i = 0; e == ERR_OK && i < events->count; i++)
        e = put_event(b, &events->items[i], start, out);
    put_count(out, 12, &v->items[b->span.dropped_events]);
    for (uint32_t i = 0; e == ERR_OK && i < links->count; i++)
        e = put_link(b, &links->items[i], out);
    put_count(out, 14, &v->items[b->span.dropped_links]);
    put_status(b, v, out);
    pb_end(out, mark);
    return e == ERR_OK ? buf_err(out) : e;
}

static enum err put_scope(struct tempo_block *b, struct slice trace_id,
                          const struct parquet_value *v, struct buf *out)
{
    const struct parquet_value *scope = &v->items[b->scope], *spans = &v->items[b->spans];
    size_t mark = pb_begin(out, 2), inner = pb_begin(out, 1);

    put_text(out, 1, scope->items[b->scope_name].s);
    put_text(out, 2, scope->items[b->scope_version].s);
    enum err e = put_attributes(b, &b->of_scope, scope, OTLP_SCOPE_ATTRIBUTES, out);
    put_count(out, 4, &scope->items[b->of_scope.dropped]);
    pb_end(out, inner);
    for (uint32_t i = 0; e == ERR_OK && i < spans->count; i++)
        e = put_span(b, trace_id, &spans->items[i], out);
    pb_end(out, mark);
    return e;
}

static enum err put_resource(struct tempo_block *b, struct slice trace_id,
                             const struct parquet_value *v, struct buf *out)
{
    const struct parquet_value *resource = &v->items[b->resource], *scopes = &v->items[b->scopes];
    size_t mark = pb_begin(out, 1), inner = pb_begin(out, 1);

    enum err e = put_attributes(b, &b->of_resource, resource, OTLP_RESOURCE_ATTRIBUTES, out);
    put_count(out, 2, &resource->items[b->of_resource.dropped]);
    pb_end(out, inner);
    for (uint32_t i = 0; e == ERR_OK && i < scopes->count; i++)
        e = put_scope(b, trace_id, &scopes->items[i], out);
    pb_end(out, mark);
    return e;
}

enum err tempo_block_next(struct tempo_block *b, struct buf *otlp, struct err_detail *reterr_detail)
{
    const struct parquet_value *row;
    uint8_t id[TRACE_ID_BYTES] = {0};

    buf_reset(otlp);
    enum err e = parquet_next(b->file, &row, reterr_detail);
    if (e != ERR_OK || row == NULL)
        return e;
    struct slice wire = row->items[b->trace_id].s;
    if (wire.len > TRACE_ID_BYTES || wire.len == 0)
        return err_detail_set(reterr_detail, ERR_CORRUPT, "a trace id of %zu bytes", wire.len);
    memcpy(id + TRACE_ID_BYTES - wire.len, wire.ptr,
           wire.len); /* short ones are padded, as Tempo does */
    const struct parquet_value *resources = &row->items[b->resources];
    for (uint32_t i = 0; e == ERR_OK && i < resources->count; i++)
        e = put_resource(b, (struct slice){id, TRACE_ID_BYTES}, &resources->items[i], otlp);
    return e == ERR_OK ? buf_err(otlp) : e;
}
