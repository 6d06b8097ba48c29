#include "common/base/crc32c.h"
#include "common/base/rng.h"
#include "common/store/wal.h"
#include "common/store/wal_priv.h"
#include "common/sys/fs.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <unistd.h>

enum { FRAMES_MAX = 400 };

/* What the log must give back: payload n is a function of n alone. */
struct seen {
    uint64_t lsn[FRAMES_MAX];
    uint32_t part[FRAMES_MAX];
    uint32_t count;
    bool is_wrong;
    uint32_t stop_after;
};

static size_t payload_of(uint32_t n, uint8_t *ret)
{
    struct rng r;
    size_t len = 20 + n * 7 % 180;

    rng_init(&r, n);
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)rng_u64(&r);
    return len;
}

static struct wal_frame frame_of(uint32_t n, uint8_t *payload)
{
    struct wal_frame f = {.kind = WAL_SPANS,
                          .flags = n % 2 == 0 ? WAL_FLAG_DOUBT : 0,
                          .part = n,
                          .received_ns = 1000 + n,
                          .tenant = SLICE_LIT("tenant-a"),
                          .first_target = n % 2 == 0 ? SLICE_LIT("ingester-1") : SLICE_NONE,
                          .payload = {payload, payload_of(n, payload)}};
    memset(f.batch_id, (int)(n & 0xff), sizeof f.batch_id);
    return f;
}

static enum err see(void *arg, const struct wal_frame *f)
{
    struct seen *s = arg;
    uint8_t payload[200];
    struct wal_frame want = frame_of(f->part, payload);

    assert_true(s->count < FRAMES_MAX);
    if (!slice_eq(f->payload, want.payload) || !slice_eq(f->tenant, want.tenant) ||
        f->kind != want.kind || f->flags != want.flags || f->received_ns != want.received_ns ||
        !slice_eq(f->first_target, want.first_target) ||
        memcmp(f->batch_id, want.batch_id, sizeof f->batch_id) != 0)
        s->is_wrong = true;
    if (s->count > 0 && f->lsn <= s->lsn[s->count - 1])
        s->is_wrong = true;
    s->lsn[s->count] = f->lsn;
    s->part[s->count++] = f->part;
    return s->stop_after != 0 && s->count == s->stop_after ? ERR_CANCELED : ERR_OK;
}

static void append(struct wal *w, uint32_t from, uint32_t to)
{
    uint8_t payload[200];

    for (uint32_t n = from; n < to; n++) {
        struct wal_frame f = frame_of(n, payload);
        assert_int_equal(wal_append(w, &f, 1), ERR_OK);
    }
    assert_int_equal(wal_sync(w), ERR_OK);
}

static struct wal *open_log(const char *dir, uint64_t next_lsn, uint64_t segment_bytes)
{
    struct wal_options o = {.segment_bytes_max = segment_bytes, .instance_id = "ingester-0"};
    struct wal *w = NULL;

    assert_int_equal(wal_open(dir, next_lsn, &o, &w), ERR_OK);
    return w;
}

static struct wal_replay_result replay(const char *dir, struct seen *s)
{
    struct wal_replay_result r;

    *s = (struct seen){0};
    assert_int_equal(wal_replay(dir, 0, see, s, &r), ERR_OK);
    assert_false(s->is_wrong);
    assert_int_equal(r.frames, s->count);
    return r;
}

static void fill(const char *dir, uint32_t count, uint64_t segment_bytes)
{
    struct wal *w = open_log(dir, 1, segment_bytes);
    append(w, 0, count);
    wal_close(w);
}

static void gives_back_what_was_appended(void **state)
{
    char dir[SCRATCH_DIR_BYTES];
    struct seen s;
    (void)state;

    scratch_dir_make(dir);
    fill(dir, 300, 4096);
    assert_true(scratch_dir_count(dir) > 5);
    struct wal_replay_result r = replay(dir, &s);
    assert_int_equal(s.count, 300);
    assert_int_equal(s.lsn[0], 1);
    assert_int_equal(r.last_lsn, 300);
    assert_int_equal(r.first_lsn, 1);
    assert_int_equal(r.torn_bytes + r.bad_frames + r.quarantined_files, 0);

    s = (struct seen){0};
    assert_int_equal(wal_replay_range(dir, 100, 250, see, &s, &r), ERR_OK);
    assert_int_equal(s.count, 150);
    assert_int_equal(s.lsn[0], 101);
    assert_int_equal(s.lsn[149], 250);

    s = (struct seen){.stop_after = 7};
    assert_int_equal(wal_replay(dir, 0, see, &s, &r), ERR_CANCELED);
    assert_int_equal(s.count, 7);
    scratch_dir_remove(dir);
}

static void goes_on_after_a_restart(void **state)
{
    char dir[SCRATCH_DIR_BYTES];
    struct seen s;
    (void)state;

    scratch_dir_make(dir);
    fill(dir, 10, 4096);
    for (uint32_t round = 1; round < 20; round++) {
        struct wal_replay_result r = replay(dir, &s);
        assert_int_equal(s.count, round * 10);
        struct wal *w = open_log(dir, r.last_lsn + 1, 4096);
        append(w, round * 10, round * 10 + 10);
        wal_close(w);
    }
    scratch_dir_remove(dir);
}

static void a_group_is_one_append(void **state)
{
    enum { GROUP = 300 };
    static uint8_t payloads[GROUP][200];
    static struct wal_frame frames[GROUP];
    char dir[SCRATCH_DIR_BYTES];
    struct seen s;
    (void)state;

    scratch_dir_make(dir);
    struct wal *w = open_log(dir, 5, 0);
    for (uint32_t n = 0; n < GROUP; n++)
        frames[n] = frame_of(n, payloads[n]);
    assert_int_equal(wal_append(w, frames, GROUP), ERR_OK);
    assert_int_equal(wal_sync(w), ERR_OK);
    assert_int_equal(frames[0].lsn, 5);
    assert_int_equal(frames[GROUP - 1].lsn, 5 + GROUP - 1);
    struct wal_frame big = frames[0];
    uint8_t *bytes = calloc(1, WAL_FRAME_BYTES_MAX);
    assert_non_null(bytes);
    big.payload = (struct slice){bytes, WAL_FRAME_BYTES_MAX};
    assert_int_equal(wal_append(w, &big, 1), ERR_TOO_LARGE);
    free(bytes);
    wal_close(w);
    (void)replay(dir, &s);
    assert_int_equal(s.count, GROUP);
    scratch_dir_remove(dir);
}

static void a_tail_torn_at_any_byte_is_cut(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2];
    struct buf whole;
    struct seen s;
    uint8_t payload[200];
    (void)state;

    scratch_dir_make(dir);
    fill(dir, 12, 0);
    scratch_dir_path(dir, "0000000000000001.wal", path);
    scratch_dir_read(path, &whole);
    struct wal_frame last = frame_of(11, payload);
    size_t last_at = whole.len - wal_format_frame_bytes(&last);

    for (size_t cut = last_at; cut < whole.len; cut++) {
        scratch_dir_write(path, (struct slice){whole.ptr, cut});
        struct wal_replay_result r = replay(dir, &s);
        assert_int_equal(s.count, 11);
        assert_int_equal(r.torn_bytes, cut - last_at);
        assert_int_equal(r.bad_frames + r.quarantined_files, 0);
        r = replay(dir, &s);
        assert_int_equal(s.count, 11);
        assert_int_equal(r.torn_bytes, 0);
        assert_int_equal(scratch_dir_count(dir), 1); /* nothing in quarantine */
    }
    buf_release(&whole);
    scratch_dir_remove(dir);
}

static void a_header_torn_at_any_byte_holds_nothing(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2];
    struct buf whole;
    struct seen s;
    (void)state;

    for (size_t cut = 0; cut <= WAL_HEADER_BYTES; cut += cut < 90 ? 13 : 1) {
        scratch_dir_make(dir);
        fill(dir, 5, 0);
        struct wal *w = open_log(dir, 6, 0);
        append(w, 5, 6);
        wal_close(w);
        scratch_dir_path(dir, "0000000000000006.wal", path);
        scratch_dir_read(path, &whole);
        scratch_dir_write(path, (struct slice){whole.ptr, cut});
        buf_release(&whole);
        struct wal_replay_result r = replay(dir, &s);
        assert_int_equal(s.count, 5);
        assert_int_equal(r.last_lsn, 5);
        w = open_log(dir, r.last_lsn + 1, 0);
        append(w, 5, 8);
        wal_close(w);
        r = replay(dir, &s);
        assert_int_equal(s.count, 8);
        assert_int_equal(r.bad_frames, 0);
        scratch_dir_remove(dir);
    }
}

static void a_flipped_bit_costs_one_frame_at_most(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2];
    struct buf whole;
    struct rng rng;
    (void)state;

    rng_init(&rng, 4711);
    scratch_dir_make(dir);
    fill(dir, 60, 4096);
    struct wal_files files;
    assert_int_equal(wal_format_list(dir, &files), ERR_OK);
    assert_true(files.count >= 3);
    for (int i = 0; i < 1000; i++) {
        uint32_t which = (uint32_t)rng_below(&rng, files.count);
        scratch_dir_path(dir, files.items[which].name, path);
        scratch_dir_read(path, &whole);
        size_t at = (size_t)rng_below(&rng, whole.len);
        whole.ptr[at] ^= (uint8_t)(1u << rng_below(&rng, 8));
        scratch_dir_write(path, buf_slice(&whole));
        struct seen s;
        struct wal_replay_result r = replay(dir, &s);
        bool is_header = at < WAL_HEADER_BYTES;
        assert_int_equal(s.count, is_header ? 60 : 59);
        bool is_tail = which + 1 == files.count && r.torn_bytes > 0;
        if (!is_tail)
            assert_int_equal(r.quarantined_files, 1);
        char quarantine[SCRATCH_DIR_BYTES * 2];
        scratch_dir_path(dir, "quarantine", quarantine);
        assert_int_equal(scratch_dir_count(quarantine), is_tail ? 0 : 1);
        assert_int_equal(fs_remove_tree(quarantine), ERR_OK);
        /* Put the file back: the flip undone, the torn tail too. */
        whole.ptr[at] = 0;
        buf_release(&whole);
        scratch_dir_remove(dir);
        assert_int_equal(fs_mkdir_all(dir), ERR_OK);
        fill(dir, 60, 4096);
    }
    wal_format_list_release(&files);
    scratch_dir_remove(dir);
}

static void a_zeroed_page_costs_its_frames_only(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2];
    struct buf whole;
    struct seen s;
    (void)state;

    for (size_t page = 0; page < 3; page++) {
        scratch_dir_make(dir);
        fill(dir, 200, 16384);
        scratch_dir_path(dir, "0000000000000001.wal", path);
        scratch_dir_read(path, &whole);
        assert_true(whole.len > 12288);
        memset(whole.ptr + page * 4096, 0, 4096);
        /* How many frames lie outside the page. */
        uint32_t survivors = 0;
        size_t at = WAL_HEADER_BYTES;
        uint8_t payload[200];
        for (uint32_t n = 0; n < 200; n++) {
            struct wal_frame f = frame_of(n, payload);
            size_t end = at + wal_format_frame_bytes(&f);
            bool is_in_file = end <= whole.len;
            if (!is_in_file || end <= page * 4096 || at >= (page + 1) * 4096)
                survivors++;
            at = end;
        }
        scratch_dir_write(path, buf_slice(&whole));
        buf_release(&whole);
        struct wal_replay_result r = replay(dir, &s);
        assert_int_equal(s.count, survivors);
        assert_true(survivors > 150 && survivors < 200);
        assert_int_equal(r.quarantined_files, 1);
        assert_int_equal(r.last_lsn, 200);
        scratch_dir_remove(dir);
    }
}

static void copied_and_swapped_files_lose_nothing(void **state)
{
    char dir[SCRATCH_DIR_BYTES], a[SCRATCH_DIR_BYTES * 2], b[SCRATCH_DIR_BYTES * 2],
        c[SCRATCH_DIR_BYTES * 2];
    struct wal_files files;
    struct buf whole;
    struct seen s;
    (void)state;

    scratch_dir_make(dir);
    fill(dir, 100, 4096);
    assert_int_equal(wal_format_list(dir, &files), ERR_OK);
    assert_true(files.count >= 4);
    scratch_dir_path(dir, files.items[1].name, a);
    scratch_dir_path(dir, files.items[2].name, b);
    scratch_dir_path(dir, "swap", c);
    assert_int_equal(rename(a, c) + rename(b, a) + rename(c, b), 0);
    struct wal_replay_result r = replay(dir, &s);
    assert_int_equal(s.count, 100);
    assert_int_equal(r.quarantined_files, 0);

    scratch_dir_path(dir, "00000000000000f0.wal", c);
    scratch_dir_read(a, &whole);
    scratch_dir_write(c, buf_slice(&whole));
    buf_release(&whole);
    r = replay(dir, &s);
    assert_int_equal(s.count, 100);
    assert_int_equal(r.quarantined_files, 1);
    assert_int_equal(r.bad_frames, 0);
    assert_int_equal(r.last_lsn, 100);

    /* Trimming goes by what the files hold, not by what they are called. */
    struct wal *w = open_log(dir, 101, 4096);
    assert_int_equal(wal_trim(w, files.items[2].first_lsn - 1), ERR_OK);
    wal_close(w);
    (void)replay(dir, &s);
    assert_int_equal(s.lsn[0], files.items[2].first_lsn);
    assert_int_equal(s.lsn[s.count - 1], 100);
    wal_format_list_release(&files);
    scratch_dir_remove(dir);
}

static void a_newer_version_is_refused(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2];
    struct buf whole;
    struct seen s = {0};
    struct wal_replay_result r;
    struct wal *w = NULL;
    (void)state;

    scratch_dir_make(dir);
    fill(dir, 50, 4096);
    scratch_dir_path(dir, "0000000000000001.wal", path);
    scratch_dir_read(path, &whole);
    whole.ptr[8] = 2;
    scratch_dir_write(path, buf_slice(&whole)); /* without the checksum it is only damage */
    (void)replay(dir, &s);
    assert_int_equal(s.count, 50);
    uint32_t crc = crc32c((struct slice){whole.ptr, 92});
    memcpy(whole.ptr + 92, &crc, sizeof crc);
    scratch_dir_write(path, buf_slice(&whole));
    buf_release(&whole);
    s = (struct seen){0};
    assert_int_equal(wal_replay(dir, 0, see, &s, &r), ERR_UNSUPPORTED);
    assert_int_equal(s.count, 0);
    assert_int_equal(wal_open(dir, 51, &(struct wal_options){0}, &w), ERR_UNSUPPORTED);
    scratch_dir_remove(dir);
}

/* A sender may put the bytes of a frame into an attribute: when the frame around it is damaged, the inner one must not come to life. */
static void a_frame_inside_a_payload_is_not_believed(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2];
    uint8_t inner[WAL_FRAME_HEAD_BYTES_MAX + 200], payload[200];
    struct buf whole;
    struct seen s;
    (void)state;

    scratch_dir_make(dir);
    struct wal_frame forged = frame_of(77, payload);
    forged.lsn = 2;
    size_t n = wal_format_frame_head(&forged, 0x12345678, inner);
    memcpy(inner + n, forged.payload.ptr, forged.payload.len);
    struct wal *w = open_log(dir, 1, 0);
    append(w, 0, 1);
    struct wal_frame outer = frame_of(1, payload);
    outer.payload = (struct slice){inner, n + forged.payload.len};
    assert_int_equal(wal_append(w, &outer, 1), ERR_OK);
    append(w, 2, 3);
    wal_close(w);
    scratch_dir_path(dir, "0000000000000001.wal", path);
    scratch_dir_read(path, &whole);
    struct wal_frame first = frame_of(0, payload);
    whole.ptr[WAL_HEADER_BYTES + wal_format_frame_bytes(&first) + 20] ^= 1;
    scratch_dir_write(path, buf_slice(&whole));
    buf_release(&whole);
    (void)replay(dir, &s);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.part[0], 0);
    assert_int_equal(s.part[1], 2);
    scratch_dir_remove(dir);
}

static void trimming_keeps_the_count(void **state)
{
    char dir[SCRATCH_DIR_BYTES];
    struct seen s;
    uint64_t last;
    (void)state;

    scratch_dir_make(dir);
    struct wal *w = open_log(dir, 1, 4096);
    append(w, 0, 100);
    uint64_t bytes_before = wal_bytes(w);
    assert_int_equal(wal_rotate(w, &last), ERR_OK);
    assert_int_equal(last, 100);
    assert_int_equal(wal_trim(w, 0), ERR_OK);
    assert_int_equal(wal_bytes(w), bytes_before);
    assert_int_equal(wal_trim(w, 50), ERR_OK);
    assert_true(wal_bytes(w) < bytes_before);
    (void)replay(dir, &s);
    assert_true(s.lsn[0] <= 51);
    assert_int_equal(s.lsn[s.count - 1], 100);
    assert_int_equal(wal_trim(w, 100), ERR_OK);
    assert_int_equal(wal_bytes(w), WAL_HEADER_BYTES);
    assert_int_equal(scratch_dir_count(dir), 1);
    wal_close(w);
    struct wal_replay_result r = replay(dir, &s);
    assert_int_equal(s.count, 0);
    assert_int_equal(r.last_lsn, 100);
    w = open_log(dir, r.last_lsn + 1, 4096);
    append(w, 0, 3);
    assert_int_equal(wal_trim(w, 101), ERR_OK);
    wal_close(w);
    (void)replay(dir, &s);
    assert_int_equal(s.count, 3);
    assert_true(s.lsn[0] >= 101);
    scratch_dir_remove(dir);
}

static void an_empty_or_missing_folder(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2];
    struct wal_replay_result r;
    struct seen s;
    (void)state;

    scratch_dir_make(dir);
    r = replay(dir, &s);
    assert_int_equal(s.count + r.last_lsn + r.first_lsn, 0);
    scratch_dir_path(dir, "no", path);
    assert_int_equal(wal_replay(path, 0, see, &s, &r), ERR_NOT_FOUND);
    struct wal *w = open_log(path, 1, 0);
    append(w, 0, 1);
    wal_close(w);
    (void)replay(path, &s);
    assert_int_equal(s.count, 1);
    scratch_dir_remove(dir);
}

struct looked {
    uint32_t frames, damages;
    uint64_t bytes;
    char file[64];
};

static enum err look_frame(void *arg, const char *file, uint64_t offset, const struct wal_frame *f)
{
    struct looked *l = arg;

    assert_true(offset >= 96 && f->lsn != 0 && strlen(file) == 20);
    l->frames++;
    return ERR_OK;
}

static void look_damage(void *arg, const char *file, uint64_t offset, uint64_t bytes,
                        const char *what)
{
    struct looked *l = arg;

    assert_true(bytes != 0 && what[0] != 0);
    (void)offset;
    l->damages++;
    l->bytes += bytes;
    (void)snprintf(l->file, sizeof l->file, "%s", file);
}

static struct looked look(const char *dir, struct wal_replay_result *r)
{
    struct looked l = {0};
    struct wal_look_hooks hooks = {look_frame, look_damage, &l};

    assert_int_equal(wal_look(dir, &hooks, r), ERR_OK);
    assert_int_equal(r->frames, l.frames);
    return l;
}

static void looking_changes_nothing(void **state)
{
    char dir[SCRATCH_DIR_BYTES], path[SCRATCH_DIR_BYTES * 2], last[SCRATCH_DIR_BYTES * 2];
    struct wal_replay_result r;
    struct buf bytes, after;
    (void)state;

    scratch_dir_make(dir);
    fill(dir, 60, 4096);
    struct looked l = look(dir, &r);
    assert_int_equal(l.frames, 60);
    assert_int_equal(l.damages + r.torn_bytes, 0);

    /* A flipped byte in the first file, a torn frame at the end of the last. */
    scratch_dir_path(dir, "0000000000000001.wal", path);
    scratch_dir_read(path, &bytes);
    bytes.ptr[200] ^= 1;
    scratch_dir_write(path, buf_slice(&bytes));
    unsigned files = scratch_dir_count(dir);
    struct wal_files list;
    assert_int_equal(wal_format_list(dir, &list), ERR_OK);
    scratch_dir_path(dir, list.items[list.count - 1].name, last);
    wal_format_list_release(&list);
    buf_release(&bytes);
    scratch_dir_read(last, &bytes);
    bytes.len -= 5;
    scratch_dir_write(last, buf_slice(&bytes));
    l = look(dir, &r);
    assert_int_equal(l.frames, 58);
    assert_int_equal(l.damages, 1);
    assert_string_equal(l.file, "0000000000000001.wal");
    assert_true(r.torn_bytes > 0);
    assert_int_equal(r.bad_frames, 1);
    /* No quarantine, nothing cut. */
    assert_int_equal(scratch_dir_count(dir), files);
    scratch_dir_read(last, &after);
    assert_true(slice_eq(buf_slice(&bytes), buf_slice(&after)));
    buf_release(&bytes);
    buf_release(&after);
    scratch_dir_remove(dir);
}

static void a_frame_that_is_saved_is_a_log_of_one_frame(void **state)
{
    char dir[SCRATCH_DIR_BYTES], from[SCRATCH_DIR_BYTES * 2], to[SCRATCH_DIR_BYTES * 2];
    struct wal_replay_result r;
    struct seen s = {0};
    uint8_t payload[200];
    (void)state;

    scratch_dir_make(dir);
    struct wal_frame f = frame_of(6, payload);
    f.lsn = 77;
    assert_int_equal(wal_save_frame(dir, &f), ERR_OK);
    assert_int_equal(wal_save_frame(dir, &f), ERR_OK); /* again, after a crash */
    assert_int_equal(wal_saved_lsn("frame-000000000000004d.wal"), 77);
    assert_int_equal(wal_saved_lsn("frame-4d.wal"), 0);
    assert_int_equal(wal_saved_lsn("000000000000004d.wal"), 0);
    assert_int_equal(wal_saved_lsn("frame-000000000000004d.wal.tmp"), 0);
    assert_int_equal(wal_replay(dir, 0, see, &s, &r), ERR_OK);
    assert_int_equal(s.count, 0); /* out of the way */
    scratch_dir_path(dir, "quarantine/frame-000000000000004d.wal", from);
    scratch_dir_path(dir, "000000000000004d.wal", to);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(wal_replay(dir, 0, see, &s, &r), ERR_OK);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.lsn[0], 77);
    assert_false(s.is_wrong);
    scratch_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_was_appended),
        cmocka_unit_test(goes_on_after_a_restart),
        cmocka_unit_test(a_group_is_one_append),
        cmocka_unit_test(a_tail_torn_at_any_byte_is_cut),
        cmocka_unit_test(a_header_torn_at_any_byte_holds_nothing),
        cmocka_unit_test(a_flipped_bit_costs_one_frame_at_most),
        cmocka_unit_test(a_zeroed_page_costs_its_frames_only),
        cmocka_unit_test(copied_and_swapped_files_lose_nothing),
        cmocka_unit_test(a_newer_version_is_refused),
        cmocka_unit_test(a_frame_inside_a_payload_is_not_believed),
        cmocka_unit_test(trimming_keeps_the_count),
        cmocka_unit_test(an_empty_or_missing_folder),
        cmocka_unit_test(looking_changes_nothing),
        cmocka_unit_test(a_frame_that_is_saved_is_a_log_of_one_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
