#include "common/base/crc32c.h"
#include "common/base/reader.h"
#include "common/store/wal_priv.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const uint8_t header_magic[8] = {'V', 'W', 'A', 'L', '1', '\r', '\n', 0};

_Static_assert(8 + 4 + 4 + 8 + WAL_INSTANCE_BYTES_MAX + 1 + 4 + 4 == WAL_HEADER_BYTES, "header");
_Static_assert(8 + 8 + WAL_BATCH_ID_BYTES + 4 + 4 == WAL_FIXED_BYTES, "frame");

void wal_format_header(const struct wal_header *h, uint8_t ret[WAL_HEADER_BYTES])
{
    assert(h != NULL);
    memset(ret, 0, WAL_HEADER_BYTES);
    memcpy(ret, header_magic, sizeof header_magic);
    le32_write(ret + 8, h->version);
    le32_write(ret + 12, h->tag);
    le64_write(ret + 16, h->first_lsn);
    memcpy(ret + 24, h->instance, sizeof h->instance);
    le32_write(ret + 92, crc32c((struct slice){ret, 92}));
}

enum err wal_format_header_read(const uint8_t bytes[WAL_HEADER_BYTES], struct wal_header *ret)
{
    assert(ret != NULL);
    if (memcmp(bytes, header_magic, sizeof header_magic) != 0)
        return ERR_CORRUPT;
    if (le32_read(bytes + 92) != crc32c((struct slice){bytes, 92}))
        return ERR_CORRUPT;
    ret->version = le32_read(bytes + 8);
    ret->tag = le32_read(bytes + 12);
    ret->first_lsn = le64_read(bytes + 16);
    memcpy(ret->instance, bytes + 24, sizeof ret->instance);
    ret->instance[WAL_INSTANCE_BYTES_MAX] = 0;
    if (ret->version != WAL_VERSION)
        return ERR_UNSUPPORTED;
    return ret->first_lsn == 0 ? ERR_CORRUPT : ERR_OK;
}

uint32_t wal_format_crc(uint32_t length, uint32_t tag, struct slice body)
{
    uint8_t words[8];

    le32_write(words, length);
    le32_write(words + 4, tag);
    return crc32c_extend(crc32c((struct slice){words, sizeof words}), body);
}

size_t wal_format_frame_bytes(const struct wal_frame *f)
{
    return (size_t)WAL_PREFIX_BYTES + WAL_FIXED_BYTES + f->tenant.len + f->first_target.len +
           f->payload.len;
}

static void copy_slice(uint8_t *to, struct slice s)
{
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
}

size_t wal_format_frame_head(const struct wal_frame *f, uint32_t tag, uint8_t *ret)
{
    assert(f->tenant.len <= WAL_TENANT_BYTES_MAX);
    assert(f->first_target.len <= WAL_TARGET_BYTES_MAX);
    uint32_t length = (uint32_t)(wal_format_frame_bytes(f) - WAL_PREFIX_BYTES);
    uint8_t *body = ret + WAL_PREFIX_BYTES;

    le64_write(body, f->lsn);
    le64_write(body + 8, (uint64_t)f->received_ns);
    memcpy(body + 16, f->batch_id, WAL_BATCH_ID_BYTES);
    le32_write(body + 32, f->part);
    body[36] = f->kind;
    body[37] = f->flags;
    body[38] = (uint8_t)f->tenant.len;
    body[39] = (uint8_t)f->first_target.len;
    copy_slice(body + WAL_FIXED_BYTES, f->tenant);
    copy_slice(body + WAL_FIXED_BYTES + f->tenant.len, f->first_target);
    size_t head_bytes = WAL_FIXED_BYTES + f->tenant.len + f->first_target.len;
    uint32_t crc = wal_format_crc(length, tag, (struct slice){body, head_bytes});

    le32_write(ret, WAL_FRAME_MAGIC);
    le32_write(ret + 4, length);
    le32_write(ret + 8, crc32c_extend(crc, f->payload));
    le32_write(ret + 12, tag);
    return WAL_PREFIX_BYTES + head_bytes;
}

enum err wal_format_frame_read(struct slice bytes, struct wal_frame *ret)
{
    assert(ret != NULL);
    struct reader r = reader_of(bytes);
    uint32_t magic = reader_le32(&r);
    uint32_t length = reader_le32(&r);
    uint32_t crc = reader_le32(&r);
    uint32_t tag = reader_le32(&r);

    if (reader_failed(&r) || magic != WAL_FRAME_MAGIC || length != reader_left(&r))
        return ERR_CORRUPT;
    if (crc != wal_format_crc(length, tag, slice_sub(bytes, WAL_PREFIX_BYTES, bytes.len)))
        return ERR_CORRUPT;
    struct wal_frame f = {.lsn = reader_le64(&r), .received_ns = (int64_t)reader_le64(&r)};
    struct slice batch = reader_take(&r, WAL_BATCH_ID_BYTES);
    f.part = reader_le32(&r);
    f.kind = reader_u8(&r);
    f.flags = reader_u8(&r);
    uint8_t tenant_len = reader_u8(&r), target_len = reader_u8(&r);
    f.tenant = reader_take(&r, tenant_len);
    f.first_target = reader_take(&r, target_len);
    if (reader_failed(&r) || tenant_len > WAL_TENANT_BYTES_MAX || f.lsn == 0)
        return ERR_CORRUPT;
    f.payload = reader_take(&r, reader_left(&r));
    memcpy(f.batch_id, batch.ptr, WAL_BATCH_ID_BYTES);
    *ret = f;
    return ERR_OK;
}

void wal_format_name(uint64_t first_lsn, char ret[WAL_NAME_BYTES])
{
    (void)snprintf(ret, WAL_NAME_BYTES, "%016llx.wal", (unsigned long long)first_lsn);
}

void wal_format_list_release(struct wal_files *files)
{
    free(files->items);
    *files = (struct wal_files){0};
}

enum err wal_format_list_add(struct wal_files *files, const struct wal_file *f)
{
    if (files->count == files->cap) {
        uint32_t cap = files->cap == 0 ? 16 : files->cap * 2;
        struct wal_file *items = realloc(files->items, cap * sizeof *items);

        if (items == NULL)
            return ERR_NOMEM;
        files->items = items;
        files->cap = cap;
    }
    files->items[files->count++] = *f;
    return ERR_OK;
}

/* "00000000000000ff.wal", lower case, nothing else. */
static bool name_parse(const char *name, uint64_t *ret_lsn)
{
    uint64_t v = 0;

    if (strlen(name) != 20 || strcmp(name + 16, ".wal") != 0)
        return false;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret_lsn = v;
    return v != 0;
}

struct lister {
    const char *dir;
    struct wal_files *files;
};

static enum err list_entry(void *arg, const char *name)
{
    struct lister *l = arg;
    struct wal_file f = {0};
    struct wal_header h;
    uint8_t bytes[WAL_HEADER_BYTES];
    char path[4096];
    struct stat st;

    if (!name_parse(name, &f.first_lsn))
        return ERR_OK;
    memcpy(f.name, name, 21);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", l->dir, name) >= sizeof path)
        return ERR_TOO_LARGE;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    enum err e = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? ERR_OK : ERR_IO;
    f.bytes = e == ERR_OK ? (uint64_t)st.st_size : 0;
    if (e == ERR_OK && f.bytes >= WAL_HEADER_BYTES) {
        enum err he = fs_pread_exact(fd, bytes, sizeof bytes, 0);
        f.is_unknown = he != ERR_OK;
        if (he == ERR_OK)
            he = wal_format_header_read(bytes, &h);
        if (he == ERR_UNSUPPORTED)
            e = he;
        if (he == ERR_OK) {
            f.has_header = true;
            f.first_lsn = h.first_lsn;
            f.tag = h.tag;
        }
    }
    fs_close(&fd);
    return e != ERR_OK ? e : wal_format_list_add(l->files, &f);
}

static int file_cmp(const void *pa, const void *pb)
{
    const struct wal_file *a = pa, *b = pb;

    if (a->first_lsn != b->first_lsn)
        return a->first_lsn < b->first_lsn ? -1 : 1;
    return strcmp(a->name, b->name);
}

enum err wal_format_list(const char *dir, struct wal_files *ret)
{
    assert(dir != NULL);
    struct wal_files files = {0};
    struct lister l = {dir, &files};
    enum err e = fs_list(dir, list_entry, &l);

    if (e != ERR_OK) {
        wal_format_list_release(&files);
        return e;
    }
    if (files.count > 1)
        qsort(files.items, files.count, sizeof *files.items, file_cmp);
    *ret = files;
    return ERR_OK;
}
