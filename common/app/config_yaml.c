#include "common/app/config_priv.h"

#include <assert.h>
#include <stdlib.h>

uint32_t config_yaml_line(const yaml_node_t *node)
{
    return (uint32_t)node->start_mark.line + 1;
}

static struct slice scalar_slice(const yaml_node_t *node)
{
    assert(node->type == YAML_SCALAR_NODE);
    return (struct slice){node->data.scalar.value, node->data.scalar.length};
}

bool config_yaml_is_null(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    struct slice s = scalar_slice(node);
    return s.len == 0 || slice_eq_str(s, "~") || slice_eq_str(s, "null") ||
           slice_eq_str(s, "Null") || slice_eq_str(s, "NULL");
}

/* Aliases can make a small file visit its nodes without end; this ends it. */
enum err config_yaml_visit(struct config_reader *r, const yaml_node_t *node)
{
    if (++r->visit_count > CONFIG_VISITS_MAX)
        return config_fail(r, config_yaml_line(node), "too many values (aliases that multiply?)");
    return ERR_OK;
}

enum err config_yaml_text(struct config_reader *r, const yaml_node_t *node, const char *path,
                          uint32_t line, struct slice *ret)
{
    if (node->type != YAML_SCALAR_NODE)
        return config_fail(r, line, "%s: expected a single value, got a %s", path,
                           node->type == YAML_SEQUENCE_NODE ? "list" : "section");
    struct slice s = scalar_slice(node);
    if (s.len > 0 && memchr(s.ptr, 0, s.len) != NULL)
        return config_fail(r, line, "%s: the value holds a NUL byte", path);
    *ret = s;
    return ERR_OK;
}

static enum err unknown_key(struct config_reader *r, const struct config_scope *scope,
                            const char *path, uint32_t line)
{
    char near[CONFIG_PATH_BYTES_MAX];

    config_keys_nearest(scope->spec, path, false, near);
    if (near[0] == '\0')
        return config_fail(r, line, "unknown key %s%s", scope->label, path);
    return config_fail(r, line, "unknown key %s%s; did you mean %s%s?", scope->label, path,
                       scope->label, near);
}

static bool text_is_one_of(struct slice s, const char *words)
{
    for (;;) {
        size_t len = strcspn(words, "|");

        if (slice_eq((struct slice){(const uint8_t *)words, len}, s))
            return true;
        if (words[len] == '\0')
            return false;
        words += len + 1;
    }
}

/* True if every value below `node` is null or one of `words`. */
static bool is_harmless(struct config_reader *r, const yaml_node_t *node, const char *words,
                        unsigned depth)
{
    if (depth > CONFIG_DEPTH_MAX || ++r->visit_count > CONFIG_VISITS_MAX)
        return false;
    if (node->type == YAML_SCALAR_NODE)
        return config_yaml_is_null(node) || text_is_one_of(scalar_slice(node), words);
    if (node->type == YAML_SEQUENCE_NODE)
        return node->data.sequence.items.start == node->data.sequence.items.top;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++)
        if (!is_harmless(r, yaml_document_get_node(r->doc, p->value), words, depth + 1))
            return false;
    return true;
}

/* Scalars and lists of scalars; sections are no values. */
static enum err read_value(struct config_reader *r, yaml_node_t *node, const char *label,
                           uint32_t line, struct config_value *ret)
{
    struct config_value v = {
        .line = line, .label = label, .is_list = node->type == YAML_SEQUENCE_NODE};
    struct slice *items;

    if (!v.is_list) {
        items = ARENA_NEW(r->arena, struct slice);
        v.count = 1;
        if (items == NULL)
            return arena_err(r->arena);
        enum err e = config_yaml_text(r, node, label, line, &items[0]);
        v.items = items;
        *ret = v;
        return e;
    }
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > CONFIG_ITEMS_MAX)
        return config_fail(r, v.line, "%s: a list of more than %d", label, (int)CONFIG_ITEMS_MAX);
    items = ARENA_ARRAY(r->arena, struct slice, count);
    if (items == NULL)
        return arena_err(r->arena);
    for (size_t i = 0; i < count; i++) {
        yaml_node_t *item = yaml_document_get_node(r->doc, node->data.sequence.items.start[i]);
        enum err e = config_yaml_visit(r, item);

        if (e == ERR_OK)
            e = config_yaml_text(r, item, label, config_yaml_line(item), &items[i]);
        if (e != ERR_OK)
            return e;
    }
    v.items = items;
    v.count = (unsigned)count;
    *ret = v;
    return ERR_OK;
}

/* A row that a key of the file names; messages speak of the key's label and line. */
struct named_row {
    const struct config_row *row;
    const char *label;
    uint32_t line;
};

static enum err set_row(struct config_reader *r, const struct config_scope *scope,
                        const struct named_row *n, yaml_node_t *node)
{
    const struct config_row *row = n->row;
    struct config_seen *seen = &scope->seen[row - scope->spec->rows];
    struct config_value v;

    if (config_yaml_is_null(node)) /* as in Tempo: the default stays */
        return ERR_OK;
    if (row->type != CONFIG_PART) {
        enum err e = read_value(r, node, n->label, n->line, &v);
        if (e != ERR_OK)
            return e;
    }
    if (seen->is_set)
        return config_fail(r, n->line,
                           "%s is given twice (also on line %u, there perhaps by another name)",
                           n->label, seen->line);
    *seen = (struct config_seen){.line = n->line, .is_set = true};
    if (row->type == CONFIG_PART)
        return row->part(r, node, n->label, scope->base);
    return config_value_set(r, row, scope->base, &v);
}

static enum err read_row(struct config_reader *r, const struct config_scope *scope,
                         const struct named_row *n, yaml_node_t *node)
{
    switch (n->row->type) {
    case CONFIG_IGNORED:
        config_warn(r, n->line, "%s has no meaning here and is ignored", n->label);
        return ERR_OK;
    case CONFIG_LATER:
        if (!is_harmless(r, node, "|false|0|0s", 0))
            config_warn(r, n->line, "%s is not supported yet and is ignored", n->label);
        return ERR_OK;
    case CONFIG_UNSUPPORTED:
        if (!is_harmless(r, node, n->row->words, 0))
            return config_fail(r, n->line, "%s is not supported yet", n->label);
        return ERR_OK;
    case CONFIG_BOOL:
    case CONFIG_INT:
    case CONFIG_DOUBLE:
    case CONFIG_STRING:
    case CONFIG_SECRET:
    case CONFIG_DURATION:
    case CONFIG_BYTES:
    case CONFIG_ENUM:
    case CONFIG_LIST:
    case CONFIG_DOUBLES:
    case CONFIG_PART: break;
    }
    return set_row(r, scope, n, node);
}

static enum err read_section(struct config_reader *r, const struct config_scope *scope,
                             yaml_node_t *node, const char *path);

static enum err read_pair(struct config_reader *r, const struct config_scope *scope,
                          const char *section, const yaml_node_t *key_node, yaml_node_t *value)
{
    struct slice key = scalar_slice(key_node);
    char path[CONFIG_PATH_BYTES_MAX], label[CONFIG_PATH_BYTES_MAX];

    enum err e = config_yaml_visit(r, value);
    if (e != ERR_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s%s%.*s", section, section[0] != '\0' ? "." : "",
                   (int)(key.len > CONFIG_KEY_BYTES_MAX ? CONFIG_KEY_BYTES_MAX : key.len),
                   (const char *)key.ptr);
    /* A dot or a star inside a key would look like a path or a wildcard. */
    if (key.len > CONFIG_KEY_BYTES_MAX || memchr(key.ptr, '.', key.len) != NULL ||
        memchr(key.ptr, '*', key.len) != NULL || memchr(key.ptr, 0, key.len) != NULL)
        return unknown_key(r, scope, path, config_yaml_line(key_node));
    const char *resolved = config_keys_resolve(scope->spec, path, false);
    const struct config_row *row = config_keys_find(scope->spec, resolved);
    if (row == NULL && !config_keys_is_section(scope->spec, resolved))
        return unknown_key(r, scope, path, config_yaml_line(key_node));
    (void)snprintf(label, sizeof label, "%s%s", scope->label, path);
    if (row != NULL) {
        struct named_row n = {.row = row, .label = label, .line = config_yaml_line(key_node)};
        return read_row(r, scope, &n, value);
    }
    if (config_yaml_is_null(value))
        return ERR_OK;
    if (value->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(key_node), "%s: expected a section, got a %s", label,
                           value->type == YAML_SEQUENCE_NODE ? "list" : "single value");
    return read_section(r, scope, value, resolved);
}

static bool is_merge_key(const yaml_node_t *key)
{
    return key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           slice_eq_str(scalar_slice(key), "<<");
}

static bool mapping_has(struct config_reader *r, const yaml_node_t *mapping, struct slice key)
{
    for (yaml_node_pair_t *p = mapping->data.mapping.pairs.start;
         p < mapping->data.mapping.pairs.top; p++)
        if (slice_eq(scalar_slice(yaml_document_get_node(r->doc, p->key)), key))
            return true;
    return false;
}

/* `<<: *anchor`: the other mapping's pairs, but for the keys that are here too. */
static enum err each_merged(struct config_reader *r, const yaml_node_t *node,
                            const yaml_node_t *other, config_pair_fn *fn, void *arg)
{
    enum err e = ERR_OK;

    if (other->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(other), "<<: expected a section to merge");
    for (yaml_node_pair_t *p = other->data.mapping.pairs.start;
         p < other->data.mapping.pairs.top && e == ERR_OK; p++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);

        if (is_merge_key(key))
            return config_fail(r, config_yaml_line(key),
                               "<<: a merged section that merges again is not supported");
        if (!mapping_has(r, node, scalar_slice(key)))
            e = fn(r, arg, key, yaml_document_get_node(r->doc, p->value));
    }
    return e;
}

enum err config_yaml_each(struct config_reader *r, yaml_node_t *node, config_pair_fn *fn, void *arg)
{
    enum err e = ERR_OK;

    assert(node->type == YAML_MAPPING_NODE);
    if (r->depth >= CONFIG_DEPTH_MAX)
        return config_fail(r, config_yaml_line(node), "more than %d levels deep",
                           (int)CONFIG_DEPTH_MAX);
    r->depth++;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
         p < node->data.mapping.pairs.top && e == ERR_OK; p++) {
        const yaml_node_t *key = yaml_document_get_node(r->doc, p->key);
        yaml_node_t *value = yaml_document_get_node(r->doc, p->value);

        e = is_merge_key(key) ? each_merged(r, node, value, fn, arg) : fn(r, arg, key, value);
    }
    r->depth--;
    return e;
}

/* A section that is being read: its path below the scope. */
struct section {
    const struct config_scope *scope;
    const char *path;
};

static enum err section_pair(struct config_reader *r, void *arg, const yaml_node_t *key,
                             yaml_node_t *value)
{
    const struct section *s = arg;

    return read_pair(r, s->scope, s->path, key, value);
}

static enum err read_section(struct config_reader *r, const struct config_scope *scope,
                             yaml_node_t *node, const char *path)
{
    struct section s = {scope, path};

    return config_yaml_each(r, node, section_pair, &s);
}

enum err config_yaml_mapping(struct config_reader *r, const struct config_scope *scope,
                             yaml_node_t *node)
{
    if (config_yaml_is_null(node))
        return ERR_OK;
    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(node), "%s%s: expected a section, got a %s",
                           scope->label, scope->label[0] == '\0' ? "the file" : "",
                           node->type == YAML_SEQUENCE_NODE ? "list" : "single value");
    return read_section(r, scope, node, "");
}

enum err config_yaml_pairs(struct config_reader *r, yaml_node_t *node, const char *path,
                           struct config_pair **ret, unsigned *ret_count)
{
    struct arena *a = r->arena;

    if (node->type != YAML_MAPPING_NODE)
        return config_fail(r, config_yaml_line(node), "%s: expected a section of names and values",
                           path);
    size_t count = (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    struct config_pair *pairs = ARENA_ARRAY(a, struct config_pair, count);
    if (pairs == NULL)
        return arena_err(a);
    for (size_t i = 0; i < count; i++) {
        yaml_node_t *value =
            yaml_document_get_node(r->doc, node->data.mapping.pairs.start[i].value);
        struct slice name, text = SLICE_NONE;
        enum err e = config_yaml_visit(r, value);

        if (e == ERR_OK)
            e = config_yaml_text(
                r, yaml_document_get_node(r->doc, node->data.mapping.pairs.start[i].key), path,
                config_yaml_line(value), &name);
        if (e == ERR_OK && !config_yaml_is_null(value))
            e = config_yaml_text(r, value, path, config_yaml_line(value), &text);
        if (e != ERR_OK)
            return e;
        if (name.len == 0)
            return config_fail(r, config_yaml_line(value), "%s: an empty name", path);
        pairs[i] = (struct config_pair){.name = arena_str(a, name), .value = arena_str(a, text)};
    }
    if (arena_err(a) != ERR_OK)
        return arena_err(a);
    *ret = pairs;
    *ret_count = (unsigned)count;
    return ERR_OK;
}

static int key_compare(const void *a, const void *b)
{
    const yaml_node_t *const *x = a, *const *y = b;
    int order = slice_cmp(scalar_slice(*x), scalar_slice(*y));

    return order != 0 ? order : (config_yaml_line(*x) > config_yaml_line(*y)) * 2 - 1;
}

/* The first of the keys that are there twice, by line. */
static enum err check_keys(struct config_reader *r, const yaml_node_t **keys, size_t count)
{
    const yaml_node_t *twice = NULL, *first = NULL;

    qsort(keys, count, sizeof *keys, key_compare);
    for (size_t i = 1; i < count; i++) {
        if (slice_eq(scalar_slice(keys[i - 1]), scalar_slice(keys[i])) &&
            (twice == NULL || config_yaml_line(keys[i]) < config_yaml_line(twice))) {
            twice = keys[i];
            first = keys[i - 1];
        }
    }
    if (twice == NULL)
        return ERR_OK;
    return config_fail(r, config_yaml_line(twice),
                       "key " SLICE_FMT " is given twice (also on line %u)",
                       (int)(twice->data.scalar.length > 80 ? 80 : twice->data.scalar.length),
                       (const char *)twice->data.scalar.value, config_yaml_line(first));
}

static enum err check_mapping(struct config_reader *r, const yaml_node_t *node)
{
    yaml_node_pair_t *from = node->data.mapping.pairs.start, *to = node->data.mapping.pairs.top;
    const yaml_node_t *few[32], **keys = few;
    size_t count = (size_t)(to - from);
    enum err e = ERR_OK;

    if (count > CONFIG_PAIRS_MAX)
        return config_fail(r, config_yaml_line(node), "a section of more than %d keys",
                           (int)CONFIG_PAIRS_MAX);
    if (count > sizeof few / sizeof few[0])
        keys = malloc(count * sizeof *keys);
    if (keys == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        keys[i] = yaml_document_get_node(r->doc, from[i].key);
        if (keys[i]->type != YAML_SCALAR_NODE)
            e = config_fail(r, config_yaml_line(keys[i]), "a key must be a single word");
    }
    if (e == ERR_OK)
        e = check_keys(r, keys, count);
    if (keys != few)
        free(keys);
    return e;
}

/* Over all nodes as they lie in the document: no recursion, so aliases and cycles do not matter. */
static enum err check_document(struct config_reader *r)
{
    enum err e = ERR_OK;

    if (r->doc->nodes.top - r->doc->nodes.start > CONFIG_NODES_MAX)
        return config_fail(r, 1, "more than %d values", (int)CONFIG_NODES_MAX);
    for (yaml_node_t *node = r->doc->nodes.start; node < r->doc->nodes.top && e == ERR_OK; node++)
        if (node->type == YAML_MAPPING_NODE)
            e = check_mapping(r, node);
    return e;
}

static enum err parse_fail(struct config_reader *r, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return err_detail_set(r->detail, ERR_NOMEM, "%s: out of memory", r->name);
    size_t line = parser->problem_mark.line > 0 ? parser->problem_mark.line : parser->mark.line;
    return config_fail(r, (uint32_t)line + 1, "not valid YAML: %s%s%s",
                       parser->problem != NULL ? parser->problem : "malformed",
                       parser->context != NULL ? " " : "",
                       parser->context != NULL ? parser->context : "");
}

enum err config_yaml_read(struct config_reader *r, const struct config_scope *scope,
                          struct slice yaml)
{
    yaml_parser_t parser;
    yaml_document_t doc, next;
    enum err e = ERR_OK;

    if (!yaml_parser_initialize(&parser))
        return ERR_NOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, yaml.len > 0 ? yaml.ptr : (const uint8_t *)"", yaml.len);
    if (!yaml_parser_load(&parser, &doc)) {
        e = parse_fail(r, &parser);
        yaml_parser_delete(&parser);
        return e;
    }
    r->doc = &doc;
    yaml_node_t *root = yaml_document_get_root_node(&doc);
    if (root != NULL) {
        e = check_document(r);
        if (e == ERR_OK)
            e = config_yaml_mapping(r, scope, root);
        if (e == ERR_OK && !yaml_parser_load(&parser, &next))
            e = parse_fail(r, &parser);
        else if (e == ERR_OK) {
            yaml_node_t *second = yaml_document_get_root_node(&next);
            if (second != NULL)
                e = config_fail(r, config_yaml_line(second), "more than one YAML document");
            yaml_document_delete(&next);
        }
    }
    yaml_document_delete(&doc);
    r->doc = NULL;
    yaml_parser_delete(&parser);
    return e;
}
