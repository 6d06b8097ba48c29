/* What a block costs: CPU to write, bytes a span (and where they go), bytes that one attribute takes to read, and the time of the usual reads. */
#include "common/base/rng.h"
#include "common/store/block.h"
#include "common/store/block_reader.h"
#include "common/store/head.h"
#include "tests/lib/otlp_gen.h"

#include <time.h>
#include <unistd.h>

enum { SPANS_A_REQUEST = 1000 };

static double cpu_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define CHECK(expr)                                                      \
    do {                                                                 \
        enum err check_e = (expr);                                       \
        if (check_e != ERR_OK) {                                         \
            (void)fprintf(stderr, "%s: %s\n", #expr, err_name(check_e)); \
            exit(1);                                                     \
        }                                                                \
    } while (0)

static struct head *make_head(uint32_t spans)
{
    struct otlp_gen g;
    struct head *h = NULL;
    struct buf b;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, 1, 1700000000000000000);
    CHECK(head_new(NULL, &(struct head_options){.max_attribute_bytes = 2048}, &h));
    for (uint32_t made = 0; made < spans;) {
        struct head_append_result r;
        buf_reset(&b);
        made += otlp_gen_request(&g, SPANS_A_REQUEST, &b);
        CHECK(head_append(h, buf_slice(&b), false, 1, &r));
    }
    otlp_gen_release(&g);
    buf_release(&b);
    return h;
}

static uint64_t refs_bytes(const struct block_ref *refs, uint32_t n)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += refs[i].bytes;
    return sum;
}

/* The dictionary or the filters of a column. */
static uint64_t index_bytes(const struct block_index *x, const struct block_column *c)
{
    uint64_t sum = 0;
    if (c->form == BLOCK_FORM_DICT)
        for (uint32_t i = 0; i < x->dicts[c->dict].chunk_count; i++)
            sum +=
                x->dicts[c->dict].chunks[i].texts.bytes + x->dicts[c->dict].chunks[i].lists.bytes;
    for (uint32_t i = 0;
         c->filters != NULL && i < block_filter_count(block_parts(x, (enum seg_table)c->table));
         i++)
        sum += refs_bytes(c->filters[i].pages, c->filters[i].page_count);
    return sum;
}

static void print_columns(const struct block *b)
{
    static const char *const streams[BLOCK_STREAM_COUNT] = {
        "span id",    "depth",       "orphans",       "start",         "duration",
        "name",       "kind",        "status",        "resource",      "scope",
        "shape",      "shape (res)", "shape (scope)", "shape (event)", "shape (link)",
        "trace id",   "trace spans", "trace start",   "trace length",  "trace flags",
        "event span", "event time",  "event name",    "link span",     "link trace",
        "link id"};
    const struct block_index *x = &b->index;
    double n = (double)x->meta.span_count;
    for (int s = 0; s < BLOCK_STREAM_COUNT; s++)
        (void)printf("  %-28s %7.3f B/span\n", streams[s],
                     (double)refs_bytes(x->streams[s],
                                        block_parts(x, block_stream_table((enum block_stream)s))) /
                         n);
    for (int t = 0; t < SEG_TABLE_COUNT; t++)
        for (uint32_t c = 0; c < x->column_count[t]; c++) {
            const struct block_column *col = &x->columns[t][c];
            double index = (double)index_bytes(x, col);
            (void)printf(
                "  %-28.*s %7.3f B/span (table %d type %d field %d form %d, dictionary or filter %.3f)\n",
                SLICE_ARG(col->key),
                (double)refs_bytes(col->pages, block_parts(x, (enum seg_table)t)) / n, t, col->type,
                col->field, col->form, index / n);
        }
    uint64_t locator = 0;
    for (uint32_t i = 0; i < x->chunk_count; i++)
        locator += x->chunks[i].page.bytes;
    (void)printf("  %-28s %7.3f B/span\n", "locator", (double)locator / n);
}

/* Every value of one attribute, or those with one text; the group's pages read afresh. */
static void read_attribute(const char *path, enum seg_table table, const char *key,
                           const char *text)
{
    struct object *o;
    struct block *b;
    uint64_t values = 0;
    CHECK(object_file_open(path, &o));
    CHECK(block_open(o, NULL, &b));
    uint64_t open_bytes = block_read_bytes(b);
    double from = cpu_s();
    for (uint32_t g = 0; g < block_group_count(b); g++) {
        struct segment *s;
        const struct seg_column *c;
        uint32_t count;
        CHECK(block_segment(b, g, NULL, &s));
        if (text == NULL)
            CHECK(segment_attribute(s, table, slice_str(key), &c, &count));
        else
            CHECK(segment_attribute_equal(s, table, slice_str(key), slice_str(text), &c, &count));
        for (uint32_t i = 0; i < count; i++)
            values += c[i].count;
        segment_close(s);
    }
    double took = cpu_s() - from;
    uint64_t bytes = block_read_bytes(b);
    (void)printf(
        "one attribute %-16s %-24s %5.2f %% of the block's bytes (footer alone %.2f %%), %llu values, %.2f ms\n",
        key, text == NULL ? "" : text, 100.0 * (double)bytes / (double)block_meta(b)->bytes,
        100.0 * (double)open_bytes / (double)block_meta(b)->bytes, (unsigned long long)values,
        took * 1e3);
    block_unref(b);
}

static void read_traces(const char *path)
{
    struct object *o;
    struct block *b;
    struct rng rng;
    enum { READS = 100 };
    struct trace_id ids[READS];
    CHECK(object_file_open(path, &o));
    CHECK(block_open(o, NULL, &b));
    rng_init(&rng, 5);
    for (int i = 0; i < READS; i++) {
        struct segment *s;
        struct seg_traces t;
        CHECK(block_segment(b, (uint32_t)rng_below(&rng, block_group_count(b)), NULL, &s));
        CHECK(segment_traces(s, &t));
        ids[i] = t.id[rng_below(&rng, s->trace_count)];
        segment_close(s);
    }
    uint64_t bytes = block_read_bytes(b);
    double from = cpu_s();
    for (int i = 0; i < READS; i++) {
        uint32_t group, trace, count;
        const uint32_t *rows;
        struct segment *s;
        struct arena a;
        struct buf out;
        arena_init(&a, NULL);
        buf_init(&out, 1u << 28);
        CHECK(block_find_trace(b, ids[i], &group, &trace));
        CHECK(block_segment(b, group, NULL, &s));
        CHECK(segment_trace_rows(s, trace, &a, &rows, &count));
        CHECK(segment_write_otlp(s, rows, count, &out));
        segment_close(s);
        arena_release(&a);
        buf_release(&out);
    }
    (void)printf("trace by id: %.2f ms CPU, %.0f KiB read\n", (cpu_s() - from) * 1e3 / READS,
                 (double)(block_read_bytes(b) - bytes) / READS / 1024);
    block_unref(b);
}

int main(int argc, char **argv)
{
    static const char path[] = "/tmp/vivace_block_bench.vvb";
    uint32_t spans = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    struct head *h = make_head(spans);
    struct head_stats stats;
    struct segment *s;
    struct block_meta meta = {.id = "bench", .tenant = "bench", .writer = "bench"};
    struct budget budget;
    head_stats(h, &stats);
    budget_init(&budget, SIZE_MAX, NULL);
    CHECK(head_segment(h, &budget, &s));
    double from = cpu_s();
    CHECK(block_write(path, &s, 1, NULL, NULL, &budget, &meta));
    double took = cpu_s() - from;
    (void)printf("block write: %llu spans, %.0f ns/span, %.1f B/span (wire %.0f), %u groups\n",
                 (unsigned long long)meta.span_count, took * 1e9 / (double)meta.span_count,
                 (double)meta.bytes / (double)meta.span_count,
                 (double)stats.wire_bytes / (double)stats.spans, meta.group_count);
    segment_close(s);
    head_unref(h);
    struct object *o;
    struct block *b;
    CHECK(object_file_open(path, &o));
    CHECK(block_open(o, NULL, &b));
    if (argc > 2)
        print_columns(b);
    block_unref(b);
    read_attribute(path, SEG_SPAN, "http.status_code", NULL);
    read_attribute(path, SEG_SPAN, "http.method", NULL);
    read_attribute(path, SEG_SPAN, "db.system", NULL);
    read_attribute(path, SEG_RESOURCE, "service.name", NULL);
    read_attribute(path, SEG_SPAN, "user.id", NULL);
    read_attribute(path, SEG_SPAN, "user.id", "user-000042@example.com");
    read_attribute(path, SEG_SPAN, "user.id", "nobody@nowhere");
    read_attribute(path, SEG_SPAN, "net.peer.ip", NULL);
    read_attribute(path, SEG_SPAN, "net.peer.ip", "10.1.2.3");
    read_attribute(path, SEG_SPAN, "http.target", "nothing");
    read_attribute(path, SEG_SPAN, "db.operation", "UPDATE");
    read_traces(path);
    (void)unlink(path);
    return 0;
}
