/*
 * azure_sign.h - SharedKey of the Blob service.
 *
 * Source:  "Authorize with Shared Key", version 2015-02-21 and later; its example is the unit test.
 * Errors:  ERR_NOMEM, ERR_LIMIT; ERR_FORMAT a key that is not base 64.
 */
#ifndef VIVACE_OBJSTORE_AZURE_SIGN_H
#define VIVACE_OBJSTORE_AZURE_SIGN_H

#include "common/base/arena.h"

struct azure_sign {
    const char *method, *account, *key; /* key: base 64 */
    const char *path;                   /* as it is sent, from the host on */
    const char *query; /* sorted and not encoded: "comp=list\nrestype=container"; "" none */
    size_t body_bytes;
    const char *content_md5, *content_type, *range; /* "" or NULL: not sent */
    const char *const *ms_headers;                  /* "x-ms-...:value", sorted, NULL-terminated */
};

/* What is signed, in the arena; NULL: the arena's error. */
const char *azure_sign_text(struct arena *a, const struct azure_sign *in);
/* The value of the Authorization header, in the arena. */
MUST_CHECK enum err azure_sign(struct arena *a, const struct azure_sign *in, const char **ret);

#endif
