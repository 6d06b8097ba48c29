/*
 * wal_priv.h - what the writing and the reading half of the log share: the byte-level format (WAL.md) and the list of files.
 */
#ifndef VIVACE_STORE_WAL_PRIV_H
#define VIVACE_STORE_WAL_PRIV_H

#include "common/store/wal.h"

#include <stdbool.h>

enum {
    WAL_HEADER_BYTES = 96,
    WAL_PREFIX_BYTES = 16, /* magic, length, crc, tag */
    WAL_FIXED_BYTES = 40,  /* lsn .. target length */
    WAL_NAME_BYTES = 32
};
#define WAL_FRAME_MAGIC 0x4d524656u /* "VFRM" */

struct wal_header {
    uint32_t version, tag;
    uint64_t first_lsn;
    char instance[WAL_INSTANCE_BYTES_MAX + 1];
};

void wal_format_header(const struct wal_header *h, uint8_t ret[WAL_HEADER_BYTES]);
/* Errors: ERR_CORRUPT; ERR_UNSUPPORTED a sound header of another version. */
MUST_CHECK enum err wal_format_header_read(const uint8_t bytes[WAL_HEADER_BYTES],
                                           struct wal_header *ret);

/* Everything of a frame before its payload; returns how many bytes (at most WAL_FRAME_HEAD_BYTES_MAX). */
enum {
    WAL_FRAME_HEAD_BYTES_MAX =
        WAL_PREFIX_BYTES + WAL_FIXED_BYTES + WAL_TENANT_BYTES_MAX + WAL_TARGET_BYTES_MAX
};
size_t wal_format_frame_head(const struct wal_frame *f, uint32_t tag, uint8_t *ret);
size_t wal_format_frame_bytes(const struct wal_frame *f);
/* `bytes` is prefix and body as the length says.  Errors: ERR_CORRUPT. */
MUST_CHECK enum err wal_format_frame_read(struct slice bytes, struct wal_frame *ret);
uint32_t wal_format_crc(uint32_t length, uint32_t tag, struct slice body);

struct wal_file {
    char name[WAL_NAME_BYTES];
    uint64_t first_lsn; /* the header's word, else the name's */
    uint64_t bytes;
    uint32_t tag;
    bool has_header;
    bool is_unknown; /* the disk refused to give its header: it may be of a newer version */
};
struct wal_files {
    struct wal_file *items;
    uint32_t count, cap;
};
/* The log's files by first lsn, then name.  Errors: ERR_UNSUPPORTED, ERR_IO, ERR_NOMEM, ERR_NOT_FOUND no such folder. */
MUST_CHECK enum err wal_format_list(const char *dir, struct wal_files *ret);
MUST_CHECK enum err wal_format_list_add(struct wal_files *files, const struct wal_file *f);
void wal_format_list_release(struct wal_files *files);
void wal_format_name(uint64_t first_lsn, char ret[WAL_NAME_BYTES]);

#endif
