/*
 * config.h - one tempo.yml for all four binaries, read by a table (config.def, overrides.def) into struct config.
 *
 * Order:   defaults < file < flags.  Environment (${VAR}, ${VAR:-default}) only with -config.expand-env.
 * Errors:  ERR_INVALID with file, line, key and the nearest known key: unknown key, wrong type, bad value, key given twice.
 *          A key of Tempo's without meaning here (config_ignored.def) is accepted with one warning.
 * Limits:  of a tenant are in struct limits; which ones hold for a tenant is asked of overrides.h alone.
 * Memory:  strings and lists live in the config; it is immutable after config_load.
 */
#ifndef VIVACE_APP_CONFIG_H
#define VIVACE_APP_CONFIG_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct config_list {
    const char **items;
    unsigned count;
};
struct config_doubles {
    double *items;
    unsigned count;
};
struct config_pair {
    const char *name, *value;
};

/* distributor.receivers.otlp.protocols.*; present only if the file (or the default) switches it on. */
struct config_listener {
    bool is_on;
    char address[256]; /* host part of the endpoint */
    uint16_t port;
    uint64_t
        max_recv_msg_bytes; /* grpc: max_recv_msg_size_mib, http: max_request_body_size; default 16 MiB */
    uint64_t max_concurrent_streams;
    int64_t max_connection_age_ns;
    struct config_list cors_origins, cors_headers; /* http only */
    int64_t cors_max_age_s;
};

/* metrics_generator.storage.remote_write[]: the fields of a Prometheus remote_write block that are built. */
struct config_remote_write {
    const char *url, *name;
    bool send_exemplars;
    int64_t remote_timeout_ns; /* 30s */
    struct config_pair *headers;
    unsigned header_count;
    const char *basic_user, *basic_password,
        *bearer_token;                          /* NULL: none.  Secrets: never printed */
    const char *ca_file, *cert_file, *key_file; /* NULL: none */
    bool insecure_skip_verify;
    unsigned max_samples_per_send;          /* 2000 */
    int64_t min_backoff_ns, max_backoff_ns; /* 30ms, 5s */
};

/* cache.caches[], and the one of storage.trace.cache; the times are not zero but where zero means never. */
struct config_cache {
    struct config_list roles, addresses;
    const char *name; /* the roles, joined by '|' */
    bool is_redis, is_consistent;
    const char *user, *password; /* the password: never printed */
    int64_t db, idle_max, breaker_failures;
    int64_t timeout_ns, connect_timeout_ns, update_ns, expiration_ns, idle_ns, age_ns;
    int64_t breaker_open_ns, breaker_interval_ns;
    uint64_t item_bytes_max;
};
bool config_cache_has_role(const struct config_cache *c, const char *role);

#define CONFIG_C_BOOL      bool
#define CONFIG_C_INT       int64_t
#define CONFIG_C_DOUBLE    double
#define CONFIG_C_STRING    const char *
#define CONFIG_C_SECRET    const char *
#define CONFIG_C_DURATION  int64_t
#define CONFIG_C_BYTES     uint64_t
#define CONFIG_C_ENUM(...) const char *
#define CONFIG_C_LIST      struct config_list
#define CONFIG_C_DOUBLES   struct config_doubles

/* What one tenant may do: a row of overrides.def each. */
struct limits {
#define LIMIT(key, type, field, def, min, max, help)          CONFIG_C_##type field;
#define LIMIT_OR(key, type, field, def, base, min, max, help) CONFIG_C_##type field;
#include "common/app/overrides.def"
};

struct config {
#define X(key, type, field, def, min, max, reload, help) CONFIG_C_##type field;
#include "common/app/config.def"
#undef X
    struct config_listener otlp_grpc, otlp_http;
    struct config_pair *external_labels; /* metrics_generator.registry.external_labels */
    unsigned external_label_count;
    struct config_pair *s3_metadata, *s3_tags; /* storage.trace.s3.metadata, .tags */
    unsigned s3_metadata_count, s3_tag_count;
    struct config_pair *gcs_metadata; /* storage.trace.gcs.object_metadata */
    unsigned gcs_metadata_count;
    struct config_remote_write *remote_write;
    unsigned remote_write_count;
    struct config_cache *caches;
    unsigned cache_count;
    struct config_cache old_memcached, old_redis; /* storage.trace.memcached, .redis */
    int64_t
        retention_ns; /* of tenants without their own: what counts of the two keys; 0 = keep for ever */
    struct limits defaults; /* overrides.defaults as the file has it */
    struct limits limits; /* the same, with the process's own keys where it leaves something open */
    bool expand_env;      /* the overrides file's variables are replaced too */
    struct arena arena;
};

struct config_warning {
    struct config_warning *next;
    const char *text; /* "tempo.yml:12: memberlist has no meaning here and is ignored" */
};

struct
    config_flag { /* -server.http-listen-port=3201 and the like; the table's keys are flags too (dots, dashes for underscores) */
    const char *name, *value;
};

/* Whether the flag `-name` stands for a boolean key, so that it takes no value of its own ("-x", not "-x true"). */
bool config_flag_is_bool(const char *name);

/* `file` NULL: defaults only.  Warnings live in ret->arena. */
MUST_CHECK enum err config_load(const char *file, bool expand_env, const struct config_flag *flags,
                                unsigned flag_count, struct config *ret,
                                struct config_warning **ret_warnings,
                                struct err_detail *reterr_detail);
/* The same from bytes (tests, fuzzing); `name` stands in messages. */
MUST_CHECK enum err config_parse(const char *name, struct slice yaml, bool expand_env,
                                 const struct config_flag *flags, unsigned flag_count,
                                 struct config *ret, struct config_warning **ret_warnings,
                                 struct err_detail *reterr_detail);
void config_release(struct config *c);
/* Are these of the metrics generator the same in both? */
bool config_limits_equal_generator(const struct limits *a, const struct limits *b);
/* A copy that lives in the arena; look at arena_err. */
void config_limits_copy(const struct limits *from, struct arena *a, struct limits *ret);
void config_write_yaml(const struct config *c, bool only_changed,
                       struct buf *out);      /* /status/config; secrets as <secret> */
void config_write_reference(struct buf *out); /* deploy/configuration.md */

#endif
