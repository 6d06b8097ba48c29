/* Routes: which path means what, and the argument in it. */
#include "querier/api.h"
#include "tests/lib/test.h"

static void test_routes(void **state)
{
    static const struct {
        const char *path, *name, *argument;
    } rows[] = {
        {"/api/traces/abc", "api_traces_traceid", "abc"},
        {"/api/v2/traces/abc", "api_v2_traces_traceid", "abc"},
        {"/api/traces/", NULL, ""},
        {"/api/traces", NULL, ""},
        {"/api/traces/abc/def", NULL, ""},
        {"/api/search", "api_search", ""},
        {"/api/search/", NULL, ""},
        {"/api/search/tags", "api_search_tags", ""},
        {"/api/v2/search/tags", "api_v2_search_tags", ""},
        {"/api/search/tag/service.name/values", "api_search_tag_tagname_values", "service.name"},
        {"/api/search/tag/a/b/values", "api_search_tag_tagname_values", "a/b"},
        {"/api/search/tag/values/values", "api_search_tag_tagname_values", "values"},
        {"/api/search/tag//values", NULL, ""},
        {"/api/search/tag/values", NULL, ""},
        {"/api/v2/search/tag/.x/values", "api_v2_search_tag_tagname_values", ".x"},
        {"/api/metrics/query_range", "api_metrics_query_range", ""},
        {"/api/metrics/query", "api_metrics_query", ""},
        {"/api/searchx", NULL, ""},
        {"/", NULL, ""},
        {"", NULL, ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct slice argument;
        const struct api_route *r = api_route(slice_str(rows[i].path), &argument);
        if ((r == NULL) != (rows[i].name == NULL) ||
            (r != NULL &&
             (strcmp(r->name, rows[i].name) != 0 || !slice_eq_str(argument, rows[i].argument))))
            fail_msg("%s: %s", rows[i].path, r == NULL ? "no route" : r->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_routes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
