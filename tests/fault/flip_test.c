/*
 * One bit of one file is wrong: of the log, of a block, of a merged one, of what lies beside them.  Then the ingester starts, and a querier that has not seen the
 * files before asks for everything.  Never a value that was not sent, never a span twice; what lies in other files is there whole; what is missing is said: the answer
 * is partial, or the log's file is kept in quarantine.  Every eighth time it is many bits of any files, at once.
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
    FLIPS_CI = 500,
    FLIPS_FULL = 10000,
    TRACES = 8, /* of each place */
    PLACES = 4,
    SPANS = 4,        /* of a trace */
    STORM_EVERY = 8,  /* so many times many bits are wrong */
    STORM_BITS = 100, /* at most */
    FILES_MAX = 64,
    PATH_BYTES = 512
};

enum place { PLACE_BLOCK_1, PLACE_BLOCK_2, PLACE_LOG, PLACE_MERGED };

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

static void put_attr(struct buf *b, const char *key, const char *text)
{
    size_t attr = pb_begin(b, 9);

    pb_bytes(b, 1, slice_str(key));
    size_t value = pb_begin(b, 2);
    pb_bytes(b, 1, slice_str(text));
    pb_end(b, value);
    pb_end(b, attr);
}

/* The place, a number with a fraction, an array; an event and a link. */
static void put_numbers(struct buf *b, enum place place, uint32_t s)
{
    static const char *const keys[] = {"place", "share", "list"};

    for (int i = 0; i < 3; i++) {
        size_t attr = pb_begin(b, 9);
        pb_bytes(b, 1, slice_str(keys[i]));
        size_t value = pb_begin(b, 2);
        if (i == 0) {
            pb_varint(b, 3, (uint64_t)place);
        } else if (i == 1) {
            pb_double(b, 4, s / 8.0 + 0.1);
        } else {
            size_t list = pb_begin(b, 5), item = pb_begin(b, 1);
            pb_varint(b, 3, s * 1000);
            pb_end(b, item);
            pb_end(b, list);
        }
        pb_end(b, value);
        pb_end(b, attr);
    }
    size_t event = pb_begin(b, 11);
    pb_fixed64(b, 1, 1700000000000000000u + s);
    pb_bytes(b, 2, SLICE_LIT("exception"));
    pb_end(b, event);
    struct trace_id linked = id_of(place, s);
    size_t link = pb_begin(b, 13);
    pb_bytes(b, 1, (struct slice){linked.b, sizeof linked.b});
    pb_bytes(b, 2, SLICE_LIT("12345678"));
    pb_end(b, link);
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
        put_attr(&b, "text", text);
        (void)snprintf(text, sizeof text, "/api/v1/things/%u/%06u", 7 * trace + s, 1000 + s);
        put_attr(&b, "path", text);
        put_numbers(&b, place, s);
        otlp_group_span(&g, buf_slice(&b));
    }
    otlp_group_end(&g);
    buf_release(&b);
}

static void push_traces(enum place place, uint32_t from, uint32_t to)
{
    struct buf b;

    buf_init(&b, 1 << 20);
    for (uint32_t t = from; t < to; t++) {
        buf_reset(&b);
        put_trace(&b, place, t);
        push_otlp(buf_slice(&b), SPANS, false);
        otlp_canon_add(&want[place][t], buf_slice(&b));
        otlp_canon_sort(&want[place][t], false);
        assert_int_equal(want[place][t].count, SPANS);
    }
    buf_release(&b);
}

static void push_place(enum place place)
{
    push_traces(place, 0, TRACES);
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
    bool is_silent;        /* an answer lacked what lies in blocks, and did not say so */
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
            seen->is_silent |= count < SPANS && place != PLACE_LOG && ctx.missing == 0;
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
        seen->is_silent |= found[place] < TRACES && place != PLACE_LOG && ctx.missing == 0;
    }
    arena_reset(&arena);
}

/* How many spans, by place: never more than there are. */
static void read_metrics(struct seen *seen)
{
    const struct ql_metrics *leaves[METRICS_LEAVES_MAX];
    struct metrics_part *part = NULL;
    struct metrics_result r = {0};
    struct result_stats stats;
    struct search_ctx ctx = ctx_new();
    struct ql_query *ql;
    uint64_t now = (uint64_t)clock_wall_ns(&clock_system), hour = 3600 * (uint64_t)NS_PER_S;
    struct search_metrics_query q = {.text = SLICE_LIT("{ } | count_over_time() by (span.place)"),
                                     .leaves = leaves,
                                     .window = {now - hour, hour, 1}};
    uint32_t found[PLACES] = {0};

    assert_int_equal(ql_parse(&arena, q.text, &ql, NULL), ERR_OK);
    q.leaf_count = metrics_query_leaves(ql->metrics, leaves);
    assert_int_equal(search_metrics(&ctx, &q, &part, &stats), ERR_OK);
    assert_int_equal(metrics_eval(&arena, ql->metrics, &part, hour, &r), ERR_OK);
    for (uint32_t i = 0; i < r.count; i++) {
        int64_t place = r.series[i].labels[0].value.i;
        if (r.series[i].points[0] == 0)
            continue;
        assert_true(place >= 0 && place < PLACES);
        assert_true(r.series[i].points[0] <= TRACES * SPANS);
        found[place] = (uint32_t)r.series[i].points[0];
    }
    for (int place = 0; place < PLACES; place++)
        seen->is_silent |= found[place] < TRACES * SPANS && place != PLACE_LOG && ctx.missing == 0;
    ql_release(ql);
    arena_reset(&arena);
}

/* Values that were sent, each once. */
static void read_values(struct seen *seen)
{
    struct ql_attribute tag;
    struct search_ctx ctx = ctx_new();
    struct tag_values got = {0};
    struct search_values_options o = {.tag_text = SLICE_LIT("span.text"), .tag = &tag};
    uint32_t found[PLACES] = {0};

    assert_int_equal(ql_parse_attribute(&arena, o.tag_text, &tag), ERR_OK);
    assert_int_equal(search_tag_values(&ctx, &o, &got), ERR_OK);
    for (uint32_t i = 0; i < got.count; i++) {
        char text[64] = {0}, again[64];
        unsigned place, trace, span;
        assert_int_equal(got.values[i].type, VALUE_STRING);
        assert_true(got.values[i].s.len < sizeof text);
        memcpy(text, got.values[i].s.ptr, got.values[i].s.len);
        assert_int_equal(sscanf(text, "place %u trace %u span %u", &place, &trace, &span), 3);
        (void)snprintf(again, sizeof again, "place %u trace %u span %u", place, trace, span);
        assert_string_equal(text, again);
        assert_true(place < PLACES && trace < TRACES && span < SPANS);
        found[place]++;
    }
    for (int place = 0; place < PLACES; place++) {
        assert_true(found[place] <= TRACES * SPANS);
        seen->is_silent |= found[place] < TRACES * SPANS && place != PLACE_LOG && ctx.missing == 0;
    }
    arena_reset(&arena);
}

static size_t last_frame(const struct file *f)
{
    size_t at = f->bytes.len - 4;

    while (at > 0 && memcmp(f->bytes.ptr + at, "VFRM", 4) != 0)
        at--;
    return at;
}

static void read_all(struct seen *seen)
{
    *seen = (struct seen){0};
    read_traces(seen);
    read_search(seen);
    read_metrics(seen);
    read_values(seen);
}

static void check_flip(const struct file *f, size_t at, unsigned bit)
{
    struct seen seen;

    read_all(&seen);
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
    }
    if (seen.is_silent)
        fail_msg("%s, byte %zu, bit %u: %u traces are missing, and nobody says so", f->path, at,
                 bit, lost);
    arena_reset(&arena);
}

static struct file *any_file(struct rng *rng)
{
    struct file *f;

    do
        f = &files[rng_below(rng, file_count)];
    while (f->bytes.len == 0);
    return f;
}

static void start_anew(void)
{
    blocks_free(blocks);
    assert_int_equal(blocks_new(backend, &memory, &blocks), ERR_OK);
    start_core();
}

/* Many bits of any files: what is served is right, what is missing in blocks is said. */
static void storm(struct rng *rng, uint32_t number)
{
    struct {
        struct file *file;
        size_t at;
        uint8_t mask;
    } flips[STORM_BITS];
    uint32_t n = 2 + (uint32_t)rng_below(rng, STORM_BITS - 1);
    struct seen seen;

    for (uint32_t i = 0; i < n; i++) {
        struct file *f = any_file(rng);
        flips[i].file = f;
        flips[i].at = (size_t)rng_below(rng, f->bytes.len);
        flips[i].mask = (uint8_t)(1u << rng_below(rng, 8));
        f->bytes.ptr[flips[i].at] ^= flips[i].mask;
    }
    put_back();
    for (uint32_t i = n; i-- > 0;)
        flips[i].file->bytes.ptr[flips[i].at] ^= flips[i].mask;
    start_anew();
    read_all(&seen);
    if (seen.is_silent)
        fail_msg("flip %u, %u bits: something is missing, and nobody says so", number, n);
    stop_core();
    arena_reset(&arena);
}

static void flip_one(struct rng *rng)
{
    struct file *f = any_file(rng);
    size_t at = (size_t)rng_below(rng, f->bytes.len);
    unsigned bit = (unsigned)rng_below(rng, 8);

    f->bytes.ptr[at] ^= (uint8_t)(1u << bit);
    put_back();
    f->bytes.ptr[at] ^= (uint8_t)(1u << bit);
    start_anew();
    check_flip(f, at, bit);
    stop_core();
}

static void make_files(void **state)
{
    start(state, false);
    config.compactor_disabled = true;
    restart();
    (void)snprintf(wal_dir, sizeof wal_dir, "%s", tmpdir_path(state, "wal"));
    (void)snprintf(block_dir, sizeof block_dir, "%s", tmpdir_path(state, "blocks"));
    assert_true(snprintf(quarantine_dir, sizeof quarantine_dir, "%.400s/quarantine", wal_dir) > 0);
    push_traces(PLACE_MERGED, 0, TRACES / 2);
    flush();
    push_traces(PLACE_MERGED, TRACES / 2, TRACES);
    flush();
    merge_blocks();
    keep_below(block_dir, PLACE_MERGED);
    push_place(PLACE_BLOCK_1);
    flush();
    keep_below(block_dir, PLACE_BLOCK_1);
    push_place(PLACE_BLOCK_2);
    flush();
    keep_below(block_dir, PLACE_BLOCK_2);
    push_place(PLACE_LOG);
    stop_core();
    keep_below(wal_dir, PLACE_LOG);
}

static void a_flipped_bit_anywhere(void **state)
{
    struct rng rng;
    struct seen seen;
    uint32_t lost = 0;

    make_files(state);
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < flip_count; i++) {
        if (i % STORM_EVERY == STORM_EVERY - 1)
            storm(&rng, i);
        else
            flip_one(&rng);
        lost += scratch_dir_count(quarantine_dir) > 0;
    }
    print_message("%u flips in %u files; the log's quarantine was needed %u times\n", flip_count,
                  file_count, lost);
    put_back();
    start_anew();
    read_all(&seen); /* all of it can be read as long as nothing is wrong */
    for (int place = 0; place < PLACES; place++)
        assert_int_equal(seen.lost[place], 0);
    assert_false(seen.is_silent);
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
