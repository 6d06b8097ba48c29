#include "common/app/app_store.h"
#include "common/base/num.h"
#include "common/base/rfc3339.h"
#include "common/tool/tool.h"

#include <stdio.h>
#include <sys/stat.h>

#define NS_PER_SECOND 1000000000u

static enum err config_read(struct tool *t)
{
    struct config_warning *warnings;
    enum err e = config_load(t->options.config_file, t->options.expand_env, NULL, 0, &t->config,
                             &warnings, &t->detail);

    t->has_config = e == ERR_OK;
    return e;
}

static bool is_writer(const struct tool *t)
{
    const char *command = t->options.words[0];

    return t->options.is_quarantine || strcmp(command, "import") == 0 ||
           strcmp(command, "quarantine") == 0;
}

/* The binaries' own way to it; a writer where the command changes the store. */
static enum err open_bucket(struct tool *t)
{
    t->app.config = &t->config;
    t->app.clock = &clock_system;
    budget_init(&t->app.memory, t->memory.limit_bytes, &t->memory);
    (void)snprintf(t->app.instance_id, sizeof t->app.instance_id, "vivace-store");
    return app_store_open(&t->app, is_writer(t) ? APP_STORE_WRITE : APP_STORE_LOOK, &t->backend,
                          &t->detail);
}

enum err tool_store(struct tool *t)
{
    const char *root = t->options.path;
    struct stat st;

    if (t->backend != NULL)
        return ERR_OK;
    if (root == NULL && t->options.config_file == NULL)
        return tool_misuse(t, "which store?  -config.file FILE or --path DIR");
    if (root != NULL && t->options.config_file != NULL)
        return tool_misuse(t, "-config.file and --path name two stores");
    if (root == NULL) {
        enum err e = config_read(t);
        if (e != ERR_OK)
            return e;
        if (strcmp(t->config.storage_backend, "local") != 0)
            return open_bucket(t);
        root = t->config.local_path;
    }
    /* A store is opened, never made: a slip in the path must not look like an empty store. */
    if (stat(root, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_detail_set(&t->detail, ERR_NOT_FOUND, "%.400s is not a folder", root);
    return is_writer(t) ? backend_local_new(root, &t->backend, &t->detail)
                        : backend_local_open(root, &t->backend, &t->detail);
}

struct listing {
    struct tool *t;
    const char *tenant;
    struct tool_block *first;
};

static int compare(const struct tool_block *a, const struct tool_block *b)
{
    int c = strcmp(a->tenant, b->tenant);
    return c != 0 ? c : strcmp(a->id, b->id);
}

static enum err add_block(void *arg, const char *id)
{
    struct listing *l = arg;
    struct tool_block *b = ARENA_NEW(&l->t->arena, struct tool_block);

    if (b == NULL)
        return arena_err(&l->t->arena);
    (void)snprintf(b->tenant, sizeof b->tenant, "%s", l->tenant);
    (void)snprintf(b->id, sizeof b->id, "%s", id);
    b->next = l->first;
    l->first = b;
    return ERR_OK;
}

static enum err add_tenant(void *arg, const char *tenant)
{
    struct listing *l = arg;

    l->tenant = tenant;
    return l->t->backend->ops->blocks(l->t->backend, tenant, add_block, l);
}

/* Merge sort of a list: a store may have many blocks. */
static struct tool_block *sorted(struct tool_block *list)
{
    struct tool_block *slow = list, *fast = list, *merged = NULL, **end = &merged;

    if (list == NULL || list->next == NULL)
        return list;
    while (fast->next != NULL && fast->next->next != NULL) {
        slow = slow->next;
        fast = fast->next->next;
    }
    struct tool_block *b = slow->next;
    slow->next = NULL;
    struct tool_block *a = sorted(list);
    b = sorted(b);
    while (a != NULL && b != NULL) {
        struct tool_block **smaller = compare(a, b) <= 0 ? &a : &b;
        *end = *smaller;
        end = &(*end)->next;
        *smaller = (*smaller)->next;
    }
    *end = a != NULL ? a : b;
    return merged;
}

enum err tool_blocks(struct tool *t, struct tool_block **ret)
{
    struct listing l = {.t = t};
    enum err e = tool_store(t);

    if (e != ERR_OK)
        return e;
    e = t->options.tenant != NULL ? add_tenant(&l, t->options.tenant)
                                  : t->backend->ops->tenants(t->backend, add_tenant, &l);
    if (e != ERR_OK)
        return err_detail_set(&t->detail, e, "the store can not be listed (%s)", err_name(e));
    *ret = sorted(l.first);
    return ERR_OK;
}

enum err tool_block_of(struct tool *t, const char *word, struct tool_block *ret)
{
    const char *slash = strrchr(word, '/'), *id = slash == NULL ? word : slash + 1;
    size_t tenant_len = slash == NULL ? 0 : (size_t)(slash - word);
    struct tool_block *all, *found = NULL;
    enum err e = tool_blocks(t, &all);

    if (e != ERR_OK)
        return e;
    for (; all != NULL; all = all->next) {
        if (strcmp(all->id, id) != 0)
            continue;
        if (slash != NULL &&
            (strlen(all->tenant) != tenant_len || memcmp(all->tenant, word, tenant_len) != 0))
            continue;
        if (found != NULL)
            return err_detail_set(&t->detail, ERR_CONFLICT,
                                  "several tenants have a block %.60s: write TENANT/ID", id);
        found = all;
    }
    if (found == NULL)
        return err_detail_set(&t->detail, ERR_NOT_FOUND, "there is no block %.200s", word);
    *ret = *found;
    return ERR_OK;
}

enum err tool_block_open(struct tool *t, const struct tool_block *at, struct block **ret)
{
    struct object *o = NULL;
    enum err e = t->backend->ops->open(t->backend, at->tenant, at->id, &o);

    if (e == ERR_OK)
        e = block_open(o, &t->memory, ret);
    if (e != ERR_OK)
        return err_detail_set(&t->detail, e, "%s/%s can not be opened (%s)", at->tenant, at->id,
                              err_name(e));
    return ERR_OK;
}

enum err tool_block_meta(struct tool *t, const struct tool_block *at, struct block_meta *ret)
{
    struct buf json;

    buf_init(&json, TOOL_META_BYTES_MAX);
    enum err e = t->backend->ops->read_meta(t->backend, at->tenant, at->id, &json);
    if (e == ERR_OK)
        e = block_meta_from_json(buf_slice(&json), ret, &t->detail);
    buf_release(&json);
    return e;
}

/* Seconds since the epoch, or RFC 3339. */
static enum err time_parse(struct tool *t, const char *text, uint64_t *ret)
{
    uint64_t seconds;

    if (num_parse_u64(slice_str(text), &seconds) != ERR_OK)
        return rfc3339_parse(slice_str(text), ret)
                   ? ERR_OK
                   : tool_misuse(t, "\"%.80s\" is not a time: seconds, or 2026-01-02T03:04:05Z",
                                 text);
    if (seconds > UINT64_MAX / NS_PER_SECOND)
        return tool_misuse(t, "\"%.80s\" is too late", text);
    *ret = seconds * NS_PER_SECOND;
    return ERR_OK;
}

enum err tool_window(struct tool *t, uint64_t *ret_from_ns, uint64_t *ret_to_ns)
{
    enum err e = ERR_OK;

    *ret_from_ns = 0;
    *ret_to_ns = UINT64_MAX;
    if (t->options.from != NULL)
        e = time_parse(t, t->options.from, ret_from_ns);
    if (e == ERR_OK && t->options.to != NULL)
        e = time_parse(t, t->options.to, ret_to_ns);
    return e;
}
