/*
 * engine_legacy.h - the old tags= search.
 *
 * Rules:   every pair must be somewhere in the trace.  Part of the text is enough for name, root.name, root.service.name, service.name,
 *          http.method, http.url, cluster, namespace, pod, container and k8s's four names; http.status_code also meets an int,
 *          status.code is unset, ok or error; all others are the whole string value of a span or resource attribute.
 * Source:  contract.md 1.4; recorded answers (case counts; int, float and bool attributes are never met).
 */
#ifndef VIVACE_QUERY_ENGINE_LEGACY_H
#define VIVACE_QUERY_ENGINE_LEGACY_H

#include "common/query/engine.h"
#include "common/query/eval.h"

/* Marks the traces; all of them when there are no tags. */
MUST_CHECK enum err engine_legacy_traces(struct eval *e, const struct engine_tag *tags,
                                         uint32_t tag_count, uint8_t *trace_mask);

#endif
