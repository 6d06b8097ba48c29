/* The whole core over a log whose disk fails, forgets and fills up, and with allocations that fail.  One invariant: what was answered with OK is there
 * after the power cut, whole; and a push that met a fault was answered with an error, never with silence. */
#include "common/base/rng.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/core_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { FILES_MAX = 512, TRACES = 30 };

/* What a power cut would leave of the log's files. */
static struct {
    char path[512];
    int fd;
    uint64_t synced_bytes;
} files[FILES_MAX];
static unsigned file_count;
static struct mutex files_lock;
static atomic_long write_at, sync_at; /* counted down; at 1 the call fails */
static atomic_bool is_full;

static bool fails(atomic_long *at)
{
    long n = atomic_load(at);

    if (n == 0)
        return false;
    atomic_store(at, n - 1);
    return n == 1;
}

static int test_open(const char *path, int flags, unsigned mode)
{
    int fd = open(path, flags, mode);

    if (fd < 0)
        return fd;
    mutex_lock(&files_lock);
    assert_true(file_count < FILES_MAX);
    files[file_count].fd = fd;
    files[file_count].synced_bytes = 0;
    (void)snprintf(files[file_count++].path, sizeof files[0].path, "%s", path);
    mutex_unlock(&files_lock);
    return fd;
}

static uint64_t *synced_of(int fd)
{
    for (unsigned i = file_count; i-- > 0;) {
        if (files[i].fd == fd)
            return &files[i].synced_bytes;
    }
    fail();
    return NULL;
}

static enum err test_pwritev(int fd, void *iov, int iov_count, uint64_t offset)
{
    if (atomic_load(&is_full) || fails(&write_at)) {
        const struct iovec *first = iov;
        assert_true(pwrite(fd, first->iov_base, first->iov_len / 2, (off_t)offset) >= 0);
        return atomic_load(&is_full) ? ERR_FULL : ERR_IO;
    }
    return wal_io_system.pwritev(fd, iov, iov_count, offset);
}

static enum err test_sync(int fd)
{
    struct stat st;

    if (fails(&sync_at))
        return ERR_IO;
    assert_int_equal(fstat(fd, &st), 0);
    mutex_lock(&files_lock);
    *synced_of(fd) = (uint64_t)st.st_size;
    mutex_unlock(&files_lock);
    return ERR_OK;
}

static enum err test_truncate(int fd, uint64_t bytes)
{
    mutex_lock(&files_lock);
    if (*synced_of(fd) > bytes)
        *synced_of(fd) = bytes;
    mutex_unlock(&files_lock);
    return wal_io_system.truncate(fd, bytes);
}

static const struct wal_io forgetful_io = {test_open, test_pwritev, test_sync, fs_sync_path_dir,
                                           test_truncate};

static void power_cut(void)
{
    struct stat st;

    for (unsigned i = 0; i < file_count; i++) {
        if (stat(files[i].path, &st) == 0 && (uint64_t)st.st_size > files[i].synced_bytes)
            assert_int_equal(truncate(files[i].path, (off_t)files[i].synced_bytes), 0);
    }
    file_count = 0;
}

static int fault_set_up(void **state)
{
    mutex_init(&files_lock);
    file_count = 0;
    atomic_store(&write_at, 0);
    atomic_store(&sync_at, 0);
    atomic_store(&is_full, false);
    if (set_up(state) != 0)
        return -1;
    wal_io = &forgetful_io;
    return 0;
}

static void restart_after_power_cut(void)
{
    stop_core();
    power_cut();
    atomic_store(&write_at, 0);
    atomic_store(&sync_at, 0);
    start_core();
    EVENTUALLY(is_ready());
}

/* Pushes traces first..first+TRACES-1 of three spans; how many were acknowledged, and which. */
static unsigned push_traces(uint32_t first, bool *ret_acked)
{
    unsigned acked = 0;

    for (uint32_t n = 0; n < TRACES; n++) {
        ret_acked[n] = push_spans("acme", first + n, 1, 4) == ERR_OK;
        acked += ret_acked[n];
    }
    return acked;
}

static void check_traces(uint32_t first, const bool *acked)
{
    for (uint32_t n = 0; n < TRACES; n++) {
        /* Short memory cuts a head into a block early. */
        uint32_t spans = live_of("acme", first + n).spans;
        if (spans == 0)
            spans = stored_of("acme", first + n).want_spans;
        if (acked[n])
            assert_int_equal(spans, 3);
        else
            assert_true(spans == 0 || spans == 3);
    }
}

static void each_write_and_sync_fails_once(void **state)
{
    bool acked[TRACES];
    uint32_t first = 1;
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    for (long n = 1; n <= TRACES + 3; n += 2) {
        atomic_store(n % 4 == 1 ? &write_at : &sync_at, n);
        unsigned count = push_traces(first, acked);
        assert_true(count >= TRACES - 1);
        check_traces(first, acked);
        restart_after_power_cut();
        check_traces(first, acked);
        first += TRACES;
    }
    assert_int_equal(failed_code, 0);
}

static void a_full_disk_refuses_and_comes_back(void **state)
{
    bool acked[TRACES];
    char text[256];
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_traces(1, acked), TRACES);
    atomic_store(&is_full, true);
    assert_int_equal(push_spans("acme", 100, 1, 4), ERR_FULL);
    assert_int_equal(core_state(core, text), MEMBER_READONLY);
    assert_int_equal(push_spans("acme", 101, 1, 4), ERR_FULL);
    assert_int_equal(failed_code, 0);
    atomic_store(&is_full, false);
    advance(2 * NS_PER_S);
    EVENTUALLY(is_ready());
    assert_int_equal(push_spans("acme", 102, 1, 4), ERR_OK);
    restart_after_power_cut();
    check_traces(1, acked);
    assert_int_equal(live_of("acme", 102).spans, 3);
}

struct flush_result {
    atomic_bool is_over;
    enum err err;
};

static void flush_over(void *arg, enum err err)
{
    struct flush_result *f = arg;

    f->err = err;
    atomic_store(&f->is_over, true);
}

/* The nth allocation of any thread fails while one push, of a tenant that is new, goes through; every third time while a flush follows. */
static void allocations_fail(void **state)
{
    enum { ROUNDS = 150, SPANS = 4 };
    static bool is_acked[ROUNDS];
    unsigned hits = 0;
    (void)state;

    start_core();
    EVENTUALLY(is_ready());
    alloc_fault_any_thread(true);
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct otlp_group g;
        struct buf b;
        char tenant[16];

        (void)snprintf(tenant, sizeof tenant, "tenant-%u", n);
        begin_request(&g, &b);
        for (uint32_t s = 1; s <= SPANS; s++)
            add_span(&g, 1, s, 0);
        otlp_group_end(&g);
        assert_int_equal(buf_err(&b), ERR_OK);
        alloc_fault_at(n / 3 + 1);
        struct push p = push_bytes(tenant, n, buf_slice(&b));
        hits += alloc_fault_hit();
        is_acked[n] = p.err == ERR_OK;
        assert_true(p.err == ERR_OK || p.err == ERR_NOMEM);
        assert_int_equal(p.refused_count, 0);
        if (n % 3 == 2) {
            struct flush_result f = {0};
            alloc_fault_at(n / 3 + 1);
            core_flush(core, flush_over, &f);
            for (int i = 0; i < 4000 && !atomic_load(&f.is_over); i++)
                (void)usleep(1000);
            hits += alloc_fault_hit();
            assert_true(atomic_load(&f.is_over));
        }
        buf_release(&b);
    }
    alloc_fault_any_thread(false);
    assert_true(hits > 50);
    restart_after_power_cut();
    for (unsigned n = 0; n < ROUNDS; n++) {
        char tenant[16];

        (void)snprintf(tenant, sizeof tenant, "tenant-%u", n);
        uint32_t spans = live_of(tenant, 1).spans;
        uint32_t stored = stored_of(tenant, 1).want_spans;
        if (is_acked[n] && spans + stored != SPANS)
            fail_msg("round %u: %u live and %u stored spans", n, spans, stored);
    }
}

/* A block that can not be published stays where it is: searchable, and published when it can be. */
static enum err (*real_publish)(struct backend *b, const char *tenant, const char *id,
                                const char *data_path, struct slice meta_json);
static atomic_int publishes_to_fail;

static enum err failing_publish(struct backend *b, const char *tenant, const char *id,
                                const char *data_path, struct slice meta_json)
{
    if (atomic_fetch_sub(&publishes_to_fail, 1) > 0)
        return ERR_IO;
    return real_publish(b, tenant, id, data_path, meta_json);
}

static void an_unpublished_block_stays_visible(void **state)
{
    struct backend_ops ops = *backend->ops;
    bool acked[TRACES];
    struct flush_result first = {0}, second = {0};
    (void)state;

    real_publish = ops.publish;
    ops.publish = failing_publish;
    backend->ops = &ops;
    start_core();
    EVENTUALLY(is_ready());
    assert_int_equal(push_traces(1, acked), TRACES);
    atomic_store(&publishes_to_fail, 2);
    core_flush(core, flush_over, &first);
    EVENTUALLY(atomic_load(&first.is_over));
    assert_int_equal(first.err, ERR_IO);
    check_traces(1, acked);
    assert_int_equal(live_of("acme", 1).recent, 0);
    core_flush(core, flush_over, &second);
    for (int i = 0; i < 200 && live_of("acme", 1).recent == 0; i++) {
        advance(NS_PER_S);
        (void)usleep(20000);
    }
    EVENTUALLY(atomic_load(&second.is_over));
    assert_int_equal(live_of("acme", 1).recent, 1);
    assert_int_equal(live_of("acme", 1).spans, 0);
    stop_core();
    backend->ops->free(backend);
    assert_int_equal(backend_local_new(block_dir, &backend, NULL), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_write_and_sync_fails_once, fault_set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_refuses_and_comes_back, fault_set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(allocations_fail, fault_set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unpublished_block_stays_visible, fault_set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
