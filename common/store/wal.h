/*
 * wal.h - write-ahead log: framed, checksummed, versioned records in segment files; an append is durable when wal_sync has returned.
 *
 * Shape:   <dir>/<first lsn, 16 hex digits>.wal: header, then frames; the byte-level format is in common/store/WAL.md.
 *          A frame has a log sequence number (lsn), one up from the frame before it, across files.
 * Threads: one owner.
 * Damage:  a torn tail of the last file is cut silently and counted; damage elsewhere: the file is copied to <dir>/quarantine, the frames that can
 *          be read are given, the rest is counted.  Nothing is deleted.
 */
#ifndef VIVACE_STORE_WAL_H
#define VIVACE_STORE_WAL_H

#include "common/base/err.h"
#include "common/base/slice.h"

enum {
    WAL_TENANT_BYTES_MAX = 150,
    WAL_TARGET_BYTES_MAX = 255,
    WAL_BATCH_ID_BYTES = 16,
    WAL_INSTANCE_BYTES_MAX = 63,
    WAL_VERSION = 1
};
enum {
    WAL_FRAME_BYTES_MAX = 72 << 20,
    WAL_GROUP_MAX = 4096
}; /* a frame with its header; frames of one append */
enum { WAL_FLAG_DOUBT = 1, WAL_FLAG_SECONDARY = 2, WAL_FLAG_CARRIED = 4 };
enum wal_kind { WAL_SPANS = 1 /* payload: routed OTLP request bytes */ };

struct wal_frame {
    uint64_t lsn;
    uint8_t kind, flags;
    uint8_t batch_id
        [WAL_BATCH_ID_BYTES]; /* design 2a: (batch id, part) names what a request put here */
    uint32_t part;
    int64_t received_ns;
    struct slice tenant, first_target; /* first_target: the instance asked first, when DOUBT */
    struct slice payload;
};

struct wal;
struct wal_options {
    uint64_t segment_bytes_max; /* a new file after this (64 MiB) */
    const struct wal_io *io;    /* NULL: the real one; tests inject faults */
    const char *instance_id;    /* written into the header of each file; may be NULL */
};
struct wal_io { /* the file calls the log makes, so that tests can fail or forget them */
    int (*open)(const char *path, int flags, unsigned mode);
    enum err (*pwritev)(int fd, void *iov, int iov_count, uint64_t offset);
    enum err (*sync)(int fd);
    enum err (*sync_dir)(const char *dir);
    enum err (*truncate)(int fd,
                         uint64_t bytes); /* best effort: takes back what a failed group wrote */
};
extern const struct wal_io wal_io_system;

/* Calls `frame` for every readable frame with lsn > after, in order, streaming (one frame in memory); stops at the first error it returns. */
typedef enum err wal_frame_fn(void *arg, const struct wal_frame *f);
struct wal_replay_result {
    uint64_t frames, bytes, torn_bytes, bad_frames, quarantined_files,
        last_lsn;       /* last_lsn: no frame of the log has a higher one */
    uint64_t first_lsn; /* of the oldest file; 0 when there is none */
};
/* Errors: ERR_UNSUPPORTED a file of a newer version (nothing is given), ERR_IO, ERR_NOMEM, what `frame` returns.  *ret is written always. */
MUST_CHECK enum err wal_replay(const char *dir, uint64_t after, wal_frame_fn *frame, void *arg,
                               struct wal_replay_result *ret);
/* The two halves of wal_replay, for a reader that replays while new frames are appended: wal_replay_tail cuts the torn tail of the last file and
 * finds last_lsn; wal_replay_range gives frames with after < lsn <= upto and writes nothing but quarantine copies. */
MUST_CHECK enum err wal_replay_tail(const char *dir, struct wal_replay_result *ret);
MUST_CHECK enum err wal_replay_range(const char *dir, uint64_t after, uint64_t upto,
                                     wal_frame_fn *frame, void *arg, struct wal_replay_result *ret);

/* Only looks: nothing is cut, copied or moved, and the log may be in use.  Tells where frames and damage lie; a torn tail of the last file is
 * no damage, only counted.  The frame lives during the call. */
struct wal_look_hooks {
    enum err (*frame)(void *arg, const char *file, uint64_t offset, const struct wal_frame *f);
    void (*damage)(void *arg, const char *file, uint64_t offset, uint64_t bytes, const char *what);
    void *arg;
};
MUST_CHECK enum err wal_look(const char *dir, const struct wal_look_hooks *hooks,
                             struct wal_replay_result *ret);
/* A reader gives a frame up: it is kept as <dir>/quarantine/frame-<lsn>.wal, a log file of this one frame, durable when this returns. */
MUST_CHECK enum err wal_save_frame(const char *dir, const struct wal_frame *f);
uint64_t wal_saved_lsn(const char *name); /* of such a file's name; 0: it is none */

/* Opens for append after a replay; the next frame gets lsn next_lsn (or higher: a number is never used twice), in a new file. */
MUST_CHECK enum err wal_open(const char *dir, uint64_t next_lsn, const struct wal_options *options,
                             struct wal **ret);
/* Appends a group of frames with one write; fills in their lsn.  Not durable yet.  At most WAL_GROUP_MAX frames.
 * Errors: ERR_TOO_LARGE (nothing written), ERR_IO, ERR_FULL, ERR_NOMEM: nothing of the group counts; the file is abandoned, the next append starts a new
 * one, and the numbers of the group are not used again. */
MUST_CHECK enum err wal_append(struct wal *w, struct wal_frame *frames, uint32_t count);
/* Makes all appends so far durable.  After a failure the file is abandoned, never synced again: the group must not be acknowledged. */
MUST_CHECK enum err wal_sync(struct wal *w);
/* Ends the current file, so that everything up to now can be removed as a whole.  Returns the lsn of the last frame. */
MUST_CHECK enum err wal_rotate(struct wal *w, uint64_t *ret_last_lsn);
/* Removes files whose every frame has lsn <= upto.  The newest file stays, or an empty one in its place: its name keeps the count of lsns. */
MUST_CHECK enum err wal_trim(struct wal *w, uint64_t upto);
uint64_t wal_bytes(const struct wal *w); /* of all files */
void wal_close(struct wal *w);

#endif
