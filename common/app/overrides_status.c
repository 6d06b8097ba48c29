/* The pages that show overrides. */
#include "common/app/config_priv.h"
#include "common/app/overrides_priv.h"
#include "common/base/clock.h"
#include "common/codec/json_out.h"

#include <time.h>

enum { YAML_BYTES_MAX = 1 << 20 };

/* --- runtime_config ---------------------------------------------------------------------------- */

static void write_name(struct slice name, struct buf *out)
{
    buf_append_str(out, "  \"");
    config_value_write_escaped(name, out);
    buf_append_str(out, "\":");
}

static void write_entry(const struct overrides_tenant *t, const struct limits *other,
                        struct buf *out)
{
    size_t at;

    write_name(t->name, out);
    at = out->len;
    buf_append_byte(out, '\n');
    if (config_write_limits(&t->given, other, 2, out) == 0 && buf_err(out) == ERR_OK) {
        out->len = at;
        buf_append_str(out, " {}\n");
    }
}

void overrides_write_runtime(struct overrides *o, bool is_diff, struct buf *out)
{
    atomic_uint *holders;
    const struct overrides_file *f = overrides_file_hold(o, &holders);
    const struct limits *defaults = &overrides_config(o)->defaults;

    buf_append_str(out, "---\n");
    if (!is_diff) {
        buf_append_str(out, "defaults:\n");
        (void)config_write_limits(defaults, NULL, 1, out); /* a rate is always there */
    }
    buf_append_str(out, f->count == 0 ? "overrides: {}\n" : "overrides:\n");
    for (uint32_t i = 0; i < f->count; i++)
        write_entry(&f->tenants[i], is_diff ? defaults : NULL, out);
    overrides_file_drop(holders);
}

/* --- overrides --------------------------------------------------------------------------------- */

static void now_text(int64_t now_ns, char ret[40])
{
    time_t seconds = (time_t)(now_ns / NS_PER_S);
    char date[24];
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        date[0] = '\0';
    (void)snprintf(ret, 40, "%s.%09dZ", date, (int)(now_ns % NS_PER_S));
}

static void html_text(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        const char *word = s.ptr[i] == '<'   ? "&lt;"
                           : s.ptr[i] == '>' ? "&gt;"
                           : s.ptr[i] == '&' ? "&amp;"
                           : s.ptr[i] == '"' ? "&quot;"
                                             : NULL;
        if (word != NULL)
            buf_append_str(out, word);
        else
            buf_append_byte(out, s.ptr[i]);
    }
}

static void html_begin(const char *title, const char *now, struct buf *out)
{
    buf_appendf(
        out,
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>%s</title></head><body>\n"
        "<h1>%s</h1>\n<p>Current time: %s</p>\n",
        title, title, now);
}

static void tenants_json(const struct overrides_file *f, const char *now, struct buf *out)
{
    struct json_out j;

    json_out_init(&j, out);
    json_out_begin_object(&j);
    json_out_key(&j, "now");
    json_out_cstring(&j, now);
    if (f->count > 0) {
        json_out_key(&j, "tenants");
        json_out_begin_array(&j);
        for (uint32_t i = 0; i < f->count; i++) {
            json_out_begin_object(&j);
            json_out_key(&j, "name");
            json_out_string(&j, f->tenants[i].name);
            json_out_key(&j, "has_runtime_overrides");
            json_out_bool(&j, true);
            json_out_key(&j, "has_user_configurable_overrides");
            json_out_bool(&j, false);
            json_out_end_object(&j);
        }
        json_out_end_array(&j);
    }
    json_out_end_object(&j);
}

void overrides_write_tenants(struct overrides *o, int64_t now_ns, bool is_json, struct buf *out)
{
    atomic_uint *holders;
    const struct overrides_file *f = overrides_file_hold(o, &holders);
    char now[40];

    now_text(now_ns, now);
    if (is_json) {
        tenants_json(f, now, out);
    } else {
        html_begin("Tenants with overrides", now, out);
        buf_append_str(out, "<ul>\n");
        for (uint32_t i = 0; i < f->count; i++) {
            buf_append_str(out, "<li>");
            html_text(f->tenants[i].name, out);
            buf_append_str(out, "</li>\n");
        }
        buf_append_str(out, "</ul>\n</body></html>\n");
    }
    overrides_file_drop(holders);
}

/* One tenant: what is given for it, and where that comes from. */
struct shown_tenant {
    struct slice name, yaml, source;
    const char *now;
};

static const char NO_USER_OVERRIDES[] = "User-configurable overrides are not enabled";

static void tenant_json(const struct shown_tenant *t, struct buf *out)
{
    struct json_out j;

    json_out_init(&j, out);
    json_out_begin_object(&j);
    json_out_key(&j, "now");
    json_out_cstring(&j, t->now);
    json_out_key(&j, "tenant");
    json_out_string(&j, t->name);
    json_out_key(&j, "user_configurable_overrides");
    json_out_cstring(&j, NO_USER_OVERRIDES);
    json_out_key(&j, "runtime_overrides");
    json_out_string(&j, t->yaml);
    json_out_key(&j, "using_default_or_wildcard_runtime_overrides");
    json_out_string(&j, t->source);
    json_out_end_object(&j);
}

static void tenant_html(const struct shown_tenant *t, struct buf *out)
{
    html_begin("Overrides of a tenant", t->now, out);
    buf_append_str(out, "<p>Tenant: ");
    html_text(t->name, out);
    buf_append_str(out, "</p>\n<p>Runtime overrides of: ");
    html_text(t->source, out);
    buf_append_str(out, "</p>\n<pre>");
    html_text(t->yaml, out);
    buf_append_str(out, "</pre>\n</body></html>\n");
}

void overrides_write_tenant(struct overrides *o, struct slice tenant, int64_t now_ns, bool is_json,
                            struct buf *out)
{
    atomic_uint *holders;
    const struct overrides_file *f = overrides_file_hold(o, &holders);
    const struct overrides_tenant *own = overrides_file_find(f, tenant);
    struct shown_tenant shown = {.name = tenant, .source = SLICE_LIT("default overrides")};
    char now[40];
    struct buf yaml;

    now_text(now_ns, now);
    buf_init(&yaml, YAML_BYTES_MAX);
    if (config_write_limits(own != NULL ? &own->given : &overrides_config(o)->defaults, NULL, 0,
                            &yaml) == 0)
        buf_append_str(&yaml, "{}\n");
    shown.yaml = buf_slice(&yaml);
    shown.now = now;
    if (own != NULL)
        shown.source = own->name;
    if (is_json)
        tenant_json(&shown, out);
    else
        tenant_html(&shown, out);
    if (buf_err(&yaml) != ERR_OK)
        out->err = buf_err(&yaml);
    buf_release(&yaml);
    overrides_file_drop(holders);
}
