#include "common/app/config_priv.h"
#include "common/base/num.h"

#include <assert.h>

/* --- receivers --------------------------------------------------------------------------------- */

struct listener_raw {
    const char *endpoint;
    int64_t max_recv_msg_size_mib, max_request_body_size, max_concurrent_streams,
        max_connection_age_ns;
    struct config_list cors_origins, cors_headers;
    int64_t cors_max_age_s;
};

#define LISTENER(field) offsetof(struct listener_raw, field)
#define NO_VALUE        .words = "", .def = "", .min = "", .max = "", .help = ""
static const struct config_row grpc_rows[] = {
    {.key = "endpoint",
     .type = CONFIG_STRING,
     .offset = LISTENER(endpoint),
     .words = "",
     .def = "localhost:4317",
     .min = "",
     .max = "",
     .help = "Where OTLP/gRPC is received, host:port; an empty host: all addresses."},
    {.key = "max_recv_msg_size_mib",
     .type = CONFIG_INT,
     .offset = LISTENER(max_recv_msg_size_mib),
     .words = "",
     .def = "16",
     .min = "1",
     .max = "1024",
     .help = "Largest request as sent, in MiB."},
    {.key = "max_concurrent_streams",
     .type = CONFIG_INT,
     .offset = LISTENER(max_concurrent_streams),
     .words = "",
     .def = "100",
     .min = "1",
     .max = "100000",
     .help = "Requests in flight on one connection."},
    {.key = "keepalive.server_parameters.max_connection_age",
     .type = CONFIG_DURATION,
     .offset = LISTENER(max_connection_age_ns),
     .words = "",
     .def = "0s",
     .min = "0s",
     .max = "",
     .help = "Connections older than this are asked to go; 0s: never."},
    {.key = "keepalive.server_parameters.*", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "keepalive.enforcement_policy", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "read_buffer_size", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "write_buffer_size", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "transport",
     .type = CONFIG_UNSUPPORTED,
     .words = "tcp|",
     .def = "",
     .min = "",
     .max = "",
     .help = ""},
    {.key = "include_metadata",
     .type = CONFIG_UNSUPPORTED,
     .words = "true|false",
     .def = "",
     .min = "",
     .max = "",
     .help = ""},
    {.key = "tls", .type = CONFIG_UNSUPPORTED, NO_VALUE},
    {.key = "tls_settings", .type = CONFIG_UNSUPPORTED, NO_VALUE},
    {.key = "auth", .type = CONFIG_UNSUPPORTED, NO_VALUE},
};
static const struct config_row http_rows[] = {
    {.key = "endpoint",
     .type = CONFIG_STRING,
     .offset = LISTENER(endpoint),
     .words = "",
     .def = "localhost:4318",
     .min = "",
     .max = "",
     .help = "Where OTLP/HTTP is received, host:port; an empty host: all addresses."},
    {.key = "max_request_body_size",
     .type = CONFIG_INT,
     .offset = LISTENER(max_request_body_size),
     .words = "",
     .def = "16777216",
     .min = "0",
     .max = "1073741824",
     .help = "Largest request as sent, in bytes; 0: 16 MiB."},
    {.key = "traces_url_path",
     .type = CONFIG_UNSUPPORTED,
     .words = "/v1/traces|",
     .def = "",
     .min = "",
     .max = "",
     .help = ""},
    {.key = "metrics_url_path", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "logs_url_path", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "compression_algorithms", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "read_timeout", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "read_header_timeout", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "write_timeout", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "idle_timeout", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "keep_alives_enabled", .type = CONFIG_IGNORED, NO_VALUE},
    {.key = "response_headers", .type = CONFIG_LATER, NO_VALUE},
    {.key = "cors.allowed_origins",
     .type = CONFIG_LIST,
     .offset = LISTENER(cors_origins),
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help =
         "Origins whose pages may send spans: https://app.example.com, https://*.example.com, or *."},
    {.key = "cors.allowed_headers",
     .type = CONFIG_LIST,
     .offset = LISTENER(cors_headers),
     .words = "",
     .def = "",
     .min = "",
     .max = "",
     .help = "Headers that they may set besides Content-Type; * for any."},
    {.key = "cors.max_age",
     .type = CONFIG_INT,
     .offset = LISTENER(cors_max_age_s),
     .words = "",
     .def = "0",
     .min = "0",
     .max = "86400",
     .help = "Seconds that a browser may remember the permission; 0: its own default."},
    {.key = "include_metadata",
     .type = CONFIG_UNSUPPORTED,
     .words = "true|false",
     .def = "",
     .min = "",
     .max = "",
     .help = ""},
    {.key = "tls", .type = CONFIG_UNSUPPORTED, NO_VALUE},
    {.key = "tls_settings", .type = CONFIG_UNSUPPORTED, NO_VALUE},
    {.key = "auth", .type = CONFIG_UNSUPPORTED, NO_VALUE},
};
enum {
    GRPC_ROWS = sizeof grpc_rows / sizeof grpc_rows[0],
    HTTP_ROWS = sizeof http_rows / sizeof http_rows[0],
    LISTENER_ROWS_MAX = 32
};
_Static_assert((int)GRPC_ROWS <= (int)LISTENER_ROWS_MAX && (int)HTTP_ROWS <= (int)LISTENER_ROWS_MAX,
               "seen[] of a listener");
const struct config_spec config_listener_grpc_spec = {.rows = grpc_rows, .row_count = GRPC_ROWS};
const struct config_spec config_listener_http_spec = {.rows = http_rows, .row_count = HTTP_ROWS};

/* "host:port", ":port", "[::1]:port". */
static enum err parse_endpoint(struct config_reader *r, uint32_t line, const char *label,
                               const char *text, struct config_listener *ret)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (colon == NULL || num_parse_u64(slice_str(colon + 1), &port) != ERR_OK || port > UINT16_MAX)
        return config_fail(r, line, "%s.endpoint: \"%.80s\" is not host:port", label, text);
    struct slice host = {(const uint8_t *)text, (size_t)(colon - text)};
    if (host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = slice_sub(host, 1, host.len - 1);
    else if (memchr(host.ptr, ':', host.len) != NULL)
        return config_fail(
            r, line, "%s.endpoint: \"%.80s\" is not host:port (an IPv6 address stands in brackets)",
            label, text);
    if (host.len >= sizeof ret->address)
        return config_fail(r, line, "%s.endpoint: the host is too long", label);
    memcpy(ret->address, host.ptr, host.len);
    ret->address[host.len] = '\0';
    ret->port = (uint16_t)port;
    return ERR_OK;
}

/* `node` NULL or null: all defaults. */
static enum err read_listener(struct config_reader *r, const struct config_spec *spec,
                              yaml_node_t *node, const char *label, struct config_listener *ret)
{
    struct listener_raw raw = {0};
    struct config_seen seen[LISTENER_ROWS_MAX] = {0};
    uint32_t line = node != NULL ? config_yaml_line(node) : 0;

    const char *prefix = config_label(r, "%s.", label);
    struct config_scope scope = {.spec = spec, .base = &raw, .seen = seen, .label = prefix};
    enum err e = config_value_defaults(r, spec, &raw);
    if (e == ERR_OK && node != NULL && !config_yaml_is_null(node)) {
        if (node->type != YAML_MAPPING_NODE)
            return config_fail(r, line, "%s: expected a section", label);
        e = config_yaml_mapping(r, &scope, node);
    }
    if (e == ERR_OK)
        e = parse_endpoint(r, seen[0].line != 0 ? seen[0].line : line, label, raw.endpoint, ret);
    if (e != ERR_OK)
        return e;
    ret->is_on = true;
    ret->max_recv_msg_bytes = (uint64_t)raw.max_recv_msg_size_mib << 20;
    if (spec == &config_listener_http_spec)
        ret->max_recv_msg_bytes =
            raw.max_request_body_size > 0 ? (uint64_t)raw.max_request_body_size : 16u << 20;
    ret->max_concurrent_streams =
        raw.max_concurrent_streams > 0 ? (uint64_t)raw.max_concurrent_streams : 100;
    ret->max_connection_age_ns = raw.max_connection_age_ns;
    ret->cors_origins = raw.cors_origins;
    ret->cors_headers = raw.cors_headers;
    ret->cors_max_age_s = raw.cors_max_age_s;
    return ERR_OK;
}

enum err config_parts_default_receivers(struct config_reader *r)
{
    return read_listener(r, &config_listener_grpc_spec, NULL,
                         "distributor.receivers.otlp.protocols.grpc", &r->config->otlp_grpc);
}

static enum err read_protocols(struct config_reader *r, yaml_node_t *node, const char *path)
{
    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(node), "%s: name a protocol, grpc or http", path);
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);
        yaml_node_t *value = yaml_document_get_node(r->doc, p->value);
        struct slice name;
        enum err e = config_yaml_text(r, key, path, config_yaml_line(key), &name);

        if (e == ERR_OK)
            e = config_yaml_visit(r, value);
        if (e != ERR_OK)
            return e;
        const char *label = config_label(
            r, "%s." SLICE_FMT, path, (int)(name.len > 40 ? 40 : name.len), (const char *)name.ptr);
        if (slice_eq_str(name, "grpc"))
            e = read_listener(r, &config_listener_grpc_spec, value, label, &r->config->otlp_grpc);
        else if (slice_eq_str(name, "http"))
            e = read_listener(r, &config_listener_http_spec, value, label, &r->config->otlp_http);
        else
            e = config_fail(r, config_yaml_line(key),
                            "unknown key %s; the protocols of otlp are grpc and http", label);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static enum err read_otlp(struct config_reader *r, yaml_node_t *node, const char *path)
{

    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(node), "%s: needs protocols: {grpc:, http:}", path);
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);
        struct slice name;
        enum err e = config_yaml_text(r, key, path, config_yaml_line(key), &name);

        if (e != ERR_OK)
            return e;
        if (!slice_eq_str(name, "protocols"))
            return config_fail(r, config_yaml_line(key),
                               "unknown key %s." SLICE_FMT "; did you mean %s.protocols?", path,
                               (int)(name.len > 40 ? 40 : name.len), (const char *)name.ptr, path);
        const char *label = config_label(r, "%s.protocols", path);
        e = read_protocols(r, yaml_document_get_node(r->doc, p->value), label);
        if (e != ERR_OK)
            return e;
    }
    if (!r->config->otlp_grpc.is_on && !r->config->otlp_http.is_on)
        return config_fail(r, config_yaml_line(node), "%s: name a protocol, grpc or http", path);
    return ERR_OK;
}

enum err config_parts_receivers(struct config_reader *r, yaml_node_t *node, const char *path,
                                void *base)
{
    static const char *const known[] = {"jaeger", "zipkin", "kafka", "opencensus", NULL};

    assert(base == r->config);
    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(node), "%s: expected a section of receivers", path);
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);
        struct slice name;
        enum err e = config_yaml_text(r, key, path, config_yaml_line(key), &name);

        if (e != ERR_OK)
            return e;
        if (name.len > 80)
            name.len = 80;
        size_t type_len =
            memchr(name.ptr, '/', name.len) == NULL
                ? name.len
                : (size_t)((const uint8_t *)memchr(name.ptr, '/', name.len) - name.ptr);
        for (unsigned i = 0; known[i] != NULL; i++)
            if (slice_eq_str(slice_sub(name, 0, type_len), known[i]))
                return config_fail(r, config_yaml_line(key),
                                   "%s: receiver " SLICE_FMT " is not supported yet; otlp is", path,
                                   SLICE_ARG(name));
        if (slice_eq_str(slice_sub(name, 0, type_len), "otlp") && type_len < name.len)
            return config_fail(r, config_yaml_line(key),
                               "%s: named receivers (" SLICE_FMT
                               ") are not supported yet; one otlp is",
                               path, SLICE_ARG(name));
        if (!slice_eq_str(name, "otlp"))
            return config_fail(r, config_yaml_line(key),
                               "unknown key %s." SLICE_FMT "; did you mean %s.otlp?", path,
                               SLICE_ARG(name), path);
        const char *label = config_label(r, "%s.otlp", path);
        r->has_receivers = true;
        e = read_otlp(r, yaml_document_get_node(r->doc, p->value), label);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* --- external labels, headers ------------------------------------------------------------------ */

static bool is_label_name(const char *s)
{
    if (*s >= '0' && *s <= '9')
        return false;
    for (; *s != '\0'; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              *s == '_'))
            return false;
    return true;
}

enum err config_parts_external_labels(struct config_reader *r, yaml_node_t *node, const char *path,
                                      void *base)
{
    struct config *c = base;
    enum err e = config_yaml_pairs(r, node, path, &c->external_labels, &c->external_label_count);

    for (unsigned i = 0; e == ERR_OK && i < c->external_label_count; i++)
        if (!is_label_name(c->external_labels[i].name))
            e = config_fail(r, config_yaml_line(node),
                            "%s: \"%.80s\" is not a valid Prometheus label name", path,
                            c->external_labels[i].name);
    return e;
}

enum { STORE_PAIRS_MAX = 10, STORE_PAIR_BYTES_MAX = 256 };

/* What becomes of them are headers: names of tokens' characters, values that print. */
static enum err read_store_pairs(struct config_reader *r, yaml_node_t *node, const char *path,
                                 struct config_pair **ret, unsigned *ret_count)
{
    enum err e = config_yaml_pairs(r, node, path, ret, ret_count);

    if (e == ERR_OK && *ret_count > STORE_PAIRS_MAX)
        return config_fail(r, config_yaml_line(node), "%s: more than %d", path,
                           (int)STORE_PAIRS_MAX);
    for (unsigned i = 0; e == ERR_OK && i < *ret_count; i++) {
        const char *name = (*ret)[i].name, *value = (*ret)[i].value;
        bool is_good = name[0] != '\0' && strlen(name) <= STORE_PAIR_BYTES_MAX &&
                       strlen(value) <= STORE_PAIR_BYTES_MAX;
        for (const char *at = name; *at != '\0'; at++)
            is_good =
                is_good && (*at > ' ' && *at < 127 && strchr("()<>@,;:\\\"/[]?={}", *at) == NULL);
        for (const char *at = value; *at != '\0'; at++)
            is_good = is_good && *at >= ' ' && *at < 127;
        if (!is_good)
            e = config_fail(r, config_yaml_line(node), "%s: \"%.80s\" or its value can not be sent",
                            path, name);
    }
    return e;
}

enum err config_parts_s3_metadata(struct config_reader *r, yaml_node_t *node, const char *path,
                                  void *base)
{
    struct config *c = base;

    return read_store_pairs(r, node, path, &c->s3_metadata, &c->s3_metadata_count);
}

enum err config_parts_gcs_metadata(struct config_reader *r, yaml_node_t *node, const char *path,
                                   void *base)
{
    struct config *c = base;

    return read_store_pairs(r, node, path, &c->gcs_metadata, &c->gcs_metadata_count);
}

enum err config_parts_s3_tags(struct config_reader *r, yaml_node_t *node, const char *path,
                              void *base)
{
    struct config *c = base;

    return read_store_pairs(r, node, path, &c->s3_tags, &c->s3_tag_count);
}
