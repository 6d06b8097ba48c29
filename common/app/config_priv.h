/*
 * config_priv.h - shared by the files of config: rows, specs and the reader that fills a struct from a YAML mapping by them.
 *
 * Shape:   a spec is a table of rows.  The main one is config.def + config_ignored.def + overrides.def over struct config; the lists and maps in it
 *          (receivers, remote_write) have small specs of their own over their structs, and a tenant of the overrides file has overrides.def over
 *          struct limits.
 * Source:  YAML 1.1 (libyaml); Go's yaml.v2 for what counts as a bool, a number, null.
 */
#ifndef VIVACE_APP_CONFIG_PRIV_H
#define VIVACE_APP_CONFIG_PRIV_H

#include "common/app/config.h"

#include <yaml.h>

enum {
    CONFIG_FILE_BYTES_MAX = 4 << 20,
    CONFIG_EXPANDED_BYTES_MAX = 8 << 20,
    CONFIG_NODES_MAX = 200000,  /* of the document */
    CONFIG_VISITS_MAX = 400000, /* of nodes, however often aliases bring them back */
    CONFIG_PAIRS_MAX = 10000,   /* of one mapping */
    CONFIG_ITEMS_MAX = 1000,    /* of one list */
    CONFIG_DEPTH_MAX = 24,
    CONFIG_LIMITS_ROWS_MAX = 128, /* of a tenant */
    CONFIG_KEY_BYTES_MAX = 128,
    CONFIG_PATH_BYTES_MAX = 384
};

enum config_type {
    CONFIG_BOOL,
    CONFIG_INT,
    CONFIG_DOUBLE,
    CONFIG_STRING,
    CONFIG_SECRET, /* a text that is never printed */
    CONFIG_DURATION,
    CONFIG_BYTES,
    CONFIG_ENUM,
    CONFIG_LIST,
    CONFIG_DOUBLES,
    CONFIG_PART,       /* read by a function of its own */
    CONFIG_IGNORED,    /* Tempo's, without meaning here: one warning for it and all below it */
    CONFIG_LATER,      /* Tempo's, not built yet, harmless to leave out: one warning */
    CONFIG_UNSUPPORTED /* Tempo's, not built yet, would change results: an error, unless its value is one of `words` (split by '|') */
};

struct config_reader;
/* Reads a PART into `base`; `path` is the full key, for messages. */
typedef enum err config_part_fn(struct config_reader *r, yaml_node_t *node, const char *path,
                                void *base);

struct config_row {
    const char *key; /* dotted; "x.*": any key of section x that no other row names */
    enum config_type type;
    bool reload;
    size_t offset;
    const char *words, *def, *min, *max, *help;
    config_part_fn *part;
    bool has_base;
    size_t base; /* offset in struct config of what counts where this is left open */
};

#define CONFIG_T_BOOL      CONFIG_BOOL
#define CONFIG_T_INT       CONFIG_INT
#define CONFIG_T_DOUBLE    CONFIG_DOUBLE
#define CONFIG_T_STRING    CONFIG_STRING
#define CONFIG_T_SECRET    CONFIG_SECRET
#define CONFIG_T_DURATION  CONFIG_DURATION
#define CONFIG_T_BYTES     CONFIG_BYTES
#define CONFIG_T_ENUM(...) CONFIG_ENUM
#define CONFIG_T_LIST      CONFIG_LIST
#define CONFIG_T_DOUBLES   CONFIG_DOUBLES
#define CONFIG_W_BOOL      ""
#define CONFIG_W_INT       ""
#define CONFIG_W_DOUBLE    ""
#define CONFIG_W_STRING    ""
#define CONFIG_W_SECRET    ""
#define CONFIG_W_DURATION  ""
#define CONFIG_W_BYTES     ""
#define CONFIG_W_ENUM(...) #__VA_ARGS__
#define CONFIG_W_LIST      ""
#define CONFIG_W_DOUBLES   ""

/* A row without a value of its own. */
#define CONFIG_ROW_PLAIN(key_, type_, words_) \
    {.key = key_, .type = type_, .words = words_, .def = "", .min = "", .max = "", .help = ""},

/* `from` is another name of `to`. */
enum config_alias_kind { CONFIG_ALIAS, CONFIG_ALIAS_FLAG };
struct config_alias {
    const char *from, *to;
    enum config_alias_kind kind;
};

struct config_spec {
    const struct config_row *rows;
    unsigned row_count;
    const struct config_alias *aliases;
    unsigned alias_count;
};

struct config_seen { /* one per row of the spec being read */
    uint32_t line;
    bool is_set;
};

struct config_reader {
    const char *name;      /* of the file, for messages */
    struct config *config; /* of the main spec; else NULL */
    struct arena *arena;   /* what is read lives here */
    struct err_detail *detail;
    struct config_warning **warning_tail;
    yaml_document_t *doc;
    unsigned visit_count, depth;
    struct config_seen *seen; /* of the main spec */
    bool has_receivers;
};

/* One value to be set: a scalar is a list of one whose is_list is false. */
struct config_value {
    const struct slice *items;
    unsigned count;
    bool is_list;
    uint32_t line;     /* 0: from a flag or a default */
    const char *label; /* how messages name it: the key or the flag */
};

extern const struct config_spec config_main_spec;
extern const struct config_spec config_limits_spec; /* over struct limits */
extern const struct config_spec config_listener_grpc_spec, config_listener_http_spec,
    config_remote_spec, config_memcached_spec, config_redis_spec;

/* --- config.c --- */
/* Sets the detail "file:line: text" and returns ERR_INVALID. */
enum err config_fail(struct config_reader *r, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void config_warn(struct config_reader *r, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A name for messages, in the config's arena; "" when memory is out (the arena remembers). */
#define config_label(r, ...) config_label_or_empty(arena_printf((r)->arena, __VA_ARGS__))
static inline const char *config_label_or_empty(const char *s)
{
    return s == NULL ? "" : s;
}

/* --- config_value.c --- */
MUST_CHECK enum err config_value_set(struct config_reader *r, const struct config_row *row,
                                     void *base, const struct config_value *v);
MUST_CHECK enum err config_value_defaults(struct config_reader *r, const struct config_spec *spec,
                                          void *base);
/* false, 0, "" or an empty list. */
bool config_value_is_zero(const struct config_row *row, const void *base);
bool config_value_equals(const struct config_row *row, const void *base, const void *other);
/* Copies a field of the row's type; what it points to too, into the arena (NULL: it is shared). */
void config_value_copy(const struct config_row *row, const void *from_field, void *ret_field,
                       struct arena *a);
void config_value_write(const struct config_row *row, const void *base,
                        struct buf *out); /* as YAML flow text */
void config_value_write_string(const char *s, struct buf *out);
void config_value_write_escaped(struct slice s, struct buf *out); /* for inside double quotes */

/* --- config_keys.c --- */
const char *config_keys_resolve(const struct config_spec *spec, const char *path,
                                bool is_flag); /* the path after all aliases */
/* The row of a resolved path, or NULL: its own, else that of "section.*". */
const struct config_row *config_keys_find(const struct config_spec *spec, const char *path);
bool config_keys_is_section(const struct config_spec *spec, const char *path);
/* The known key nearest to `path`, or "" if none is near; for "did you mean". */
void config_keys_nearest(const struct config_spec *spec, const char *path, bool is_flag,
                         char ret[CONFIG_PATH_BYTES_MAX]);

/* --- config_limits.c --- */
void config_limits_init(struct limits *l); /* zero and nothing, as below a tenant */
/* Checks what was read of one tenant, or of overrides.defaults, and fills in from `c` what it leaves open; `seen` is of the limits' rows. */
MUST_CHECK enum err config_limits_settle(struct config_reader *r, const struct config_seen *seen,
                                         const struct config *c, const struct limits *given,
                                         struct limits *ret);

/* --- config_yaml.c --- */
/* What a mapping is read into: `label` goes before the keys in messages ("" or "a.b."), `seen` has an element per row. */
struct config_scope {
    const struct config_spec *spec;
    void *base;
    struct config_seen *seen;
    const char *label;
};
/* The one document of `yaml`, a mapping or nothing. */
MUST_CHECK enum err config_yaml_read(struct config_reader *r, const struct config_scope *scope,
                                     struct slice yaml);
MUST_CHECK enum err config_yaml_mapping(struct config_reader *r, const struct config_scope *scope,
                                        yaml_node_t *node);
/* Every pair of a mapping, those that `<<` brings in too. */
typedef enum err config_pair_fn(struct config_reader *r, void *arg, const yaml_node_t *key,
                                yaml_node_t *value);
MUST_CHECK enum err config_yaml_each(struct config_reader *r, yaml_node_t *node, config_pair_fn *fn,
                                     void *arg);
bool config_yaml_is_null(const yaml_node_t *node);
uint32_t config_yaml_line(const yaml_node_t *node);
MUST_CHECK enum err config_yaml_visit(struct config_reader *r, const yaml_node_t *node);
/* The scalar's text; an error for anything else, and for text with a NUL. */
MUST_CHECK enum err config_yaml_text(struct config_reader *r, const yaml_node_t *node,
                                     const char *path, uint32_t line, struct slice *ret);
/* A mapping of names to texts. */
MUST_CHECK enum err config_yaml_pairs(struct config_reader *r, yaml_node_t *node, const char *path,
                                      struct config_pair **ret, unsigned *ret_count);

/* --- config_write.c --- */
/* Limits as YAML: those that are not zero, or those that differ from `other`; how many these are. */
unsigned config_write_limits(const struct limits *l, const struct limits *other, unsigned depth,
                             struct buf *out);

/* --- config_parts.c --- */
config_part_fn config_parts_receivers, config_parts_external_labels, config_parts_s3_metadata,
    config_parts_s3_tags, config_parts_gcs_metadata, config_remote_read, config_cache_read,
    config_cache_read_memcached, config_cache_read_redis;
/* Adds the cache of storage.trace.cache; `line` is that of the key. */
MUST_CHECK enum err config_cache_settle(struct config_reader *r, uint32_t line);
MUST_CHECK enum err config_parts_default_receivers(
    struct config_reader *r); /* as Tempo without any: OTLP/gRPC on localhost */

/* --- config_env.c --- */
/* ${VAR}, ${VAR:-default}, ${VAR:=default}, $VAR, $$ in the raw text.  Errors name the line. */
MUST_CHECK enum err config_env_expand(struct config_reader *r, struct slice text, struct buf *out);

#endif
