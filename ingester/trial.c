#include "ingester/trial.h"

#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/crc32c.h"
#include "common/obs/log.h"
#include "common/sys/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOTE_BYTES = 24, POLL_MS = 10 };
#define NOTE_MAGIC 0x31595254u /* "TRY1" */

/* u32 magic, u32 processes that died of the frame before, u64 lsn (0: none), u32 crc32c of these, u32 0 */
struct trial {
    int fd;
    uint64_t suspect;
    uint32_t deaths;
    uint64_t *aside; /* frames in quarantine/, ascending */
    uint32_t aside_count, aside_cap;
};

static void note_write(const struct trial *t, uint64_t lsn, uint32_t deaths)
{
    uint8_t note[NOTE_BYTES] = {0};

    le32_write(note, NOTE_MAGIC);
    le32_write(note + 4, deaths);
    le64_write(note + 8, lsn);
    le32_write(note + 16, crc32c((struct slice){note, 16}));
    /* Without a note a frame that ends the process is only found at the start after the next. */
    (void)!pwrite(t->fd, note, sizeof note, 0);
}

static enum err note_aside(void *arg, const char *name)
{
    struct trial *t = arg;
    uint64_t lsn = wal_saved_lsn(name);

    if (lsn == 0)
        return ERR_OK;
    if (t->aside_count == t->aside_cap) {
        uint32_t cap = t->aside_cap == 0 ? 16 : t->aside_cap * 2;
        uint64_t *aside = realloc(t->aside, cap * sizeof *aside);
        if (aside == NULL)
            return ERR_NOMEM;
        t->aside = aside;
        t->aside_cap = cap;
    }
    t->aside[t->aside_count++] = lsn;
    return ERR_OK;
}

static int lsn_cmp(const void *pa, const void *pb)
{
    const uint64_t *a = pa, *b = pb;

    return *a < *b ? -1 : *a > *b;
}

bool trial_is_aside(const struct trial *t, uint64_t lsn)
{
    return t->aside_count > 0 &&
           bsearch(&lsn, t->aside, t->aside_count, sizeof *t->aside, lsn_cmp) != NULL;
}

enum err trial_open(const char *wal_dir, struct trial **ret)
{
    struct trial *t = calloc(1, sizeof *t);
    uint8_t note[NOTE_BYTES];
    char path[4096];

    if (t == NULL)
        return ERR_NOMEM;
    (void)snprintf(path, sizeof path, "%s/quarantine", wal_dir);
    enum err e = fs_list(path, note_aside, t);
    if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    if (t->aside_count > 1)
        qsort(t->aside, t->aside_count, sizeof *t->aside, lsn_cmp);
    (void)snprintf(path, sizeof path, "%s/trial", wal_dir);
    t->fd = e != ERR_OK ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (t->fd < 0) {
        e = e != ERR_OK ? e : fs_errno_err(errno);
        trial_close(t);
        return e;
    }
    if (fs_pread_exact(t->fd, note, sizeof note, 0) == ERR_OK && le32_read(note) == NOTE_MAGIC &&
        le32_read(note + 16) == crc32c((struct slice){note, 16}) && le64_read(note + 8) != 0) {
        t->suspect = le64_read(note + 8);
        t->deaths = le32_read(note + 4) + 1;
    }
    *ret = t;
    return ERR_OK;
}

void trial_close(struct trial *t)
{
    if (t == NULL)
        return;
    fs_close(&t->fd);
    free(t->aside);
    free(t);
}

void trial_begin(struct trial *t, uint64_t lsn)
{
    note_write(t, lsn, lsn == t->suspect ? t->deaths : 0);
}

void trial_end(struct trial *t)
{
    note_write(t, 0, 0);
}

bool trial_is_suspect(const struct trial *t, uint64_t lsn)
{
    return t->suspect == lsn;
}

enum err trial_copy(const struct trial *t, void (*run)(void *arg), void *arg,
                    const atomic_bool *is_stopping)
{
    int status = 0;

    if (t->deaths >= TRIAL_DEATHS_MAX)
        return ERR_CORRUPT;
    pid_t pid = fork();
    if (pid < 0)
        return ERR_NOMEM;
    if (pid == 0) {
        run(arg);
        _exit(0);
    }
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            break;
        if (got < 0 && errno != EINTR)
            return ERR_INTERNAL;
        if (atomic_load(is_stopping))
            (void)kill(pid, SIGKILL);
        struct timespec pause = {.tv_nsec = POLL_MS * NS_PER_MS};
        (void)nanosleep(&pause, NULL);
    }
    if (atomic_load(is_stopping))
        return ERR_CANCELED;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? ERR_OK : ERR_CORRUPT;
}
