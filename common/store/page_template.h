/*
 * page_template.h - texts that are alike but for numbers and ids: each distinct skeleton once, what varies as integers or bytes.
 *
 * Shape:   common/store/README.md ("Encodings").  A text is split at runs of digits (at most 18), runs of lower-case hexadecimal digits that
 *          are ids (8 to 255 of them, letters and digits), and UUIDs; what is split comes together again exactly, whatever the text.
 * Memory:  `tmp` holds what is needed on the way; texts that were read are in `a`.
 * Errors:  getting checks everything: ERR_CORRUPT; ERR_LIMIT / ERR_NOMEM.
 */
#ifndef VIVACE_STORE_PAGE_TEMPLATE_H
#define VIVACE_STORE_PAGE_TEMPLATE_H

#include "common/base/arena.h"
#include "common/base/buf.h"

/* *ret_pays is false, and nothing was put, when the texts have too many skeletons. */
MUST_CHECK enum err page_template_put(struct buf *out, const struct slice *texts, uint32_t count,
                                      struct arena *tmp, bool *ret_pays);
MUST_CHECK enum err page_template_get(struct slice raw, uint32_t count, struct arena *a,
                                      struct arena *tmp, struct slice **ret);
/* ret[i] is 1 where value i is the text, else 0: found without putting any text together. */
MUST_CHECK enum err page_template_equal(struct slice raw, uint32_t count, struct slice text,
                                        struct arena *tmp, uint8_t *ret);

#endif
