#include "common/query/metrics_query.h"

bool metrics_query_window_is_good(const struct metrics_window *w)
{
    return w->step_ns != 0 && w->count != 0 && w->count <= METRICS_INTERVALS_MAX &&
           w->step_ns <= (uint64_t)INT64_MAX / w->count;
}

uint32_t metrics_query_leaves(const struct ql_metrics *m,
                              const struct ql_metrics *ret[static METRICS_LEAVES_MAX])
{
    const struct ql_metrics *todo[METRICS_LEAVES_MAX * 2];
    uint32_t depth = 1, n = 0;

    todo[0] = m;
    while (depth > 0) {
        m = todo[--depth];
        if (m->op != QL_OP_NONE) {
            if (depth + 2 > METRICS_LEAVES_MAX * 2)
                return 0;
            todo[depth++] = m->right;
            todo[depth++] = m->left;
        } else if (m->pipeline != NULL) {
            if (n == METRICS_LEAVES_MAX)
                return 0;
            ret[n++] = m;
        }
    }
    return n;
}
