/*
 * members.h - who is there: candidates from a static list (later DNS), liveness by hello messages on the control lane, placement by rendezvous hashing.
 *
 * Shape:   a member has a stable instance id (told in its hello), a boot id, a state and three lanes.  Suspect after 2 missed hellos (1 s apart), down
 *          after 3; back after 2 good ones.  A member of another cluster or role is refused.
 *          What a peer tells about itself is checked: printable, its cluster and role ours, its id nobody else's.  Its boot id may change: the same member, restarted.
 *          A lane told without a host (tcp://:9501, tcp://0.0.0.0:9501) is on the host of its control address.
 * Threads: one heartbeat thread; the view is read from any thread.
 * Source:  design D3.
 */
#ifndef VIVACE_RING_MEMBERS_H
#define VIVACE_RING_MEMBERS_H

#include "common/base/trace_id.h"
#include "common/net/rpc.h"

enum member_state {
    MEMBER_UNKNOWN,
    MEMBER_STARTING,
    MEMBER_REPLAYING,
    MEMBER_ACTIVE,
    MEMBER_READONLY,
    MEMBER_DRAINING,
    MEMBER_FAILED
};
enum member_health { MEMBER_UP, MEMBER_SUSPECT, MEMBER_DOWN };
enum { MEMBER_ID_BYTES_MAX = 63, MEMBERS_MAX = 256 };

struct member {
    char id[MEMBER_ID_BYTES_MAX + 1]; /* stable instance id; empty until the first hello */
    char boot_id[33];
    char zone[64];
    enum member_state state;
    enum member_health health;
    unsigned index; /* of the candidate in the list; stable */
    uint64_t id_hash;
};

struct members;
struct members_options {
    const char *role;    /* of the members: "ingester", "generator", "querier" */
    const char *cluster; /* cluster id */
    const char *own_role, *own_id, *own_boot_id;
    const char *const
        *control_urls; /* one candidate each; push and query lanes are told in the hello */
    unsigned url_count;
    size_t push_receive_bytes_max, query_receive_bytes_max;
    unsigned contexts;     /* per lane */
    int64_t period_ns;     /* of the hellos; 0: 1 s */
    int64_t quarantine_ns; /* a refused address is left alone for so long; 0: 30 s */
};
const char *member_state_name(enum member_state state);
const char *member_health_name(enum member_health health);
/* Copies the options.  Errors: ERR_INVALID for an address that is not tcp://host:port or a text too long, ERR_TOO_LARGE over MEMBERS_MAX, ERR_NOMEM. */
MUST_CHECK enum err members_new(const struct members_options *o, struct members **ret);
void members_free(struct members *m);
unsigned members_count(const struct members *m);
void members_get(struct members *m, unsigned index, struct member *ret);
/* How many have neither answered a hello yet (or been refused) nor missed so many that they count as down: right after a start, before it is known who is there. */
unsigned members_unheard(struct members *m);
/* The lane's client of a member; lives as long as `m`.  NULL before its first hello. */
struct rpc_client *members_push(struct members *m, unsigned index);
struct rpc_client *members_query(struct members *m, unsigned index);
struct rpc_client *members_control(struct members *m, unsigned index);
/* Rendezvous order of (tenant, trace id) over members that can take writes and whose lanes are there: first the ACTIVE, then the REPLAYING, then the
 * SUSPECT; never the DOWN.  Writes at most `max` indexes, returns how many. */
unsigned members_place(struct members *m, struct slice tenant, struct trace_id id,
                       unsigned *ret_indexes, unsigned max);
/* Answers /status/members: one list a role, HTML, or JSON by Accept. */
struct http_req;
void members_reply_status(struct members *const *lists, unsigned count, struct http_req *req);
void members_write_status(struct members *m, bool is_json,
                          struct buf *out); /* one list of that page */
/* The caller saw this member fail a request: suspect at once. */
void members_report(struct members *m, unsigned index, enum err err);

/* The answering side: give it to an rpc server's control lane. */
struct member_self {
    const char *role, *cluster, *id, *boot_id, *zone, *push_url, *query_url;
};
void member_hello_reply(struct rpc_req *req, const struct member_self *self,
                        enum member_state state);

#endif
