/*
 * rpc_internal.h - what the two sides of rpc share: SP's framing over TCP, blocks of bytes to send, and a connection.
 *
 * Wire:    SP's REQ/REP over TCP.  Each side says hello: 00 'S' 'P' 00, be16 its protocol, 00 00.  Then messages: be64 length of what follows, be32 id with
 *          its highest bit set, our frame (rpc.h).  A peer of nng's own req0 and rep0 sockets understands it.
 * Errors:  bytes that break this, or a message over the limit, end the connection.
 * Threads: a side has one lock; it guards every field of its connections but `in`, which belongs to the receive callback.  Operations of nng are begun with
 *          the lock held and only while the thing that they are for is open: nng 1.5 never calls back an operation that begins later, and frees too early
 *          an aio that is stopped while one begins.  No callback of nng runs inside a call of ours, so holding the lock over one is safe.
 * End:     rpc_conn_close ends the operations; the callback of the last one frees the connection.  The owner waits until its connections are gone.
 */
#ifndef VIVACE_NET_RPC_INTERNAL_H
#define VIVACE_NET_RPC_INTERNAL_H

#include "common/base/clock.h"
#include "common/net/rpc.h"
#include "common/sys/thread.h"

#include <nng/nng.h>

enum {
    RPC_SP_REQ = 0x30,
    RPC_SP_REP = 0x31,
    RPC_SP_HELLO_BYTES = 8,
    RPC_SP_HEAD_BYTES = 12, /* length and id */
    RPC_STREAM_BUFFER_BYTES = 16 << 10
};

#define RPC_ID_BIT 0x80000000u

/* When a side looks whether something stands still, and how long a peer may take to accept.  Tests change it while nothing is open. */
struct rpc_times {
    const struct clock
        *clock; /* of deadlines and limits; waits last as long as they do by it when they begin */
    nng_duration tick_ms, dial_ms;
};
extern struct rpc_times rpc_times;

int64_t rpc_now_ns(void);
enum err rpc_error_of_nng(int nng_error);

/* The messages in the bytes that come.  No I/O: the caller fills rpc_stream_room and asks for the next message.  Small messages are read in the buffer, many
 * at a time; a large one has memory of its own, taken when its length is known and within the limit. */
struct rpc_stream {
    uint16_t peer;            /* the protocol that the other side must speak */
    size_t message_bytes_max; /* without the id */
    bool is_greeted;
    uint32_t body_id;
    uint8_t *body; /* of the large message under way, or NULL */
    size_t body_len, body_got;
    size_t begin, end; /* of what is in the buffer */
    uint8_t buffer[RPC_STREAM_BUFFER_BYTES];
};

struct rpc_message {
    uint32_t id;
    struct slice bytes; /* the stream's, until the message is consumed */
};

void rpc_stream_init(struct rpc_stream *s, uint16_t peer, size_t message_bytes_max);
void rpc_stream_release(struct rpc_stream *s);
uint8_t *rpc_stream_room(struct rpc_stream *s,
                         size_t *ret_len); /* never empty after ERR_NOT_FOUND */
void rpc_stream_filled(struct rpc_stream *s, size_t len);
/* The same message until it is consumed.  Errors: ERR_NOT_FOUND (more bytes are needed), ERR_CORRUPT, ERR_TOO_LARGE, ERR_NOMEM. */
MUST_CHECK enum err rpc_stream_next(struct rpc_stream *s, struct rpc_message *ret);
void rpc_stream_consume(struct rpc_stream *s);
/* Consumes it and gives its bytes to the caller (free()); NULL: no memory, the message is lost. */
uint8_t *rpc_stream_take(struct rpc_stream *s, const struct rpc_message *m);
bool rpc_stream_is_idle(const struct rpc_stream *s); /* not inside a message */

/* Bytes to send: a whole message, or the hello. */
struct rpc_block {
    struct rpc_block *next;
    struct rpc_req *req; /* the request that it answers */
    bool is_kept;        /* belongs to req: not freed when written */
    size_t len;
    uint8_t bytes[];
};

MUST_CHECK enum err rpc_block_new(uint16_t word, const struct slice *parts, unsigned part_count,
                                  struct rpc_block **ret); /* a message with room for its id */
void rpc_block_set_id(struct rpc_block *b, uint32_t id);
void rpc_block_free(struct rpc_block *b);

struct rpc_conn;

/* What a connection asks of its side. */
struct rpc_side {
    uint16_t own, peer;               /* SP's protocols */
    void (*ready)(struct rpc_conn *); /* lock held: the peer's hello is right */
    /* No lock.  Consumes the message; false: it did not and has paused the connection with rpc_conn_pause. */
    bool (*message)(struct rpc_conn *, const struct rpc_message *);
    void (*written)(struct rpc_conn *, struct rpc_block *); /* lock held: owns the block */
    void (*drained)(struct rpc_conn *);                     /* lock held: may append more */
    void (*ended)(struct rpc_conn *);                       /* no lock: forgets the connection */
    void (*freed)(void *owner);                             /* no lock: the last word */
};

struct rpc_conn {
    const struct rpc_side *side;
    void *owner;
    struct mutex *lock; /* the side's: all fields but `in` */
    nng_stream *stream;
    nng_aio *receive, *send;
    struct rpc_stream in;          /* the receive callback's */
    bool is_receiving, is_sending; /* an operation or its callback is under way */
    bool is_kicked;                /* the receive callback comes without bytes */
    bool is_ready, is_closed, is_ended;
    bool is_in_message;
    int64_t begun_ns, sent_ns, received_ns;
    struct rpc_block *out, *out_last; /* being written */
    size_t out_written;               /* bytes of the first */
    /* The server's: */
    struct rpc_conn *prev, *next;  /* all */
    struct rpc_conn *next_waiting; /* for a context, first come first served */
    struct rpc_req *granted;       /* the context it got */
    bool is_waiting;
};

/* Takes the stream, also on failure.  Errors: ERR_NOMEM. */
MUST_CHECK enum err rpc_conn_new(const struct rpc_side *side, void *owner, struct mutex *lock,
                                 nng_stream *stream, size_t receive_bytes_max,
                                 struct rpc_conn **ret);
/* With the lock held: */
void rpc_conn_start(struct rpc_conn *c);
void rpc_conn_close(struct rpc_conn *c);
void rpc_conn_append(struct rpc_conn *c, struct rpc_block *b);
void rpc_conn_flush(struct rpc_conn *c);
void rpc_conn_kick(struct rpc_conn *c); /* runs the receive callback of a paused connection */
int64_t
rpc_conn_stall_ns(const struct rpc_conn *c); /* when it is to be given up, INT64_MAX if never */
/* From side->message, with the lock held, which it gives up; the connection may be anyone's at once. */
void rpc_conn_pause(struct rpc_conn *c);

#endif
