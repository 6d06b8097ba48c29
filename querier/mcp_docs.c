/* What the documentation tools say: TraceQL in four pages, and the configuration's outline. */
#include "querier/mcp.h"

static const char basic[] =
    "# TraceQL, the basics\n"
    "\n"
    "A query selects spans by a condition in braces and returns the traces that have such spans.\n"
    "\n"
    "    { resource.service.name = \"checkout\" && span.http.response.status_code >= 500 }\n"
    "\n"
    "`{ }` selects every span.\n"
    "\n"
    "## Attributes\n"
    "\n"
    "| form | where it looks |\n"
    "|---|---|\n"
    "| `resource.service.name` | attributes of the resource: the service, the pod, the host |\n"
    "| `span.http.method` | attributes of the span |\n"
    "| `event.exception.type`, `link.x`, `instrumentation.x` | events, links, the instrumentation scope |\n"
    "| `.http.method` | the span first, then the resource |\n"
    "| `span.\"name with blanks\"` | quoted names |\n"
    "\n"
    "Scoped names are faster and clearer. Ask get-attribute-names and get-attribute-values which there are: names differ from system to system.\n"
    "\n"
    "## Intrinsics\n"
    "\n"
    "`name`, `duration`, `status` (ok, error, unset), `statusMessage`, `kind` (client, server, producer, consumer, internal, unspecified), `traceDuration`,\n"
    "`rootName`, `rootServiceName`, `span:id`, `span:parentID`, `trace:id`, `event:name`, `link:traceID`, `instrumentation:name`, `nestedSetParent`.\n"
    "\n"
    "## Values and operators\n"
    "\n"
    "Texts in \"double quotes\" or `backticks`; numbers; durations such as `250ms`, `1.5s`, `2h`; true, false; the words of status and kind without quotes; nil.\n"
    "\n"
    "`=` `!=` `>` `>=` `<` `<=`, `=~` and `!~` (regular expressions over the whole value, RE2), `&&`, `||`, `!`, arithmetic `+ - * / % ^`. `span.x != nil`: it has the attribute.\n"
    "A condition on an attribute that a span lacks does not match, whatever the operator, except `= nil`.\n"
    "\n"
    "## Examples\n"
    "\n"
    "    { status = error }\n"
    "    { span.db.system = \"postgresql\" && duration > 500ms }\n"
    "    { resource.service.name =~ \"cart|checkout\" && name != \"GET /health\" }\n"
    "    { rootName = \"POST /order\" && traceDuration > 2s }\n"
    "\n"
    "`| select(span.user.id, resource.k8s.pod.name)` after a query adds these to the answer.\n"
    "More: aggregates (count, avg, by), structural (parent, child, descendant), metrics (rates, quantiles).\n";

static const char aggregates[] =
    "# TraceQL, aggregates\n"
    "\n"
    "A stage after `|` works on the spans of each trace that the stage before let through (a spanset).\n"
    "\n"
    "| stage | meaning |\n"
    "|---|---|\n"
    "| `count() > 10` | the trace has more than ten of these spans |\n"
    "| `avg(duration) > 1s`, `min(...)`, `max(...)`, `sum(span.bytes)` | over the spans that have the value |\n"
    "| `by(span.http.route)` | one spanset for each value |\n"
    "| `coalesce()` | the spansets of a trace become one again |\n"
    "| `select(span.x, ...)` | show these attributes too |\n"
    "| `{ ... }` | filter once more |\n"
    "\n"
    "    { status = error } | count() > 3\n"
    "    { resource.service.name = \"db\" } | by(span.db.statement) | count() > 50\n"
    "    { kind = client } | avg(duration) > 200ms\n"
    "\n"
    "Aggregates answer with traces. For numbers over time use metrics.\n";

static const char structural[] =
    "# TraceQL, structure\n"
    "\n"
    "Operators between two conditions say how the spans lie to each other in the trace. The answer has the spans of the right side.\n"
    "\n"
    "| operator | the right side's span is ... of one on the left |\n"
    "|---|---|\n"
    "| `A > B` | a child |\n"
    "| `A >> B` | a descendant at any depth |\n"
    "| `A < B` | the parent |\n"
    "| `A << B` | an ancestor |\n"
    "| `A ~ B` | a sibling |\n"
    "| `A !> B`, `A !>> B`, `A !~ B` ... | not a child, not a descendant, not a sibling |\n"
    "| `A &> B`, `A &>> B`, `A &~ B` ... | as without `&`, and the spans of both sides are shown |\n"
    "| `A && B` | the trace has both, anywhere |\n"
    "| `A \\|\\| B` | it has one or both |\n"
    "\n"
    "    { resource.service.name = \"frontend\" } >> { status = error }\n"
    "    { resource.service.name = \"api\" } > { span.db.system != nil && duration > 1s }\n"
    "    { status = error } !< { status = error }\n"
    "\n"
    "The last one: spans whose failure does not come from a failed child below them. `{ nestedSetParent < 0 }` selects root spans.\n";

static const char metrics[] =
    "# TraceQL, metrics\n"
    "\n"
    "A function at the end of a query makes series of the selected spans. Ask traceql-metrics-instant for one number, traceql-metrics-range for its course.\n"
    "\n"
    "| function | each point |\n"
    "|---|---|\n"
    "| `rate()` | spans a second |\n"
    "| `count_over_time()` | spans |\n"
    "| `min_over_time(duration)`, `max_over_time`, `avg_over_time`, `sum_over_time` | of a number that the spans have |\n"
    "| `quantile_over_time(duration, .5, .99)` | a series for each quantile |\n"
    "| `histogram_over_time(duration)` | counts by power of two |\n"
    "| `compare({ status = error })` | which attributes set the selected spans off from the rest |\n"
    "| `\\| topk(5)`, `\\| bottomk(5)` | only the largest or smallest series of each point |\n"
    "\n"
    "`by(a, b)` after a function groups. Durations come in seconds.\n"
    "\n"
    "    { status = error } | rate() by (resource.service.name)\n"
    "    { kind = server } | quantile_over_time(duration, .95) by (span.http.route)\n"
    "    { } | count_over_time() by (name) | topk(10)\n"
    "    { resource.service.name = \"cart\" } | avg_over_time(span.cart.items)\n";

const char *mcp_docs_traceql(struct slice name)
{
    static const struct {
        const char *name, *text;
    } pages[] = {{"basic", basic},
                 {"query", basic},
                 {"aggregates", aggregates},
                 {"structural", structural},
                 {"metrics", metrics}};

    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (slice_eq_str(name, pages[i].name))
            return pages[i].text;
    return NULL;
}

const char mcp_docs_config_overview[] =
    "# Configuration, an outline\n"
    "\n"
    "One YAML file for all processes; each reads what concerns it. Keys have Tempo's names. Every key can also be given as an argument (`-storage.trace.backend=s3`) or from the environment (`${NAME}`).\n"
    "\n"
    "| section | what |\n"
    "|---|---|\n"
    "| `server` | this process's own HTTP, logs, shutdown |\n"
    "| `distributor` | receivers (OTLP), limits, time-outs |\n"
    "| `ingester` | log, heads, when blocks are cut |\n"
    "| `querier`, `query_frontend` | time-outs, limits of queries, this MCP server |\n"
    "| `metrics_generator` | span metrics, service graphs, remote write |\n"
    "| `storage.trace` | where blocks lie: local, s3, gcs, azure |\n"
    "| `compactor` | merging and retention |\n"
    "| `overrides` | limits |\n"
    "\n"
    "The page `reference` lists every key with its type, default and bounds.\n";
