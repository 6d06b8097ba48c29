#include "common/codec/inflate.h"

#define ZLIB_CONST 1 /* zlib.h: input is const */

#include <snappy-c.h>

#include "common/base/crc32c.h"
#include "common/base/reader.h"

#include <assert.h>
#include <ctype.h>
#include <libdeflate.h>
#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

enum {
    STEP_MIN = 16 * 1024,
    ZSTD_WINDOW_LOG_MAX = 25, /* 32 MiB: what the strongest levels of common encoders ask for */
    GZIP_BYTES_MIN = 18,
    SNAPPY_FRAME_OUT_MAX = 65536
};

const struct inflate_limits inflate_limits_default = {
    .out_bytes_max = 64u << 20,
    .free_bytes = 1u << 20,
    .ratio_max = 100,
};

struct output {
    struct buf *buf;
    struct budget *budget;
    size_t max;
    enum inflate_kind kind;
    struct err_detail *detail;
};

bool inflate_kind_of(struct slice name, enum inflate_kind *ret)
{
    static const struct {
        const char *name;
        enum inflate_kind kind;
    } known[] = {{"", INFLATE_IDENTITY},    {"identity", INFLATE_IDENTITY},
                 {"gzip", INFLATE_GZIP},    {"x-gzip", INFLATE_GZIP},
                 {"zstd", INFLATE_ZSTD},    {"zlib", INFLATE_ZLIB},
                 {"deflate", INFLATE_ZLIB}, {"snappy", INFLATE_SNAPPY},
                 {"lz4", INFLATE_LZ4},      {"x-snappy-framed", INFLATE_SNAPPY}};

    for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i].name) != name.len)
            continue;
        size_t n = 0;
        while (n < name.len && tolower(name.ptr[n]) == known[i].name[n])
            n++;
        if (n == name.len) {
            *ret = known[i].kind;
            return true;
        }
    }
    return false;
}

static enum err corrupt(const struct output *o, const char *why)
{
    static const char *const words[] = {"body", "gzip", "zlib", "zstd", "snappy", "lz4"};

    return err_detail_set(o->detail, ERR_FORMAT, "corrupt %s body: %s", words[o->kind], why);
}

static enum err too_large(const struct output *o)
{
    return err_detail_set(o->detail, ERR_TOO_LARGE,
                          "request body too large: over %zu bytes after decompression", o->max);
}

/* Room for at least one more byte, `hint` if it may. */
static enum err make_room(struct output *o, size_t hint)
{
    struct buf *b = o->buf;

    if (b->len == o->max)
        return too_large(o);
    if (b->cap - b->len >= (hint == 0 ? 1 : hint))
        return ERR_OK;
    size_t step = b->cap < STEP_MIN ? STEP_MIN : b->cap; /* doubles */
    size_t cap = hint > step - (b->cap - b->len) ? b->len + hint : b->cap + step;
    if (cap > o->max)
        cap = o->max;
    if (cap <= b->cap)
        return ERR_OK;
    size_t more = cap - b->cap;
    enum err e = budget_take(o->budget, more);
    if (e != ERR_OK)
        return err_detail_set(o->detail, e, "no memory left for decompressing the request");
    uint8_t *ptr = realloc(b->ptr, cap);
    if (ptr == NULL) {
        budget_give(o->budget, more);
        return err_detail_set(o->detail, ERR_NOMEM, "no memory left for decompressing the request");
    }
    b->ptr = ptr;
    b->cap = cap;
    return ERR_OK;
}

static enum err copy_out(struct output *o, struct slice s)
{
    if (s.len > o->max - o->buf->len)
        return too_large(o);
    if (s.len == 0)
        return ERR_OK;
    enum err e = make_room(o, s.len);
    if (e != ERR_OK)
        return e;
    assert(o->buf->cap - o->buf->len >= s.len);
    memcpy(o->buf->ptr + o->buf->len, s.ptr, s.len);
    o->buf->len += s.len;
    return ERR_OK;
}

/* One member whose trailer tells the truth: the common case, at libdeflate's speed.  False: not that; nothing was written. */
static bool gzip_at_once(struct output *o, struct slice body)
{
    if (body.len < GZIP_BYTES_MIN)
        return false;
    size_t size = le32_read(body.ptr + body.len - 4);
    if (size == 0 || size > o->max || make_room(o, size) != ERR_OK)
        return false;
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    if (d == NULL)
        return false;
    size_t used = 0, made = 0;
    enum libdeflate_result r =
        libdeflate_gzip_decompress_ex(d, body.ptr, body.len, o->buf->ptr, size, &used, &made);
    libdeflate_free_decompressor(d);
    if (r != LIBDEFLATE_SUCCESS || used != body.len)
        return false;
    o->buf->len = made;
    return true;
}

static enum err zlib_loop(struct output *o, z_stream *z)
{
    for (;;) {
        enum err e = ERR_OK;
        /* At the limit one byte of a foreign buffer tells "ends exactly here" from "goes on". */
        uint8_t spare;
        bool is_full = o->buf->len == o->max;
        if (!is_full && (e = make_room(o, 0)) != ERR_OK)
            return e;
        uint8_t *at = is_full ? &spare : o->buf->ptr + o->buf->len;
        size_t room = is_full ? 1 : o->buf->cap - o->buf->len;
        z->next_out = at;
        z->avail_out = (uInt)room;
        int r = inflate(z, Z_NO_FLUSH);
        size_t made = room - z->avail_out;
        if (is_full && made > 0)
            return too_large(o);
        o->buf->len += made;
        if (r == Z_STREAM_END) {
            if (z->avail_in == 0)
                return ERR_OK;
            if (o->kind != INFLATE_GZIP)
                return corrupt(o, "bytes after the end");
            if (inflateReset(z) != Z_OK)
                return corrupt(o, "can not begin the next member");
            continue;
        }
        if (r == Z_MEM_ERROR)
            return ERR_NOMEM;
        if (r == Z_OK && (z->avail_in > 0 || z->avail_out == 0))
            continue;
        return corrupt(o, r == Z_OK || r == Z_BUF_ERROR ? "cut"
                          : z->msg != NULL              ? z->msg
                                                        : "bad data");
    }
}

static enum err inflate_zlib(struct output *o, struct slice body)
{
    z_stream z = {0};

    if (body.len > UINT32_MAX || o->max > UINT32_MAX)
        return too_large(o);
    if (inflateInit2(&z, o->kind == INFLATE_GZIP ? 15 + 16 : 15) != Z_OK)
        return ERR_NOMEM;
    z.next_in = body.ptr;
    z.avail_in = (uInt)body.len;
    enum err e = zlib_loop(o, &z);
    (void)inflateEnd(&z); /* can only tell that the stream was not at its end, known already */
    return e;
}

static enum err zstd_loop(struct output *o, ZSTD_DCtx *d, struct slice body)
{
    ZSTD_inBuffer in = {body.ptr, body.len, 0};
    size_t left = 1;

    if (ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
        return ERR_INTERNAL;
    for (;;) {
        enum err e = ERR_OK;
        uint8_t spare;
        bool is_full = o->buf->len == o->max;
        if (!is_full && (e = make_room(o, 0)) != ERR_OK)
            return e;
        ZSTD_outBuffer out = {is_full ? &spare : o->buf->ptr, is_full ? 1 : o->buf->cap,
                              is_full ? 0 : o->buf->len};
        size_t out_before = out.pos, in_before = in.pos;
        left = ZSTD_decompressStream(d, &out, &in);
        if (ZSTD_isError(left))
            return corrupt(o, ZSTD_getErrorName(left));
        if (is_full && out.pos > 0)
            return too_large(o);
        if (!is_full)
            o->buf->len = out.pos;
        if (in.pos == in.size && left == 0)
            return ERR_OK;
        if (in.pos == in_before && out.pos == out_before)
            return corrupt(o, "cut");
    }
}

static enum err inflate_zstd(struct output *o, struct slice body)
{
    unsigned long long size = ZSTD_getFrameContentSize(body.ptr, body.len);
    size_t frame = ZSTD_findFrameCompressedSize(body.ptr, body.len);
    bool is_known = size != ZSTD_CONTENTSIZE_ERROR && size != ZSTD_CONTENTSIZE_UNKNOWN && size > 0;
    enum err e;

    if (is_known && size > o->max)
        return too_large(o);
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (d == NULL)
        return ERR_NOMEM;
    if (is_known && frame == body.len) {
        e = make_room(o, (size_t)size);
        if (e == ERR_OK) {
            size_t made = ZSTD_decompressDCtx(d, o->buf->ptr, (size_t)size, body.ptr, body.len);
            if (ZSTD_isError(made))
                e = corrupt(o, ZSTD_getErrorName(made));
            else
                o->buf->len = made;
        }
    } else {
        e = zstd_loop(o, d, body);
    }
    (void)ZSTD_freeDCtx(d); /* always succeeds */
    return e;
}

static enum err snappy_block(struct output *o, struct slice block, size_t out_max)
{
    size_t size = 0;

    if (snappy_uncompressed_length((const char *)block.ptr, block.len, &size) != SNAPPY_OK)
        return corrupt(o, "no length");
    if (size > out_max)
        return corrupt(o, "chunk over 64 KiB");
    if (size > o->max - o->buf->len)
        return too_large(o);
    if (size == 0)
        return block.len == 1 ? ERR_OK : corrupt(o, "bytes after the end");
    enum err e = make_room(o, size);
    if (e != ERR_OK)
        return e;
    size_t made = size;
    if (snappy_uncompress((const char *)block.ptr, block.len, (char *)o->buf->ptr + o->buf->len,
                          &made) != SNAPPY_OK)
        return corrupt(o, "bad data");
    assert(made == size);
    o->buf->len += made;
    return ERR_OK;
}

static enum err snappy_framed(struct output *o, struct slice body)
{
    enum {
        CHUNK_COMPRESSED = 0,
        CHUNK_PLAIN = 1,
        CHUNK_SKIP_FIRST = 0x80,
        CHUNK_IDENTIFIER = 0xff
    };
    struct reader r = reader_of(body);

    while (!reader_done(&r)) {
        uint32_t head = reader_le32(&r);
        uint8_t type = (uint8_t)head;
        struct slice chunk = reader_take(&r, head >> 8);
        if (reader_failed(&r))
            return corrupt(o, "cut");
        if (type == CHUNK_IDENTIFIER) {
            if (!slice_eq_str(chunk, "sNaPpY"))
                return corrupt(o, "bad stream identifier");
            continue;
        }
        if (type >= CHUNK_SKIP_FIRST)
            continue;
        if (type > CHUNK_PLAIN || chunk.len < 4)
            return corrupt(o, "unknown chunk");
        uint32_t want = le32_read(chunk.ptr);
        struct slice data = slice_sub(chunk, 4, chunk.len);
        size_t before = o->buf->len;
        enum err e =
            type == CHUNK_PLAIN ? copy_out(o, data) : snappy_block(o, data, SNAPPY_FRAME_OUT_MAX);
        if (e != ERR_OK)
            return e;
        uint32_t crc = crc32c((struct slice){o->buf->ptr == NULL ? NULL : o->buf->ptr + before,
                                             o->buf->len - before});
        if ((crc >> 15 | crc << 17) + 0xa282ead8u != want)
            return corrupt(o, "checksum mismatch");
    }
    return ERR_OK;
}

static enum err inflate_lz4(struct output *o, struct slice body)
{
    LZ4F_dctx *d = NULL;
    size_t at = 0, left = 1;
    enum err e = ERR_OK;

    if (LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
        return ERR_NOMEM;
    while (e == ERR_OK && (left != 0 || at < body.len)) {
        uint8_t spare;
        bool is_full = o->buf->len == o->max;
        if (!is_full && (e = make_room(o, 0)) != ERR_OK)
            break;
        size_t made = is_full ? 1 : o->buf->cap - o->buf->len, used = body.len - at;
        left = LZ4F_decompress(d, is_full ? &spare : o->buf->ptr + o->buf->len, &made,
                               body.ptr + at, &used, NULL);
        if (LZ4F_isError(left))
            e = corrupt(o, LZ4F_getErrorName(left));
        else if (is_full && made > 0)
            e = too_large(o);
        else if (made == 0 && used == 0)
            e = corrupt(o, "cut");
        else
            o->buf->len += is_full ? 0 : made;
        at += used;
    }
    (void)LZ4F_freeDecompressionContext(d); /* tells only the state it was in */
    return e;
}

static enum err run(struct output *o, struct slice body)
{
    static const char snappy_head[] = "\xff\x06\0\0sNaPpY";

    switch (o->kind) {
    case INFLATE_IDENTITY: return copy_out(o, body);
    case INFLATE_GZIP: return gzip_at_once(o, body) ? ERR_OK : inflate_zlib(o, body);
    case INFLATE_ZLIB: return inflate_zlib(o, body);
    case INFLATE_ZSTD: return inflate_zstd(o, body);
    case INFLATE_SNAPPY:
        if (slice_has_prefix(body,
                             (struct slice){(const uint8_t *)snappy_head, sizeof snappy_head - 1}))
            return snappy_framed(o, body);
        return snappy_block(o, body, SIZE_MAX);
    case INFLATE_LZ4: return inflate_lz4(o, body);
    default: assert(false); return ERR_INTERNAL;
    }
}

enum err inflate_bytes(enum inflate_kind kind, struct slice body,
                       const struct inflate_limits *limits, struct budget *budget, struct buf *ret,
                       struct err_detail *reterr_detail)
{
    assert(ret->len == 0 && ret->cap == 0);
    assert(limits->ratio_max > 0);
    size_t max = body.len > SIZE_MAX / limits->ratio_max ? SIZE_MAX : body.len * limits->ratio_max;
    if (max < limits->free_bytes)
        max = limits->free_bytes;
    if (max > limits->out_bytes_max)
        max = limits->out_bytes_max;
    if (max > ret->len_max)
        max = ret->len_max;
    struct output o = {
        .buf = ret, .budget = budget, .max = max, .kind = kind, .detail = reterr_detail};
    if (body.len == 0)
        return kind == INFLATE_IDENTITY ? ERR_OK : corrupt(&o, "empty");
    return run(&o, body);
}
