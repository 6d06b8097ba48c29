/*
 * bucket.h - an object store: objects by key, written whole, read by ranges, listed by prefix.  What s3.c and bucket_memory.c implement.
 *
 * Keys:    UTF-8 without a leading slash; what the bucket's configuration puts in front is not seen here.
 * Writes:  an object appears whole or not at all.  A put that is repeated after an answer was lost does no harm.
 * Errors:  ERR_NOT_FOUND no such object or bucket; ERR_FORBIDDEN, ERR_UNAUTHENTICATED credentials; ERR_CORRUPT an answer that is not
 *          what was asked for, however often; ERR_UNAVAILABLE, ERR_TIMEOUT after all attempts.
 * Threads: any; calls block.
 */
#ifndef VIVACE_OBJSTORE_BUCKET_H
#define VIVACE_OBJSTORE_BUCKET_H

#include "common/base/buf.h"
#include "common/base/err.h"

enum { BUCKET_KEY_BYTES_MAX = 1024 };

struct bucket_entry {
    const char *key; /* ends in '/': a common prefix of a shallow listing */
    uint64_t bytes;
    const char *etag; /* names the content; "" for a prefix */
};
struct bucket;
typedef enum err bucket_entry_fn(void *arg, const struct bucket_entry *entry);
struct bucket_ops {
    enum err (*put)(struct bucket *b, const char *key, struct slice bytes);
    enum err (*put_file)(struct bucket *b, const char *key, const char *path);
    /* Exactly len > 0 bytes.  ERR_CORRUPT past the end. */
    enum err (*get)(struct bucket *b, const char *key, uint64_t offset, void *ret, size_t len);
    enum err (*get_all)(struct bucket *b, const char *key, struct buf *ret); /* appended */
    enum err (*head)(struct bucket *b, const char *key, uint64_t *ret_bytes);
    /* Ascending by key; stops at the first error of `fn`.  Not deep: what lies below the next '/' is one entry. */
    enum err (*list)(struct bucket *b, const char *prefix, bool is_deep, bucket_entry_fn *fn,
                     void *arg);
    enum err (*remove)(struct bucket *b, const char *key); /* ERR_OK when it was not there */
    void (*free)(struct bucket *b);
};
struct bucket {
    const struct bucket_ops *ops;
};

/* Objects in memory: for tests. */
MUST_CHECK enum err bucket_memory_new(struct bucket **ret);

#endif
