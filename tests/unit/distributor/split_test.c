#include "common/base/hash.h"
#include "distributor/split.h"
#include "tests/lib/otlp_random.h"
#include "tests/lib/test.h"

enum { BYTES_MAX = 256 << 20, TARGETS = 5, NAMES_MAX = 200000 };

static uint32_t place_by_number(void *arg, struct trace_id id)
{
    const uint32_t *targets = arg;
    return id.b[8] % *targets;
}

static uint32_t place_nowhere(void *arg, struct trace_id id)
{
    (void)arg;
    (void)id;
    return SPLIT_NOWHERE;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

struct names {
    uint64_t of[NAMES_MAX];
    size_t count;
};

static bool has_good_ids(struct slice span)
{
    struct otlp_span s;
    struct trace_id trace;
    struct span_id id;

    otlp_span_parse(span, &s);
    return trace_id_from_wire(s.trace_id, &trace) == ERR_OK &&
           span_id_from_wire(s.span_id, &id) == ERR_OK;
}

/* Fingerprints of the spans, each with its target; `target` < 0: by its trace id, bad ones left out. */
static void collect(struct slice request, int target, uint32_t targets, struct names *ret)
{
    struct otlp_iter it;
    struct slice span;

    otlp_iter_init(&it, request);
    while (otlp_next_span(&it, &span)) {
        struct trace_id id;
        if (!has_good_ids(span))
            continue;
        assert_int_equal(trace_id_from_wire(otlp_span_trace_id(span), &id), ERR_OK);
        uint32_t at = target < 0 ? place_by_number(&targets, id) : (uint32_t)target;
        assert_true(ret->count < NAMES_MAX);
        ret->of[ret->count++] = otlp_random_fingerprint(&it, span) + at;
    }
}

static void check_parts(const struct split *s, struct slice request, uint32_t targets,
                        size_t part_max)
{
    struct names *want = calloc(1, sizeof *want), *got = calloc(1, sizeof *got);
    struct buf part;
    assert_non_null(want);
    assert_non_null(got);
    collect(request, -1, targets, want);
    for (uint32_t i = 0; i < s->part_count; i++) {
        const struct split_part *p = &s->parts[i];
        uint32_t count = 0;
        buf_init(&part, BYTES_MAX);
        for (unsigned k = 0; k < p->piece_count; k++)
            buf_append(&part, p->pieces[k]);
        assert_int_equal(buf_err(&part), ERR_OK);
        assert_int_equal(part.len, p->bytes);
        assert_int_equal(p->number, i);
        struct err_detail detail = {0};
        if (otlp_check(buf_slice(&part), &otlp_limits_default, &count, &detail) != ERR_OK)
            fail_msg("%s", detail.text);
        assert_int_equal(count, p->span_count);
        assert_true(part.len <= part_max || count == 1);
        assert_int_equal(place_by_number(&targets, p->first_trace), p->target);
        collect(buf_slice(&part), (int)p->target, targets, got);
        buf_release(&part);
    }
    assert_int_equal(want->count, got->count);
    assert_int_equal(want->count, s->span_count);
    qsort(want->of, want->count, sizeof want->of[0], compare_u64);
    qsort(got->of, got->count, sizeof got->of[0], compare_u64);
    assert_memory_equal(want->of, got->of, want->count * sizeof want->of[0]);
    free(want);
    free(got);
}

static void run(const struct buf *b, uint32_t targets, struct split *s, struct arena *a)
{
    uint32_t count = 0;

    assert_int_equal(otlp_check(buf_slice(b), &otlp_limits_default, &count, NULL), ERR_OK);
    assert_int_equal(split_begin(a, buf_slice(b), count, s), ERR_OK);
    assert_int_equal(s->span_count + s->rejected[0] + s->rejected[1], count);
    assert_int_equal(split_route(s, place_by_number, &targets), ERR_OK);
}

static void test_random_requests_lose_and_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct otlp_random g = {.trace_count = (unsigned)(seed % 40) + 1,
                                .bad_ids_in_100 = seed % 3 == 0 ? 20 : 0,
                                .text_bytes_max = seed % 7 == 0 ? 250 : 12};
        struct buf b;
        struct arena a;
        struct split s;
        rng_init(&g.rng, seed);
        buf_init(&b, BYTES_MAX);
        otlp_random_request(&g, 4, 20, &b);
        assert_int_equal(buf_err(&b), ERR_OK);
        for (uint32_t targets = 1; targets <= TARGETS; targets++) {
            arena_init(&a, NULL);
            run(&b, targets, &s, &a);
            check_parts(&s, buf_slice(&b), targets, SPLIT_PART_BYTES);
            /* Routed again, as for the other kind of peers. */
            uint32_t others = TARGETS + 1 - targets;
            assert_int_equal(split_route(&s, place_by_number, &others), ERR_OK);
            check_parts(&s, buf_slice(&b), others, SPLIT_PART_BYTES);
            arena_release(&a);
        }
        buf_release(&b);
    }
}

static void test_a_request_of_one_owner_stays_one_slice(void **state)
{
    (void)state;
    struct otlp_random g = {.trace_count = 9, .text_bytes_max = 20};
    struct buf b;
    struct arena a;
    struct split s;
    rng_init(&g.rng, 3);
    buf_init(&b, BYTES_MAX);
    otlp_random_request(&g, 4, 50, &b);
    arena_init(&a, NULL);
    run(&b, 1, &s, &a);
    assert_int_equal(s.part_count, 1);
    assert_int_equal(s.parts[0].piece_count, 1);
    assert_ptr_equal(s.parts[0].pieces[0].ptr, b.ptr);
    arena_release(&a);
    buf_release(&b);
}

static void test_large_requests_are_cut_into_parts(void **state)
{
    (void)state;
    struct otlp_random g = {.trace_count = 100, .text_bytes_max = 200};
    struct buf b;
    rng_init(&g.rng, 4);
    buf_init(&b, BYTES_MAX);
    while (b.len < 20 << 20)
        otlp_random_request(&g, 4, 2000, &b);
    /* And one span larger than a part. */
    struct buf text;
    buf_init(&text, BYTES_MAX);
    assert_non_null(buf_extend(&text, SPLIT_PART_BYTES + 1));
    memset(text.ptr, 'x', text.len);
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2), span = pb_begin(&b, 2);
    pb_bytes(&b, 1, SLICE_LIT("0123456789abcdef"));
    pb_bytes(&b, 2, SLICE_LIT("12345678"));
    pb_bytes(&b, 5, buf_slice(&text));
    pb_end(&b, span);
    pb_end(&b, ss);
    pb_end(&b, rs);
    for (uint32_t targets = 1; targets <= 2; targets++) {
        struct arena a;
        struct split s;
        arena_init(&a, NULL);
        run(&b, targets, &s, &a);
        assert_true(s.part_count >= 4);
        check_parts(&s, buf_slice(&b), targets, SPLIT_PART_BYTES);
        arena_release(&a);
    }
    buf_release(&text);
    buf_release(&b);
}

static void put_span(struct buf *b, struct slice trace, struct slice id)
{
    size_t span = pb_begin(b, 2);
    pb_bytes(b, 1, trace);
    pb_bytes(b, 2, id);
    pb_end(b, span);
}

static void test_bad_ids_reject_that_span_alone(void **state)
{
    (void)state;
    struct buf b;
    struct arena a;
    struct split s;
    buf_init(&b, BYTES_MAX);
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    put_span(&b, SLICE_LIT("0123456789abcde"), SLICE_LIT("12345678"));
    put_span(&b, SLICE_LIT("0123456789abcdef"), SLICE_LIT("12345678"));
    put_span(&b, SLICE_LIT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), SLICE_LIT("12345678"));
    put_span(&b, SLICE_LIT("0123456789abcdef"), SLICE_LIT("\0\0\0\0\0\0\0\0"));
    put_span(&b, SLICE_LIT("0123456789abcdef"), SLICE_NONE);
    put_span(&b, SLICE_NONE, SLICE_NONE);
    pb_end(&b, ss);
    pb_end(&b, rs);
    arena_init(&a, NULL);
    run(&b, 1, &s, &a);
    assert_int_equal(s.span_count, 1);
    assert_int_equal(s.rejected[SPLIT_REJECT_TRACE_ID], 3);
    assert_int_equal(s.rejected[SPLIT_REJECT_SPAN_ID], 2);
    assert_int_equal(s.first_reject_bits[SPLIT_REJECT_TRACE_ID], 120);
    assert_int_equal(s.first_reject_bits[SPLIT_REJECT_SPAN_ID], 64);
    assert_true(s.is_first_reject_zero[SPLIT_REJECT_SPAN_ID]);
    check_parts(&s, buf_slice(&b), 1, SPLIT_PART_BYTES);
    assert_int_equal(split_route(&s, place_nowhere, NULL), ERR_UNAVAILABLE);
    arena_release(&a);
    buf_release(&b);
}

static void test_memory_is_asked_of_the_budget(void **state)
{
    (void)state;
    struct otlp_random g = {.trace_count = 50, .text_bytes_max = 20};
    struct buf b;
    rng_init(&g.rng, 3);
    buf_init(&b, BYTES_MAX);
    otlp_random_request(&g, 3, 200, &b);
    uint32_t count = 0, targets = 3;
    assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, NULL), ERR_OK);
    bool has_passed = false;
    for (size_t limit = 0; !has_passed; limit += 4096) {
        struct budget budget;
        struct arena a;
        struct split s;
        budget_init(&budget, limit, NULL);
        arena_init(&a, &budget);
        enum err e = split_begin(&a, buf_slice(&b), count, &s);
        if (e == ERR_OK)
            e = split_route(&s, place_by_number, &targets);
        assert_true(e == ERR_OK || e == ERR_LIMIT);
        has_passed = e == ERR_OK;
        arena_release(&a);
        assert_int_equal(budget_used(&budget), 0);
    }
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_requests_lose_and_change_nothing),
        cmocka_unit_test(test_a_request_of_one_owner_stays_one_slice),
        cmocka_unit_test(test_large_requests_are_cut_into_parts),
        cmocka_unit_test(test_bad_ids_reject_that_span_alone),
        cmocka_unit_test(test_memory_is_asked_of_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
