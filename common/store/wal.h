/*
 * wal.h - write-ahead log: framed, checksummed, versioned records in segment files; an append is durable when wal_sync has returned.
 *
 * Shape:   <dir>/<first lsn, 16 hex digits>.wal: header, then frames; the byte-level format is in common/store/README.md ("WAL v1").
 *          A frame has a log sequence number (lsn), one up from the frame before it, across files.
 * Threads: one owner.
 * Damage:  a torn tail of the last file is cut silently and counted; damage elsewhere: the file is copied to <dir>/quarantine, the frames that can
 *          be read are given, the rest is counted.  Nothing is deleted.
 */
#ifndef VIVACE_STORE_WAL_H
#define VIVACE_STORE_WAL_H

#include "common/base/err.h"
#include "common/base/slice.h"

enum { WAL_TENANT_BYTES_MAX = 150, WAL_BATCH_ID_BYTES = 16 };
enum { WAL_FLAG_DOUBT = 1, WAL_FLAG_SECONDARY = 2, WAL_FLAG_CARRIED = 4 };
enum wal_kind { WAL_SPANS = 1 /* payload: routed OTLP request bytes */ };

struct wal_frame {
    uint64_t lsn;
    uint8_t kind, flags;
    uint8_t batch_id[WAL_BATCH_ID_BYTES]; /* design 2a: (batch id, part) names what a request put here */
    uint32_t part;
    int64_t received_ns;
    struct slice tenant, first_target; /* first_target: the instance asked first, when DOUBT */
    struct slice payload;
};

struct wal;
struct wal_options {
    uint64_t segment_bytes_max; /* a new file after this (64 MiB) */
    const struct wal_io *io;    /* NULL: the real one; tests inject faults */
};
struct wal_io { /* the file calls the log makes, so that tests can fail or forget them */
    int (*open)(const char *path, int flags, unsigned mode);
    enum err (*pwritev)(int fd, void *iov, int iov_count, uint64_t offset);
    enum err (*sync)(int fd);
    enum err (*sync_dir)(const char *dir);
};

/* Calls `frame` for every readable frame with lsn > after, in order, streaming (one frame in memory); stops at the first error it returns. */
typedef enum err wal_frame_fn(void *arg, const struct wal_frame *f);
struct wal_replay_result {
    uint64_t frames, bytes, torn_bytes, bad_frames, quarantined_files, last_lsn;
};
MUST_CHECK enum err wal_replay(const char *dir, uint64_t after, wal_frame_fn *frame, void *arg, struct wal_replay_result *ret);

/* Opens for append after a replay; the next frame gets lsn next_lsn, in a new file. */
MUST_CHECK enum err wal_open(const char *dir, uint64_t next_lsn, const struct wal_options *options, struct wal **ret);
/* Appends a group of frames with one write; fills in their lsn.  Not durable yet.  Errors: ERR_IO, ERR_FULL: nothing of the group counts;
 * the file is abandoned and the next append starts a new one. */
MUST_CHECK enum err wal_append(struct wal *w, struct wal_frame *frames, uint32_t count);
/* Makes all appends so far durable.  After a failure the file is abandoned, never synced again: the group must not be acknowledged. */
MUST_CHECK enum err wal_sync(struct wal *w);
/* Ends the current file, so that everything up to now can be removed as a whole.  Returns the lsn of the last frame. */
MUST_CHECK enum err wal_rotate(struct wal *w, uint64_t *ret_last_lsn);
/* Removes files whose every frame has lsn <= upto. */
MUST_CHECK enum err wal_trim(struct wal *w, uint64_t upto);
uint64_t wal_bytes(const struct wal *w); /* of all files */
void wal_close(struct wal *w);

#endif
