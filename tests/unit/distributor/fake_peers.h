/* fake_peers.h - peers of a test: each call is kept until the test answers it, posts are run by hand, time is a fake clock. */
#ifndef VIVACE_TESTS_FAKE_PEERS_H
#define VIVACE_TESTS_FAKE_PEERS_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/codec/otlp_write.h"
#include "distributor/peers.h"
#include "distributor/push_wire.h"
#include "tests/lib/test.h"

enum { FAKE_PEERS = 4, FAKE_CALLS_MAX = 256 };

struct fake_call {
    unsigned index;
    uint16_t method;
    int64_t timeout_ns;
    struct buf bytes;
    rpc_done *done;
    void *done_arg;
    bool is_answered;
};

struct fake_peers {
    struct peers peers;
    struct fake_clock clock;
    unsigned up_count; /* placed: 0, 1, .. in this order, shifted by the trace id's last byte */
    enum err refuse[FAKE_PEERS]; /* call returns this at once */
    bool is_down[FAKE_PEERS];    /* of those that are placed all the same: for is_up */
    unsigned reports[FAKE_PEERS];
    struct fake_call calls[FAKE_CALLS_MAX];
    unsigned call_count;
    struct loop_msg *posted, **posted_end;
};

static struct fake_peers fake;

static unsigned fake_place(void *arg, struct slice tenant, struct trace_id id,
                           unsigned *ret_indexes, unsigned max)
{
    (void)arg;
    assert_true(tenant.len > 0);
    unsigned n = 0;
    for (; n < max && n < fake.up_count; n++)
        ret_indexes[n] = (id.b[TRACE_ID_BYTES - 1] + n) % fake.up_count;
    return n;
}

static enum err fake_call(void *arg, unsigned index, uint16_t method, const struct slice *parts,
                          unsigned part_count, int64_t timeout_ns, rpc_done *done, void *done_arg)
{
    (void)arg;
    assert_true(index < FAKE_PEERS && timeout_ns > 0);
    if (fake.refuse[index] != ERR_OK)
        return fake.refuse[index];
    assert_true(fake.call_count < FAKE_CALLS_MAX);
    struct fake_call *c = &fake.calls[fake.call_count++];
    *c = (struct fake_call){.index = index,
                            .method = method,
                            .timeout_ns = timeout_ns,
                            .done = done,
                            .done_arg = done_arg};
    buf_init(&c->bytes, 64 << 20);
    for (unsigned i = 0; i < part_count; i++)
        buf_append(&c->bytes, parts[i]);
    if (buf_err(&c->bytes) != ERR_OK) { /* a sweep of failing allocations: as a lane does */
        buf_release(&c->bytes);
        fake.call_count--;
        return ERR_NOMEM;
    }
    return ERR_OK;
}

static void fake_name(void *arg, unsigned index, char ret_id[MEMBER_ID_BYTES_MAX + 1])
{
    (void)arg;
    (void)snprintf(ret_id, MEMBER_ID_BYTES_MAX + 1, "peer-%u", index);
}

static bool fake_is_up(void *arg, unsigned index, const char *id)
{
    char name[MEMBER_ID_BYTES_MAX + 1];

    fake_name(arg, index, name);
    return index < fake.up_count && !fake.is_down[index] && strcmp(name, id) == 0;
}

static void fake_report(void *arg, unsigned index, enum err err)
{
    (void)arg;
    assert_int_not_equal(err, ERR_OK);
    fake.reports[index]++;
}

static void fake_post(struct loop *l, struct loop_msg *m)
{
    (void)l;
    m->next = NULL;
    *fake.posted_end = m;
    fake.posted_end = &m->next;
}

static void fake_init(unsigned up_count)
{
    memset(&fake, 0, sizeof fake);
    fake.peers = (struct peers){.place = fake_place,
                                .call = fake_call,
                                .name = fake_name,
                                .is_up = fake_is_up,
                                .report = fake_report};
    fake_clock_init(&fake.clock, 1700000000000000000);
    fake.up_count = up_count;
    fake.posted_end = &fake.posted;
}

static void fake_run_posted(void)
{
    while (fake.posted != NULL) {
        struct loop_msg *m = fake.posted;
        fake.posted = m->next;
        if (fake.posted == NULL)
            fake.posted_end = &fake.posted;
        m->run(m);
    }
}

static void fake_answer(unsigned call, enum err e, struct slice reply)
{
    assert_true(call < fake.call_count && !fake.calls[call].is_answered);
    fake.calls[call].is_answered = true;
    fake.calls[call].done(fake.calls[call].done_arg, e, reply);
    fake_run_posted();
}

static void fake_release(void)
{
    for (unsigned i = 0; i < fake.call_count; i++)
        buf_release(&fake.calls[i].bytes);
}

#endif
