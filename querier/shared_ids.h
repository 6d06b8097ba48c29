/*
 * shared_ids.h - Zipkin's shared span ids: a server span that has the id of a client span gets an id of its own, only in traces by id.
 *
 * Source:  Tempo's trace-by-id answers (ported there from Jaeger): the new id is the smallest unused number from 1 up, the server span's parent becomes the
 *          shared id, spans whose parent was the shared id (but the client's own) hang below the server span.
 */
#ifndef VIVACE_QUERIER_SHARED_IDS_H
#define VIVACE_QUERIER_SHARED_IDS_H

#include "common/base/arena.h"
#include "common/base/buf.h"

/* `otlp` as it is in *ret when there is nothing to do, else rewritten in the arena. */
MUST_CHECK enum err shared_ids_fix(struct arena *a, struct slice otlp, struct slice *ret);

#endif
