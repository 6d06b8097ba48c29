#include "common/sys/proc.h"

#include "common/base/num.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { PROC_FILE_BYTES_MAX = 64 << 10 };

/* cgroup v1 says "no limit" by a number near 2^63, rounded down to pages. */
#define PROC_MEMORY_UNLIMITED (UINT64_C(1) << 60)

static void raise_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* a wish: fewer files work too */
}

enum err proc_init(int *ret_signal_fd)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t ours;

    (void)setlocale(LC_ALL, "C");
    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, SIGTERM);
    (void)sigaddset(&ours, SIGINT);
    (void)sigaddset(&ours, SIGHUP);
    if (sigaction(SIGPIPE, &ignore, NULL) != 0 || pthread_sigmask(SIG_BLOCK, &ours, NULL) != 0)
        return ERR_INTERNAL;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return ERR_INTERNAL;
    raise_open_files();
    int fd = signalfd(-1, &ours, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return fs_errno_err(errno);
    *ret_signal_fd = fd;
    return ERR_OK;
}

void proc_give_memory_back(void)
{
    (void)malloc_trim(0);
}

int proc_signal_read(int signal_fd)
{
    struct signalfd_siginfo info;
    ssize_t n;

    do
        n = read(signal_fd, &info, sizeof info);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof info)
        return 0;
    return (int)info.ssi_signo;
}

/* The number a small file holds; 0 when there is none ("max" too). */
static uint64_t file_u64(const char *path)
{
    struct buf text;
    uint64_t value = 0;

    buf_init(&text, PROC_FILE_BYTES_MAX);
    if (fs_read_file(path, &text) == ERR_OK) {
        struct slice s = buf_slice(&text);
        while (s.len != 0 && s.ptr[s.len - 1] == '\n')
            s.len--;
        if (num_parse_u64(s, &value) != ERR_OK)
            value = 0;
    }
    buf_release(&text);
    return value;
}

/* The smallest limit on the way from the group up to the mount. */
static uint64_t limit_upwards(const char *mount, struct slice group, const char *file)
{
    char path[PATH_MAX];
    uint64_t limit = 0;

    for (;;) {
        while (group.len != 0 && group.ptr[group.len - 1] == '/')
            group.len--;
        int n = snprintf(path, sizeof path, "%s" SLICE_FMT "/%s", mount, SLICE_ARG(group), file);
        uint64_t here = n > 0 && (size_t)n < sizeof path ? file_u64(path) : 0;
        if (here != 0 && here < PROC_MEMORY_UNLIMITED && (limit == 0 || here < limit))
            limit = here;
        if (group.len == 0)
            return limit;
        while (group.len != 0 && group.ptr[group.len - 1] != '/')
            group.len--;
    }
}

/* One line "N:controllers:path" of /proc/self/cgroup; v2 is "0::path". */
static uint64_t limit_of_line(struct slice line, const char *mount_path)
{
    char mount[PATH_MAX];
    const uint8_t *colon = memchr(line.ptr, ':', line.len);

    if (colon == NULL)
        return 0;
    struct slice rest = slice_sub(line, (size_t)(colon - line.ptr) + 1, line.len);
    colon = rest.len == 0 ? NULL : memchr(rest.ptr, ':', rest.len);
    if (colon == NULL)
        return 0;
    struct slice controllers = slice_sub(rest, 0, (size_t)(colon - rest.ptr));
    struct slice group = slice_sub(rest, controllers.len + 1, rest.len);
    if (controllers.len == 0)
        return limit_upwards(mount_path, group, "memory.max");
    if (!slice_eq_str(controllers, "memory"))
        return 0;
    int n = snprintf(mount, sizeof mount, "%s/memory", mount_path);
    if (n < 0 || (size_t)n >= sizeof mount)
        return 0;
    return limit_upwards(mount, group, "memory.limit_in_bytes");
}

uint64_t proc_memory_limit_in(const char *cgroup_file, const char *mount_path)
{
    struct buf text;
    uint64_t limit = 0;

    buf_init(&text, PROC_FILE_BYTES_MAX);
    if (fs_read_file(cgroup_file, &text) == ERR_OK) {
        struct slice left = buf_slice(&text);
        while (left.len != 0) {
            const uint8_t *newline = memchr(left.ptr, '\n', left.len);
            size_t len = newline == NULL ? left.len : (size_t)(newline - left.ptr);
            uint64_t here = len == 0 ? 0 : limit_of_line(slice_sub(left, 0, len), mount_path);
            if (here != 0 && (limit == 0 || here < limit))
                limit = here;
            left = slice_sub(left, len + 1, left.len);
        }
    }
    buf_release(&text);
    return limit;
}

uint64_t proc_memory_limit_bytes(void)
{
    return proc_memory_limit_in("/proc/self/cgroup", "/sys/fs/cgroup");
}

uint64_t proc_memory_total_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);

    assert(page_bytes > 0);
    return pages > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
}

uint64_t proc_rss_bytes(void)
{
    char text[128];
    long page_bytes = sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0, resident = 0;

    if (f == NULL)
        return 0;
    if (fgets(text, sizeof text, f) == NULL || sscanf(text, "%llu %llu", &pages, &resident) != 2)
        resident = 0;
    (void)fclose(f); /* was only read */
    return (uint64_t)resident * (uint64_t)page_bytes;
}

double proc_cpu_seconds(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static char hostname[HOST_NAME_MAX + 1];

static void hostname_fill(void)
{
    if (gethostname(hostname, sizeof hostname) != 0 || hostname[0] == '\0')
        (void)snprintf(hostname, sizeof hostname, "localhost");
    hostname[sizeof hostname - 1] = '\0';
}

const char *proc_hostname(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, hostname_fill); /* fails on a bad argument only */
    return hostname;
}
