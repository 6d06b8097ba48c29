/* tmpdir.h - a folder of its own for each test, gone afterwards. */
#ifndef VIVACE_TESTS_LIB_TMPDIR_H
#define VIVACE_TESTS_LIB_TMPDIR_H

/* For cmocka's setup and teardown: *state becomes the folder's path, a string that lives until teardown. */
int tmpdir_setup(void **state);
int tmpdir_teardown(void **state);

/* "DIR/name", in one of a few static buffers: use it before the eighth next call. */
const char *tmpdir_path(void **state, const char *name);

#endif
