#include "common/store/block_inspect.h"
#include "common/tool/tool.h"

#include <stdio.h>

enum { PROGRESS_BYTES = 64 << 20, PLACE_BYTES = 600 };

struct verification { /* of one block */
    struct tool *t;
    const struct tool_block *at;
    char first[PLACE_BYTES]; /* the first damage */
    uint64_t damages, told;  /* told: bytes when progress was last shown */
    unsigned number, of;
};

static void found(void *arg, const char *place, enum err e)
{
    struct verification *v = arg;

    if (v->damages++ == 0)
        (void)snprintf(v->first, sizeof v->first, "%s (%s)", place, err_name(e));
    if (v->t->options.is_json) {
        struct json_out *j = &v->t->json;
        json_out_begin_object(j);
        json_out_key(j, "tenant");
        json_out_cstring(j, v->at->tenant);
        json_out_key(j, "id");
        json_out_cstring(j, v->at->id);
        json_out_key(j, "place");
        json_out_cstring(j, place);
        json_out_key(j, "error");
        json_out_cstring(j, err_name(e));
        json_out_end_object(j);
    } else {
        buf_appendf(&v->t->out, "DAMAGED   %s/%s: %s (%s)\n", v->at->tenant, v->at->id, place,
                    err_name(e));
    }
}

static void progress(void *arg, uint64_t done, uint64_t total)
{
    struct verification *v = arg;

    if (done - v->told < PROGRESS_BYTES)
        return;
    v->told = done;
    tool_out_progress(v->t, "block %u of %u: %.0f%%", v->number, v->of,
                      100.0 * (double)done / (double)total);
}

/* The copy of the footer's words that queriers plan by. */
static void check_meta(struct verification *v, const struct block_meta *footer)
{
    struct block_meta m;
    enum err e = tool_block_meta(v->t, v->at, &m);

    if (e != ERR_OK) {
        found(v, "meta.json", e);
        return;
    }
    if (strcmp(m.id, footer->id) != 0 || strcmp(m.tenant, footer->tenant) != 0 ||
        strcmp(m.writer, footer->writer) != 0 || m.lsn_lo != footer->lsn_lo ||
        m.lsn_hi != footer->lsn_hi || m.min_start_ns != footer->min_start_ns ||
        m.max_end_ns != footer->max_end_ns || m.span_count != footer->span_count ||
        m.trace_count != footer->trace_count || m.bytes != footer->bytes ||
        m.flagged_count != footer->flagged_count || m.group_count != footer->group_count)
        found(v, "meta.json does not say what the block says", ERR_CORRUPT);
    if (strcmp(footer->id, v->at->id) != 0 || strcmp(footer->tenant, v->at->tenant) != 0)
        found(v, "the block is of another name or tenant", ERR_CORRUPT);
}

/* ERR_OK also for a damaged block: `v` knows. */
static enum err check_block(struct verification *v, struct block_verify_result *result)
{
    struct block_verify_hooks hooks = {found, progress, v};
    struct tool *t = v->t;
    struct block *b = NULL;
    enum err e = tool_block_open(t, v->at, &b);

    if (e == ERR_CORRUPT || e == ERR_NOT_FOUND) {
        found(v, e == ERR_CORRUPT ? "footer" : "data.vvb is missing", e);
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    check_meta(v, block_meta(b));
    e = block_verify(b, &t->memory, &hooks, result);
    block_unref(b);
    return e == ERR_CORRUPT ? ERR_OK : e;
}

static enum err put_away(struct verification *v)
{
    struct backend *b = v->t->backend;
    enum err e = b->ops->quarantine(b, v->at->tenant, v->at->id, v->first);

    if (e != ERR_OK)
        return err_detail_set(&v->t->detail, e, "%s/%s can not be moved to the quarantine (%s)",
                              v->at->tenant, v->at->id, err_name(e));
    if (!v->t->options.is_json)
        buf_appendf(&v->t->out, "MOVED     %s/%s is in the quarantine\n", v->at->tenant, v->at->id);
    return ERR_OK;
}

static enum err verify_one(struct tool *t, const struct tool_block *at, unsigned number,
                           unsigned of, bool *ret_is_damaged)
{
    struct verification v = {.t = t, .at = at, .number = number, .of = of};
    struct block_verify_result result = {0};
    enum err e = check_block(&v, &result);

    if (e != ERR_OK)
        return e;
    *ret_is_damaged = v.damages != 0;
    if (v.damages == 0 && !t->options.is_json)
        buf_appendf(&t->out, "SOUND     %s/%s: %llu pages, %llu spans, %llu traces\n", at->tenant,
                    at->id, (unsigned long long)result.pages, (unsigned long long)result.spans,
                    (unsigned long long)result.traces);
    return v.damages != 0 && t->options.is_quarantine ? put_away(&v) : ERR_OK;
}

/* The blocks that are named, or all. */
static enum err chosen(struct tool *t, struct tool_block **ret)
{
    struct tool_block **end = ret;
    const char *word;

    if (tool_operand(t, 0) == NULL)
        return tool_blocks(t, ret);
    for (unsigned i = 0; (word = tool_operand(t, i)) != NULL; i++) {
        struct tool_block *b = ARENA_NEW(&t->arena, struct tool_block);
        if (b == NULL)
            return arena_err(&t->arena);
        enum err e = tool_block_of(t, word, b);
        if (e != ERR_OK)
            return e;
        b->next = NULL;
        *end = b;
        end = &b->next;
    }
    return ERR_OK;
}

enum err tool_verify(struct tool *t)
{
    struct tool_block *all = NULL;
    unsigned count = 0, damaged = 0, number = 0;
    enum err e = tool_store(t);

    if (e == ERR_OK)
        e = chosen(t, &all);
    if (e != ERR_OK)
        return e;
    for (const struct tool_block *b = all; b != NULL; b = b->next)
        count++;
    if (t->options.is_json)
        json_out_begin_array(&t->json);
    for (; e == ERR_OK && all != NULL; all = all->next) {
        bool is_damaged = false;
        tool_out_progress(t, "block %u of %u", ++number, count);
        e = verify_one(t, all, number, count, &is_damaged);
        damaged += is_damaged;
        if (e == ERR_OK)
            e = tool_out_flush(t, false);
    }
    tool_out_progress(t, "%s", "");
    if (t->options.is_json) {
        json_out_end_array(&t->json);
        buf_append_byte(&t->out, '\n');
    }
    if (e == ERR_OK && damaged != 0)
        return err_detail_set(&t->detail, ERR_CORRUPT, "%u of %u blocks are damaged", damaged,
                              count);
    return e;
}
