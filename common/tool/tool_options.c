#include "common/tool/tool.h"

#include <string.h>

/* -x=y, -x y, --x=y, --x y, as the binaries' flags. */
enum err tool_options_parse(int argc, char **argv, struct tool_options *ret,
                            struct err_detail *reterr_detail)
{
    const struct {
        const char *name, **value;
        bool *is_on;
    } known[] = {
        {"config.file", &ret->config_file, NULL},
        {"config.expand-env", NULL, &ret->expand_env},
        {"path", &ret->path, NULL},
        {"tenant", &ret->tenant, NULL},
        {"trace", &ret->trace, NULL},
        {"from", &ret->from, NULL},
        {"to", &ret->to, NULL},
        {"output", &ret->output, NULL},
        {"format", &ret->format, NULL},
        {"json", NULL, &ret->is_json},
        {"quarantine", NULL, &ret->is_quarantine},
        {"quiet", NULL, &ret->is_quiet},
        {"help", NULL, &ret->is_help},
        {"h", NULL, &ret->is_help},
        {"version", NULL, &ret->is_version},
    };
    const size_t count = sizeof known / sizeof known[0];

    *ret = (struct tool_options){0};
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        size_t k = 0;
        if (text[0] != '-' || text[1] == '\0') {
            if (ret->word_count == TOOL_WORDS_MAX)
                return err_detail_set(reterr_detail, ERR_INVALID, "more than %d words",
                                      (int)TOOL_WORDS_MAX);
            ret->words[ret->word_count++] = text;
            continue;
        }
        text += text[1] == '-' ? 2 : 1;
        size_t len = strcspn(text, "=");
        while (k < count && (strlen(known[k].name) != len || memcmp(known[k].name, text, len) != 0))
            k++;
        if (k == count)
            return err_detail_set(reterr_detail, ERR_INVALID, "unknown option -%.80s", text);
        const char *value = text[len] == '=' ? text + len + 1 : NULL;
        if (known[k].is_on != NULL && value == NULL) {
            *known[k].is_on = true;
            continue;
        }
        if (known[k].is_on != NULL)
            return err_detail_set(reterr_detail, ERR_INVALID, "-%s takes no value", known[k].name);
        if (value == NULL && i + 1 < argc)
            value = argv[++i];
        if (value == NULL || value[0] == '\0')
            return err_detail_set(reterr_detail, ERR_INVALID, "-%s needs a value", known[k].name);
        *known[k].value = value;
    }
    return ERR_OK;
}
