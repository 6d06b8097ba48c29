/*
 * alloc_sweep.h - runs a scenario again and again, each time with one more allocation failing, until it gets through.
 *
 * Use:     in tests/fault/ (binaries linked with --wrap=malloc and so on):
 *              static void push_all(void *arg) { ... every result checked: right, or ERR_NOMEM ... }
 *              assert_true(ALLOC_SWEEP(push_all, &fixture) >= 3);
 * Shape:   run k has its k-th allocation fail, that one alone; the sweep ends with the first run in which nothing failed.
 *          malloc, calloc and realloc of our objects count; those inside shared libraries do not.
 * Threads: only allocations of the thread that sweeps fail (alloc_fault.h, on which this stands, can do more).
 * Errors:  a scenario must end in the same state whether or not it failed: the sanitizer reports what leaks.  When an assertion
 *          ends the test, the number of the allocation is printed at exit.
 */
#ifndef VIVACE_TESTS_LIB_ALLOC_SWEEP_H
#define VIVACE_TESTS_LIB_ALLOC_SWEEP_H

#include <stdbool.h>

typedef void alloc_sweep_fn(void *arg);

/* How many allocations were made to fail. */
unsigned alloc_sweep_run(alloc_sweep_fn *fn, void *arg, const char *name);
/* Inside a scenario: has this run's failure happened already? */
bool alloc_sweep_has_failed(void);

#define ALLOC_SWEEP(fn, arg) alloc_sweep_run((fn), (arg), #fn)

#endif
