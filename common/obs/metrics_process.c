#include "common/base/clock.h"
#include "common/obs/metrics_priv.h"

#include <assert.h>
#include <dirent.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BUILD_TEXT_BYTES = 128 };

static char build_version[BUILD_TEXT_BYTES] = "dev", build_revision[BUILD_TEXT_BYTES];

void metrics_set_build(const char *version, const char *revision)
{
    (void)snprintf(build_version, sizeof build_version, "%s", version); /* cut if longer */
    (void)snprintf(build_revision, sizeof build_revision, "%s", revision);
}

#if defined(__x86_64__)
#    define BUILD_ARCH "amd64"
#elif defined(__aarch64__)
#    define BUILD_ARCH "arm64"
#else
#    define BUILD_ARCH "other"
#endif

static void collect_build(void)
{
    struct metric_family *f = metrics_gauge(
        "tempo_build_info", "version,revision,branch,goversion,goos,goarch",
        "A metric with a constant '1' value labeled by version, revision, branch and platform.");
    /* goversion is the label that dashboards read: here it names the compiler. */
    const struct slice values[] = {
        slice_str(build_version),      slice_str(build_revision), SLICE_LIT("main"),
        SLICE_LIT("gcc " __VERSION__), SLICE_LIT("linux"),        SLICE_LIT(BUILD_ARCH),
    };

    metric_set(metric_cell(f, values, sizeof values / sizeof values[0]), 1);
}

static void gauge_set(const char *name, const char *help, double v)
{
    metric_set(metric_cell0(metrics_gauge(name, "", help)), v);
}

static void collect_memory(void)
{
    char text[128];
    unsigned long long pages = 0, resident = 0;
    double page_bytes = (double)sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "re");

    if (f != NULL) {
        if (fgets(text, sizeof text, f) != NULL &&
            sscanf(text, "%llu %llu", &pages, &resident) == 2) {
            gauge_set("process_virtual_memory_bytes", "Virtual memory size in bytes.",
                      (double)pages * page_bytes);
            gauge_set("process_resident_memory_bytes", "Resident memory size in bytes.",
                      (double)resident * page_bytes);
        }
        (void)fclose(f); /* was only read */
    }
    struct mallinfo2 heap = mallinfo2();
    /* The name under which Tempo's dashboards look for the heap. */
    gauge_set("go_memstats_heap_inuse_bytes",
              "Bytes of the heap that are in use (malloc's own count).",
              (double)(heap.uordblks + heap.hblkhd));
}

static void collect_files(void)
{
    struct rlimit limit;
    DIR *dir = opendir("/proc/self/fd");
    double count = -3; /* ".", ".." and the listing's own */

    if (dir != NULL) {
        while (readdir(dir) != NULL)
            count++;
        (void)closedir(dir); /* was only read */
        gauge_set("process_open_fds", "Number of open file descriptors.", count);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        gauge_set("process_max_fds", "Maximum number of open file descriptors.",
                  (double)limit.rlim_cur);
}

/* Seconds since the epoch at which this process started: the 22nd field of its stat line counts ticks since boot. */
static double start_seconds(void)
{
    char text[1024];
    unsigned long long ticks = 0;
    struct timespec boot;
    double seconds = 0;
    FILE *f = fopen("/proc/self/stat", "re");

    if (f == NULL)
        return 0;
    char *line = fgets(text, sizeof text, f);
    (void)fclose(f);                                     /* was only read */
    char *at = line == NULL ? NULL : strrchr(line, ')'); /* the name before it may hold spaces */
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at, ' ');
        at = at == NULL ? NULL : at + 1;
    }
    if (at != NULL && sscanf(at, "%llu", &ticks) == 1 &&
        clock_gettime(CLOCK_BOOTTIME, &boot) == 0) {
        double uptime = (double)boot.tv_sec + (double)boot.tv_nsec / 1e9;
        double now = (double)clock_wall_ns(&clock_system) / 1e9;
        seconds = now - uptime + (double)ticks / (double)sysconf(_SC_CLK_TCK);
    }
    return seconds;
}

static void collect_cpu(void)
{
    struct metric_cell *cell = metric_cell0(metrics_counter(
        "process_cpu_seconds_total", "", "Total user and system CPU time spent in seconds."));
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return;
    double seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    atomic_store_explicit(&cell->bits, bits,
                          memory_order_relaxed); /* the kernel does the counting */
}

static pthread_once_t start_once = PTHREAD_ONCE_INIT;

static void collect_start(void)
{
    gauge_set("process_start_time_seconds",
              "Start time of the process since unix epoch in seconds.", start_seconds());
}

void metrics_process_collect(void)
{
    (void)pthread_once(&start_once, collect_start); /* fails on a bad argument only */
    collect_build();
    collect_memory();
    collect_files();
    collect_cpu();
}
