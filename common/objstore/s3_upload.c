/* S3's uploads in parts. */
#include "common/objstore/s3_priv.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/xml.h"

enum { COMPLETE_BYTES_MAX = 4 << 20, UPLOAD_ID_BYTES = 1024 };

static enum err upload_begin(struct remote_upload *u)
{
    struct remote_request q = {.method = "POST",
                               .key = u->key,
                               .query = "uploads=",
                               .is_write = true,
                               .body_bytes_max = REMOTE_ERROR_BYTES_MAX};
    struct remote_answer a;
    char id[UPLOAD_ID_BYTES];
    enum err e = remote_call(u->remote, &q, &a);

    if (e != ERR_OK)
        return e;
    xml_text(buf_slice(&a.body), "UploadId", id, sizeof id);
    remote_answer_release(&a);
    if (id[0] == '\0')
        return ERR_CORRUPT;
    u->id = s3_sign_encode(&u->arena, slice_str(id), false);
    return arena_err(&u->arena);
}

static enum err upload_part(struct remote_upload *u, unsigned part, struct slice bytes)
{
    struct remote_request q = {
        .method = "PUT",
        .key = u->key,
        .query = arena_printf(&u->arena, "partNumber=%u&uploadId=%s", part + 1, u->id),
        .body = bytes,
        .is_read = true, /* parts carry the key of SSE-C, but nothing else of writes */
        .body_bytes_max = REMOTE_ERROR_BYTES_MAX};
    struct remote_answer a;
    enum err e = q.query == NULL ? arena_err(&u->arena) : ERR_OK;

    if (e == ERR_OK)
        e = remote_call(u->remote, &q, &a);
    if (e != ERR_OK)
        return e;
    memcpy(u->etags[part], a.etag, sizeof u->etags[part]);
    remote_answer_release(&a);
    return u->etags[part][0] != '\0' && strpbrk(u->etags[part], "<&") == NULL ? ERR_OK
                                                                              : ERR_CORRUPT;
}

static enum err upload_complete(struct remote_upload *u)
{
    struct buf body;
    struct remote_answer a;
    char etag[REMOTE_ETAG_BYTES];

    buf_init(&body, COMPLETE_BYTES_MAX);
    buf_append_str(&body, "<CompleteMultipartUpload>");
    for (unsigned i = 0; i < u->part_count; i++)
        buf_appendf(&body, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", i + 1,
                    u->etags[i]);
    buf_append_str(&body, "</CompleteMultipartUpload>");
    struct remote_request q = {.method = "POST",
                               .key = u->key,
                               .query = arena_printf(&u->arena, "uploadId=%s", u->id),
                               .body = buf_slice(&body),
                               .content_type = "application/xml",
                               .is_read = true,
                               .body_bytes_max = REMOTE_ERROR_BYTES_MAX};
    enum err e = q.query == NULL ? arena_err(&u->arena) : buf_err(&body);
    if (e == ERR_OK)
        e = remote_call(u->remote, &q, &a);
    if (e ==
        ERR_OK) { /* a failure may come with status 200: it was found after the first bytes had gone out */
        xml_text(buf_slice(&a.body), "ETag", etag, sizeof etag);
        remote_answer_release(&a);
        e = etag[0] != '\0' ? ERR_OK : ERR_UNAVAILABLE;
    }
    buf_release(&body);
    return e == ERR_OK || e == ERR_NOT_FOUND || e == ERR_UNAVAILABLE ? remote_upload_is_there(u)
                                                                     : e;
}

static void upload_call_off(struct remote_upload *u)
{
    struct remote_request q = {
        .method = "DELETE", .key = u->key, .query = arena_printf(&u->arena, "uploadId=%s", u->id)};
    struct remote_answer a;

    if (q.query != NULL && remote_call(u->remote, &q, &a) == ERR_OK)
        remote_answer_release(&a); /* else the bucket's rule for incomplete uploads removes it */
}

enum err s3_put_file(struct bucket *b, const char *key, const char *path)
{
    static const struct remote_upload_ops ops = {.parts_max = S3_PARTS_MAX,
                                                 .begin = upload_begin,
                                                 .part = upload_part,
                                                 .complete = upload_complete,
                                                 .call_off = upload_call_off};
    struct s3 *s = (struct s3 *)b;

    return remote_put_file(&s->remote, key, path, s->o.part_bytes, &ops);
}
