#include "common/obs/metrics.h"

#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/obs/metrics_priv.h"

#include <assert.h>

enum { COLLECTORS_MAX = 64, KEY_BYTES_MAX = METRICS_LABELS_MAX * (METRICS_LABEL_BYTES_MAX + 2) };

struct metrics_registry metrics_registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct collector {
    metrics_collect_fn *fn;
    void *arg;
};

static struct collector collectors[COLLECTORS_MAX]; /* under the registry's lock */
static unsigned collector_count;

static void registry_lock(void)
{
    int rc = pthread_mutex_lock(&metrics_registry.lock);

    assert(rc == 0);
    (void)rc;
}

static void registry_unlock(void)
{
    int rc = pthread_mutex_unlock(&metrics_registry.lock);

    assert(rc == 0);
    (void)rc;
}

static void *must_alloc(size_t count, size_t bytes)
{
    void *p = calloc(count, bytes);

    if (p == NULL)
        abort(); /* start-up only, as the header says */
    return p;
}

static char *must_copy(struct slice s)
{
    char *copy = must_alloc(1, s.len + 1);

    if (s.len != 0)
        memcpy(copy, s.ptr, s.len);
    return copy;
}

static bool is_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
        if (!is_letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return s.len != 0;
}

static unsigned key_hash(const uint8_t *key, size_t len)
{
    /* Not the seeded hash: cells are made before the seed is set.  METRICS_CELLS_MAX bounds any chain. */
    return (unsigned)hash_plain((struct slice){key, len});
}

/* A cell that is in no table yet; NULL when memory is out. */
static struct metric_cell *cell_new(struct metric_family *f, const uint8_t *key, size_t key_bytes)
{
    struct metric_cell *c = calloc(1, sizeof *c + key_bytes);

    if (c == NULL)
        return NULL;
    if (f->kind == METRIC_HISTOGRAM) {
        c->buckets = calloc(f->bound_count + 1, sizeof *c->buckets);
        if (c->buckets == NULL) {
            free(c);
            return NULL;
        }
    }
    c->family = f;
    c->key_bytes = (uint32_t)key_bytes;
    if (key_bytes != 0)
        memcpy(c->key, key, key_bytes);
    size_t at = 0;
    for (unsigned i = 0; i < f->label_count; i++) {
        c->value_bytes[i] = le16_read(c->key + at);
        at += 2u + c->value_bytes[i];
    }
    assert(at == key_bytes);
    return c;
}

static void cell_free(struct metric_cell *c)
{
    free(c->buckets);
    free(c);
}

static size_t key_write(const struct slice *values, unsigned count, uint8_t key[KEY_BYTES_MAX])
{
    size_t at = 0;

    for (unsigned i = 0; i < count; i++) {
        struct slice v = slice_sub(values[i], 0, METRICS_LABEL_BYTES_MAX);
        le16_write(key + at, (uint16_t)v.len);
        if (v.len != 0)
            memcpy(key + at + 2, v.ptr, v.len);
        at += 2 + v.len;
    }
    return at;
}

static void overflow_add(struct metric_family *f)
{
    struct slice values[METRICS_LABELS_MAX];
    uint8_t key[KEY_BYTES_MAX];

    for (unsigned i = 0; i < f->label_count; i++)
        values[i] = SLICE_LIT("overflow");
    f->overflow = cell_new(f, key, key_write(values, f->label_count, key));
    if (f->overflow == NULL)
        abort();                            /* start-up only */
    f->is_overflowed = f->label_count == 0; /* without labels it is the one cell there is */
}

static struct metric_family *family_new(const char *name, const char *labels, const char *help)
{
    struct metric_family *f = must_alloc(1, sizeof *f);
    struct slice left = slice_str(labels);

    assert(is_name(slice_str(name)));
    f->name = must_copy(slice_str(name));
    f->help = must_copy(slice_str(help));
    while (left.len != 0) {
        const uint8_t *comma = memchr(left.ptr, ',', left.len);
        struct slice label =
            slice_sub(left, 0, comma == NULL ? left.len : (size_t)(comma - left.ptr));
        assert(is_name(label));
        assert(f->label_count < METRICS_LABELS_MAX);
        f->labels[f->label_count++] = must_copy(label);
        left = slice_sub(left, label.len + 1, left.len);
    }
    return f;
}

static struct metric_family *family_get(enum metric_kind kind, const char *name, const char *labels,
                                        const char *help, const double *bounds,
                                        unsigned bound_count)
{
    struct metric_family **at = &metrics_registry.families;

    registry_lock();
    while (*at != NULL && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    struct metric_family *f = *at;
    if (f == NULL || strcmp(f->name, name) != 0) {
        f = family_new(name, labels, help);
        f->kind = kind;
        f->bounds = must_alloc(bound_count + 1, sizeof *f->bounds);
        f->bound_count = bound_count;
        for (unsigned i = 0; i < bound_count; i++) {
            assert(i == 0 || bounds[i] > bounds[i - 1]);
            f->bounds[i] = bounds[i];
        }
        overflow_add(f);
        f->next = *at;
        *at = f;
    }
    assert(f->kind == kind);
    registry_unlock();
    return f;
}

struct metric_family *metrics_counter(const char *name, const char *labels, const char *help)
{
    return family_get(METRIC_COUNTER, name, labels, help, NULL, 0);
}

struct metric_family *metrics_gauge(const char *name, const char *labels, const char *help)
{
    return family_get(METRIC_GAUGE, name, labels, help, NULL, 0);
}

struct metric_family *metrics_histogram(const char *name, const char *labels, const char *help,
                                        const double *bounds, unsigned bound_count)
{
    return family_get(METRIC_HISTOGRAM, name, labels, help, bounds, bound_count);
}

static struct metric_cell *cell_make(struct metric_family *f, const uint8_t *key, size_t key_bytes)
{
    struct metric_cell *c = NULL;

    if (HASH_COUNT(f->cells) < METRICS_CELLS_MAX)
        c = cell_new(f, key, key_bytes);
    if (c != NULL) {
        unsigned hash = key_hash(c->key, key_bytes);
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, f->cells, c->key, key_bytes, hash, c);
        if (c->hh.tbl != NULL) {
            f->is_unsorted = true;
            return c;
        }
        cell_free(c); /* no memory for the table */
    }
    f->is_overflowed = true;
    return f->overflow;
}

struct metric_cell *metric_cell(struct metric_family *f, const struct slice *values, unsigned count)
{
    uint8_t key[KEY_BYTES_MAX];
    struct metric_cell *c = NULL;

    assert(count == f->label_count);
    if (count == 0)
        return f->overflow;
    size_t key_bytes = key_write(values, count, key);
    unsigned hash = key_hash(key, key_bytes);
    registry_lock();
    HASH_FIND_BYHASHVALUE(hh, f->cells, key, key_bytes, hash, c);
    if (c == NULL)
        c = cell_make(f, key, key_bytes);
    registry_unlock();
    return c;
}

struct metric_cell *metric_cell0(struct metric_family *f)
{
    return metric_cell(f, NULL, 0);
}

struct metric_cell *metric_cell1(struct metric_family *f, const char *v0)
{
    return metric_cell(f, &(struct slice){(const uint8_t *)v0, strlen(v0)}, 1);
}

struct metric_cell *metric_cell2(struct metric_family *f, const char *v0, const char *v1)
{
    struct slice values[] = {slice_str(v0), slice_str(v1)};

    return metric_cell(f, values, 2);
}

static double bits_double(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static uint64_t double_bits(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static void bits_add(_Atomic uint64_t *bits, double v)
{
    uint64_t before = atomic_load_explicit(bits, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(bits, &before,
                                                  double_bits(bits_double(before) + v),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void metric_add(struct metric_cell *c, double v)
{
    assert(c->family->kind != METRIC_HISTOGRAM);
    assert(c->family->kind == METRIC_GAUGE || v >= 0);
    bits_add(&c->bits, v);
}

void metric_inc(struct metric_cell *c)
{
    metric_add(c, 1);
}

void metric_set(struct metric_cell *c, double v)
{
    assert(c->family->kind == METRIC_GAUGE);
    atomic_store_explicit(&c->bits, double_bits(v), memory_order_relaxed);
}

void metric_observe(struct metric_cell *c, double v)
{
    const struct metric_family *f = c->family;
    unsigned i = 0;

    assert(f->kind == METRIC_HISTOGRAM);
    while (i < f->bound_count && !(v <= f->bounds[i]))
        i++;
    (void)atomic_fetch_add_explicit(&c->buckets[i], 1, memory_order_relaxed);
    bits_add(&c->bits, v);
}

double metric_value(const struct metric_cell *c)
{
    uint64_t count = 0;

    if (c->family->kind != METRIC_HISTOGRAM)
        return bits_double(atomic_load_explicit(&c->bits, memory_order_relaxed));
    for (unsigned i = 0; i <= c->family->bound_count; i++)
        count += atomic_load_explicit(&c->buckets[i], memory_order_relaxed);
    return (double)count;
}

void metric_cell_drop(struct metric_family *f, struct metric_cell *c)
{
    assert(c->family == f);
    if (c == f->overflow)
        return; /* shared: others may stand on it */
    registry_lock();
    HASH_DEL(f->cells, c);
    registry_unlock();
    cell_free(c);
}

void metrics_on_collect(metrics_collect_fn *fn, void *arg)
{
    registry_lock();
    assert(collector_count < COLLECTORS_MAX);
    collectors[collector_count++] = (struct collector){fn, arg};
    registry_unlock();
}

void metrics_collect(void)
{
    struct collector now[COLLECTORS_MAX];

    metrics_process_collect();
    registry_lock();
    unsigned count = collector_count;
    memcpy(now, collectors, count * sizeof now[0]);
    registry_unlock();
    for (unsigned i = 0; i < count; i++)
        now[i].fn(now[i].arg); /* without the lock: they look cells up */
}
