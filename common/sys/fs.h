/*
 * fs.h - files that survive a crash: durable replace, append, directory sync, whole and range reads.
 *
 * Errors:  ERR_IO unless said; errno is kept for the caller's log (fs_errno_err maps ENOSPC to ERR_FULL,
 *          ENOENT to ERR_NOT_FOUND, ENOMEM to ERR_NOMEM, EACCES/EROFS to ERR_FORBIDDEN).
 * Threads: any; all calls block.
 */
#ifndef VIVACE_SYS_FS_H
#define VIVACE_SYS_FS_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/slice.h"

#include <sys/uio.h>

enum err fs_errno_err(int error_number);

MUST_CHECK enum err fs_write_all(int fd, struct slice data); /* short writes and EINTR handled */
MUST_CHECK enum err fs_pwritev_all(int fd, struct iovec *iov, int iov_count,
                                   uint64_t offset); /* changes iov */
MUST_CHECK enum err fs_pread_exact(int fd, void *ret, size_t len,
                                   uint64_t offset); /* ERR_CORRUPT on end of file */
MUST_CHECK enum err fs_sync_data(int fd);            /* fdatasync */
MUST_CHECK enum err fs_sync_dir(int dir_fd);
MUST_CHECK enum err fs_sync_path_dir(const char *dir_path);

/* Whole file into `ret` (appended).  Errors: ERR_NOT_FOUND, ERR_TOO_LARGE over ret->len_max, ERR_IO. */
MUST_CHECK enum err fs_read_file(const char *path, struct buf *ret);
/* Durable replace: write path.tmp, fdatasync, rename over path, sync the directory. */
MUST_CHECK enum err fs_replace(const char *path, struct slice data);
MUST_CHECK enum err
fs_mkdir_all(const char *path); /* like mkdir -p; 0755; syncs the parents it made */
MUST_CHECK enum err fs_remove_tree(const char *path);
MUST_CHECK enum err fs_free_bytes(const char *path, uint64_t *ret_free, uint64_t *ret_total);
/* An exclusive flock on path (made if missing).  The fd keeps the lock.  Errors: ERR_CONFLICT held by another. */
MUST_CHECK enum err fs_lock(const char *path, int *ret_fd);
void fs_close(int *fd); /* sets -1; ignores -1 */

/* Calls `entry` for each name except . and ..; stops at the first error it returns. */
typedef enum err fs_entry_fn(void *arg, const char *name);
MUST_CHECK enum err fs_list(const char *dir_path, fs_entry_fn *entry, void *arg);

#endif
