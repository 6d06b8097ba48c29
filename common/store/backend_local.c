#include "common/store/backend.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Names that can not be tenants or block ids keep half-done things out of sight:
 *   <root>/<tenant>/.tmp-<id>    being published
 *   <root>/<tenant>/.gone-<id>   being removed
 *   <root>/.quarantine/<tenant>/<id>
 */
enum {
    PATH_BYTES = 4096,
    TENANT_BYTES_MAX = 150,
    ID_BYTES = 36,
    LEFTOVER_SECONDS = 3600,
    WHY_BYTES_MAX = 4096
};
enum { LIST_TRIES = 5, STAMP_LAG_NS = 10000000, IDS_BYTES_MAX = 1 << 30 };
#define QUARANTINE_NAME ".quarantine"
#define DATA_NAME       "data.vvb"
#define META_NAME       "meta.json"
#define COMPACTED_NAME  "meta.compacted.json"
#define WHY_NAME        "why.txt"
#define REPLACE_NAME \
    ".replace" /* whoever holds its lock may let blocks of the tenant take the place of others */

struct backend_local {
    struct backend backend; /* first */
    char root[PATH_BYTES];
};

static struct backend_local *local_of(struct backend *b)
{
    assert(b != NULL);
    return (struct backend_local *)b;
}

static bool is_tenant(const char *name)
{
    size_t n = strnlen(name, TENANT_BYTES_MAX + 1);

    if (n == 0 || n > TENANT_BYTES_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strcmp(name, QUARANTINE_NAME) == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool is_alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && strchr("!-_.*'()", c) == NULL)
            return false;
    }
    return true;
}

static bool is_block_id(const char *name)
{
    if (strnlen(name, ID_BYTES + 1) != ID_BYTES)
        return false;
    for (int i = 0; i < ID_BYTES; i++) {
        char c = name[i];
        bool is_dash_place = i == 8 || i == 13 || i == 18 || i == 23;
        bool is_hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (is_dash_place ? c != '-' : !is_hex)
            return false;
    }
    return true;
}

static enum err path_join(char ret[PATH_BYTES], const char *a, const char *slash, const char *b)
{
    return (size_t)snprintf(ret, PATH_BYTES, "%s%s%s", a, slash, b) < PATH_BYTES ? ERR_OK
                                                                                 : ERR_TOO_LARGE;
}

/* <root>/<tenant>/<prefix><id> */
static enum err block_path(const struct backend_local *l, const char *tenant, const char *prefix,
                           const char *id, char ret[PATH_BYTES])
{
    char dir[PATH_BYTES], name[64];

    if (!is_tenant(tenant) || !is_block_id(id))
        return ERR_INVALID;
    (void)snprintf(name, sizeof name, "%s%s", prefix, id);
    enum err e = path_join(dir, l->root, "/", tenant);
    return e != ERR_OK ? e : path_join(ret, dir, "/", name);
}

static enum err block_file(const struct backend_local *l, const char *tenant, const char *id,
                           const char *file, char ret[PATH_BYTES])
{
    char dir[PATH_BYTES];
    enum err e = block_path(l, tenant, "", id, dir);

    return e != ERR_OK ? e : path_join(ret, dir, "/", file);
}

struct lister {
    const char *dir;
    backend_name_fn *fn;
    void *arg;
};

static enum err tenant_entry(void *arg, const char *name)
{
    const struct lister *l = arg;
    char path[PATH_BYTES];
    struct stat st;

    if (!is_tenant(name) || path_join(path, l->dir, "/", name) != ERR_OK)
        return ERR_OK;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? ERR_OK : fs_errno_err(errno);
    return S_ISDIR(st.st_mode) ? l->fn(l->arg, name) : ERR_OK;
}

static enum err local_tenants(struct backend *b, backend_name_fn *fn, void *arg)
{
    struct lister l = {local_of(b)->root, fn, arg};

    return fs_list(l.dir, tenant_entry, &l);
}

static enum err block_entry(void *arg, const char *name)
{
    const struct lister *l = arg;
    char dir[PATH_BYTES], path[PATH_BYTES];
    struct stat st;

    if (!is_block_id(name) || path_join(dir, l->dir, "/", name) != ERR_OK ||
        path_join(path, dir, "/", META_NAME) != ERR_OK)
        return ERR_OK;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? ERR_OK : ERR_IO;
    return l->fn(l->arg, name);
}

struct names {
    struct buf ids; /* ID_BYTES and a zero each */
};

static enum err note_name(void *arg, const char *name)
{
    struct names *n = arg;

    buf_append(&n->ids, (struct slice){(const uint8_t *)name, ID_BYTES + 1});
    return buf_err(&n->ids);
}

/* Whether something may have been published in a folder since `begun_ns`; its stamp may lag by a tick of the kernel's clock. */
static bool may_have_changed(const char *dir, const struct timespec *before, int64_t begun_ns)
{
    struct stat st;

    if (stat(dir, &st) != 0)
        return false;
    return st.st_mtim.tv_sec != before->tv_sec || st.st_mtim.tv_nsec != before->tv_nsec ||
           (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec >= begun_ns - STAMP_LAG_NS;
}

/* A listing that runs while a block takes the place of others could pass both by: the new one where it is not yet, the old ones where they are no more.
 * So it is only good when nothing was published meanwhile. */
static enum err list_steady(const char *dir, struct names *n)
{
    struct lister l = {dir, note_name, n};
    enum err e = ERR_OK;
    bool is_steady = false;

    for (int i = 0; i < LIST_TRIES && e == ERR_OK && !is_steady; i++) {
        struct stat st;
        struct timespec now, pause = {.tv_nsec = STAMP_LAG_NS};
        if (i > 0)
            (void)nanosleep(&pause, NULL);
        if (stat(dir, &st) != 0)
            return fs_errno_err(errno);
        (void)clock_gettime(CLOCK_REALTIME, &now); /* compared with the file system's stamps */
        buf_reset(&n->ids);
        e = fs_list(dir, block_entry, &l);
        is_steady =
            !may_have_changed(dir, &st.st_mtim, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    }
    return e;
}

static enum err local_blocks(struct backend *b, const char *tenant, backend_name_fn *fn, void *arg)
{
    char dir[PATH_BYTES];
    struct names n;

    if (!is_tenant(tenant))
        return ERR_INVALID;
    enum err e = path_join(dir, local_of(b)->root, "/", tenant);
    buf_init(&n.ids, IDS_BYTES_MAX);
    if (e == ERR_OK)
        e = list_steady(dir, &n);
    for (size_t at = 0; e == ERR_OK && at < n.ids.len; at += ID_BYTES + 1)
        e = fn(arg, (const char *)n.ids.ptr + at);
    buf_release(&n.ids);
    return e == ERR_NOT_FOUND ? ERR_OK : e; /* a tenant without blocks */
}

static enum err local_read_meta(struct backend *b, const char *tenant, const char *id,
                                struct buf *ret)
{
    char path[PATH_BYTES];
    enum err e = block_file(local_of(b), tenant, id, META_NAME, path);

    return e != ERR_OK ? e : fs_read_file(path, ret);
}

static enum err local_open(struct backend *b, const char *tenant, const char *id,
                           struct object **ret)
{
    char path[PATH_BYTES];
    enum err e = block_file(local_of(b), tenant, id, DATA_NAME, path);

    return e != ERR_OK ? e : object_file_open(path, ret);
}

/* For steps whose failure changes nothing that anyone sees; each use says why. */
static void ignore(enum err e)
{
    (void)e;
}

static enum err copy_bytes(int in, int out)
{
    uint8_t chunk[32 << 10];

    for (;;) {
        ssize_t n = read(in, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            return ERR_OK;
        enum err e = fs_write_all(out, (struct slice){chunk, (size_t)n});
        if (e != ERR_OK)
            return e;
    }
}

static enum err write_synced(const char *path, const char *from, struct slice bytes)
{
    int in = from != NULL ? open(from, O_RDONLY | O_CLOEXEC) : -1;
    int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    enum err e = out < 0 || (from != NULL && in < 0) ? fs_errno_err(errno) : ERR_OK;

    if (e == ERR_OK)
        e = from != NULL ? copy_bytes(in, out) : fs_write_all(out, bytes);
    if (e == ERR_OK)
        e = fs_sync_data(out);
    fs_close(&in);
    fs_close(&out);
    return e;
}

/* A second name for the finished file, so that it is still there for another try if anything below fails; a copy on another file system. */
static enum err data_into(const char *data_path, const char *dir)
{
    char path[PATH_BYTES];
    enum err e = path_join(path, dir, "/", DATA_NAME);

    if (e != ERR_OK)
        return e;
    if (link(data_path, path) == 0)
        return ERR_OK;
    if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != ENOTSUP)
        return fs_errno_err(errno);
    return write_synced(path, data_path, SLICE_NONE);
}

static enum err fill_dir(const char *dir, const char *data_path, struct slice meta_json)
{
    char path[PATH_BYTES];

    if (mkdir(dir, 0755) != 0)
        return fs_errno_err(errno);
    enum err e = data_into(data_path, dir);
    if (e == ERR_OK)
        e = path_join(path, dir, "/", META_NAME);
    if (e == ERR_OK)
        e = write_synced(path, NULL, meta_json);
    if (e == ERR_OK)
        e = fs_sync_path_dir(dir);
    return e;
}

/* A disk that refuses to say is no absence: what is removed then could be a block. */
static enum err has_file(const char *dir, const char *name, bool *ret)
{
    char path[PATH_BYTES];
    enum err e = path_join(path, dir, "/", name);

    if (e != ERR_OK)
        return e;
    *ret = access(path, F_OK) == 0;
    return *ret || errno == ENOENT || errno == ENOTDIR ? ERR_OK : fs_errno_err(errno);
}

static enum err show_dir(const char *tmp, const char *dir)
{
    bool has_meta = false, has_compacted = false;
    enum err e = has_file(dir, META_NAME, &has_meta);

    if (e == ERR_OK)
        e = has_file(dir, COMPACTED_NAME, &has_compacted);
    if (e != ERR_OK)
        return e;
    if (has_meta || has_compacted)
        return fs_remove_tree(
            tmp); /* the id names the content: it is here already, or in what replaced it */
    e = fs_remove_tree(dir); /* without a meta.json it is nobody's block */
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    return rename(tmp, dir) == 0 ? ERR_OK : fs_errno_err(errno);
}

static enum err local_publish(struct backend *b, const char *tenant, const char *id,
                              const char *data_path, struct slice meta_json)
{
    const struct backend_local *l = local_of(b);
    char dir[PATH_BYTES], tmp[PATH_BYTES], parent[PATH_BYTES];
    enum err e = block_path(l, tenant, "", id, dir);

    if (e == ERR_OK)
        e = block_path(l, tenant, ".tmp-", id, tmp);
    if (e == ERR_OK)
        e = path_join(parent, l->root, "/", tenant);
    if (e == ERR_OK)
        e = fs_mkdir_all(parent);
    if (e == ERR_OK)
        e = fs_remove_tree(tmp);
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = fill_dir(tmp, data_path, meta_json);
    if (e == ERR_OK)
        e = show_dir(tmp, dir);
    if (e == ERR_OK)
        e = fs_sync_path_dir(parent);
    if (e == ERR_OK)
        (void)unlink(data_path); /* the other name holds the bytes now; a leftover is only waste */
    return e;
}

static enum err hide_block(const struct backend_local *l, const char *tenant, const char *id)
{
    char dir[PATH_BYTES], meta[PATH_BYTES], compacted[PATH_BYTES];
    enum err e = block_path(l, tenant, "", id, dir);

    if (e == ERR_OK)
        e = path_join(meta, dir, "/", META_NAME);
    if (e == ERR_OK)
        e = path_join(compacted, dir, "/", COMPACTED_NAME);
    if (e != ERR_OK)
        return e;
    if (rename(meta, compacted) != 0)
        return errno == ENOENT && access(compacted, F_OK) == 0 ? ERR_OK : fs_errno_err(errno);
    (void)utimensat(AT_FDCWD, compacted, NULL,
                    0); /* when it was replaced; wrong by its age if this fails */
    return fs_sync_path_dir(dir);
}

/* ERR_CONFLICT: somebody else let another block take the place of one of them, or removed it. */
static enum err are_in_sight(const struct backend_local *l, const char *tenant, const char *new_id,
                             const char *const *ids, uint32_t count)
{
    char meta[PATH_BYTES];
    enum err e = block_file(l, tenant, new_id, META_NAME, meta);

    if (e == ERR_OK && access(meta, F_OK) == 0)
        return ERR_OK; /* it was published before, and only marks are missing */
    for (uint32_t i = 0; i < count && e == ERR_OK; i++) {
        e = block_file(l, tenant, ids[i], META_NAME, meta);
        if (e == ERR_OK && access(meta, F_OK) != 0)
            e = errno == ENOENT || errno == ENOTDIR ? ERR_CONFLICT : fs_errno_err(errno);
    }
    return e;
}

/* Two that merge blocks of which they have some in common must not both publish: the second would find its inputs half gone, and leave spans in two
 * blocks.  So one looks, publishes and marks at a time, over processes. */
static enum err local_replace(struct backend *b, const char *tenant, const char *id,
                              const char *data_path, struct slice meta_json,
                              const char *const *old_ids, uint32_t old_count)
{
    const struct backend_local *l = local_of(b);
    char dir[PATH_BYTES], lock[PATH_BYTES];
    int fd = -1;
    enum err e = is_tenant(tenant) ? path_join(dir, l->root, "/", tenant) : ERR_INVALID;

    if (e == ERR_OK)
        e = path_join(lock, dir, "/", REPLACE_NAME);
    if (e == ERR_OK)
        e = fs_mkdir_all(dir);
    if (e == ERR_OK)
        e = fs_lock(lock, &fd);
    if (e == ERR_OK)
        e = are_in_sight(l, tenant, id, old_ids, old_count);
    if (e == ERR_OK)
        e = local_publish(b, tenant, id, data_path, meta_json);
    for (uint32_t i = 0; i < old_count && e == ERR_OK; i++) {
        e = hide_block(l, tenant, old_ids[i]);
        if (e == ERR_NOT_FOUND) /* removed by somebody else meanwhile */
            e = ERR_OK;
    }
    fs_close(&fd);
    return e;
}

struct replaced_lister {
    const char *dir;
    backend_replaced_fn *fn;
    void *arg;
};

static enum err replaced_entry(void *arg, const char *name)
{
    const struct replaced_lister *l = arg;
    char dir[PATH_BYTES], path[PATH_BYTES];
    struct stat st;

    if (!is_block_id(name) || path_join(dir, l->dir, "/", name) != ERR_OK ||
        path_join(path, dir, "/", COMPACTED_NAME) != ERR_OK)
        return ERR_OK;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR ? ERR_OK : ERR_IO;
    return l->fn(l->arg, name, (uint64_t)st.st_mtim.tv_sec * 1000000000ull);
}

static enum err local_replaced(struct backend *b, const char *tenant, backend_replaced_fn *fn,
                               void *arg)
{
    char dir[PATH_BYTES];
    enum err e = is_tenant(tenant) ? path_join(dir, local_of(b)->root, "/", tenant) : ERR_INVALID;
    struct replaced_lister l = {dir, fn, arg};

    if (e == ERR_OK)
        e = fs_list(dir, replaced_entry, &l);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err local_remove(struct backend *b, const char *tenant, const char *id)
{
    const struct backend_local *l = local_of(b);
    char dir[PATH_BYTES], gone[PATH_BYTES], parent[PATH_BYTES];
    enum err e = block_path(l, tenant, "", id, dir);

    if (e == ERR_OK)
        e = block_path(l, tenant, ".gone-", id, gone);
    if (e == ERR_OK)
        e = path_join(parent, l->root, "/", tenant);
    if (e == ERR_OK)
        e = fs_remove_tree(gone);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    if (rename(dir, gone) != 0)
        return fs_errno_err(errno);
    e = fs_sync_path_dir(parent);
    return e != ERR_OK ? e : fs_remove_tree(gone);
}

static enum err local_quarantine(struct backend *b, const char *tenant, const char *id,
                                 const char *why)
{
    const struct backend_local *l = local_of(b);
    char dir[PATH_BYTES], parent[PATH_BYTES], away[PATH_BYTES], to[PATH_BYTES], name[64];
    enum err e = block_path(l, tenant, "", id, dir);

    if (e == ERR_OK)
        e = path_join(parent, l->root, "/" QUARANTINE_NAME "/", tenant);
    if (e == ERR_OK)
        e = fs_mkdir_all(parent);
    for (int i = 0; e == ERR_OK; i++) {
        (void)snprintf(name, sizeof name, i == 0 ? "%s" : "%s.%d", id, i);
        e = path_join(to, parent, "/", name);
        if (e == ERR_OK && rename(dir, to) == 0)
            break;
        if (e == ERR_OK && ((errno != EEXIST && errno != ENOTEMPTY) || i == 100))
            e = fs_errno_err(errno);
    }
    if (e == ERR_OK)
        e = fs_sync_path_dir(parent);
    if (e == ERR_OK)
        e = path_join(away, l->root, "/", tenant);
    if (e == ERR_OK)
        e = fs_sync_path_dir(away);
    if (e == ERR_OK && path_join(away, to, "/", WHY_NAME) == ERR_OK)
        ignore(fs_replace(
            away,
            slice_str(why))); /* a note for people; the block is out of sight without it too */
    return e;
}

/* "<id>" or "<id>.<number>", as local_quarantine names them; the id. */
static bool is_quarantined(const char *name, char ret_id[ID_BYTES + 1])
{
    size_t n = strnlen(name, ID_BYTES + 8);

    if (n < ID_BYTES || n >= ID_BYTES + 8)
        return false;
    memcpy(ret_id, name, ID_BYTES);
    ret_id[ID_BYTES] = '\0';
    return is_block_id(ret_id) &&
           (n == ID_BYTES || (name[ID_BYTES] == '.' &&
                              strspn(name + ID_BYTES + 1, "0123456789") == n - ID_BYTES - 1));
}

struct quarantine {
    const char *dir;    /* of a tenant's, or of all */
    const char *tenant; /* being listed */
    backend_quarantined_fn *fn;
    void *arg;
};

static enum err quarantined_block(void *arg, const char *name)
{
    const struct quarantine *q = arg;
    char dir[PATH_BYTES], path[PATH_BYTES], id[ID_BYTES + 1];
    struct buf why;

    if (!is_quarantined(name, id) || path_join(dir, q->dir, "/", name) != ERR_OK ||
        path_join(path, dir, "/", WHY_NAME) != ERR_OK)
        return ERR_OK;
    buf_init(&why, WHY_BYTES_MAX);
    ignore(fs_read_file(path, &why)); /* a note for people: it may be missing */
    buf_append_byte(&why, '\0');
    enum err e =
        buf_err(&why) == ERR_NOMEM
            ? ERR_NOMEM
            : q->fn(q->arg, q->tenant, name, buf_err(&why) == ERR_OK ? (const char *)why.ptr : "");
    buf_release(&why);
    return e;
}

static enum err quarantined_tenant(void *arg, const char *tenant)
{
    const struct quarantine *all = arg;
    char dir[PATH_BYTES];

    if (!is_tenant(tenant) || path_join(dir, all->dir, "/", tenant) != ERR_OK)
        return ERR_OK;
    struct quarantine q = {dir, tenant, all->fn, all->arg};
    return fs_list(dir, quarantined_block, &q);
}

static enum err local_quarantined(struct backend *b, backend_quarantined_fn *fn, void *arg)
{
    char dir[PATH_BYTES];
    enum err e = path_join(dir, local_of(b)->root, "/", QUARANTINE_NAME);

    if (e != ERR_OK)
        return e;
    struct quarantine q = {dir, NULL, fn, arg};
    e = fs_list(dir, quarantined_tenant, &q);
    return e == ERR_NOT_FOUND ? ERR_OK : e; /* nothing was ever moved there */
}

static enum err local_restore(struct backend *b, const char *tenant, const char *name)
{
    const struct backend_local *l = local_of(b);
    char id[ID_BYTES + 1], parent[PATH_BYTES], from[PATH_BYTES], to[PATH_BYTES], home[PATH_BYTES];

    if (!is_tenant(tenant) || !is_quarantined(name, id))
        return ERR_INVALID;
    enum err e = path_join(parent, l->root, "/" QUARANTINE_NAME "/", tenant);
    if (e == ERR_OK)
        e = path_join(from, parent, "/", name);
    if (e == ERR_OK)
        e = path_join(home, l->root, "/", tenant);
    if (e == ERR_OK)
        e = path_join(to, home, "/", id);
    if (e == ERR_OK)
        e = fs_mkdir_all(home);
    if (e == ERR_OK && rename(from, to) != 0)
        e = errno == EEXIST || errno == ENOTEMPTY ? ERR_CONFLICT : fs_errno_err(errno);
    if (e == ERR_OK)
        e = fs_sync_path_dir(home);
    if (e == ERR_OK)
        e = fs_sync_path_dir(parent);
    if (e == ERR_OK && path_join(from, to, "/", WHY_NAME) == ERR_OK)
        (void)unlink(from); /* the note has nothing to say any more */
    return e;
}

static void local_free(struct backend *b)
{
    free(b);
}

static const struct backend_ops local_ops = {.tenants = local_tenants,
                                             .blocks = local_blocks,
                                             .read_meta = local_read_meta,
                                             .open = local_open,
                                             .publish = local_publish,
                                             .replace = local_replace,
                                             .replaced = local_replaced,
                                             .remove = local_remove,
                                             .quarantine = local_quarantine,
                                             .free = local_free,
                                             .quarantined = local_quarantined,
                                             .restore = local_restore};

static enum err leftover_entry(void *arg, const char *name)
{
    const char *dir = arg;
    char path[PATH_BYTES];
    struct stat st;
    struct timespec now;

    bool is_ours = (strncmp(name, ".tmp-", 5) == 0 && is_block_id(name + 5)) ||
                   (strncmp(name, ".gone-", 6) == 0 && is_block_id(name + 6));
    if (!is_ours || path_join(path, dir, "/", name) != ERR_OK || stat(path, &st) != 0)
        return ERR_OK;
    (void)clock_gettime(
        CLOCK_REALTIME,
        &now); /* compared with what the file system stamped, not with injected time */
    if (now.tv_sec - st.st_mtim.tv_sec > LEFTOVER_SECONDS)
        ignore(fs_remove_tree(path)); /* never visible; another try comes with the next start */
    return ERR_OK;
}

static enum err sweep_tenant(void *arg, const char *tenant)
{
    const struct backend_local *l = arg;
    char dir[PATH_BYTES];

    if (path_join(dir, l->root, "/", tenant) != ERR_OK)
        return ERR_OK;
    return fs_list(dir, leftover_entry, dir);
}

static enum err open_root(const char *root, bool is_read_only, struct backend **ret,
                          struct err_detail *reterr_detail)
{
    assert(root != NULL && ret != NULL);
    struct backend_local *l = calloc(1, sizeof *l);

    if (l == NULL)
        return ERR_NOMEM;
    l->backend.ops = &local_ops;
    enum err e = root[0] == 0 ? ERR_INVALID : path_join(l->root, root, "", "");
    if (e == ERR_OK && !is_read_only)
        e = fs_mkdir_all(root);
    if (e == ERR_OK && access(root, R_OK | X_OK | (is_read_only ? 0 : W_OK)) != 0)
        e = fs_errno_err(errno);
    if (e != ERR_OK) {
        free(l);
        return err_detail_set(reterr_detail, e,
                              "the folder of the blocks can not be used: %.400s (%s)", root,
                              err_name(e));
    }
    if (!is_read_only)
        ignore(local_tenants(&l->backend, sweep_tenant,
                             l)); /* leftovers only: a failure shows at the first real use */
    *ret = &l->backend;
    return ERR_OK;
}

enum err backend_local_new(const char *root, struct backend **ret, struct err_detail *reterr_detail)
{
    return open_root(root, false, ret, reterr_detail);
}

enum err backend_local_open(const char *root, struct backend **ret,
                            struct err_detail *reterr_detail)
{
    return open_root(root, true, ret, reterr_detail);
}
