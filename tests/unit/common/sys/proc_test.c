#include "common/sys/fs.h"
#include "common/sys/proc.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static void test_signals_come_by_descriptor(void **state)
{
    int fd = -1;
    struct rlimit files;

    (void)state;
    assert_int_equal(proc_init(&fd), ERR_OK);
    assert_int_equal(proc_signal_read(fd), 0);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    assert_int_equal(proc_signal_read(fd), SIGHUP);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(proc_signal_read(fd), SIGTERM);
    assert_int_equal(proc_signal_read(fd), 0);
    assert_int_equal(raise(SIGPIPE), 0); /* ignored, or this test ends here */
    assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    assert_true(files.rlim_cur == files.rlim_max);
    fs_close(&fd);
}

static void write_text(void **state, const char *name, const char *text)
{
    assert_int_equal(fs_replace(tmpdir_path(state, name), slice_str(text)), ERR_OK);
}

static uint64_t limit_with(void **state, const char *cgroup_text)
{
    write_text(state, "cgroup", cgroup_text);
    return proc_memory_limit_in(tmpdir_path(state, "cgroup"), tmpdir_path(state, "mount"));
}

static void test_memory_limit_of_cgroups(void **state)
{
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "mount/a/b")), ERR_OK);
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "mount/memory/one")), ERR_OK);
    assert_true(limit_with(state, "0::/a/b\n") == 0);
    write_text(state, "mount/a/b/memory.max", "max\n");
    assert_true(limit_with(state, "0::/a/b\n") == 0);
    write_text(state, "mount/a/memory.max", "268435456\n");
    assert_true(limit_with(state, "0::/a/b\n") == 268435456); /* the parent's holds too */
    write_text(state, "mount/a/b/memory.max", "1000000\n");
    assert_true(limit_with(state, "0::/a/b\n") == 1000000);
    write_text(state, "mount/memory.max", "4096\n");
    assert_true(limit_with(state, "0::/\n") == 4096);
    assert_true(limit_with(state, "0::/other/path\n") == 4096);
    write_text(state, "mount/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(limit_with(state, "4:memory:/one\n1:cpu:/one\n") == 0);
    write_text(state, "mount/memory/one/memory.limit_in_bytes", "123456\n");
    assert_true(limit_with(state, "4:memory:/one\n1:cpu:/one\n") == 123456);
    assert_true(limit_with(state, "garbage\n\n:\n::\n5:memory\n") ==
                4096); /* "::" is the root of v2 */
    assert_true(limit_with(state, "") == 0);
    assert_true(proc_memory_limit_in(tmpdir_path(state, "none"), "/") == 0);
}

static void test_figures_are_plausible(void **state)
{
    (void)state;
    assert_true(proc_memory_total_bytes() > 64 << 20);
    assert_in_range(proc_rss_bytes(), 100 << 10, proc_memory_total_bytes());
    assert_true(proc_memory_limit_bytes() < UINT64_C(1) << 60);
    double before = proc_cpu_seconds();
    volatile uint64_t work = 0;
    while (proc_cpu_seconds() - before < 0.01)
        work = work + 1;
    assert_true(proc_cpu_seconds() > before);
    assert_true(strlen(proc_hostname()) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_come_by_descriptor),
        cmocka_unit_test_setup_teardown(test_memory_limit_of_cgroups, tmpdir_setup,
                                        tmpdir_teardown),
        cmocka_unit_test(test_figures_are_plausible),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
