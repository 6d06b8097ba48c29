/*
 * snappy_block.h - one snappy block (no framing), as Prometheus remote write 1.0 wants it.
 */
#ifndef VIVACE_CODEC_SNAPPY_BLOCK_H
#define VIVACE_CODEC_SNAPPY_BLOCK_H

#include "common/base/buf.h"

MUST_CHECK enum err snappy_block_compress(struct slice raw,
                                          struct buf *out); /* appends; ERR_TOO_LARGE, ERR_NOMEM */

#endif
