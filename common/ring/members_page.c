#include "common/codec/json_out.h"
#include "common/net/http_server.h"
#include "common/ring/members.h"
#include "common/ring/members_priv.h"

static const char *const state_names[] = {"UNKNOWN",  "STARTING", "REPLAYING", "ACTIVE",
                                          "READONLY", "DRAINING", "FAILED"};
static const char *const health_names[] = {"up", "suspect", "down"};

static void member_json(struct json_out *j, const struct members_candidate *c)
{
    json_out_begin_object(j);
    json_out_key(j, "id");
    json_out_cstring(j, c->member.id);
    json_out_key(j, "url");
    json_out_cstring(j, c->url);
    json_out_key(j, "state");
    json_out_cstring(j, state_names[c->member.state]);
    json_out_key(j, "health");
    json_out_cstring(j, health_names[c->member.health]);
    json_out_key(j, "zone");
    json_out_cstring(j, c->member.zone);
    json_out_key(j, "refused");
    json_out_bool(j, c->is_refused);
    json_out_end_object(j);
}

/* Text from another process, for a page: everything but plain characters is left out. */
static void html_text(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s >= ' ' && *s != '<' && *s != '>' && *s != '&' && *s != '"')
            buf_append_byte(out, (uint8_t)*s);
}

static void member_html(struct buf *out, const struct members_candidate *c)
{
    const char *cells[] = {c->member.id, c->url, state_names[c->member.state],
                           c->is_refused ? "refused" : health_names[c->member.health],
                           c->member.zone};

    buf_append_str(out, "<tr>");
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        buf_append_str(out, "<td>");
        html_text(out, cells[i]);
        buf_append_str(out, "</td>");
    }
    buf_append_str(out, "</tr>\n");
}

void members_write_status(struct members *m, bool is_json, struct buf *out)
{
    struct json_out j;

    json_out_init(&j, out);
    if (is_json) {
        json_out_begin_object(&j);
        json_out_key(&j, "role");
        json_out_cstring(&j, m->role);
        json_out_key(&j, "members");
        json_out_begin_array(&j);
    } else {
        buf_appendf(
            out,
            "<h2>%ss</h2>\n<table border=\"1\">\n<tr><th>id</th><th>control lane</th><th>state</th><th>health</th><th>zone</th></tr>\n",
            m->role);
    }
    mutex_lock(&m->lock);
    for (unsigned i = 0; i < m->count; i++) {
        if (is_json)
            member_json(&j, &m->candidates[i]);
        else
            member_html(out, &m->candidates[i]);
    }
    mutex_unlock(&m->lock);
    if (is_json) {
        json_out_end_array(&j);
        json_out_end_object(&j);
    } else {
        buf_append_str(out, "</table>\n");
    }
}

void members_reply_status(struct members *const *lists, unsigned count, struct http_req *req)
{
    enum { PAGE_BYTES_MAX = 1 << 20 };
    struct slice accept = http_req_header(req, "accept");
    bool is_json = memmem(accept.ptr, accept.len, "application/json", 16) != NULL;
    struct http_header type = {"content-type",
                               is_json ? "application/json" : "text/html; charset=utf-8"};
    struct buf body;

    buf_init(&body, PAGE_BYTES_MAX);
    if (is_json)
        buf_append_byte(&body, '[');
    for (unsigned i = 0; i < count; i++) {
        if (is_json && i != 0)
            buf_append_byte(&body, ',');
        members_write_status(lists[i], is_json, &body);
    }
    if (is_json)
        buf_append_byte(&body, ']');
    http_reply(req, &(struct http_reply){
                        .status = 200, .headers = &type, .header_count = 1, .body = &body});
    buf_release(&body);
}
