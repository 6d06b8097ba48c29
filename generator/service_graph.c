#include "generator/service_graph.h"

#include "common/base/hash.h"
#include "common/base/reader.h"
#include "common/model/value.h"

#include <assert.h>
#include <stdlib.h>

enum { TABLE_SIZE_MIN = 1024, LABELS_BYTES_MAX = 256 * 1024, EDGE_TEXT_MAX = 256 * 1024 };
enum { CONNECTION_NONE, CONNECTION_MESSAGING, CONNECTION_DATABASE, CONNECTION_VIRTUAL };
/* Texts of an edge: these, then the client's dimensions, then the server's. */
enum { TEXT_CLIENT, TEXT_SERVER, TEXT_PEER, TEXT_DIMENSIONS };
/* Values by number for the labels: dimension k of side s is s * dimension_count + k behind the fixed ones. */
enum { VALUE_CLIENT, VALUE_SERVER, VALUE_CONNECTION, VALUE_DIMENSIONS };

struct edge_key {
    struct trace_id trace;
    uint8_t span[SPAN_ID_BYTES];
    uint8_t is_root; /* key is the span's own id: a root server or consumer waits for nobody */
    uint8_t pad[7];
};

struct service_edge {
    struct service_edge *chain, *older, *newer;
    struct edge_key key;
    int64_t since_ns;
    double client_seconds, server_seconds;
    uint8_t connection;
    bool is_failed;
    uint32_t bytes; /* of this allocation */
    uint32_t text_count;
    struct slice texts[]; /* then their bytes */
};

static const char *const connection_names[] = {"", "messaging_system", "database", "virtual_node"};

static unsigned text_count_of(const struct service_graph *g)
{
    return TEXT_DIMENSIONS + 2 * g->dimension_count;
}

static enum err list_want(struct attributes *wanted, const struct config_list *list,
                          unsigned *numbers, unsigned max, unsigned *ret_count)
{
    for (unsigned i = 0; i < list->count; i++) {
        if (i == max)
            return ERR_TOO_LARGE;
        enum err e = attributes_want(wanted, list->items[i], &numbers[i]);
        if (e != ERR_OK)
            return e;
    }
    *ret_count = list->count;
    return ERR_OK;
}

static enum err wants_make(struct service_graph *g, const struct config *c, const struct limits *l,
                           struct attributes *wanted)
{
    enum err e = attributes_want(wanted, "service.name", &g->service);

    if (e == ERR_OK)
        e = attributes_want(wanted, "peer.service", &g->peer_service);
    if (e == ERR_OK)
        e = attributes_want(wanted, "server.address", &g->server_address);
    if (e == ERR_OK)
        e = attributes_want(wanted, "network.peer.address", &g->network_address);
    if (e == ERR_OK)
        e = attributes_want(wanted, "network.peer.port", &g->network_port);
    if (e == ERR_OK)
        e = list_want(wanted, &l->peer_attributes, g->peers, 16, &g->peer_count);
    if (e == ERR_OK)
        e = list_want(wanted, &c->database_name_attributes, g->databases, 16, &g->database_count);
    if (e == ERR_OK)
        e = list_want(wanted, &l->service_graphs_dimensions, g->dimensions, 32,
                      &g->dimension_count);
    return e;
}

static enum err plan_make(struct service_graph *g, const struct limits *l)
{
    enum err e = labels_plan_fixed(&g->plan, "client", VALUE_CLIENT);

    if (e == ERR_OK)
        e = labels_plan_fixed(&g->plan, "server", VALUE_SERVER);
    if (e == ERR_OK)
        e = labels_plan_fixed(&g->plan, "connection_type", VALUE_CONNECTION);
    for (unsigned i = 0; i < g->dimension_count && e == ERR_OK; i++) {
        const char *name = l->service_graphs_dimensions.items[i];
        if (l->enable_client_server_prefix) {
            e = labels_plan_attribute(&g->plan, "client_", name, VALUE_DIMENSIONS + i, false);
            if (e == ERR_OK)
                e = labels_plan_attribute(&g->plan, "server_", name,
                                          VALUE_DIMENSIONS + g->dimension_count + i, false);
        } else {
            e = labels_plan_attribute(&g->plan, "", name, VALUE_DIMENSIONS + i, false);
        }
    }
    labels_plan_sort(&g->plan);
    return e;
}

enum err service_graph_init(struct service_graph *g, const struct config *c, const struct limits *l,
                            struct attributes *wanted, struct arena *a, struct budget *budget)
{
    *g = (struct service_graph){
        .config = c, .limits = l, .budget = budget, .table_size = TABLE_SIZE_MIN};
    buf_init(&g->labels, LABELS_BYTES_MAX);
    labels_plan_init(&g->plan, a, (uint32_t)c->max_label_name_length,
                     (uint32_t)c->max_label_value_length);
    while (g->table_size < (uint64_t)c->service_graphs_max_items && g->table_size < 1u << 20)
        g->table_size *= 2;
    g->table = calloc(g->table_size, sizeof(struct service_edge *));
    if (g->table == NULL)
        return ERR_NOMEM;
    enum err e = wants_make(g, c, l, wanted);
    if (e == ERR_OK)
        e = plan_make(g, l);
    if (e == ERR_OK)
        e = series_init(&g->series, SERIES_EDGE, l->service_graphs_buckets.items,
                        l->service_graphs_buckets.count, (uint32_t)l->max_active_series, budget);
    return e;
}

static struct service_edge **bucket_of(const struct service_graph *g, const struct edge_key *key)
{
    uint64_t hash = hash_seeded((struct slice){(const uint8_t *)key, sizeof *key});
    return &g->table[hash & (g->table_size - 1)];
}

static struct service_edge *edge_find(const struct service_graph *g, const struct edge_key *key)
{
    for (struct service_edge *e = *bucket_of(g, key); e != NULL; e = e->chain)
        if (memcmp(&e->key, key, sizeof *key) == 0)
            return e;
    return NULL;
}

static void edge_unlink(struct service_graph *g, struct service_edge *e)
{
    struct service_edge **at = bucket_of(g, &e->key);

    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    *(e->older == NULL ? &g->oldest : &e->older->newer) = e->newer;
    *(e->newer == NULL ? &g->newest : &e->newer->older) = e->older;
    g->count--;
}

static void edge_free(struct service_graph *g, struct service_edge *e)
{
    budget_give(g->budget, e->bytes);
    free(e);
}

static void edge_remove(struct service_graph *g, struct service_edge *e)
{
    edge_unlink(g, e);
    edge_free(g, e);
}

void service_graph_release(struct service_graph *g)
{
    while (g->oldest != NULL)
        edge_remove(g, g->oldest);
    free(g->table);
    g->table = NULL;
    series_release(&g->series);
    buf_release(&g->labels);
}

/* Puts an edge behind all that wait. */
static void edge_link(struct service_graph *g, struct service_edge *e)
{
    struct service_edge **at = bucket_of(g, &e->key);

    e->chain = *at;
    *at = e;
    e->older = g->newest;
    e->newer = NULL;
    *(g->newest == NULL ? &g->oldest : &g->newest->newer) = e;
    g->newest = e;
    g->count++;
}

/* A copy of the edge with these texts, in one allocation. */
static enum err edge_new(struct service_graph *g, const struct service_edge *from,
                         const struct slice *texts, struct service_edge **ret)
{
    unsigned count = text_count_of(g);
    size_t bytes = sizeof *from + count * sizeof(struct slice);
    size_t head = bytes;

    for (unsigned i = 0; i < count; i++)
        bytes += texts[i].len;
    if (bytes > EDGE_TEXT_MAX)
        return ERR_TOO_LARGE;
    enum err e = budget_take(g->budget, bytes);
    if (e != ERR_OK)
        return e;
    struct service_edge *edge = malloc(bytes);
    if (edge == NULL) {
        budget_give(g->budget, bytes);
        return ERR_NOMEM;
    }
    *edge = *from;
    edge->bytes = (uint32_t)bytes;
    edge->text_count = count;
    uint8_t *at = (uint8_t *)edge + head;
    for (unsigned i = 0; i < count; i++) {
        if (texts[i].len != 0)
            memcpy(at, texts[i].ptr, texts[i].len);
        edge->texts[i] = (struct slice){at, texts[i].len};
        at += texts[i].len;
    }
    *ret = edge;
    return ERR_OK;
}

/* Counts a complete edge. */
static enum err edge_count(struct service_graph *g, const struct service_edge *e,
                           const struct slice *texts, int64_t now_ns)
{
    struct slice values[VALUE_DIMENSIONS + 64];
    unsigned n = g->dimension_count;

    values[VALUE_CLIENT] = texts[TEXT_CLIENT];
    values[VALUE_SERVER] = texts[TEXT_SERVER];
    values[VALUE_CONNECTION] = slice_str(connection_names[e->connection]);
    for (unsigned i = 0; i < n; i++) {
        struct slice client = texts[TEXT_DIMENSIONS + i], server = texts[TEXT_DIMENSIONS + n + i];
        /* Without prefixes a dimension is the server's if it has one. */
        values[VALUE_DIMENSIONS + i] =
            !g->limits->enable_client_server_prefix && server.len != 0 ? server : client;
        values[VALUE_DIMENSIONS + n + i] = server;
    }
    buf_reset(&g->labels);
    enum err err = labels_write(&g->plan, values, &g->labels);
    if (err != ERR_OK)
        return err;
    struct series_entity *entity = series_get(&g->series, buf_slice(&g->labels), now_ns);
    if (entity == NULL)
        return ERR_NOMEM;
    entity->counters[0] += 1;
    entity->counters[1] += e->is_failed;
    series_observe(&g->series, &entity->histograms[0], e->server_seconds, e->key.trace);
    series_observe(&g->series, &entity->histograms[1], e->client_seconds, e->key.trace);
    g->edges++;
    return ERR_OK;
}

static struct slice first_of(const struct slice *values, const unsigned *numbers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (values[numbers[i]].len != 0)
            return values[numbers[i]];
    return SLICE_NONE;
}

/* The database's node: whoever the span says it talked to, else the database's name. */
static struct slice database_server(const struct service_graph *g, const struct attributes *a,
                                    struct slice database, char *scratch, size_t scratch_len)
{
    struct slice address = attributes_both(a, g->network_address),
                 port = attributes_both(a, g->network_port);

    if (attributes_both(a, g->peer_service).len != 0)
        return attributes_both(a, g->peer_service);
    if (attributes_both(a, g->server_address).len != 0)
        return attributes_both(a, g->server_address);
    if (address.len == 0)
        return database;
    if (port.len == 0)
        return address;
    int n = snprintf(scratch, scratch_len, SLICE_FMT ":" SLICE_FMT, SLICE_ARG(address),
                     SLICE_ARG(port));
    return n > 0 && (size_t)n < scratch_len ? (struct slice){(const uint8_t *)scratch, (size_t)n}
                                            : address;
}

static struct edge_key key_of(const struct otlp_span *span, bool is_client)
{
    struct edge_key key = {0};
    struct slice id = is_client ? span->span_id : span->parent_span_id;

    if (span->trace_id.len == TRACE_ID_BYTES)
        memcpy(key.trace.b, span->trace_id.ptr, TRACE_ID_BYTES);
    if (!is_client && id.len != SPAN_ID_BYTES) {
        key.is_root = 1;
        id = span->span_id;
    }
    if (id.len == SPAN_ID_BYTES)
        memcpy(key.span, id.ptr, SPAN_ID_BYTES);
    return key;
}

/* What one side of an edge brings: fills in `edge` and `texts`. */
static void side_fill(const struct service_graph *g, const struct attributes *a,
                      const struct otlp_span *span, bool is_client, struct service_edge *edge,
                      struct slice *texts, char *scratch, size_t scratch_len)
{
    double seconds =
        span->end_ns > span->start_ns ? (double)(span->end_ns - span->start_ns) / 1e9 : 0;
    bool is_messaging = span->kind == KIND_PRODUCER || span->kind == KIND_CONSUMER;
    unsigned n = g->dimension_count, offset = TEXT_DIMENSIONS + (is_client ? 0 : n);

    edge->is_failed = edge->is_failed || span->status == STATUS_ERROR;
    edge->connection = is_messaging ? CONNECTION_MESSAGING : CONNECTION_NONE;
    for (unsigned i = 0; i < n; i++)
        texts[offset + i] = attributes_both(a, g->dimensions[i]);
    struct slice peer =
        span->kind == KIND_PRODUCER ? SLICE_NONE : first_of(a->span, g->peers, g->peer_count);
    if (peer.len != 0)
        texts[TEXT_PEER] = peer;
    if (!is_client) {
        texts[TEXT_SERVER] = a->resource[g->service];
        edge->server_seconds = seconds;
        return;
    }
    texts[TEXT_CLIENT] = a->resource[g->service];
    edge->client_seconds = seconds;
    if (span->kind != KIND_CLIENT)
        return;
    struct slice database = first_of(a->resource, g->databases, g->database_count);
    if (database.len == 0)
        database = first_of(a->span, g->databases, g->database_count);
    if (database.len != 0) {
        edge->connection = CONNECTION_DATABASE;
        edge->server_seconds = seconds;
        texts[TEXT_SERVER] = database_server(g, a, database, scratch, scratch_len);
    }
}

enum err service_graph_take(struct service_graph *g, const struct attributes *attributes,
                            const struct otlp_span *span, int64_t now_ns)
{
    bool is_client = span->kind == KIND_CLIENT || span->kind == KIND_PRODUCER;
    bool is_server = span->kind == KIND_SERVER || span->kind == KIND_CONSUMER;
    struct slice texts[TEXT_DIMENSIONS + 64] = {{0}};
    struct service_edge next = {0}, *made;
    char scratch[512];

    if ((!is_client && !is_server) || attributes->resource[g->service].len == 0)
        return ERR_OK;
    struct edge_key key = key_of(span, is_client);
    struct service_edge *waiting = edge_find(g, &key);
    if (waiting != NULL) {
        next = *waiting;
        memcpy(texts, waiting->texts, waiting->text_count * sizeof *texts);
    } else {
        next.key = key;
        next.since_ns = now_ns;
    }
    side_fill(g, attributes, span, is_client, &next, texts, scratch, sizeof scratch);
    if (texts[TEXT_CLIENT].len != 0 && texts[TEXT_SERVER].len != 0) {
        enum err e = edge_count(g, &next, texts, now_ns);
        if (waiting != NULL)
            edge_remove(g, waiting);
        return e;
    }
    if (waiting == NULL && g->count >= (uint64_t)g->config->service_graphs_max_items) {
        g->dropped_spans++;
        return ERR_OK;
    }
    enum err e = edge_new(g, &next, texts, &made);
    if (e != ERR_OK) {
        g->dropped_spans++;
        return e == ERR_TOO_LARGE || e == ERR_LIMIT ? ERR_OK : e;
    }
    if (waiting != NULL)
        edge_remove(g, waiting);
    edge_link(g, made);
    return ERR_OK;
}

/* An edge whose other side did not come. */
static enum err edge_settle(struct service_graph *g, struct service_edge *e, int64_t now_ns)
{
    struct slice *texts = e->texts;

    if (texts[TEXT_CLIENT].len == 0 && texts[TEXT_SERVER].len != 0 && e->key.is_root) {
        texts[TEXT_CLIENT] = texts[TEXT_PEER].len != 0 ? texts[TEXT_PEER] : SLICE_LIT("user");
    } else if (texts[TEXT_CLIENT].len != 0 && texts[TEXT_SERVER].len == 0 &&
               texts[TEXT_PEER].len != 0) {
        texts[TEXT_SERVER] = texts[TEXT_PEER];
    } else {
        g->expired++;
        return ERR_OK;
    }
    e->connection = CONNECTION_VIRTUAL;
    return edge_count(g, e, texts, now_ns);
}

enum err service_graph_expire(struct service_graph *g, int64_t now_ns)
{
    enum err first = ERR_OK;

    for (struct service_edge *e = g->oldest, *next; e != NULL; e = next) {
        next = e->newer;
        if (e->since_ns > now_ns)
            e->since_ns = now_ns; /* a clock went backwards, or the sender's is ahead */
        if (e->since_ns > now_ns - g->config->service_graphs_wait_ns)
            continue;
        enum err err = edge_settle(g, e, now_ns);
        edge_remove(g, e);
        if (first == ERR_OK && err != ERR_FORMAT)
            first = err;
    }
    return first;
}

static uint64_t double_bits(double d)
{
    uint64_t v;
    memcpy(&v, &d, sizeof v);
    return v;
}

static double bits_double(uint64_t v)
{
    double d;
    memcpy(&d, &v, sizeof d);
    return d;
}

void service_graph_save(const struct service_graph *g, struct buf *out)
{
    buf_append_le32(out, g->count);
    buf_append_le32(out, text_count_of(g));
    for (const struct service_edge *e = g->oldest; e != NULL; e = e->newer) {
        buf_append(out, (struct slice){(const uint8_t *)&e->key, sizeof e->key});
        buf_append_le64(out, (uint64_t)e->since_ns);
        buf_append_le64(out, double_bits(e->client_seconds));
        buf_append_le64(out, double_bits(e->server_seconds));
        buf_append_byte(out, e->connection);
        buf_append_byte(out, e->is_failed);
        for (unsigned i = 0; i < e->text_count; i++) {
            buf_append_varint(out, e->texts[i].len);
            buf_append(out, e->texts[i]);
        }
    }
}

enum err service_graph_load(struct service_graph *g, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    uint32_t count = reader_le32(&r), text_count = reader_le32(&r);

    if (text_count != text_count_of(g))
        return reader_failed(&r) ? ERR_CORRUPT
                                 : ERR_OK; /* other dimensions now: what waited starts anew */
    for (uint32_t i = 0; i < count; i++) {
        struct service_edge from = {0}, *made;
        struct slice texts[TEXT_DIMENSIONS + 64] = {{0}};
        struct slice key = reader_take(&r, sizeof from.key);
        if (key.len == sizeof from.key)
            memcpy(&from.key, key.ptr, sizeof from.key);
        from.since_ns = (int64_t)reader_le64(&r);
        from.client_seconds = bits_double(reader_le64(&r));
        from.server_seconds = bits_double(reader_le64(&r));
        from.connection = reader_u8(&r);
        from.is_failed = reader_u8(&r) != 0;
        for (unsigned t = 0; t < text_count; t++)
            texts[t] = reader_bytes(&r);
        if (reader_failed(&r) || from.connection > CONNECTION_VIRTUAL)
            return ERR_CORRUPT;
        enum err e = edge_new(g, &from, texts, &made);
        if (e != ERR_OK)
            return e;
        edge_link(g, made);
    }
    return ERR_OK;
}
