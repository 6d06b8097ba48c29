#include "common/codec/digest.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

static enum err digest_of(const EVP_MD *kind, struct slice data, uint8_t *ret, unsigned bytes)
{
    unsigned len = 0;
    const void *at = data.ptr != NULL ? (const void *)data.ptr : "";

    if (EVP_Digest(at, data.len, ret, &len, kind, NULL) != 1)
        return ERR_NOMEM;
    assert(len == bytes);
    return ERR_OK;
}

enum err digest_sha256(struct slice data, uint8_t ret[DIGEST_BYTES])
{
    return digest_of(EVP_sha256(), data, ret, DIGEST_BYTES);
}

enum err digest_md5(struct slice data, uint8_t ret[DIGEST_MD5_BYTES])
{
    return digest_of(EVP_md5(), data, ret, DIGEST_MD5_BYTES);
}

enum err digest_hmac_sha256(struct slice key, struct slice data, uint8_t ret[DIGEST_BYTES])
{
    unsigned len = 0;
    const uint8_t *at = data.ptr != NULL ? data.ptr : (const uint8_t *)"";

    assert(key.len <= INT32_MAX);
    if (HMAC(EVP_sha256(), key.ptr != NULL ? (const void *)key.ptr : "", (int)key.len, at, data.len,
             ret, &len) == NULL)
        return ERR_NOMEM;
    assert(len == DIGEST_BYTES);
    return ERR_OK;
}

static enum err sign_with(EVP_PKEY *key, struct slice data, struct buf *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t signature[1024]; /* keys of 8192 bits */
    size_t len = sizeof signature;
    enum err e = ctx == NULL ? ERR_NOMEM : ERR_OK;

    if (e == ERR_OK && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1)
        e = ERR_INVALID;
    if (e == ERR_OK && EVP_DigestSign(ctx, signature, &len, data.ptr, data.len) != 1)
        e = ERR_INVALID;
    EVP_MD_CTX_free(ctx);
    if (e == ERR_OK) {
        buf_append(out, (struct slice){signature, len});
        e = buf_err(out);
    }
    return e;
}

enum err digest_sign_rs256(const char *pem, struct slice data, struct buf *out)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    enum err e = bio == NULL ? ERR_NOMEM : key == NULL ? ERR_INVALID : ERR_OK;

    if (e == ERR_OK && EVP_PKEY_base_id(key) != EVP_PKEY_RSA)
        e = ERR_INVALID;
    if (e == ERR_OK)
        e = sign_with(key, data, out);
    EVP_PKEY_free(key);
    (void)BIO_free(bio);
    return e;
}

void digest_hex(const uint8_t *bytes, size_t len, char *ret)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < len; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[2 * len] = '\0';
}

static const char base64_plain[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void digest_base64(struct slice data, bool is_url, struct buf *out)
{
    const char *digits = is_url ? base64_url : base64_plain;

    for (size_t i = 0; i < data.len; i += 3) {
        size_t left = data.len - i < 3 ? data.len - i : 3;
        uint32_t v = (uint32_t)data.ptr[i] << 16;
        if (left > 1)
            v |= (uint32_t)data.ptr[i + 1] << 8;
        if (left > 2)
            v |= data.ptr[i + 2];
        for (size_t k = 0; k < 4; k++) {
            if (k <= left)
                buf_append_byte(out, (uint8_t)digits[v >> (18 - 6 * k) & 63]);
            else if (!is_url)
                buf_append_byte(out, '=');
        }
    }
}

enum err digest_base64_decode(struct slice text, struct buf *out)
{
    uint32_t v = 0;
    unsigned bits = 0;

    while (text.len > 0 && text.ptr[text.len - 1] == '=')
        text.len--;
    if (text.len % 4 == 1)
        return ERR_FORMAT; /* no bytes have this many digits */
    for (size_t i = 0; i < text.len; i++) {
        const char *at = text.ptr[i] != 0 ? strchr(base64_plain, text.ptr[i]) : NULL;
        if (at == NULL)
            return ERR_FORMAT;
        v = v << 6 | (uint32_t)(at - base64_plain);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_append_byte(out, (uint8_t)(v >> bits));
        }
    }
    return buf_err(out);
}
