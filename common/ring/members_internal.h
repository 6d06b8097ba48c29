/*
 * members_internal.h - the table of members, shared by heartbeat, placement and status page.
 */
#ifndef VIVACE_RING_MEMBERS_INTERNAL_H
#define VIVACE_RING_MEMBERS_INTERNAL_H

#include "common/ring/members_pb.h"
#include "common/sys/thread.h"

#include <stdatomic.h>

enum { MEMBERS_RETIRED_MAX = 16, MEMBERS_PROBLEM_BYTES = 128 };

struct members_lane {
    _Atomic(struct rpc_client *)
        client;                  /* NULL before the first hello; never freed before the members */
    char url[MEMBERS_URL_BYTES]; /* of the heartbeat thread */
};

struct members_candidate {
    struct members *members;
    char control_url[MEMBERS_URL_BYTES];
    struct rpc_client *control;
    struct members_lane push, query;
    /* Addresses change when a member is told apart from its predecessor; whoever holds the old client may go on using it. */
    struct rpc_client *retired[MEMBERS_RETIRED_MAX];
    unsigned retired_count;

    /* Under members.view. */
    struct member member;
    unsigned missed, good;
    bool has_lanes;  /* all that its last hello told */
    bool is_refused; /* of another cluster, role, or with an id that is taken */
    char problem[MEMBERS_PROBLEM_BYTES];
    char push_url[MEMBERS_URL_BYTES], query_url[MEMBERS_URL_BYTES];
    int64_t last_hello_ns; /* 0: never */

    /* Under members.lock: the answer on its way from nng's thread to the heartbeat's. */
    bool is_asked, is_answered;
    enum err answer_err;
    struct buf answer;

    /* Of the heartbeat thread. */
    int64_t asked_ns, quarantine_until_ns;
    bool was_connected;
};

struct members {
    char role[32];
    struct buf hello; /* our request, packed once */
    char cluster[64];
    size_t push_receive_bytes_max, query_receive_bytes_max;
    unsigned contexts;
    int64_t period_ns, quarantine_ns;
    pthread_t thread;
    bool has_thread;
    struct mutex lock; /* is_stopping and the answers */
    pthread_cond_t wake;
    bool is_stopping;
    pthread_rwlock_t view;
    unsigned count;
    struct members_candidate candidates[];
};

#endif
