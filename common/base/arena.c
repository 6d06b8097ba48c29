#include "common/base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#    include <sanitizer/asan_interface.h>
#    define ARENA_POISON(p, n)   __asan_poison_memory_region((p), (n))
#    define ARENA_UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#    define ARENA_RED_ZONE       16
#else
#    define ARENA_POISON(p, n)   ((void)(p), (void)(n))
#    define ARENA_UNPOISON(p, n) ((void)(p), (void)(n))
#    define ARENA_RED_ZONE       0
#endif

enum { ARENA_CHUNK_BYTES_MIN = 4096, ARENA_CHUNK_BYTES_MAX = 1 << 20, ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t bytes; /* header included */
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

void arena_init(struct arena *a, struct budget *budget)
{
    assert(a != NULL);
    *a = (struct arena){.budget = budget};
}

static void chunk_free(struct arena *a, struct arena_chunk *c)
{
    a->used_bytes -= c->bytes;
    budget_give(a->budget, c->bytes);
    ARENA_UNPOISON(c->data, c->bytes - sizeof *c);
    free(c);
}

void arena_release(struct arena *a)
{
    while (a->chunks != NULL) {
        struct arena_chunk *c = a->chunks;
        a->chunks = c->next;
        chunk_free(a, c);
    }
    assert(a->used_bytes == 0);
    *a = (struct arena){.budget = a->budget};
}

void arena_reset(struct arena *a)
{
    a->err = ERR_OK;
    if (a->chunks == NULL)
        return;
    struct arena_chunk *keep = a->chunks;
    while (keep->next != NULL) {
        struct arena_chunk *c = keep->next;
        keep->next = c->next;
        chunk_free(a, c);
    }
    a->at = keep->data;
    a->end = (uint8_t *)keep + keep->bytes;
    ARENA_POISON(a->at, (size_t)(a->end - a->at));
}

static enum err arena_grow(struct arena *a, size_t bytes)
{
    size_t want = a->used_bytes; /* doubles, between the minimum and the maximum */
    if (want < ARENA_CHUNK_BYTES_MIN)
        want = ARENA_CHUNK_BYTES_MIN;
    if (want > ARENA_CHUNK_BYTES_MAX)
        want = ARENA_CHUNK_BYTES_MAX;
    size_t need;
    if (__builtin_add_overflow(bytes, sizeof(struct arena_chunk) + ARENA_ALIGN, &need))
        return ERR_LIMIT;
    if (want < need)
        want = need;
    enum err e = budget_take(a->budget, want);
    if (e != ERR_OK)
        return e;
    struct arena_chunk *c = malloc(want);
    if (c == NULL) {
        budget_give(a->budget, want);
        return ERR_NOMEM;
    }
    c->next = a->chunks;
    c->bytes = want;
    a->chunks = c;
    a->used_bytes += want;
    a->at = c->data;
    a->end = (uint8_t *)c + want;
    ARENA_POISON(a->at, (size_t)(a->end - a->at));
    return ERR_OK;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (a->err != ERR_OK)
        return NULL;
    size_t room;
    if (__builtin_add_overflow(bytes, (size_t)(ARENA_ALIGN - 1 + ARENA_RED_ZONE), &room)) {
        a->err = ERR_LIMIT;
        return NULL;
    }
    room &= ~(size_t)(ARENA_ALIGN - 1);
    if (room == 0)
        room = ARENA_ALIGN;
    if (a->at == NULL || room > (size_t)(a->end - a->at)) {
        a->err = arena_grow(a, room);
        if (a->err != ERR_OK)
            return NULL;
    }
    uint8_t *p = a->at;
    a->at += room;
    ARENA_UNPOISON(p, bytes);
    return p;
}

void *arena_calloc(struct arena *a, size_t count, size_t bytes)
{
    size_t total;

    if (__builtin_mul_overflow(count, bytes, &total)) {
        if (a->err == ERR_OK)
            a->err = ERR_LIMIT;
        return NULL;
    }
    void *p = arena_alloc(a, total);
    if (p != NULL)
        memset(p, 0, total);
    return p;
}

struct slice arena_dup(struct arena *a, struct slice s)
{
    if (s.len == 0)
        return (struct slice){(const uint8_t *)"", 0};
    uint8_t *p = arena_alloc(a, s.len);
    if (p == NULL)
        return (struct slice){0};
    memcpy(p, s.ptr, s.len);
    return (struct slice){p, s.len};
}

char *arena_str(struct arena *a, struct slice s)
{
    char *p = arena_alloc(a, s.len + 1);

    if (p == NULL)
        return NULL;
    if (s.len != 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    char *p = arena_alloc(a, n < 0 ? 1 : (size_t)n + 1);
    if (p == NULL)
        return NULL;
    p[0] = '\0';
    if (n > 0) {
        va_start(ap, format);
        (void)vsnprintf(p, (size_t)n + 1, format, ap); /* measured above */
        va_end(ap);
    }
    return p;
}
