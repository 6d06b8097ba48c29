/* The queue of a target: order, restart, its bound, damage, readers and writers at once. */
#include "common/base/clock.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"
#include "generator/send_queue.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(struct send_queue *q, const char *tenant, const char *one, const char *two)
{
    struct buf file;

    buf_init(&file, 1 << 20);
    send_queue_begin(&file, slice_str(tenant));
    send_queue_add(&file, slice_str(one));
    send_queue_add(&file, slice_str(two));
    assert_int_equal(send_queue_put(q, &file), ERR_OK);
    buf_release(&file);
}

/* "tenant: one two" of the oldest file, which is then done. */
static void expect_next(struct send_queue *q, const char *want)
{
    struct slice tenant, request;
    struct buf file, text;
    uint64_t number;
    size_t at;

    buf_init(&file, 1 << 20);
    buf_init(&text, 1 << 20);
    assert_true(send_queue_next(q, 0, &number, &file));
    assert_true(send_queue_tenant(buf_slice(&file), &tenant, &at));
    buf_append(&text, tenant);
    buf_append_str(&text, ":");
    while (at < file.len) {
        assert_true(send_queue_request(buf_slice(&file), &at, &request));
        buf_append_str(&text, " ");
        buf_append(&text, request);
    }
    assert_true(slice_eq_str(buf_slice(&text), want));
    send_queue_done(q, number);
    buf_release(&file);
    buf_release(&text);
}

static bool is_empty(struct send_queue *q)
{
    struct send_queue_stats s;
    struct buf file;
    uint64_t number;

    buf_init(&file, 1 << 20);
    bool has = send_queue_next(q, 0, &number, &file);
    buf_release(&file);
    send_queue_stats(q, &s);
    assert_int_equal(has, s.files != 0);
    return !has && s.bytes == 0;
}

static void test_in_order_and_through_a_restart(void **state)
{
    struct send_queue *q;

    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", "b");
    put(q, "t", "c", "");
    put(q, "other", "e", "f");
    expect_next(q, "t: a b");
    send_queue_close(q);
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "g", "h");
    expect_next(q, "t: c ");
    expect_next(q, "other: e f");
    expect_next(q, "t: g h");
    assert_true(is_empty(q));
    send_queue_close(q);
}

static void test_the_oldest_go_when_it_is_full(void **state)
{
    struct send_queue *q;
    struct send_queue_stats s;

    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 100, &q), ERR_OK);
    for (unsigned i = 0; i < 10; i++) {
        char text[8];
        (void)snprintf(text, sizeof text, "r%u", i);
        put(q, "t", text, "0123456789"); /* 36 bytes */
    }
    send_queue_stats(q, &s);
    assert_int_equal(s.files, 2);
    assert_int_equal(s.dropped_files, 8);
    assert_true(s.bytes <= 100);
    expect_next(q, "t: r8 0123456789");
    expect_next(q, "t: r9 0123456789");
    put(q, "t", "much too long for the whole queue, but alone: it is kept, or nothing would ever",
        "be sent");
    send_queue_stats(q, &s);
    assert_int_equal(s.files, 1);
    send_queue_close(q);
}

static void test_leftovers_and_foreign_files(void **state)
{
    struct send_queue *q;
    struct stat st;

    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "q")), ERR_OK);
    assert_int_equal(fs_replace(tmpdir_path(state, "q/notes.txt"), SLICE_LIT("x")), ERR_OK);
    assert_int_equal(fs_replace(tmpdir_path(state, "q/0000000000000007.rw.tmp"), SLICE_LIT("x")),
                     ERR_OK);
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 100, &q), ERR_OK);
    assert_true(is_empty(q));
    assert_int_equal(stat(tmpdir_path(state, "q/notes.txt"), &st), 0);
    assert_int_not_equal(stat(tmpdir_path(state, "q/0000000000000007.rw.tmp"), &st), 0);
    send_queue_close(q);
}

static void test_damage_ends_the_file(void **state)
{
    struct buf file;
    struct slice tenant, request;
    size_t at;

    (void)state;
    buf_init(&file, 1 << 20);
    send_queue_begin(&file, SLICE_LIT("t"));
    send_queue_add(&file, SLICE_LIT("first"));
    send_queue_add(&file, SLICE_LIT("second"));
    file.ptr[file.len - 1] ^= 1;
    assert_true(send_queue_tenant(buf_slice(&file), &tenant, &at));
    assert_true(send_queue_request(buf_slice(&file), &at, &request));
    assert_true(slice_eq_str(request, "first"));
    assert_false(send_queue_request(buf_slice(&file), &at, &request));
    for (size_t len = 0; len < 8; len++) {
        bool is_sound = send_queue_tenant(slice_sub(buf_slice(&file), 0, len), &tenant, &at);
        assert_int_equal(is_sound, len >= 7);
    }
    file.ptr[0] ^= 1;
    assert_false(send_queue_tenant(buf_slice(&file), &tenant, &at));
    buf_release(&file);
}

static void test_a_file_that_is_gone_is_counted(void **state)
{
    struct send_queue *q;
    struct send_queue_stats s;
    struct buf file;
    uint64_t number;

    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    put(q, "t", "a", "b");
    put(q, "t", "c", "d");
    assert_int_equal(unlink(tmpdir_path(state, "q/0000000000000000.rw")), 0);
    buf_init(&file, 1 << 20);
    assert_false(send_queue_next(q, 0, &number, &file));
    buf_release(&file);
    send_queue_stats(q, &s);
    assert_int_equal(s.dropped_files, 1);
    expect_next(q, "t: c d");
    send_queue_close(q);
}

static void test_no_room_on_the_disk(void **state)
{
    struct send_queue *q;
    struct buf file;

    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 1 << 20, &q), ERR_OK);
    assert_int_equal(fs_remove_tree(tmpdir_path(state, "q")), ERR_OK); /* every write fails now */
    buf_init(&file, 100);
    send_queue_begin(&file, SLICE_LIT("t"));
    assert_int_not_equal(send_queue_put(q, &file), ERR_OK);
    assert_true(is_empty(q));
    assert_int_equal(fs_mkdir_all(tmpdir_path(state, "q")), ERR_OK);
    put(q, "t", "a", "b");
    expect_next(q, "t: a b");
    buf_release(&file);
    send_queue_close(q);
}

struct race {
    struct send_queue *q;
    unsigned got;
    atomic_bool is_over;
};

static void take_all(void *arg)
{
    struct race *r = arg;
    struct buf file;
    uint64_t number, last = 0;

    buf_init(&file, 1 << 20);
    for (;;) {
        bool is_over = atomic_load(&r->is_over);
        if (send_queue_next(r->q, 5 * NS_PER_MS, &number, &file)) {
            assert_true(r->got == 0 || number > last);
            last = number;
            r->got++;
            send_queue_done(r->q, number);
            send_queue_done(r->q, number); /* done twice is done */
        } else if (is_over) {
            break;
        }
    }
    buf_release(&file);
}

static void test_taken_while_it_is_filled(void **state)
{
    struct race r = {.got = 0};
    struct send_queue_stats s;
    pthread_t thread;

    atomic_init(&r.is_over, false);
    assert_int_equal(send_queue_open(tmpdir_path(state, "q"), 400, &r.q), ERR_OK);
    assert_int_equal(thread_start(&thread, "taker", take_all, &r), ERR_OK);
    for (unsigned i = 0; i < 150; i++)
        put(r.q, "t", "0123456789", "0123456789");
    atomic_store(&r.is_over, true);
    send_queue_wake(r.q);
    thread_join(thread);
    send_queue_stats(r.q, &s);
    assert_int_equal(s.files, 0);
    assert_int_equal(s.bytes, 0);
    /* Each was taken, or dropped and counted; one that was taken while it was dropped may be both. */
    assert_true(r.got + s.dropped_files >= 150);
    send_queue_close(r.q);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)
    const struct CMUnitTest tests[] = {
        T(test_in_order_and_through_a_restart), T(test_the_oldest_go_when_it_is_full),
        T(test_leftovers_and_foreign_files),    T(test_damage_ends_the_file),
        T(test_a_file_that_is_gone_is_counted), T(test_no_room_on_the_disk),
        T(test_taken_while_it_is_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
