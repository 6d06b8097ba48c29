#include "common/sys/fs.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { FS_READ_STEP_BYTES = 64 << 10, FS_DEPTH_MAX = 64 };

enum err fs_errno_err(int error_number)
{
    switch (error_number) {
    case 0: return ERR_OK;
    case ENOSPC:
    case EDQUOT: return ERR_FULL;
    case ENOENT: return ERR_NOT_FOUND;
    case ENOMEM: return ERR_NOMEM;
    case EACCES:
    case EPERM:
    case EROFS: return ERR_FORBIDDEN;
    default: return ERR_IO;
    }
}

enum err fs_write_all(int fd, struct slice data)
{
    while (data.len != 0) {
        ssize_t n = write(fd, data.ptr, data.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fs_errno_err(errno);
        data.ptr += n;
        data.len -= (size_t)n;
    }
    return ERR_OK;
}

enum err fs_pwritev_all(int fd, struct iovec *iov, int iov_count, uint64_t offset)
{
    assert(iov_count >= 0);
    while (iov_count > 0) {
        if (iov->iov_len == 0) {
            iov++;
            iov_count--;
            continue;
        }
        ssize_t n = pwritev(fd, iov, iov_count < IOV_MAX ? iov_count : IOV_MAX, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fs_errno_err(errno);
        size_t left = (size_t)n;
        offset += left;
        for (; iov_count > 0 && left >= iov->iov_len; iov++, iov_count--)
            left -= iov->iov_len;
        if (left != 0) {
            assert(iov_count > 0);
            iov->iov_base = (uint8_t *)iov->iov_base + left;
            iov->iov_len -= left;
        }
    }
    return ERR_OK;
}

enum err fs_pread_exact(int fd, void *ret, size_t len, uint64_t offset)
{
    uint8_t *at = ret;

    while (len != 0) {
        ssize_t n = pread(fd, at, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fs_errno_err(errno);
        if (n == 0)
            return ERR_CORRUPT;
        at += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return ERR_OK;
}

enum err fs_sync_data(int fd)
{
    return fdatasync(fd) == 0 ? ERR_OK : fs_errno_err(errno);
}

enum err fs_sync_dir(int dir_fd)
{
    return fsync(dir_fd) == 0 ? ERR_OK : fs_errno_err(errno);
}

enum err fs_sync_path_dir(const char *dir_path)
{
    int fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return fs_errno_err(errno);
    enum err e = fs_sync_dir(fd);
    fs_close(&fd);
    return e;
}

enum err fs_read_file(const char *path, struct buf *ret)
{
    size_t len_before = ret->len;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return fs_errno_err(errno);
    enum err e = ERR_OK;
    for (;;) {
        /* One byte more than may be taken, so that a file of exactly the maximum still shows its end. */
        uint8_t over;
        size_t room = ret->len_max - ret->len;
        size_t step = room < FS_READ_STEP_BYTES ? room : (size_t)FS_READ_STEP_BYTES;
        uint8_t *at = step == 0 ? &over : buf_extend(ret, step);
        if (at == NULL) {
            e = buf_err(ret);
            break;
        }
        ssize_t n = read(fd, at, step == 0 ? 1 : step);
        int error_number = errno;
        ret->len -= n < 0 || step == 0 ? step : step - (size_t)n;
        if (n < 0 && error_number == EINTR)
            continue;
        if (n < 0)
            e = fs_errno_err(error_number);
        else if (n != 0 && step == 0)
            e = ERR_TOO_LARGE;
        if (n <= 0 || e != ERR_OK)
            break;
    }
    fs_close(&fd);
    if (e != ERR_OK)
        ret->len = len_before;
    return e;
}

/* The folder of `path` as text in ret[PATH_MAX]. */
static enum err parent_of(const char *path, char *ret)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);

    if (len >= PATH_MAX)
        return ERR_TOO_LARGE;
    memcpy(ret, slash == NULL ? "." : path, len);
    ret[len] = '\0';
    return ERR_OK;
}

enum err fs_replace(const char *path, struct slice data)
{
    char tmp[PATH_MAX], dir[PATH_MAX];
    int n = snprintf(tmp, sizeof tmp, "%s.tmp", path);

    if (n < 0 || (size_t)n >= sizeof tmp)
        return ERR_TOO_LARGE;
    enum err e = parent_of(path, dir);
    if (e != ERR_OK)
        return e;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return fs_errno_err(errno);
    e = fs_write_all(fd, data);
    if (e != ERR_OK)
        goto out;
    e = fs_sync_data(fd);
    if (e != ERR_OK)
        goto out;
    if (rename(tmp, path) != 0) {
        e = fs_errno_err(errno);
        goto out;
    }
    fs_close(&fd);
    return fs_sync_path_dir(dir);
out:
    fs_close(&fd);
    (void)unlink(tmp); /* best effort: e is already the news */
    return e;
}

static enum err mkdir_one(const char *path)
{
    char dir[PATH_MAX];
    struct stat st;

    if (mkdir(path, 0755) == 0) {
        enum err e = parent_of(path, dir);
        return e == ERR_OK ? fs_sync_path_dir(dir) : e;
    }
    int error_number = errno;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return ERR_OK;
    return fs_errno_err(error_number);
}

enum err fs_mkdir_all(const char *path)
{
    char at[PATH_MAX];
    size_t len = strlen(path);

    if (len == 0)
        return ERR_INVALID;
    if (len >= sizeof at)
        return ERR_TOO_LARGE;
    memcpy(at, path, len + 1);
    while (len > 1 && at[len - 1] == '/')
        at[--len] = '\0';
    for (size_t i = 1; i < len; i++) {
        if (at[i] != '/' || at[i - 1] == '/')
            continue;
        at[i] = '\0';
        enum err e = mkdir_one(at);
        at[i] = '/';
        if (e != ERR_OK)
            return e;
    }
    return mkdir_one(at);
}

static enum err remove_at(int dir_fd, const char *name, unsigned depth_left);

/* Takes dir_fd. */
static enum err remove_entries(int dir_fd, unsigned depth_left)
{
    DIR *dir = fdopendir(dir_fd);

    if (dir == NULL) {
        enum err e = fs_errno_err(errno);
        fs_close(&dir_fd);
        return e;
    }
    enum err e = ERR_OK;
    while (e == ERR_OK) {
        errno = 0;
        struct dirent *d = readdir(dir);
        if (d == NULL) {
            e = fs_errno_err(errno);
            break;
        }
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            e = remove_at(dirfd(dir), d->d_name, depth_left);
    }
    (void)closedir(dir); /* was only read */
    return e;
}

/* A name that is already gone is no error: somebody else removed it.  Symbolic links are removed, never followed. */
static enum err remove_at(int dir_fd, const char *name, unsigned depth_left)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return ERR_OK;
    if (errno != EISDIR && errno != EPERM)
        return fs_errno_err(errno);
    if (depth_left == 0)
        return ERR_TOO_LARGE;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : fs_errno_err(errno);
    enum err e = remove_entries(fd, depth_left - 1);
    if (e == ERR_OK && unlinkat(dir_fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        e = fs_errno_err(errno);
    return e;
}

enum err fs_remove_tree(const char *path)
{
    assert(path[0] != '\0');
    return remove_at(AT_FDCWD, path, FS_DEPTH_MAX);
}

enum err fs_free_bytes(const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    struct statvfs st;

    if (statvfs(path, &st) != 0)
        return fs_errno_err(errno);
    *ret_free = (uint64_t)st.f_bavail * st.f_frsize;
    *ret_total = (uint64_t)st.f_blocks * st.f_frsize;
    return ERR_OK;
}

enum err fs_lock(const char *path, int *ret_fd)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        return fs_errno_err(errno);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum err e = errno == EWOULDBLOCK ? ERR_CONFLICT : fs_errno_err(errno);
        fs_close(&fd);
        return e;
    }
    *ret_fd = fd;
    return ERR_OK;
}

void fs_close(int *fd)
{
    if (*fd < 0)
        return;
    int error_number = errno;
    (void)close(*fd); /* what had to be durable was synced before */
    errno = error_number;
    *fd = -1;
}

enum err fs_list(const char *dir_path, fs_entry_fn *entry, void *arg)
{
    DIR *dir = opendir(dir_path);

    if (dir == NULL)
        return fs_errno_err(errno);
    enum err e = ERR_OK;
    while (e == ERR_OK) {
        errno = 0;
        struct dirent *d = readdir(dir);
        if (d == NULL) {
            e = fs_errno_err(errno);
            break;
        }
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
            e = entry(arg, d->d_name);
    }
    (void)closedir(dir); /* was only read */
    return e;
}
