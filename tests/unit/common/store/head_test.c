#include "common/base/clock.h"
#include "common/codec/otlp.h"
#include "common/codec/otlp_write.h"
#include "common/store/head.h"
#include "tests/lib/otlp_canon.h"
#include "tests/lib/otlp_gen.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdatomic.h>

static const struct head_options keep_all = {.max_attribute_bytes = 0};

static struct head *new_head(const struct head_options *options)
{
    struct head *h = NULL;
    assert_int_equal(head_new(NULL, options, &h), ERR_OK);
    return h;
}

static void append(struct head *h, struct slice otlp, struct head_append_result *ret)
{
    assert_int_equal(head_append(h, otlp, false, 1, ret), ERR_OK);
}

static struct segment *snapshot(struct head *h)
{
    struct segment *s = NULL;
    assert_int_equal(head_segment(h, NULL, &s), ERR_OK);
    return s;
}

static void write_all(struct segment *s, struct buf *out)
{
    uint32_t n = s->row_count[SEG_SPAN];
    uint32_t *rows = calloc(n + 1, sizeof *rows);
    assert_non_null(rows);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = i;
    assert_int_equal(segment_write_otlp(s, rows, n, out), ERR_OK);
    free(rows);
}

/* What comes out is what went in, span by span and field by field, copies left out. */
static void check_round_trip(uint64_t seed, bool is_odd, uint32_t spans, uint32_t requests)
{
    struct otlp_gen g;
    struct otlp_canon in = {0}, out = {0};
    struct head *h = new_head(&keep_all);
    struct head_append_result r, sum = {0};
    struct buf b;
    uint32_t given = 0, count;
    otlp_gen_init(&g, seed, 1700000000000000000);
    buf_init(&b, 1u << 28);
    for (uint32_t i = 0; i < requests; i++) {
        buf_reset(&b);
        given += is_odd ? otlp_gen_odd_request(&g, spans, &b) : otlp_gen_request(&g, spans, &b);
        assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, NULL), ERR_OK);
        append(h, buf_slice(&b), &r);
        otlp_canon_add(&in, buf_slice(&b));
        sum.spans += r.spans;
        sum.copies += r.copies;
        sum.traces_created += r.traces_created;
        assert_int_equal(r.refused, 0);
    }
    assert_int_equal(sum.spans + sum.copies, given);
    struct segment *s = snapshot(h);
    assert_int_equal(s->row_count[SEG_SPAN], sum.spans);
    assert_int_equal(s->trace_count, sum.traces_created);
    buf_reset(&b);
    write_all(s, &b);
    assert_int_equal(otlp_check(buf_slice(&b), &otlp_limits_default, &count, NULL), ERR_OK);
    assert_int_equal(count, sum.spans);
    otlp_canon_add(&out, buf_slice(&b));
    otlp_canon_sort(&in, true);
    otlp_canon_sort(&out, false);
    otlp_canon_assert_equal(&in, &out);
    segment_close(s);
    head_unref(h);
    otlp_canon_release(&in);
    otlp_canon_release(&out);
    buf_release(&b);
    otlp_gen_release(&g);
}

static void test_round_trip_realistic(void **state)
{
    (void)state;
    check_round_trip(1, false, 3000, 3);
}

static void test_round_trip_odd(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        check_round_trip(seed, true, 40, 3);
}

/* One span of trace `trace` in its own request; more fields can be put into `extra`. */
static void make_span(struct buf *out, uint8_t trace, uint64_t id, uint64_t parent,
                      struct slice extra)
{
    uint8_t trace_id[TRACE_ID_BYTES] = {trace};
    size_t rs = pb_begin(out, 1), ss = pb_begin(out, 2), span = pb_begin(out, 2);
    pb_bytes(out, 1, (struct slice){trace_id, sizeof trace_id});
    pb_bytes(out, 2, (struct slice){(const uint8_t *)&id, 8});
    if (parent != 0)
        pb_bytes(out, 4, (struct slice){(const uint8_t *)&parent, 8});
    buf_append(out, extra);
    pb_end(out, span);
    pb_end(out, ss);
    pb_end(out, rs);
}

static void append_span(struct head *h, uint8_t trace, uint64_t id, uint64_t parent, bool is_doubt,
                        int64_t now_ns)
{
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 20);
    make_span(&b, trace, id, parent, SLICE_NONE);
    assert_int_equal(head_append(h, buf_slice(&b), is_doubt, now_ns, &r), ERR_OK);
    buf_release(&b);
}

static bool is_flagged(struct head *h, uint8_t trace)
{
    struct segment *s = snapshot(h);
    struct seg_traces t;
    struct trace_id id = {{trace}};
    uint32_t number;
    assert_int_equal(segment_traces(s, &t), ERR_OK);
    assert_int_equal(segment_find_trace(s, id, &number), ERR_OK);
    bool flagged = (t.flags[number] & SEG_TRACE_FLAGGED) != 0;
    segment_close(s);
    return flagged;
}

static void test_fragments(void **state)
{
    (void)state;
    struct head *h = new_head(&keep_all);
    append_span(h, 1, 10, 11, false, 1);
    assert_true(is_flagged(h, 1)); /* no root, no parent */
    append_span(h, 1, 11, 12, false, 2);
    assert_true(is_flagged(h, 1));
    append_span(h, 1, 12, 0, false, 3);
    assert_false(is_flagged(h, 1));
    append_span(h, 1, 13, 99, false, 4); /* a parent that is not here */
    assert_true(is_flagged(h, 1));
    append_span(h, 2, 1, 1, false, 1); /* its own parent: no root */
    assert_true(is_flagged(h, 2));
    append_span(h, 3, 1, 0, true, 1); /* whole, but in doubt */
    assert_true(is_flagged(h, 3));
    append_span(h, 4, 1, 0, false, 1);
    assert_false(is_flagged(h, 4));
    assert_int_equal(head_flag_trace(h, (struct trace_id){{4}}), ERR_OK);
    assert_true(is_flagged(h, 4));
    assert_int_equal(head_flag_trace(h, (struct trace_id){{5}}), ERR_OK); /* before it came */
    struct head_stats stats;
    head_stats(h, &stats);
    assert_int_equal(stats.traces, 4);
    append_span(h, 5, 1, 0, false, 1);
    assert_true(is_flagged(h, 5));
    head_unref(h);
}

static void test_copies(void **state)
{
    (void)state;
    struct head *h = new_head(&keep_all);
    struct head_append_result r;
    struct buf b, extra;
    buf_init(&b, 1u << 20);
    buf_init(&extra, 1u << 20);
    make_span(&b, 1, 10, 0, SLICE_NONE);
    append(h, buf_slice(&b), &r);
    assert_int_equal(r.spans, 1);
    append(h, buf_slice(&b), &r);
    assert_int_equal(r.spans, 0);
    assert_int_equal(r.copies, 1);
    pb_bytes(&extra, 5, SLICE_LIT("another name"));
    buf_reset(&b);
    make_span(&b, 1, 10, 0, buf_slice(&extra));
    append(h, buf_slice(&b), &r);
    assert_int_equal(r.spans, 1); /* same ids, other content: both stay */
    buf_reset(&b);
    make_span(&b, 2, 10, 0, SLICE_NONE);
    append(h, buf_slice(&b), &r);
    assert_int_equal(r.traces_created, 1);
    assert_int_equal(head_trace_bytes(h, (struct trace_id){{9}}), 0);
    assert_true(head_trace_bytes(h, (struct trace_id){{1}}) >
                head_trace_bytes(h, (struct trace_id){{2}}));
    buf_release(&extra);
    buf_release(&b);
    head_unref(h);
}

static void test_refused_and_malformed(void **state)
{
    (void)state;
    struct head *h = new_head(&keep_all);
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 20);
    make_span(&b, 0, 10, 0, SLICE_NONE); /* trace id all zero */
    make_span(&b, 1, 0, 0, SLICE_NONE);  /* span id all zero */
    make_span(&b, 1, 7, 0, SLICE_NONE);
    append(h, buf_slice(&b), &r);
    assert_int_equal(r.refused, 2);
    assert_int_equal(r.spans, 1);
    /* Cut anywhere it is malformed, or a shorter request of whole messages; nothing in between. */
    for (size_t len = 0; len < b.len; len++) {
        struct head *other = new_head(&keep_all);
        struct head_stats stats;
        enum err e = head_append(other, (struct slice){b.ptr, len}, false, 1, &r);
        head_stats(other, &stats);
        if (e != ERR_OK) {
            assert_int_equal(e, ERR_FORMAT);
            assert_int_equal(stats.spans, 0);
        }
        head_unref(other);
    }
    buf_release(&b);
    head_unref(h);
}

static void put_attribute(struct buf *b, struct slice key, struct slice text)
{
    size_t kv = pb_begin(b, 9);
    pb_bytes(b, 1, key);
    size_t value = pb_begin(b, 2);
    pb_bytes(b, 1, text);
    pb_end(b, value);
    pb_end(b, kv);
}

static void test_cut_attributes(void **state)
{
    (void)state;
    struct head *h = new_head(&(struct head_options){.max_attribute_bytes = 5});
    struct head_append_result r;
    struct buf b, extra;
    buf_init(&b, 1u << 20);
    buf_init(&extra, 1u << 20);
    put_attribute(&extra, SLICE_LIT("k1"), SLICE_LIT("12345678"));
    put_attribute(&extra, SLICE_LIT("k2"), SLICE_LIT("1234\xc3\xa9z")); /* é would be cut in two */
    put_attribute(&extra, SLICE_LIT("k3"), SLICE_LIT("12345"));
    put_attribute(&extra, SLICE_LIT("longkey"), SLICE_LIT("v"));
    make_span(&b, 1, 1, 0, buf_slice(&extra));
    append(h, buf_slice(&b), &r);
    assert_int_equal(r.truncated, 3);
    struct segment *s = snapshot(h);
    static const struct {
        const char *key, *text;
    } want[] = {{"k1", "12345"}, {"k2", "1234"}, {"k3", "12345"}, {"longk", "v"}};
    for (size_t i = 0; i < 4; i++) {
        const struct seg_column *c;
        uint32_t count;
        assert_int_equal(segment_attribute(s, SEG_SPAN, slice_str(want[i].key), &c, &count),
                         ERR_OK);
        assert_int_equal(count, 1);
        assert_int_equal(c->type, SEG_STR);
        assert_true(slice_eq_str(c->values[c->codes[0]], want[i].text));
    }
    segment_close(s);
    buf_release(&extra);
    buf_release(&b);
    head_unref(h);
}

static void test_columns(void **state)
{
    (void)state;
    struct otlp_gen g;
    struct head *h = new_head(&keep_all);
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, 7, 1700000000000000000);
    for (int i = 0; i < 4; i++) { /* enough for unique columns to stop interning */
        buf_reset(&b);
        otlp_gen_request(&g, 8000, &b);
        append(h, buf_slice(&b), &r);
    }
    struct segment *s = snapshot(h);
    struct seg_fixed f;
    assert_int_equal(segment_fixed(s, SEG_F_ALL, &f), ERR_OK);
    const struct seg_column *c, *target;
    uint32_t count;
    assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.status_code"), &c, &count),
                     ERR_OK);
    assert_int_equal(count, 1);
    assert_int_equal(c->type, SEG_INT);
    for (uint32_t i = 0; i < c->count; i++) {
        assert_true(i == 0 || c->rows[i - 1] < c->rows[i]);
        assert_true(f.kind[c->rows[i]] == 2 || f.kind[c->rows[i]] == 3);
        assert_true(c->ints[i] == 200 || c->ints[i] == 404 || c->ints[i] == 500);
    }
    assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.target"), &target, &count),
                     ERR_OK);
    assert_false(target->is_unique_text);
    assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("http.route"), &c, &count), ERR_OK);
    assert_true(c->is_unique_text);
    assert_true(c->value_count < 200);
    for (uint32_t i = 0; i < c->count; i++) /* the route begins the target of the same span */
        assert_true(slice_has_prefix(target->values[target->codes[i]], c->values[c->codes[i]]));
    assert_int_equal(segment_attribute(s, SEG_SPAN, SLICE_LIT("nowhere"), &c, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(segment_attribute(s, SEG_RESOURCE, SLICE_LIT("service.name"), &c, &count),
                     ERR_OK);
    assert_int_equal(c->count, s->row_count[SEG_RESOURCE]);
    segment_close(s);
    otlp_gen_release(&g);
    buf_release(&b);
    head_unref(h);
}

static void test_traces_and_events(void **state)
{
    (void)state;
    struct otlp_gen g;
    struct head *h = new_head(&keep_all);
    struct head_append_result r;
    struct buf b;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, 9, 1700000000000000000);
    otlp_gen_request(&g, 5000, &b);
    append(h, buf_slice(&b), &r);
    struct segment *s = snapshot(h);
    struct seg_fixed f;
    struct seg_traces t;
    struct seg_events ev;
    struct arena a;
    arena_init(&a, NULL);
    assert_int_equal(segment_fixed(s, SEG_F_ALL, &f), ERR_OK);
    assert_int_equal(segment_traces(s, &t), ERR_OK);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < s->trace_count; i++) {
        const uint32_t *rows;
        uint32_t count, found;
        assert_int_equal(segment_trace_rows(s, i, &a, &rows, &count), ERR_OK);
        assert_int_equal(count, t.span_count[i]);
        assert_int_equal(t.flags[i], 0);
        assert_int_equal(segment_find_trace(s, t.id[i], &found), ERR_OK);
        assert_int_equal(found, i);
        uint64_t min = UINT64_MAX, max = 0;
        for (uint32_t k = 0; k < count; k++) {
            assert_int_equal(f.trace[rows[k]], i);
            if (f.start_ns[rows[k]] < min)
                min = f.start_ns[rows[k]];
            if (f.start_ns[rows[k]] + f.duration_ns[rows[k]] > max)
                max = f.start_ns[rows[k]] + f.duration_ns[rows[k]];
        }
        assert_int_equal(min, t.min_start_ns[i]);
        assert_int_equal(max, t.max_end_ns[i]);
        sum += count;
    }
    assert_int_equal(sum, r.spans);
    assert_int_equal(segment_events(s, &ev), ERR_OK);
    assert_true(s->row_count[SEG_EVENT] > 10);
    for (uint32_t i = 0; i < s->row_count[SEG_EVENT]; i++) {
        assert_int_equal(f.status[ev.span[i]], 2);
        assert_true(slice_eq_str(ev.name.values[ev.name.codes[i]], "exception"));
    }
    uint32_t found;
    assert_int_equal(segment_find_trace(s, (struct trace_id){{0, 1}}, &found), ERR_NOT_FOUND);
    arena_release(&a);
    segment_close(s);
    otlp_gen_release(&g);
    buf_release(&b);
    head_unref(h);
}

/* A head that ran out keeps what it had, and its snapshot is whole. */
static void test_budget_out(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, 1u << 20, NULL);
    struct head *h = NULL;
    assert_int_equal(head_new(&budget, &keep_all, &h), ERR_OK);
    struct otlp_gen g;
    struct head_append_result r;
    struct otlp_canon in = {0}, out = {0};
    struct buf b;
    enum err e = ERR_OK;
    uint32_t spans = 0;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, 3, 1700000000000000000);
    for (int i = 0; i < 1000 && e == ERR_OK; i++) {
        buf_reset(&b);
        otlp_gen_request(&g, 100, &b);
        e = head_append(h, buf_slice(&b), false, 1, &r);
        spans += r.spans;
        otlp_canon_add(&in, buf_slice(&b));
    }
    assert_int_equal(e, ERR_LIMIT);
    assert_true(spans > 500);
    for (int i = 0; i < 20; i++) { /* again and again: what does not fit leaves nothing behind */
        e = head_append(h, buf_slice(&b), false, 1, &r);
        assert_int_equal(e, ERR_LIMIT);
        assert_int_equal(r.spans, 0);
    }
    struct segment *s = snapshot(h);
    assert_int_equal(s->row_count[SEG_SPAN], spans);
    buf_reset(&b);
    write_all(s, &b);
    otlp_canon_add(&out, buf_slice(&b));
    otlp_canon_sort(&in, true);
    otlp_canon_sort(&out, false);
    size_t at = 0;
    for (size_t i = 0; i < out.count; i++) { /* each of them is one that went in */
        while (at < in.count && strcmp(in.lines[at], out.lines[i]) != 0)
            at++;
        assert_true(at < in.count);
    }
    segment_close(s);
    head_unref(h);
    assert_int_equal(budget_used(&budget), 0);
    otlp_canon_release(&in);
    otlp_canon_release(&out);
    otlp_gen_release(&g);
    buf_release(&b);
}

/* One writer, three readers: every snapshot is whole and agrees with itself. */
struct shared {
    struct head *h;
    atomic_bool is_done;
    atomic_uint least_spans; /* of appends that had returned */
};

static bool snapshot_is_whole(struct segment *s)
{
    struct seg_fixed f;
    struct seg_traces t;
    struct seg_events ev;
    struct seg_links ln;
    const struct seg_column *c;
    struct seg_key *keys;
    uint32_t count, sum = 0;
    struct arena a;
    bool ok = segment_fixed(s, SEG_F_ALL, &f) == ERR_OK && segment_traces(s, &t) == ERR_OK &&
              segment_events(s, &ev) == ERR_OK && segment_links(s, &ln) == ERR_OK;
    for (uint32_t i = 0; ok && i < s->trace_count; i++) {
        ok = t.span_count[i] != 0;
        sum += t.span_count[i];
    }
    ok = ok && sum == s->row_count[SEG_SPAN];
    for (uint32_t i = 0; ok && i < s->row_count[SEG_SPAN]; i++)
        ok = f.name.codes[i] < f.name.value_count && f.trace[i] < s->trace_count &&
             f.resource[i] < s->row_count[SEG_RESOURCE];
    for (uint32_t i = 0; ok && i < s->row_count[SEG_EVENT]; i++)
        ok = ev.span[i] < s->row_count[SEG_SPAN];
    arena_init(&a, NULL);
    ok = ok && segment_keys(s, SEG_SPAN, &a, &keys, &count) == ERR_OK;
    for (uint32_t k = 0, n = count; ok && k < n; k++) {
        ok = segment_attribute(s, SEG_SPAN, keys[k].key, &c, &count) == ERR_OK && count != 0;
        for (uint32_t i = 0; ok && i < c->count; i++)
            ok = c->rows[i] < s->row_count[SEG_SPAN] &&
                 (c->codes == NULL ||
                  (c->codes[i] < c->value_count && c->values[c->codes[i]].len < 5000));
    }
    if (ok && s->trace_count != 0) {
        const uint32_t *rows;
        struct buf out;
        uint32_t n, number;
        buf_init(&out, 1u << 28);
        ok = segment_trace_rows(s, s->trace_count - 1, &a, &rows, &n) == ERR_OK &&
             segment_write_otlp(s, rows, n, &out) == ERR_OK &&
             segment_find_trace(s, t.id[s->trace_count / 2], &number) == ERR_OK &&
             otlp_check(buf_slice(&out), &otlp_limits_default, &n, NULL) == ERR_OK;
        buf_release(&out);
    }
    arena_release(&a);
    return ok;
}

static void *read_on(void *arg)
{
    struct shared *sh = arg;
    bool ok = true;
    while (ok && !atomic_load(&sh->is_done)) {
        struct segment *s;
        uint32_t least = atomic_load(&sh->least_spans);
        ok = head_segment(sh->h, NULL, &s) == ERR_OK;
        if (!ok)
            break;
        ok = s->row_count[SEG_SPAN] >= least && snapshot_is_whole(s);
        segment_close(s);
    }
    return ok ? sh : NULL;
}

static void test_readers(void **state)
{
    (void)state;
    struct shared sh = {.h = new_head(&keep_all)};
    pthread_t readers[3];
    struct otlp_gen g;
    struct buf b;
    struct head_append_result r;
    uint32_t spans = 0;
    buf_init(&b, 1u << 28);
    otlp_gen_init(&g, 11, 1700000000000000000);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &sh), 0);
    for (int i = 0; i < 120; i++) {
        buf_reset(&b);
        if (i % 4 == 3)
            otlp_gen_odd_request(&g, 30, &b);
        else
            otlp_gen_request(&g, 150, &b);
        append(sh.h, buf_slice(&b), &r);
        spans += r.spans;
        atomic_store(&sh.least_spans, spans);
    }
    atomic_store(&sh.is_done, true);
    for (int i = 0; i < 3; i++) {
        void *result;
        assert_int_equal(pthread_join(readers[i], &result), 0);
        assert_ptr_equal(result, &sh);
    }
    head_unref(sh.h);
    otlp_gen_release(&g);
    buf_release(&b);
}

/* A sealed head has less memory and the same spans; traces of it can still be flagged. */
static void test_seal(void **state)
{
    (void)state;
    struct otlp_gen g;
    struct buf in, before, after;
    struct budget budget;
    struct head *h = NULL;
    struct head_append_result r;
    struct trace_id id;
    otlp_gen_init(&g, 3, 1700000000000000000);
    buf_init(&in, 1u << 28);
    buf_init(&before, 1u << 28);
    buf_init(&after, 1u << 28);
    budget_init(&budget, SIZE_MAX, NULL);
    assert_int_equal(head_new(&budget, &keep_all, &h), ERR_OK);
    (void)otlp_gen_request(&g, 2000, &in);
    append(h, buf_slice(&in), &r);
    struct segment *s = snapshot(h);
    struct seg_traces traces;
    write_all(s, &before);
    size_t used = budget_used(&budget);
    head_seal(h);
    assert_true(budget_used(&budget) < used);
    write_all(s, &after);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    segment_close(s);
    s = snapshot(h);
    buf_reset(&after);
    write_all(s, &after);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    assert_int_equal(segment_traces(s, &traces), ERR_OK);
    id = traces.id[s->trace_count / 2];
    assert_false(head_trace_is_marked(h, id));
    assert_int_equal(head_flag_trace(h, id), ERR_OK);
    assert_true(head_trace_is_marked(h, id));
    segment_close(s);
    head_unref(h);
    assert_int_equal(budget_used(&budget), 0);
    buf_release(&in);
    buf_release(&before);
    buf_release(&after);
    otlp_gen_release(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_realistic),
        cmocka_unit_test(test_round_trip_odd),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_refused_and_malformed),
        cmocka_unit_test(test_cut_attributes),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_traces_and_events),
        cmocka_unit_test(test_budget_out),
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_seal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
