/* Bytes as a file of the log.  First byte: what to do with the checksums; the rest: the file.  Properties: no crash, a frame that is given is sound,
 * numbers go up, a second replay gives the same, and a log opened after it goes on above.
 * With bit 1 of the first byte: bytes as frames, appended in groups.  Property: just these come back, whatever is in them. */
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
#include "common/base/reader.h"
#include "common/store/wal_priv.h"
#include "common/sys/fs.h"
#include "tests/lib/scratch_dir.h"

#include <assert.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
    uint64_t last_lsn, frames;
    uint32_t crc;
};

static enum err take(void *arg, const struct wal_frame *f)
{
    struct sum *s = arg;

    assert(f->lsn > s->last_lsn);
    assert(f->tenant.len <= WAL_TENANT_BYTES_MAX);
    s->last_lsn = f->lsn;
    s->frames++;
    s->crc = crc32c_extend(s->crc, f->payload);
    s->crc = crc32c_extend(s->crc, f->tenant);
    s->crc = crc32c_extend(s->crc, f->first_target);
    return ERR_OK;
}

/* Makes the checksums right where the lengths allow it, so that the fuzzer gets behind them. */
static void repair(uint8_t *p, size_t len)
{
    if (len < WAL_HEADER_BYTES)
        return;
    le32_write(p + 92, crc32c((struct slice){p, 92}));
    uint32_t tag = le32_read(p + 12);
    for (size_t at = WAL_HEADER_BYTES; len - at >= WAL_PREFIX_BYTES;) {
        uint32_t length = le32_read(p + at + 4);
        if (length > len - at - WAL_PREFIX_BYTES)
            break;
        le32_write(p + at, WAL_FRAME_MAGIC);
        le32_write(p + at + 12, tag);
        le32_write(p + at + 8,
                   wal_format_crc(length, tag, (struct slice){p + at + WAL_PREFIX_BYTES, length}));
        at += WAL_PREFIX_BYTES + length;
    }
}

enum { GROUP_MAX = 8, FRAMES_MAX = 256 };

/* Frames as they were appended, and how many of them have come back. */
struct put {
    struct wal_frame frames[FRAMES_MAX];
    uint32_t count, back;
};

static enum err check_frame(void *arg, const struct wal_frame *f)
{
    struct put *p = arg;

    assert(p->back < p->count);
    const struct wal_frame *o = &p->frames[p->back++];
    assert(f->lsn == o->lsn && f->kind == o->kind && f->flags == o->flags && f->part == o->part);
    assert(f->received_ns == o->received_ns);
    assert(memcmp(f->batch_id, o->batch_id, sizeof o->batch_id) == 0);
    assert(slice_eq(f->tenant, o->tenant) && slice_eq(f->first_target, o->first_target));
    assert(slice_eq(f->payload, o->payload));
    return ERR_OK;
}

static struct slice take_bytes(struct reader *r, size_t max)
{
    size_t len = reader_u8(r) % (max + 1);

    return reader_take(r, len < reader_left(r) ? len : reader_left(r));
}

static void make_frame(struct reader *r, struct wal_frame *ret)
{
    *ret = (struct wal_frame){.kind = WAL_SPANS, .flags = reader_u8(r) & 7};
    ret->part = reader_le32(r);
    ret->received_ns = (int64_t)reader_le64(r);
    memset(ret->batch_id, reader_u8(r), sizeof ret->batch_id);
    ret->tenant = take_bytes(r, WAL_TENANT_BYTES_MAX);
    ret->first_target = take_bytes(r, WAL_TARGET_BYTES_MAX);
    ret->payload = take_bytes(r, 255);
}

static void put_frames(const char *dir, struct slice bytes)
{
    static struct put put;
    struct reader r = reader_of(bytes);
    struct wal_options o = {.segment_bytes_max = 400 + reader_u8(&r) * 8u, .instance_id = "i"};
    struct wal_replay_result result;
    struct wal *w = NULL;
    uint64_t first_lsn = 1u + reader_le16(&r);
    enum err e = wal_open(dir, first_lsn, &o, &w);

    assert(e == ERR_OK);
    put.count = put.back = 0;
    while (reader_left(&r) > 0 && put.count + GROUP_MAX <= FRAMES_MAX) {
        uint32_t n = 1u + reader_u8(&r) % GROUP_MAX;
        for (uint32_t i = 0; i < n; i++)
            make_frame(&r, &put.frames[put.count + i]);
        e = wal_append(w, &put.frames[put.count], n);
        assert(e == ERR_OK);
        put.count += n;
    }
    e = wal_sync(w);
    assert(e == ERR_OK);
    wal_close(w);
    e = wal_replay(dir, 0, check_frame, &put, &result);
    assert(e == ERR_OK && put.back == put.count && result.frames == put.count);
    assert(result.bad_frames == 0 && result.torn_bytes == 0 && result.quarantined_files == 0);
    assert(put.count == 0 || result.last_lsn == put.frames[put.count - 1].lsn);
}

static void read_file(const char *dir, struct slice bytes)
{
    char path[SCRATCH_DIR_BYTES * 2];
    struct wal_replay_result r, again;
    struct sum first = {0}, second = {0};

    scratch_dir_path(dir, "0000000000000001.wal", path);
    scratch_dir_write(path, bytes);
    enum err e = wal_replay(dir, 0, take, &first, &r);
    assert(e == ERR_OK || e == ERR_UNSUPPORTED);
    assert(r.frames == first.frames);
    enum err e2 = wal_replay(dir, 0, take, &second, &again);
    assert(e2 == e && second.frames == first.frames && second.crc == first.crc);
    assert(again.torn_bytes == 0);
    if (e == ERR_OK && r.last_lsn < UINT64_MAX - 10) {
        struct wal *w = NULL;
        struct wal_frame f = {
            .kind = WAL_SPANS, .tenant = SLICE_LIT("t"), .payload = SLICE_LIT("x")};
        struct sum third = {0};

        e = wal_open(dir, r.last_lsn + 1, &(struct wal_options){0}, &w);
        assert(e == ERR_OK);
        e = wal_append(w, &f, 1);
        assert(e == ERR_OK && f.lsn > r.last_lsn);
        e = wal_sync(w);
        assert(e == ERR_OK);
        wal_close(w);
        e = wal_replay(dir, 0, take, &third, &again);
        assert(e == ERR_OK && third.frames == first.frames + 1 && third.last_lsn == f.lsn);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[SCRATCH_DIR_BYTES];
    static uint8_t bytes[1 << 16];

    if (size < 1 || size > sizeof bytes)
        return 0;
    memcpy(bytes, data + 1, size - 1);
    if ((data[0] & 1) != 0)
        repair(bytes, size - 1);
    if (dir[0] == 0)
        scratch_dir_make(dir);
    if ((data[0] & 2) != 0)
        put_frames(dir, (struct slice){bytes, size - 1});
    else
        read_file(dir, (struct slice){bytes, size - 1});
    scratch_dir_remove(dir);
    enum err e = fs_mkdir_all(dir);
    assert(e == ERR_OK);
    return 0;
}
