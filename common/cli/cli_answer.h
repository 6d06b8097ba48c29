/*
 * cli_answer.h - what a server answers, as tables need it.
 *
 * Shape:   one reader for all answers: each has its own list, the others stay empty.  Texts are the server's bytes: not safe for a terminal.
 * Memory:  everything is in the arena that was given.
 * Errors:  ERR_FORMAT no JSON object, or of another shape, with one line; ERR_TOO_LARGE, ERR_LIMIT, ERR_NOMEM.
 */
#ifndef VIVACE_CLI_CLI_ANSWER_H
#define VIVACE_CLI_CLI_ANSWER_H

#include "common/base/arena.h"

struct cli_span {
    struct slice id, name, attributes; /* "key=value key2=value2" */
    uint64_t start_ns, duration_ns;
};
struct cli_found {
    struct slice trace_id, service, name;
    uint64_t start_ns, duration_ns, matched;
    struct cli_span *spans; /* of all span sets */
    uint32_t span_count;
};
/* A name in its scope, or a value with its type. */
struct cli_tag {
    struct slice group, text;
};
struct cli_sample {
    int64_t time_ms; /* of an instant: 0 */
    double value;
};
struct cli_series {
    struct slice labels; /* {key="value", ...} */
    struct cli_sample *samples;
    uint32_t sample_count;
};
struct cli_answer {
    struct cli_found *found;
    struct cli_tag *tags;
    struct cli_series *series;
    uint32_t found_count, tag_count, series_count;
    uint64_t completed_jobs, total_jobs;
    struct slice message; /* why it is partial; empty: it is not */
};

MUST_CHECK enum err cli_answer_from_json(struct slice json, struct arena *a, struct cli_answer *ret,
                                         struct err_detail *reterr_detail);
/* Is there a span in an answer of /api/v2/traces? */
MUST_CHECK enum err cli_answer_has_trace_json(struct slice json, bool *ret,
                                              struct err_detail *reterr_detail);

/* Answers of one stream as one: whatever comes later replaces what has its id, name, labels or time.  Of several: traces newest first, tags
 * and series in order. */
MUST_CHECK enum err cli_answer_join(const struct cli_answer *answers, uint32_t count,
                                    struct arena *a, struct cli_answer *ret);

#endif
