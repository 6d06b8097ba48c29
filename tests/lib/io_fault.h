/*
 * io_fault.h - the nth file call fails, comes up short or is interrupted; for one test file each: it defines the C library's names.
 *
 * Use:     io_fault_sweep(fn, arg, kinds, how): fn runs again and again, each time with a later one of these calls failing, until there is none; how many there are.
 *          Every io_stride-th of them, from the io_first-th on.  Files that a run leaves open fail the test.
 * Threads: calls of all threads count; one sweep at a time.
 */
#ifndef VIVACE_TESTS_LIB_IO_FAULT_H
#define VIVACE_TESTS_LIB_IO_FAULT_H

#include "tests/lib/test.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum io_kind {
    IO_OPEN = 1, /* of what is there; opendir */
    IO_STAT = 2, /* stat, fstat, access */
    IO_LIST = 4, /* readdir */
    IO_READ = 8,
    IO_WRITE = 16,
    IO_SYNC = 32,
    IO_NAME = 64, /* creating, linking, renaming, removing, cutting */
    IO_LOOKS = IO_OPEN | IO_STAT | IO_LIST | IO_READ,
    IO_CHANGES = IO_WRITE | IO_SYNC | IO_NAME,
    IO_ANY = IO_LOOKS | IO_CHANGES
};

/* An error's number, for one call or for all from there on; or a read or write of one byte. */
enum { IO_ONE_BYTE = -1, IO_FOR_EVER = 1 << 16 };

static atomic_int io_left, io_kinds; /* left: counted down by calls of these kinds; at 1 it fails */
static int io_how;
static atomic_bool io_is_hit;
static bool io_has_no_links; /* as some file systems */
static unsigned io_first = 1, io_stride = 1;

static inline bool io_fails(enum io_kind kind)
{
    if ((atomic_load(&io_kinds) & (int)kind) == 0)
        return false;
    int left = atomic_fetch_sub(&io_left, 1);
    if (left > 1 || (left < 1 && (io_how & IO_FOR_EVER) == 0))
        return false;
    atomic_store(&io_is_hit, true);
    errno = io_how & 0xffff;
    return true;
}

/* Of a read or write: how many bytes; -1 when it fails. */
static inline ssize_t io_room(enum io_kind kind, size_t len)
{
    if (!io_fails(kind))
        return (ssize_t)len;
    return io_how == IO_ONE_BYTE ? (len > 0) : -1;
}

#define IO_REAL(ret_type, name, ...)           \
    static ret_type (*real)(__VA_ARGS__);      \
    if (real == NULL) {                        \
        void *found_ = dlsym(RTLD_NEXT, name); \
        memcpy(&real, &found_, sizeof found_); \
    }

int open(const char *path, int flags, ...)
{
    IO_REAL(int, "open", const char *, int, ...)
    va_list ap;
    va_start(ap, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(ap, unsigned) : 0;
    va_end(ap);
    return io_fails((flags & O_CREAT) != 0 ? IO_NAME : IO_OPEN) ? -1 : real(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    IO_REAL(int, "openat", int, const char *, int, ...)
    return io_fails(IO_OPEN) ? -1 : real(dir, path, flags, 0);
}

DIR *opendir(const char *path)
{
    IO_REAL(DIR *, "opendir", const char *)
    return io_fails(IO_OPEN) ? NULL : real(path);
}

struct dirent *readdir(DIR *dir)
{
    IO_REAL(struct dirent *, "readdir", DIR *)
    return io_fails(IO_LIST) ? NULL : real(dir);
}

int stat(const char *path, struct stat *ret)
{
    IO_REAL(int, "stat", const char *, struct stat *)
    return io_fails(IO_STAT) ? -1 : real(path, ret);
}

int fstat(int fd, struct stat *ret)
{
    IO_REAL(int, "fstat", int, struct stat *)
    return io_fails(IO_STAT) ? -1 : real(fd, ret);
}

int access(const char *path, int mode)
{
    IO_REAL(int, "access", const char *, int)
    return io_fails(IO_STAT) ? -1 : real(path, mode);
}

ssize_t read(int fd, void *ret, size_t len)
{
    IO_REAL(ssize_t, "read", int, void *, size_t)
    ssize_t room = io_room(IO_READ, len);
    return room < 0 ? -1 : real(fd, ret, (size_t)room);
}

ssize_t pread(int fd, void *ret, size_t len, off_t at)
{
    IO_REAL(ssize_t, "pread", int, void *, size_t, off_t)
    ssize_t room = io_room(IO_READ, len);
    return room < 0 ? -1 : real(fd, ret, (size_t)room, at);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    IO_REAL(ssize_t, "write", int, const void *, size_t)
    ssize_t room = io_room(IO_WRITE, len);
    return room < 0 ? -1 : real(fd, bytes, (size_t)room);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    IO_REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t)
    ssize_t room = io_room(IO_WRITE, SSIZE_MAX);
    struct iovec one = {.iov_base = iov[0].iov_base, .iov_len = iov[0].iov_len > 0};
    if (room < 0)
        return -1;
    return room == SSIZE_MAX ? real(fd, iov, count, at) : real(fd, &one, 1, at);
}

int fsync(int fd)
{
    IO_REAL(int, "fsync", int)
    return io_fails(IO_SYNC) ? -1 : real(fd);
}

int fdatasync(int fd)
{
    IO_REAL(int, "fdatasync", int)
    return io_fails(IO_SYNC) ? -1 : real(fd);
}

int ftruncate(int fd, off_t bytes)
{
    IO_REAL(int, "ftruncate", int, off_t)
    return io_fails(IO_NAME) ? -1 : real(fd, bytes);
}

int rename(const char *from, const char *to)
{
    IO_REAL(int, "rename", const char *, const char *)
    return io_fails(IO_NAME) ? -1 : real(from, to);
}

int link(const char *from, const char *to)
{
    IO_REAL(int, "link", const char *, const char *)
    if (io_has_no_links) {
        errno = EPERM;
        return -1;
    }
    return io_fails(IO_NAME) ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    IO_REAL(int, "mkdir", const char *, mode_t)
    return io_fails(IO_NAME) ? -1 : real(path, mode);
}

int unlink(const char *path)
{
    IO_REAL(int, "unlink", const char *)
    return io_fails(IO_NAME) ? -1 : real(path);
}

int unlinkat(int fd, const char *path, int flags)
{
    IO_REAL(int, "unlinkat", int, const char *, int)
    return io_fails(IO_NAME) ? -1 : real(fd, path, flags);
}

static inline unsigned io_open_files(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static inline void io_fault_set(enum io_kind kinds, int n, int how)
{
    io_how = how;
    atomic_store(&io_left, n);
    atomic_store(&io_is_hit, false);
    atomic_store(&io_kinds, (int)kinds);
}

/* Switches off; whether one failed. */
static inline bool io_fault_end(void)
{
    atomic_store(&io_kinds, 0);
    return atomic_load(&io_is_hit);
}

/* `fn` runs with the fault and ends it (io_fault_end) before it checks; false when nothing failed. */
typedef bool io_fault_fn(void *arg);

static inline unsigned io_fault_sweep(io_fault_fn *fn, void *arg, enum io_kind kinds, int how)
{
    enum { RUNS_MAX = 100000 };

    for (unsigned n = io_first; n < RUNS_MAX; n += io_stride) {
        unsigned before = io_open_files();
        io_fault_set(kinds, (int)n, how);
        bool is_hit = fn(arg);
        assert_int_equal(atomic_load(&io_kinds), 0);
        if (io_open_files() != before)
            fail_msg("call %u of kinds %d (how %d): files were left open", n, (int)kinds, how);
        if (!is_hit)
            return n - 1;
    }
    fail_msg("without end");
    return 0;
}

#endif
