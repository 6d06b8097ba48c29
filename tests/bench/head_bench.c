/* What a head costs: CPU and memory a span, and the time to take a snapshot and fetch columns. */
#include "common/base/clock.h"
#include "common/store/head.h"
#include "tests/lib/otlp_gen.h"

#include <time.h>

enum { REQUESTS_MAX = 1000, SPANS = 1000, ROUNDS = 3 };

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

int main(int argc, char **argv)
{
    static struct buf request[REQUESTS_MAX];
    int requests = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 200;
    if (requests < 1 || requests > REQUESTS_MAX)
        return 2;
    struct otlp_gen g;
    struct head *h = NULL;
    struct budget budget;
    uint64_t bytes = 0;
    uint32_t spans = 0;
    otlp_gen_init(&g, 1, 1700000000000000000);
    for (int i = 0; i < requests; i++) {
        buf_init(&request[i], 1u << 28);
        spans += otlp_gen_request(&g, SPANS, &request[i]);
        bytes += request[i].len;
    }
    budget_init(&budget, SIZE_MAX, NULL);
    for (int round = 0; round < ROUNDS; round++) {
        double from = cpu_s();
        CHECK(head_new(&budget, &(struct head_options){.max_attribute_bytes = 2048}, &h));
        for (int i = 0; i < requests; i++) {
            struct head_append_result r;
            CHECK(head_append(h, buf_slice(&request[i]), false, 1, &r));
        }
        double took = cpu_s() - from;
        (void)printf("head append: %.0f ns/span, %.0f B/span wire, %.0f B/span memory\n",
                     took * 1e9 / spans, (double)bytes / spans,
                     (double)budget_used(&budget) / spans);
        if (round < ROUNDS - 1)
            head_unref(h);
    }
    struct segment *s;
    struct seg_fixed f;
    struct seg_traces t;
    const struct seg_column *c;
    uint32_t count;
    double from = cpu_s();
    CHECK(head_segment(h, NULL, &s));
    CHECK(segment_fixed(s, SEG_F_ALL, &f));
    double fixed = cpu_s();
    CHECK(segment_traces(s, &t));
    double traces = cpu_s();
    CHECK(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.status_code"), &c, &count));
    double column = cpu_s();
    (void)printf("head snapshot of %u spans: fixed %.2f ms, traces %.2f ms, one column %.2f ms\n",
                 spans, (fixed - from) * 1e3, (traces - fixed) * 1e3, (column - traces) * 1e3);
    segment_close(s);
    head_unref(h);
    for (int i = 0; i < requests; i++)
        buf_release(&request[i]);
    otlp_gen_release(&g);
    return 0;
}
