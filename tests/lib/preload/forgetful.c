/*
 * forgetful.c - preloaded into a process: writes a journal of what it did to files, so that after a kill a test can take back all that no sync had
 *               confirmed, as a power cut would (a kill alone loses nothing: the kernel's cache survives it).  It also lets a call fail, or be the last one.
 *
 * Shape:   FORGETFUL_ROOT: only paths below these folders (parted by colons) count.  FORGETFUL_JOURNAL: one line an event, fields parted by tabs:
 *            C path            created (its name is not durable until the folder is synced)
 *            M path            folder made
 *            W id path off len a write begins;  w id: it is done
 *            T path len        cut or extended
 *            s id path         a sync of a file or folder begins;  S id: it succeeded
 *            R from to         renamed
 *            L from to         linked
 *            U path kept       removed; "kept" is another name of the file beside the journal
 *            F n kind          the fault befell the nth call
 *          tests/integration/forgetful.py reads it.
 *          FORGETFUL_FAULT: "KIND N WHAT" or "KIND N+ WHAT": the Nth of these calls below the folders, or all from there on.  KIND: write, sync, name
 *          (open with O_CREAT, mkdir, rename, link, unlink, rmdir, ftruncate) or any of them; or read (open without O_CREAT, opendir, readdir, read, pread).
 *          WHAT: the number of an error; "slow" and as many microseconds; "before", "half" (of the bytes of a write), "after": there the process kills itself.
 * Threads: any; a line is one write with O_APPEND.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define LINE_BYTES (2 * PATH_MAX + 128)

static atomic_ulong next_id = 1;

#define REAL(name, type) ((type)real_of(#name))

static void *real_of(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);

    if (f == NULL)
        abort();
    return f;
}

static bool is_watched(const char *path)
{
    for (const char *r = getenv("FORGETFUL_ROOT"); r != NULL && *r != '\0';) {
        size_t len = strcspn(r, ":");

        if (strncmp(path, r, len) == 0 && (path[len] == '/' || path[len] == '\0'))
            return true;
        r += len + (r[len] == ':');
    }
    return false;
}

static bool path_of_fd(int fd, char *ret)
{
    char link_path[64];

    (void)snprintf(link_path, sizeof link_path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link_path, ret, PATH_MAX - 1);
    if (n <= 0)
        return false;
    ret[n] = '\0';
    return is_watched(ret);
}

static bool absolute(int dir, const char *path, char *ret)
{
    char base[PATH_MAX] = "";

    if (path[0] == '/') {
        (void)snprintf(ret, PATH_MAX, "%s", path);
        return is_watched(ret);
    }
    if (dir == AT_FDCWD ? getcwd(base, sizeof base) == NULL : !path_of_fd(dir, base))
        return false;
    int n = snprintf(ret, PATH_MAX, "%s/%s", base, path);
    return n > 0 && n < PATH_MAX && is_watched(ret);
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
    static atomic_int journal = -1;
    char line[LINE_BYTES];
    va_list ap;
    int saved = errno, fd = atomic_load(&journal);

    if (fd < 0) {
        const char *path = getenv("FORGETFUL_JOURNAL");
        fd = path == NULL ? -1
                          : REAL(open, int (*)(const char *, int, ...))(
                                path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
            abort();
        int none = -1;
        if (!atomic_compare_exchange_strong(&journal, &none, fd)) {
            (void)close(fd);
            fd = none;
        }
    }
    va_start(ap, format);
    int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (n < 0 || n >= (int)sizeof line ||
        REAL(write, ssize_t(*)(int, const void *, size_t))(fd, line, (size_t)n) != n)
        abort(); /* a journal with a gap would prove nothing */
    errno = saved;
}

/* --- faults ------------------------------------------------------------------------------------ */

enum when { FAULT_NONE, FAULT_BEFORE, FAULT_HALF, FAULT_AFTER, FAULT_ERROR };

struct fault {
    enum when when;
    int error;
};

static void die(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

/* What befalls this call; one that is to die before it is made does not come back. */
static struct fault next_fault(const char *kind)
{
    static atomic_ulong calls;
    static const struct fault none = {FAULT_NONE, 0};
    char wanted[16], what[16];
    unsigned long first;
    unsigned us;
    int at = 0;
    const char *text = getenv("FORGETFUL_FAULT");

    if (text == NULL)
        return none;
    if (sscanf(text, "%15s %lu%n", wanted, &first, &at) != 2)
        abort();
    bool is_for_ever = text[at] == '+';
    if (sscanf(text + at + is_for_ever, " %15s %u", what, &us) < 1)
        abort();
    bool is_any = strcmp(wanted, "any") == 0 && strcmp(kind, "read") != 0;
    if (!is_any && strcmp(wanted, kind) != 0)
        return none;
    unsigned long n = atomic_fetch_add(&calls, 1) + 1;
    if (n != first && !(is_for_ever && n > first))
        return none;
    note("F\t%lu\t%s\n", n, kind);
    if (strcmp(what, "before") == 0)
        die();
    if (strcmp(what, "slow") == 0) {
        (void)usleep(us);
        return none;
    }
    if (strcmp(what, "half") == 0)
        return (struct fault){FAULT_HALF, 0};
    if (strcmp(what, "after") == 0)
        return (struct fault){FAULT_AFTER, 0};
    errno = atoi(what);
    return (struct fault){FAULT_ERROR, errno};
}

static void after(struct fault f)
{
    if (f.when == FAULT_AFTER || f.when == FAULT_HALF)
        die();
}

static unsigned long begin_write(int fd, off_t at, size_t len)
{
    char path[PATH_MAX];
    int saved = errno;
    unsigned long id = 0;

    if (path_of_fd(fd, path)) {
        struct stat st;
        if (at < 0 && fstat(fd, &st) == 0)
            at = (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? st.st_size : lseek(fd, 0, SEEK_CUR);
        id = atomic_fetch_add(&next_id, 1);
        note("W\t%lu\t%s\t%lld\t%zu\n", id, path, (long long)at, len);
    }
    errno = saved;
    return id;
}

/* What did not come whole is as if it were still under way: no sync makes it durable. */
static ssize_t end_write(unsigned long id, ssize_t n, size_t len)
{
    if (id != 0 && n == (ssize_t)len)
        note("w\t%lu\n", id);
    return n;
}

static size_t iov_bytes(const struct iovec *iov, int count)
{
    size_t n = 0;

    for (int i = 0; i < count; i++)
        n += iov[i].iov_len;
    return n;
}

/* --- reads ------------------------------------------------------------------------------------- */

typedef ssize_t read_fn(int, void *, size_t);
typedef ssize_t pread_fn(int, void *, size_t, off_t);

/* Whether a read of this file fails; errno says how. */
static bool is_read_failing(int fd)
{
    char path[PATH_MAX];

    return path_of_fd(fd, path) && next_fault("read").when == FAULT_ERROR;
}

ssize_t read(int fd, void *ret, size_t len)
{
    return is_read_failing(fd) ? -1 : REAL(read, read_fn *)(fd, ret, len);
}

ssize_t pread(int fd, void *ret, size_t len, off_t at)
{
    return is_read_failing(fd) ? -1 : REAL(pread, pread_fn *)(fd, ret, len, at);
}

/* What _FORTIFY_SOURCE makes of them. */
ssize_t __read_chk(int fd, void *ret, size_t len, size_t room)
{
    (void)room;
    return read(fd, ret, len);
}

ssize_t __pread_chk(int fd, void *ret, size_t len, off_t at, size_t room)
{
    (void)room;
    return pread(fd, ret, len, at);
}

DIR *opendir(const char *path)
{
    char full[PATH_MAX];

    if (absolute(AT_FDCWD, path, full) && next_fault("read").when == FAULT_ERROR)
        return NULL;
    return REAL(opendir, DIR * (*)(const char *))(path);
}

struct dirent *readdir(DIR *dir)
{
    if (is_read_failing(dirfd(dir)))
        return NULL;
    return REAL(readdir, struct dirent * (*)(DIR *))(dir);
}

/* --- writes ------------------------------------------------------------------------------------ */

typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef ssize_t writev_fn(int, const struct iovec *, int);
typedef ssize_t pwritev_fn(int, const struct iovec *, int, off_t);

static struct fault write_fault(unsigned long id)
{
    return id == 0 ? (struct fault){FAULT_NONE, 0} : next_fault("write");
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    unsigned long id = begin_write(fd, -1, len);
    struct fault f = write_fault(id);

    if (f.when == FAULT_ERROR)
        return -1;
    ssize_t n = REAL(write, write_fn *)(fd, bytes, f.when == FAULT_HALF ? len / 2 : len);
    after(f);
    return end_write(id, n, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    unsigned long id = begin_write(fd, at, len);
    struct fault f = write_fault(id);

    if (f.when == FAULT_ERROR)
        return -1;
    ssize_t n = REAL(pwrite, pwrite_fn *)(fd, bytes, f.when == FAULT_HALF ? len / 2 : len, at);
    after(f);
    return end_write(id, n, len);
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    size_t len = iov_bytes(iov, count);
    unsigned long id = begin_write(fd, -1, len);
    struct fault f = write_fault(id);

    if (f.when == FAULT_ERROR)
        return -1;
    ssize_t n = REAL(writev, writev_fn *)(fd, iov, f.when == FAULT_HALF ? (count + 1) / 2 : count);
    after(f);
    return end_write(id, n, len);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    size_t len = iov_bytes(iov, count);
    unsigned long id = begin_write(fd, at, len);
    struct fault f = write_fault(id);

    if (f.when == FAULT_ERROR)
        return -1;
    ssize_t n =
        REAL(pwritev, pwritev_fn *)(fd, iov, f.when == FAULT_HALF ? (count + 1) / 2 : count, at);
    after(f);
    return end_write(id, n, len);
}

int ftruncate(int fd, off_t len)
{
    char path[PATH_MAX];
    bool is_ours = path_of_fd(fd, path);
    struct fault f = is_ours ? next_fault("name") : (struct fault){FAULT_NONE, 0};

    if (f.when == FAULT_ERROR)
        return -1;
    int rc = REAL(ftruncate, int (*)(int, off_t))(fd, len);
    if (rc == 0 && is_ours)
        note("T\t%s\t%lld\n", path, (long long)len);
    after(f);
    return rc;
}

/* --- syncs ------------------------------------------------------------------------------------- */

static int sync_with(int fd, int (*real)(int))
{
    char path[PATH_MAX];
    unsigned long id = 0;

    struct fault f = {FAULT_NONE, 0};

    if (path_of_fd(fd, path)) {
        f = next_fault("sync");
        if (f.when == FAULT_ERROR)
            return -1;
        id = atomic_fetch_add(&next_id, 1);
        note("s\t%lu\t%s\n", id, path);
    }
    int rc = real(fd);
    if (rc == 0 && id != 0)
        note("S\t%lu\n", id);
    after(f);
    return rc;
}

int fdatasync(int fd)
{
    return sync_with(fd, REAL(fdatasync, int (*)(int)));
}

int fsync(int fd)
{
    return sync_with(fd, REAL(fsync, int (*)(int)));
}

/* --- names ------------------------------------------------------------------------------------- */

static struct fault fault_at(const char *kind, int dir, const char *path)
{
    char full[PATH_MAX];

    return absolute(dir, path, full) ? next_fault(kind) : (struct fault){FAULT_NONE, 0};
}

static struct fault name_fault(int dir, const char *path)
{
    return fault_at("name", dir, path);
}

static void note_open(int dir, const char *path, int flags, bool was_there)
{
    char full[PATH_MAX];

    if (!absolute(dir, path, full))
        return;
    if (!was_there)
        note("C\t%s\n", full);
    else if ((flags & O_TRUNC) != 0)
        note("T\t%s\t0\n", full);
}

static int open_with(int dir, const char *path, int flags, mode_t mode)
{
    bool is_making = (flags & O_CREAT) != 0;
    int saved = errno;
    bool was_there = is_making && faccessat(dir, path, F_OK, AT_EACCESS) == 0;
    struct fault f = fault_at(is_making ? "name" : "read", dir, path);

    if (f.when == FAULT_ERROR)
        return -1;
    errno = saved;
    int fd = REAL(openat, int (*)(int, const char *, int, ...))(dir, path, flags, mode);
    if (fd >= 0 && (is_making || (flags & O_TRUNC) != 0))
        note_open(dir, path, flags, was_there || !is_making);
    after(f);
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_with(AT_FDCWD, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open_with(dir, path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
    char full[PATH_MAX];
    struct fault f = name_fault(AT_FDCWD, path);

    if (f.when == FAULT_ERROR)
        return -1;
    int rc = REAL(mkdir, int (*)(const char *, mode_t))(path, mode);
    if (rc == 0 && absolute(AT_FDCWD, path, full))
        note("M\t%s\n", full);
    after(f);
    return rc;
}

int rename(const char *from, const char *to)
{
    char full_from[PATH_MAX], full_to[PATH_MAX];
    struct fault f = name_fault(AT_FDCWD, to);

    if (f.when == FAULT_ERROR)
        return -1;
    int rc = REAL(rename, int (*)(const char *, const char *))(from, to);
    if (rc == 0 && absolute(AT_FDCWD, from, full_from) && absolute(AT_FDCWD, to, full_to))
        note("R\t%s\t%s\n", full_from, full_to);
    after(f);
    return rc;
}

int link(const char *from, const char *to)
{
    char full_from[PATH_MAX], full_to[PATH_MAX];
    struct fault f = name_fault(AT_FDCWD, to);

    if (f.when == FAULT_ERROR)
        return -1;
    int rc = REAL(link, int (*)(const char *, const char *))(from, to);
    if (rc == 0 && absolute(AT_FDCWD, from, full_from) && absolute(AT_FDCWD, to, full_to))
        note("L\t%s\t%s\n", full_from, full_to);
    after(f);
    return rc;
}

/* The file gets another name first, so that a removal that no sync confirmed can be undone. */
static bool keep(const char *full, char *ret_kept)
{
    struct stat st;

    (void)snprintf(ret_kept, PATH_MAX, "%s.kept-%d-%lu", getenv("FORGETFUL_JOURNAL"), (int)getpid(),
                   atomic_fetch_add(&next_id, 1));
    return lstat(full, &st) == 0 && S_ISREG(st.st_mode) &&
           REAL(link, int (*)(const char *, const char *))(full, ret_kept) == 0;
}

int unlinkat(int dir, const char *path, int flags)
{
    char full[PATH_MAX], kept[PATH_MAX] = "";
    int saved = errno;
    bool is_ours = absolute(dir, path, full);
    struct fault f = name_fault(dir, path);

    if (f.when == FAULT_ERROR)
        return -1;
    bool is_kept = is_ours && keep(full, kept);
    errno = saved;
    int rc = REAL(unlinkat, int (*)(int, const char *, int))(dir, path, flags);
    if (rc == 0 && is_ours)
        note("U\t%s\t%s\n", full, is_kept ? kept : "-");
    after(f);
    return rc;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
