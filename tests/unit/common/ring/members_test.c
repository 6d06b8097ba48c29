#include "common/base/clock.h"
#include "common/ring/members.h"
#include "tests/lib/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONTEXTS = 4 };
#define PERIOD_NS (100 * NS_PER_MS)

/* A member as it would be in a process of its own: a control lane that answers hellos, a push lane that echoes. */
struct peer {
    char id[64], boot_id[33], cluster[64], role[32], zone[16], control_url[128], push_url[128],
        query_url[128];
    struct rpc_server *control, *push;
    _Atomic enum member_state state;
    atomic_bool is_silent;
    atomic_uint hello_count;
};

static void on_control(void *arg, struct rpc_req *req)
{
    struct peer *p = arg;
    struct member_self self = {.role = p->role,
                               .cluster = p->cluster,
                               .id = p->id,
                               .boot_id = p->boot_id,
                               .zone = p->zone,
                               .push_url = p->push_url,
                               .query_url = p->query_url};

    atomic_fetch_add(&p->hello_count, 1);
    assert_int_equal(rpc_req_method(req), RPC_HELLO);
    if (atomic_load(&p->is_silent))
        rpc_reply(req, ERR_OK, SLICE_LIT("\xff\xff")); /* there, but not of our kind */
    else
        member_hello_reply(req, &self, atomic_load(&p->state));
}

static void on_push(void *arg, struct rpc_req *req)
{
    (void)arg;
    rpc_reply(req, ERR_OK, rpc_req_payload(req));
}

static struct rpc_server *serve(const char *url, rpc_handler *handler, struct peer *p)
{
    struct rpc_server *s;
    struct err_detail detail = {0};
    struct rpc_server_options o = {
        .url = url, .receive_bytes_max = 1 << 20, .contexts = 4, .handler = handler, .arg = p};

    if (rpc_server_new(&o, &s, &detail) != ERR_OK)
        fail_msg("%s", detail.text);
    return s;
}

static void peer_init(struct peer *p, unsigned number)
{
    memset(p, 0, sizeof *p);
    (void)snprintf(p->id, sizeof p->id, "ingester-%u", number);
    (void)snprintf(p->boot_id, sizeof p->boot_id, "boot-%u", number);
    (void)snprintf(p->cluster, sizeof p->cluster, "test");
    (void)snprintf(p->role, sizeof p->role, "ingester");
    atomic_store(&p->state, MEMBER_ACTIVE);
    p->push = serve("tcp://127.0.0.1:0", on_push, p);
    /* As a process that listens everywhere tells it. */
    (void)snprintf(p->push_url, sizeof p->push_url, "tcp://0.0.0.0%s",
                   strrchr(rpc_server_url(p->push), ':'));
    (void)snprintf(p->query_url, sizeof p->query_url, "%s", rpc_server_url(p->push));
    p->control = serve("tcp://127.0.0.1:0", on_control, p);
    (void)snprintf(p->control_url, sizeof p->control_url, "%s", rpc_server_url(p->control));
}

static void peer_stop_control(struct peer *p)
{
    rpc_server_free(p->control);
    p->control = NULL;
}

static void peer_release(struct peer *p)
{
    rpc_server_free(p->control);
    rpc_server_free(p->push);
}

static struct members *start(const char *const *urls, unsigned count)
{
    struct members *m;
    struct members_options o = {.role = "ingester",
                                .cluster = "test",
                                .own_role = "distributor",
                                .own_id = "distributor-0",
                                .own_boot_id = "b",
                                .control_urls = urls,
                                .url_count = count,
                                .push_receive_bytes_max = 1 << 20,
                                .query_receive_bytes_max = 1 << 20,
                                .contexts = CONTEXTS,
                                .period_ns = PERIOD_NS,
                                .quarantine_ns = 3 * PERIOD_NS};

    assert_int_equal(members_new(&o, &m), ERR_OK);
    assert_int_equal(members_count(m), count);
    return m;
}

static void wait_health(struct members *m, unsigned index, enum member_health health)
{
    struct member member;

    for (unsigned i = 0; i < 20000; i++) {
        members_get(m, index, &member);
        if (member.health == health)
            return;
        (void)usleep(1000);
    }
    fail_msg("member %u did not become %s", index, member_health_name(health));
}

static void wait_state(struct members *m, unsigned index, enum member_state state)
{
    struct member member;

    for (unsigned i = 0; i < 20000; i++) {
        members_get(m, index, &member);
        if (member.state == state)
            return;
        (void)usleep(1000);
    }
    fail_msg("member %u did not become %s", index, member_state_name(state));
}

static void test_up_with_lanes(void **state)
{
    (void)state;
    struct peer p;
    struct member member;
    struct buf answer;

    peer_init(&p, 7);
    (void)snprintf(p.zone, sizeof p.zone, "zone-a");
    const char *urls[] = {p.control_url};
    struct members *m = start(urls, 1);
    members_get(m, 0, &member);
    wait_health(m, 0, MEMBER_UP);
    members_get(m, 0, &member);
    assert_string_equal(member.id, "ingester-7");
    assert_string_equal(member.boot_id, "boot-7");
    assert_string_equal(member.zone, "zone-a");
    assert_int_equal(member.state, MEMBER_ACTIVE);
    for (unsigned i = 0; i < 5000 && members_query(m, 0) == NULL; i++)
        (void)usleep(1000);
    buf_init(&answer, 100);
    assert_int_equal(
        rpc_call_wait(members_push(m, 0), RPC_PUSH, SLICE_LIT("x"), 10 * NS_PER_S, &answer),
        ERR_OK);
    assert_int_equal(
        rpc_call_wait(members_query(m, 0), RPC_TRACE, SLICE_LIT("y"), 10 * NS_PER_S, &answer),
        ERR_OK);
    assert_true(slice_eq_str(buf_slice(&answer), "xy"));
    buf_release(&answer);
    assert_non_null(members_control(m, 0));
    members_free(m);
    peer_release(&p);
}

static void test_up_suspect_down_up(void **state)
{
    (void)state;
    struct peer p;
    struct member member;

    peer_init(&p, 1);
    const char *urls[] = {p.control_url};
    struct members *m = start(urls, 1);
    wait_health(m, 0, MEMBER_UP);
    struct rpc_client *push = NULL;
    for (unsigned i = 0; i < 5000 && push == NULL; i++) {
        push = members_push(m, 0);
        (void)usleep(1000);
    }
    int64_t before_ns = clock_mono_ns(&clock_system);
    peer_stop_control(&p);
    wait_health(m, 0, MEMBER_SUSPECT);
    wait_health(m, 0, MEMBER_DOWN);
    /* Three periods and what the machine takes. */
    assert_true(clock_mono_ns(&clock_system) - before_ns < 50 * PERIOD_NS);
    members_get(m, 0, &member);
    assert_string_equal(member.id, "ingester-1"); /* still known */
    /* Restarted: another boot id, the same member with the same lanes. */
    (void)snprintf(p.boot_id, sizeof p.boot_id, "boot-later");
    p.control = serve(p.control_url, on_control, &p);
    unsigned hellos = atomic_load(&p.hello_count);
    wait_health(m, 0, MEMBER_UP);
    assert_true(atomic_load(&p.hello_count) - hellos >= 2);
    members_get(m, 0, &member);
    assert_string_equal(member.id, "ingester-1");
    assert_string_equal(member.boot_id, "boot-later");
    assert_ptr_equal(members_push(m, 0), push);
    members_free(m);
    peer_release(&p);
}

static void test_report_makes_suspect(void **state)
{
    (void)state;
    struct peer p;
    struct member member;

    peer_init(&p, 1);
    const char *urls[] = {p.control_url};
    struct members *m = start(urls, 1);
    wait_health(m, 0, MEMBER_UP);
    members_report(m, 0, ERR_LIMIT); /* an answer */
    members_get(m, 0, &member);
    assert_int_equal(member.health, MEMBER_UP);
    members_report(m, 0, ERR_UNAVAILABLE);
    members_get(m, 0, &member);
    assert_int_equal(member.health, MEMBER_SUSPECT);
    wait_health(m, 0, MEMBER_UP); /* hellos say otherwise */
    members_free(m);
    peer_release(&p);
}

static bool has_problem(struct members *m, const char *problem)
{
    struct buf out;

    buf_init(&out, 100000);
    members_write_status(m, true, &out);
    buf_append_byte(&out, 0);
    bool is_there = strstr((char *)out.ptr, problem) != NULL;
    buf_release(&out);
    return is_there;
}

static void wait_problem(struct members *m, const char *problem)
{
    for (unsigned i = 0; i < 10000; i++) {
        if (has_problem(m, problem))
            return;
        (void)usleep(1000);
    }
    fail_msg("the problem \"%s\" did not show", problem);
}

static void test_wrong_identities_are_refused(void **state)
{
    (void)state;
    struct peer good, cluster, role, twin, other;
    unsigned indexes[8];

    peer_init(&good, 1);
    peer_init(&cluster, 2);
    (void)snprintf(cluster.cluster, sizeof cluster.cluster, "elsewhere");
    peer_init(&role, 3);
    (void)snprintf(role.role, sizeof role.role, "generator");
    peer_init(&other, 4);
    atomic_store(&other.is_silent, true);
    const char *urls[] = {good.control_url, cluster.control_url, role.control_url,
                          other.control_url};
    struct members *m = start(urls, 4);
    wait_health(m, 0, MEMBER_UP);
    wait_problem(m, "refuses us: another cluster");
    wait_problem(m, "has another role");
    wait_problem(m, "answers what is no hello");
    assert_int_equal(members_place(m, SLICE_LIT("t"), (struct trace_id){{1}}, indexes, 8), 1);
    assert_int_equal(indexes[0], 0);
    /* Quarantine: not asked each period. */
    unsigned asked = atomic_load(&role.hello_count);
    (void)usleep((unsigned)(2 * PERIOD_NS / NS_PER_US));
    assert_true(atomic_load(&role.hello_count) - asked <= 1);
    members_free(m);

    /* The same id twice: one of them, and it stays the same one. */
    peer_init(&twin, 1);
    const char *twins[] = {good.control_url, twin.control_url};
    m = start(twins, 2);
    wait_problem(m, "has the instance id of another member");
    assert_int_equal(members_place(m, SLICE_LIT("t"), (struct trace_id){{1}}, indexes, 8), 1);
    unsigned first = indexes[0];
    (void)usleep((unsigned)(5 * PERIOD_NS / NS_PER_US));
    assert_int_equal(members_place(m, SLICE_LIT("t"), (struct trace_id){{1}}, indexes, 8), 1);
    assert_int_equal(indexes[0], first);
    members_free(m);
    peer_release(&good);
    peer_release(&cluster);
    peer_release(&role);
    peer_release(&twin);
    peer_release(&other);
}

static struct trace_id numbered_id(unsigned i)
{
    struct trace_id id = {{0}};

    memcpy(id.b + 12, &i, sizeof i);
    id.b[0] = 1;
    return id;
}

static void test_placement(void **state)
{
    (void)state;
    enum { PEERS = 5, TRACES = 20000 };
    struct peer peers[PEERS];
    const char *urls[PEERS], *fewer[PEERS - 1];
    static unsigned owners[TRACES][PEERS];
    unsigned first[PEERS] = {0}, again[PEERS], moved = 0, tenant_moved = 0;

    for (unsigned i = 0; i < PEERS; i++) {
        peer_init(&peers[i], i);
        urls[i] = peers[i].control_url;
        if (i > 0)
            fewer[PEERS - 1 - i] = peers[i].control_url; /* without the first, in another order */
    }
    struct members *m = start(urls, PEERS);
    struct members *without = start(fewer, PEERS - 1);
    for (unsigned i = 0; i < PEERS; i++)
        wait_health(m, i, MEMBER_UP);
    for (unsigned i = 0; i < PEERS - 1; i++)
        wait_health(without, i, MEMBER_UP);
    for (unsigned t = 0; t < TRACES; t++) {
        assert_int_equal(members_place(m, SLICE_LIT("tenant"), numbered_id(t), owners[t], PEERS),
                         PEERS);
        first[owners[t][0]]++;
        unsigned seen = 0;
        for (unsigned i = 0; i < PEERS; i++)
            seen |= 1u << owners[t][i];
        assert_int_equal(seen, (1u << PEERS) - 1);
        /* Asking for fewer gives the beginning of the same order. */
        assert_int_equal(members_place(m, SLICE_LIT("tenant"), numbered_id(t), again, 2), 2);
        assert_int_equal(again[0], owners[t][0]);
        assert_int_equal(again[1], owners[t][1]);
        /* Without the first peer only its traces move, to their second choice; ids count, not places in the list. */
        assert_int_equal(members_place(without, SLICE_LIT("tenant"), numbered_id(t), again, 1), 1);
        unsigned want = owners[t][0] == 0 ? owners[t][1] : owners[t][0];
        assert_int_equal(again[0], PEERS - 1 - want);
        moved += owners[t][0] == 0;
        assert_int_equal(members_place(m, SLICE_LIT("tenant2"), numbered_id(t), again, 1), 1);
        tenant_moved += again[0] != owners[t][0];
    }
    for (unsigned i = 0; i < PEERS; i++) /* a fifth each, within 5 % of it */
        assert_in_range(first[i], TRACES / PEERS * 95 / 100, TRACES / PEERS * 105 / 100);
    assert_in_range(moved, TRACES / 5 * 95 / 100, TRACES / 5 * 105 / 100);
    assert_in_range(tenant_moved, TRACES * 75 / 100, TRACES * 85 / 100);
    members_free(without);

    /* Who replays his log is a second choice. */
    unsigned owner = owners[0][0];
    struct member member;
    atomic_store(&peers[owner].state, MEMBER_REPLAYING);
    wait_state(m, owner, MEMBER_REPLAYING);
    assert_int_equal(members_place(m, SLICE_LIT("tenant"), numbered_id(0), again, PEERS), PEERS);
    for (unsigned i = 0; i + 1 < PEERS; i++)
        assert_int_equal(again[i], owners[0][i + 1]);
    assert_int_equal(again[PEERS - 1], owner);

    /* Suspects come last; who is not active or down does not come. */
    members_report(m, owner, ERR_TIMEOUT);
    members_get(m, owner, &member);
    unsigned count = members_place(m, SLICE_LIT("tenant"), numbered_id(0), again, PEERS);
    if (member.health == MEMBER_SUSPECT) {
        assert_int_equal(count, PEERS);
        assert_int_equal(again[PEERS - 1], owner);
    }
    atomic_store(&peers[owner].state, MEMBER_DRAINING);
    peer_stop_control(&peers[owners[0][1]]);
    wait_health(m, owners[0][1], MEMBER_DOWN);
    wait_state(m, owner, MEMBER_DRAINING);
    assert_int_equal(members_place(m, SLICE_LIT("tenant"), numbered_id(0), again, PEERS),
                     PEERS - 2);
    assert_int_equal(again[0], owners[0][2]);
    members_free(m);
    for (unsigned i = 0; i < PEERS; i++)
        peer_release(&peers[i]);
}

/* Another build or machine must place alike, or a trace is split for no reason. */
static void test_placement_is_fixed(void **state)
{
    (void)state;
    enum { PEERS = 3 };
    struct peer peers[PEERS];
    const char *urls[PEERS];
    unsigned order[PEERS];
    char text[64] = "";

    for (unsigned i = 0; i < PEERS; i++) {
        peer_init(&peers[i], i);
        urls[i] = peers[i].control_url;
    }
    struct members *m = start(urls, PEERS);
    for (unsigned i = 0; i < PEERS; i++)
        wait_health(m, i, MEMBER_UP);
    for (unsigned t = 0; t < 8; t++) {
        struct trace_id id = {{0}};
        id.b[15] = (uint8_t)t;
        assert_int_equal(members_place(m, SLICE_LIT("single-tenant"), id, order, PEERS), PEERS);
        size_t at = strlen(text);
        (void)snprintf(text + at, sizeof text - at, "%u%u%u ", order[0], order[1], order[2]);
    }
    assert_string_equal(text, "210 102 210 120 102 012 012 210 ");
    members_free(m);
    for (unsigned i = 0; i < PEERS; i++)
        peer_release(&peers[i]);
}

static void test_lane_that_moves(void **state)
{
    (void)state;
    struct peer p;
    struct buf answer;

    peer_init(&p, 1);
    const char *urls[] = {p.control_url};
    struct members *m = start(urls, 1);
    struct rpc_client *before = NULL;
    for (unsigned i = 0; i < 10000 && before == NULL; i++) {
        before = members_push(m, 0);
        (void)usleep(1000);
    }
    assert_non_null(before);
    peer_stop_control(&p);
    rpc_server_free(p.push);
    p.push = serve("tcp://127.0.0.1:0", on_push, &p);
    (void)snprintf(p.push_url, sizeof p.push_url, "tcp://%s", strrchr(rpc_server_url(p.push), ':'));
    p.control = serve(p.control_url, on_control, &p);
    for (unsigned i = 0; i < 20000 && members_push(m, 0) == before; i++)
        (void)usleep(1000);
    assert_ptr_not_equal(members_push(m, 0), before);
    buf_init(&answer, 100);
    assert_int_equal(
        rpc_call_wait(members_push(m, 0), RPC_PUSH, SLICE_LIT("new"), 10 * NS_PER_S, &answer),
        ERR_OK);
    /* Who still holds the old one gets an error, not a crash. */
    assert_int_equal(rpc_call_wait(before, RPC_PUSH, SLICE_LIT("old"), NS_PER_S / 10, &answer),
                     ERR_UNAVAILABLE);
    buf_release(&answer);
    members_free(m);
    peer_release(&p);
}

static void test_nobody_there_and_bad_options(void **state)
{
    (void)state;
    struct members *m;
    unsigned index;
    const char *urls[] = {"tcp://127.0.0.1:1"};
    struct buf out;

    m = start(urls, 1);
    wait_problem(m, "can not be reached");
    assert_null(members_push(m, 0));
    assert_int_equal(members_place(m, SLICE_LIT("t"), (struct trace_id){{1}}, &index, 1), 0);
    buf_init(&out, 10000);
    members_write_status(m, false, &out);
    buf_append_byte(&out, 0);
    assert_non_null(strstr((char *)out.ptr, "<td>tcp://127.0.0.1:1</td>"));
    assert_non_null(strstr((char *)out.ptr, "<td>never</td>"));
    buf_release(&out);
    members_free(m);
    m = start(NULL, 0);
    assert_int_equal(members_place(m, SLICE_LIT("t"), (struct trace_id){{1}}, &index, 1), 0);
    members_free(m);
    members_free(NULL);
    urls[0] = "http://127.0.0.1:1";
    struct members_options o = {
        .role = "ingester", .cluster = "c", .control_urls = urls, .url_count = 1, .contexts = 1};
    assert_int_equal(members_new(&o, &m), ERR_INVALID);
    o.url_count = MEMBERS_MAX + 1;
    assert_int_equal(members_new(&o, &m), ERR_TOO_LARGE);
}

static void wait_heard(struct members *m)
{
    for (unsigned i = 0; i < 20000; i++) {
        if (members_unheard(m) == 0)
            return;
        (void)usleep(1000);
    }
    fail_msg("%u members not heard of", members_unheard(m));
}

static void test_heard_of(void **state)
{
    (void)state;
    struct peer there, foreign;
    struct member member;

    peer_init(&there, 1);
    peer_init(&foreign, 2);
    (void)snprintf(foreign.cluster, sizeof foreign.cluster, "other");
    const char *urls[] = {there.control_url, "tcp://127.0.0.1:1", foreign.control_url};
    struct members *m = start(urls, 1);
    wait_heard(m);
    members_get(m, 0, &member);
    assert_int_equal(member.health, MEMBER_UP);
    members_free(m);
    /* Who is not there, or not of us, is heard of when that is known. */
    m = start(urls, 3);
    assert_true(members_unheard(m) > 0); /* three misses take two periods */
    wait_heard(m);
    members_get(m, 0, &member);
    assert_int_equal(member.health, MEMBER_UP);
    members_get(m, 1, &member);
    assert_int_equal(member.health, MEMBER_DOWN);
    /* And stays heard of. */
    peer_stop_control(&there);
    wait_health(m, 0, MEMBER_DOWN);
    assert_int_equal(members_unheard(m), 0);
    members_free(m);
    peer_release(&there);
    peer_release(&foreign);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heard_of),
        cmocka_unit_test(test_up_with_lanes),
        cmocka_unit_test(test_up_suspect_down_up),
        cmocka_unit_test(test_report_makes_suspect),
        cmocka_unit_test(test_wrong_identities_are_refused),
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_placement_is_fixed),
        cmocka_unit_test(test_lane_that_moves),
        cmocka_unit_test(test_nobody_there_and_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
