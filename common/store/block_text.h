/*
 * block_text.h - pages of texts that are in no dictionary: as they are, or as templates, whichever takes less.
 */
#ifndef VIVACE_STORE_BLOCK_TEXT_H
#define VIVACE_STORE_BLOCK_TEXT_H

#include "common/store/block_pages.h"
#include "common/store/block_writer.h"

/* Of the pages of one column, which are alike: what took less for one of them is taken for the next few.  Begins zeroed. */
struct block_text_plan {
    bool is_split;
    uint8_t pages_left;
};

/* Uses w->scratch, which the caller resets. */
MUST_CHECK enum err block_text_put(struct block_writer *w, struct block_text_plan *plan,
                                   const struct slice *texts, uint32_t count,
                                   struct block_ref *ret);

/* The texts, in s->arena. */
MUST_CHECK enum err block_text_get(struct block_segment *s, const struct block_ref *ref,
                                   uint32_t count, struct slice **ret);
/* ret[i]: whether value i is the text. */
MUST_CHECK enum err block_text_equal(struct block_segment *s, const struct block_ref *ref,
                                     uint32_t count, struct slice text, uint8_t *ret);

#endif
