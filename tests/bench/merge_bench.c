/* What compaction costs: CPU a span and OTLP bytes a second of a merge, bytes a span before and after, memory.  Blocks that follow each other in time (one
 * ingester), and blocks of the same times (four), with a part of their traces in pieces. */
#include "common/base/rng.h"
#include "common/store/block_merge.h"
#include "common/store/head.h"
#include "tests/lib/otlp_gen.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 12, SPANS_A_REQUEST = 1000, BUDGET_BYTES = 64 << 20 };

#define CHECK(expr)                                                      \
    do {                                                                 \
        enum err check_e = (expr);                                       \
        if (check_e != ERR_OK) {                                         \
            (void)fprintf(stderr, "%s: %s\n", #expr, err_name(check_e)); \
            exit(1);                                                     \
        }                                                                \
    } while (0)

static double cpu_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void path_of(uint32_t i, char ret[64])
{
    (void)snprintf(ret, 64, "/tmp/vivace_merge_bench.%u.vvb", i);
}

static uint64_t write_block(struct head *h, uint32_t i)
{
    struct block_meta meta = {.tenant = "bench", .writer = "bench"};
    struct segment *s;
    char path[64];
    path_of(i, path);
    (void)snprintf(meta.id, sizeof meta.id, "01234567-89ab-8def-8123-4567890000%02u", i);
    CHECK(head_segment(h, NULL, &s));
    CHECK(block_write(path, &s, 1, NULL, NULL, NULL, &meta));
    segment_close(s);
    return meta.bytes;
}

/* `together`: how many blocks get the requests of the same time in turn. */
static uint64_t make_blocks(uint32_t spans, uint32_t together, uint64_t *ret_wire_bytes)
{
    struct otlp_gen g;
    struct buf b;
    uint64_t bytes = 0;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, 1, 1700000000000000000);
    for (uint32_t first = 0; first < BLOCKS; first += together) {
        struct head *heads[BLOCKS];
        for (uint32_t i = 0; i < together; i++)
            CHECK(head_new(NULL, &(struct head_options){.max_attribute_bytes = 2048}, &heads[i]));
        for (uint32_t made = 0, turn = 0; made < spans * together; turn++) {
            struct head_append_result r;
            buf_reset(&b);
            made += otlp_gen_request(&g, SPANS_A_REQUEST, &b);
            CHECK(head_append(heads[turn % together], buf_slice(&b), false, 1, &r));
            *ret_wire_bytes += b.len;
            if (turn % 50 == 0 && together > 1) /* a batch that came twice */
                CHECK(head_append(heads[(turn + 1) % together], buf_slice(&b), false, 1, &r));
        }
        for (uint32_t i = 0; i < together; i++) {
            bytes += write_block(heads[i], first + i);
            head_unref(heads[i]);
        }
    }
    otlp_gen_release(&g);
    buf_release(&b);
    return bytes;
}

struct peak {
    struct budget *budget;
    size_t bytes;
};

static bool note_peak(void *arg)
{
    struct peak *p = arg;
    if (budget_used(p->budget) > p->bytes)
        p->bytes = budget_used(p->budget);
    return false;
}

static void run(const char *name, uint32_t spans, uint32_t together)
{
    struct block *blocks[BLOCKS];
    struct block_meta meta = {.id = "bench", .tenant = "bench"};
    struct block_merge_result result;
    struct budget budget, footers;
    uint64_t wire = 0, in_spans = 0, in_bytes = make_blocks(spans, together, &wire);
    struct peak peak = {.budget = &budget};
    budget_init(&budget, BUDGET_BYTES, NULL);
    budget_init(&footers, SIZE_MAX, NULL);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct object *o;
        char path[64];
        path_of(i, path);
        CHECK(object_file_open(path, &o));
        CHECK(block_open(o, &footers, &blocks[i]));
        in_spans += block_meta(blocks[i])->span_count;
    }
    struct block_merge job = {.inputs = blocks,
                              .input_count = BLOCKS,
                              .budget = &budget,
                              .is_stopped = note_peak,
                              .stop_arg = &peak};
    double from = cpu_s();
    CHECK(block_merge("/tmp/vivace_merge_bench.out.vvb", &job, &meta, &result));
    double took = cpu_s() - from;
    (void)printf(
        "merge, %-22s %llu spans of %d blocks: %.0f ns/span, %.0f MB/s of OTLP, %.1f B/span "
        "from %.1f, %llu joined, %llu copies, %.1f MiB (and %.1f of the inputs' own), %u groups\n",
        name, (unsigned long long)in_spans, BLOCKS, took * 1e9 / (double)in_spans,
        (double)wire / took / 1e6, (double)meta.bytes / (double)meta.span_count,
        (double)in_bytes / (double)in_spans, (unsigned long long)result.traces_joined,
        (unsigned long long)result.copies, (double)peak.bytes / (1 << 20),
        (double)budget_used(&footers) / (1 << 20), meta.group_count);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        char path[64];
        block_unref(blocks[i]);
        path_of(i, path);
        (void)unlink(path);
    }
    (void)unlink("/tmp/vivace_merge_bench.out.vvb");
}

int main(int argc, char **argv)
{
    uint32_t spans = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) / BLOCKS : 100000;
    run("one after the other:", spans, 1);
    run("four of the same time:", spans, 4);
    return 0;
}
