/*
 * alloc_fault.h - the nth allocation fails.  For tests/fault binaries, which are linked with --wrap=malloc,calloc,realloc.
 *
 * Use:     for (n = 1; ; n++) { alloc_fault_at(n); run(); if (!alloc_fault_hit()) break; }
 * Threads: counts the allocations of the thread that called alloc_fault_at, or of all with alloc_fault_any_thread.
 */
#ifndef VIVACE_TESTS_ALLOC_FAULT_H
#define VIVACE_TESTS_ALLOC_FAULT_H

#include <stdbool.h>

void alloc_fault_at(unsigned long n); /* the nth allocation from now on fails, once; 0: none */
void alloc_fault_any_thread(bool is_any);
bool alloc_fault_hit(void);           /* it did; also switches off */
bool alloc_fault_seen(void);          /* it did; changes nothing */
unsigned long alloc_fault_made(void); /* allocations since alloc_fault_at, if that was far away */
bool alloc_fault_is_linked(
    void); /* this binary was linked with --wrap: without it nothing can fail */

#endif
