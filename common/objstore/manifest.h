/*
 * manifest.h - the blocks of one writer in one tenant, in one object: what a reader needs to know of all of them with one read.
 *
 * Shape:   common/objstore/README.md ("A manifest"), byte by byte.
 * Memory:  decoded in an arena; texts point into it.
 * Errors:  ERR_CORRUPT, ERR_UNSUPPORTED a version from the future, ERR_LIMIT, ERR_NOMEM.
 */
#ifndef VIVACE_OBJSTORE_MANIFEST_H
#define VIVACE_OBJSTORE_MANIFEST_H

#include "common/base/arena.h"
#include "common/base/buf.h"

enum {
    MANIFEST_VERSION = 1,
    MANIFEST_PAGE_KIND = 96,
    MANIFEST_BYTES_MAX = 64 << 20,
    MANIFEST_ID_BYTES = 36,
    MANIFEST_ENTRIES_MAX = 1 << 20
};

enum manifest_why { MANIFEST_REMOVED = 1, MANIFEST_REPLACED, MANIFEST_QUARANTINED };

struct manifest_entry {
    char id[MANIFEST_ID_BYTES + 1];
    uint32_t tail_bytes;
    struct slice meta_json;
};
/* A block that is out of sight, whoever's manifest has it. */
struct manifest_gone {
    char id[MANIFEST_ID_BYTES + 1];
    uint8_t why;
    bool is_deleted; /* its objects too */
    uint64_t when_ns;
};
struct manifest {
    struct slice tenant, writer;
    uint64_t number; /* grows with each version of the object */
    struct manifest_entry *entries;
    struct manifest_gone *gone;
    uint32_t entry_count, gone_count;
};

/* Sorts entries and gone ones. */
MUST_CHECK enum err manifest_encode(struct manifest *m, struct buf *out);
MUST_CHECK enum err manifest_decode(struct slice bytes, struct arena *a, struct manifest *ret);
const struct manifest_entry *manifest_find(const struct manifest *m, const char *id); /* or NULL */
struct manifest_gone *manifest_find_gone(const struct manifest *m, const char *id);   /* or NULL */

#endif
