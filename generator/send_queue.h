/*
 * send_queue.h - what a remote-write target has not taken yet, in files: survives the target's outage and our restart.
 *
 * Shape:   <dir>/<number, 16 hex digits>.rw: "VRW1", u16 tenant bytes, tenant, then requests as u32 bytes, u32 crc32c, bytes.  Written whole, synced, renamed.
 * Policy:  bounded; when full the oldest file is dropped and counted.
 * Threads: any (a mutex).
 */
#ifndef VIVACE_GENERATOR_SEND_QUEUE_H
#define VIVACE_GENERATOR_SEND_QUEUE_H

#include "common/base/buf.h"

struct send_queue;

MUST_CHECK enum err send_queue_open(const char *dir, uint64_t bytes_max, struct send_queue **ret);
void send_queue_close(struct send_queue *q);

/* A file's content is put together with begin, add ..., then put.  `file` is the caller's buf. */
void send_queue_begin(struct buf *file, struct slice tenant);
void send_queue_add(struct buf *file, struct slice request);
MUST_CHECK enum err send_queue_put(struct send_queue *q,
                                   const struct buf *file); /* durable when it returns */

/* The oldest file, waiting up to timeout_ns for one; false: none, or woken by send_queue_wake. */
bool send_queue_next(struct send_queue *q, int64_t timeout_ns, uint64_t *ret_number,
                     struct buf *ret_file);
void send_queue_done(struct send_queue *q, uint64_t number); /* removes it */
void send_queue_wake(struct send_queue *q);
/* Parses a file: the tenant, then each request (at 0 first).  False at the end or at damage. */
bool send_queue_tenant(struct slice file, struct slice *ret_tenant, size_t *ret_at);
bool send_queue_request(struct slice file, size_t *at, struct slice *ret_request);

struct send_queue_stats {
    uint64_t files, bytes, dropped_files;
};
void send_queue_stats(struct send_queue *q, struct send_queue_stats *ret);

#endif
