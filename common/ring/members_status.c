#include "common/base/clock.h"
#include "common/codec/json_out.h"
#include "common/net/http_server.h"
#include "common/ring/members_internal.h"

#include <assert.h>
#include <stdio.h>

enum { MEMBERS_PAGE_BYTES_MAX = 1 << 20 };

/* A copy of a row, taken under the lock, written without it. */
struct members_row {
    struct member member;
    bool is_refused;
    char problem[MEMBERS_PROBLEM_BYTES];
    char push_url[MEMBERS_URL_BYTES], query_url[MEMBERS_URL_BYTES];
    int64_t age_ms; /* of the last hello; -1: never */
};

static void members_read_row(struct members *m, unsigned index, struct members_row *ret)
{
    const struct members_candidate *c = &m->candidates[index];

    (void)pthread_rwlock_rdlock(&m->view);
    ret->member = c->member;
    ret->is_refused = c->is_refused;
    memcpy(ret->problem, c->problem, sizeof ret->problem);
    memcpy(ret->push_url, c->push_url, sizeof ret->push_url);
    memcpy(ret->query_url, c->query_url, sizeof ret->query_url);
    ret->age_ms =
        c->last_hello_ns == 0 ? -1 : (clock_mono_ns(&clock_system) - c->last_hello_ns) / NS_PER_MS;
    (void)pthread_rwlock_unlock(&m->view);
}

static void members_write_pair(struct json_out *j, const char *name, const char *text)
{
    json_out_key(j, name);
    json_out_cstring(j, text);
}

static void members_write_json(struct members *m, struct buf *out)
{
    struct json_out j;

    json_out_init(&j, out);
    json_out_begin_object(&j);
    members_write_pair(&j, "role", m->role);
    json_out_key(&j, "members");
    json_out_begin_array(&j);
    for (unsigned i = 0; i < m->count; i++) {
        struct members_row row;
        members_read_row(m, i, &row);
        json_out_begin_object(&j);
        members_write_pair(&j, "id", row.member.id);
        members_write_pair(&j, "url", m->candidates[i].control_url);
        members_write_pair(&j, "state", member_state_name(row.member.state));
        members_write_pair(&j, "health", member_health_name(row.member.health));
        members_write_pair(&j, "zone", row.member.zone);
        json_out_key(&j, "refused");
        json_out_bool(&j, row.is_refused);
        members_write_pair(&j, "problem", row.problem);
        members_write_pair(&j, "boot_id", row.member.boot_id);
        members_write_pair(&j, "push_url", row.push_url);
        members_write_pair(&j, "query_url", row.query_url);
        if (row.age_ms >= 0) {
            json_out_key(&j, "last_hello_ms");
            json_out_u64(&j, (uint64_t)row.age_ms);
        }
        json_out_end_object(&j);
    }
    json_out_end_array(&j);
    json_out_end_object(&j);
}

/* Texts of peers are checked on their way in (members_pb.h), addresses are our own configuration's: escaped all the same. */
static void members_write_cell(struct buf *out, const char *text)
{
    buf_append_str(out, "<td>");
    for (; *text != '\0'; text++) {
        uint8_t c = (uint8_t)*text;
        if (c == '<' || c == '>' || c == '&' || c == '"')
            buf_appendf(out, "&#%u;", c);
        else
            buf_append_byte(out, c);
    }
    buf_append_str(out, "</td>");
}

static void members_write_html(struct members *m, struct buf *out)
{
    buf_appendf(out,
                "<h2>%ss</h2>\n<table border=\"1\">\n<tr><th>Instance</th><th>Control lane</th>"
                "<th>State</th><th>Health</th><th>Zone</th><th>Push lane</th><th>Query lane</th>"
                "<th>Last hello</th><th>Problem</th></tr>\n",
                m->role);
    for (unsigned i = 0; i < m->count; i++) {
        struct members_row row;
        char age[32] = "never";
        members_read_row(m, i, &row);
        if (row.age_ms >= 0)
            (void)snprintf(age, sizeof age, "%lld ms ago", (long long)row.age_ms);
        const char *cells[] = {row.member.id,
                               m->candidates[i].control_url,
                               member_state_name(row.member.state),
                               row.is_refused ? "refused" : member_health_name(row.member.health),
                               row.member.zone,
                               row.push_url,
                               row.query_url,
                               age,
                               row.problem};
        buf_append_str(out, "<tr>");
        for (size_t cell = 0; cell < sizeof cells / sizeof cells[0]; cell++)
            members_write_cell(out, cells[cell]);
        buf_append_str(out, "</tr>\n");
    }
    buf_append_str(out, "</table>\n");
}

void members_write_status(struct members *m, bool is_json, struct buf *out)
{
    assert(out != NULL);
    if (is_json)
        members_write_json(m, out);
    else
        members_write_html(m, out);
}

void members_reply_status(struct members *const *lists, unsigned count, struct http_req *req)
{
    struct slice accept = http_req_header(req, "accept");
    bool is_json =
        accept.ptr != NULL && memmem(accept.ptr, accept.len, "application/json", 16) != NULL;
    struct http_header type = {"content-type",
                               is_json ? "application/json" : "text/html; charset=utf-8"};
    struct buf body;

    buf_init(&body, MEMBERS_PAGE_BYTES_MAX);
    buf_append_str(&body, is_json ? "["
                                  : "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\">"
                                    "<title>Members</title></head><body>\n");
    for (unsigned i = 0; i < count; i++) {
        if (is_json && i > 0)
            buf_append_byte(&body, ',');
        members_write_status(lists[i], is_json, &body);
    }
    buf_append_str(&body, is_json ? "]" : "</body></html>\n");
    struct http_reply reply = {.status = 200, .headers = &type, .header_count = 1, .body = &body};
    http_reply(req, &reply);
    buf_release(&body);
}
