#include "common/query/engine_legacy.h"

#include "common/base/num.h"

#include <assert.h>

enum where {
    ANY_ATTRIBUTE,
    SPAN_PART,
    RESOURCE_PART,
    INTRINSIC_PART,
    STATUS_CODE_INT,
    STATUS_WORD
};

static const struct special {
    const char *key;
    enum where where;
    enum ql_intrinsic intrinsic;
} SPECIAL[] = {
    {"name", INTRINSIC_PART, QL_I_NAME},
    {"root.name", INTRINSIC_PART, QL_I_ROOT_NAME},
    {"root.service.name", INTRINSIC_PART, QL_I_ROOT_SERVICE},
    {"service.name", RESOURCE_PART, QL_I_NONE},
    {"cluster", RESOURCE_PART, QL_I_NONE},
    {"namespace", RESOURCE_PART, QL_I_NONE},
    {"pod", RESOURCE_PART, QL_I_NONE},
    {"container", RESOURCE_PART, QL_I_NONE},
    {"k8s.cluster.name", RESOURCE_PART, QL_I_NONE},
    {"k8s.namespace.name", RESOURCE_PART, QL_I_NONE},
    {"k8s.pod.name", RESOURCE_PART, QL_I_NONE},
    {"k8s.container.name", RESOURCE_PART, QL_I_NONE},
    {"http.method", SPAN_PART, QL_I_NONE},
    {"http.url", SPAN_PART, QL_I_NONE},
    {"http.status_code", STATUS_CODE_INT, QL_I_NONE},
    {"status.code", STATUS_WORD, QL_I_STATUS},
};

static bool has_part(struct slice text, struct slice part)
{
    return part.len == 0 ||
           (text.len >= part.len && memmem(text.ptr, text.len, part.ptr, part.len) != NULL);
}

struct part {
    struct slice value;
};

static bool is_part(void *arg, struct value v)
{
    const struct part *p = arg;

    if (v.type == VALUE_STRING)
        return has_part(v.s, p->value);
    for (uint32_t i = 0; v.type == VALUE_STRING_ARRAY && i < v.array.count; i++)
        if (has_part(v.array.items[i].s, p->value))
            return true;
    return false;
}

/* Rows with a string that has the value in it: dictionaries once, other sources row by row. */
static enum err mark_part(struct eval *e, struct eval_source *src, struct slice value,
                          uint8_t *mask)
{
    struct part p = {value};

    if (src->kind != EVAL_CODES) {
        for (uint32_t r = 0; r < src->rows; r++)
            mask[r] = eval_value_each(e, src, r, is_part, &p);
        return ERR_OK;
    }
    uint8_t *table = ARENA_ARRAY(e->a, uint8_t, src->text_count);
    if (table == NULL)
        return arena_err(e->a);
    for (uint32_t i = 0; i < src->text_count; i++)
        table[i] = has_part(src->text[i], value);
    for (uint32_t r = 0; r < src->rows; r++)
        mask[r] = table[src->codes[r]];
    return ERR_OK;
}

/* Rows of a source's table as traces. */
static void mark_traces(const struct eval *e, uint32_t table, const uint8_t *mask,
                        uint8_t *trace_mask)
{
    const struct seg_fixed *f = &e->fixed;

    for (uint32_t t = 0; mask != NULL && table == EVAL_TRACE && t < e->rows[EVAL_TRACE]; t++)
        trace_mask[t] |= mask[t];
    for (uint32_t r = 0; mask != NULL && table != EVAL_TRACE && r < e->rows[SEG_SPAN]; r++)
        trace_mask[f->trace[r]] |= mask[table == SEG_RESOURCE ? f->resource[r] : r];
}

static enum err source_part(struct eval *e, struct eval_source *src, struct slice value,
                            uint8_t *trace_mask)
{
    uint8_t *mask = NULL;
    enum err err = eval_mask_get(e, src->table, &mask);

    if (err == ERR_OK)
        err = mark_part(e, src, value, mask);
    if (err != ERR_OK)
        return err;
    mark_traces(e, src->table, mask, trace_mask);
    eval_mask_put(e, src->table, mask);
    return ERR_OK;
}

static enum err source_equal(struct eval *e, struct eval_source *src, struct value value,
                             uint8_t *trace_mask)
{
    struct eval_pred pred = {.op = QL_EQ, .value = value, .is_strict = true};
    uint8_t *mask = NULL;
    enum err err = eval_atom_compare(e, src, &pred, &mask);

    if (err != ERR_OK)
        return err;
    mark_traces(e, src->table, mask, trace_mask);
    eval_mask_put(e, src->table, mask);
    return ERR_OK;
}

static enum err attribute_equal(struct eval *e, struct slice key, enum ql_scope scope,
                                struct value value, uint8_t *trace_mask)
{
    struct ql_attribute at = {.scope = scope, .name = key};
    struct eval_source *src = NULL;
    enum err err = eval_bind_source(e, &at, scope, &src);

    return err != ERR_OK ? err : source_equal(e, src, value, trace_mask);
}

static enum err tag_traces(struct eval *e, const struct engine_tag *tag, uint8_t *trace_mask)
{
    struct special found = {.where = ANY_ATTRIBUTE};
    struct eval_source *src = NULL;
    int64_t code;
    enum err err;

    for (size_t i = 0; i < sizeof SPECIAL / sizeof SPECIAL[0]; i++)
        if (slice_eq_str(tag->key, SPECIAL[i].key))
            found = SPECIAL[i];
    if (found.where == STATUS_WORD) {
        for (code = STATUS_UNSET;
             code <= STATUS_ERROR && !slice_eq_str(tag->value, value_status_name(code));)
            code++;
        struct ql_attribute status = {.intrinsic = QL_I_STATUS};
        err = eval_bind_source(e, &status, QL_SCOPE_NONE, &src);
        return err != ERR_OK ? err : source_equal(e, src, value_status(code), trace_mask);
    }
    if (found.where == ANY_ATTRIBUTE || found.where == STATUS_CODE_INT) {
        err = attribute_equal(e, tag->key, QL_SCOPE_SPAN, value_string(tag->value), trace_mask);
        if (err == ERR_OK)
            err = attribute_equal(e, tag->key, QL_SCOPE_RESOURCE, value_string(tag->value),
                                  trace_mask);
        if (err == ERR_OK && found.where == STATUS_CODE_INT &&
            num_parse_i64(tag->value, &code) == ERR_OK)
            err = attribute_equal(e, tag->key, QL_SCOPE_SPAN, value_int(code), trace_mask);
        return err;
    }
    struct ql_attribute at = {.intrinsic = found.intrinsic, .name = tag->key};
    at.scope = found.where == RESOURCE_PART ? QL_SCOPE_RESOURCE
               : found.where == SPAN_PART   ? QL_SCOPE_SPAN
                                            : QL_SCOPE_NONE;
    err = eval_bind_source(e, &at, at.scope, &src);
    return err != ERR_OK ? err : source_part(e, src, tag->value, trace_mask);
}

enum err engine_legacy_traces(struct eval *e, const struct engine_tag *tags, uint32_t tag_count,
                              uint8_t *trace_mask)
{
    uint32_t traces = e->rows[EVAL_TRACE];
    uint8_t *one = NULL;
    enum err err = eval_mask_get(e, EVAL_TRACE, &one);

    memset(trace_mask, 1, traces);
    if (err == ERR_OK)
        err = eval_fixed(e, SEG_F_TRACE | SEG_F_RESOURCE);
    for (uint32_t i = 0; err == ERR_OK && i < tag_count; i++) {
        memset(one, 0, traces);
        err = tag_traces(e, &tags[i], one);
        for (uint32_t t = 0; t < traces; t++)
            trace_mask[t] &= one[t];
    }
    eval_mask_put(e, EVAL_TRACE, one);
    return err;
}
