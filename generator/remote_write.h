/*
 * remote_write.h - one target: a thread that sends the queue's files in order, again and again until the target has them.
 *
 * Source:  Prometheus remote write 1.0: POST, snappy, Content-Type application/x-protobuf, X-Prometheus-Remote-Write-Version 0.1.0.  5xx, 429 and no answer at all are tried
 *          again with back-off (Retry-After respected); other 4xx drop that request, counted.
 * Threads: its own; the queue is shared with the intake thread.
 */
#ifndef VIVACE_GENERATOR_REMOTE_WRITE_H
#define VIVACE_GENERATOR_REMOTE_WRITE_H

#include "common/app/config.h"
#include "generator/send_queue.h"

struct remote_write;

MUST_CHECK enum err remote_write_new(const struct config *c,
                                     const struct config_remote_write *target,
                                     struct send_queue *queue, struct remote_write **ret);
/* Sends what is queued until it is empty or the deadline passes; what is left stays in its files. */
void remote_write_free(struct remote_write *w, int64_t drain_ns);

#endif
