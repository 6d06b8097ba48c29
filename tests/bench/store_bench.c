/*
 * store_bench.c - what the store and its query engine cost: CPU of one core, memory warm, beside the target of each figure.
 *
 * Shape:   store_bench [-j] [-o PART] [-r ROUNDS] [SPANS]: -j lines of JSON, -o the figures whose name has this part; makes SPANS spans (tests/lib/otlp_gen), takes them into heads, writes these as blocks, asks.  Questions are asked of
 *          every row group and of all matches, and their time is scaled to ten million spans; best of several runs, since other work disturbs upwards only.
 */
#include "common/base/clock.h"
#include "common/query/engine.h"
#include "common/query/engine_select.h"
#include "common/store/block.h"
#include "common/store/head.h"
#include "tests/lib/otlp_gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_SPANS = 1000, BLOCK_SPANS = 500000, BLOCKS_MAX = 64, TRACE_READS = 200 };
#define SCALE_SPANS 10e6

#define CHECK(expr)                                                      \
    do {                                                                 \
        enum err check_e = (expr);                                       \
        if (check_e != ERR_OK) {                                         \
            (void)fprintf(stderr, "%s: %s\n", #expr, err_name(check_e)); \
            exit(1);                                                     \
        }                                                                \
    } while (0)

struct bench {
    struct block *blocks[BLOCKS_MAX];
    uint32_t block_count;
    struct head *head; /* of the last block's spans */
    uint64_t spans, traces, wire_bytes, block_bytes;
    double append_s, write_s;
    struct budget budget;
    bool is_json;
    const char *only; /* NULL: all figures */
    int rounds;
};

static double cpu_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- the data --- */

static struct head *make_head(struct bench *b, struct otlp_gen *g, uint64_t spans)
{
    struct head *h = NULL;
    struct buf request;
    uint64_t made = 0;

    buf_init(&request, 1u << 28);
    CHECK(head_new(NULL, &(struct head_options){.max_attribute_bytes = 2048}, &h));
    while (made < spans) {
        struct head_append_result r;
        buf_reset(&request);
        made += otlp_gen_request(g, REQUEST_SPANS, &request);
        b->wire_bytes += request.len;
        double from = cpu_s();
        CHECK(head_append(h, buf_slice(&request), false, 1, &r));
        b->append_s += cpu_s() - from;
    }
    buf_release(&request);
    return h;
}

static void make_block(struct bench *b, struct otlp_gen *g, const char *dir, uint64_t spans)
{
    struct block_meta meta = {.id = "bench", .tenant = "bench", .writer = "bench"};
    struct segment *s;
    struct object *o;
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%u.vvb", dir, b->block_count);
    head_unref(b->head);
    b->head = make_head(b, g, spans);
    CHECK(head_segment(b->head, &b->budget, &s));
    double from = cpu_s();
    CHECK(block_write(path, &s, 1, NULL, NULL, &b->budget, &meta));
    b->write_s += cpu_s() - from;
    segment_close(s);
    CHECK(object_file_open(path, &o));
    CHECK(block_open(o, NULL, &b->blocks[b->block_count++]));
    (void)unlink(path);
    b->spans += meta.span_count;
    b->traces += meta.trace_count;
    b->block_bytes += meta.bytes;
}

static void make_data(struct bench *b, uint64_t spans)
{
    char dir[] = "/tmp/vivace_store_bench_XXXXXX";
    struct otlp_gen g;

    if (mkdtemp(dir) == NULL) {
        perror("mkdtemp");
        exit(1);
    }
    otlp_gen_init(&g, 1, 1700000000000000000);
    while (b->spans < spans && b->block_count < BLOCKS_MAX) {
        uint64_t left = spans - b->spans;
        make_block(b, &g, dir, left < BLOCK_SPANS ? left : BLOCK_SPANS);
    }
    otlp_gen_release(&g);
    (void)rmdir(dir);
}

/* --- the table --- */

static bool is_asked(const struct bench *b, const char *what)
{
    return b->only == NULL || strstr(what, b->only) != NULL;
}

static void line(const struct bench *b, const char *what, double got, const char *unit,
                 double target, bool more_is_better, const char *note)
{
    if (!is_asked(b, what))
        return;
    double ratio = target == 0 || got == 0 ? 0 : more_is_better ? got / target : target / got;

    if (b->is_json) {
        (void)printf("{\"what\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"target\": %.4g}\n",
                     what, got, unit, target);
        return;
    }
    (void)printf("%-34s %10.3f %-10s", what, got, unit);
    if (target != 0)
        (void)printf(" target %7.1f  %6.2fx", target, ratio);
    (void)printf("%s%s\n", note[0] != '\0' ? "  " : "", note);
}

/* --- questions --- */

struct asked {
    double seconds;
    uint64_t found, read_bytes;
};

typedef void ask_fn(struct eval *e, const struct ql_query *ql, void *arg, struct asked *ret);

static void ask_segment(struct segment *s, const struct ql_query *ql, ask_fn *fn, void *arg,
                        struct budget *budget, struct asked *ret)
{
    struct arena a;
    struct eval e;

    arena_init(&a, budget);
    eval_init(&e, s, &a, NULL);
    fn(&e, ql, arg, ret);
    ret->read_bytes += s->read_bytes;
    arena_release(&a);
}

static struct asked ask_once(struct bench *b, const struct ql_query *ql, ask_fn *fn, void *arg)
{
    struct asked got = {0};
    double from = cpu_s();

    for (uint32_t i = 0; i < b->block_count; i++)
        for (uint32_t g = 0; g < block_group_count(b->blocks[i]); g++) {
            struct segment *s;
            CHECK(block_segment(b->blocks[i], g, &b->budget, &s));
            ask_segment(s, ql, fn, arg, &b->budget, &got);
            segment_close(s);
        }
    got.seconds = cpu_s() - from;
    return got;
}

static struct ql_query *parse(struct arena *a, const char *text)
{
    struct err_detail detail = {0};
    struct ql_query *ql = NULL;

    if (ql_parse(a, slice_str(text), &ql, &detail) != ERR_OK) {
        (void)fprintf(stderr, "%s: %s\n", text, detail.text);
        exit(1);
    }
    return ql;
}

static struct asked ask(struct bench *b, const char *text, ask_fn *fn, void *arg)
{
    struct arena a;
    struct asked best = {0};

    arena_init(&a, NULL);
    struct ql_query *ql = parse(&a, text);
    for (int i = 0; i < b->rounds; i++) {
        struct asked one = ask_once(b, ql, fn, arg);
        if (i == 0 || one.seconds < best.seconds)
            best = one;
    }
    ql_release(ql);
    arena_release(&a);
    return best;
}

static void count_all(struct eval *e, const struct ql_query *ql, void *arg, struct asked *ret)
{
    struct engine_selection sel;

    (void)arg;
    CHECK(engine_select(e, ql->pipeline, NULL, 0, &sel));
    ret->found += sel.count;
}

struct grouping {
    struct ql_attribute by;
    uint32_t *counts, cap;
};

static void count_groups(struct eval *e, const struct ql_query *ql, void *arg, struct asked *ret)
{
    struct grouping *g = arg;
    struct engine_selection sel;
    struct engine_keys keys;

    CHECK(engine_select(e, ql->pipeline, NULL, 0, &sel));
    CHECK(engine_select_keys(e, &g->by, &sel, &keys));
    if (keys.value_count > g->cap) {
        free(g->counts);
        g->cap = keys.value_count;
        g->counts = malloc(g->cap * sizeof *g->counts);
        if (g->counts == NULL)
            abort();
    }
    memset(g->counts, 0, keys.value_count * sizeof *g->counts);
    for (uint32_t r = 0; sel.mask != NULL && r < e->rows[SEG_SPAN]; r++)
        g->counts[keys.codes[r]] += sel.mask[r];
    for (uint32_t i = 0; i < keys.value_count; i++)
        ret->found += g->counts[i];
}

static void note_of(const struct asked *got, char *ret, size_t bytes)
{
    (void)snprintf(ret, bytes, "(%llu found, %.1f MB read)", (unsigned long long)got->found,
                   (double)got->read_bytes / 1e6);
}

static void bench_query(struct bench *b, const char *what, const char *text, double target_ms)
{
    char note[96];

    if (!is_asked(b, what))
        return;
    struct asked got = ask(b, text, count_all, NULL);
    note_of(&got, note, sizeof note);
    line(b, what, got.seconds * 1e3 * SCALE_SPANS / (double)b->spans, "ms/10M", target_ms, false,
         note);
}

static void bench_groups(struct bench *b, const char *what, struct ql_attribute by, double target)
{
    struct grouping g = {.by = by};
    char note[96];

    if (!is_asked(b, what))
        return;
    struct asked got = ask(b, "{ }", count_groups, &g);
    note_of(&got, note, sizeof note);
    line(b, what, (double)b->spans / got.seconds / 1e6, "Mspans/s", target, true, note);
    free(g.counts);
}

/* The newest 20 traces, as a querier asks: newest groups first, until no older one can matter. */
static void bench_search(struct bench *b, const char *what, const char *text)
{
    double best = 0;
    uint32_t found = 0;

    for (int round = 0; round < b->rounds && is_asked(b, what); round++) {
        struct arena a;
        struct search_result so_far = {0};
        arena_init(&a, &b->budget);
        struct engine_query q = {.ql = parse(&a, text), .limit = 20, .spans_per_spanset = 3};
        double from = cpu_s();
        for (uint32_t i = b->block_count; i-- > 0;)
            for (uint32_t g = block_group_count(b->blocks[i]); g-- > 0;) {
                struct search_result parts[2] = {so_far, {0}};
                uint64_t min_ns, max_ns;
                struct segment *s;
                block_group_range(b->blocks[i], g, &min_ns, &max_ns);
                if (so_far.trace_count == q.limit) {
                    q.not_before_ns = so_far.traces[q.limit - 1].start_ns;
                    if (q.not_before_ns > max_ns)
                        continue;
                }
                CHECK(block_segment(b->blocks[i], g, &b->budget, &s));
                CHECK(engine_search(s, &q, &a, &parts[1]));
                segment_close(s);
                CHECK(search_result_merge(&a, parts, 2, &q.order, q.limit, &so_far));
            }
        double took = cpu_s() - from;
        best = round == 0 || took < best ? took : best;
        found = so_far.trace_count;
        ql_release((struct ql_query *)(uintptr_t)q.ql);
        arena_release(&a);
    }
    char note[96];
    (void)snprintf(note, sizeof note, "(%u traces)", found);
    line(b, what, best * 1e3, "ms", 0, false, note);
}

static void bench_head(struct bench *b, const char *what, const char *text)
{
    struct arena a;
    double best = 0;
    uint64_t found = 0;
    struct head_stats stats;

    head_stats(b->head, &stats);
    arena_init(&a, NULL);
    struct ql_query *ql = parse(&a, text);
    for (int i = 0; i < b->rounds && is_asked(b, what); i++) {
        struct asked got = {0};
        struct segment *s;
        double from = cpu_s();
        CHECK(head_segment(b->head, &b->budget, &s));
        ask_segment(s, ql, count_all, NULL, &b->budget, &got);
        segment_close(s);
        double took = cpu_s() - from;
        best = i == 0 || took < best ? took : best;
        found = got.found;
    }
    ql_release(ql);
    arena_release(&a);
    char note[96];
    (void)snprintf(note, sizeof note, "(%llu found)", (unsigned long long)found);
    line(b, what, best * 1e3 * SCALE_SPANS / (double)stats.spans, "ms/10M", 0, false, note);
}

static struct trace_id random_trace(struct bench *b, struct rng *rng)
{
    struct block *block = b->blocks[rng_below(rng, b->block_count)];
    struct segment *s;
    struct seg_traces t;

    CHECK(block_segment(block, (uint32_t)rng_below(rng, block_group_count(block)), NULL, &s));
    CHECK(segment_traces(s, &t));
    struct trace_id id = t.id[rng_below(rng, s->trace_count)];
    segment_close(s);
    return id;
}

/* Looked for in every block, as when nothing is known of its time. */
static void read_trace(struct bench *b, struct trace_id id, struct buf *out)
{
    for (uint32_t i = 0; i < b->block_count; i++) {
        uint32_t group, trace, count;
        const uint32_t *rows;
        struct segment *s;
        struct arena a;
        enum err e = block_find_trace(b->blocks[i], id, &group, &trace);
        if (e == ERR_NOT_FOUND)
            continue;
        CHECK(e);
        arena_init(&a, &b->budget);
        CHECK(block_segment(b->blocks[i], group, &b->budget, &s));
        CHECK(segment_trace_rows(s, trace, &a, &rows, &count));
        CHECK(segment_write_otlp(s, rows, count, out));
        segment_close(s);
        arena_release(&a);
    }
}

static void bench_trace(struct bench *b)
{
    struct trace_id ids[TRACE_READS];
    struct rng rng;
    struct buf out;
    double best = 0, absent = 0;

    if (!is_asked(b, "trace by id"))
        return;
    rng_init(&rng, 5);
    buf_init(&out, 1u << 28);
    for (int i = 0; i < TRACE_READS; i++)
        ids[i] = random_trace(b, &rng);
    for (int round = 0; round < b->rounds; round++) {
        double from = cpu_s();
        for (int i = 0; i < TRACE_READS; i++) {
            buf_reset(&out);
            read_trace(b, ids[i], &out);
            if (out.len == 0)
                abort();
        }
        double took = cpu_s() - from;
        best = round == 0 || took < best ? took : best;
        from = cpu_s();
        for (int i = 0; i < TRACE_READS; i++) {
            struct trace_id id = ids[i];
            id.b[0] ^= 0xff;
            read_trace(b, id, &out);
        }
        took = cpu_s() - from;
        absent = round == 0 || took < absent ? took : absent;
    }
    buf_release(&out);
    line(b, "trace by id", best * 1e3 / TRACE_READS, "ms", 2, false, "");
    line(b, "trace by id, absent", absent * 1e3 / TRACE_READS, "ms", 0, false, "");
}

/* --- tags --- */

static void bench_values(struct bench *b, const char *what, struct ql_attribute tag, double target)
{
    double best = 0;
    uint32_t found = 0;

    for (int round = 0; round < b->rounds && is_asked(b, what); round++) {
        struct arena a;
        struct tag_values so_far = {0};
        arena_init(&a, &b->budget);
        double from = cpu_s();
        for (uint32_t i = 0; i < b->block_count; i++)
            for (uint32_t g = 0; g < block_group_count(b->blocks[i]); g++) {
                struct tag_values parts[2] = {so_far, {0}};
                struct segment *s;
                CHECK(block_segment(b->blocks[i], g, &b->budget, &s));
                CHECK(engine_tag_values(s, &tag, false, NULL, 0, 0, 0, &a, &parts[1]));
                segment_close(s);
                CHECK(tag_values_merge(&a, parts, 2, 0, 0, &so_far));
            }
        double took = cpu_s() - from;
        best = round == 0 || took < best ? took : best;
        found = so_far.count;
        arena_release(&a);
    }
    char note[96];
    (void)snprintf(note, sizeof note, "(%u values)", found);
    line(b, what, best * 1e3 * SCALE_SPANS / (double)b->spans, "ms/10M", target, false, note);
}

static struct ql_attribute attribute(enum ql_scope scope, const char *name)
{
    return (struct ql_attribute){.scope = scope, .name = slice_str(name)};
}

static void bench_all(struct bench *b)
{
    double n = (double)b->spans;

    line(b, "decode and append", b->append_s * 1e9 / n, "ns/span", 0, false, "");
    line(b, "block write", b->write_s * 1e9 / n, "ns/span", 0, false, "");
    line(b, "append and block", (b->append_s + b->write_s) * 1e6 / n, "us/span", 2, false, "");
    line(b, "stored", (double)b->block_bytes / n, "B/span", 36, false, "");
    line(b, "wire", (double)b->wire_bytes / n, "B/span", 0, false, "");
    bench_trace(b);
    bench_query(b, "attribute = common value", "{ span.http.method = \"GET\" }", 15);
    bench_query(b, "attribute = rare value", "{ span.db.operation = \"UPDATE\" }", 15);
    bench_query(b, "resource attribute = value", "{ resource.service.name = \"cart\" }", 15);
    bench_query(b, "unscoped attribute = value", "{ .http.route = \"/api/v1/checkout\" }", 15);
    bench_query(b, "int attribute = value", "{ span.http.status_code = 500 }", 15);
    bench_query(b, "absent value, dictionary", "{ span.http.route = \"/no/such\" }", 0.5);
    bench_query(b, "absent value, plain texts", "{ span.user.id = \"nobody@nowhere\" }", 0);
    bench_query(b, "absent value, int", "{ span.http.status_code = 999 }", 0.5);
    bench_query(b, "absent key", "{ span.no.such = \"x\" }", 0.5);
    bench_query(b, "regex on a dictionary", "{ span.http.route =~ \".*check.*\" }", 30);
    bench_query(b, "regex on plain texts", "{ span.http.target =~ \".*id=12345.*\" }", 0);
    bench_query(b, "name and status", "{ kind = client && status = error }", 0);
    bench_query(b, "duration", "{ duration > 20ms }", 0);
    bench_query(b, "structural >>", "{ kind = server } >> { kind = client }", 40);
    bench_query(b, "structural >", "{ kind = server } > { kind = client }", 40);
    bench_query(b, "two sides &&", "{ kind = client } && { span.http.status_code = 500 }", 0);
    bench_query(b, "count() > 2", "{ status = error } | count() > 2", 0);
    bench_query(b, "avg(duration)", "{ kind = server } | avg(duration) > 10ms", 0);
    bench_groups(b, "count by service", attribute(QL_SCOPE_RESOURCE, "service.name"), 300);
    bench_groups(b, "count by name", (struct ql_attribute){.intrinsic = QL_I_NAME}, 300);
    bench_groups(b, "count by attribute", attribute(QL_SCOPE_SPAN, "http.method"), 300);
    bench_search(b, "search, 20 newest, common", "{ span.http.method = \"GET\" }");
    bench_search(b, "search, 20 newest, rare",
                 "{ resource.service.name = \"cart\" && duration > 200ms }");
    bench_search(b, "search, 20 newest, needle", "{ span.user.id = \"user-000042@example.com\" }");
    bench_values(b, "tag values, dictionary", attribute(QL_SCOPE_SPAN, "http.route"), 1);
    bench_values(b, "tag values, resource", attribute(QL_SCOPE_RESOURCE, "service.name"), 1);
    bench_head(b, "head: attribute = value", "{ span.http.method = \"GET\" }");
    bench_head(b, "head: a >> b", "{ kind = server } >> { kind = client }");
}

int main(int argc, char **argv)
{
    static struct bench b = {.rounds = 5};
    int option;

    while ((option = getopt(argc, argv, "jo:r:")) != -1) {
        if (option == '?')
            return 2;
        b.is_json |= option == 'j';
        b.only = option == 'o' ? optarg : b.only;
        b.rounds = option == 'r' ? (int)strtol(optarg, NULL, 10) : b.rounds;
    }
    uint64_t spans = optind < argc ? strtoull(argv[optind], NULL, 10) : 1000000;
    budget_init(&b.budget, SIZE_MAX, NULL);
    make_data(&b, spans);
    if (!b.is_json)
        (void)printf("%llu spans in %llu traces, %u blocks; CPU of one core\n",
                     (unsigned long long)b.spans, (unsigned long long)b.traces, b.block_count);
    bench_all(&b);
    for (uint32_t i = 0; i < b.block_count; i++)
        block_unref(b.blocks[i]);
    head_unref(b.head);
    return 0;
}
