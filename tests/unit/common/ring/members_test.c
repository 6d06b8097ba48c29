/* Members over real control lanes: up, suspect, down, up again; strangers refused; placement stable and even. */
#include "common/base/clock.h"
#include "common/ring/members.h"
#include "tests/lib/test.h"

#include <stdatomic.h>

#define PERIOD_NS (20 * NS_PER_MS)

struct peer {
    struct rpc_server *server;
    struct member_self self;
    atomic_int state;
};

static void peer_handle(void *arg, struct rpc_req *req)
{
    struct peer *p = arg;

    member_hello_reply(req, &p->self, (enum member_state)atomic_load(&p->state));
}

static void peer_start(struct peer *p, const char *url, const char *id, const char *cluster)
{
    p->self = (struct member_self){.role = "ingester",
                                   .cluster = cluster,
                                   .id = id,
                                   .boot_id = "b",
                                   .zone = "z",
                                   .push_url = "tcp://0.0.0.0:19501",
                                   .query_url = "tcp://127.0.0.1:19502"};
    atomic_store(&p->state, MEMBER_ACTIVE);
    struct rpc_server_options o = {
        .url = url, .receive_bytes_max = 65536, .contexts = 2, .handler = peer_handle, .arg = p};
    assert_int_equal(rpc_server_new(&o, &p->server, NULL), ERR_OK);
}

static struct members *open_members(const char *const *urls, unsigned count)
{
    struct members *m;
    struct members_options o = {.role = "ingester",
                                .cluster = "c",
                                .own_role = "querier",
                                .own_id = "q",
                                .own_boot_id = "b",
                                .control_urls = urls,
                                .url_count = count,
                                .push_receive_bytes_max = 65536,
                                .query_receive_bytes_max = 65536,
                                .contexts = 2,
                                .period_ns = PERIOD_NS};

    assert_int_equal(members_new(&o, &m), ERR_OK);
    return m;
}

static bool wait_for(struct members *m, unsigned index, enum member_state state,
                     enum member_health health)
{
    struct member one;
    struct timespec step = {.tv_nsec = 5 * NS_PER_MS};

    for (int i = 0; i < 2000; i++) {
        members_get(m, index, &one);
        if (one.state == state && one.health == health)
            return true;
        (void)nanosleep(&step, NULL);
    }
    print_message("state %u health %u\n", one.state, one.health);
    return false;
}

static void test_up_down_up(void **state)
{
    struct peer p;
    struct member one;
    char url[256];

    (void)state;
    peer_start(&p, "tcp://127.0.0.1:0", "ingester-0", "c");
    (void)snprintf(url, sizeof url, "%s", rpc_server_url(p.server));
    struct members *m = open_members((const char *[]){url}, 1);
    assert_true(wait_for(m, 0, MEMBER_ACTIVE, MEMBER_UP));
    members_get(m, 0, &one);
    assert_string_equal(one.id, "ingester-0");
    assert_string_equal(one.zone, "z");
    assert_non_null(members_push(m, 0));
    assert_non_null(members_query(m, 0));
    atomic_store(&p.state, MEMBER_DRAINING);
    assert_true(wait_for(m, 0, MEMBER_DRAINING, MEMBER_UP));
    rpc_server_free(p.server);
    assert_true(wait_for(m, 0, MEMBER_DRAINING, MEMBER_DOWN));
    peer_start(&p, url, "ingester-0", "c");
    assert_true(wait_for(m, 0, MEMBER_ACTIVE, MEMBER_UP));
    members_free(m);
    rpc_server_free(p.server);
}

static void test_strangers_are_refused(void **state)
{
    struct peer p;
    struct buf page;
    struct timespec while_ = {.tv_nsec = 200 * NS_PER_MS};
    unsigned order[2];

    (void)state;
    peer_start(&p, "tcp://127.0.0.1:0", "ingester-0", "another cluster");
    struct members *m = open_members((const char *[]){rpc_server_url(p.server)}, 1);
    (void)nanosleep(&while_, NULL);
    assert_true(wait_for(m, 0, MEMBER_UNKNOWN, MEMBER_DOWN));
    assert_null(members_push(m, 0));
    assert_int_equal(members_place(m, SLICE_LIT("t"), (struct trace_id){{1}}, order, 2), 0);
    buf_init(&page, 65536);
    members_write_status(m, true, &page);
    assert_non_null(memmem(page.ptr, page.len, "\"refused\":true", 14));
    buf_release(&page);
    members_free(m);
    rpc_server_free(p.server);
}

static void test_placement_is_stable_even_and_suspects_come_last(void **state)
{
    enum { PEERS = 3, TRACES = 9000 };
    struct peer peers[PEERS];
    const char *urls[PEERS], *reversed[PEERS];
    static const char *const ids[PEERS] = {"a", "b", "c"};
    unsigned firsts[PEERS] = {0}, order[PEERS], other[PEERS];

    (void)state;
    for (unsigned i = 0; i < PEERS; i++) {
        peer_start(&peers[i], "tcp://127.0.0.1:0", ids[i], "c");
        urls[i] = reversed[PEERS - 1 - i] = rpc_server_url(peers[i].server);
    }
    struct members *m = open_members(urls, PEERS), *r = open_members(reversed, PEERS);
    for (unsigned i = 0; i < PEERS; i++) {
        assert_true(wait_for(m, i, MEMBER_ACTIVE, MEMBER_UP));
        assert_true(wait_for(r, i, MEMBER_ACTIVE, MEMBER_UP));
    }
    for (uint32_t t = 1; t <= TRACES; t++) {
        struct trace_id id = {{0}};
        memcpy(id.b + 4, &t, sizeof t);
        assert_int_equal(members_place(m, SLICE_LIT("tenant"), id, order, PEERS), PEERS);
        assert_int_equal(members_place(r, SLICE_LIT("tenant"), id, other, PEERS), PEERS);
        for (unsigned k = 0; k < PEERS; k++)
            assert_int_equal(order[k], PEERS - 1 - other[k]); /* by id, not by place in the list */
        assert_int_equal(members_place(m, SLICE_LIT("tenant"), id, other, 1), 1);
        assert_int_equal(other[0], order[0]);
        firsts[order[0]]++;
    }
    for (unsigned i = 0; i < PEERS; i++)
        assert_in_range(firsts[i], TRACES / 3 - TRACES / 20, TRACES / 3 + TRACES / 20);
    members_report(m, 1, ERR_TIMEOUT);
    assert_int_equal(members_place(m, SLICE_LIT("tenant"), (struct trace_id){{9}}, order, PEERS),
                     PEERS);
    assert_int_equal(order[PEERS - 1], 1);
    members_report(m, 0, ERR_LIMIT); /* it answered: no suspect */
    assert_int_equal(members_place(m, SLICE_LIT("tenant"), (struct trace_id){{9}}, order, PEERS),
                     PEERS);
    assert_int_equal(order[PEERS - 1], 1);
    members_free(m);
    members_free(r);
    for (unsigned i = 0; i < PEERS; i++)
        rpc_server_free(peers[i].server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up_down_up),
        cmocka_unit_test(test_strangers_are_refused),
        cmocka_unit_test(test_placement_is_stable_even_and_suspects_come_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
