/* members_priv.h - what members.c and its pages share. */
#ifndef VIVACE_RING_MEMBERS_PRIV_H
#define VIVACE_RING_MEMBERS_PRIV_H

#include "common/ring/members.h"
#include "common/sys/thread.h"

#include <pthread.h>

enum { MEMBERS_URL_BYTES = 256, MEMBERS_RETIRED_MAX = 64 };

struct members_candidate {
    struct members *owner;
    char url[MEMBERS_URL_BYTES];
    char push_url[MEMBERS_URL_BYTES], query_url[MEMBERS_URL_BYTES];
    struct member member;
    struct rpc_client *control, *push, *query;
    unsigned misses, goods;
    bool is_asked, has_reply, is_refused;
    enum err reply_err;
    struct buf reply;
    int64_t refused_until_ns;
};

struct members {
    char role[32], cluster[128], own_role[32], own_id[MEMBER_ID_BYTES_MAX + 1], own_boot_id[33];
    size_t push_receive_bytes_max, query_receive_bytes_max;
    unsigned contexts, count;
    int64_t period_ns;
    struct mutex lock; /* all candidates' fields, is_stopping, retired */
    pthread_cond_t changed;
    pthread_t thread;
    bool is_running, is_stopping;
    struct members_candidate *candidates;
    struct rpc_client *retired
        [MEMBERS_RETIRED_MAX]; /* lanes of addresses that were left; someone may still use them */
    unsigned retired_count;
};

#endif
