/*
 * One bit of one file is wrong: of the log, of a block, of what lies beside it.  Then the ingester starts, and a querier that has not seen the files before
 * asks for everything.  Never a value that was not sent, never a span twice; what lies in other files is there whole; what is missing is said: the answer is partial,
 * or the log's file is kept in quarantine.
 * SEED=n, FLIPS=n; VIVACE_FULL=1 (tests/run --full): 10,000.
 */
#include "common/base/bytes.h"
#include "common/base/rng.h"
#include "common/codec/otlp_write.h"
#include "common/query/ql.h"
#include "common/sys/fs.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/search_rig.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
    FLIPS_CI = 300,
    FLIPS_FULL = 10000,
    TRACES = 8, /* of each place */
    PLACES = 3,
    SPANS = 4, /* of a trace */
    FILES_MAX = 64,
    PATH_BYTES = 512
};

enum place { PLACE_BLOCK_1, PLACE_BLOCK_2, PLACE_LOG };

struct file {
    char path[PATH_BYTES];
    struct buf bytes;
    enum place place;
};

static uint64_t seed;
static uint32_t flip_count;
static struct file files[FILES_MAX];
static uint32_t file_count;
static char wal_dir[PATH_BYTES], quarantine_dir[PATH_BYTES], block_dir[PATH_BYTES];
static struct otlp_canon want[PLACES][TRACES];

static struct trace_id id_of(enum place place, uint32_t trace)
{
    struct trace_id id = {.b = {0x11, (uint8_t)place}};

    be32_write(id.b + 12, trace);
    return id;
}

/* Texts that differ from span to span, and some that do not. */
static void put_trace(struct buf *out, enum place place, uint32_t trace)
{
    struct otlp_group g;
    struct trace_id id = id_of(place, trace);
    struct buf b;
    uint64_t now = (uint64_t)clock_wall_ns(&clock_system) / NS_PER_S * NS_PER_S;

    buf_init(&b, 1 << 16);
    otlp_group_init(&g, out);
    otlp_group_resource(&g, SLICE_NONE, SLICE_NONE);
    otlp_group_scope(&g, SLICE_NONE, SLICE_NONE);
    for (uint32_t s = 0; s < SPANS; s++) {
        uint8_t span_id[8] = {0x22, [7] = (uint8_t)(s + 1)}, parent[8] = {0x22, [7] = 1};
        char text[64];
        buf_reset(&b);
        pb_bytes(&b, 1, (struct slice){id.b, sizeof id.b});
        pb_bytes(&b, 2, (struct slice){span_id, sizeof span_id});
        if (s > 0)
            pb_bytes(&b, 4, (struct slice){parent, sizeof parent});
        pb_bytes(&b, 5, s % 2 == 0 ? SLICE_LIT("GET /things") : SLICE_LIT("SELECT"));
        pb_fixed64(&b, 7, now - 10 * NS_PER_S + s);
        pb_fixed64(&b, 8, now - 9 * NS_PER_S + s * trace);
        (void)snprintf(text, sizeof text, "place %d trace %u span %u", (int)place, trace, s);
        size_t attr = pb_begin(&b, 9);
        pb_bytes(&b, 1, SLICE_LIT("text"));
        size_t value = pb_begin(&b, 2);
        pb_bytes(&b, 1, slice_str(text));
        pb_end(&b, value);
        pb_end(&b, attr);
        otlp_group_span(&g, buf_slice(&b));
    }
    otlp_group_end(&g);
    buf_release(&b);
}

static void push_place(enum place place)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    for (uint32_t t = 0; t < TRACES; t++) {
        buf_reset(&b);
        put_trace(&b, place, t);
        push_otlp(buf_slice(&b), SPANS, false);
        otlp_canon_add(&want[place][t], buf_slice(&b));
        otlp_canon_sort(&want[place][t], false);
        assert_int_equal(want[place][t].count, SPANS);
    }
    buf_release(&b);
}

/* --- the files, kept and put back -------------------------------------------------------------- */

static void keep_below(const char *path, enum place place)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    if (S_ISREG(st.st_mode)) {
        for (uint32_t i = 0; i < file_count; i++) {
            if (strcmp(files[i].path, path) == 0)
                return;
        }
        assert_true(file_count < FILES_MAX);
        struct file *f = &files[file_count++];
        (void)snprintf(f->path, sizeof f->path, "%s", path);
        f->place = place;
        scratch_dir_read(path, &f->bytes);
        return;
    }
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        char below[PATH_BYTES];
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        assert_true(snprintf(below, sizeof below, "%s/%s", path, d->d_name) < (int)sizeof below);
        keep_below(below, place);
    }
    (void)closedir(dir);
}

static void put_back(void)
{
    (void)!fs_remove_tree(wal_dir);
    (void)!fs_remove_tree(block_dir);
    assert_int_equal(fs_mkdir_all(wal_dir), ERR_OK);
    assert_int_equal(fs_mkdir_all(block_dir), ERR_OK);
    for (uint32_t i = 0; i < file_count; i++) {
        char folder[PATH_BYTES];
        memcpy(folder, files[i].path, sizeof folder);
        *strrchr(folder, '/') = '\0';
        assert_int_equal(fs_mkdir_all(folder), ERR_OK);
        scratch_dir_write(files[i].path, buf_slice(&files[i].bytes));
    }
}

/* --- what is read ------------------------------------------------------------------------------ */

struct seen {
    uint32_t lost[PLACES]; /* traces that are not whole */
    bool is_told;          /* an answer was partial */
};

/* Every span that came was sent just so, and came once. */
static void check_spans(const struct otlp_canon *sent, struct slice otlp, uint32_t *ret_count)
{
    struct otlp_canon got = {0};
    size_t at = 0;

    otlp_canon_add(&got, otlp);
    otlp_canon_sort(&got, false);
    for (size_t i = 0; i < got.count; i++, at++) {
        while (at < sent->count && strcmp(sent->lines[at], got.lines[i]) != 0)
            at++;
        if (at == sent->count)
            fail_msg("never sent, or twice: %s", got.lines[i]);
    }
    *ret_count = (uint32_t)got.count;
    otlp_canon_release(&got);
}

static void read_traces(struct seen *seen)
{
    for (int place = 0; place < PLACES; place++) {
        for (uint32_t t = 0; t < TRACES; t++) {
            struct search_ctx ctx = ctx_new();
            struct slice otlp;
            uint32_t count;
            assert_int_equal(search_trace(&ctx, id_of((enum place)place, t), &otlp), ERR_OK);
            check_spans(&want[place][t], otlp, &count);
            seen->lost[place] += count < SPANS;
            seen->is_told |= ctx.missing > 0;
        }
    }
}

static void read_search(struct seen *seen)
{
    const struct slice text = SLICE_LIT("{ name = \"SELECT\" }");
    struct search_ctx ctx = ctx_new();
    struct ql_query *ql;
    struct search_result r = {0};
    uint32_t found[PLACES] = {0};
    uint64_t now = (uint64_t)clock_wall_ns(&clock_system);

    assert_int_equal(ql_parse(&arena, text, &ql, NULL), ERR_OK);
    struct engine_query q = {.ql = ql,
                             .start_ns = now - 3600 * (uint64_t)NS_PER_S,
                             .end_ns = now,
                             .limit = 2 * PLACES * TRACES,
                             .spans_per_spanset = 2 * SPANS};
    assert_int_equal(search_run(&ctx, text, &q, &r), ERR_OK);
    ql_release(ql);
    for (uint32_t i = 0; i < r.trace_count; i++) {
        int place = r.traces[i].id.b[1];
        assert_true(place < PLACES);
        assert_true(trace_id_eq(r.traces[i].id,
                                id_of((enum place)place, be32_read(r.traces[i].id.b + 12))));
        assert_true(r.traces[i].spansets[0].matched <= SPANS / 2);
        found[place] += r.traces[i].spansets[0].matched == SPANS / 2;
    }
    for (int place = 0; place < PLACES; place++) {
        if (TRACES - found[place] > seen->lost[place])
            seen->lost[place] = TRACES - found[place];
    }
    seen->is_told |= ctx.missing > 0;
    arena_reset(&arena);
}

static size_t last_frame(const struct file *f)
{
    size_t at = f->bytes.len - 4;

    while (at > 0 && memcmp(f->bytes.ptr + at, "VFRM", 4) != 0)
        at--;
    return at;
}

static void check_flip(const struct file *f, size_t at, unsigned bit)
{
    struct seen seen = {0};

    read_traces(&seen);
    read_search(&seen);
    for (int place = 0; place < PLACES; place++) {
        if (place != (int)f->place && seen.lost[place] > 0)
            fail_msg("%s, byte %zu, bit %u: %u traces of another file are missing", f->path, at,
                     bit, seen.lost[place]);
    }
    uint32_t lost = seen.lost[f->place];
    if (f->place == PLACE_LOG) {
        /* A frame is a trace here.  The log's last frame may be taken for a torn tail. */
        if (lost > 1)
            fail_msg("%s, byte %zu, bit %u: %u traces are missing", f->path, at, bit, lost);
        if (lost > 0 && scratch_dir_count(quarantine_dir) == 0)
            assert_true(at >= last_frame(f));
    } else if (lost > 0 && !seen.is_told) {
        fail_msg("%s, byte %zu, bit %u: %u traces are missing, and nobody says so", f->path, at,
                 bit, lost);
    }
    arena_reset(&arena);
}

static void a_flipped_bit_anywhere(void **state)
{
    struct rng rng;
    uint32_t lost = 0;

    start(state, false);
    (void)snprintf(wal_dir, sizeof wal_dir, "%s", tmpdir_path(state, "wal"));
    (void)snprintf(block_dir, sizeof block_dir, "%s", tmpdir_path(state, "blocks"));
    assert_true(snprintf(quarantine_dir, sizeof quarantine_dir, "%.400s/quarantine", wal_dir) > 0);
    push_place(PLACE_BLOCK_1);
    flush();
    keep_below(block_dir, PLACE_BLOCK_1);
    push_place(PLACE_BLOCK_2);
    flush();
    keep_below(block_dir, PLACE_BLOCK_2);
    push_place(PLACE_LOG);
    stop_core();
    keep_below(wal_dir, PLACE_LOG);
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < flip_count; i++) {
        struct file *f;
        do
            f = &files[rng_below(&rng, file_count)];
        while (f->bytes.len == 0);
        size_t at = (size_t)rng_below(&rng, f->bytes.len);
        unsigned bit = (unsigned)rng_below(&rng, 8);
        f->bytes.ptr[at] ^= (uint8_t)(1u << bit);
        put_back();
        f->bytes.ptr[at] ^= (uint8_t)(1u << bit);
        blocks_free(blocks);
        assert_int_equal(blocks_new(backend, &memory, &blocks), ERR_OK);
        start_core();
        check_flip(f, at, bit);
        lost += f->place == PLACE_LOG && scratch_dir_count(quarantine_dir) > 0;
        stop_core();
    }
    print_message("%u flips in %u files; the log's quarantine was needed %u times\n", flip_count,
                  file_count, lost);
    put_back();
    start_core();
    for (uint32_t i = 0; i < file_count; i++)
        buf_release(&files[i].bytes);
    for (int place = 0; place < PLACES; place++) {
        for (uint32_t t = 0; t < TRACES; t++)
            otlp_canon_release(&want[place][t]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_flipped_bit_anywhere, tmpdir_setup, tear_down)};
    const char *seed_text = getenv("SEED"), *flips_text = getenv("FLIPS");

    if (seed_text != NULL)
        seed = strtoull(seed_text, NULL, 10);
    else
        rng_bytes_secure(&seed, 4);
    seed &= UINT32_MAX;
    flip_count = flips_text != NULL              ? (uint32_t)strtoul(flips_text, NULL, 10)
                 : getenv("VIVACE_FULL") != NULL ? FLIPS_FULL
                                                 : FLIPS_CI;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
