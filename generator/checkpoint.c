#include "generator/checkpoint.h"

#include "common/base/crc32c.h"
#include "common/base/reader.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <math.h>

enum { FILE_BYTES_MAX = 1 << 30, HEAD_BYTES = 8 };

static void double_append(struct buf *out, double d)
{
    uint64_t v;
    memcpy(&v, &d, sizeof v);
    buf_append_le64(out, v);
}

static double double_read(struct reader *r)
{
    uint64_t v = reader_le64(r);
    double d;
    memcpy(&d, &v, sizeof d);
    return d;
}

static void section_append(struct buf *out, const struct buf *section)
{
    buf_append_le64(out, section->len);
    buf_append(out, buf_slice(section));
    if (buf_err(section) != ERR_OK)
        out->err = buf_err(section);
}

static enum err entity_save(void *arg, struct series_set *s, struct series_entity *e)
{
    struct buf *out = arg;

    buf_append_le32(out, e->labels_len);
    buf_append(out, (struct slice){e->labels, e->labels_len});
    buf_append_le64(out, (uint64_t)e->updated_ns);
    buf_append_byte(out, e->announced);
    double_append(out, e->counters[0]);
    double_append(out, e->counters[1]);
    for (unsigned h = 0; h < s->histogram_count; h++) {
        double_append(out, e->histograms[h].sum);
        for (unsigned b = 0; b <= s->bound_count; b++)
            buf_append_le64(out, e->histograms[h].buckets[b]);
    }
    return buf_err(out);
}

/* A set: its bounds first, so that values of other buckets are not taken for these. */
static enum err set_save(struct series_set *s, struct buf *out)
{
    buf_append_le32(out, s->bound_count);
    for (unsigned b = 0; b < s->bound_count; b++)
        double_append(out, s->bounds[b]);
    buf_append_le32(out, s->count);
    return series_each(s, entity_save, out);
}

static enum err entity_load(struct reader *r, struct series_set *s)
{
    uint32_t len = reader_le32(r);
    struct slice labels = reader_take(r, len);
    int64_t updated_ns = (int64_t)reader_le64(r);
    uint8_t announced = reader_u8(r);

    if (reader_failed(r))
        return ERR_CORRUPT;
    struct series_entity *e = series_get(s, labels, updated_ns);
    if (e == NULL)
        return ERR_NOMEM;
    e->announced = announced;
    e->counters[0] += double_read(r);
    e->counters[1] += double_read(r);
    for (unsigned h = 0; h < s->histogram_count; h++) {
        e->histograms[h].sum += double_read(r);
        for (unsigned b = 0; b <= s->bound_count; b++) {
            uint64_t n = reader_le64(r);
            e->histograms[h].buckets[b] += n;
            e->histograms[h].count += n;
        }
    }
    return reader_failed(r) ? ERR_CORRUPT : ERR_OK;
}

static enum err set_load(struct series_set *s, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    bool is_same = reader_le32(&r) == s->bound_count;

    for (unsigned b = 0; is_same && b < s->bound_count; b++)
        is_same = double_read(&r) == s->bounds[b];
    if (!is_same)
        return reader_failed(&r) ? ERR_CORRUPT
                                 : ERR_OK; /* other buckets now: the series start anew */
    uint32_t count = reader_le32(&r), count_max = s->count_max;
    enum err e = ERR_OK;
    s->count_max = 0; /* those that are there stay; a lower limit is for new ones */
    for (uint32_t i = 0; i < count && e == ERR_OK; i++)
        e = entity_load(&r, s);
    s->count_max = count_max;
    return e;
}

static enum err tenant_save(struct tenant *t, struct buf *out, struct buf *section)
{
    enum err e = ERR_OK;

    buf_append_le32(out, (uint32_t)strlen(t->name));
    buf_append_str(out, t->name);
    buf_reset(section);
    if (t->has_spans)
        e = set_save(&t->spans.series, section);
    section_append(out, section);
    buf_reset(section);
    if (t->has_graph && e == ERR_OK)
        e = set_save(&t->graph.series, section);
    section_append(out, section);
    buf_reset(section);
    if (t->has_graph)
        service_graph_save(&t->graph, section);
    section_append(out, section);
    return e == ERR_OK ? buf_err(out) : e;
}

enum err checkpoint_save(const char *path, uint64_t lsn, struct tenant *tenants,
                         const struct batches *batches)
{
    struct buf out, section;
    enum err e = ERR_OK;

    buf_init(&out, FILE_BYTES_MAX);
    buf_init(&section, FILE_BYTES_MAX);
    buf_append_str(&out, "VGC1");
    buf_append_le32(&out, 0);
    buf_append_le64(&out, lsn);
    batches_save(batches, &section);
    section_append(&out, &section);
    for (struct tenant *t = tenants; t != NULL && e == ERR_OK; t = t->next)
        e = tenant_save(t, &out, &section);
    if (e == ERR_OK)
        e = buf_err(&out);
    if (e == ERR_OK) {
        struct slice rest = slice_sub(buf_slice(&out), HEAD_BYTES, out.len);
        le32_write(out.ptr + 4, crc32c(rest));
        e = fs_replace(path, buf_slice(&out));
    }
    buf_release(&out);
    buf_release(&section);
    return e;
}

static struct slice section_read(struct reader *r)
{
    uint64_t len = reader_le64(r);

    if (len > reader_left(r)) {
        reader_fail(r);
        return SLICE_NONE;
    }
    return reader_take(r, (size_t)len);
}

static enum err tenant_load(struct reader *r, checkpoint_tenant_fn *tenant, void *arg)
{
    struct tenant *t;
    char name[151];
    uint32_t len = reader_le32(r);
    struct slice text = reader_take(r, len), spans = section_read(r), edges = section_read(r),
                 waiting = section_read(r);

    if (reader_failed(r) || text.len >= sizeof name)
        return ERR_CORRUPT;
    memcpy(name, text.ptr, text.len);
    name[text.len] = '\0';
    enum err e = tenant(arg, name, &t);
    if (e == ERR_OK && t->has_spans && spans.len != 0)
        e = set_load(&t->spans.series, spans);
    if (e == ERR_OK && t->has_graph && edges.len != 0)
        e = set_load(&t->graph.series, edges);
    if (e == ERR_OK && t->has_graph && waiting.len != 0)
        e = service_graph_load(&t->graph, waiting);
    return e;
}

enum err checkpoint_load(const char *path, uint64_t *ret_lsn, checkpoint_tenant_fn *tenant,
                         void *arg, struct batches *batches)
{
    struct buf file;

    buf_init(&file, FILE_BYTES_MAX);
    enum err e = fs_read_file(path, &file);
    struct reader r = reader_of(buf_slice(&file));
    struct slice magic = reader_take(&r, 4);
    uint32_t crc = reader_le32(&r);
    if (e == ERR_OK && (reader_failed(&r) || !slice_eq(magic, SLICE_LIT("VGC1")) ||
                        crc32c((struct slice){r.at, reader_left(&r)}) != crc))
        e = ERR_CORRUPT;
    uint64_t lsn = reader_le64(&r);
    struct slice ids = section_read(&r);
    if (e == ERR_OK)
        e = reader_failed(&r) ? ERR_CORRUPT : batches_load(batches, ids);
    while (e == ERR_OK && !reader_done(&r))
        e = tenant_load(&r, tenant, arg);
    if (e == ERR_OK)
        *ret_lsn = lsn;
    buf_release(&file);
    return e;
}

enum err checkpoint_save_tenant(struct tenant *t, struct buf *out)
{
    struct buf section;

    buf_init(&section, FILE_BYTES_MAX);
    enum err e = tenant_save(t, out, &section);
    buf_release(&section);
    return e;
}

static enum err this_tenant(void *arg, const char *name, struct tenant **ret)
{
    struct tenant *t = arg;

    assert(strcmp(t->name, name) == 0);
    *ret = t;
    return ERR_OK;
}

enum err checkpoint_load_tenant(struct tenant *t, struct slice saved)
{
    struct reader r = reader_of(saved);

    return tenant_load(&r, this_tenant, t);
}
