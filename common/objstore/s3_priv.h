/*
 * s3_priv.h - the inside of an S3 bucket: one call with its repeats (s3_call.c), what is made of calls (s3.c, s3_upload.c, s3_list.c).
 */
#ifndef VIVACE_OBJSTORE_S3_PRIV_H
#define VIVACE_OBJSTORE_S3_PRIV_H

#include "common/base/arena.h"
#include "common/base/rng.h"
#include "common/objstore/s3.h"
#include "common/objstore/s3_credentials.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

enum {
    S3_PART_BYTES = 16 << 20,
    S3_PART_BYTES_MIN = 5 << 20,
    S3_PARTS_MAX = 10000,
    S3_ERROR_BYTES_MAX = 64 << 10,
    S3_LIST_BYTES_MAX = 8 << 20,
    S3_ETAG_BYTES = 128
};

struct s3 {
    struct bucket bucket; /* first */
    struct s3_options o;  /* texts in the arena */
    struct arena arena;
    struct http_client *http;
    struct s3_credentials *credentials;
    const char *host, *base_path; /* base_path: "" or "/bucket" */
    bool is_v1;                   /* lock: the server lists by version 1 only */
    struct mutex lock;            /* the fields below, is_v1 */
    char region[64];
    int64_t clock_skew_s; /* the server's clock less ours */
    double repeats;       /* that may still be made */
    int64_t repeats_ns;
    struct rng rng;
    struct metric_family *durations;
    struct metric_cell *hedged;
};

struct s3_request {
    const char *method, *key; /* key NULL: the bucket itself */
    const char *query;        /* sorted and encoded; NULL: none */
    struct slice body;
    const char *content_type; /* NULL: application/octet-stream, when there is a body */
    bool is_write, is_read;   /* carries the headers of writes, of reads */
    uint64_t offset;
    size_t len; /* a range; 0: none.  The answer's body is then exactly this long */
    size_t body_bytes_max;
};

struct s3_answer {
    unsigned status;
    struct buf body; /* released by the caller */
    char etag[S3_ETAG_BYTES], length[32], range[64], region[64], date[64];
};

/* ERR_OK: a status of 2xx, in *ret.  Everything else is an error, and *ret is empty. */
MUST_CHECK enum err s3_call(struct s3 *s, const struct s3_request *r, struct s3_answer *ret);
void s3_answer_release(struct s3_answer *a);

MUST_CHECK enum err s3_upload_file(struct s3 *s, const char *key, const char *path);
MUST_CHECK enum err s3_list(struct s3 *s, const char *prefix, bool is_deep, bucket_entry_fn *fn,
                            void *arg);

#endif
