/* Large files in parts: an upload is begun, filled, and becomes the object when it is completed. */
#include "common/objstore/remote.h"
#include "common/sys/fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Completed already, when the answer to an attempt before was lost. */
enum err remote_upload_is_there(struct remote_upload *u)
{
    struct bucket *b = &u->remote->bucket;
    uint64_t bytes = 0;
    enum err e = b->ops->head(b, u->key, &bytes);

    return e == ERR_OK && bytes != u->bytes ? ERR_CORRUPT : e;
}

static enum err upload_part(struct remote_upload *u, const struct remote_upload_ops *ops,
                            unsigned part, uint8_t *scratch)
{
    uint64_t at = part * u->part_bytes, left = u->bytes - at;
    size_t len = (size_t)(left < u->part_bytes ? left : u->part_bytes);
    enum err e = fs_pread_exact(u->fd, scratch, len, at);

    return e == ERR_OK ? ops->part(u, part, (struct slice){scratch, len}) : e;
}

static enum err upload_parts(struct remote_upload *u, const struct remote_upload_ops *ops)
{
    uint8_t *scratch = malloc(u->part_bytes);
    enum err e = scratch == NULL ? ERR_NOMEM : ops->begin(u);

    for (unsigned i = 0; i < u->part_count && e == ERR_OK; i++)
        e = upload_part(u, ops, i, scratch);
    free(scratch);
    if (e == ERR_OK)
        e = ops->complete(u);
    if (e != ERR_OK && u->id != NULL)
        ops->call_off(u);
    return e;
}

static enum err upload_file(struct remote_upload *u, const char *path,
                            const struct remote_upload_ops *ops)
{
    struct stat st;

    u->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (u->fd < 0)
        return ERR_IO;
    enum err e = fstat(u->fd, &st) == 0 ? ERR_OK : ERR_IO;
    if (e == ERR_OK) {
        u->bytes = (uint64_t)st.st_size;
        while (u->bytes / u->part_bytes >= ops->parts_max)
            u->part_bytes *= 2;
        u->part_count = (unsigned)((u->bytes + u->part_bytes - 1) / u->part_bytes);
        u->etags = calloc(u->part_count, sizeof *u->etags);
        e = u->etags == NULL ? ERR_NOMEM : ERR_OK;
    }
    arena_init(&u->arena, NULL);
    if (e == ERR_OK)
        e = upload_parts(u, ops);
    arena_release(&u->arena);
    free(u->etags);
    fs_close(&u->fd);
    return e;
}

enum err remote_put_file(struct remote *r, const char *key, const char *path, uint64_t part_bytes,
                         const struct remote_upload_ops *ops)
{
    struct remote_upload u = {.remote = r, .key = key, .part_bytes = part_bytes};
    struct stat st;
    struct buf bytes;

    if (stat(path, &st) != 0)
        return ERR_NOT_FOUND;
    if ((uint64_t)st.st_size > part_bytes)
        return upload_file(&u, path, ops);
    buf_init(&bytes, part_bytes + 1);
    enum err e = fs_read_file(path, &bytes);
    if (e == ERR_OK)
        e = r->bucket.ops->put(&r->bucket, key, buf_slice(&bytes));
    buf_release(&bytes);
    return e;
}
