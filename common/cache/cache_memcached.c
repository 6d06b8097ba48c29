/*
 * memcached's text protocol: "get" of several keys and "set".
 *
 * Not through libmemcached (1.1.4, looked at for this): its time-outs are of each poll, so that a server that sends a byte in 50 ms held a get of 100 ms for five seconds;
 * it allocates what the server says a value's length is (six gigabytes, in one try); and it took the value of another key for that of the one asked for.  Its pool and its
 * consistent hashing do not help where each server has a breaker and a deadline of its own.  What is left of it, two commands, is this file.
 *
 * Source: memcached's doc/protocol.txt.
 */
#include "common/base/num.h"
#include "common/cache/cache_priv.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { LINE_BYTES_MAX = CACHE_KEY_BYTES_MAX + 64, RELATIVE_SECONDS_MAX = 60 * 60 * 24 * 30 };

static enum err greet(struct cache_link *l, const struct cache_options *o, int64_t deadline_ns)
{
    (void)l;
    (void)o;
    (void)deadline_ns;
    return ERR_OK;
}

static enum err ask(struct cache_link *l, const struct cache_batch *batch, int64_t deadline_ns)
{
    struct buf text;

    buf_init(&text, CACHE_BATCH_MAX * (CACHE_KEY_BYTES_MAX + 1) + 16);
    buf_append_str(&text, "get");
    for (unsigned i = 0; i < batch->count; i++) {
        buf_append_byte(&text, ' ');
        buf_append_str(&text, batch->items[i]->key);
    }
    buf_append_str(&text, "\r\n");
    enum err e = buf_err(&text);
    if (e == ERR_OK)
        e = cache_link_write(l, buf_slice(&text), false, deadline_ns);
    buf_release(&text);
    return e;
}

/* "VALUE <key> <flags> <bytes>": the item of that key, from `*at` on; NULL: it is none, or its length is another. */
static struct cache_item *item_of(const struct cache_batch *batch, char *line, unsigned *at)
{
    char *key = line + strlen("VALUE "), *rest = NULL;
    char *flags = strchr(key, ' ');
    uint64_t bytes;

    if (flags == NULL)
        return NULL;
    *flags++ = '\0';
    rest = strchr(flags, ' ');
    if (rest == NULL || num_parse_u64(slice_str(rest + 1), &bytes) != ERR_OK)
        return NULL;
    while (*at < batch->count && strcmp(batch->items[*at]->key, key) != 0)
        (*at)++;
    if (*at == batch->count)
        return NULL;
    struct cache_item *item = batch->items[(*at)++];
    return bytes == CACHE_SEAL_BYTES + item->len ? item : NULL;
}

static enum err read_value(struct cache_link *l, struct cache_batch *batch, struct cache_item *item,
                           int64_t deadline_ns)
{
    uint8_t seal[CACHE_SEAL_BYTES], end[2];

    enum err e = cache_link_read(l, seal, sizeof seal, deadline_ns);
    if (e == ERR_OK)
        e = cache_link_read(l, item->ret, item->len, deadline_ns);
    if (e == ERR_OK)
        e = cache_link_read(l, end, sizeof end, deadline_ns);
    if (e != ERR_OK)
        return e;
    if (memcmp(end, "\r\n", 2) != 0)
        return ERR_FORMAT;
    item->is_found = cache_seal_fits(seal, item->key, (struct slice){item->ret, item->len});
    batch->damaged_count += !item->is_found;
    return ERR_OK;
}

/* Values come in the order of the keys, without those that are missing. */
static enum err get(struct cache_link *l, struct cache_batch *batch, int64_t deadline_ns)
{
    enum err e = ask(l, batch, deadline_ns);
    char line[LINE_BYTES_MAX];
    unsigned at = 0;

    while (e == ERR_OK) {
        e = cache_link_line(l, line, sizeof line, deadline_ns);
        if (e != ERR_OK || strcmp(line, "END") == 0)
            return e;
        struct cache_item *item =
            strncmp(line, "VALUE ", 6) == 0 ? item_of(batch, line, &at) : NULL;
        e = item != NULL ? read_value(l, batch, item, deadline_ns) : ERR_FORMAT;
    }
    return e;
}

/* Seconds; more than thirty days are taken for a date. */
static long long expiry(int64_t expiration_ns)
{
    long long seconds = (expiration_ns + NS_PER_S - 1) / NS_PER_S;

    return seconds <= RELATIVE_SECONDS_MAX ? seconds
                                           : clock_wall_ns(&clock_system) / NS_PER_S + seconds;
}

static enum err put(struct cache_link *l, const char *key, struct slice sealed,
                    int64_t expiration_ns, int64_t deadline_ns)
{
    char line[LINE_BYTES_MAX];
    int n = snprintf(line, sizeof line, "set %s 0 %lld %zu\r\n", key, expiry(expiration_ns),
                     sealed.len);

    assert(n > 0 && (size_t)n < sizeof line);
    enum err e = cache_link_write(l, slice_str(line), true, deadline_ns);
    if (e == ERR_OK)
        e = cache_link_write(l, sealed, true, deadline_ns);
    if (e == ERR_OK)
        e = cache_link_write(l, SLICE_LIT("\r\n"), false, deadline_ns);
    if (e == ERR_OK)
        e = cache_link_line(l, line, sizeof line, deadline_ns);
    if (e != ERR_OK)
        return e;
    if (strcmp(line, "STORED") == 0 || strcmp(line, "NOT_STORED") == 0)
        return ERR_OK;
    return strncmp(line, "SERVER_ERROR object too large", 29) == 0 ||
                   strncmp(line, "SERVER_ERROR out of memory", 26) == 0
               ? ERR_TOO_LARGE
               : ERR_FORMAT;
}

const struct cache_protocol cache_memcached = {
    .default_port = "11211",
    .duration = "tempo_memcache_request_duration_seconds",
    .skipped = "tempo_memcache_client_set_skip_total",
    .get_one = "Memcache.Get",
    .get_many = "Memcache.GetMulti",
    .put_one = "Memcache.Put",
    .timeout_code = "500",
    .greet = greet,
    .get = get,
    .put = put,
};
