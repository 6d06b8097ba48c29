#include "generator/send_queue.h"

#include "common/base/crc32c.h"
#include "common/base/map.h"
#include "common/base/reader.h"
#include "common/sys/fs.h"
#include "common/sys/thread.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 256 * 1024 * 1024, PATH_BYTES = 4096, NAME_DIGITS = 16 };

struct queued {
    struct queued *prev, *next;
    uint64_t number, bytes;
};

struct send_queue {
    char dir[PATH_BYTES - 64];
    uint64_t bytes_max;
    struct mutex lock; /* all below */
    pthread_cond_t changed;
    struct queued *files; /* oldest first */
    uint64_t next_number, bytes, count, dropped;
    bool is_woken;
};

static void path_of(const struct send_queue *q, uint64_t number, char *ret)
{
    (void)snprintf(ret, PATH_BYTES, "%s/%016" PRIx64 ".rw", q->dir, number);
}

static enum err file_enter(struct send_queue *q, uint64_t number, uint64_t bytes)
{
    struct queued *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ERR_NOMEM;
    f->number = number;
    f->bytes = bytes;
    DL_APPEND(q->files, f);
    q->bytes += bytes;
    q->count++;
    if (q->next_number <= number)
        q->next_number = number + 1;
    return ERR_OK;
}

static void file_leave(struct send_queue *q, struct queued *f)
{
    char path[PATH_BYTES];

    path_of(q, f->number, path);
    (void)unlink(path); /* if it stays it is sent again: Prometheus takes equal samples twice */
    DL_DELETE(q->files, f);
    q->bytes -= f->bytes;
    q->count--;
    free(f);
}

static enum err scan_entry(void *arg, const char *name)
{
    struct send_queue *q = arg;
    char path[PATH_BYTES], *end;
    struct stat st;

    uint64_t number = strtoull(name, &end, 16);
    if (end == name + NAME_DIGITS && strcmp(end, ".rw.tmp") == 0) { /* begun before a crash */
        (void)snprintf(path, sizeof path, "%s/%s", q->dir, name);
        (void)unlink(path);
    }
    if (end != name + NAME_DIGITS || strcmp(end, ".rw") != 0)
        return ERR_OK; /* foreign */
    path_of(q, number, path);
    if (stat(path, &st) != 0)
        return ERR_OK;
    return file_enter(q, number, (uint64_t)st.st_size);
}

static int number_cmp(const struct queued *a, const struct queued *b)
{
    return a->number < b->number ? -1 : a->number > b->number;
}

enum err send_queue_open(const char *dir, uint64_t bytes_max, struct send_queue **ret)
{
    struct send_queue *q = calloc(1, sizeof *q);

    if (q == NULL)
        return ERR_NOMEM;
    mutex_init(&q->lock);
    cond_init(&q->changed);
    q->bytes_max = bytes_max;
    int n = snprintf(q->dir, sizeof q->dir, "%s", dir);
    enum err e = n < 0 || (size_t)n >= sizeof q->dir ? ERR_INVALID : fs_mkdir_all(dir);
    if (e == ERR_OK)
        e = fs_list(dir, scan_entry, q);
    if (e != ERR_OK) {
        send_queue_close(q);
        return e;
    }
    DL_SORT(q->files, number_cmp);
    *ret = q;
    return ERR_OK;
}

void send_queue_close(struct send_queue *q)
{
    struct queued *f, *next;

    if (q == NULL)
        return;
    DL_FOREACH_SAFE (q->files, f, next) {
        DL_DELETE(q->files, f);
        free(f);
    }
    (void)pthread_cond_destroy(&q->changed);
    mutex_release(&q->lock);
    free(q);
}

void send_queue_begin(struct buf *file, struct slice tenant)
{
    assert(tenant.len <= UINT16_MAX);
    buf_append_str(file, "VRW1");
    buf_append_byte(file, (uint8_t)tenant.len);
    buf_append_byte(file, (uint8_t)(tenant.len >> 8));
    buf_append(file, tenant);
}

void send_queue_add(struct buf *file, struct slice request)
{
    buf_append_le32(file, (uint32_t)request.len);
    buf_append_le32(file, crc32c(request));
    buf_append(file, request);
}

bool send_queue_tenant(struct slice file, struct slice *ret_tenant, size_t *ret_at)
{
    struct reader r = reader_of(file);
    struct slice magic = reader_take(&r, 4);
    uint16_t len = reader_le16(&r);

    *ret_tenant = reader_take(&r, len);
    *ret_at = file.len - reader_left(&r);
    return !reader_failed(&r) && slice_eq(magic, SLICE_LIT("VRW1"));
}

bool send_queue_request(struct slice file, size_t *at, struct slice *ret_request)
{
    struct reader r = reader_of(slice_sub(file, *at, file.len));
    uint32_t len = reader_le32(&r), crc = reader_le32(&r);

    *ret_request = reader_take(&r, len);
    *at = file.len - reader_left(&r);
    return !reader_failed(&r) && crc32c(*ret_request) == crc;
}

enum err send_queue_put(struct send_queue *q, const struct buf *file)
{
    char path[PATH_BYTES];
    enum err e = buf_err(file);

    if (e != ERR_OK)
        return e;
    mutex_lock(&q->lock);
    uint64_t number = q->next_number++;
    mutex_unlock(&q->lock);
    path_of(q, number, path);
    e = fs_replace(path, buf_slice(file));
    if (e != ERR_OK)
        return e;
    mutex_lock(&q->lock);
    e = file_enter(q, number, file->len);
    if (e != ERR_OK)
        (void)unlink(path); /* reported as lost, so it must not come back at the next start */
    while (q->bytes > q->bytes_max && q->files != NULL && q->files->next != NULL) {
        file_leave(q, q->files);
        q->dropped++;
    }
    (void)pthread_cond_signal(&q->changed);
    mutex_unlock(&q->lock);
    return e;
}

static void file_forget(struct send_queue *q, uint64_t number, bool is_lost)
{
    struct queued *f;

    mutex_lock(&q->lock);
    DL_FOREACH (q->files, f)
        if (f->number == number)
            break;
    if (f != NULL) {
        q->dropped += is_lost;
        file_leave(q, f);
    }
    mutex_unlock(&q->lock);
}

bool send_queue_next(struct send_queue *q, int64_t timeout_ns, uint64_t *ret_number,
                     struct buf *ret_file)
{
    char path[PATH_BYTES];

    mutex_lock(&q->lock);
    if (q->files == NULL && !q->is_woken)
        (void)cond_wait(&q->changed, &q->lock, timeout_ns);
    bool has = q->files != NULL;
    if (has)
        *ret_number = q->files->number;
    q->is_woken = false;
    mutex_unlock(&q->lock);
    if (!has)
        return false;
    path_of(q, *ret_number, path);
    buf_reset(ret_file);
    enum err e = fs_read_file(path, ret_file);
    if (e != ERR_OK && e != ERR_NOMEM) /* it was dropped meanwhile, or can not be read */
        file_forget(q, *ret_number, true);
    return e == ERR_OK;
}

void send_queue_done(struct send_queue *q, uint64_t number)
{
    file_forget(q, number, false);
}

void send_queue_wake(struct send_queue *q)
{
    mutex_lock(&q->lock);
    q->is_woken = true;
    (void)pthread_cond_broadcast(&q->changed);
    mutex_unlock(&q->lock);
}

void send_queue_stats(struct send_queue *q, struct send_queue_stats *ret)
{
    mutex_lock(&q->lock);
    *ret = (struct send_queue_stats){
        .files = q->count, .bytes = q->bytes, .dropped_files = q->dropped};
    mutex_unlock(&q->lock);
}
