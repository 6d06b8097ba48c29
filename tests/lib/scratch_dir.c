#include "tests/lib/scratch_dir.h"

#include "common/sys/fs.h"

#include <assert.h>
#include <fcntl.h>
#include <unistd.h>

void scratch_dir_make(char ret[SCRATCH_DIR_BYTES])
{
    const char *root = getenv("TMPDIR");

    (void)snprintf(ret, SCRATCH_DIR_BYTES, "%s/vivace-test-XXXXXX", root != NULL ? root : "/tmp");
    char *made = mkdtemp(ret);
    assert(made != NULL);
}

void scratch_dir_remove(const char *dir)
{
    enum err e = fs_remove_tree(dir);
    assert(e == ERR_OK);
}

void scratch_dir_path(const char *dir, const char *name, char ret[SCRATCH_DIR_BYTES * 2])
{
    int n = snprintf(ret, SCRATCH_DIR_BYTES * 2, "%s/%s", dir, name);
    assert(n < SCRATCH_DIR_BYTES * 2);
}

void scratch_dir_read(const char *path, struct buf *ret)
{
    buf_init(ret, 256 << 20);
    enum err e = fs_read_file(path, ret);
    assert(e == ERR_OK);
}

void scratch_dir_write(const char *path, struct slice bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert(fd >= 0);
    enum err e = fs_write_all(fd, bytes);
    assert(e == ERR_OK);
    fs_close(&fd);
}

static enum err count_entry(void *arg, const char *name)
{
    (void)name;
    ++*(unsigned *)arg;
    return ERR_OK;
}

unsigned scratch_dir_count(const char *dir)
{
    unsigned n = 0;
    enum err e = fs_list(dir, count_entry, &n);
    assert(e == ERR_OK || e == ERR_NOT_FOUND);
    return n;
}
