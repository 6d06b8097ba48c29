#include "tests/lib/fake_memcached.h"

#include "common/sys/thread.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { VALUES_MAX = 256, CONNECTIONS_MAX = 4096, LINE_MAX_BYTES = 20000 };

struct value {
    char key[256];
    uint8_t *bytes;
    size_t len;
};

struct connection {
    struct fake_memcached *f;
    pthread_t thread;
    int fd;
};

struct fake_memcached {
    int listener;
    char address[32];
    pthread_t thread;
    atomic_int mood;
    atomic_uint get_count, set_count;
    struct mutex lock; /* below */
    struct value values[VALUES_MAX];
    unsigned value_count;
    struct connection connections[CONNECTIONS_MAX];
    unsigned connection_count;
    bool is_stopping;
};

static bool send_all(int fd, const void *bytes, size_t len, bool drips)
{
    const uint8_t *at = bytes;

    while (len > 0) {
        ssize_t n = send(fd, at, drips ? 1 : len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += n;
        len -= (size_t)n;
        if (drips)
            (void)usleep(10000);
    }
    return true;
}

static bool send_value(struct fake_memcached *f, int fd, const char *key, enum fake_mood mood)
{
    uint8_t *copy = NULL;
    size_t len = 0;
    char line[400];
    bool is_good = true;

    mutex_lock(&f->lock);
    for (unsigned i = 0; i < f->value_count; i++) {
        const struct value *v = &f->values[i], *other = &f->values[(i + 1) % f->value_count];
        if (strcmp(v->key, key) != 0)
            continue;
        if (mood == FAKE_MIXES)
            v = other;
        len = v->len;
        copy = malloc(len + 1);
        assert(copy != NULL);
        memcpy(copy, v->bytes, len);
        break;
    }
    mutex_unlock(&f->lock);
    if (copy == NULL)
        return true;
    if (mood == FAKE_FLIPS)
        copy[len - 1] ^= 1;
    int n = snprintf(line, sizeof line, "VALUE %s 0 %zu\r\n", key,
                     mood == FAKE_LONGER ? (size_t)6000000000 : len);
    is_good = send_all(fd, line, (size_t)n, mood == FAKE_DRIPS) &&
              send_all(fd, copy, len, mood == FAKE_DRIPS) && send_all(fd, "\r\n", 2, false);
    free(copy);
    return is_good;
}

static bool answer_get(struct fake_memcached *f, int fd, char *keys)
{
    enum fake_mood mood = (enum fake_mood)atomic_load(&f->mood);
    bool is_good = mood != FAKE_CLOSES;
    char *rest = NULL;

    atomic_fetch_add(&f->get_count, 1);
    if (mood == FAKE_SILENT)
        return true;
    if (mood == FAKE_BABBLES)
        return send_all(fd, "\n\n\r\nVALUE\r\nVALUE x\r\n", 20, false);
    for (char *key = strtok_r(keys, " ", &rest); key != NULL && is_good;
         key = strtok_r(NULL, " ", &rest))
        is_good = send_value(f, fd, key, mood);
    return is_good && send_all(fd, "END\r\n", 5, false);
}

static bool answer_set(struct fake_memcached *f, FILE *in, int fd, const char *line)
{
    enum fake_mood mood = (enum fake_mood)atomic_load(&f->mood);
    char key[256], end[2];
    size_t len;

    if (sscanf(line, "set %255s 0 %*d %zu", key, &len) != 2)
        return false;
    uint8_t *bytes = malloc(len + 1);
    assert(bytes != NULL);
    if (fread(bytes, 1, len, in) != len || fread(end, 1, 2, in) != 2) {
        free(bytes);
        return false;
    }
    atomic_fetch_add(&f->set_count, 1);
    if (mood == FAKE_SILENT || mood == FAKE_CLOSES) {
        free(bytes);
        return mood == FAKE_SILENT;
    }
    mutex_lock(&f->lock);
    unsigned at = 0;
    while (at < f->value_count && strcmp(f->values[at].key, key) != 0)
        at++;
    assert(at < VALUES_MAX);
    if (at == f->value_count)
        f->value_count++;
    struct value *v = &f->values[at];
    free(v->bytes);
    (void)snprintf(v->key, sizeof v->key, "%s", key);
    v->bytes = bytes;
    v->len = len;
    mutex_unlock(&f->lock);
    return send_all(fd, "STORED\r\n", 8, false);
}

static void connection_main(void *arg)
{
    struct connection *c = arg;
    FILE *in = fdopen(dup(c->fd), "r");
    char line[LINE_MAX_BYTES];
    bool is_good = in != NULL;

    while (is_good && fgets(line, sizeof line, in) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        is_good = strncmp(line, "get ", 4) == 0 ? answer_get(c->f, c->fd, line + 4)
                                                : answer_set(c->f, in, c->fd, line);
    }
    (void)shutdown(c->fd, SHUT_RDWR);
    if (in != NULL)
        (void)fclose(in);
}

static void listener_main(void *arg)
{
    struct fake_memcached *f = arg;

    for (;;) {
        int fd = accept(f->listener, NULL, NULL);
        mutex_lock(&f->lock);
        if (f->is_stopping || fd < 0) {
            mutex_unlock(&f->lock);
            if (fd >= 0)
                (void)close(fd);
            return;
        }
        assert(f->connection_count < CONNECTIONS_MAX);
        struct connection *c = &f->connections[f->connection_count++];
        *c = (struct connection){.f = f, .fd = fd};
        enum err e = thread_start(&c->thread, "fake", connection_main, c);
        assert(e == ERR_OK);
        mutex_unlock(&f->lock);
    }
}

struct fake_memcached *fake_memcached_new(void)
{
    struct fake_memcached *f = calloc(1, sizeof *f);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;

    assert(f != NULL);
    mutex_init(&f->lock);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = f->listener < 0 || bind(f->listener, (struct sockaddr *)&at, sizeof at) != 0 ||
                 listen(f->listener, 64) != 0 ||
                 getsockname(f->listener, (struct sockaddr *)&at, &len) != 0;
    assert(!failed);
    (void)snprintf(f->address, sizeof f->address, "127.0.0.1:%u", ntohs(at.sin_port));
    enum err e = thread_start(&f->thread, "fake", listener_main, f);
    assert(e == ERR_OK);
    return f;
}

void fake_memcached_cut(struct fake_memcached *f)
{
    mutex_lock(&f->lock);
    for (unsigned i = 0; i < f->connection_count; i++)
        (void)shutdown(f->connections[i].fd, SHUT_RDWR);
    mutex_unlock(&f->lock);
}

void fake_memcached_free(struct fake_memcached *f)
{
    mutex_lock(&f->lock);
    f->is_stopping = true;
    mutex_unlock(&f->lock);
    (void)shutdown(f->listener, SHUT_RDWR);
    thread_join(f->thread);
    fake_memcached_cut(f);
    for (unsigned i = 0; i < f->connection_count; i++) {
        thread_join(f->connections[i].thread);
        (void)close(f->connections[i].fd);
    }
    (void)close(f->listener);
    for (unsigned i = 0; i < f->value_count; i++)
        free(f->values[i].bytes);
    mutex_release(&f->lock);
    free(f);
}

const char *fake_memcached_address(const struct fake_memcached *f)
{
    return f->address;
}

void fake_memcached_set_mood(struct fake_memcached *f, enum fake_mood mood)
{
    atomic_store(&f->mood, (int)mood);
}

unsigned fake_memcached_gets(const struct fake_memcached *f)
{
    return atomic_load(&f->get_count);
}

unsigned fake_memcached_sets(const struct fake_memcached *f)
{
    return atomic_load(&f->set_count);
}

unsigned fake_memcached_connections(const struct fake_memcached *f)
{
    struct fake_memcached *own = (struct fake_memcached *)(uintptr_t)f;

    mutex_lock(&own->lock);
    unsigned count = f->connection_count;
    mutex_unlock(&own->lock);
    return count;
}

void fake_memcached_wait(struct fake_memcached *f, unsigned count)
{
    for (;;) {
        mutex_lock(&f->lock);
        bool is_there = f->value_count >= count;
        mutex_unlock(&f->lock);
        if (is_there)
            return;
        (void)usleep(1000);
    }
}
