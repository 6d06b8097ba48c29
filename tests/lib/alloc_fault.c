#include "tests/lib/alloc_fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

/* Weak: binaries that are not linked with --wrap have no such symbols, and never call what is here. */
void *__real_malloc(size_t bytes) __attribute__((weak));
void *__real_calloc(size_t count, size_t bytes) __attribute__((weak));
void *__real_realloc(void *p, size_t bytes) __attribute__((weak));
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *p, size_t bytes);

static atomic_ulong left;
static unsigned long first;
static atomic_bool is_hit, is_any_thread;
static pthread_t owner;

void alloc_fault_at(unsigned long n)
{
    owner = pthread_self();
    atomic_store(&is_hit, false);
    first = n;
    atomic_store(&left, n);
}

unsigned long alloc_fault_made(void)
{
    return first - atomic_load(&left);
}

void alloc_fault_any_thread(bool is_any)
{
    atomic_store(&is_any_thread, is_any);
}

bool alloc_fault_hit(void)
{
    atomic_store(&left, 0);
    return atomic_load(&is_hit);
}

bool alloc_fault_seen(void)
{
    return atomic_load(&is_hit);
}

bool alloc_fault_is_linked(void)
{
    return __real_malloc != NULL;
}

static bool is_failing(void)
{
    if (atomic_load_explicit(&left, memory_order_relaxed) == 0)
        return false;
    if (!atomic_load(&is_any_thread) && !pthread_equal(owner, pthread_self()))
        return false;
    unsigned long n = atomic_load(&left);
    while (n > 0 && !atomic_compare_exchange_weak(&left, &n, n - 1)) {
    }
    if (n != 1)
        return false;
    atomic_store(&is_hit, true);
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return is_failing() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_failing() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return is_failing() ? NULL : __real_realloc(p, bytes);
}
