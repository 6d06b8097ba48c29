/*
 * block_dict.h - dictionaries of a block: distinct texts, ascending, in chunks, and for each part of the table which of them occur there.
 *
 * Shape:   the texts that a part has, in ascending order, are its list; its codes are numbers in that list.
 *          Reading a list reads all chunks; finding a text reads the one chunk that can have it, and its lists only if it has it.
 * Threads: a writer belongs to one thread; what is read is kept by the block (block_reader.h).
 * Errors:  of reading: ERR_CORRUPT, ERR_IO, ERR_LIMIT, ERR_NOMEM.
 */
#ifndef VIVACE_STORE_BLOCK_DICT_H
#define VIVACE_STORE_BLOCK_DICT_H

#include "common/store/block_reader.h"
#include "common/store/block_writer.h"

struct block_dict_text { /* while texts are sorted */
    uint64_t prefix;
    struct slice text;
    uint32_t number;
};

/* Which texts each part has: codes of part p, ascending: [end[p - 1], end[p]). */
struct block_dict_lists {
    const uint32_t *codes, *end; /* end: [part_count] */
    uint32_t part_count;
};

/* Sorts distinct texts in place; (*ret_rank)[i] is the new place of what was texts[i]. */
MUST_CHECK enum err block_dict_sort(struct arena *a, struct slice *texts, uint32_t count,
                                    uint32_t **ret_rank);
/* Writes a dictionary of sorted texts.  Uses w->scratch, which the caller resets.  `keep`: of what *ret points to. */
MUST_CHECK enum err block_dict_put(struct block_writer *w, const struct slice *texts,
                                   uint32_t count, const struct block_dict_lists *l,
                                   struct arena *keep, struct block_dict_ref *ret);

/* The list of a part: array in `a`, texts in the block or in user->own. */
MUST_CHECK enum err block_dict_listed(struct block *b, struct block_user *user, uint32_t dict,
                                      uint32_t parts, uint32_t part, struct arena *a,
                                      const struct slice **ret, uint32_t *ret_count);
/* The number that a text has in the list of a part; BLOCK_NONE when it is not there. */
MUST_CHECK enum err block_dict_find(struct block *b, struct block_user *user, uint32_t dict,
                                    uint32_t parts, uint32_t part, struct slice text,
                                    uint32_t *ret_number);

#endif
