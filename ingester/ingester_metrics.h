/*
 * ingester_metrics.h - the ingester's series: Tempo's names (contract.md 5.4, 5.6) and vivace_*.
 */
#ifndef VIVACE_INGESTER_METRICS_H
#define VIVACE_INGESTER_METRICS_H

#include "common/obs/metrics.h"

struct ingester_metrics {
    struct metric_family *traces_created, *live_traces, *live_trace_bytes, *bytes_received,
        *replay_errors, *refused, *push_errors;
    struct metric_cell *blocks_flushed, *failed_flushes, *flush_retries, *flush_duration,
        *flush_size, *flush_queue;
    struct metric_cell *retention_deleted, *retention_marked, *retention_errors,
        *retention_duration;
    struct metric_family *compaction_blocks, *compaction_objects, *compaction_bytes,
        *compaction_combined;                                        /* level */
    struct metric_family *compaction_deduped;                        /* replication_factor */
    struct metric_family *compaction_outstanding, *blocklist_length; /* tenant */
    struct metric_cell *compaction_errors, *compaction_read_bytes, *compaction_flags_cleared;
    struct metric_cell *wal_sync_seconds, *wal_group_frames, *wal_bytes, *wal_appended, *wal_torn,
        *wal_bad, *wal_quarantined, *wal_replayed, *wal_failures;
    struct metric_cell *duplicates, *copies, *truncated, *head_bytes, *store_away, *damaged,
        *memory_waits;
};
struct ingester_tenant_metrics {
    struct metric_cell *traces_created, *live_traces, *live_trace_bytes, *bytes_received,
        *replay_errors;
};

void ingester_metrics_init(struct ingester_metrics *m);
void ingester_metrics_tenant(struct ingester_metrics *m, const char *tenant,
                             struct ingester_tenant_metrics *ret);

#endif
