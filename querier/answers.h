/*
 * answers.h - the engine's results as Tempo's answers, JSON and protobuf (by the request's Accept).
 *
 * Source:  contract.md 1.4, 1.5, 8.1; tempo.proto field numbers.
 */
#ifndef VIVACE_QUERIER_ANSWERS_H
#define VIVACE_QUERIER_ANSWERS_H

#include "common/codec/json_out.h"
#include "common/query/metrics_query.h"
#include "common/query/result.h"

void answers_search_json(struct buf *out, const struct search_result *r);
void answers_search_pb(struct buf *out, const struct search_result *r);

enum { ANSWERS_INTRINSIC_COUNT = 25 };
extern const char *const
    answers_intrinsics[ANSWERS_INTRINSIC_COUNT]; /* what the tag routes list for scope intrinsic */

/* Which scopes an answer shows: bits 1 << enum result_tag_scope, and ANSWERS_INTRINSIC. */
enum { ANSWERS_INTRINSIC = 1 << TAGS_SCOPE_COUNT };
void answers_tags_v1(struct buf *out, struct arena *a, const struct tag_names *r, unsigned scopes,
                     bool is_pb);
void answers_tags_v2(struct buf *out, const struct tag_names *r, unsigned scopes, bool is_pb);
void answers_values_v1(struct buf *out, const struct tag_values *r, bool is_pb);
void answers_values_v2(struct buf *out, const struct tag_values *r, bool is_pb);

/* answers_llm.c: Tempo's form for language models (Accept: application/vnd.grafana.llm): ids in hex, attributes as plain objects sorted by
 * key, values by type.  A trace that is not there is {}.  What can not be allocated is left out: arena_err tells. */
#define ANSWERS_LLM_TYPE "application/vnd.grafana.llm"
void answers_llm_trace(struct buf *out, struct arena *a, struct slice otlp);
void answers_llm_values(struct buf *out, const struct tag_values *r);

/* A value's text and type's name as the tag values routes write them.  The text may be in `scratch`. */
struct slice answers_value_text(struct buf *scratch, struct value v);
const char *answers_value_type(struct value v);

/* answers_metrics.c */
struct answers_metrics {
    struct metrics_result result;
    struct metrics_window window;
    uint32_t series_max; /* 0: none */
    const char *message; /* NULL: none; a cut has a message of its own */
    struct result_stats stats;
};
void answers_metrics_json(struct buf *out, const struct answers_metrics *m, bool is_range);
void answers_metrics_pb(struct buf *out, const struct answers_metrics *m, bool is_range);

/* A value as an AnyValue of an attribute: durations, statuses and kinds as text. */
void answers_value_json(struct json_out *j, struct value v);
void answers_attributes_pb(struct buf *out, uint32_t field, const struct result_attribute *list,
                           uint32_t count);
void answers_stats_pb(struct buf *out, const struct result_stats *s);
/* An array of {key, value} under `key`. */
void answers_attributes_json(struct json_out *j, const char *key,
                             const struct result_attribute *list, uint32_t count);

#endif
