/*
 * digest.h - SHA-256 and what signatures of object stores are made of.  The door to OpenSSL's digests.
 *
 * Threads: any.
 * Errors:  ERR_NOMEM when OpenSSL has no memory; ERR_INVALID a private key that can not be read.
 */
#ifndef VIVACE_CODEC_DIGEST_H
#define VIVACE_CODEC_DIGEST_H

#include "common/base/buf.h"
#include "common/base/err.h"

enum { DIGEST_BYTES = 32, DIGEST_HEX_BYTES = 2 * DIGEST_BYTES + 1, DIGEST_MD5_BYTES = 16 };

MUST_CHECK enum err digest_sha256(struct slice data, uint8_t ret[DIGEST_BYTES]);
MUST_CHECK enum err digest_hmac_sha256(struct slice key, struct slice data,
                                       uint8_t ret[DIGEST_BYTES]);
MUST_CHECK enum err digest_md5(struct slice data,
                               uint8_t ret[DIGEST_MD5_BYTES]); /* SSE-C names its key by it */
/* RS256 of a PKCS#8 or PKCS#1 PEM key, appended. */
MUST_CHECK enum err digest_sign_rs256(const char *pem, struct slice data, struct buf *out);

void digest_hex(const uint8_t *bytes, size_t len, char *ret); /* 2 * len + 1 bytes, lower case */
void digest_base64(struct slice data, bool is_url,
                   struct buf *out); /* is_url: RFC 4648 5, unpadded */
MUST_CHECK enum err digest_base64_decode(struct slice text, struct buf *out); /* ERR_FORMAT */

#endif
