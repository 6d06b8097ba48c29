#include "common/store/wal.h"

#include "common/base/rng.h"
#include "common/store/wal_priv.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, IOV_PER_WRITE = 512 };

struct wal {
    char dir[PATH_BYTES - WAL_NAME_BYTES];
    char instance[WAL_INSTANCE_BYTES_MAX + 1];
    uint64_t segment_bytes_max;
    const struct wal_io *io;
    uint64_t next_lsn;
    int fd; /* of the newest file; -1: the next append makes a new one */
    uint32_t tag;
    uint64_t offset, synced_offset;
    enum err lost; /* appends that a failed sync lost: the next wal_sync tells it */
    struct wal_files files;
    uint8_t *heads; /* scratch: heads of a group's frames */
    struct iovec *iov;
    uint32_t group_cap;
};

static int io_open(const char *path, int flags, unsigned mode)
{
    return open(path, flags, mode);
}

static enum err io_pwritev(int fd, void *iov, int iov_count, uint64_t offset)
{
    return fs_pwritev_all(fd, iov, iov_count, offset);
}

static enum err io_truncate(int fd, uint64_t bytes)
{
    return ftruncate(fd, (off_t)bytes) == 0 ? ERR_OK : ERR_IO;
}

const struct wal_io wal_io_system = {io_open, io_pwritev, fs_sync_data, fs_sync_path_dir,
                                     io_truncate};

static struct wal_file *newest(struct wal *w)
{
    assert(w->files.count > 0);
    return &w->files.items[w->files.count - 1];
}

static bool is_dirty(const struct wal *w)
{
    return w->fd >= 0 && w->offset > w->synced_offset;
}

/* The open file is never written or synced again.  What was not synced is taken back, so that it does not come again at replay as spans
 * that their sender was told to send elsewhere. */
static void abandon(struct wal *w)
{
    assert(w->fd >= 0);
    if (w->io->truncate != NULL && w->io->truncate(w->fd, w->synced_offset) == ERR_OK)
        newest(w)->bytes = w->synced_offset;
    fs_close(&w->fd);
}

/* Everything written so far, made durable; a failure is remembered for wal_sync and the file given up. */
static enum err sync_file(struct wal *w)
{
    if (!is_dirty(w))
        return ERR_OK;
    enum err e = w->io->sync(w->fd);
    if (e == ERR_OK) {
        w->synced_offset = w->offset;
    } else {
        abandon(w);
        w->lost = e;
    }
    return e;
}

static enum err end_file(struct wal *w)
{
    enum err e = sync_file(w);

    fs_close(&w->fd);
    return e;
}

static enum err start_file(struct wal *w)
{
    struct wal_file f = {.has_header = true, .bytes = WAL_HEADER_BYTES};
    struct wal_header h = {.version = WAL_VERSION};
    uint8_t bytes[WAL_HEADER_BYTES];
    char path[PATH_BYTES];
    int fd = -1;

    assert(w->fd < 0);
    rng_bytes_secure(&h.tag, sizeof h.tag);
    memcpy(h.instance, w->instance, sizeof h.instance);
    for (int attempt = 0; fd < 0; attempt++) {
        wal_format_name(w->next_lsn, f.name);
        (void)snprintf(path, sizeof path, "%s/%s", w->dir, f.name);
        fd = w->io->open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        if (fd < 0 && (errno != EEXIST || attempt == 1000))
            return fs_errno_err(errno) == ERR_FULL ? ERR_FULL : ERR_IO;
        if (fd < 0)
            w->next_lsn++;
    }
    f.first_lsn = h.first_lsn = w->next_lsn;
    f.tag = h.tag;
    wal_format_header(&h, bytes);
    struct iovec iov = {bytes, sizeof bytes};
    enum err e = wal_format_list_add(&w->files, &f);
    if (e == ERR_OK)
        e = w->io->pwritev(fd, &iov, 1, 0);
    if (e == ERR_OK)
        e = w->io->sync_dir(w->dir);
    if (e != ERR_OK) {
        fs_close(&fd);
        return e;
    }
    w->fd = fd;
    w->tag = h.tag;
    w->offset = WAL_HEADER_BYTES;
    w->synced_offset = 0;
    return ERR_OK;
}

enum err wal_open(const char *dir, uint64_t next_lsn, const struct wal_options *options,
                  struct wal **ret)
{
    assert(dir != NULL && ret != NULL && next_lsn > 0);
    struct wal *w = calloc(1, sizeof *w);

    if (w == NULL)
        return ERR_NOMEM;
    w->fd = -1;
    w->io = options->io != NULL ? options->io : &wal_io_system;
    w->segment_bytes_max = options->segment_bytes_max != 0 ? options->segment_bytes_max : 64 << 20;
    w->next_lsn = next_lsn;
    enum err e = ERR_OK;
    if ((size_t)snprintf(w->dir, sizeof w->dir, "%s", dir) >= sizeof w->dir)
        e = ERR_TOO_LARGE;
    if (options->instance_id != NULL)
        (void)snprintf(w->instance, sizeof w->instance, "%s", options->instance_id);
    if (e == ERR_OK)
        e = fs_mkdir_all(dir);
    if (e == ERR_OK)
        e = wal_format_list(dir, &w->files);
    if (e != ERR_OK) {
        wal_close(w);
        return e;
    }
    if (w->files.count > 0 && newest(w)->first_lsn >= w->next_lsn)
        w->next_lsn = newest(w)->first_lsn + 1;
    *ret = w;
    return ERR_OK;
}

static enum err group_room(struct wal *w, uint32_t count)
{
    if (count <= w->group_cap)
        return ERR_OK;
    uint8_t *heads = realloc(w->heads, (size_t)count * WAL_FRAME_HEAD_BYTES_MAX);
    if (heads == NULL)
        return ERR_NOMEM;
    w->heads = heads;
    struct iovec *iov = realloc(w->iov, (size_t)count * 2 * sizeof *iov);
    if (iov == NULL)
        return ERR_NOMEM;
    w->iov = iov;
    w->group_cap = count;
    return ERR_OK;
}

static enum err group_write(struct wal *w, struct wal_frame *frames, uint32_t count,
                            uint64_t *ret_bytes)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t *head = w->heads + (size_t)i * WAL_FRAME_HEAD_BYTES_MAX;
        size_t head_bytes = wal_format_frame_head(&frames[i], w->tag, head);
        void *payload;

        memcpy(&payload, &frames[i].payload.ptr, sizeof payload); /* an iovec has no const */
        w->iov[2 * i] = (struct iovec){head, head_bytes};
        w->iov[2 * i + 1] = (struct iovec){payload, frames[i].payload.len};
    }
    for (uint32_t at = 0; at < 2 * count; at += IOV_PER_WRITE) {
        uint32_t n = 2 * count - at < IOV_PER_WRITE ? 2 * count - at : IOV_PER_WRITE;
        uint64_t part = 0;

        for (uint32_t i = 0; i < n; i++)
            part += w->iov[at + i].iov_len;
        enum err e = w->io->pwritev(w->fd, w->iov + at, (int)n, w->offset + bytes);
        if (e != ERR_OK)
            return e;
        bytes += part;
    }
    *ret_bytes = bytes;
    return ERR_OK;
}

enum err wal_append(struct wal *w, struct wal_frame *frames, uint32_t count)
{
    assert(count > 0 && count <= WAL_GROUP_MAX);
    uint64_t want = 0, wrote = 0;

    for (uint32_t i = 0; i < count; i++) {
        size_t bytes = wal_format_frame_bytes(&frames[i]);
        if (bytes > WAL_FRAME_BYTES_MAX || frames[i].tenant.len > WAL_TENANT_BYTES_MAX ||
            frames[i].first_target.len > WAL_TARGET_BYTES_MAX)
            return ERR_TOO_LARGE;
        want += bytes;
    }
    enum err e = group_room(w, count);
    if (e != ERR_OK)
        return e;
    if (w->fd >= 0 && w->offset > WAL_HEADER_BYTES && w->offset + want > w->segment_bytes_max)
        e = end_file(w);
    if (e == ERR_OK && w->fd < 0)
        e = start_file(w);
    for (uint32_t i = 0; i < count; i++)
        frames[i].lsn = w->next_lsn++;
    if (e != ERR_OK)
        return e;
    e = group_write(w, frames, count, &wrote);
    if (e != ERR_OK) {
        /* Groups before this one are whole: they can still be made durable, once. */
        if (sync_file(w) == ERR_OK && w->fd >= 0)
            abandon(w);
        return e;
    }
    w->offset += wrote;
    newest(w)->bytes = w->offset;
    return ERR_OK;
}

enum err wal_sync(struct wal *w)
{
    assert(w != NULL);
    (void)sync_file(w); /* a failure is in `lost` */
    enum err e = w->lost;
    w->lost = ERR_OK;
    return e;
}

enum err wal_rotate(struct wal *w, uint64_t *ret_last_lsn)
{
    assert(ret_last_lsn != NULL);
    enum err e = end_file(w);

    *ret_last_lsn = w->next_lsn - 1;
    return e;
}

enum err wal_trim(struct wal *w, uint64_t upto)
{
    assert(w != NULL);
    enum err e = ERR_OK;
    uint32_t gone = 0;

    if (w->files.count > 0 && w->fd < 0 && w->next_lsn - 1 <= upto &&
        newest(w)->bytes > WAL_HEADER_BYTES) {
        e = start_file(w);
        if (e == ERR_OK)
            e = sync_file(w);
    }
    /* The frames of a file are below the first of the next one. */
    while (e == ERR_OK && gone + 1 < w->files.count &&
           w->files.items[gone + 1].first_lsn - 1 <= upto) {
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof path, "%s/%s", w->dir, w->files.items[gone].name);
        if (unlink(path) != 0 && errno != ENOENT)
            e = fs_errno_err(errno);
        else
            gone++;
    }
    if (gone == 0)
        return e;
    w->files.count -= gone;
    memmove(w->files.items, w->files.items + gone, w->files.count * sizeof *w->files.items);
    enum err dir_err = w->io->sync_dir(w->dir);
    return e != ERR_OK ? e : dir_err;
}

uint64_t wal_bytes(const struct wal *w)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < w->files.count; i++)
        bytes += w->files.items[i].bytes;
    return bytes;
}

void wal_close(struct wal *w)
{
    if (w == NULL)
        return;
    fs_close(&w->fd);
    wal_format_list_release(&w->files);
    free(w->heads);
    free(w->iov);
    free(w);
}

#define SAVED_NAME "frame-%016llx.wal"

uint64_t wal_saved_lsn(const char *name)
{
    char again[WAL_NAME_BYTES];
    unsigned long long lsn = 0;

    if (sscanf(name, "frame-%16llx", &lsn) != 1)
        return 0;
    (void)snprintf(again, sizeof again, SAVED_NAME, lsn);
    return strcmp(name, again) == 0 ? lsn : 0;
}

enum err wal_save_frame(const char *dir, const struct wal_frame *f)
{
    struct wal_header h = {.version = WAL_VERSION, .first_lsn = f->lsn};
    uint8_t header[WAL_HEADER_BYTES], head[WAL_FRAME_HEAD_BYTES_MAX];
    char folder[PATH_BYTES], path[PATH_BYTES + WAL_NAME_BYTES];
    void *payload;

    if ((size_t)snprintf(folder, sizeof folder, "%s/quarantine", dir) >= sizeof folder)
        return ERR_TOO_LARGE;
    (void)snprintf(path, sizeof path, "%s/" SAVED_NAME, folder, (unsigned long long)f->lsn);
    rng_bytes_secure(&h.tag, sizeof h.tag);
    wal_format_header(&h, header);
    memcpy(&payload, &f->payload.ptr, sizeof payload); /* an iovec has no const */
    struct iovec iov[] = {{header, sizeof header},
                          {head, wal_format_frame_head(f, h.tag, head)},
                          {payload, f->payload.len}};
    enum err e = fs_mkdir_all(folder);
    if (e != ERR_OK)
        return e;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return fs_errno_err(errno);
    e = fs_pwritev_all(fd, iov, 3, 0);
    if (e == ERR_OK)
        e = fs_sync_data(fd);
    fs_close(&fd);
    return e == ERR_OK ? fs_sync_path_dir(folder) : e;
}
