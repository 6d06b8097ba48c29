/* What the distributor does to a request, in CPU time a span: check, walk and cut, route to several owners, copy out; and decompression. */
#include "common/codec/inflate.h"
#include "common/codec/otlp.h"
#include "distributor/split.h"
#include "tests/lib/otlp_gen.h"

#include <time.h>
#include <zlib.h>

enum { REQUESTS = 50, SPANS = 1000, ROUNDS = 20 };

static struct buf requests[REQUESTS];
static uint32_t counts[REQUESTS], spans;

static double cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(enum err e)
{
    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s\n", err_name(e));
        exit(1);
    }
}

static uint32_t place(void *arg, struct trace_id id)
{
    const uint32_t *targets = arg;
    return (uint32_t)(trace_id_hash(id) % *targets);
}

static void bench_check(void)
{
    uint32_t found = 0;
    double from = cpu_ns();

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < REQUESTS; i++)
            must(otlp_check(buf_slice(&requests[i]), &otlp_limits_default, &found, NULL));
    }
    (void)printf("otlp_check: %.0f ns/span\n", (cpu_ns() - from) / ROUNDS / spans);
}

static void bench_split(uint32_t targets)
{
    static uint8_t out[64 << 20];
    struct arena a;
    struct split s;
    unsigned long parts = 0, pieces = 0;
    double from = cpu_ns(), copy = 0;

    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < REQUESTS; i++) {
            arena_init(&a, NULL);
            must(split_begin(&a, buf_slice(&requests[i]), counts[i], &s));
            must(split_route(&s, place, &targets));
            double copy_from = cpu_ns();
            uint8_t *at = out;
            for (uint32_t p = 0; p < s.part_count; p++) {
                for (unsigned k = 0; k < s.parts[p].piece_count; k++) {
                    memcpy(at, s.parts[p].pieces[k].ptr, s.parts[p].pieces[k].len);
                    at += s.parts[p].pieces[k].len;
                }
                pieces += s.parts[p].piece_count;
            }
            copy += cpu_ns() - copy_from;
            parts += s.part_count;
            arena_release(&a);
        }
    }
    (void)printf(
        "split to %u: %.0f ns/span, the copy of the lane %.0f ns/span, %.1f parts a request, %.2f pieces a span\n",
        targets, (cpu_ns() - from - copy) / ROUNDS / spans, copy / ROUNDS / spans,
        (double)parts / ROUNDS / REQUESTS, (double)pieces / ROUNDS / spans);
}

static void bench_gunzip(void)
{
    uint8_t *packed[REQUESTS];
    size_t lens[REQUESTS];

    for (unsigned i = 0; i < REQUESTS; i++) {
        z_stream z = {0};
        size_t bound = requests[i].len + 1024;
        packed[i] = malloc(bound);
        if (packed[i] == NULL || deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK)
            must(ERR_NOMEM);
        z.next_in = requests[i].ptr;
        z.avail_in = (uInt)requests[i].len;
        z.next_out = packed[i];
        z.avail_out = (uInt)bound;
        (void)deflate(&z, Z_FINISH);
        lens[i] = bound - z.avail_out;
        (void)deflateEnd(&z);
    }
    double from = cpu_ns();
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < REQUESTS; i++) {
            struct buf out;
            buf_init(&out, 64 << 20);
            must(inflate_bytes(INFLATE_GZIP, (struct slice){packed[i], lens[i]},
                               &inflate_limits_default, NULL, &out, NULL));
            buf_release(&out);
        }
    }
    (void)printf("gunzip: %.0f ns/span\n", (cpu_ns() - from) / ROUNDS / spans);
    for (unsigned i = 0; i < REQUESTS; i++)
        free(packed[i]);
}

int main(void)
{
    struct otlp_gen g;
    size_t bytes = 0;

    otlp_gen_init(&g, 1, 1700000000000000000);
    for (unsigned i = 0; i < REQUESTS; i++) {
        buf_init(&requests[i], 1u << 28);
        counts[i] = otlp_gen_request(&g, SPANS, &requests[i]);
        must(buf_err(&requests[i]));
        spans += counts[i];
        bytes += requests[i].len;
    }
    (void)printf("%d requests, %u spans, %.0f bytes/span\n", REQUESTS, spans,
                 (double)bytes / spans);
    bench_check();
    bench_split(1);
    bench_split(2);
    bench_split(5);
    bench_gunzip();
    for (unsigned i = 0; i < REQUESTS; i++)
        buf_release(&requests[i]);
    otlp_gen_release(&g);
    return 0;
}
