#include "ingester/ingester_metrics.h"

static const double sync_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                     0.1,    0.25,  0.5,    1,     2.5,  5};
static const double group_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};
static const double flush_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
static const double size_bounds[] = {1 << 20,  2 << 20,  4 << 20,   8 << 20,   16 << 20,
                                     32 << 20, 64 << 20, 128 << 20, 256 << 20, 512 << 20};

static struct metric_cell *counter(const char *name, const char *help)
{
    return metric_cell0(metrics_counter(name, "", help));
}

static struct metric_cell *gauge(const char *name, const char *help)
{
    return metric_cell0(metrics_gauge(name, "", help));
}

static const double retention_bounds[] = {0.25, 0.5, 1, 2, 4, 8};

#define HISTOGRAM(name, help, bounds) \
    metric_cell0(                     \
        metrics_histogram((name), "", (help), (bounds), sizeof(bounds) / sizeof((bounds)[0])))

/* Of the compact thread. */
static void init_compaction(struct ingester_metrics *m)
{
    m->retention_deleted = counter("tempodb_retention_deleted_total",
                                   "Blocks removed because they are older than the retention.");
    m->retention_errors = counter("tempodb_retention_errors_total",
                                  "Blocks that the retention could not look at or remove.");
    m->retention_marked =
        counter("tempodb_retention_marked_for_deletion_total",
                "Blocks found to be older than the retention, or merged into others.");
    m->retention_duration = HISTOGRAM("tempodb_retention_duration_seconds",
                                      "Time of looking for blocks to remove.", retention_bounds);
    m->compaction_blocks = metrics_counter("tempodb_compaction_blocks_total", "level",
                                           "Blocks merged into others, by their level.");
    m->compaction_objects = metrics_counter("tempodb_compaction_objects_written_total", "level",
                                            "Traces written by merges.");
    m->compaction_bytes = metrics_counter("tempodb_compaction_bytes_written_total", "level",
                                          "Bytes written by merges.");
    m->compaction_combined = metrics_counter("tempodb_compaction_objects_combined_total", "level",
                                             "Traces joined out of several blocks.");
    m->compaction_deduped =
        metrics_counter("tempodb_compaction_spans_combined_total", "replication_factor",
                        "Spans left out because an equal one was there.");
    m->compaction_outstanding =
        metrics_gauge("tempodb_compaction_outstanding_blocks", "tenant",
                      "Blocks that are not merged yet, those of open windows too.");
    m->blocklist_length = metrics_gauge("tempodb_blocklist_length", "tenant", "Blocks.");
    m->compaction_errors =
        counter("tempodb_compaction_errors_total", "Merges that could not be done.");
    m->compaction_read_bytes =
        counter("vivace_compaction_read_bytes_total", "Bytes read by merges.");
    m->compaction_flags_cleared = counter("vivace_compaction_flags_cleared_total",
                                          "Traces found whole, or lacking what will not come.");
}

void ingester_metrics_init(struct ingester_metrics *m)
{
    *m = (struct ingester_metrics){
        .traces_created = metrics_counter("tempo_ingester_traces_created_total", "tenant",
                                          "Traces begun, per tenant."),
        .live_traces = metrics_gauge("tempo_ingester_live_traces", "tenant",
                                     "Traces that are not in a block yet."),
        .live_trace_bytes = metrics_gauge("tempo_ingester_live_trace_bytes", "tenant",
                                          "OTLP bytes of traces that are not in a block yet."),
        .bytes_received = metrics_counter("tempo_ingester_bytes_received_total", "tenant,data_type",
                                          "OTLP bytes received."),
        .replay_errors = metrics_counter("tempo_ingester_replay_errors_total", "tenant",
                                         "Frames of the log that could not be replayed."),
        .refused = metrics_counter("vivace_ingester_spans_refused_total", "tenant,reason",
                                   "Spans refused for good."),
        .push_errors = metrics_counter("vivace_ingester_push_errors_total", "reason",
                                       "Pushes answered with an error."),
        .blocks_flushed = counter("tempo_ingester_blocks_flushed_total", "Blocks published."),
        .failed_flushes = counter("tempo_ingester_failed_flushes_total",
                                  "Blocks that could not be written or published."),
        .flush_retries =
            counter("tempo_ingester_flush_retries_total", "Further attempts at blocks."),
        .flush_duration = HISTOGRAM("tempo_ingester_flush_duration_seconds",
                                    "Time to write and publish a block.", flush_bounds),
        .flush_size = HISTOGRAM("tempo_ingester_flush_size_bytes", "Bytes of a published block.",
                                size_bounds),
        .flush_queue = gauge("tempo_ingester_flush_queue_length",
                             "Generations of heads that wait to become blocks."),
        .wal_sync_seconds =
            HISTOGRAM("vivace_wal_fsync_seconds", "Time of one sync of the log.", sync_bounds),
        .wal_group_frames =
            HISTOGRAM("vivace_wal_group_frames", "Frames made durable by one sync.", group_bounds),
        .wal_bytes = gauge("vivace_wal_bytes", "Bytes of the log's files."),
        .wal_appended =
            counter("vivace_wal_appended_bytes_total", "Payload bytes appended to the log."),
        .wal_torn =
            counter("vivace_wal_torn_bytes_total", "Bytes of torn tails that were cut at a start."),
        .wal_bad = counter("vivace_wal_bad_frames_total", "Damaged places found in the log."),
        .wal_quarantined =
            counter("vivace_wal_quarantined_files_total", "Damaged files kept in quarantine."),
        .wal_replayed =
            counter("vivace_wal_replayed_frames_total", "Frames replayed at the start."),
        .wal_failures =
            counter("vivace_wal_failures_total", "Groups that could not be made durable."),
        .duplicates = counter("vivace_ingester_duplicate_pushes_total",
                              "Pushes that were here already, by batch id."),
        .copies = counter("vivace_ingester_duplicate_spans_total",
                          "Spans left out because an equal one is here."),
        .truncated = counter("vivace_ingester_truncated_attributes_total",
                             "Attributes cut to max_attribute_bytes."),
        .head_bytes =
            gauge("vivace_ingester_head_bytes", "Memory of spans that are not in a block yet."),
        .damaged =
            gauge("vivace_damaged_blocks",
                  "Blocks in the store that can not be read: vivace-store verify tells why."),
        .store_away = gauge("vivace_ingester_store_away",
                            "1: started without the store, and waits for it to publish blocks."),
        .memory_waits = counter("vivace_ingester_memory_waits_total",
                                "Times that a durable push waited for memory."),
    };
    init_compaction(m);
}

void ingester_metrics_tenant(struct ingester_metrics *m, const char *tenant,
                             struct ingester_tenant_metrics *ret)
{
    *ret = (struct ingester_tenant_metrics){
        .traces_created = metric_cell1(m->traces_created, tenant),
        .live_traces = metric_cell1(m->live_traces, tenant),
        .live_trace_bytes = metric_cell1(m->live_trace_bytes, tenant),
        .bytes_received = metric_cell2(m->bytes_received, tenant, "trace"),
        .replay_errors = metric_cell1(m->replay_errors, tenant),
    };
}
