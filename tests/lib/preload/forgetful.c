/*
 * forgetful.c - LD_PRELOAD: a file layer that forgets unsynced bytes at the kill.
 *
 * A kill alone can not show whether bytes were synced: the page cache survives the process.  Here the bytes written to files whose names
 * end in FORGETFUL_SUFFIX (".wal" without it) stay in this process's memory until fdatasync or fsync of that file; a SIGKILL takes them along, as a
 * power cut would.  FORGETFUL_LOG=file counts what was kept back, so that a test can see that this layer was at work.
 *
 * Limits:  only writing is modelled: such a file must not be read or sized by the process that writes it before it is synced.  Names of files are not forgotten.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FD_MAX = 65536 };

struct piece {
    struct piece *next;
    off_t offset;
    size_t len;
    uint8_t bytes[];
};

static struct {
    bool is_forgetful;
    struct piece *first, **last;
} files[FD_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* dlsym gives an object pointer; a union makes a function of it without a cast that ISO C does not have. */
#define REAL(name, type)                     \
    static type real;                        \
    if (real == NULL) {                      \
        union {                              \
            void *p;                         \
            type f;                          \
        } u = {.p = dlsym(RTLD_NEXT, name)}; \
        real = u.f;                          \
    }

typedef int open_fn(const char *, int, ...);
typedef ssize_t pwritev_fn(int, const struct iovec *, int, off_t);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef int fd_fn(int);
typedef int truncate_fn(int, off_t);

int open64(const char *path, int flags, ...);
ssize_t pwritev64(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset);
int ftruncate64(int fd, off_t len);

static void note(int fd, const char *path, int flags)
{
    const char *suffix = getenv("FORGETFUL_SUFFIX");
    size_t n = strlen(path), k;

    if (suffix == NULL)
        suffix = ".wal";
    k = strlen(suffix);
    if (fd < 0 || fd >= FD_MAX)
        return;
    (void)pthread_mutex_lock(&lock);
    files[fd].is_forgetful =
        (flags & O_ACCMODE) != O_RDONLY && n >= k && strcmp(path + n - k, suffix) == 0;
    (void)pthread_mutex_unlock(&lock);
}

int open(const char *path, int flags, ...)
{
    REAL("open", open_fn *)
    va_list ap;

    va_start(ap, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    int fd = real(path, flags, mode);
    note(fd, path, flags);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open(path, flags, mode);
}

static bool is_forgetful(int fd)
{
    if (fd < 0 || fd >= FD_MAX)
        return false;
    (void)pthread_mutex_lock(&lock);
    bool is = files[fd].is_forgetful;
    (void)pthread_mutex_unlock(&lock);
    return is;
}

static ssize_t keep(int fd, const struct iovec *iov, int count, off_t offset)
{
    size_t len = 0;

    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    struct piece *p = malloc(sizeof *p + len);
    if (p == NULL) {
        errno = ENOMEM;
        return -1;
    }
    *p = (struct piece){.offset = offset, .len = len};
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        if (iov[i].iov_len > 0)
            memcpy(p->bytes + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    (void)pthread_mutex_lock(&lock);
    if (files[fd].first == NULL)
        files[fd].last = &files[fd].first;
    *files[fd].last = p;
    files[fd].last = &p->next;
    (void)pthread_mutex_unlock(&lock);
    return (ssize_t)len;
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
    REAL("pwritev", pwritev_fn *)
    return is_forgetful(fd) ? keep(fd, iov, count, offset) : real(fd, iov, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
{
    return pwritev(fd, iov, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    REAL("pwrite", pwrite_fn *)
    struct iovec iov;

    memcpy(&iov.iov_base, &data, sizeof data);
    iov.iov_len = len;
    return is_forgetful(fd) ? keep(fd, &iov, 1, offset) : real(fd, data, len, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t offset)
{
    return pwrite(fd, data, len, offset);
}

static void tell(size_t bytes)
{
    const char *path = getenv("FORGETFUL_LOG");
    char line[64];

    if (path == NULL || bytes == 0)
        return;
    REAL("open", open_fn *)
    int fd = real(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int n = snprintf(line, sizeof line, "%zu\n", bytes);
    if (fd >= 0) {
        ssize_t wrote = write(fd, line, (size_t)n);
        (void)wrote; /* a count for the test, nothing more */
        REAL("close", fd_fn *)
        (void)real(fd);
    }
}

/* Everything kept back goes to the file; false on a write error. */
static bool remember(int fd)
{
    REAL("pwrite", pwrite_fn *)
    size_t bytes = 0;
    bool is_good = true;

    (void)pthread_mutex_lock(&lock);
    struct piece *p = files[fd].first;
    files[fd].first = NULL;
    (void)pthread_mutex_unlock(&lock);
    while (p != NULL) {
        struct piece *next = p->next;
        for (size_t at = 0; at < p->len && is_good;) {
            ssize_t n = real(fd, p->bytes + at, p->len - at, p->offset + (off_t)at);
            if (n < 0 && errno != EINTR)
                is_good = false;
            at += n > 0 ? (size_t)n : 0;
        }
        bytes += p->len;
        free(p);
        p = next;
    }
    tell(bytes);
    return is_good;
}

static void forget(int fd)
{
    (void)pthread_mutex_lock(&lock);
    struct piece *p = files[fd].first;
    files[fd].first = NULL;
    (void)pthread_mutex_unlock(&lock);
    while (p != NULL) {
        struct piece *next = p->next;
        free(p);
        p = next;
    }
}

int fdatasync(int fd)
{
    REAL("fdatasync", fd_fn *)
    return is_forgetful(fd) && !remember(fd) ? -1 : real(fd);
}

int fsync(int fd)
{
    REAL("fsync", fd_fn *)
    return is_forgetful(fd) && !remember(fd) ? -1 : real(fd);
}

int ftruncate(int fd, off_t len)
{
    REAL("ftruncate", truncate_fn *)
    if (is_forgetful(fd))
        forget(fd); /* the log only takes back what it has not synced */
    return real(fd, len);
}

int ftruncate64(int fd, off_t len)
{
    return ftruncate(fd, len);
}

/* Closed without a sync: the bytes are never seen again, as if the power had gone before the kernel wrote them. */
int close(int fd)
{
    REAL("close", fd_fn *)
    if (is_forgetful(fd)) {
        forget(fd);
        (void)pthread_mutex_lock(&lock);
        files[fd].is_forgetful = false;
        (void)pthread_mutex_unlock(&lock);
    }
    return real(fd);
}
