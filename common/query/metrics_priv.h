/* metrics_priv.h - the shapes of a part, shared by metrics*.c. */
#ifndef VIVACE_QUERY_METRICS_PRIV_H
#define VIVACE_QUERY_METRICS_PRIV_H

#include "common/query/engine_select.h"
#include "common/query/metrics_query.h"

/* What a series keeps for each interval. */
enum metrics_cells {
    METRICS_COUNTS,   /* rate, count_over_time, histogram_over_time */
    METRICS_SUMS,     /* sum, avg */
    METRICS_EXTREMES, /* min, max */
    METRICS_BINS      /* quantile: by value; compare: by side */
};

/* A sum as an unevaluated pair of doubles, so that order does not show; and how many. */
struct metrics_sum {
    double high, low;
    uint64_t count;
};

/* Counts by (interval << 32 | sub): an open hash table, of few where little happens. */
struct metrics_bin {
    uint64_t key, count; /* count 0: free */
};
struct metrics_bins {
    struct metrics_bin *slots;
    uint32_t count, mask; /* mask 0: no slots yet */
};

/* A series under way.  Its key: a value for each label of by(), and for a histogram the power of two; for compare() attribute and value
 * (nil: all spans that have the attribute). */
struct metrics_row {
    uint64_t hash;
    struct value *key;
    uint64_t *counts;
    struct metrics_sum *sums;
    double *extremes; /* NaN: none */
    struct metrics_bins bins;
    uint32_t value_count; /* compare(), the row of an attribute: rows of its values */
};

struct metrics_example {
    uint64_t rank; /* the lowest ranks are kept */
    struct trace_id trace;
    uint64_t start_ns;
    double value;
    struct metrics_row *row;
    struct result_attribute *attributes;
    uint32_t attribute_count;
};

struct metrics_part {
    struct arena *a;
    const struct ql_metrics *leaf;
    struct metrics_window w;
    double per_step; /* 1 / step_ns */
    enum metrics_cells cells;
    uint32_t key_count;
    struct metrics_row **rows; /* in the order of their coming */
    uint32_t row_count, row_cap;
    uint32_t *slots; /* row + 1 by hash; [mask + 1] */
    uint32_t mask;
    struct metrics_example *examples; /* ascending rank; [example_max] */
    uint32_t example_count, example_max;
};

/* The interval of a start; false when it is outside the window. */
static inline bool metrics_interval(const struct metrics_part *p, uint64_t start_ns, uint32_t *ret)
{
    uint64_t d = start_ns - p->w.first_ns - 1;

    if (d >= p->w.step_ns * p->w.count)
        return false;
    uint32_t i = (uint32_t)((double)(int64_t)d * p->per_step); /* at most one off */
    if (i * p->w.step_ns > d)
        i--;
    else if (d - i * p->w.step_ns >= p->w.step_ns)
        i++;
    *ret = i;
    return true;
}

/* metrics_part.c */
struct metrics_row *metrics_part_find(const struct metrics_part *p, const struct value *key);
/* The row of a key (copied when it is new).  ERR_TOO_LARGE: METRICS_SERIES_MAX. */
MUST_CHECK enum err metrics_part_row(struct metrics_part *p, const struct value *key,
                                     struct metrics_row **ret);
struct value metrics_part_copy(struct arena *a, struct value v);
MUST_CHECK enum err metrics_part_bin(struct metrics_part *p, struct metrics_row *row, uint64_t key,
                                     uint64_t count);
struct metrics_bin *metrics_part_bins_sorted(struct arena *a, const struct metrics_bins *bins);
void metrics_part_sum(struct metrics_sum *s, double high, double low, uint64_t count);
/* Of min_over_time the smaller, else the larger. */
double metrics_part_extreme(const struct metrics_part *p, double a, double b);
/* The bin of a value, and the value of a bin nearest to 0. */
uint32_t metrics_part_bin_of(double v);
double metrics_part_bin_value(uint32_t bin);

/* metrics_compare.c */
enum { METRICS_COMPARE_KEYS = 2 };
/* The row of an attribute's value; NULL when the attribute has too many. */
MUST_CHECK enum err metrics_compare_row(struct metrics_part *p, const struct value *key,
                                        struct metrics_row **ret);
MUST_CHECK enum err metrics_compare_observe(struct metrics_part *p, struct eval *e,
                                            const struct engine_selection *sel);
MUST_CHECK enum err metrics_compare_series(struct metrics_part *p, struct arena *a,
                                           struct metrics_result *ret);

/* metrics_example.c: spans to show beside the series. */
MUST_CHECK enum err metrics_example_observe(struct metrics_part *p, struct eval *e,
                                            const struct engine_selection *sel,
                                            const struct engine_numbers *numbers,
                                            struct metrics_row *(*row_of)(void *arg, uint32_t span),
                                            void *arg);
/* Keeps it if its rank is among the lowest; copies nothing. */
void metrics_example_add(struct metrics_part *p, const struct metrics_example *e);
MUST_CHECK enum err metrics_example_give(struct metrics_part *p, struct arena *a,
                                         const struct metrics_row *row, double unit,
                                         struct metrics_series *ret);

/* metrics_second.c */
MUST_CHECK enum err metrics_second_run(struct arena *a, const struct ql_second *second,
                                       struct metrics_result *r);
void metrics_second_drop_empty(struct metrics_result *r);

#endif
