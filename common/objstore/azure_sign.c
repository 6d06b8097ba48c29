#include "common/objstore/azure_sign.h"

#include "common/codec/digest.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES_MAX = 64 << 10, KEY_BYTES_MAX = 1024 };

/* "a=1\nb=2" as "\na:1\nb:2" */
static void append_query(struct buf *out, const char *query)
{
    while (*query != '\0') {
        size_t len = strcspn(query, "\n"), name = strcspn(query, "=\n");
        size_t value = name < len ? name + 1 : len;
        buf_append_byte(out, '\n');
        buf_append(out, (struct slice){(const uint8_t *)query, name});
        buf_append_byte(out, ':');
        buf_append(out, (struct slice){(const uint8_t *)query + value, len - value});
        query += len + (query[len] == '\n');
    }
}

const char *azure_sign_text(struct arena *a, const struct azure_sign *in)
{
    struct buf text;
    char length[24] = "";

    if (in->body_bytes > 0)
        (void)snprintf(length, sizeof length, "%zu", in->body_bytes);
    buf_init(&text, TEXT_BYTES_MAX);
    /* encoding, language, length, MD5, type, date, four conditions, range */
    buf_appendf(&text, "%s\n\n\n%s\n%s\n%s\n\n\n\n\n\n%s\n", in->method, length,
                in->content_md5 != NULL ? in->content_md5 : "",
                in->content_type != NULL ? in->content_type : "",
                in->range != NULL ? in->range : "");
    for (const char *const *line = in->ms_headers; *line != NULL; line++)
        buf_appendf(&text, "%s\n", *line);
    buf_appendf(&text, "/%s%s", in->account, in->path);
    append_query(&text, in->query);
    const char *ret = buf_err(&text) == ERR_OK ? arena_str(a, buf_slice(&text)) : NULL;
    buf_release(&text);
    return ret;
}

enum err azure_sign(struct arena *a, const struct azure_sign *in, const char **ret)
{
    const char *text = azure_sign_text(a, in);
    uint8_t digest[DIGEST_BYTES];
    struct buf key, signature;

    if (text == NULL)
        return arena_err(a) != ERR_OK ? arena_err(a) : ERR_LIMIT;
    buf_init(&key, KEY_BYTES_MAX);
    buf_init(&signature, 64);
    enum err e = digest_base64_decode(slice_str(in->key), &key);
    if (e == ERR_OK)
        e = digest_hmac_sha256(buf_slice(&key), slice_str(text), digest);
    if (e == ERR_OK) {
        digest_base64((struct slice){digest, sizeof digest}, false, &signature);
        e = buf_err(&signature);
    }
    if (e == ERR_OK) {
        *ret = arena_printf(a, "SharedKey %s:" SLICE_FMT, in->account,
                            SLICE_ARG(buf_slice(&signature)));
        e = arena_err(a);
    }
    if (key.len > 0)
        explicit_bzero(key.ptr, key.len);
    buf_release(&key);
    buf_release(&signature);
    return e;
}
