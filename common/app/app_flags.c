#include "common/app/app_priv.h"

#include <assert.h>

static bool is(const char *name, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(name, word, len) == 0;
}

/* A switch of the process itself: NULL if `name` is none. */
static bool *own_switch(struct app_flags *f, const char *name, size_t len)
{
    const struct {
        const char *name;
        bool *value;
    } switches[] = {
        {"config.expand-env", &f->expand_env},
        {"config.verify", &f->verify},
        {"config.print", &f->print},
        {"config.print-defaults", &f->print_defaults},
        {"config.reference", &f->reference},
        {"version", &f->version},
        {"health", &f->health},
        {"help", &f->help},
        {"h", &f->help},
    };

    for (unsigned i = 0; i < sizeof switches / sizeof switches[0]; i++)
        if (is(name, len, switches[i].name))
            return switches[i].value;
    return NULL;
}

static enum err set_switch(bool *ret, struct slice name, const char *value,
                           struct err_detail *detail)
{
    if (value == NULL || strcmp(value, "true") == 0 || strcmp(value, "1") == 0)
        *ret = true;
    else if (strcmp(value, "false") == 0 || strcmp(value, "0") == 0)
        *ret = false;
    else
        return err_detail_set(detail, ERR_INVALID, "-" SLICE_FMT ": \"%.80s\" is not true or false",
                              SLICE_ARG(name), value);
    return ERR_OK;
}

/* argv[*i] is the name, perhaps with "=value"; a value apart is argv[*i + 1]. */
static enum err read_flag(struct app_flags *f, char **argv, int argc, int *i,
                          struct err_detail *detail)
{
    const char *text = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
    struct slice name = {(const uint8_t *)text, strcspn(text, "=")};
    const char *value = text[name.len] == '=' ? text + name.len + 1 : NULL;
    bool *own = own_switch(f, text, name.len);

    if (own != NULL)
        return set_switch(own, name, value, detail);
    if (f->key_count == APP_FLAGS_MAX)
        return err_detail_set(detail, ERR_INVALID, "more than %d flags", (int)APP_FLAGS_MAX);
    if (name.len >= APP_FLAG_BYTES_MAX)
        return err_detail_set(detail, ERR_INVALID, "unknown flag -%.80s...", text);
    char *copy = f->names[f->key_count];
    memcpy(copy, name.ptr, name.len);
    copy[name.len] = '\0';
    if (value == NULL && config_flag_is_bool(copy))
        value = "true";
    if (value == NULL && *i + 1 < argc)
        value = argv[++*i];
    if (value == NULL)
        return err_detail_set(detail, ERR_INVALID, "-%s needs a value", copy);
    if (strcmp(copy, "config.file") == 0)
        f->config_file = value;
    else if (strcmp(copy, "health.url") == 0)
        f->health_url = value;
    else
        f->keys[f->key_count++] = (struct config_flag){copy, value};
    return ERR_OK;
}

/* -x=y, -x y, --x=y, --x y; a boolean takes no value of its own, as in Go's flag package. */
enum err app_flags_parse(int argc, char **argv, struct app_flags *ret,
                         struct err_detail *reterr_detail)
{
    enum err e = ERR_OK;

    assert(argc == 0 || argv != NULL);
    memset(ret, 0, sizeof *ret);
    ret->health_url = "http://localhost:3200/ready";
    for (int i = 1; i < argc && e == ERR_OK; i++) {
        if (argv[i][0] != '-' || argv[i][1] == '\0')
            return err_detail_set(reterr_detail, ERR_INVALID,
                                  "unexpected argument \"%.80s\"; flags begin with -", argv[i]);
        e = read_flag(ret, argv, argc, &i, reterr_detail);
    }
    return e;
}

void app_flags_help(const char *program)
{
    printf(
        "usage: %s [-config.file=tempo.yml] [flags]\n\n"
        "  -config.file=FILE        the configuration; without it: defaults\n"
        "  -config.expand-env       replace ${VAR}, ${VAR:-default} in the file\n"
        "  -config.verify           check the configuration, print its warnings, end with 1 if there are any\n"
        "  -config.print            print every key as file and flags set it; secrets as <secret>\n"
        "  -config.print-defaults   print every key with its default\n"
        "  -config.reference        print the reference page of all keys\n"
        "  -target=NAME             'all' or this binary's own name\n"
        "  -health                  ask a running process whether it is ready; end with 0 or 1\n"
        "  -health.url=URL          where to ask (http://localhost:3200/ready)\n"
        "  -version                 print the version\n\n"
        "Every key is a flag too: -server.http-listen-port=3201.  See deploy/configuration.md.\n",
        program);
}
