#include "common/cli/cli_answer.h"

#include <stdlib.h>

/* An element and when it came: of equals the last one counts. */
struct ranked {
    const void *element;
    uint32_t rank;
};
typedef int compare_fn(const void *a, const void *b);

static int by_rank(const struct ranked *a, const struct ranked *b)
{
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static int found_order(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    const struct cli_found *x = a->element, *y = b->element;
    int c = slice_cmp(x->trace_id, y->trace_id);

    return c != 0 ? c : by_rank(a, b);
}

static int tag_order(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    const struct cli_tag *x = a->element, *y = b->element;
    int c = slice_cmp(x->group, y->group);

    if (c == 0)
        c = slice_cmp(x->text, y->text);
    return c != 0 ? c : by_rank(a, b);
}

static int series_order(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    const struct cli_series *x = a->element, *y = b->element;
    int c = slice_cmp(x->labels, y->labels);

    return c != 0 ? c : by_rank(a, b);
}

static int sample_order(const void *pa, const void *pb)
{
    const struct ranked *a = pa, *b = pb;
    const struct cli_sample *x = a->element, *y = b->element;

    if (x->time_ms != y->time_ms)
        return x->time_ms < y->time_ms ? -1 : 1;
    return by_rank(a, b);
}

static int newest_first(const void *pa, const void *pb)
{
    const struct cli_found *a = pa, *b = pb;

    if (a->start_ns != b->start_ns)
        return a->start_ns > b->start_ns ? -1 : 1;
    return slice_cmp(a->trace_id, b->trace_id);
}

/* Their places in the list; behind the last one. */
static struct ranked *put(struct ranked *at, const void *elements, uint32_t count, size_t bytes)
{
    for (uint32_t i = 0; i < count; i++, at++)
        at->element = (const char *)elements + i * bytes;
    return at;
}

/* The same but for their rank. */
static bool is_same(const struct ranked *a, const struct ranked *b, compare_fn *order)
{
    struct ranked x = {a->element, 0}, y = {b->element, 0};

    return order(&x, &y) == 0;
}

/* Numbers them in the order they came, and sorts. */
static void sort(struct ranked *list, uint32_t count, compare_fn *order)
{
    for (uint32_t i = 0; i < count; i++)
        list[i].rank = i;
    qsort(list, count, sizeof *list, order);
}

static enum err join_found(const struct cli_answer *answers, uint32_t count, uint32_t total,
                           struct arena *a, struct cli_answer *ret)
{
    struct ranked *list = ARENA_ARRAY(a, struct ranked, total), *at = list;
    struct cli_found *out = ARENA_ARRAY(a, struct cli_found, total);

    if (list == NULL || out == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < count; i++)
        at = put(at, answers[i].found, answers[i].found_count, sizeof *out);
    sort(list, total, found_order);
    ret->found = out;
    for (uint32_t i = 0; i < total; i++)
        if (i + 1 == total || !is_same(&list[i], &list[i + 1], found_order))
            out[ret->found_count++] = *(const struct cli_found *)list[i].element;
    qsort(out, ret->found_count, sizeof *out, newest_first);
    return ERR_OK;
}

static enum err join_tags(const struct cli_answer *answers, uint32_t count, uint32_t total,
                          struct arena *a, struct cli_answer *ret)
{
    struct ranked *list = ARENA_ARRAY(a, struct ranked, total), *at = list;
    struct cli_tag *out = ARENA_ARRAY(a, struct cli_tag, total);

    if (list == NULL || out == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < count; i++)
        at = put(at, answers[i].tags, answers[i].tag_count, sizeof *out);
    sort(list, total, tag_order);
    ret->tags = out;
    for (uint32_t i = 0; i < total; i++)
        if (i + 1 == total || !is_same(&list[i], &list[i + 1], tag_order))
            out[ret->tag_count++] = *(const struct cli_tag *)list[i].element;
    return ERR_OK;
}

/* The samples of series with the same labels, list[0..count). */
static enum err join_samples(const struct ranked *list, uint32_t count, struct arena *a,
                             struct cli_series *ret)
{
    size_t total = 0;

    *ret = *(const struct cli_series *)list[0].element;
    if (count == 1)
        return ERR_OK;
    for (uint32_t i = 0; i < count; i++)
        total += ((const struct cli_series *)list[i].element)->sample_count;
    struct ranked *samples = ARENA_ARRAY(a, struct ranked, total), *at = samples;
    struct cli_sample *out = ARENA_ARRAY(a, struct cli_sample, total);
    if (samples == NULL || out == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < count; i++) {
        const struct cli_series *one = list[i].element;
        at = put(at, one->samples, one->sample_count, sizeof *out);
    }
    sort(samples, (uint32_t)total, sample_order);
    ret->samples = out;
    ret->sample_count = 0;
    for (size_t i = 0; i < total; i++)
        if (i + 1 == total || !is_same(&samples[i], &samples[i + 1], sample_order))
            out[ret->sample_count++] = *(const struct cli_sample *)samples[i].element;
    return ERR_OK;
}

static enum err join_series(const struct cli_answer *answers, uint32_t count, uint32_t total,
                            struct arena *a, struct cli_answer *ret)
{
    struct ranked *list = ARENA_ARRAY(a, struct ranked, total), *at = list;
    struct cli_series *out = ARENA_ARRAY(a, struct cli_series, total);
    enum err e = ERR_OK;

    if (list == NULL || out == NULL)
        return arena_err(a);
    for (uint32_t i = 0; i < count; i++)
        at = put(at, answers[i].series, answers[i].series_count, sizeof *out);
    sort(list, total, series_order);
    ret->series = out;
    for (uint32_t i = 0, end; e == ERR_OK && i < total; i = end) {
        for (end = i + 1; end < total && is_same(&list[i], &list[end], series_order);)
            end++;
        e = join_samples(&list[i], end - i, a, &out[ret->series_count++]);
    }
    return e;
}

enum err cli_answer_join(const struct cli_answer *answers, uint32_t count, struct arena *a,
                         struct cli_answer *ret)
{
    uint64_t found = 0, tags = 0, series = 0;
    enum err e = ERR_OK;

    *ret = count == 0 ? (struct cli_answer){0} : answers[count - 1];
    if (count < 2)
        return ERR_OK;
    for (uint32_t i = 0; i < count; i++) {
        found += answers[i].found_count;
        tags += answers[i].tag_count;
        series += answers[i].series_count;
    }
    if (found > UINT32_MAX || tags > UINT32_MAX || series > UINT32_MAX)
        return ERR_TOO_LARGE;
    ret->found_count = ret->tag_count = ret->series_count = 0;
    if (found > 0)
        e = join_found(answers, count, (uint32_t)found, a, ret);
    if (e == ERR_OK && tags > 0)
        e = join_tags(answers, count, (uint32_t)tags, a, ret);
    if (e == ERR_OK && series > 0)
        e = join_series(answers, count, (uint32_t)series, a, ret);
    return e;
}
