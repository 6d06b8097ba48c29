#include "common/codec/gzip.h"

#include <ctype.h>
#include <libdeflate.h>

enum { GZIP_LEVEL = 4 };

static struct slice trimmed(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = slice_sub(s, 1, s.len);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* The part before `mark`; *rest is what comes after it. */
static struct slice cut(struct slice s, uint8_t mark, struct slice *rest)
{
    const uint8_t *at = s.len > 0 ? memchr(s.ptr, mark, s.len) : NULL;
    size_t len = at == NULL ? s.len : (size_t)(at - s.ptr);

    *rest = slice_sub(s, at == NULL ? s.len : len + 1, s.len);
    return trimmed(slice_sub(s, 0, len));
}

static bool is_gzip(struct slice name)
{
    static const char want[] = "gzip";

    if (name.len != sizeof want - 1)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (tolower(name.ptr[i]) != want[i])
            return false;
    return true;
}

/* q=0, q=0.0 and so on. */
static bool is_refused(struct slice parameters)
{
    while (parameters.len > 0) {
        struct slice one = cut(parameters, ';', &parameters);
        if (one.len < 3 || (one.ptr[0] != 'q' && one.ptr[0] != 'Q') || one.ptr[1] != '=')
            continue;
        for (size_t i = 2; i < one.len; i++)
            if (one.ptr[i] != '0' && one.ptr[i] != '.')
                return false;
        return true;
    }
    return false;
}

bool gzip_is_accepted(struct slice accept_encoding)
{
    while (accept_encoding.len > 0) {
        struct slice parameters, one = cut(accept_encoding, ',', &accept_encoding);
        if (is_gzip(cut(one, ';', &parameters)))
            return !is_refused(parameters);
    }
    return false;
}

enum err gzip_bytes(struct slice bytes, struct buf *out)
{
    struct libdeflate_compressor *c = libdeflate_alloc_compressor(GZIP_LEVEL);

    if (c == NULL)
        return ERR_NOMEM;
    size_t before = out->len, bound = libdeflate_gzip_compress_bound(c, bytes.len);
    uint8_t *to = buf_extend(out, bound);
    if (to != NULL)
        out->len = before + libdeflate_gzip_compress(c, bytes.ptr, bytes.len, to, bound);
    libdeflate_free_compressor(c);
    return buf_err(out);
}
