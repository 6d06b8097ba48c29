#include "tests/lib/alloc_sweep.h"

#include "tests/lib/alloc_fault.h"

#include <assert.h>
#include <stddef.h>

enum { RUNS_MAX = 200000 };

static const char *running;
static unsigned running_k;

__attribute__((destructor)) static void tell_where(void)
{
    if (running != NULL)
        (void)fprintf(stderr, "# %s ended while its allocation %u failed\n", running, running_k);
}

unsigned alloc_sweep_run(alloc_sweep_fn *fn, void *arg, const char *name)
{
    assert(fn != NULL);
    assert(alloc_fault_is_linked());
    running = name;
    for (unsigned k = 1; k <= RUNS_MAX; k++) {
        running_k = k;
        alloc_fault_at(k);
        fn(arg);
        if (alloc_fault_hit())
            continue;
        running = NULL;
        return k - 1;
    }
    assert(!"the scenario allocates without end");
    return 0;
}

bool alloc_sweep_has_failed(void)
{
    return alloc_fault_seen();
}
