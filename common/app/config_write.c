#include "common/app/config_priv.h"
#include "common/base/num.h"

#include <assert.h>
#include <stdlib.h>

enum { LINES_MAX = 256, VALUE_BYTES_MAX = 1 << 20 };

/* --- YAML -------------------------------------------------------------------------------------- */

static void indent(struct buf *out, unsigned depth)
{
    buf_appendf(out, "%*s", (int)depth * 2, "");
}

static void write_listener(const char *name, const struct config_listener *l, bool is_grpc,
                           struct buf *out)
{
    bool is_v6 = strchr(l->address, ':') != NULL;

    if (!l->is_on)
        return;
    buf_appendf(out, "        %s:\n          endpoint: \"%s%s%s:%u\"\n", name, is_v6 ? "[" : "",
                l->address, is_v6 ? "]" : "", l->port);
    if (!is_grpc) {
        buf_appendf(out, "          max_request_body_size: %llu\n",
                    (unsigned long long)l->max_recv_msg_bytes);
        return;
    }
    buf_appendf(out,
                "          max_recv_msg_size_mib: %llu\n          max_concurrent_streams: %llu\n",
                (unsigned long long)(l->max_recv_msg_bytes >> 20),
                (unsigned long long)l->max_concurrent_streams);
    if (l->max_connection_age_ns > 0) {
        buf_append_str(out, "          keepalive: {server_parameters: {max_connection_age: ");
        num_append_duration(out, l->max_connection_age_ns);
        buf_append_str(out, "}}\n");
    }
}

static bool is_secret_header(const char *name)
{
    static const char *const words[] = {"auth",   "token",    "secret", "key",
                                        "cookie", "password", NULL};

    for (unsigned i = 0; words[i] != NULL; i++)
        if (strcasestr(name, words[i]) != NULL)
            return true;
    return false;
}

static void write_pairs(const struct config_pair *pairs, unsigned count, bool hides_secrets,
                        struct buf *out)
{
    buf_append_byte(out, '{');
    for (unsigned i = 0; i < count; i++) {
        buf_append_str(out, i > 0 ? ", " : "");
        config_value_write_string(pairs[i].name, out);
        buf_append_str(out, ": ");
        config_value_write_string(
            hides_secrets && is_secret_header(pairs[i].name) ? "<secret>" : pairs[i].value, out);
    }
    buf_append_byte(out, '}');
}

static void write_key_string(struct buf *out, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    buf_appendf(out, "        %s: ", key);
    config_value_write_string(value, out);
    buf_append_byte(out, '\n');
}

/* The user part of http://user:password@host is a secret too. */
static void write_url(const char *url, struct buf *out)
{
    const char *host = strstr(url, "://") + 3;
    const char *at = strrchr(host, '@');
    const char *slash = strchr(host, '/');

    if (at == NULL || (slash != NULL && slash < at)) {
        config_value_write_string(url, out);
        return;
    }
    buf_append_byte(out, '"');
    config_value_write_escaped((struct slice){(const uint8_t *)url, (size_t)(host - url)}, out);
    buf_append_str(out, "<secret>");
    config_value_write_escaped(slice_str(at), out);
    buf_append_byte(out, '"');
}

static void write_remote(const struct config_remote_write *w, struct buf *out)
{
    buf_append_str(out, "      - url: ");
    write_url(w->url, out);
    buf_append_byte(out, '\n');
    write_key_string(out, "name", w->name);
    buf_appendf(out, "        send_exemplars: %s\n        remote_timeout: ",
                w->send_exemplars ? "true" : "false");
    num_append_duration(out, w->remote_timeout_ns);
    buf_append_byte(out, '\n');
    if (w->header_count > 0) {
        buf_append_str(out, "        headers: ");
        write_pairs(w->headers, w->header_count, true, out);
        buf_append_byte(out, '\n');
    }
    if (w->basic_user != NULL) {
        buf_append_str(out, "        basic_auth: {username: ");
        config_value_write_string(w->basic_user, out);
        buf_append_str(out, ", password: \"<secret>\"}\n");
    }
    write_key_string(out, "bearer_token", w->bearer_token != NULL ? "<secret>" : NULL);
    if (w->ca_file != NULL || w->cert_file != NULL || w->key_file != NULL ||
        w->insecure_skip_verify) {
        buf_append_str(out, "        tls_config: {ca_file: ");
        config_value_write_string(w->ca_file != NULL ? w->ca_file : "", out);
        buf_append_str(out, ", cert_file: ");
        config_value_write_string(w->cert_file != NULL ? w->cert_file : "", out);
        buf_append_str(out, ", key_file: ");
        config_value_write_string(w->key_file != NULL ? w->key_file : "", out);
        buf_appendf(out, ", insecure_skip_verify: %s}\n",
                    w->insecure_skip_verify ? "true" : "false");
    }
    buf_appendf(out, "        queue_config: {max_samples_per_send: %u, min_backoff: ",
                w->max_samples_per_send);
    num_append_duration(out, w->min_backoff_ns);
    buf_append_str(out, ", max_backoff: ");
    num_append_duration(out, w->max_backoff_ns);
    buf_append_str(out, "}\n");
}

static void write_key_duration(const char *key, int64_t ns, struct buf *out)
{
    buf_appendf(out, ", %s: ", key);
    num_append_duration(out, ns);
}

/* As a flow mapping; a cache that is not given is an empty one. */
static void write_cache_keys(const struct config_cache *c, struct buf *out)
{
    buf_append_str(out, " {");
    if (c->addresses.count > 0) {
        buf_appendf(out, "%s: \"", c->is_redis ? "endpoint" : "addresses");
        for (unsigned i = 0; i < c->addresses.count; i++) {
            buf_append_str(out, i > 0 ? "," : "");
            config_value_write_escaped(slice_str(c->addresses.items[i]), out);
        }
        buf_append_str(out, "\"");
        write_key_duration("timeout", c->timeout_ns, out);
        write_key_duration(c->is_redis ? "expiration" : "ttl", c->expiration_ns, out);
        buf_appendf(out, ", max_item_size: %llu, %s: %lld", (unsigned long long)c->item_bytes_max,
                    c->is_redis ? "pool_size" : "max_idle_conns", (long long)c->idle_max);
    }
    if (c->addresses.count > 0 && c->is_redis) {
        buf_appendf(out, ", db: %lld, username: ", (long long)c->db);
        config_value_write_string(c->user, out);
        buf_appendf(out, ", password: %s", c->password[0] != '\0' ? "\"<secret>\"" : "\"\"");
        write_key_duration("idle_timeout", c->idle_ns, out);
        write_key_duration("max_connection_age", c->age_ns, out);
    } else if (c->addresses.count > 0) {
        write_key_duration("connect_timeout", c->connect_timeout_ns, out);
        write_key_duration("update_interval", c->update_ns, out);
        write_key_duration("circuit_breaker_timeout", c->breaker_open_ns, out);
        write_key_duration("circuit_breaker_interval", c->breaker_interval_ns, out);
        buf_appendf(out, ", circuit_breaker_consecutive_failures: %lld, consistent_hash: %s",
                    (long long)c->breaker_failures, c->is_consistent ? "true" : "false");
    }
    buf_append_str(out, "}\n");
}

static void write_cache(const struct config_cache *c, struct buf *out)
{
    buf_append_str(out, "    - roles: [");
    for (unsigned i = 0; i < c->roles.count; i++)
        buf_appendf(out, "%s%s", i > 0 ? ", " : "", c->roles.items[i]);
    buf_appendf(out, "]\n      %s:", c->is_redis ? "redis" : "memcached");
    write_cache_keys(c, out);
}

/* The value of a part, after "key:". */
static void write_part(const struct config *c, const struct config_row *row, struct buf *out)
{
    if (row->part == config_parts_receivers) {
        buf_append_str(out, "\n    otlp:\n      protocols:\n");
        write_listener("grpc", &c->otlp_grpc, true, out);
        write_listener("http", &c->otlp_http, false, out);
    } else if (row->part == config_parts_external_labels) {
        buf_append_byte(out, ' ');
        write_pairs(c->external_labels, c->external_label_count, false, out);
        buf_append_byte(out, '\n');
    } else if (row->part == config_parts_s3_metadata) {
        buf_append_byte(out, ' ');
        write_pairs(c->s3_metadata, c->s3_metadata_count, true, out);
        buf_append_byte(out, '\n');
    } else if (row->part == config_parts_gcs_metadata) {
        buf_append_byte(out, ' ');
        write_pairs(c->gcs_metadata, c->gcs_metadata_count, true, out);
        buf_append_byte(out, '\n');
    } else if (row->part == config_parts_s3_tags) {
        buf_append_byte(out, ' ');
        write_pairs(c->s3_tags, c->s3_tag_count, true, out);
        buf_append_byte(out, '\n');
    } else if (row->part == config_cache_read) {
        unsigned count = c->cache_count;
        if (count > 0 && strcmp(c->caches[count - 1].name, "legacy") == 0)
            count--; /* storage.trace.cache says it */
        buf_append_str(out, count == 0 ? " []\n" : "\n");
        for (unsigned i = 0; i < count; i++)
            write_cache(&c->caches[i], out);
    } else if (row->part == config_cache_read_memcached) {
        write_cache_keys(&c->old_memcached, out);
    } else if (row->part == config_cache_read_redis) {
        write_cache_keys(&c->old_redis, out);
    } else {
        assert(row->part == config_remote_read);
        buf_append_str(out, c->remote_write_count == 0 ? " []\n" : "\n");
        for (unsigned i = 0; i < c->remote_write_count; i++)
            write_remote(&c->remote_write[i], out);
    }
}

static int row_compare(const void *a, const void *b)
{
    const struct config_row *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* Opens the sections of `key` that `last` was not in; the key's own name follows. */
static void write_path(const char *last, const char *key, unsigned depth, struct buf *out)
{
    bool is_same = true;

    for (;;) {
        size_t len = strcspn(key, ".");

        if (key[len] == '\0')
            break;
        is_same = is_same && strncmp(last, key, len + 1) == 0;
        if (!is_same) {
            indent(out, depth);
            buf_appendf(out, "%.*s:\n", (int)len, key);
        } else {
            last += len + 1;
        }
        key += len + 1;
        depth++;
    }
    indent(out, depth);
    buf_appendf(out, "%s:", key);
}

/* The row's value as text after its colon. */
static void write_row(const struct config *c, const struct config_row *row, struct buf *out)
{
    if (row->type == CONFIG_PART) {
        write_part(c, row, out);
        return;
    }
    buf_append_byte(out, ' ');
    config_value_write(row, c, out);
    buf_append_byte(out, '\n');
}

static bool row_is_default(const struct config *c, const struct config *defaults,
                           const struct config_row *row)
{
    struct buf a, b;

    buf_init(&a, VALUE_BYTES_MAX);
    buf_init(&b, VALUE_BYTES_MAX);
    write_row(c, row, &a);
    write_row(defaults, row, &b);
    bool is_default = slice_eq(buf_slice(&a), buf_slice(&b));
    buf_release(&a);
    buf_release(&b);
    return is_default;
}

void config_write_yaml(const struct config *c, bool only_changed, struct buf *out)
{
    const struct config_row *rows[LINES_MAX];
    struct config_warning *warnings;
    struct config defaults = {0};
    const char *last = "";
    unsigned count = 0;

    if (only_changed &&
        config_parse("defaults", SLICE_NONE, false, NULL, 0, &defaults, &warnings, NULL) != ERR_OK)
        return;
    for (unsigned i = 0; i < config_main_spec.row_count; i++) {
        const struct config_row *row = &config_main_spec.rows[i];

        if (row->type > CONFIG_PART || (only_changed && row_is_default(c, &defaults, row)))
            continue;
        assert(count < LINES_MAX);
        rows[count++] = row;
    }
    qsort(rows, count, sizeof rows[0], row_compare);
    for (unsigned i = 0; i < count; i++) {
        write_path(last, rows[i]->key, 0, out);
        write_row(c, rows[i], out);
        last = rows[i]->key;
    }
    config_release(&defaults);
}

unsigned config_write_limits(const struct limits *l, const struct limits *other, unsigned depth,
                             struct buf *out)
{
    const struct config_row *rows[CONFIG_LIMITS_ROWS_MAX];
    const char *last = "";
    unsigned count = 0;

    for (unsigned i = 0; i < config_limits_spec.row_count; i++) {
        const struct config_row *row = &config_limits_spec.rows[i];

        if (row->type < CONFIG_PART &&
            (other == NULL ? !config_value_is_zero(row, l) : !config_value_equals(row, l, other)))
            rows[count++] = row;
    }
    qsort(rows, count, sizeof rows[0], row_compare);
    for (unsigned i = 0; i < count; i++) {
        write_path(last, rows[i]->key, depth, out);
        buf_append_byte(out, ' ');
        config_value_write(rows[i], l, out);
        buf_append_byte(out, '\n');
        last = rows[i]->key;
    }
    return count;
}

/* --- reference page ---------------------------------------------------------------------------- */

static const char *type_name(enum config_type type)
{
    switch (type) {
    case CONFIG_BOOL: return "true or false";
    case CONFIG_INT: return "whole number";
    case CONFIG_DOUBLE: return "number";
    case CONFIG_STRING: return "text";
    case CONFIG_SECRET: return "secret text";
    case CONFIG_DURATION: return "duration";
    case CONFIG_BYTES: return "size";
    case CONFIG_ENUM: return "one of";
    case CONFIG_LIST: return "list of texts";
    case CONFIG_DOUBLES: return "list of numbers";
    case CONFIG_PART: return "section";
    case CONFIG_IGNORED:
    case CONFIG_LATER:
    case CONFIG_UNSUPPORTED: break;
    }
    return "";
}

static void write_reference_row(const char *prefix, const struct config_row *row, struct buf *out)
{
    buf_appendf(out, "| `%s%s` | %s%s%s | %s%s%s | ", prefix, row->key, type_name(row->type),
                row->words[0] != '\0' ? ": " : "", row->words, row->def[0] != '\0' ? "`" : "",
                row->def, row->def[0] != '\0' ? "`" : "");
    if (row->min[0] != '\0')
        buf_appendf(out, "from %s%s", row->min, row->max[0] != '\0' ? " " : "");
    if (row->max[0] != '\0')
        buf_appendf(out, "to %s%s", row->max,
                    row->type == CONFIG_LIST || row->type == CONFIG_DOUBLES ? " items" : "");
    buf_appendf(out, " | %s |\n", row->help);
}

static void write_reference_table(const char *prefix, const struct config_spec *spec,
                                  struct buf *out)
{
    buf_append_str(out, "| Key | Type | Default | Range | What it does |\n|---|---|---|---|---|\n");
    for (unsigned i = 0; i < spec->row_count; i++)
        if (spec->rows[i].type <= CONFIG_PART)
            write_reference_row(prefix, &spec->rows[i], out);
    buf_append_byte(out, '\n');
}

static void write_reference_keys(const char *title, const char *prefix,
                                 const struct config_spec *spec, enum config_type type,
                                 struct buf *out)
{
    buf_append_str(out, title);
    for (unsigned i = 0; i < spec->row_count; i++)
        if (spec->rows[i].type == type)
            buf_appendf(out, "- `%s%s`%s\n", prefix, spec->rows[i].key,
                        type == CONFIG_UNSUPPORTED && strcmp(spec->rows[i].words, "true|false") == 0
                            ? " (both values are fine)"
                            : "");
    buf_append_byte(out, '\n');
}

static void write_reference_aliases(const char *title, enum config_alias_kind kind, struct buf *out)
{
    buf_append_str(out, title);
    buf_append_str(out, "| Name | Is |\n|---|---|\n");
    for (unsigned i = 0; i < config_main_spec.alias_count; i++)
        if (config_main_spec.aliases[i].kind == kind)
            buf_appendf(out, "| `%s` | `%s` |\n", config_main_spec.aliases[i].from,
                        config_main_spec.aliases[i].to);
    buf_append_byte(out, '\n');
}

void config_write_reference(struct buf *out)
{
    static const char grpc[] = "distributor.receivers.otlp.protocols.grpc.",
                      http[] = "distributor.receivers.otlp.protocols.http.";
    static const char remote[] = "metrics_generator.storage.remote_write[].",
                      memcached[] = "cache.caches[].memcached.", redis[] = "cache.caches[].redis.";

    buf_append_str(
        out,
        "# Configuration\n\n"
        "One file, `-config.file=tempo.yml`, serves all four binaries; each reads the sections that concern it. A `tempo.yml` of Tempo 2.x is accepted as it stands.\n"
        "Order: defaults, then the file, then flags. Every key of the tables is a flag too, with dashes for underscores: `-server.http-listen-port=3201`.\n"
        "Variables (`${VAR}`, `${VAR:-default}`, `${VAR:=default}`, `$VAR`, `$$`) are replaced only with `-config.expand-env`.\n"
        "Durations: `500ms`, `30s`, `5m`, `1h30m`, `168h`, `14d`. Sizes: `1500`, `64KiB`, `500MiB`, `1.5GiB`, `10MB`.\n"
        "A key that nobody knows, a wrong type or a bad value is an error that names file, line and key, and nothing starts.\n\n"
        "This page is made from the tables in `common/app` (`-config.reference`).\n\n"
        "## Keys\n\n");
    write_reference_table("", &config_main_spec, out);
    buf_append_str(
        out,
        "## The OTLP receivers\n\nA protocol is on when it is named, even without a value: `otlp: {protocols: {grpc:, http:}}`. No receivers at all: OTLP/gRPC on `localhost:4317`.\n\n");
    write_reference_table(grpc, &config_listener_grpc_spec, out);
    write_reference_table(http, &config_listener_http_spec, out);
    buf_append_str(out, "## Remote write targets\n\n");
    write_reference_table(remote, &config_remote_spec, out);
    buf_append_str(
        out,
        "## The overrides file\n\n"
        "`overrides.per_tenant_override_config` names a file of limits per tenant. It is read again every `overrides.per_tenant_override_period`; `-config.expand-env` holds for it too.\n\n"
        "```yaml\noverrides:\n  acme:\n    ingestion: {rate_limit_bytes: 30000000, burst_size_bytes: 30000000}\n    compaction: {block_retention: 72h}\n"
        "  \"*\":   # tenants without an entry\n    ingestion: {rate_limit_bytes: 5MB, burst_size_bytes: 5MB}\n```\n\n"
        "Below a tenant stand the keys of `overrides.defaults`, without that prefix, or their old flat names. **An entry replaces the defaults wholesale, as in Tempo**: "
        "what it does not name is zero or nothing, so without `rate_limit_bytes` and `burst_size_bytes` nothing of the tenant is let through (a warning says so). "
        "Where the table says that 0 or empty means another key, that key counts; a list or a switch that is given counts as it is.\n"
        "`ingestion.rate_strategy` and `metrics_generator.collection_interval` are of the whole process; below a tenant they are ignored with a warning.\n"
        "At the start a file that can not be read is an error; later the last good one stays, the reason is logged, and `tempo_runtime_config_last_reload_successful` is 0.\n"
        "`/status/runtime_config` (`?mode=diff`), `/status/overrides` and `/status/overrides/{tenant}` show what is given, on the querier and the distributor at the admin listener.\n"
        "At most 4 MiB and 10000 tenants.\n\n");
    buf_append_str(
        out,
        "## Caches\n\n"
        "With an object store queriers can share what they read of blocks in memcached or redis, behind the memory of each (`querier.block_cache_bytes`). A role says what a cache keeps:\n\n"
        "| Role | What of a block |\n|---|---|\n"
        "| `parquet-footer` | its end: trailer and footer |\n"
        "| `bloom` | what tells whether a trace or a text is in it: locator, flagged ids, filters |\n"
        "| `trace-id-index` | the traces of a row group: ids, span counts, times, flags |\n"
        "| `parquet-column-idx` | dictionaries, and which row groups have which of their values |\n"
        "| `parquet-page` | all other pages: the spans' values. By far the most bytes |\n"
        "| `parquet-offset-idx`, `frontend-search` | nothing: a warning |\n\n"
        "Values carry a checksum over key and content: what does not fit is read from the store instead, and counted (`vivace_cache_damaged_total`). That is against accidents; who can write to a cache "
        "on purpose can change answers, as who can write to the bucket can: keep it in a network of its own. Blocks that are encrypted in the bucket lie in a cache as they are. "
        "A server that fails is asked once a second, then once in `circuit_breaker_timeout`, and a request takes `timeout` at most: a cache that is gone makes queries slower, never wrong. "
        "TLS, Redis Sentinel and Redis Cluster are not built.\n\n");
    write_reference_table(memcached, &config_memcached_spec, out);
    write_reference_table(redis, &config_redis_spec, out);
    write_reference_aliases(
        "## Other names of keys\n\nThe old flat `overrides` and a few older names.\n\n",
        CONFIG_ALIAS, out);
    write_reference_aliases("## Names that only flags have\n\n", CONFIG_ALIAS_FLAG, out);
    write_reference_keys("## Not supported yet: an error when set to more than its default\n\n", "",
                         &config_main_spec, CONFIG_UNSUPPORTED, out);
    write_reference_keys("", grpc, &config_listener_grpc_spec, CONFIG_UNSUPPORTED, out);
    write_reference_keys("", http, &config_listener_http_spec, CONFIG_UNSUPPORTED, out);
    write_reference_keys("", remote, &config_remote_spec, CONFIG_UNSUPPORTED, out);
    write_reference_keys("", memcached, &config_memcached_spec, CONFIG_UNSUPPORTED, out);
    write_reference_keys("", redis, &config_redis_spec, CONFIG_UNSUPPORTED, out);
    write_reference_keys("## Not supported yet: ignored with a warning\n\n", "", &config_main_spec,
                         CONFIG_LATER, out);
    write_reference_keys("", http, &config_listener_http_spec, CONFIG_LATER, out);
    write_reference_keys("", memcached, &config_memcached_spec, CONFIG_LATER, out);
    write_reference_keys("", redis, &config_redis_spec, CONFIG_LATER, out);
    write_reference_keys(
        "## Without meaning here: accepted with one warning\n\nA name stands for all below it.\n\n",
        "", &config_main_spec, CONFIG_IGNORED, out);
    write_reference_keys("", grpc, &config_listener_grpc_spec, CONFIG_IGNORED, out);
    write_reference_keys("", http, &config_listener_http_spec, CONFIG_IGNORED, out);
    write_reference_keys("", remote, &config_remote_spec, CONFIG_IGNORED, out);
    write_reference_keys("", memcached, &config_memcached_spec, CONFIG_IGNORED, out);
    write_reference_keys("", redis, &config_redis_spec, CONFIG_IGNORED, out);
}
