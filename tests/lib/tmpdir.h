/*
 * tmpdir.h - a folder of its own for a test, and small file helpers.  Everything asserts: a test that can not have its files can not run.
 */
#ifndef VIVACE_TESTS_TMPDIR_H
#define VIVACE_TESTS_TMPDIR_H

#include "common/base/buf.h"

enum { TMPDIR_BYTES = 256 };

void tmpdir_make(char ret[TMPDIR_BYTES]);
void tmpdir_remove(const char *dir);
void tmpdir_path(const char *dir, const char *name, char ret[TMPDIR_BYTES * 2]);
void tmpdir_read(const char *path, struct buf *ret); /* inits ret */
void tmpdir_write(const char *path, struct slice bytes);
unsigned tmpdir_count(const char *dir); /* of entries; 0 when the folder is not there */

#endif
