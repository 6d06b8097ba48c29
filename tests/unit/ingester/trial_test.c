#include "common/sys/fs.h"
#include "ingester/trial.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <unistd.h>

static char dir[SCRATCH_DIR_BYTES];
static atomic_bool is_stopping;

static int set_up(void **state)
{
    (void)state;
    scratch_dir_make(dir);
    atomic_store(&is_stopping, false);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_dir_remove(dir);
    return 0;
}

static struct trial *open_trial(void)
{
    struct trial *t = NULL;

    assert_int_equal(trial_open(dir, &t), ERR_OK);
    return t;
}

static void live(void *arg)
{
    (void)arg;
}

static void die(void *arg)
{
    (void)arg;
    (void)kill(getpid(), SIGKILL); /* as for want of memory; nothing is dumped */
}

static void wait_forever(void *arg)
{
    (void)arg;
    atomic_store(&is_stopping, true); /* the copy's own */
    for (;;)
        (void)pause();
}

static void the_frame_at_hand_outlives_the_process(void **state)
{
    (void)state;
    struct trial *t = open_trial();
    assert_false(trial_is_suspect(t, 5));
    trial_begin(t, 4);
    trial_begin(t, 5);
    trial_close(t); /* a death leaves the note too */
    t = open_trial();
    assert_true(trial_is_suspect(t, 5));
    assert_false(trial_is_suspect(t, 4));
    trial_end(t);
    trial_close(t);
    t = open_trial();
    assert_false(trial_is_suspect(t, 5));
    trial_close(t);
}

static void a_copy_is_tried(void **state)
{
    (void)state;
    struct trial *t = open_trial();
    assert_int_equal(trial_copy(t, live, NULL, &is_stopping), ERR_OK);
    assert_int_equal(trial_copy(t, die, NULL, &is_stopping), ERR_CORRUPT);
    atomic_store(&is_stopping, true);
    assert_int_equal(trial_copy(t, wait_forever, NULL, &is_stopping), ERR_CANCELED);
    trial_close(t);
}

/* Copies live, the process does not. */
static void many_deaths_are_enough(void **state)
{
    (void)state;
    for (unsigned life = 0; life < TRIAL_DEATHS_MAX; life++) {
        struct trial *t = open_trial();
        assert_int_equal(trial_copy(t, live, NULL, &is_stopping), ERR_OK);
        trial_begin(t, 9);
        trial_close(t);
    }
    struct trial *t = open_trial();
    assert_true(trial_is_suspect(t, 9));
    assert_int_equal(trial_copy(t, live, NULL, &is_stopping), ERR_CORRUPT);
    trial_close(t);
    /* Deaths of different frames do not add up. */
    for (unsigned life = 0; life < 2 * TRIAL_DEATHS_MAX; life++) {
        t = open_trial();
        trial_begin(t, 10 + life % 2);
        trial_close(t);
    }
    t = open_trial();
    assert_int_equal(trial_copy(t, live, NULL, &is_stopping), ERR_OK);
    trial_close(t);
}

static void a_damaged_note_tells_nothing(void **state)
{
    char path[SCRATCH_DIR_BYTES * 2];
    struct buf note;
    (void)state;

    struct trial *t = open_trial();
    trial_begin(t, 5);
    trial_close(t);
    scratch_dir_path(dir, "trial", path);
    scratch_dir_read(path, &note);
    for (size_t i = 0; i < 20; i++) {
        note.ptr[i] ^= 1;
        scratch_dir_write(path, buf_slice(&note));
        note.ptr[i] ^= 1;
        t = open_trial();
        assert_false(trial_is_suspect(t, 5));
        trial_close(t);
    }
    scratch_dir_write(path, (struct slice){note.ptr, 7});
    t = open_trial();
    assert_false(trial_is_suspect(t, 5));
    trial_close(t);
    buf_release(&note);
}

static void frames_in_quarantine_are_known(void **state)
{
    (void)state;
    struct trial *t = open_trial();
    assert_false(trial_is_aside(t, 3));
    trial_close(t);
    for (uint64_t lsn = 100; lsn > 0; lsn -= 5) {
        struct wal_frame f = {.lsn = lsn, .kind = WAL_SPANS, .tenant = SLICE_LIT("t")};
        assert_int_equal(wal_save_frame(dir, &f), ERR_OK);
    }
    t = open_trial();
    for (uint64_t lsn = 1; lsn <= 101; lsn++)
        assert_int_equal(trial_is_aside(t, lsn), lsn % 5 == 0);
    trial_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_frame_at_hand_outlives_the_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_copy_is_tried, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_deaths_are_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_note_tells_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(frames_in_quarantine_are_known, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
