/*
 * gzip_crc.h - the checksum of gzip, zlib's CRC-32 (not crc32c): Parquet pages carry it.
 */
#ifndef VIVACE_CODEC_GZIP_CRC_H
#define VIVACE_CODEC_GZIP_CRC_H

#include "common/base/slice.h"

uint32_t gzip_crc(struct slice bytes);

#endif
