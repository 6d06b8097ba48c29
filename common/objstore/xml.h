/*
 * xml.h - the XML that object stores answer with, as a walk over its texts.  The door to expat.
 *
 * Limits:  no document types (so no entities), depth XML_WALK_DEPTH_MAX, a path of XML_WALK_PATH_BYTES, texts of XML_WALK_TEXT_BYTES.
 * Errors:  ERR_FORMAT not well formed, or over a limit; what `fn` returns; ERR_NOMEM.
 */
#ifndef VIVACE_OBJSTORE_XML_H
#define VIVACE_OBJSTORE_XML_H

#include "common/base/err.h"
#include "common/base/slice.h"

enum { XML_WALK_DEPTH_MAX = 16, XML_WALK_PATH_BYTES = 256, XML_WALK_TEXT_BYTES = 16384 };

/* At the end of each element: the names from the root down ("ListBucketResult/Contents/Key"), and its own text. */
typedef enum err xml_walk_fn(void *arg, const char *path, struct slice text);
MUST_CHECK enum err xml_walk(struct slice xml, xml_walk_fn *fn, void *arg);
/* The first text at this path below any root ("Code" of Error/Code); "" when there is none or it does not fit. */
void xml_text(struct slice xml, const char *path, char *ret, size_t size);

#endif
