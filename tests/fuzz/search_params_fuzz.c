/* Bytes as the query string of a search, a trace, tags or metrics; first byte: which.  Properties: no crash; a mistake is ERR_INVALID and has words; what is
 * taken is within its limits. */
#include "common/base/clock.h"
#include "querier/params.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_NS (1795391350LL * NS_PER_S)

static void told(enum err e, const struct err_detail *d)
{
    assert(e == ERR_OK || (e == ERR_INVALID && d->text[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    static const struct params_rules rules = {&config, &config.limits};
    static bool is_open;
    struct config_warning *warnings;
    struct err_detail d = {0};
    struct params_search s;
    struct params_tags t;
    struct params_metrics m;
    struct params_window w;
    struct arena a;

    if (!is_open &&
        config_parse("fuzz", SLICE_NONE, false, NULL, 0, &config, &warnings, NULL) != ERR_OK)
        return 0;
    is_open = true;
    if (size == 0)
        return 0;
    struct slice query = {data + 1, size - 1};
    arena_init(&a, NULL);
    switch (data[0] % 4) {
    case 0: {
        enum err e = params_search(&a, &rules, query, NOW_NS, &s, &d);
        told(e, &d);
        assert(e != ERR_OK || (s.limit > 0 && s.limit <= (uint64_t)config.search_max_limit));
        assert(e != ERR_OK || s.spss <= (uint64_t)config.search_max_spss);
        assert(e != ERR_OK || s.tag_count <= 64);
        assert(e != ERR_OK || s.q.len <= (uint64_t)config.max_query_bytes);
        break;
    }
    case 1: told(params_trace_window(&a, query, &w, &d), &d); break;
    case 2: told(params_tags(&a, &rules, query, NOW_NS, &t, &d), &d); break;
    default: {
        enum err e = params_metrics(&a, &rules, query, NOW_NS, &m, &d);
        told(e, &d);
        assert(e != ERR_OK || (m.end_ns > m.start_ns && m.step_ns > 0));
        assert(e != ERR_OK || (m.end_ns - m.start_ns) / m.step_ns <= 10000);
        break;
    }
    }
    arena_release(&a);
    return 0;
}
