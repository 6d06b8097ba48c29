/*
 * Redis: GET and SET through hiredis, whose formatter writes the commands and whose reader reads the answers.
 *
 * Its connections are not used: their time-outs are of each read, not of a request.  The reader makes no objects here: a text of the length that is wanted goes where it belongs,
 * an array (whose size it would allocate on the server's word) is refused, and it is fed no more bytes than the answers to what was asked can take.
 *
 * Several keys are several GETs in one go, not an MGET: so the answers are no array.
 */
#include "common/cache/cache_priv.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_BYTES_MAX = 512 /* beside the value */, ARGUMENTS_MAX = 5, NUMBER_BYTES = 24 };

enum answer_kind { ANSWER_NONE, ANSWER_NIL, ANSWER_STATUS, ANSWER_ERROR, ANSWER_VALUE };

struct redis {
    redisReader *reader;
    size_t left; /* bytes that may still come */
    /* The answer that is read. */
    struct cache_item *item; /* whose value it may be; NULL: none's */
    enum answer_kind kind;
    bool is_damaged;
    char text[32]; /* of a status or an error, its beginning */
};

/* --- what the reader makes --- */

static void *on_string(const redisReadTask *task, char *text, size_t len)
{
    struct redis *r = task->privdata;
    struct cache_item *item = r->item;

    if (task->type != REDIS_REPLY_STRING) {
        r->kind = task->type == REDIS_REPLY_STATUS ? ANSWER_STATUS : ANSWER_ERROR;
        (void)snprintf(r->text, sizeof r->text, "%.*s", (int)(len > 31 ? 31 : len), text);
        return r;
    }
    r->kind = ANSWER_VALUE;
    r->is_damaged = true;
    if (item == NULL || len != CACHE_SEAL_BYTES + item->len)
        return r;
    memcpy(item->ret, text + CACHE_SEAL_BYTES, item->len);
    r->is_damaged =
        !cache_seal_fits((const uint8_t *)text, item->key, (struct slice){item->ret, item->len});
    item->is_found = !r->is_damaged;
    return r;
}

static void *on_array(const redisReadTask *task, int count)
{
    (void)task;
    (void)count;
    return NULL; /* an error of the reader */
}

static void *on_integer(const redisReadTask *task, long long value)
{
    (void)value;
    return task->privdata; /* no answer to anything asked here */
}

static void *on_nil(const redisReadTask *task)
{
    struct redis *r = task->privdata;

    r->kind = ANSWER_NIL;
    return r;
}

static void on_free(void *made)
{
    (void)made;
}

static void redis_free(void *state)
{
    struct redis *r = state;

    redisReaderFree(r->reader);
    free(r);
}

/* --- one command, one answer --- */

static enum err send_command(struct cache_link *l, int count, const char **texts,
                             const size_t *lens, bool has_more, int64_t deadline_ns)
{
    char *bytes = NULL;
    int len = redisFormatCommandArgv(&bytes, count, texts, lens);

    if (len < 0)
        return ERR_NOMEM;
    enum err e = cache_link_write(l, (struct slice){(const uint8_t *)bytes, (size_t)len}, has_more,
                                  deadline_ns);
    redisFreeCommand(bytes);
    return e;
}

static enum err read_answer(struct cache_link *l, struct cache_item *item, int64_t deadline_ns)
{
    struct redis *r = l->state;
    void *made = NULL;

    r->item = item;
    r->kind = ANSWER_NONE;
    r->is_damaged = false;
    for (;;) {
        if (redisReaderGetReply(r->reader, &made) != REDIS_OK)
            return ERR_FORMAT;
        if (made != NULL)
            return r->kind == ANSWER_NONE ? ERR_FORMAT : ERR_OK;
        struct slice some;
        enum err e = cache_link_some(l, &some, deadline_ns);
        if (e != ERR_OK)
            return e;
        if (some.len > r->left)
            return ERR_FORMAT;
        r->left -= some.len;
        if (redisReaderFeed(r->reader, (const char *)some.ptr, some.len) != REDIS_OK)
            return ERR_FORMAT;
    }
}

/* What an answer that is an error says of the link. */
static enum err error_of(const struct redis *r)
{
    if (strncmp(r->text, "OOM", 3) == 0)
        return ERR_TOO_LARGE; /* full, and nothing may be forgotten for it */
    return strncmp(r->text, "NOAUTH", 6) == 0 || strncmp(r->text, "WRONGPASS", 9) == 0 ||
                   strncmp(r->text, "NOPERM", 6) == 0
               ? ERR_UNAUTHENTICATED
               : ERR_FORMAT;
}

/* A command whose answer is OK. */
static enum err command(struct cache_link *l, int count, const char **texts, const size_t *lens,
                        int64_t deadline_ns)
{
    struct redis *r = l->state;

    r->left = ANSWER_BYTES_MAX;
    enum err e = send_command(l, count, texts, lens, false, deadline_ns);
    if (e == ERR_OK)
        e = read_answer(l, NULL, deadline_ns);
    if (e == ERR_OK && r->kind == ANSWER_ERROR)
        return error_of(r);
    return e == ERR_OK && (r->kind != ANSWER_STATUS || strcmp(r->text, "OK") != 0) ? ERR_FORMAT : e;
}

static enum err command_of(struct cache_link *l, int64_t deadline_ns, const char *a, const char *b,
                           const char *c)
{
    const char *texts[] = {a, b, c};
    size_t lens[] = {strlen(a), strlen(b), c != NULL ? strlen(c) : 0};

    return command(l, c != NULL ? 3 : 2, texts, lens, deadline_ns);
}

/* --- the protocol --- */

static enum err greet(struct cache_link *l, const struct cache_options *o, int64_t deadline_ns)
{
    static redisReplyObjectFunctions makers = {.createString = on_string,
                                               .createArray = on_array,
                                               .createInteger = on_integer,
                                               .createNil = on_nil,
                                               .freeObject = on_free};
    struct redis *r = calloc(1, sizeof *r);
    char db[NUMBER_BYTES];
    enum err e = ERR_OK;

    if (r == NULL)
        return ERR_NOMEM;
    r->reader = redisReaderCreateWithFunctions(&makers);
    if (r->reader == NULL) {
        free(r);
        return ERR_NOMEM;
    }
    r->reader->privdata = r;
    l->state = r;
    l->state_free = redis_free;
    if (o->password[0] != '\0')
        e = o->user[0] != '\0' ? command_of(l, deadline_ns, "AUTH", o->user, o->password)
                               : command_of(l, deadline_ns, "AUTH", o->password, NULL);
    (void)snprintf(db, sizeof db, "%u", o->db);
    return e == ERR_OK && o->db > 0 ? command_of(l, deadline_ns, "SELECT", db, NULL) : e;
}

static enum err get(struct cache_link *l, struct cache_batch *batch, int64_t deadline_ns)
{
    struct redis *r = l->state;
    enum err e = ERR_OK;

    r->left = 0;
    for (unsigned i = 0; i < batch->count && e == ERR_OK; i++) {
        const char *texts[] = {"GET", batch->items[i]->key};
        size_t lens[] = {3, strlen(texts[1])};
        e = send_command(l, 2, texts, lens, i + 1 < batch->count, deadline_ns);
        r->left += ANSWER_BYTES_MAX + CACHE_SEAL_BYTES + batch->items[i]->len;
    }
    for (unsigned i = 0; i < batch->count && e == ERR_OK; i++) {
        e = read_answer(l, batch->items[i], deadline_ns);
        if (e == ERR_OK && r->kind == ANSWER_ERROR)
            e = error_of(r) == ERR_TOO_LARGE ? ERR_FORMAT : error_of(r);
        if (e == ERR_OK && r->kind == ANSWER_STATUS)
            e = ERR_FORMAT;
        batch->damaged_count += r->is_damaged;
    }
    return e;
}

static enum err put(struct cache_link *l, const char *key, struct slice sealed,
                    int64_t expiration_ns, int64_t deadline_ns)
{
    char milliseconds[NUMBER_BYTES];
    int n = snprintf(milliseconds, sizeof milliseconds, "%lld",
                     (long long)((expiration_ns + NS_PER_MS - 1) / NS_PER_MS));
    const char *texts[ARGUMENTS_MAX] = {"SET", key, (const char *)sealed.ptr, "PX", milliseconds};
    size_t lens[ARGUMENTS_MAX] = {3, strlen(key), sealed.len, 2, (size_t)n};

    return command(l, expiration_ns > 0 ? ARGUMENTS_MAX : 3, texts, lens, deadline_ns);
}

const struct cache_protocol cache_redis = {
    .default_port = "6379",
    .duration = "tempo_rediscache_request_duration_seconds",
    .skipped = "tempo_rediscache_client_set_skip_total",
    .get_one = "RedisCache.Get",
    .get_many = "RedisCache.MGet",
    .put_one = "RedisCache.MSet",
    .timeout_code = "504",
    .greet = greet,
    .get = get,
    .put = put,
};
