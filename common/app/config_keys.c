#include "common/app/config_priv.h"

#include <assert.h>

enum { WORD_BYTES_MAX = 96, ALIAS_STEPS_MAX = 4 };

static const struct config_alias *alias_of(const struct config_spec *spec, const char *path,
                                           bool is_flag)
{
    for (unsigned i = 0; i < spec->alias_count; i++) {
        const struct config_alias *a = &spec->aliases[i];

        if ((a->kind != CONFIG_ALIAS_FLAG || is_flag) && strcmp(a->from, path) == 0)
            return a;
    }
    return NULL;
}

const char *config_keys_resolve(const struct config_spec *spec, const char *path, bool is_flag)
{
    assert(path != NULL);
    for (unsigned step = 0; step < ALIAS_STEPS_MAX; step++) {
        const struct config_alias *a = alias_of(spec, path, is_flag);

        if (a == NULL)
            return path;
        path = a->to;
    }
    assert(!"a cycle of aliases");
    return path;
}

const struct config_row *config_keys_find(const struct config_spec *spec, const char *path)
{
    const char *dot = strrchr(path, '.');
    const struct config_row *wild = NULL;

    for (unsigned i = 0; i < spec->row_count; i++) {
        const char *key = spec->rows[i].key;

        if (strcmp(key, path) == 0)
            return &spec->rows[i];
        if (dot == NULL)
            continue;
        size_t prefix_len = (size_t)(dot - path) + 1;
        if (strncmp(key, path, prefix_len) == 0 && strcmp(key + prefix_len, "*") == 0)
            wild = &spec->rows[i];
    }
    /* "x.*" is for the keys nobody names, not for sections that hold named ones. */
    return wild != NULL && config_keys_is_section(spec, path) ? NULL : wild;
}

static bool is_below(const char *key, const char *path, size_t path_len)
{
    return strncmp(key, path, path_len) == 0 && key[path_len] == '.';
}

bool config_keys_is_section(const struct config_spec *spec, const char *path)
{
    size_t len = strlen(path);

    for (unsigned i = 0; i < spec->row_count; i++)
        if (is_below(spec->rows[i].key, path, len))
            return true;
    for (unsigned i = 0; i < spec->alias_count; i++)
        if (spec->aliases[i].kind != CONFIG_ALIAS_FLAG &&
            is_below(spec->aliases[i].from, path, len))
            return true;
    return false;
}

/* Levenshtein's distance; words longer than the table count as far away. */
static unsigned distance(struct slice a, struct slice b)
{
    unsigned row[WORD_BYTES_MAX + 1];

    if (a.len > WORD_BYTES_MAX || b.len > WORD_BYTES_MAX)
        return WORD_BYTES_MAX;
    for (unsigned j = 0; j <= b.len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned best = diagonal + (a.ptr[i - 1] != b.ptr[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.len];
}

struct nearest {
    struct slice parent, word; /* of the key asked for; parent with its dot */
    unsigned best;             /* the smaller the nearer */
    char *ret;
};

static void nearest_offer(struct nearest *n, struct slice candidate, unsigned score)
{
    if (score >= n->best || candidate.len >= CONFIG_PATH_BYTES_MAX)
        return;
    n->best = score;
    memcpy(n->ret, candidate.ptr, candidate.len);
    n->ret[candidate.len] = '\0';
}

/* A key is near when its place is right and its last word nearly so, or its last word is right and its place is not. */
static void nearest_consider(struct nearest *n, const char *key)
{
    struct slice k = slice_str(key);
    unsigned allowed = n->word.len < 6 ? 2 : (unsigned)n->word.len / 3;

    if (k.len >= 2 && strcmp(key + k.len - 2, ".*") == 0)
        return;
    if (slice_has_prefix(k, n->parent)) {
        struct slice rest = slice_sub(k, n->parent.len, k.len);
        const uint8_t *dot = memchr(rest.ptr, '.', rest.len);
        struct slice word = slice_sub(rest, 0, dot == NULL ? rest.len : (size_t)(dot - rest.ptr));
        unsigned d = distance(word, n->word);

        if (d <= allowed)
            nearest_offer(n, slice_sub(k, 0, n->parent.len + word.len), d);
    }
    const char *dot = strrchr(key, '.');
    struct slice last = slice_str(dot == NULL ? key : dot + 1);
    if (slice_eq(last, n->word))
        nearest_offer(n, k, allowed + 1 + distance(slice_sub(k, 0, k.len - last.len), n->parent));
}

void config_keys_nearest(const struct config_spec *spec, const char *path, bool is_flag,
                         char ret[CONFIG_PATH_BYTES_MAX])
{
    const char *dot = strrchr(path, '.');
    size_t parent_len = dot == NULL ? 0 : (size_t)(dot - path) + 1;
    struct nearest n = {.parent = {(const uint8_t *)path, parent_len},
                        .word = slice_str(path + parent_len),
                        .best = UINT32_MAX,
                        .ret = ret};

    ret[0] = '\0';
    for (unsigned i = 0; i < spec->row_count; i++)
        nearest_consider(&n, spec->rows[i].key);
    for (unsigned i = 0; i < spec->alias_count; i++)
        if (is_flag || spec->aliases[i].kind != CONFIG_ALIAS_FLAG)
            nearest_consider(&n, spec->aliases[i].from);
}
