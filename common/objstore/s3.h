/*
 * s3.h - a bucket of an S3 server: Amazon's, or one of the many that speak its API.
 *
 * Requests: signed (SigV4) with the hash of their body; path style or a virtual host; repeated and hedged as remote.h says.  A wrong region is learnt
 *           from the refusal.
 * Writes:   one PUT up to part_bytes, else a multipart upload, called off when it fails.  No conditional requests are needed.
 * Listing:  version 2; version 1 where a server knows no other.
 * Secrets:  never in an error text, a metric or a log.
 * Source:   Amazon S3 API reference; Tempo's storage.trace.s3 for what the options are called.
 */
#ifndef VIVACE_OBJSTORE_S3_H
#define VIVACE_OBJSTORE_S3_H

#include "common/objstore/remote.h"

enum { S3_HEADERS_MAX = 40 };

enum s3_style { S3_STYLE_AUTO, S3_STYLE_HOST, S3_STYLE_PATH };

struct s3_extra { /* a header that every write carries: "x-amz-..." in lower case */
    const char *name, *value;
};

struct s3_options {
    const char *bucket, *prefix; /* prefix "": none; without slashes at its ends */
    const char *endpoint;        /* host[:port]; "": Amazon's of the region */
    const char *region;          /* "": us-east-1, or what the server says */
    const char *access_key, *secret_key,
        *session_token; /* "": from where credentials are looked for */
    bool is_insecure;   /* plain HTTP */
    bool is_dual_stack;
    enum s3_style style;
    uint64_t part_bytes; /* 0: 16 MiB */
    struct remote_tries tries;
    const struct s3_extra
        *write_headers; /* storage class, tags, metadata, server side encryption */
    unsigned write_header_count;
    const struct s3_extra *read_headers; /* SSE-C needs its key for reads too */
    unsigned read_header_count;
    const char *ca_file, *cert_file, *key_file; /* NULL: none */
    bool insecure_skip_verify;
    unsigned tls_min;
    remote_note_fn *note; /* NULL: none */
    void *note_arg;
    const struct clock *clock;
};

/* Copies the options; the clock is borrowed.  Asks the server nothing. */
MUST_CHECK enum err s3_new(const struct s3_options *o, struct bucket **ret,
                           struct err_detail *reterr_detail);

#endif
