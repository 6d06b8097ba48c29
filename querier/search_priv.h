/* search_priv.h - what search.c and search_tags.c share. */
#ifndef VIVACE_QUERIER_SEARCH_PRIV_H
#define VIVACE_QUERIER_SEARCH_PRIV_H

#include "querier/fanout.h"
#include "querier/search.h"

enum { SEARCH_REQUEST_BYTES_MAX = 16 * 1024 * 1024 };

/* One round to all ingesters; the request is released. */
MUST_CHECK enum err search_ask(struct search_ctx *ctx, uint16_t method, struct buf *request,
                               struct fanout *ret);
/* So many ingesters did not tell which split traces they have. */
void search_note_silent(struct search_ctx *ctx, unsigned count);
/* Coverage of each answer, in the arena; an answer that does not parse counts as missing, and who was silent before. */
MUST_CHECK enum err search_coverages(struct search_ctx *ctx, struct fanout *f, uint32_t field,
                                     struct blocks_coverage **ret);

/* A row group of a block. */
struct search_group {
    struct block *block;
    uint32_t no;
    uint64_t min_start_ns, max_end_ns;
};
/* The row groups in the window, newest end first. */
MUST_CHECK enum err search_groups(struct search_ctx *ctx, const struct blocks_set *set,
                                  uint64_t start_ns, uint64_t end_ns, struct search_group **ret,
                                  uint32_t *ret_count);
/* Opens a row group, runs `fn` on it, closes.  Damage counts as missing and is no error. */
typedef enum err search_segment_fn(struct segment *s, void *arg);
MUST_CHECK enum err search_with_group(struct search_ctx *ctx, const struct search_group *g,
                                      search_segment_fn *fn, void *arg);

/* search_gather.c: fragments.  Trace ids, a growing list in the arena. */
struct search_ids {
    struct trace_id *ids;
    uint32_t count, cap;
};
MUST_CHECK enum err search_ids_add(struct search_ids *list, struct arena *a, struct trace_id id);
void search_ids_sort_unique(struct search_ids *list);
bool search_ids_has(const struct search_ids *list, struct trace_id id);

/* Of the flagged traces those that lie in more places than one (heads and blocks); the others are judged where they lie. */
MUST_CHECK enum err search_keep_split(struct search_ctx *ctx, const struct blocks_set *set,
                                      struct search_ids *ids);
/* All parts of these traces in a scratch head.  `coverage` is what the ingesters' answers covered. */
struct head;
struct search_coverage {
    struct blocks_coverage *list;
    unsigned count;
};
MUST_CHECK enum err search_gather_live(struct search_ctx *ctx, const struct trace_id *ids,
                                       uint32_t count, struct head *scratch,
                                       struct search_coverage *ret_coverage);
MUST_CHECK enum err search_gather_blocks(struct search_ctx *ctx, const struct blocks_set *set,
                                         const struct trace_id *ids, uint32_t count,
                                         struct head *scratch);
/* search.c.  Of q they look at the window alone. */
/* The blocks that may hold a part of a trace in the window. */
MUST_CHECK enum err search_blocks_around(struct search_ctx *ctx, const struct engine_query *q,
                                         const struct search_coverage *coverage,
                                         struct blocks_set *ret);
/* Traces that lie in several places, as far as can be known before the ingesters are asked; `ret_flagged`: those that may. */
MUST_CHECK enum err search_split_find(struct search_ctx *ctx, const struct engine_query *q,
                                      struct blocks_set *set, struct search_ids *ids,
                                      struct search_ids *ret_flagged);
/* With blocks that came while the ingesters were being asked. */
MUST_CHECK enum err search_split_update(struct search_ctx *ctx, const struct blocks_set *before,
                                        const struct blocks_set *now,
                                        const struct search_ids *flagged, struct search_ids *ids);
/* All parts of the split traces. */
MUST_CHECK enum err search_split_gather(struct search_ctx *ctx, const struct search_ids *ids,
                                        const struct engine_query *q, struct head *scratch);
int64_t search_time_left(const struct search_ctx *ctx);

MUST_CHECK enum err search_scratch_new(struct search_ctx *ctx, struct head **ret);
bool search_is_over(const struct search_ctx *ctx);

enum { SEARCH_TRACE_BYTES_MAX = 256 * 1024 * 1024 };

#endif
