#include "common/base/bytes.h"
#include "common/store/wal_priv.h"
#include "common/sys/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, PATH_BYTES = 4096 };

/* One file being read through a window that always starts at `base` and grows to the largest frame. */
struct scan {
    int fd;
    uint64_t file_bytes;
    uint64_t base; /* file offset of window[0] */
    uint8_t *window;
    size_t len, cap;
    uint64_t at; /* file offset of the next frame */
    uint32_t tag;
    bool has_tag;
    bool is_damaged;
    bool is_unreadable; /* the disk refused: what follows is given up */
};

struct replay {
    const char *dir;
    uint64_t after, upto, last_given;
    wal_frame_fn *frame; /* NULL: only look */
    void *arg;
    struct wal_replay_result *result;
    struct scan scan;
    const struct wal_look_hooks *look; /* not NULL: nothing may be written */
    const char *name;                  /* of the file being read */
};

/* Makes [offset, offset + len) of the file stand in the window.  False: the file ends before, or the disk refused (is_unreadable). */
static enum err window_need(struct scan *s, uint64_t offset, size_t len, const uint8_t **ret)
{
    assert(offset >= s->base);
    *ret = NULL;
    if (offset > s->file_bytes || len > s->file_bytes - offset || s->is_unreadable)
        return ERR_OK;
    if (offset - s->base + len > s->len) {
        size_t drop = offset - s->base < s->len ? (size_t)(offset - s->base) : s->len;
        size_t want = len > READ_BYTES ? len : READ_BYTES;

        if (drop < offset - s->base)
            s->len = drop = 0; /* jumped past the window */
        if (s->len > drop)
            memmove(s->window, s->window + drop, s->len - drop);
        s->len -= drop;
        s->base = offset;
        if (want > s->cap) {
            uint8_t *window = realloc(s->window, want);
            if (window == NULL)
                return ERR_NOMEM;
            s->window = window;
            s->cap = want;
        }
        uint64_t rest = s->file_bytes - s->base - s->len;
        size_t room = s->cap - s->len;
        size_t n = rest < room ? (size_t)rest : room;
        if (fs_pread_exact(s->fd, s->window + s->len, n, s->base + s->len) != ERR_OK) {
            /* A bad sector further on must not cost what stands before it. */
            n = (size_t)(offset - s->base) + len - s->len;
            s->is_unreadable =
                fs_pread_exact(s->fd, s->window + s->len, n, s->base + s->len) != ERR_OK;
            if (s->is_unreadable)
                return ERR_OK;
        }
        s->len += n;
    }
    assert(offset - s->base + len <= s->len);
    *ret = s->window + (offset - s->base);
    return ERR_OK;
}

/* *ret_bytes is 0 when there is no sound frame at `offset`. */
static enum err frame_at(struct scan *s, uint64_t offset, struct wal_frame *ret, size_t *ret_bytes)
{
    const uint8_t *p;
    enum err e = window_need(s, offset, WAL_PREFIX_BYTES, &p);

    *ret_bytes = 0;
    if (e != ERR_OK || p == NULL)
        return e;
    uint64_t bytes = (uint64_t)le32_read(p + 4) + WAL_PREFIX_BYTES;
    if (le32_read(p) != WAL_FRAME_MAGIC || bytes > WAL_FRAME_BYTES_MAX)
        return ERR_OK;
    /* A frame of another file, or one that a sender put into his data, has not this file's tag. */
    if (s->has_tag && le32_read(p + 12) != s->tag)
        return ERR_OK;
    e = window_need(s, offset, (size_t)bytes, &p);
    if (e != ERR_OK || p == NULL)
        return e;
    if (wal_format_frame_read((struct slice){p, (size_t)bytes}, ret) != ERR_OK)
        return ERR_OK;
    if (!s->has_tag) {
        s->tag = le32_read(p + 12);
        s->has_tag = true;
    }
    *ret_bytes = (size_t)bytes;
    return ERR_OK;
}

/* The offset of the next sound frame at or after `from`; the file's end when there is none. */
static enum err frame_search(struct scan *s, uint64_t from, uint64_t *ret)
{
    static const uint8_t first_byte = WAL_FRAME_MAGIC & 0xff;

    while (from + WAL_PREFIX_BYTES <= s->file_bytes) {
        uint64_t left = s->file_bytes - from;
        size_t n = left < READ_BYTES / 2 ? (size_t)left : READ_BYTES / 2;
        const uint8_t *p;
        enum err e = window_need(s, from, n, &p);

        if (e != ERR_OK)
            return e;
        if (p == NULL)
            break;
        const uint8_t *hit = memchr(p, first_byte, n);
        if (hit == NULL) {
            from += n;
            continue;
        }
        from += (uint64_t)(hit - p);
        struct wal_frame f;
        size_t bytes;
        e = frame_at(s, from, &f, &bytes);
        if (e != ERR_OK)
            return e;
        if (bytes > 0) {
            *ret = from;
            return ERR_OK;
        }
        from++;
    }
    *ret = s->file_bytes;
    return ERR_OK;
}

static enum err path_of(const char *dir, const char *name, char ret[PATH_BYTES])
{
    return (size_t)snprintf(ret, PATH_BYTES, "%s/%s", dir, name) < PATH_BYTES ? ERR_OK
                                                                              : ERR_TOO_LARGE;
}

static enum err copy_file(const char *from, const char *to)
{
    struct buf b;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    enum err e = in < 0 || out < 0 ? ERR_IO : ERR_OK;

    buf_init(&b, READ_BYTES);
    uint8_t *chunk = buf_extend(&b, READ_BYTES);
    if (chunk == NULL)
        e = ERR_NOMEM;
    while (e == ERR_OK) {
        ssize_t n = read(in, chunk, READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            e = ERR_IO;
        if (n <= 0)
            break;
        e = fs_write_all(out, (struct slice){chunk, (size_t)n});
    }
    if (e == ERR_OK)
        e = fs_sync_data(out);
    buf_release(&b);
    fs_close(&in);
    fs_close(&out);
    return e;
}

/* To whoever only looks: where damage is. */
static void tell(const struct replay *r, uint64_t from, uint64_t end, const char *what)
{
    if (r->look != NULL)
        r->look->damage(r->look->arg, r->name, from, end - from, what);
}

/* Keeps a damaged file beyond the log's trimming.  A second name for the same bytes costs nothing; a copy is made where links are not possible.
 * Best effort: a full disk must not stop the replay of what can be read. */
static void quarantine(struct replay *r, const char *name)
{
    char from[PATH_BYTES], to[PATH_BYTES], dir[PATH_BYTES], copy[PATH_BYTES];

    r->result->quarantined_files++;
    if (r->look != NULL)
        return;
    if (path_of(r->dir, "quarantine", dir) != ERR_OK || path_of(r->dir, name, from) != ERR_OK ||
        path_of(dir, name, to) != ERR_OK || path_of(dir, "copy.tmp", copy) != ERR_OK ||
        fs_mkdir_all(dir) != ERR_OK)
        return;
    /* Under its name only when it is whole: what is there is not copied again. */
    if (link(from, to) != 0 && errno != EEXIST && copy_file(from, copy) == ERR_OK)
        (void)rename(copy, to); /* counted above; nothing more can be done here */
    if (fs_sync_path_dir(dir) != ERR_OK)
        return; /* the bytes are there in any case but a power cut */
}

static enum err give(struct replay *r, const struct wal_frame *f, size_t bytes, bool is_repeat)
{
    if (f->lsn <= r->last_given) {
        /* A copied file repeats what was given; inside a file a number that does not go up is damage. */
        if (!is_repeat) {
            r->result->bad_frames++;
            r->scan.is_damaged = true;
            tell(r, r->scan.at, r->scan.at + bytes, "a frame whose number does not go up");
        }
        return ERR_OK;
    }
    r->last_given = f->lsn;
    if (f->lsn > r->result->last_lsn)
        r->result->last_lsn = f->lsn;
    if (f->lsn <= r->after || f->lsn > r->upto)
        return ERR_OK;
    if (r->frame != NULL) {
        enum err e = r->frame(r->arg, f);
        if (e != ERR_OK)
            return e;
    }
    r->result->frames++;
    r->result->bytes += bytes;
    return ERR_OK;
}

/* Reads the frames of the open file; *ret_torn_at is where a tail without any sound frame begins (the file's end: none). */
static enum err scan_frames(struct replay *r, bool is_repeat, uint64_t *ret_torn_at)
{
    struct scan *s = &r->scan;

    *ret_torn_at = s->file_bytes;
    while (s->at < s->file_bytes) {
        struct wal_frame f;
        size_t bytes;
        enum err e = frame_at(s, s->at, &f, &bytes);
        if (e != ERR_OK)
            return e;
        if (bytes > 0) {
            e = give(r, &f, bytes, is_repeat);
            if (e != ERR_OK)
                return e;
            s->at += bytes;
            continue;
        }
        uint64_t bad_at = s->at;
        e = frame_search(s, bad_at + 1, &s->at);
        if (e != ERR_OK)
            return e;
        if (s->at >= s->file_bytes) {
            *ret_torn_at = bad_at;
        } else {
            r->result->bad_frames++;
            s->is_damaged = true;
            tell(r, bad_at, s->at, "no sound frame");
        }
    }
    return ERR_OK;
}

static enum err scan_open(struct replay *r, const struct wal_file *f, bool can_write)
{
    char path[PATH_BYTES];
    struct stat st;
    enum err e = path_of(r->dir, f->name, path);

    if (e != ERR_OK)
        return e;
    struct scan *s = &r->scan;
    s->fd = open(path, (can_write ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) != 0) {
        fs_close(&s->fd);
        return ERR_IO;
    }
    s->file_bytes = (uint64_t)st.st_size;
    s->base = 0;
    s->len = 0;
    s->at = f->has_header ? WAL_HEADER_BYTES : 0;
    s->tag = f->tag;
    s->has_tag = f->has_header;
    s->is_damaged = false;
    s->is_unreadable = false;
    return ERR_OK;
}

/* A damaged header hides the tag: the frame in its usual place tells it, so that a frame further on is not believed first. */
static enum err skip_bad_header(struct replay *r)
{
    struct scan *s = &r->scan;
    struct wal_frame f;
    size_t bytes;

    assert(s->at == 0);
    enum err e = frame_at(s, WAL_HEADER_BYTES, &f, &bytes);
    if (e != ERR_OK)
        return e;
    s->base = 0;
    s->len = 0;
    if (bytes > 0) {
        s->at = WAL_HEADER_BYTES;
        s->is_damaged = true;
        tell(r, 0, WAL_HEADER_BYTES, "the file's header");
    }
    return ERR_OK;
}

enum place { PLACE_MIDDLE, PLACE_LAST_CUT, PLACE_LAST_LOOK };

static enum err cut_tail(struct replay *r, uint64_t torn_at)
{
    uint64_t torn = r->scan.file_bytes - torn_at;

    if (torn == 0)
        return ERR_OK;
    if (ftruncate(r->scan.fd, (off_t)torn_at) != 0)
        return ERR_IO;
    r->result->torn_bytes += torn;
    return fs_sync_data(r->scan.fd);
}

static enum err replay_file(struct replay *r, const struct wal_file *f, enum place place,
                            bool is_repeat)
{
    uint64_t torn_at = 0;
    enum err e = scan_open(r, f, place == PLACE_LAST_CUT);

    r->name = f->name;
    if (e != ERR_OK)
        return e;
    r->scan.is_damaged = f->is_unknown;
    if (!f->has_header)
        e = skip_bad_header(r);
    if (e == ERR_OK)
        e = scan_frames(r, is_repeat, &torn_at);
    if (e == ERR_OK && torn_at < r->scan.file_bytes &&
        (place == PLACE_MIDDLE || r->scan.is_unreadable)) {
        r->result->bad_frames++;
        r->scan.is_damaged = true;
        tell(r, torn_at, r->scan.file_bytes, "no sound frame up to the file's end");
    } else if (e == ERR_OK && place == PLACE_LAST_LOOK && torn_at < r->scan.file_bytes) {
        r->result->torn_bytes += r->scan.file_bytes - torn_at;
    }
    if (e == ERR_OK && is_repeat)
        tell(r, 0, r->scan.file_bytes, "the file repeats another one");
    if (e == ERR_OK && (r->scan.is_damaged || is_repeat))
        quarantine(r, f->name);
    if (e == ERR_OK && place == PLACE_LAST_CUT && !r->scan.is_damaged)
        e = cut_tail(r, torn_at);
    fs_close(&r->scan.fd);
    return e;
}

static void result_of_list(const struct wal_files *files, struct wal_replay_result *ret)
{
    *ret = (struct wal_replay_result){0};
    if (files->count > 0) {
        ret->first_lsn = files->items[0].first_lsn;
        ret->last_lsn = files->items[files->count - 1].first_lsn - 1;
    }
}

enum err wal_replay_tail(const char *dir, struct wal_replay_result *ret)
{
    assert(dir != NULL && ret != NULL);
    struct wal_files files;

    *ret = (struct wal_replay_result){0};
    enum err e = wal_format_list(dir, &files);
    if (e != ERR_OK)
        return e;
    result_of_list(&files, ret);
    if (files.count > 0) {
        struct wal_replay_result look = *ret;
        struct replay r = {.dir = dir, .upto = UINT64_MAX, .result = &look, .scan.fd = -1};
        const struct wal_file *last = &files.items[files.count - 1];

        e = replay_file(&r, last, PLACE_LAST_CUT, false);
        ret->last_lsn = look.last_lsn;
        ret->torn_bytes = look.torn_bytes;
        free(r.scan.window);
    }
    wal_format_list_release(&files);
    return e;
}

enum err wal_replay_range(const char *dir, uint64_t after, uint64_t upto, wal_frame_fn *frame,
                          void *arg, struct wal_replay_result *ret)
{
    assert(dir != NULL && ret != NULL);
    struct wal_files files;

    *ret = (struct wal_replay_result){0};
    enum err e = wal_format_list(dir, &files);
    if (e != ERR_OK)
        return e;
    result_of_list(&files, ret);
    struct replay r = {.dir = dir,
                       .after = after,
                       .upto = upto,
                       .frame = frame,
                       .arg = arg,
                       .result = ret,
                       .scan.fd = -1};
    for (uint32_t i = 0; i < files.count && e == ERR_OK; i++) {
        const struct wal_file *f = &files.items[i];
        bool is_repeat = i > 0 && f[-1].first_lsn == f->first_lsn;
        bool is_past =
            i + 1 < files.count && f[1].first_lsn <= after + 1 && f[1].first_lsn > f->first_lsn;

        if (f->first_lsn <= upto && !is_past)
            e = replay_file(&r, f, PLACE_MIDDLE, is_repeat);
    }
    free(r.scan.window);
    wal_format_list_release(&files);
    return e;
}

enum err wal_replay(const char *dir, uint64_t after, wal_frame_fn *frame, void *arg,
                    struct wal_replay_result *ret)
{
    struct wal_replay_result tail;
    enum err e = wal_replay_tail(dir, &tail);

    if (e == ERR_OK) {
        e = wal_replay_range(dir, after, UINT64_MAX, frame, arg, ret);
        ret->torn_bytes += tail.torn_bytes;
    } else {
        *ret = tail;
    }
    return e;
}

struct look {
    struct replay replay;
    const struct wal_look_hooks *hooks;
};

static enum err look_frame(void *arg, const struct wal_frame *f)
{
    const struct look *l = arg;
    return l->hooks->frame(l->hooks->arg, l->replay.name, l->replay.scan.at, f);
}

enum err wal_look(const char *dir, const struct wal_look_hooks *hooks,
                  struct wal_replay_result *ret)
{
    assert(dir != NULL && hooks != NULL && ret != NULL);
    struct wal_files files;
    struct look l = {.hooks = hooks,
                     .replay = {.dir = dir,
                                .upto = UINT64_MAX,
                                .frame = look_frame,
                                .arg = &l,
                                .result = ret,
                                .look = hooks,
                                .scan.fd = -1}};

    *ret = (struct wal_replay_result){0};
    enum err e = wal_format_list(dir, &files);
    if (e != ERR_OK)
        return e;
    result_of_list(&files, ret);
    for (uint32_t i = 0; i < files.count && e == ERR_OK; i++) {
        bool is_repeat = i > 0 && files.items[i - 1].first_lsn == files.items[i].first_lsn;
        e = replay_file(&l.replay, &files.items[i],
                        i + 1 == files.count ? PLACE_LAST_LOOK : PLACE_MIDDLE, is_repeat);
    }
    free(l.replay.scan.window);
    wal_format_list_release(&files);
    return e;
}
