#include "common/tool/tool.h"

static enum err list_one(void *arg, const char *tenant, const char *name, const char *why)
{
    struct tool *t = arg;
    size_t len = strcspn(why, "\n");

    if (t->options.tenant != NULL && strcmp(t->options.tenant, tenant) != 0)
        return ERR_OK;
    if (t->options.is_json) {
        json_out_begin_object(&t->json);
        json_out_key(&t->json, "tenant");
        json_out_cstring(&t->json, tenant);
        json_out_key(&t->json, "name");
        json_out_cstring(&t->json, name);
        json_out_key(&t->json, "why");
        json_out_cstring(&t->json, why);
        json_out_end_object(&t->json);
    } else {
        buf_appendf(&t->out, "%s/%s  %.*s\n", tenant, name, (int)(len > 1000 ? 1000 : len), why);
    }
    return tool_out_flush(t, false);
}

static enum err list(struct tool *t)
{
    if (t->options.is_json)
        json_out_begin_array(&t->json);
    enum err e = t->backend->ops->quarantined(t->backend, list_one, t);
    if (t->options.is_json) {
        json_out_end_array(&t->json);
        buf_append_byte(&t->out, '\n');
    }
    return e == ERR_OK ? ERR_OK
                       : err_detail_set(&t->detail, e, "the quarantine can not be listed (%s)",
                                        err_name(e));
}

static enum err restore(struct tool *t, const char *word)
{
    const char *slash = strrchr(word, '/');
    char *tenant =
        slash == NULL
            ? NULL
            : arena_str(&t->arena, (struct slice){(const uint8_t *)word, (size_t)(slash - word)});
    if (slash == NULL)
        return tool_misuse(t, "quarantine restore TENANT/NAME, as quarantine list shows it");
    if (tenant == NULL)
        return arena_err(&t->arena);
    enum err e = t->backend->ops->restore(t->backend, tenant, slash + 1);
    if (e == ERR_CONFLICT)
        return err_detail_set(&t->detail, e, "%.200s: a block of this id is in sight", word);
    if (e != ERR_OK)
        return err_detail_set(&t->detail, e, "%.200s can not be restored (%s)", word, err_name(e));
    if (!t->options.is_json)
        buf_appendf(&t->out, "RESTORED  %s\n", word);
    return ERR_OK;
}

enum err tool_quarantine(struct tool *t)
{
    const char *what = tool_operand(t, 0), *word = tool_operand(t, 1);
    bool is_restore = what != NULL && strcmp(what, "restore") == 0;

    if (what == NULL || (!is_restore && strcmp(what, "list") != 0) ||
        (is_restore ? word == NULL : word != NULL) || tool_operand(t, 2) != NULL)
        return tool_misuse(t, "quarantine list, or quarantine restore TENANT/NAME");
    enum err e = tool_store(t);
    if (e != ERR_OK)
        return e;
    if (t->backend->ops->quarantined == NULL || t->backend->ops->restore == NULL)
        return err_detail_set(&t->detail, ERR_UNSUPPORTED,
                              "the quarantine of this kind of store can not be looked at");
    return is_restore ? restore(t, word) : list(t);
}
