/*
 * crc32c.h - Castagnoli checksum (RFC 3720), of every WAL frame and block page.
 * Uses the processor's instruction where there is one; same value everywhere.
 */
#ifndef VIVACE_BASE_CRC32C_H
#define VIVACE_BASE_CRC32C_H

#include "common/base/slice.h"

#include <stdint.h>

uint32_t crc32c(struct slice s);
uint32_t crc32c_extend(uint32_t crc,
                       struct slice s); /* crc32c(ab) == crc32c_extend(crc32c(a), b) */

/* The same without the processor's instruction: tests compare the two. */
uint32_t crc32c_extend_portable(uint32_t crc, struct slice s);

#endif
