/*
 * params.h - the query parameters of Tempo's API, with its defaults and its words for mistakes.
 *
 * Source:  contract.md 1.2, 1.4, 1.5; recorded answers: whole seconds only, strconv's error texts.
 * Memory:  slices live in the arena.
 */
#ifndef VIVACE_QUERIER_PARAMS_H
#define VIVACE_QUERIER_PARAMS_H

#include "common/app/config.h"
#include "common/base/arena.h"
#include "common/query/engine.h"

struct params_window {
    uint64_t start_ns, end_ns; /* 0,0: not given */
    bool is_given;
};

/* start, end of a trace by id: both optional, int64 seconds. */
MUST_CHECK enum err params_trace_window(struct arena *a, struct slice query,
                                        struct params_window *ret,
                                        struct err_detail *reterr_detail);

/* What is allowed: of the process, and of the tenant. */
struct params_rules {
    const struct config *config;
    const struct limits *limits;
};

struct params_search {
    struct params_window window;
    struct slice q; /* ptr NULL: not given */
    struct engine_tag *tags;
    uint32_t tag_count;
    uint64_t min_duration_ns, max_duration_ns;
    uint32_t limit, spss;
};
/* now_ns: for the default window and for `since`. */
MUST_CHECK enum err params_search(struct arena *a, const struct params_rules *rules,
                                  struct slice query, int64_t now_ns, struct params_search *ret,
                                  struct err_detail *reterr_detail);

struct params_tags {
    struct params_window window;
    struct slice scope, q;
    uint32_t limit; /* 0: none */
};
MUST_CHECK enum err params_tags(struct arena *a, const struct params_rules *rules,
                                struct slice query, int64_t now_ns, struct params_tags *ret,
                                struct err_detail *reterr_detail);

struct params_metrics {
    struct slice q;
    uint64_t start_ns, end_ns, step_ns;
    uint32_t exemplars;  /* UINT32_MAX: not given */
    uint32_t series_max; /* 0: none */
};
MUST_CHECK enum err params_metrics(struct arena *a, const struct params_rules *rules,
                                   struct slice query, int64_t now_ns, struct params_metrics *ret,
                                   struct err_detail *reterr_detail);

#endif
