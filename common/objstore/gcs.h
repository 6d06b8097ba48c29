/*
 * gcs.h - a bucket of Google Cloud Storage, by its JSON API.
 *
 * Requests: repeated and hedged as remote.h says (what Google asks for: 408, 429, 5xx, growing waits with chance in them).
 * Writes:   one multipart request up to part_bytes, with the content's CRC-32C; else a resumable upload.  No conditional requests are needed.
 * Listing:  a content's name is its generation.
 * Access:   gcs_credentials.h; none with is_insecure and with STORAGE_EMULATOR_HOST.
 * Source:   "Cloud Storage JSON API"; Tempo's storage.trace.gcs for what the options are called.
 */
#ifndef VIVACE_OBJSTORE_GCS_H
#define VIVACE_OBJSTORE_GCS_H

#include "common/objstore/remote.h"

enum { GCS_PART_BYTES_STEP = 256 << 10 };

struct gcs_pair {
    const char *name, *value;
};

struct gcs_options {
    const char *bucket, *prefix; /* prefix "": none; without slashes at its ends */
    const char *endpoint;        /* [scheme://]host[:port][/storage/v1/]; "": Google's */
    bool is_insecure;            /* no credentials, and certificates are not looked at */
    uint64_t part_bytes;         /* a multiple of GCS_PART_BYTES_STEP */
    struct remote_tries tries;
    const char *cache_control; /* of every object; "": none */
    const struct gcs_pair *metadata;
    unsigned metadata_count;
    remote_note_fn *note; /* NULL: none */
    void *note_arg;
    const struct clock *clock;
};

/* Copies the options; the clock is borrowed.  Asks the server nothing. */
MUST_CHECK enum err gcs_new(const struct gcs_options *o, struct bucket **ret,
                            struct err_detail *reterr_detail);

/* --- what foreign bytes are read by; for tests and fuzzing --- */
/* A page of a listing, texts in the arena.  Errors: ERR_FORMAT. */
MUST_CHECK enum err gcs_list_from_json(struct slice json, struct arena *a, struct remote_page *ret);
/* An object's size.  Errors: ERR_FORMAT. */
MUST_CHECK enum err gcs_size_from_json(struct slice json, uint64_t *ret);
/* The first "reason" of an error; "" when there is none. */
void gcs_reason_from_json(struct slice json, char *ret, size_t size);
/* The description of an object that is written, in the arena. */
const char *gcs_object_to_json(const struct gcs_options *o, const char *name, const uint32_t *crc,
                               struct arena *a);

#endif
