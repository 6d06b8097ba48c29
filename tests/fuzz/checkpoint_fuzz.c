/* Bytes as a checkpoint with a right checksum.  Properties: no crash; it loads or is ERR_CORRUPT (ERR_LIMIT, ERR_NOMEM over the budget); what loaded can be
 * expired and collected; everything is given back. */
#include "common/base/bytes.h"
#include "common/base/clock.h"
#include "common/base/crc32c.h"
#include "generator/checkpoint.h"
#include "generator/collect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char yaml[] =
    "metrics_generator: {processor: {span_metrics: {histogram_buckets: [1]}, service_graphs: {histogram_buckets: [1], dimensions: [a]}}}\n"
    "overrides: {metrics_generator_processors: [service-graphs, span-metrics]}\n";

static struct tenant *the_tenant;

static enum err get(void *arg, const char *name, struct tenant **ret)
{
    (void)arg;
    assert(strlen(name) < sizeof the_tenant->name);
    *ret = the_tenant;
    return ERR_OK;
}

static enum err request_done(void *arg, enum collect_variant variant, struct slice request)
{
    (void)arg;
    (void)variant;
    assert(request.len != 0);
    return ERR_OK;
}

static void use(struct tenant *t)
{
    struct collect_options o = {.instance = "g",
                                .now_ns = 1700000000LL * NS_PER_S,
                                .samples_per_request = 10,
                                .wants = {true, true},
                                .done = request_done};
    enum err e = service_graph_expire(&t->graph, INT64_MAX);

    assert(e == ERR_OK || e == ERR_NOMEM);
    e = collect_run(t, &o);
    assert(e == ERR_OK);
    collect_settle(t, true);
}

static void load(const char *path)
{
    struct batches batches;
    uint64_t lsn;

    if (batches_init(&batches) != ERR_OK)
        return;
    enum err e = checkpoint_load(path, &lsn, get, NULL, &batches);
    assert(e == ERR_OK || e == ERR_CORRUPT || e == ERR_LIMIT || e == ERR_NOMEM ||
           e == ERR_TOO_LARGE);
    if (e == ERR_OK)
        use(the_tenant);
    batches_release(&batches);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    static bool is_open;
    struct config_warning *warnings;
    struct budget budget;
    uint8_t head[8] = "VGC1";
    char path[64];

    if (!is_open &&
        config_parse("fuzz", slice_str(yaml), false, NULL, 0, &config, &warnings, NULL) != ERR_OK)
        abort();
    is_open = true;
    le32_write(head + 4, crc32c((struct slice){data, size}));
    int fd = memfd_create("checkpoint", 0);
    if (fd < 0)
        return 0;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    budget_init(&budget, 1 << 20, NULL);
    enum err e = tenant_new(&config, &config.limits, "fuzz", &budget, &the_tenant);
    assert(e == ERR_OK);
    if (write(fd, head, sizeof head) == (ssize_t)sizeof head &&
        (size == 0 || write(fd, data, size) == (ssize_t)size))
        load(path);
    (void)close(fd);
    tenant_free(the_tenant);
    assert(budget_used(&budget) == 0);
    return 0;
}
