/*
 * crc32c.h - Castagnoli checksum (RFC 3720), of every WAL frame and block page.
 * Uses the processor's instruction where there is one; same value everywhere.
 */
#ifndef VIVACE_BASE_CRC32C_H
#define VIVACE_BASE_CRC32C_H

#include <stdint.h>

#include "common/base/slice.h"

uint32_t crc32c(struct slice s);
uint32_t crc32c_extend(uint32_t crc, struct slice s); /* crc32c(ab) == crc32c_extend(crc32c(a), b) */

#endif
