/* Publishing, removing and quarantining while each file call fails once, and while each one is the last (a crash there).  Rules: a block is seen
 * whole or not at all; what failed can be done again; nothing is lost that was there. */
#include "common/store/backend.h"
#include "common/sys/fs.h"
#include "tests/lib/alloc_fault.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID "11111111-2222-8333-8444-555555555555"

/* The nth of the calls below fails; with is_crash, all after it too: nothing more reaches the disk. */
static long fail_at, calls;
static bool is_crash, is_on;

static bool fails(void)
{
    if (!is_on)
        return false;
    calls++;
    if (calls == fail_at || (is_crash && calls > fail_at)) {
        errno = EIO;
        return true;
    }
    return false;
}

/* The C library's own are found behind these names. */
#define REAL(ret_type, name, ...)             \
    static ret_type (*real)(__VA_ARGS__);     \
    if (real == NULL) {                       \
        void *found = dlsym(RTLD_NEXT, name); \
        memcpy(&real, &found, sizeof found);  \
    }

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *)
    return fails() ? -1 : real(from, to);
}

int link(const char *from, const char *to)
{
    REAL(int, "link", const char *, const char *)
    return fails() ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t)
    return fails() ? -1 : real(path, mode);
}

int fsync(int fd)
{
    REAL(int, "fsync", int)
    return fails() ? -1 : real(fd);
}

int fdatasync(int fd)
{
    REAL(int, "fdatasync", int)
    return fails() ? -1 : real(fd);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *)
    return fails() ? -1 : real(path);
}

int unlinkat(int fd, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int)
    return fails() ? -1 : real(fd, path, flags);
}

ssize_t write(int fd, const void *data, size_t len)
{
    REAL(ssize_t, "write", int, const void *, size_t)
    return fails() ? -1 : real(fd, data, len);
}

static char dir[SCRATCH_DIR_BYTES], root[SCRATCH_DIR_BYTES * 2], file[SCRATCH_DIR_BYTES * 2];
static struct backend *backend;

static int set_up(void **state)
{
    (void)state;
    is_on = false;
    scratch_dir_make(dir);
    scratch_dir_path(dir, "blocks", root);
    scratch_dir_path(dir, "finished.vvb", file);
    return backend_local_new(root, &backend, NULL) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    is_on = false;
    backend->ops->free(backend);
    scratch_dir_remove(dir);
    return 0;
}

static enum err count_block(void *arg, const char *name)
{
    assert_string_equal(name, ID);
    ++*(unsigned *)arg;
    return ERR_OK;
}

/* Seen at all?  Then it must be whole. */
static bool is_seen(void)
{
    unsigned count = 0;
    struct object *o = NULL;
    struct buf meta;
    char text[11] = {0};

    assert_int_equal(backend->ops->blocks(backend, "acme", count_block, &count), ERR_OK);
    if (count == 0)
        return false;
    buf_init(&meta, 100);
    assert_int_equal(backend->ops->read_meta(backend, "acme", ID, &meta), ERR_OK);
    assert_true(slice_eq_str(buf_slice(&meta), "{\"m\":1}"));
    buf_release(&meta);
    assert_int_equal(backend->ops->open(backend, "acme", ID, &o), ERR_OK);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 0, text, 10), ERR_OK);
    assert_string_equal(text, "0123456789");
    o->ops->close(o);
    return true;
}

static void begin(long n, bool crash)
{
    fail_at = n;
    calls = 0;
    is_crash = crash;
    is_on = true;
}

static bool end(void)
{
    is_on = false;
    return calls >= fail_at;
}

static enum err publish(void)
{
    return backend->ops->publish(backend, "acme", ID, file, SLICE_LIT("{\"m\":1}"));
}

static unsigned sweep_publish(bool crash)
{
    unsigned failed = 0;

    for (long n = 1;; n++) {
        scratch_dir_write(file, SLICE_LIT("0123456789"));
        begin(n, crash);
        enum err e = publish();
        bool is_hit = end();
        if (e == ERR_OK)
            assert_true(is_seen());
        failed += e != ERR_OK;
        bool was_seen = is_seen();
        /* Again, as the builder does: the file is still there unless it was published. */
        if (e != ERR_OK)
            assert_int_equal(access(file, F_OK), 0);
        if (access(file, F_OK) == 0)
            assert_int_equal(publish(), ERR_OK);
        assert_true(is_seen() || was_seen);
        assert_int_equal(backend->ops->remove(backend, "acme", ID), ERR_OK);
        assert_false(is_seen());
        if (!is_hit)
            return failed;
    }
}

static void publishing_fails_anywhere(void **state)
{
    (void)state;
    assert_true(sweep_publish(false) >= 6);
    assert_true(sweep_publish(true) >= 6);
}

#define OLD_A "aaaaaaaa-2222-8333-8444-555555555555"
#define OLD_B "bbbbbbbb-2222-8333-8444-555555555555"

static enum err add_seen(void *arg, const char *name)
{
    char *seen = arg; /* one letter a block: its first */

    seen[strlen(seen)] = name[0];
    return ERR_OK;
}

/* What failed, or was cut off by a crash, is done again; the inputs are out of sight only when the block is in sight. */
static void replacing_fails_anywhere(void **state)
{
    static const char *const old[] = {OLD_A, OLD_B};
    unsigned failed = 0;
    (void)state;

    for (int crash = 0; crash < 2; crash++) {
        bool is_hit = true;
        for (long n = 1; is_hit; n++) {
            char seen[8] = "";
            for (int i = 0; i < 2; i++) {
                scratch_dir_write(file, SLICE_LIT("old"));
                assert_int_equal(
                    backend->ops->publish(backend, "acme", old[i], file, SLICE_LIT("{}")), ERR_OK);
            }
            scratch_dir_write(file, SLICE_LIT("0123456789"));
            begin(n, crash);
            enum err e =
                backend->ops->replace(backend, "acme", ID, file, SLICE_LIT("{\"m\":1}"), old, 2);
            is_hit = end();
            failed += e != ERR_OK;
            assert_int_equal(backend->ops->blocks(backend, "acme", add_seen, seen), ERR_OK);
            assert_true(strchr(seen, '1') != NULL ||
                        (strchr(seen, 'a') != NULL && strchr(seen, 'b') != NULL));
            if (access(file, F_OK) != 0)
                scratch_dir_write(file, SLICE_LIT("0123456789"));
            assert_int_equal(
                backend->ops->replace(backend, "acme", ID, file, SLICE_LIT("{\"m\":1}"), old, 2),
                ERR_OK);
            assert_true(is_seen()); /* and nothing else is */
            for (int i = 0; i < 2; i++)
                assert_int_equal(backend->ops->remove(backend, "acme", old[i]), ERR_OK);
            assert_int_equal(backend->ops->remove(backend, "acme", ID), ERR_OK);
        }
    }
    assert_true(failed >= 12);
}

static void removing_fails_anywhere(void **state)
{
    (void)state;
    for (int crash = 0; crash < 2; crash++) {
        for (long n = 1;; n++) {
            scratch_dir_write(file, SLICE_LIT("0123456789"));
            assert_int_equal(publish(), ERR_OK);
            begin(n, crash == 1);
            enum err e = backend->ops->remove(backend, "acme", ID);
            bool is_hit = end();
            if (e == ERR_OK)
                assert_false(is_seen());
            if (is_seen())
                assert_int_equal(backend->ops->remove(backend, "acme", ID), ERR_OK);
            assert_false(is_seen());
            if (!is_hit)
                break;
        }
    }
}

static void quarantining_fails_anywhere(void **state)
{
    char kept[SCRATCH_DIR_BYTES * 2];
    (void)state;

    scratch_dir_path(root, ".quarantine/acme", kept);
    for (int crash = 0; crash < 2; crash++) {
        for (long n = 1;; n++) {
            scratch_dir_write(file, SLICE_LIT("0123456789"));
            assert_int_equal(publish(), ERR_OK);
            begin(n, crash == 1);
            enum err e = backend->ops->quarantine(backend, "acme", ID, "why");
            bool is_hit = end();
            if (e == ERR_OK)
                assert_false(is_seen());
            if (is_seen())
                assert_int_equal(backend->ops->quarantine(backend, "acme", ID, "why"), ERR_OK);
            assert_int_equal(scratch_dir_count(kept), 1); /* kept */
            assert_int_equal(fs_remove_tree(kept), ERR_OK);
            if (!is_hit)
                break;
        }
    }
}

static void allocations_fail(void **state)
{
    struct backend *b = NULL;
    struct object *o = NULL;
    (void)state;

    scratch_dir_write(file, SLICE_LIT("0123456789"));
    for (unsigned long n = 1;; n++) {
        alloc_fault_at(n);
        enum err e = backend_local_new(root, &b, NULL);
        if (e == ERR_OK) {
            e = object_file_open(file, &o);
            if (e == ERR_OK)
                o->ops->close(o);
            b->ops->free(b);
        }
        bool is_hit = alloc_fault_hit();
        assert_int_equal(e, is_hit ? ERR_NOMEM : ERR_OK);
        if (!is_hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(publishing_fails_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replacing_fails_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(removing_fails_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quarantining_fails_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(allocations_fail, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
