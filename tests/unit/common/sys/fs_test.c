#include "common/sys/fs.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct slice read_back(const char *path, struct buf *b)
{
    buf_reset(b);
    assert_int_equal(fs_read_file(path, b), ERR_OK);
    return buf_slice(b);
}

static void test_replace_leaves_old_or_new(void **state)
{
    const char *path = tmpdir_path(state, "file");
    struct buf b;
    struct stat st;

    buf_init(&b, 1 << 20);
    assert_int_equal(fs_replace(path, SLICE_LIT("old")), ERR_OK);
    assert_true(slice_eq_str(read_back(path, &b), "old"));
    assert_int_equal(fs_replace(path, SLICE_LIT("n\0ew")), ERR_OK);
    assert_true(slice_eq(read_back(path, &b), SLICE_LIT("n\0ew")));
    assert_int_equal(fs_replace(path, SLICE_NONE), ERR_OK);
    assert_int_equal(read_back(path, &b).len, 0);
    assert_int_not_equal(stat(tmpdir_path(state, "file.tmp"), &st), 0);
    assert_int_equal(fs_replace(tmpdir_path(state, "none/file"), SLICE_LIT("x")), ERR_NOT_FOUND);
    /* The rename fails: the leftover is gone, too. */
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "dir/full")), ERR_OK);
    assert_int_not_equal(fs_replace(tmpdir_path(state, "dir"), SLICE_LIT("x")), ERR_OK);
    assert_int_not_equal(stat(tmpdir_path(state, "dir.tmp"), &st), 0);
    buf_release(&b);
}

static void test_read_is_bounded(void **state)
{
    const char *path = tmpdir_path(state, "file");
    static uint8_t bytes[200000];
    struct buf b;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    assert_int_equal(fs_replace(path, (struct slice){bytes, sizeof bytes}), ERR_OK);
    buf_init(&b, sizeof bytes);
    assert_int_equal(fs_read_file(path, &b), ERR_OK); /* exactly the maximum */
    assert_int_equal(b.len, sizeof bytes);
    assert_memory_equal(b.ptr, bytes, sizeof bytes);
    buf_release(&b);
    buf_init(&b, sizeof bytes - 1);
    assert_int_equal(fs_read_file(path, &b), ERR_TOO_LARGE);
    assert_int_equal(b.len, 0);
    buf_release(&b);
    buf_init(&b, sizeof bytes + 4);
    buf_append_str(&b, "head");
    assert_int_equal(fs_read_file(path, &b), ERR_OK);
    assert_memory_equal(b.ptr, "head", 4);
    assert_memory_equal(b.ptr + 4, bytes, sizeof bytes);
    buf_reset(&b);
    assert_int_equal(fs_read_file(tmpdir_path(state, "none"), &b), ERR_NOT_FOUND);
    assert_int_equal(fs_read_file(tmpdir_path(state, "."), &b), ERR_IO);
    buf_release(&b);
}

static void test_ranges(void **state)
{
    const char *path = tmpdir_path(state, "file");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    char a[] = "one", b[] = "", c[] = "-two-", back[16] = {0};
    struct iovec iov[2000] = {{a, 3}, {b, 0}, {c, 5}};

    assert_true(fd >= 0);
    assert_int_equal(fs_pwritev_all(fd, iov, 3, 2), ERR_OK);
    assert_int_equal(fs_sync_data(fd), ERR_OK);
    assert_int_equal(fs_pread_exact(fd, back, 8, 2), ERR_OK);
    assert_memory_equal(back, "one-two-", 8);
    assert_int_equal(fs_pread_exact(fd, back, 9, 2), ERR_CORRUPT);
    assert_int_equal(fs_pread_exact(fd, back, 0, 100), ERR_OK);
    for (size_t i = 0; i < 2000; i++) /* more than the kernel takes at once */
        iov[i] = (struct iovec){c, 5};
    assert_int_equal(fs_pwritev_all(fd, iov, 2000, 100), ERR_OK);
    assert_int_equal(fs_pread_exact(fd, back, 5, 100 + 5 * 1999), ERR_OK);
    assert_memory_equal(back, c, 5);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 100 + 5 * 2000);
    fs_close(&fd);
    assert_int_equal(fd, -1);
    fs_close(&fd);
}

static void test_full_disk_is_told(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char text[] = "x";
    struct iovec iov = {text, 1};

    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, SLICE_LIT("data")), ERR_FULL);
    assert_int_not_equal(fs_pwritev_all(fd, &iov, 1, 0), ERR_OK);
    fs_close(&fd);
    assert_int_equal(fs_write_all(-1, SLICE_LIT("x")), ERR_IO);
    assert_int_equal(errno, EBADF);
    assert_int_equal(fs_sync_data(-1), ERR_IO);
    assert_int_equal(fs_errno_err(ENOSPC), ERR_FULL);
    assert_int_equal(fs_errno_err(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(fs_errno_err(ENOMEM), ERR_NOMEM);
    assert_int_equal(fs_errno_err(EROFS), ERR_FORBIDDEN);
    assert_int_equal(fs_errno_err(EIO), ERR_IO);
    assert_int_equal(fs_errno_err(0), ERR_OK);
}

static enum err count_names(void *arg, const char *name)
{
    unsigned *count = arg;

    (*count)++;
    return strcmp(name, "stop") == 0 ? ERR_CONFLICT : ERR_OK;
}

static void test_folders(void **state)
{
    unsigned count = 0;
    struct stat st;

    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "a/b//c/")), ERR_OK);
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "a/b/c")), ERR_OK);
    assert_int_equal(fs_replace(tmpdir_path(state, "a/file"), SLICE_LIT("x")), ERR_OK);
    assert_int_not_equal(fs_mkdir_all(tmpdir_path(state, "a/file/d")), ERR_OK);
    assert_int_not_equal(fs_mkdir_all(tmpdir_path(state, "a/file")), ERR_OK);
    assert_int_equal(fs_mkdir_all(""), ERR_INVALID);
    assert_int_equal(fs_list(tmpdir_path(state, "a"), count_names, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "a/stop")), ERR_OK);
    assert_int_equal(fs_list(tmpdir_path(state, "a"), count_names, &count), ERR_CONFLICT);
    assert_int_equal(fs_list(tmpdir_path(state, "none"), count_names, &count), ERR_NOT_FOUND);

    /* A link out of the tree is cut, what it points to stays. */
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "kept/inside")), ERR_OK);
    assert_int_equal(symlink(tmpdir_path(state, "kept"), tmpdir_path(state, "a/link")), 0);
    assert_int_equal(fs_remove_tree(tmpdir_path(state, "a")), ERR_OK);
    assert_int_not_equal(stat(tmpdir_path(state, "a"), &st), 0);
    assert_int_equal(stat(tmpdir_path(state, "kept/inside"), &st), 0);
    assert_int_equal(fs_remove_tree(tmpdir_path(state, "a")), ERR_OK); /* already gone */
    assert_int_equal(fs_sync_path_dir(tmpdir_path(state, "kept")), ERR_OK);
    assert_int_equal(fs_sync_path_dir(tmpdir_path(state, "a")), ERR_NOT_FOUND);
}

static void test_lock_is_exclusive(void **state)
{
    const char *path = tmpdir_path(state, "lock");
    int first = -1, second = -1;

    assert_int_equal(fs_lock(path, &first), ERR_OK);
    assert_int_equal(fs_lock(path, &second), ERR_CONFLICT);
    assert_int_equal(second, -1);
    fs_close(&first);
    assert_int_equal(fs_lock(path, &second), ERR_OK);
    fs_close(&second);
}

static void test_free_space(void **state)
{
    uint64_t free_bytes = 0, total = 0;

    assert_int_equal(fs_free_bytes(tmpdir_path(state, "."), &free_bytes, &total), ERR_OK);
    assert_true(total > 0 && free_bytes <= total);
    assert_int_equal(fs_free_bytes(tmpdir_path(state, "none"), &free_bytes, &total), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replace_leaves_old_or_new, tmpdir_setup,
                                        tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_read_is_bounded, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_ranges, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test(test_full_disk_is_told),
        cmocka_unit_test_setup_teardown(test_folders, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_lock_is_exclusive, tmpdir_setup, tmpdir_teardown),
        cmocka_unit_test_setup_teardown(test_free_space, tmpdir_setup, tmpdir_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
