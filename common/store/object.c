#include "common/store/backend.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

struct file_object {
    struct object object; /* first */
    int fd;
};

static enum err file_read(struct object *o, enum object_part part, uint64_t offset, void *ret,
                          size_t len)
{
    const struct file_object *f = (const struct file_object *)o;
    (void)part;

    if (offset > o->bytes || len > o->bytes - offset)
        return ERR_CORRUPT;
    return fs_pread_exact(f->fd, ret, len, offset);
}

static void file_close(struct object *o)
{
    struct file_object *f = (struct file_object *)o;

    fs_close(&f->fd);
    free(f);
}

static const struct object_ops file_ops = {.read = file_read, .close = file_close};

enum err object_file_open(const char *path, struct object **ret)
{
    assert(path != NULL && ret != NULL);
    struct file_object *f = calloc(1, sizeof *f);
    struct stat st;

    if (f == NULL)
        return ERR_NOMEM;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    enum err e = f->fd < 0 || fstat(f->fd, &st) != 0 ? fs_errno_err(errno) : ERR_OK;
    if (e == ERR_OK && !S_ISREG(st.st_mode))
        e = ERR_INVALID;
    if (e != ERR_OK) {
        file_close(&f->object);
        return e;
    }
    f->object.ops = &file_ops;
    f->object.bytes = (uint64_t)st.st_size;
    *ret = &f->object;
    return ERR_OK;
}

struct memory_object {
    struct object object; /* first */
    struct slice bytes;
};

static enum err memory_read(struct object *o, enum object_part part, uint64_t offset, void *ret,
                            size_t len)
{
    const struct memory_object *m = (const struct memory_object *)o;
    (void)part;

    if (offset > o->bytes || len > o->bytes - offset)
        return ERR_CORRUPT;
    if (len > 0)
        memcpy(ret, m->bytes.ptr + offset, len);
    return ERR_OK;
}

static void memory_close(struct object *o)
{
    free(o);
}

static const struct object_ops memory_ops = {.read = memory_read, .close = memory_close};

enum err object_memory(struct slice bytes, struct object **ret)
{
    assert(ret != NULL);
    struct memory_object *m = calloc(1, sizeof *m);

    if (m == NULL)
        return ERR_NOMEM;
    *m = (struct memory_object){.object = {.ops = &memory_ops, .bytes = bytes.len}, .bytes = bytes};
    *ret = &m->object;
    return ERR_OK;
}
