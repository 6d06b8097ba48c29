/*
 * scratch_dir.h - a folder of its own for a test, and small file helpers.  Everything asserts: a test that can not have its files can not run.
 */
#ifndef VIVACE_TESTS_SCRATCH_DIR_H
#define VIVACE_TESTS_SCRATCH_DIR_H

#include "common/base/buf.h"

enum { SCRATCH_DIR_BYTES = 256 };

void scratch_dir_make(char ret[SCRATCH_DIR_BYTES]);
void scratch_dir_remove(const char *dir);
void scratch_dir_path(const char *dir, const char *name, char ret[SCRATCH_DIR_BYTES * 2]);
void scratch_dir_read(const char *path, struct buf *ret); /* inits ret */
void scratch_dir_write(const char *path, struct slice bytes);
unsigned scratch_dir_count(const char *dir); /* of entries; 0 when the folder is not there */

#endif
