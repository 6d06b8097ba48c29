/* Large files in parts: an upload is begun, filled, and becomes the object when it is completed. */
#include "common/objstore/s3_priv.h"
#include "common/objstore/s3_sign.h"
#include "common/objstore/s3_xml.h"
#include "common/sys/fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { COMPLETE_BYTES_MAX = 4 << 20, UPLOAD_ID_BYTES = 1024 };

struct upload {
    struct s3 *s;
    const char *key;
    int fd;
    uint64_t bytes, part_bytes;
    unsigned part_count;
    char (*etags)[S3_ETAG_BYTES]; /* [part_count] */
    struct arena arena;
    const char *id; /* encoded */
};

static enum err upload_begin(struct upload *u)
{
    struct s3_request r = {.method = "POST",
                           .key = u->key,
                           .query = "uploads=",
                           .is_write = true,
                           .body_bytes_max = S3_ERROR_BYTES_MAX};
    struct s3_answer a;
    char id[UPLOAD_ID_BYTES];
    enum err e = s3_call(u->s, &r, &a);

    if (e != ERR_OK)
        return e;
    s3_xml_text(buf_slice(&a.body), "UploadId", id, sizeof id);
    s3_answer_release(&a);
    if (id[0] == '\0')
        return ERR_CORRUPT;
    u->id = s3_sign_encode(&u->arena, slice_str(id), false);
    return arena_err(&u->arena);
}

static enum err upload_part(struct upload *u, unsigned part, uint8_t *scratch)
{
    uint64_t at = part * u->part_bytes, left = u->bytes - at;
    size_t len = (size_t)(left < u->part_bytes ? left : u->part_bytes);
    struct s3_request r = {
        .method = "PUT",
        .key = u->key,
        .query = arena_printf(&u->arena, "partNumber=%u&uploadId=%s", part + 1, u->id),
        .body = {scratch, len},
        .is_read = true, /* parts carry the key of SSE-C, but nothing else of writes */
        .body_bytes_max = S3_ERROR_BYTES_MAX};
    struct s3_answer a;
    enum err e = r.query == NULL ? arena_err(&u->arena) : fs_pread_exact(u->fd, scratch, len, at);

    if (e == ERR_OK)
        e = s3_call(u->s, &r, &a);
    if (e != ERR_OK)
        return e;
    memcpy(u->etags[part], a.etag, sizeof u->etags[part]);
    s3_answer_release(&a);
    return u->etags[part][0] != '\0' && strpbrk(u->etags[part], "<&") == NULL ? ERR_OK
                                                                              : ERR_CORRUPT;
}

/* Completed already, when the answer to an attempt before was lost. */
static enum err upload_is_there(struct upload *u)
{
    uint64_t bytes = 0;
    enum err e = u->s->bucket.ops->head(&u->s->bucket, u->key, &bytes);

    return e == ERR_OK && bytes != u->bytes ? ERR_CORRUPT : e;
}

static enum err upload_complete(struct upload *u)
{
    struct buf body;
    struct s3_answer a;
    char etag[S3_ETAG_BYTES];

    buf_init(&body, COMPLETE_BYTES_MAX);
    buf_append_str(&body, "<CompleteMultipartUpload>");
    for (unsigned i = 0; i < u->part_count; i++)
        buf_appendf(&body, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", i + 1,
                    u->etags[i]);
    buf_append_str(&body, "</CompleteMultipartUpload>");
    struct s3_request r = {.method = "POST",
                           .key = u->key,
                           .query = arena_printf(&u->arena, "uploadId=%s", u->id),
                           .body = buf_slice(&body),
                           .content_type = "application/xml",
                           .is_read = true,
                           .body_bytes_max = S3_ERROR_BYTES_MAX};
    enum err e = r.query == NULL ? arena_err(&u->arena) : buf_err(&body);
    if (e == ERR_OK)
        e = s3_call(u->s, &r, &a);
    if (e ==
        ERR_OK) { /* a failure may come with status 200: it was found after the first bytes had gone out */
        s3_xml_text(buf_slice(&a.body), "ETag", etag, sizeof etag);
        s3_answer_release(&a);
        e = etag[0] != '\0' ? ERR_OK : ERR_UNAVAILABLE;
    }
    buf_release(&body);
    return e == ERR_OK || e == ERR_NOT_FOUND || e == ERR_UNAVAILABLE ? upload_is_there(u) : e;
}

static void upload_call_off(struct upload *u)
{
    struct s3_request r = {
        .method = "DELETE", .key = u->key, .query = arena_printf(&u->arena, "uploadId=%s", u->id)};
    struct s3_answer a;

    if (r.query != NULL && s3_call(u->s, &r, &a) == ERR_OK)
        s3_answer_release(&a); /* else the bucket's rule for incomplete uploads removes it */
}

static enum err upload_parts(struct upload *u)
{
    uint8_t *scratch = malloc(u->part_bytes);
    enum err e = scratch == NULL ? ERR_NOMEM : upload_begin(u);

    for (unsigned i = 0; i < u->part_count && e == ERR_OK; i++)
        e = upload_part(u, i, scratch);
    free(scratch);
    if (e == ERR_OK)
        e = upload_complete(u);
    if (e != ERR_OK && u->id != NULL)
        upload_call_off(u);
    return e;
}

enum err s3_upload_file(struct s3 *s, const char *key, const char *path)
{
    struct upload u = {.s = s, .key = key, .part_bytes = s->o.part_bytes};
    struct stat st;

    u.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (u.fd < 0)
        return ERR_IO;
    enum err e = fstat(u.fd, &st) == 0 ? ERR_OK : ERR_IO;
    if (e == ERR_OK) {
        u.bytes = (uint64_t)st.st_size;
        while (u.bytes / u.part_bytes >= S3_PARTS_MAX)
            u.part_bytes *= 2;
        u.part_count = (unsigned)((u.bytes + u.part_bytes - 1) / u.part_bytes);
        u.etags = calloc(u.part_count, sizeof *u.etags);
        e = u.etags == NULL ? ERR_NOMEM : ERR_OK;
    }
    arena_init(&u.arena, NULL);
    if (e == ERR_OK)
        e = upload_parts(&u);
    arena_release(&u.arena);
    free(u.etags);
    fs_close(&u.fd);
    return e;
}
