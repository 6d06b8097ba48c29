/*
 * Every file call of replay, of reading, writing and merging blocks, and of the local store fails once; then all from there on; then reads and writes come up
 * short and are interrupted.  Rules: a result that is told is right; an error of the disk is never taken for damage of a block, nor for an absence; nothing stays open; nothing
 * is lost: done again on a sound disk it is all there.
 * SEED=n; every sixth call, VIVACE_FULL=1 (tests/run --full): each.
 */
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/rng.h"
#include "common/store/block_inspect.h"
#include "common/store/block_merge.h"
#include "common/store/head.h"
#include "common/store/wal.h"
#include "common/sys/fs.h"
#include "tests/lib/io_fault.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/scratch_dir.h"

#include <stdio.h>
#include <stdlib.h>

enum { STRIDE_CI = 6 };

static const int hows[] = {EIO, EIO | IO_FOR_EVER, EROFS, EMFILE, ENOMEM};
enum { HOWS = sizeof hows / sizeof hows[0] };

static char dir[SCRATCH_DIR_BYTES];

static int set_up(void **state)
{
    (void)state;
    scratch_dir_make(dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_dir_remove(dir);
    return 0;
}

static bool is_for_ever(void)
{
    return (io_how & IO_FOR_EVER) != 0;
}

/* --- the log --- */

enum { FILES_MAX = 16, FRAMES = 60 };

struct kept {
    char name[32];
    struct buf bytes;
};

struct log {
    char path[SCRATCH_DIR_BYTES * 2];
    struct kept files[FILES_MAX];
    unsigned count;
    uint64_t sound; /* frames that can be read */
    bool is_damaged;
    /* of a replay: */
    uint64_t frames, last_lsn;
};

static enum err keep_file(void *arg, const char *name)
{
    struct log *l = arg;
    char path[SCRATCH_DIR_BYTES * 4];

    assert_true(l->count < FILES_MAX);
    struct kept *k = &l->files[l->count++];
    (void)snprintf(k->name, sizeof k->name, "%s", name);
    (void)snprintf(path, sizeof path, "%s/%s", l->path, name);
    scratch_dir_read(path, &k->bytes);
    return ERR_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct kept *)a)->name, ((const struct kept *)b)->name);
}

static void make_log(struct log *l)
{
    struct wal_options o = {.segment_bytes_max = 2000};
    struct wal *w;
    uint8_t payload[150];

    *l = (struct log){.sound = FRAMES};
    scratch_dir_path(dir, "wal", l->path);
    assert_int_equal(fs_mkdir_all(l->path), ERR_OK);
    assert_int_equal(wal_open(l->path, 1, &o, &w), ERR_OK);
    for (uint32_t i = 0; i < FRAMES; i++) {
        memset(payload, (int)i, sizeof payload);
        struct wal_frame f = {.kind = WAL_SPANS,
                              .part = i,
                              .tenant = SLICE_LIT("t"),
                              .payload = {payload, sizeof payload}};
        assert_int_equal(wal_append(w, &f, 1), ERR_OK);
    }
    assert_int_equal(wal_sync(w), ERR_OK);
    wal_close(w);
    assert_int_equal(fs_list(l->path, keep_file, l), ERR_OK);
    qsort(l->files, l->count, sizeof l->files[0], by_name);
    assert_true(l->count > 4);
}

static void put_log(const struct log *l)
{
    char path[SCRATCH_DIR_BYTES * 4];

    assert_int_equal(fs_remove_tree(l->path), ERR_OK);
    assert_int_equal(fs_mkdir_all(l->path), ERR_OK);
    for (unsigned i = 0; i < l->count; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", l->path, l->files[i].name);
        scratch_dir_write(path, buf_slice(&l->files[i].bytes));
    }
}

static void release_log(struct log *l)
{
    for (unsigned i = 0; i < l->count; i++)
        buf_release(&l->files[i].bytes);
}

static enum err count_frame(void *arg, const struct wal_frame *f)
{
    struct log *l = arg;

    assert_true(f->lsn > l->last_lsn && f->payload.len == 150);
    for (size_t i = 0; i < f->payload.len; i++)
        assert_int_equal(f->payload.ptr[i], f->part);
    l->last_lsn = f->lsn;
    l->frames++;
    return ERR_OK;
}

static enum err replay(struct log *l, struct wal_replay_result *ret)
{
    l->frames = l->last_lsn = 0;
    return wal_replay(l->path, 0, count_frame, l, ret);
}

static void check_kept_whole(const struct log *l)
{
    char path[SCRATCH_DIR_BYTES * 4];
    struct stat st;

    for (unsigned i = 0; i < l->count; i++) {
        (void)snprintf(path, sizeof path, "%s/quarantine/%s", l->path, l->files[i].name);
        if (stat(path, &st) == 0 && (uint64_t)st.st_size != l->files[i].bytes.len)
            fail_msg("%s is %llu bytes of %zu", path, (unsigned long long)st.st_size,
                     l->files[i].bytes.len);
    }
}

static bool replay_once(void *arg)
{
    struct log *l = arg;
    struct wal_replay_result r;

    int kinds = atomic_exchange(&io_kinds, 0);
    put_log(l);
    atomic_store(&io_kinds, kinds);
    enum err e = replay(l, &r);
    bool is_hit = io_fault_end();
    /* One failing call costs nothing but, at most, the start.  A disk that refuses for good costs what is told. */
    if (e == ERR_OK && l->frames < l->sound && !(is_for_ever() && r.quarantined_files > 0))
        fail_msg("call %d of kinds, how %d: %llu frames of %llu", io_left, io_how,
                 (unsigned long long)l->frames, (unsigned long long)l->sound);
    if (!is_hit)
        assert_int_equal(e, ERR_OK);
    assert_int_equal(replay(l, &r), ERR_OK);
    assert_int_equal(l->frames, l->sound);
    if (l->is_damaged)
        check_kept_whole(l);
    return is_hit;
}

static unsigned sweep_log(struct log *l, unsigned at_least)
{
    unsigned total = 0;

    for (int h = 0; h < HOWS; h++) {
        unsigned n = io_fault_sweep(replay_once, l, IO_ANY, hows[h]);
        assert_true(n >= at_least);
        total += n;
    }
    total += io_fault_sweep(replay_once, l, IO_READ | IO_WRITE, IO_ONE_BYTE);
    return total + io_fault_sweep(replay_once, l, IO_READ | IO_WRITE, EINTR);
}

static void test_replay(void **state)
{
    struct log l;
    (void)state;

    make_log(&l);
    unsigned total = sweep_log(&l, l.count * 4);
    /* A torn tail is cut. */
    struct buf *last = &l.files[l.count - 1].bytes;
    last->len -= 5;
    l.sound--;
    total += sweep_log(&l, l.count * 4);
    last->len += 5;
    /* Damage in the middle: the file is kept. */
    struct buf *second = &l.files[1].bytes;
    second->ptr[second->len / 2] ^= 1;
    l.is_damaged = true;
    total += sweep_log(&l, l.count * 4);
    io_has_no_links = true; /* it is copied */
    total += sweep_log(&l, l.count * 4);
    io_has_no_links = false;
    print_message("%u failing calls\n", total);
    release_log(&l);
}

/* What a newer version wrote is not touched, whatever can not be read of it. */
static bool replay_newer(void *arg)
{
    struct log *l = arg;
    struct wal_replay_result r;
    struct buf now;
    char path[SCRATCH_DIR_BYTES * 4];

    int kinds = atomic_exchange(&io_kinds, 0);
    put_log(l);
    atomic_store(&io_kinds, kinds);
    enum err e = replay(l, &r);
    bool is_hit = io_fault_end();
    assert_true(is_hit || e == ERR_UNSUPPORTED);
    const struct kept *last = &l->files[l->count - 1];
    (void)snprintf(path, sizeof path, "%s/%s", l->path, last->name);
    scratch_dir_read(path, &now);
    if (!slice_eq(buf_slice(&now), buf_slice(&last->bytes)))
        fail_msg("how %d: of %zu bytes %zu are left", io_how, last->bytes.len, now.len);
    buf_release(&now);
    assert_int_equal(replay(l, &r), ERR_UNSUPPORTED);
    return is_hit;
}

static void test_replay_of_a_newer_version(void **state)
{
    struct log l;
    (void)state;

    make_log(&l);
    struct buf *last = &l.files[l.count - 1].bytes;
    le16_write(last->ptr + 8, WAL_VERSION + 1);
    le32_write(last->ptr + 92, crc32c((struct slice){last->ptr, 92}));
    memset(last->ptr + 96, 0x5a, last->len - 96); /* nothing that this version knows */
    for (int h = 0; h < HOWS; h++)
        assert_true(io_fault_sweep(replay_newer, &l, IO_ANY, hows[h]) > 4);
    release_log(&l);
}

/* --- blocks --- */

struct files {
    char in[2][SCRATCH_DIR_BYTES * 2], out[SCRATCH_DIR_BYTES * 2];
    struct segment *segment;
    struct head *head;
    struct buf want[3]; /* of the inputs, of the merged one */
    uint32_t spans;
};

static struct head *make_head(uint64_t seed, uint32_t spans)
{
    struct otlp_gen g;
    struct head *h = NULL;
    struct head_append_result r;
    struct buf b;

    buf_init(&b, 1u << 26);
    otlp_gen_init(&g, seed, 1700000000000000000);
    assert_int_equal(head_new(NULL, &(struct head_options){0}, &h), ERR_OK);
    otlp_gen_odd_request(&g, 40, &b);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    buf_reset(&b);
    otlp_gen_request(&g, spans, &b);
    assert_int_equal(head_append(h, buf_slice(&b), false, 1, &r), ERR_OK);
    otlp_gen_release(&g);
    buf_release(&b);
    return h;
}

static enum err write_block(const char *path, struct head *h, char id)
{
    struct segment *s = NULL;
    struct block_meta meta = {.id = {id}, .tenant = "t", .writer = "w"};
    enum err e = head_segment(h, NULL, &s);

    if (e == ERR_OK)
        e = block_write(path, &s, 1, NULL, NULL, NULL, &meta);
    segment_close(s);
    return e;
}

static enum err open_block(const char *path, struct budget *budget, struct block **ret)
{
    struct object *o;
    enum err e = object_file_open(path, &o);

    return e == ERR_OK ? block_open(o, budget, ret) : e;
}

/* All of it as OTLP, the flagged ids, and each trace looked for. */
static enum err read_block(const char *path, struct budget *budget, struct buf *out)
{
    struct block *b = NULL;
    const struct trace_id *flagged;
    uint32_t count;
    enum err e = open_block(path, budget, &b);

    if (e == ERR_OK)
        e = block_flagged(b, &flagged, &count);
    for (uint32_t g = 0; e == ERR_OK && g < block_group_count(b); g++) {
        struct segment *s = NULL;
        struct seg_traces t;
        e = block_segment(b, g, budget, &s);
        if (e == ERR_OK)
            e = segment_traces(s, &t);
        for (uint32_t row = 0; e == ERR_OK && row < s->row_count[SEG_SPAN]; row++)
            e = segment_write_otlp(s, &row, 1, out);
        for (uint32_t i = 0; e == ERR_OK && i < s->trace_count; i++) {
            uint32_t group, trace;
            e = block_find_trace(b, t.id[i], &group, &trace);
        }
        segment_close(s);
    }
    block_unref(b);
    return e;
}

static bool is_disk_error(enum err e)
{
    return e == ERR_IO || e == ERR_FORBIDDEN || e == ERR_NOMEM || e == ERR_FULL;
}

static bool read_once(void *arg)
{
    struct files *f = arg;
    struct budget budget;
    struct buf got;

    buf_init(&got, 1u << 26);
    budget_init(&budget, SIZE_MAX, NULL);
    enum err e = read_block(f->in[0], &budget, &got);
    bool is_hit = io_fault_end();
    assert_int_equal(budget_used(&budget), 0);
    if (e == ERR_OK)
        assert_true(slice_eq(buf_slice(&got), buf_slice(&f->want[0])));
    else if (!is_disk_error(e)) /* ERR_CORRUPT would send a sound block into the quarantine */
        fail_msg("a disk that refuses is told as %s", err_name(e));
    /* A piece for which the block has no room is read again for its reader. */
    assert_true(e != ERR_OK || !is_hit || io_how == IO_ONE_BYTE || io_how == EINTR ||
                io_how == ENOMEM);
    buf_release(&got);
    return is_hit;
}

static void no_damage(void *arg, const char *place, enum err e)
{
    (void)arg;
    (void)place;
    (void)e;
}

static bool verify_once(void *arg)
{
    struct files *f = arg;
    struct block_verify_result r;
    struct block *b = NULL;
    enum err e = open_block(f->in[0], NULL, &b);

    if (e == ERR_OK)
        e = block_verify(b, NULL, &(struct block_verify_hooks){.damage = no_damage}, &r);
    bool is_hit = io_fault_end();
    block_unref(b);
    if (io_how == IO_ONE_BYTE || io_how == EINTR || !is_hit)
        assert_int_equal(e, ERR_OK);
    else if (io_how != ENOMEM)
        assert_int_not_equal(e, ERR_OK);
    return is_hit;
}

/* No half of a file, unless the disk refuses to remove it. */
static void check_none_left(const char *path, enum err e)
{
    if (e == ERR_OK || !is_for_ever())
        assert_int_equal(access(path, F_OK) == 0, e == ERR_OK);
    else
        (void)unlink(path);
}

static bool write_once(void *arg)
{
    struct files *f = arg;
    struct buf got;

    enum err e = write_block(f->out, f->head, 'a');
    bool is_hit = io_fault_end();
    check_none_left(f->out, e);
    if (e == ERR_OK) {
        buf_init(&got, 1u << 26);
        assert_int_equal(read_block(f->out, NULL, &got), ERR_OK);
        assert_true(slice_eq(buf_slice(&got), buf_slice(&f->want[0])));
        buf_release(&got);
        assert_int_equal(unlink(f->out), 0);
    } else {
        assert_true(is_disk_error(e));
    }
    return is_hit;
}

static enum err merge(struct files *f, struct budget *budget)
{
    struct block *in[2] = {0};
    struct block_meta meta = {.id = "m", .tenant = "t"};
    struct block_merge_result result;
    struct block_merge job = {.inputs = in, .input_count = 2, .budget = budget};
    enum err e = open_block(f->in[0], budget, &in[0]);

    if (e == ERR_OK)
        e = open_block(f->in[1], budget, &in[1]);
    if (e == ERR_OK)
        e = block_merge(f->out, &job, &meta, &result);
    block_unref(in[0]);
    block_unref(in[1]);
    return e;
}

static bool merge_once(void *arg)
{
    struct files *f = arg;
    struct budget budget;
    struct buf got;

    budget_init(&budget, SIZE_MAX, NULL);
    enum err e = merge(f, &budget);
    bool is_hit = io_fault_end();
    assert_int_equal(budget_used(&budget), 0);
    check_none_left(f->out, e);
    if (e == ERR_OK) {
        buf_init(&got, 1u << 26);
        scratch_dir_read(f->out, &got);
        assert_true(slice_eq(buf_slice(&got), buf_slice(&f->want[2])));
        buf_release(&got);
        assert_int_equal(unlink(f->out), 0);
    } else if (!is_disk_error(e)) {
        fail_msg("a disk that refuses is told as %s", err_name(e));
    }
    return is_hit;
}

static void test_blocks(void **state)
{
    static io_fault_fn *const runs[] = {read_once, verify_once, write_once, merge_once};
    struct files f = {0};
    struct head *second = make_head(5, 30);
    (void)state;

    f.head = make_head(4, 200);
    scratch_dir_path(dir, "first", f.in[0]);
    scratch_dir_path(dir, "second", f.in[1]);
    scratch_dir_path(dir, "out", f.out);
    assert_int_equal(write_block(f.in[0], f.head, 'a'), ERR_OK);
    assert_int_equal(write_block(f.in[1], second, 'b'), ERR_OK);
    buf_init(&f.want[0], 1u << 26);
    assert_int_equal(read_block(f.in[0], NULL, &f.want[0]), ERR_OK);
    assert_int_equal(merge(&f, NULL), ERR_OK);
    scratch_dir_read(f.out, &f.want[2]);
    assert_int_equal(unlink(f.out), 0);
    for (unsigned i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        unsigned total = 0;
        for (int h = 0; h < HOWS; h++)
            total += io_fault_sweep(runs[i], &f, IO_ANY, hows[h]);
        total += io_fault_sweep(runs[i], &f, IO_WRITE | IO_SYNC, ENOSPC);
        total += io_fault_sweep(runs[i], &f, IO_READ | IO_WRITE, IO_ONE_BYTE);
        total += io_fault_sweep(runs[i], &f, IO_READ | IO_WRITE, EINTR);
        assert_true(total > 10);
        print_message("run %u: %u failing calls\n", i, total);
    }
    buf_release(&f.want[0]);
    buf_release(&f.want[2]);
    head_unref(second);
    head_unref(f.head);
}

/* --- the local store --- */

#define ID_A "aaaaaaaa-2222-8333-8444-555555555555"
#define ID_B "bbbbbbbb-2222-8333-8444-555555555555"
#define ID_C "cccccccc-2222-8333-8444-555555555555"

struct store {
    struct backend *backend;
    char root[SCRATCH_DIR_BYTES * 2], file[SCRATCH_DIR_BYTES * 2];
    unsigned seen;
};

static enum err see(void *arg, const char *name)
{
    struct store *s = arg;

    (void)name;
    s->seen++;
    return ERR_OK;
}

static enum err see_replaced(void *arg, const char *id, uint64_t replaced_ns)
{
    (void)replaced_ns;
    return see(arg, id);
}

static enum err see_quarantined(void *arg, const char *tenant, const char *name, const char *why)
{
    (void)tenant;
    (void)why;
    return see(arg, name);
}

static enum err publish(struct store *s, const char *id)
{
    scratch_dir_write(s->file, slice_str(id));
    return s->backend->ops->publish(s->backend, "acme", id, s->file, SLICE_LIT("{}"));
}

static void make_store(struct store *s)
{
    static const char *const old[] = {ID_A};
    const struct backend_ops *ops;

    *s = (struct store){0};
    scratch_dir_path(dir, "blocks", s->root);
    scratch_dir_path(dir, "finished", s->file);
    assert_int_equal(backend_local_new(s->root, &s->backend, NULL), ERR_OK);
    ops = s->backend->ops;
    assert_int_equal(publish(s, ID_A), ERR_OK);
    scratch_dir_write(s->file, SLICE_LIT("merged"));
    assert_int_equal(
        ops->replace(s->backend, "acme", ID_B, s->file, SLICE_LIT("{\"b\":1}"), old, 1), ERR_OK);
    assert_int_equal(publish(s, ID_C), ERR_OK);
    assert_int_equal(ops->quarantine(s->backend, "acme", ID_C, "why"), ERR_OK);
    scratch_dir_write(s->file, SLICE_LIT("other"));
    assert_int_equal(ops->publish(s->backend, "other", ID_C, s->file, SLICE_LIT("{}")), ERR_OK);
}

/* What is there is seen, or an error is told: an absence is an answer. */
static void check_seen(struct store *s, enum err e, unsigned want, const char *what)
{
    if (e == ERR_OK && s->seen != want)
        fail_msg("%s: %u seen, %u are there, and no error", what, s->seen, want);
    assert_true(e == ERR_OK || is_disk_error(e));
    s->seen = 0;
}

static bool list_once(void *arg)
{
    struct store *s = arg;
    struct backend *b = s->backend;
    struct object *o = NULL;
    struct buf meta;

    buf_init(&meta, 100);
    check_seen(s, b->ops->tenants(b, see, s), 2, "tenants");
    check_seen(s, b->ops->blocks(b, "acme", see, s), 1, "blocks");
    check_seen(s, b->ops->blocks(b, "other", see, s), 1, "blocks of the other");
    check_seen(s, b->ops->replaced(b, "acme", see_replaced, s), 1, "replaced");
    check_seen(s, b->ops->quarantined(b, see_quarantined, s), 1, "quarantined");
    enum err e = b->ops->read_meta(b, "acme", ID_B, &meta);
    assert_true(e == ERR_OK ? slice_eq_str(buf_slice(&meta), "{\"b\":1}") : is_disk_error(e));
    e = b->ops->open(b, "acme", ID_B, &o);
    if (e == ERR_OK) {
        char text[7] = {0};
        e = o->ops->read(o, OBJECT_VALUES, 0, text, 6);
        assert_true(e == ERR_OK ? strcmp(text, "merged") == 0 : is_disk_error(e));
        o->ops->close(o);
    }
    assert_true(e == ERR_OK || is_disk_error(e));
    buf_release(&meta);
    return io_fault_end();
}

static void check_content(struct store *s, const char *id, const char *want)
{
    struct backend *b = s->backend;
    struct object *o = NULL;
    char text[64] = {0};

    assert_int_equal(b->ops->open(b, "acme", id, &o), ERR_OK);
    assert_int_equal(o->bytes, strlen(want));
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 0, text, strlen(want)), ERR_OK);
    assert_string_equal(text, want);
    o->ops->close(o);
}

/* Publishing again what is there, or was replaced, is what a start after a crash does: it changes nothing, whatever fails. */
static bool publish_again_once(void *arg)
{
    struct store *s = arg;
    static const char *const ids[] = {ID_A, ID_B};

    for (int i = 0; i < 2; i++) {
        int kinds = atomic_exchange(&io_kinds, 0);
        scratch_dir_write(s->file, SLICE_LIT("a second try"));
        atomic_store(&io_kinds, kinds);
        enum err e = s->backend->ops->publish(s->backend, "acme", ids[i], s->file, SLICE_LIT("{}"));
        assert_true(e == ERR_OK || is_disk_error(e));
    }
    bool is_hit = io_fault_end();
    check_seen(s, s->backend->ops->blocks(s->backend, "acme", see, s), 1, "blocks");
    check_seen(s, s->backend->ops->replaced(s->backend, "acme", see_replaced, s), 1, "replaced");
    check_content(s, ID_A, ID_A);
    check_content(s, ID_B, "merged");
    return is_hit;
}

static void test_local_store(void **state)
{
    static const int errors[] = {EIO, EIO | IO_FOR_EVER, EMFILE, EACCES};
    struct store s;
    unsigned total = 0;
    (void)state;

    make_store(&s);
    for (unsigned h = 0; h < sizeof errors / sizeof errors[0]; h++) {
        unsigned n = io_fault_sweep(list_once, &s, IO_LOOKS, errors[h]);
        assert_true(n > 20);
        total += n;
        n = io_fault_sweep(publish_again_once, &s, IO_ANY, errors[h]);
        assert_true(n > 10);
        total += n;
    }
    print_message("%u failing calls\n", total);
    s.backend->ops->free(s.backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replay_of_a_newer_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_local_store, set_up, tear_down),
    };
    const char *seed_text = getenv("SEED");
    unsigned seed;

    rng_bytes_secure(&seed, sizeof seed);
    if (seed_text != NULL)
        seed = (unsigned)strtoul(seed_text, NULL, 10);
    print_message("SEED=%u\n", seed);
    io_stride = getenv("VIVACE_FULL") != NULL ? 1 : STRIDE_CI;
    io_first = 1 + seed % io_stride;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
