/*
 * remote.h - a bucket behind HTTP: one call with all its attempts, and what S3, GCS and Azure do in the same way.
 *
 * Repeats: after 5xx, 408, 429, time-outs, broken connections and answers of the wrong length, with a growing wait, while a budget of repeats (a
 *          tenth of all requests, REMOTE_REPEATS_SAVED saved up) lasts.  A ranged read that is slow is asked a second time (hedging), while a
 *          budget of its own, as large, lasts.
 * Uploads: a file over part_bytes goes in parts; what was begun is called off when it fails.
 * Listing: page by page; a server that says "more" and gives the same again is ERR_CORRUPT.
 * Threads: any; calls block.
 */
#ifndef VIVACE_OBJSTORE_REMOTE_H
#define VIVACE_OBJSTORE_REMOTE_H

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/rng.h"
#include "common/net/http_client.h"
#include "common/objstore/bucket.h"
#include "common/obs/metrics.h"
#include "common/sys/thread.h"

enum {
    REMOTE_REPEATS_SAVED = 20,
    REMOTE_ERROR_BYTES_MAX = 64 << 10,
    REMOTE_LIST_BYTES_MAX = 8 << 20,
    REMOTE_ETAG_BYTES = 128,
    REMOTE_HINT_BYTES = 2048
};

/* What a refusal or a store that can not be reached means to who configured it: one line, once until something works again. */
typedef void remote_note_fn(void *arg, const char *text);

struct remote_tries {    /* how often, and how long apart */
    int64_t hedge_at_ns; /* 0: no hedging */
    unsigned hedge_max;  /* requests for one read altogether; 0: 2 */
    unsigned attempts_max;
    int64_t backoff_min_ns, backoff_max_ns;
};

struct remote_request {
    const char *method, *key; /* key NULL: the bucket itself */
    const char *query;        /* encoded; NULL: none */
    struct slice body;
    const char *content_type;   /* NULL: application/octet-stream, when there is a body */
    bool is_write, is_read;     /* carries the headers of writes, of reads */
    bool is_upload;             /* for a provider that takes uploads elsewhere */
    const char *url;            /* all of it, as the server gave it; NULL: made of key and query */
    const char *const *headers; /* more, "name: value", NULL-terminated; NULL: none */
    unsigned status_too;        /* good besides 2xx; 0: none */
    uint64_t offset;
    size_t len; /* a range; 0: none.  The answer's body is then exactly this long */
    size_t body_bytes_max;
};

struct remote_answer {
    unsigned status;
    struct buf body; /* released by the caller */
    char etag[REMOTE_ETAG_BYTES], length[32], range[64], kept[64], date[64];
    char hint[REMOTE_HINT_BYTES]; /* the provider's hint_header */
};

enum remote_verdict { REMOTE_DONE, REMOTE_AGAIN, REMOTE_AT_ONCE, REMOTE_FAILED };

struct remote;
struct remote_lister {  /* where a listing is */
    const char *prefix; /* with the bucket's own in front */
    size_t own_bytes;   /* of the bucket's own prefix and its slash */
    bool is_deep;
    const char *token, *marker; /* where the next page begins; NULL: the first */
    struct arena texts;         /* of token and marker */
};
struct remote_page {
    struct bucket_entry *entries; /* objects and common prefixes, ascending by key */
    uint32_t count, cap;
    bool is_truncated;
    const char *token;  /* where the next page begins; NULL: none, or by marker */
    const char *marker; /* where version 1 of S3's goes on */
};

struct remote_ops {
    const char *hint_header, *get_query;
    const char *bucket_key, *endpoint_key, *secret_key; /* of the configuration, for notes */
    /* One attempt's request, with what a client adds (host, prefix, credentials).  *ret_ticket, in the arena, comes back when it is refused.
     * Errors but ERR_NOMEM, ERR_LIMIT and ERR_INVALID are tried again. */
    enum err (*write)(struct remote *r, const struct remote_request *q, struct arena *a,
                      struct http_call *ret, const void **ret_ticket);
    /* What a status that no repeat helps by itself means; *ret is an error for it already. */
    enum remote_verdict (*refused)(struct remote *r, const void *ticket,
                                   const struct remote_answer *a, enum err *ret);
    enum err (*list_page)(struct remote *r, const struct remote_lister *l, struct arena *a,
                          struct remote_page *ret);
};

struct remote_allowance { /* of further requests: each first one earns a share, and time does */
    double saved;
    int64_t at_ns; /* mono */
};

struct remote {
    struct bucket bucket; /* first */
    const struct remote_ops *ops;
    const struct clock *clock;
    struct remote_tries tries;
    const char *prefix; /* "": none */
    struct http_client *http;
    struct mutex lock; /* the fields below, and what the provider says */
    struct remote_allowance repeats, hedges;
    struct rng rng;
    struct metric_family *durations;
    struct metric_cell *hedged;
    remote_note_fn *note; /* NULL: nobody wants to know */
    void *note_arg;
    enum err noted; /* lock */
};

/* On errors too remote_release is due. */
MUST_CHECK enum err remote_init(struct remote *r, const struct bucket_ops *bucket_ops,
                                const struct remote_ops *ops, const struct remote_tries *tries,
                                const struct clock *clock);
/* Ends what is under way; before anything that `write` uses goes. */
void remote_release(struct remote *r);

/* ERR_OK: a status of 2xx, in *ret.  Everything else is an error, and *ret is empty. */
MUST_CHECK enum err remote_call(struct remote *r, const struct remote_request *q,
                                struct remote_answer *ret);
void remote_answer_release(struct remote_answer *a);
/* The object's name in the store, with the bucket's prefix. */
const char *remote_key(const struct remote *r, const char *key, struct arena *a);
/* What every request has: method, body, limits. */
struct http_call remote_http(const struct remote_request *q);
/* "name: value" lines, NULL-terminated: `own` (count of them, NULL ones left out), the range, the content's type, what the request brings. */
const char *const *remote_headers(const struct remote_request *q, const char *const *own,
                                  unsigned count, struct arena *a);

/* Ops of a bucket that are the same everywhere; `b` is a struct remote. */
enum err remote_get(struct bucket *b, const char *key, uint64_t offset, void *ret, size_t len);
enum err remote_get_all(struct bucket *b, const char *key, struct buf *ret);
enum err remote_head(struct bucket *b, const char *key, uint64_t *ret_bytes); /* by HEAD */
enum err remote_list(struct bucket *b, const char *prefix, bool is_deep, bucket_entry_fn *fn,
                     void *arg);
enum err remote_remove(struct bucket *b, const char *key);

/* --- pages of listings (remote_list.c) --- */
/* `key` is in the arena.  ERR_FORMAT without one, ERR_LIMIT for a page that is too long. */
MUST_CHECK enum err remote_page_add(struct remote_page *page, struct arena *a, const char *key,
                                    uint64_t bytes, const char *etag);
void remote_page_sort(struct remote_page *page);

/* --- files in parts (remote_upload.c) --- */
struct remote_upload {
    struct remote *remote;
    const char *key;
    int fd;
    uint64_t bytes, part_bytes;
    unsigned part_count;
    struct arena arena;
    const char *id;                   /* of what was begun, in the arena; NULL: nothing */
    char (*etags)[REMOTE_ETAG_BYTES]; /* [part_count] */
};
struct remote_upload_ops {
    unsigned parts_max;
    enum err (*begin)(struct remote_upload *u);
    enum err (*part)(struct remote_upload *u, unsigned part, struct slice bytes);
    enum err (*complete)(struct remote_upload *u);
    void (*call_off)(struct remote_upload *u); /* id is not NULL */
};
/* One put up to part_bytes, else parts. */
MUST_CHECK enum err remote_put_file(struct remote *r, const char *key, const char *path,
                                    uint64_t part_bytes, const struct remote_upload_ops *ops);
/* ERR_OK when the object is there with the upload's length: the answer to an attempt before was lost. */
MUST_CHECK enum err remote_upload_is_there(struct remote_upload *u);

#endif
