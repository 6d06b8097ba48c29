/* Any bytes as tempo.yml: a configuration, or an error that says where and what.  What is accepted is written and read back the same. */
#include "common/app/config.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write(const struct config *c, struct buf *out)
{
    buf_init(out, 8 << 20);
    config_write_yaml(c, false, out);
}

static void check_error(enum err e, const struct err_detail *detail)
{
    assert(e == ERR_INVALID);
    assert(detail->line > 0);
    assert(strstr(detail->text, "f.yml:") == detail->text);
    assert(strlen(detail->text) > strlen("f.yml:1: "));
}

/* Secrets are written as <secret>, so a configuration that has some reads back differently. */
static bool has_secrets(const struct buf *text)
{
    return memmem(text->ptr, text->len, "<secret>", strlen("<secret>")) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice yaml = {data, size};
    struct config_warning *warnings;
    struct err_detail detail = {0};
    struct config c, again;
    struct buf first, second;

    /* The first byte decides about variables; a file named in the input must not be read. */
    if (size == 0 || memmem(data, size, "_file", 5) != NULL)
        return 0;
    enum err e = config_parse("f.yml", slice_sub(yaml, data[0] == '!' ? 1 : 0, size),
                              data[0] == '!', NULL, 0, &c, &warnings, &detail);
    if (e != ERR_OK) {
        check_error(e, &detail);
        return 0;
    }
    write(&c, &first);
    if (buf_err(&first) == ERR_OK && !has_secrets(&first)) {
        e = config_parse("f.yml", buf_slice(&first), false, NULL, 0, &again, &warnings, &detail);
        if (e != ERR_OK)
            (void)fprintf(stderr, "%s\n", detail.text);
        assert(e == ERR_OK);
        write(&again, &second);
        assert(slice_eq(buf_slice(&first), buf_slice(&second)));
        buf_release(&second);
        config_release(&again);
    }
    buf_release(&first);
    config_release(&c);
    return 0;
}
