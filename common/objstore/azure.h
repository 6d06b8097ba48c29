/*
 * azure.h - a container of Azure Blob Storage.
 *
 * Requests: signed by SharedKey (azure_sign.h), by a SAS (a storage_account_key that has "sig="), or with a token of Azure AD
 *           (azure_credentials.h); repeated and hedged as remote.h says.
 * Writes:   one Put Blob up to part_bytes, with the content's MD5; else blocks and a list of them.  No conditional requests are needed.
 * Address:  https://<account>.<endpoint_suffix>; a suffix that is no "blob." domain is an emulator's host[:port]: http://<host>/<account>.
 * Secrets:  never in an error text, a metric or a log.
 * Source:   "Blob service REST API", version 2020-10-02; Tempo's storage.trace.azure for what the options are called.
 */
#ifndef VIVACE_OBJSTORE_AZURE_H
#define VIVACE_OBJSTORE_AZURE_H

#include "common/objstore/remote.h"

struct azure_options {
    const char *account; /* "": AZURE_STORAGE_ACCOUNT */
    const char *key;     /* "": AZURE_STORAGE_KEY, unless a token is used */
    const char *container, *prefix;
    const char *endpoint_suffix;
    bool use_managed_identity, use_federated_token;
    const char *user_assigned_id; /* of a managed identity; "": the system's */
    uint64_t part_bytes;
    struct remote_tries tries;
    remote_note_fn *note; /* NULL: none */
    void *note_arg;
    const struct clock *clock;
};

/* Copies the options; the clock is borrowed.  Asks the server nothing. */
MUST_CHECK enum err azure_new(const struct azure_options *o, struct bucket **ret,
                              struct err_detail *reterr_detail);

/* --- what foreign bytes are read by; for tests and fuzzing --- */
/* A page of a listing, texts in the arena.  Errors: ERR_FORMAT; ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err azure_list_parse(struct slice xml, struct arena *a, struct remote_page *ret);

#endif
