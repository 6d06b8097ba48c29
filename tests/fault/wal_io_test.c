/* The log under failing and forgetting disks.  One invariant for all: what was acknowledged (append and sync both well) is given back, byte for
 * byte, and nothing is given back that was not appended just so. */
#include "common/base/rng.h"
#include "common/store/wal.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES_MAX = 256, FRAMES_MAX = 512, GROUP = 3, GROUPS = 30 };

/* Which call fails: counted down by each call of its kind, fails at 1 and, if is_for_ever, from then on. */
struct failing {
    long write_at, sync_at, dir_at, open_at;
    bool is_for_ever, is_short; /* is_short: half of the bytes land first */
    enum err err;
};
static struct failing failing;

/* What a power cut would leave: bytes of a file up to its last sync, and the names that its folder was synced with. */
struct on_disk {
    char path[SCRATCH_DIR_BYTES * 2];
    int fd;
    uint64_t synced_bytes;
    bool is_named;
};
static struct on_disk files[FILES_MAX];
static unsigned file_count;

static bool fails(long *at)
{
    if (*at == 0)
        return false;
    if (*at == 1) {
        if (!failing.is_for_ever)
            *at = 0;
        return true;
    }
    --*at;
    return false;
}

static int test_open(const char *path, int flags, unsigned mode)
{
    if (fails(&failing.open_at)) {
        errno = ENOSPC;
        return -1;
    }
    int fd = open(path, flags, mode);
    if (fd >= 0) {
        assert_true(file_count < FILES_MAX);
        struct on_disk *f = &files[file_count++];
        *f = (struct on_disk){.fd = fd};
        (void)snprintf(f->path, sizeof f->path, "%s", path);
    }
    return fd;
}

static struct on_disk *file_of(int fd)
{
    for (unsigned i = file_count; i-- > 0;) {
        if (files[i].fd == fd)
            return &files[i];
    }
    fail();
    return NULL;
}

static enum err test_pwritev(int fd, void *iov, int iov_count, uint64_t offset)
{
    if (fails(&failing.write_at)) {
        const struct iovec *first = iov;
        if (failing.is_short)
            assert_true(pwrite(fd, first->iov_base, first->iov_len / 2, (off_t)offset) >= 0);
        return failing.err;
    }
    return wal_io_system.pwritev(fd, iov, iov_count, offset);
}

static enum err test_sync(int fd)
{
    struct stat st;

    if (fails(&failing.sync_at))
        return ERR_IO;
    assert_int_equal(fstat(fd, &st), 0);
    file_of(fd)->synced_bytes = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err test_sync_dir(const char *dir)
{
    (void)dir;
    if (fails(&failing.dir_at))
        return ERR_IO;
    for (unsigned i = 0; i < file_count; i++)
        files[i].is_named = true;
    return ERR_OK;
}

static enum err test_truncate(int fd, uint64_t bytes)
{
    struct on_disk *f = file_of(fd);

    if (bytes < f->synced_bytes)
        f->synced_bytes =
            bytes; /* what a failed group left behind its file's whole groups; the ledger says if more is gone */
    return wal_io_system.truncate(fd, bytes);
}

static const struct wal_io test_io = {test_open, test_pwritev, test_sync, test_sync_dir,
                                      test_truncate};

/* The machine goes dark: unsynced bytes are gone, or some of them came through, or they came as zeros. */
static void power_cut(struct rng *rng)
{
    struct stat st;

    for (unsigned i = 0; i < file_count; i++) {
        struct on_disk *f = &files[i];
        if (stat(f->path, &st) != 0)
            continue;
        if (!f->is_named) {
            assert_int_equal(unlink(f->path), 0);
            continue;
        }
        uint64_t unsynced = (uint64_t)st.st_size - f->synced_bytes;
        uint64_t kept = unsynced == 0 ? 0 : rng_below(rng, unsynced + 1);
        assert_int_equal(truncate(f->path, (off_t)(f->synced_bytes + kept)), 0);
        if (rng_below(rng, 2) == 0)
            assert_int_equal(truncate(f->path, (off_t)(f->synced_bytes + unsynced)),
                             0); /* the rest as zeros */
    }
    file_count = 0;
}

/* The ledger: what each lsn was given to, and whether it was acknowledged. */
struct ledger {
    uint32_t part_of[FRAMES_MAX * 4]; /* by lsn; 0: none */
    bool is_acked[FRAMES_MAX * 4], is_back[FRAMES_MAX * 4];
    uint32_t next_part;
};
static struct ledger ledger;

static size_t payload_of(uint32_t part, uint8_t ret[300])
{
    struct rng r;
    size_t len = 30 + part * 13 % 250;

    rng_init(&r, part);
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)rng_u64(&r);
    return len;
}

static enum err give_back(void *arg, const struct wal_frame *f)
{
    uint8_t payload[300];
    size_t len = payload_of(f->part, payload);
    (void)arg;

    assert_true(f->lsn < FRAMES_MAX * 4);
    assert_int_equal(ledger.part_of[f->lsn],
                     f->part); /* just what was appended under this number */
    assert_true(slice_eq(f->payload, (struct slice){payload, len}));
    assert_false(ledger.is_back[f->lsn]);
    ledger.is_back[f->lsn] = true;
    return ERR_OK;
}

static bool push_group(struct wal *w)
{
    uint8_t payloads[GROUP][300];
    struct wal_frame frames[GROUP];

    for (uint32_t i = 0; i < GROUP; i++) {
        uint32_t part = ++ledger.next_part;
        frames[i] = (struct wal_frame){.kind = WAL_SPANS, .part = part, .tenant = SLICE_LIT("t")};
        frames[i].payload = (struct slice){payloads[i], payload_of(part, payloads[i])};
    }
    enum err e = wal_append(w, frames, GROUP);
    for (uint32_t i = 0; i < GROUP; i++) {
        if (e != ERR_OK && frames[i].lsn == 0)
            continue;
        assert_true(frames[i].lsn < FRAMES_MAX * 4);
        assert_int_equal(ledger.part_of[frames[i].lsn], 0); /* never twice */
        ledger.part_of[frames[i].lsn] = frames[i].part;
    }
    if (e == ERR_OK)
        e = wal_sync(w);
    for (uint32_t i = 0; i < GROUP && e == ERR_OK; i++)
        ledger.is_acked[frames[i].lsn] = true;
    return e == ERR_OK;
}

static struct wal_replay_result replay_all(const char *dir)
{
    struct wal_replay_result r;

    memset(ledger.is_back, 0, sizeof ledger.is_back);
    assert_int_equal(wal_replay(dir, 0, give_back, NULL, &r), ERR_OK);
    for (uint32_t lsn = 0; lsn < FRAMES_MAX * 4; lsn++) {
        if (ledger.is_acked[lsn])
            assert_true(ledger.is_back[lsn]);
        if (!ledger.is_back[lsn])
            ledger.part_of[lsn] = 0; /* it never was: the number is free again */
    }
    return r;
}

/* Returns how many groups were acknowledged. */
static unsigned run(struct failing f, bool is_power_cut, struct rng *rng)
{
    char dir[SCRATCH_DIR_BYTES];
    struct wal_options o = {.segment_bytes_max = 2500, .io = &test_io};
    struct wal_replay_result r = {0};
    unsigned acked = 0;

    scratch_dir_make(dir);
    ledger = (struct ledger){0};
    file_count = 0;
    for (int life = 0; life < 2; life++) {
        struct wal *w = NULL;
        failing = life == 0 ? f : (struct failing){0};
        assert_int_equal(wal_open(dir, r.last_lsn + 1, &o, &w), ERR_OK);
        for (int g = 0; g < GROUPS; g++)
            acked += push_group(w);
        wal_close(w);
        if (is_power_cut)
            power_cut(rng);
        file_count = 0;
        r = replay_all(dir);
    }
    scratch_dir_remove(dir);
    return acked;
}

static void each_write_fails_once(void **state)
{
    struct rng rng;
    (void)state;

    rng_init(&rng, 1);
    for (long n = 1; n <= 2 * GROUPS; n++) {
        for (int variant = 0; variant < 4; variant++) {
            struct failing f = {.write_at = n,
                                .is_short = variant % 2 == 1,
                                .err = variant < 2 ? ERR_FULL : ERR_IO};
            unsigned acked = run(f, variant >= 2, &rng);
            assert_true(acked >= 2 * GROUPS - 1);
        }
    }
}

static void each_sync_fails_once(void **state)
{
    struct rng rng;
    (void)state;

    rng_init(&rng, 2);
    for (long n = 1; n <= GROUPS + 20; n++) {
        assert_true(run((struct failing){.sync_at = n}, false, &rng) >= 2 * GROUPS - 2);
        assert_true(run((struct failing){.sync_at = n}, true, &rng) >= 2 * GROUPS - 2);
        assert_true(run((struct failing){.dir_at = n}, true, &rng) >= 2 * GROUPS - 1);
        assert_true(run((struct failing){.open_at = n}, true, &rng) >= 2 * GROUPS - 1);
    }
}

static void a_disk_that_stays_broken_acknowledges_nothing(void **state)
{
    struct rng rng;
    (void)state;

    rng_init(&rng, 3);
    for (long n = 1; n <= GROUPS; n++) {
        unsigned acked = run((struct failing){.sync_at = n, .is_for_ever = true}, true, &rng);
        assert_true(acked >= GROUPS && acked < 2 * GROUPS);
        acked = run(
            (struct failing){.write_at = n, .is_for_ever = true, .is_short = true, .err = ERR_FULL},
            true, &rng);
        assert_true(acked >= GROUPS && acked < 2 * GROUPS);
        acked = run((struct failing){.open_at = 1, .is_for_ever = true}, true, &rng);
        assert_int_equal(acked, GROUPS);
    }
}

/* Many lives of one log, each ended by a power cut at a random place, sometimes with a failing call. */
static void many_lives(void **state)
{
    struct rng rng;
    (void)state;

    for (uint64_t seed = 1; seed <= 40; seed++) {
        char dir[SCRATCH_DIR_BYTES];
        struct wal_options o = {.segment_bytes_max = 3000, .io = &test_io};
        struct wal_replay_result r = {0};

        rng_init(&rng, seed);
        scratch_dir_make(dir);
        ledger = (struct ledger){0};
        for (int life = 0; life < 12; life++) {
            struct wal *w = NULL;
            file_count = 0;
            failing = (struct failing){.err = ERR_IO, .is_short = rng_below(&rng, 2) == 0};
            if (rng_below(&rng, 3) == 0)
                failing.sync_at = (long)rng_below(&rng, 10);
            if (rng_below(&rng, 3) == 0)
                failing.write_at = (long)rng_below(&rng, 10);
            assert_int_equal(wal_open(dir, r.last_lsn + 1, &o, &w), ERR_OK);
            for (uint64_t g = rng_below(&rng, 12); g > 0; g--)
                (void)push_group(w);
            wal_close(w);
            power_cut(&rng);
            r = replay_all(dir);
        }
        scratch_dir_remove(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_write_fails_once),
        cmocka_unit_test(each_sync_fails_once),
        cmocka_unit_test(a_disk_that_stays_broken_acknowledges_nothing),
        cmocka_unit_test(many_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
