#include "tests/lib/tmpdir.h"

#include "common/sys/fs.h"

#include <assert.h>
#include <limits.h>

int tmpdir_setup(void **state)
{
    const char *base = getenv("TMPDIR");
    char *dir = malloc(PATH_MAX);

    if (dir == NULL)
        return -1;
    (void)snprintf(dir, PATH_MAX, "%s/vivace-test-XXXXXX", base == NULL ? "/tmp" : base);
    if (mkdtemp(dir) == NULL) {
        free(dir);
        return -1;
    }
    *state = dir;
    return 0;
}

int tmpdir_teardown(void **state)
{
    enum err e = fs_remove_tree(*state);

    free(*state);
    *state = NULL;
    return e == ERR_OK ? 0 : -1;
}

const char *tmpdir_path(void **state, const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 8];
    int n = snprintf(path, PATH_MAX, "%s/%s", (const char *)*state, name);

    assert(n > 0 && n < PATH_MAX);
    return path;
}
