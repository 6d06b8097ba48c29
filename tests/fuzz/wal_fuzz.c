/* Bytes as a file of the log.  First byte: what to do with the checksums; the rest: the file.  Properties: no crash, a frame that is given is sound,
 * numbers go up, a second replay gives the same, and a log opened after it goes on above. */
#include "common/base/bytes.h"
#include "common/base/crc32c.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[SCRATCH_DIR_BYTES];
    static uint8_t bytes[1 << 16];
    char path[SCRATCH_DIR_BYTES * 2];
    struct wal_replay_result r, again;
    struct sum first = {0}, second = {0};

    if (size < 1 || size > sizeof bytes)
        return 0;
    memcpy(bytes, data + 1, size - 1);
    if ((data[0] & 1) != 0)
        repair(bytes, size - 1);
    if (dir[0] == 0)
        scratch_dir_make(dir);
    scratch_dir_path(dir, "0000000000000001.wal", path);
    scratch_dir_write(path, (struct slice){bytes, size - 1});
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
    scratch_dir_remove(dir);
    e = fs_mkdir_all(dir);
    assert(e == ERR_OK);
    return 0;
}
