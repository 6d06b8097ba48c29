#include "common/objstore/xml.h"

#include <assert.h>
#include <expat.h>
#include <stdio.h>
#include <string.h>

struct xml_walk {
    XML_Parser parser;
    xml_walk_fn *fn;
    void *arg;
    enum err err;
    unsigned depth;
    size_t path_len, text_len;
    char path[XML_WALK_PATH_BYTES];
    uint8_t text[XML_WALK_TEXT_BYTES];
};

static void xml_stop(struct xml_walk *w, enum err e)
{
    if (w->err == ERR_OK)
        w->err = e;
    (void)XML_StopParser(w->parser, XML_FALSE);
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct xml_walk *w = arg;
    size_t len = strlen(name);

    (void)attributes;
    if (w->depth == XML_WALK_DEPTH_MAX || len + 2 > sizeof w->path - w->path_len) {
        xml_stop(w, ERR_FORMAT);
        return;
    }
    if (w->depth++ > 0)
        w->path[w->path_len++] = '/';
    memcpy(w->path + w->path_len, name, len + 1);
    w->path_len += len;
    w->text_len = 0; /* text between elements is white space */
}

static void on_text(void *arg, const XML_Char *text, int len)
{
    struct xml_walk *w = arg;

    if ((size_t)len > sizeof w->text - w->text_len) {
        xml_stop(w, ERR_FORMAT);
        return;
    }
    memcpy(w->text + w->text_len, text, (size_t)len);
    w->text_len += (size_t)len;
}

static void on_end(void *arg, const XML_Char *name)
{
    struct xml_walk *w = arg;
    size_t len = strlen(name);

    assert(w->depth > 0);
    enum err e =
        w->err == ERR_OK ? w->fn(w->arg, w->path, (struct slice){w->text, w->text_len}) : w->err;
    w->depth--;
    w->path_len -= len + (w->depth > 0 ? 1 : 0);
    w->path[w->path_len] = '\0';
    w->text_len = 0;
    if (e != ERR_OK)
        xml_stop(w, e);
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
                       const XML_Char *public_id, int has_internal_subset)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_internal_subset;
    xml_stop(arg, ERR_FORMAT);
}

enum err xml_walk(struct slice xml, xml_walk_fn *fn, void *arg)
{
    struct xml_walk w = {.fn = fn, .arg = arg};

    w.parser = XML_ParserCreate(NULL);
    if (w.parser == NULL)
        return ERR_NOMEM;
    XML_SetUserData(w.parser, &w);
    XML_SetElementHandler(w.parser, on_start, on_end);
    XML_SetCharacterDataHandler(w.parser, on_text);
    XML_SetStartDoctypeDeclHandler(w.parser, on_doctype);
    enum XML_Status status =
        xml.len > INT32_MAX
            ? XML_STATUS_ERROR
            : XML_Parse(w.parser, xml.len > 0 ? (const char *)xml.ptr : "", (int)xml.len, 1);
    enum err e = w.err;
    if (e == ERR_OK && status != XML_STATUS_OK)
        e = XML_GetErrorCode(w.parser) == XML_ERROR_NO_MEMORY ? ERR_NOMEM : ERR_FORMAT;
    XML_ParserFree(w.parser);
    return e;
}

struct wanted_text {
    const char *path;
    char *ret;
    size_t size;
};

static enum err want_text(void *arg, const char *path, struct slice text)
{
    const struct wanted_text *w = arg;
    const char *below = strchr(path, '/');

    if (below != NULL && strcmp(below + 1, w->path) == 0 && w->ret[0] == '\0' && text.len < w->size)
        (void)snprintf(w->ret, w->size, SLICE_FMT, SLICE_ARG(text));
    return ERR_OK;
}

void xml_text(struct slice xml, const char *path, char *ret, size_t size)
{
    struct wanted_text w = {path, ret, size};

    ret[0] = '\0';
    if (xml_walk(xml, want_text, &w) != ERR_OK)
        ret[0] = '\0'; /* half a document says nothing */
}
