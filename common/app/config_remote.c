#include "common/app/config_priv.h"
#include "common/sys/fs.h"

#include <assert.h>

enum { SECRET_BYTES_MAX = 65536, TARGETS_MAX = 16 };

#define NO_VALUE .words = "", .def = "", .min = "", .max = "", .help = ""

struct remote_raw {
    const char *url, *name, *basic_user, *basic_password, *basic_password_file, *bearer_token,
        *bearer_token_file, *auth_type, *auth_credentials, *auth_credentials_file, *ca_file,
        *cert_file, *key_file;
    bool send_exemplars, insecure_skip_verify;
    int64_t remote_timeout_ns, max_samples_per_send, min_backoff_ns, max_backoff_ns;
    struct config_pair *headers;
    unsigned header_count;
};

static enum err read_headers(struct config_reader *r, yaml_node_t *node, const char *path,
                             void *base)
{
    struct remote_raw *raw = base;

    return config_yaml_pairs(r, node, path, &raw->headers, &raw->header_count);
}

#define REMOTE(field) offsetof(struct remote_raw, field)
#define TEXT(key_, field)                                                     \
    {                                                                         \
        .key = key_, .type = CONFIG_STRING, .offset = REMOTE(field), NO_VALUE \
    }
#define IGNORE(key_)                                  \
    {                                                 \
        .key = key_, .type = CONFIG_IGNORED, NO_VALUE \
    }
#define REFUSE(key_, words_)                                                                       \
    {                                                                                              \
        .key = key_, .type = CONFIG_UNSUPPORTED, .words = words_, .def = "", .min = "", .max = "", \
        .help = ""                                                                                 \
    }
static const struct config_row remote_rows[] = {
    TEXT("url", url),
    TEXT("name", name),
    {.key = "send_exemplars",
     .type = CONFIG_BOOL,
     .offset = REMOTE(send_exemplars),
     .words = "",
     .def = "true",
     .min = "",
     .max = "",
     .help = ""},
    {.key = "remote_timeout",
     .type = CONFIG_DURATION,
     .offset = REMOTE(remote_timeout_ns),
     .words = "",
     .def = "30s",
     .min = "10ms",
     .max = "1h",
     .help = ""},
    {.key = "headers", .type = CONFIG_PART, .part = read_headers, NO_VALUE},
    TEXT("basic_auth.username", basic_user),
    TEXT("basic_auth.password", basic_password),
    TEXT("basic_auth.password_file", basic_password_file),
    REFUSE("basic_auth.username_file", ""),
    TEXT("bearer_token", bearer_token),
    TEXT("bearer_token_file", bearer_token_file),
    {.key = "authorization.type",
     .type = CONFIG_STRING,
     .offset = REMOTE(auth_type),
     .words = "",
     .def = "Bearer",
     .min = "",
     .max = "",
     .help = ""},
    TEXT("authorization.credentials", auth_credentials),
    TEXT("authorization.credentials_file", auth_credentials_file),
    TEXT("tls_config.ca_file", ca_file),
    TEXT("tls_config.cert_file", cert_file),
    TEXT("tls_config.key_file", key_file),
    {.key = "tls_config.insecure_skip_verify",
     .type = CONFIG_BOOL,
     .offset = REMOTE(insecure_skip_verify),
     .words = "",
     .def = "false",
     .min = "",
     .max = "",
     .help = ""},
    REFUSE("tls_config.server_name", ""),
    REFUSE("tls_config.ca", ""),
    REFUSE("tls_config.cert", ""),
    REFUSE("tls_config.key", ""),
    IGNORE("tls_config.min_version"),
    IGNORE("tls_config.max_version"),
    {.key = "queue_config.max_samples_per_send",
     .type = CONFIG_INT,
     .offset = REMOTE(max_samples_per_send),
     .words = "",
     .def = "2000",
     .min = "1",
     .max = "100000",
     .help = ""},
    {.key = "queue_config.min_backoff",
     .type = CONFIG_DURATION,
     .offset = REMOTE(min_backoff_ns),
     .words = "",
     .def = "30ms",
     .min = "1ms",
     .max = "1h",
     .help = ""},
    {.key = "queue_config.max_backoff",
     .type = CONFIG_DURATION,
     .offset = REMOTE(max_backoff_ns),
     .words = "",
     .def = "5s",
     .min = "1ms",
     .max = "1h",
     .help = ""},
    IGNORE("queue_config.capacity"),
    IGNORE("queue_config.max_shards"),
    IGNORE("queue_config.min_shards"),
    IGNORE("queue_config.batch_send_deadline"),
    IGNORE("queue_config.retry_on_http_429"),
    IGNORE("queue_config.sample_age_limit"),
    IGNORE("metadata_config"),
    IGNORE("follow_redirects"),
    IGNORE("enable_http2"),
    IGNORE("round_robin_dns"),
    REFUSE("send_native_histograms", "false"),
    REFUSE("protobuf_message", "prometheus.WriteRequest|"),
    REFUSE("proxy_url", ""),
    REFUSE("no_proxy", ""),
    REFUSE("proxy_from_environment", "false"),
    REFUSE("proxy_connect_header", ""),
    REFUSE("http_headers", ""),
    REFUSE("oauth2", ""),
    REFUSE("sigv4", ""),
    REFUSE("azuread", ""),
    REFUSE("google_iam", ""),
    REFUSE("write_relabel_configs", ""),
};
enum { REMOTE_ROWS = sizeof remote_rows / sizeof remote_rows[0] };
const struct config_spec config_remote_spec = {.rows = remote_rows, .row_count = REMOTE_ROWS};

/* The secret as given, or the content of the file without white space at its end. */
static enum err read_secret(struct config_reader *r, uint32_t line, const char *label,
                            const char *given, const char *file, const char **ret)
{
    struct buf text;

    *ret = given;
    if (file[0] == '\0')
        return ERR_OK;
    if (given[0] != '\0')
        return config_fail(r, line, "%s: given both as a value and as a file", label);
    buf_init(&text, SECRET_BYTES_MAX);
    enum err e = fs_read_file(file, &text);
    if (e != ERR_OK) {
        e = config_fail(r, line, "%s: can not read %.200s (%s)", label, file, err_name(e));
    } else {
        while (text.len > 0 && strchr(" \t\r\n", text.ptr[text.len - 1]) != NULL)
            text.len--;
        *ret = arena_str(r->arena, buf_slice(&text));
        e = arena_err(r->arena);
    }
    buf_release(&text);
    return e;
}

static enum err add_header(struct config_reader *r, struct config_remote_write *w, const char *name,
                           const char *value)
{
    struct arena *a = r->arena;
    struct config_pair *pairs = ARENA_ARRAY(a, struct config_pair, w->header_count + 1);

    if (pairs == NULL)
        return arena_err(a);
    for (unsigned i = 0; i < w->header_count; i++)
        pairs[i] = w->headers[i];
    pairs[w->header_count++] = (struct config_pair){name, value};
    w->headers = pairs;
    return ERR_OK;
}

static const char *or_null(const char *s)
{
    return s == NULL || s[0] == '\0' ? NULL : s;
}

static enum err read_auth(struct config_reader *r, uint32_t line, const char *label,
                          const struct remote_raw *raw, struct config_remote_write *w)
{
    const char *credentials = "";
    w->basic_password = w->bearer_token = "";
    unsigned ways = raw->basic_user[0] != '\0' ? 1 : 0;

    if (raw->bearer_token[0] != '\0' || raw->bearer_token_file[0] != '\0')
        ways++;
    if (raw->auth_credentials[0] != '\0' || raw->auth_credentials_file[0] != '\0')
        ways++;
    if (ways > 1)
        return config_fail(
            r, line,
            "%s: at most one of basic_auth, authorization, bearer_token and bearer_token_file",
            label);
    enum err e = read_secret(r, line, label, raw->basic_password, raw->basic_password_file,
                             &w->basic_password);
    if (e == ERR_OK)
        e = read_secret(r, line, label, raw->bearer_token, raw->bearer_token_file,
                        &w->bearer_token);
    if (e == ERR_OK)
        e = read_secret(r, line, label, raw->auth_credentials, raw->auth_credentials_file,
                        &credentials);
    w->basic_user = or_null(raw->basic_user);
    w->basic_password = or_null(w->basic_password);
    w->bearer_token = or_null(w->bearer_token);
    if (e != ERR_OK || credentials[0] == '\0')
        return e;
    if (strcasecmp(raw->auth_type, "Bearer") == 0) {
        w->bearer_token = credentials;
        return ERR_OK;
    }
    const char *value = arena_printf(r->arena, "%s %s", raw->auth_type, credentials);
    return value == NULL ? arena_err(r->arena) : add_header(r, w, "Authorization", value);
}

static enum err read_remote(struct config_reader *r, yaml_node_t *node, const char *label,
                            struct config_remote_write *ret)
{
    struct remote_raw raw = {0};
    struct config_seen seen[REMOTE_ROWS] = {0};
    uint32_t line = config_yaml_line(node);

    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, line, "%s: expected a section with url", label);
    const char *prefix = config_label(r, "%s.", label);
    struct config_scope scope = {
        .spec = &config_remote_spec, .base = &raw, .seen = seen, .label = prefix};
    enum err e = config_value_defaults(r, &config_remote_spec, &raw);
    if (e == ERR_OK)
        e = config_yaml_mapping(r, &scope, node);
    if (e != ERR_OK)
        return e;
    if (strncmp(raw.url, "http://", 7) != 0 && strncmp(raw.url, "https://", 8) != 0)
        return config_fail(r, seen[0].line != 0 ? seen[0].line : line, "%s.url: %s", label,
                           raw.url[0] == '\0' ? "is missing"
                                              : "must begin with http:// or https://");
    *ret = (struct config_remote_write){
        .url = raw.url,
        .name = raw.name,
        .send_exemplars = raw.send_exemplars,
        .remote_timeout_ns = raw.remote_timeout_ns,
        .headers = raw.headers,
        .header_count = raw.header_count,
        .ca_file = or_null(raw.ca_file),
        .cert_file = or_null(raw.cert_file),
        .key_file = or_null(raw.key_file),
        .insecure_skip_verify = raw.insecure_skip_verify,
        .max_samples_per_send = (unsigned)raw.max_samples_per_send,
        .min_backoff_ns = raw.min_backoff_ns,
        .max_backoff_ns = raw.max_backoff_ns,
    };
    return read_auth(r, line, label, &raw, ret);
}

enum err config_remote_read(struct config_reader *r, yaml_node_t *node, const char *path,
                            void *base)
{
    struct config *c = base;

    if (node->type != YAML_SEQUENCE_NODE)
        return config_fail(r, config_yaml_line(node), "%s: expected a list", path);
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > TARGETS_MAX)
        return config_fail(r, config_yaml_line(node), "%s: more than %d targets", path,
                           (int)TARGETS_MAX);
    c->remote_write = ARENA_ARRAY(&c->arena, struct config_remote_write, count);
    if (c->remote_write == NULL)
        return arena_err(&c->arena);
    for (size_t i = 0; i < count; i++) {
        const char *label = config_label(r, "%s[%zu]", path, i);
        enum err e =
            read_remote(r, yaml_document_get_node(r->doc, node->data.sequence.items.start[i]),
                        label, &c->remote_write[i]);
        if (e != ERR_OK)
            return e;
        c->remote_write_count++;
    }
    return ERR_OK;
}
