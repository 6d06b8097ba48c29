#include "querier/messages.h"

#include "common/base/clock.h"
#include "common/codec/otlp_write.h"
#include "common/codec/pb_field.h"

static void id_write(struct buf *out, uint32_t field, const struct trace_id *id)
{
    pb_bytes(out, field, (struct slice){id->b, TRACE_ID_BYTES});
}

void messages_trace_request(struct buf *out, struct slice tenant, const struct trace_id *ids,
                            uint32_t id_count)
{
    pb_bytes(out, 1, tenant);
    for (uint32_t i = 0; i < id_count; i++)
        id_write(out, 2, &ids[i]);
}

void messages_search_request(struct buf *out, struct slice tenant, struct slice query,
                             const struct engine_query *q, int64_t timeout_ns)
{
    pb_bytes(out, 1, tenant);
    pb_bytes(out, 2, query);
    for (uint32_t i = 0; i < q->tag_count; i++) {
        size_t mark = pb_begin(out, 3);
        pb_bytes(out, 1, q->tags[i].key);
        pb_bytes(out, 2, q->tags[i].value);
        pb_end(out, mark);
    }
    pb_fixed64(out, 4, q->start_ns);
    pb_fixed64(out, 5, q->end_ns);
    pb_varint(out, 6, q->limit);
    pb_varint(out, 7, q->spans_per_spanset);
    pb_fixed64(out, 8, q->min_duration_ns);
    pb_fixed64(out, 9, q->max_duration_ns);
    for (uint32_t i = 0; i < q->exclude_count; i++)
        id_write(out, 10, &q->exclude[i]);
    pb_varint(out, 11, (uint64_t)(timeout_ns / NS_PER_MS));
}

void messages_flagged_request(struct buf *out, struct slice tenant, uint64_t start_ns,
                              uint64_t end_ns)
{
    pb_bytes(out, 1, tenant);
    pb_fixed64(out, 2, start_ns);
    pb_fixed64(out, 3, end_ns);
}

void messages_tag_names_request(struct buf *out, struct slice tenant, struct slice filter,
                                uint64_t start_ns, uint64_t end_ns)
{
    pb_bytes(out, 1, tenant);
    pb_bytes(out, 2, filter);
    pb_fixed64(out, 3, start_ns);
    pb_fixed64(out, 4, end_ns);
}

void messages_tag_values_request(struct buf *out, struct slice tenant, struct slice tag,
                                 bool any_scope, struct slice filter, uint64_t start_ns,
                                 uint64_t end_ns, uint32_t limit)
{
    pb_bytes(out, 1, tenant);
    pb_bytes(out, 2, tag);
    pb_varint(out, 3, any_scope);
    pb_bytes(out, 4, filter);
    pb_fixed64(out, 5, start_ns);
    pb_fixed64(out, 6, end_ns);
    pb_varint(out, 7, limit);
}

void messages_metrics_request(struct buf *out, struct slice tenant, struct slice query,
                              const struct metrics_window *w, uint32_t exemplars,
                              const struct trace_id *exclude, uint32_t exclude_count,
                              int64_t timeout_ns)
{
    pb_bytes(out, 1, tenant);
    pb_bytes(out, 2, query);
    pb_fixed64(out, 3, w->first_ns);
    pb_fixed64(out, 4, w->step_ns);
    pb_varint(out, 5, w->count);
    pb_varint(out, 6, exemplars);
    for (uint32_t i = 0; i < exclude_count; i++)
        id_write(out, 7, &exclude[i]);
    pb_varint(out, 8, (uint64_t)(timeout_ns / NS_PER_MS));
}

enum err messages_repeated(struct arena *a, struct slice answer, uint32_t field, struct slice **ret,
                           uint32_t *ret_count)
{
    struct reader r = reader_of(answer);
    struct pb_field f;
    struct slice *list;
    uint32_t count = 0, n = 0;

    while (pb_field_next(&r, &f))
        count += f.number == field;
    if (reader_failed(&r))
        return ERR_CORRUPT;
    list = ARENA_ARRAY(a, struct slice, count);
    if (list == NULL)
        return arena_err(a);
    r = reader_of(answer);
    while (n < count && pb_field_next(&r, &f))
        if (f.number == field)
            list[n++] = f.bytes;
    *ret = list;
    *ret_count = n;
    return ERR_OK;
}

enum err messages_coverage(struct arena *a, struct slice answer, uint32_t field,
                           struct blocks_coverage *ret)
{
    struct blocks_coverage c = {.is_known = true};
    struct slice *found;
    struct pb_field f;
    uint32_t count;

    enum err e = messages_repeated(a, answer, field, &found, &count);
    if (e != ERR_OK)
        return e;
    if (count == 0)
        return ERR_CORRUPT;
    struct reader r = reader_of(found[0]);
    while (pb_field_next(&r, &f)) {
        if (f.number == 1)
            c.instance_id = f.bytes;
        if (f.number == 2)
            c.published_lsn = f.value;
        if (f.number == 4)
            c.is_replaying = f.value != 0;
    }
    if (reader_failed(&r))
        return ERR_CORRUPT;
    e = messages_repeated(a, found[0], 3, &c.recent, &c.recent_count);
    if (e == ERR_OK)
        *ret = c;
    return e;
}
