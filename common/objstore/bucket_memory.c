#include "common/base/map.h"
#include "common/objstore/bucket.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { OBJECT_BYTES_MAX = 1 << 30 };

struct memory_entry {
    char key[BUCKET_KEY_BYTES_MAX + 1];
    uint8_t *ptr;
    size_t len;
    uint64_t version; /* stands for the etag */
    UT_hash_handle hh;
};

struct bucket_memory {
    struct bucket bucket; /* first */
    struct mutex lock;    /* the fields below */
    struct memory_entry *entries;
    uint64_t version;
};

static struct bucket_memory *memory_of(struct bucket *b)
{
    assert(b != NULL);
    return (struct bucket_memory *)b;
}

static void memory_drop(struct bucket_memory *m, struct memory_entry *e)
{
    HASH_DEL(m->entries, e);
    free(e->ptr);
    free(e);
}

/* Takes the bytes. */
static enum err memory_store(struct bucket_memory *m, const char *key, uint8_t *ptr, size_t len)
{
    struct memory_entry *old, *e = calloc(1, sizeof *e);

    if (e == NULL || strlen(key) > BUCKET_KEY_BYTES_MAX) {
        free(ptr);
        free(e);
        return e == NULL ? ERR_NOMEM : ERR_TOO_LARGE;
    }
    memcpy(e->key, key, strlen(key) + 1);
    e->ptr = ptr;
    e->len = len;
    mutex_lock(&m->lock);
    HASH_FIND_STR(m->entries, key, old);
    if (old != NULL)
        memory_drop(m, old);
    e->version = ++m->version;
    HASH_ADD_STR(m->entries, key, e);
    bool is_in = e->hh.tbl != NULL;
    mutex_unlock(&m->lock);
    if (!is_in) {
        free(ptr);
        free(e);
    }
    return is_in ? ERR_OK : ERR_NOMEM;
}

static enum err memory_put(struct bucket *b, const char *key, struct slice bytes)
{
    uint8_t *copy = malloc(bytes.len + 1);

    if (copy == NULL)
        return ERR_NOMEM;
    if (bytes.len > 0)
        memcpy(copy, bytes.ptr, bytes.len);
    return memory_store(memory_of(b), key, copy, bytes.len);
}

static enum err memory_put_file(struct bucket *b, const char *key, const char *path)
{
    struct buf bytes;
    size_t len;

    buf_init(&bytes, OBJECT_BYTES_MAX);
    enum err e = fs_read_file(path, &bytes);
    if (e != ERR_OK) {
        buf_release(&bytes);
        return e;
    }
    uint8_t *ptr = buf_take(&bytes, &len);
    return memory_store(memory_of(b), key, ptr, len);
}

static enum err memory_get(struct bucket *b, const char *key, uint64_t offset, void *ret,
                           size_t len)
{
    struct bucket_memory *m = memory_of(b);
    struct memory_entry *e;
    enum err err = ERR_NOT_FOUND;

    mutex_lock(&m->lock);
    HASH_FIND_STR(m->entries, key, e);
    if (e != NULL)
        err = offset > e->len || len > e->len - offset ? ERR_CORRUPT : ERR_OK;
    if (err == ERR_OK && len > 0)
        memcpy(ret, e->ptr + offset, len);
    mutex_unlock(&m->lock);
    return err;
}

static enum err memory_get_all(struct bucket *b, const char *key, struct buf *ret)
{
    struct bucket_memory *m = memory_of(b);
    struct memory_entry *e;
    enum err err = ERR_NOT_FOUND;

    mutex_lock(&m->lock);
    HASH_FIND_STR(m->entries, key, e);
    if (e != NULL) {
        buf_append(ret, (struct slice){e->ptr, e->len});
        err = buf_err(ret);
    }
    mutex_unlock(&m->lock);
    return err;
}

static enum err memory_head(struct bucket *b, const char *key, uint64_t *ret_bytes)
{
    struct bucket_memory *m = memory_of(b);
    struct memory_entry *e;

    mutex_lock(&m->lock);
    HASH_FIND_STR(m->entries, key, e);
    if (e != NULL)
        *ret_bytes = e->len;
    mutex_unlock(&m->lock);
    return e != NULL ? ERR_OK : ERR_NOT_FOUND;
}

struct memory_listed {
    char key[BUCKET_KEY_BYTES_MAX + 1], etag[24];
    uint64_t bytes;
};

static int listed_cmp(const void *a, const void *b)
{
    const struct memory_listed *x = a, *y = b;

    return strcmp(x->key, y->key);
}

/* A copy of what begins with the prefix, in order: `fn` may change the bucket. */
static enum err memory_snapshot(struct bucket_memory *m, const char *prefix, bool is_deep,
                                struct memory_listed **ret, size_t *ret_count)
{
    struct memory_entry *e, *next;
    size_t n = 0, len = strlen(prefix);

    mutex_lock(&m->lock);
    struct memory_listed *list = calloc(HASH_COUNT(m->entries) + 1, sizeof *list);
    HASH_ITER (hh, m->entries, e, next) {
        if (list == NULL || strncmp(e->key, prefix, len) != 0)
            continue;
        const char *slash = is_deep ? NULL : strchr(e->key + len, '/');
        struct memory_listed *to = &list[n++];
        if (slash != NULL) {
            memcpy(to->key, e->key, (size_t)(slash - e->key) + 1);
        } else {
            memcpy(to->key, e->key, sizeof to->key);
            (void)snprintf(to->etag, sizeof to->etag, "%llu", (unsigned long long)e->version);
            to->bytes = e->len;
        }
    }
    mutex_unlock(&m->lock);
    if (list == NULL)
        return ERR_NOMEM;
    if (n > 1)
        qsort(list, n, sizeof *list, listed_cmp);
    *ret = list;
    *ret_count = n;
    return ERR_OK;
}

static enum err memory_list(struct bucket *b, const char *prefix, bool is_deep, bucket_entry_fn *fn,
                            void *arg)
{
    struct memory_listed *list = NULL;
    size_t count = 0;
    enum err e = memory_snapshot(memory_of(b), prefix, is_deep, &list, &count);

    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        struct bucket_entry entry = {list[i].key, list[i].bytes, list[i].etag};
        if (i == 0 || strcmp(list[i].key, list[i - 1].key) != 0)
            e = fn(arg, &entry);
    }
    free(list);
    return e;
}

static enum err memory_remove(struct bucket *b, const char *key)
{
    struct bucket_memory *m = memory_of(b);
    struct memory_entry *e;

    mutex_lock(&m->lock);
    HASH_FIND_STR(m->entries, key, e);
    if (e != NULL)
        memory_drop(m, e);
    mutex_unlock(&m->lock);
    return ERR_OK;
}

static void memory_free(struct bucket *b)
{
    struct bucket_memory *m = memory_of(b);
    struct memory_entry *e, *next;

    HASH_ITER (hh, m->entries, e, next)
        memory_drop(m, e);
    mutex_release(&m->lock);
    free(m);
}

static const struct bucket_ops memory_ops = {.put = memory_put,
                                             .put_file = memory_put_file,
                                             .get = memory_get,
                                             .get_all = memory_get_all,
                                             .head = memory_head,
                                             .list = memory_list,
                                             .remove = memory_remove,
                                             .free = memory_free};

enum err bucket_memory_new(struct bucket **ret)
{
    struct bucket_memory *m = calloc(1, sizeof *m);

    if (m == NULL)
        return ERR_NOMEM;
    m->bucket.ops = &memory_ops;
    mutex_init(&m->lock);
    *ret = &m->bucket;
    return ERR_OK;
}
