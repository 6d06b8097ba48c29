/* Tag names and tag values, v1 and v2. */
#include "common/net/http_server.h"
#include "common/query/ql.h"
#include "querier/answers.h"
#include "querier/api.h"
#include "querier/params.h"

/* v1 knows two names of intrinsics, everything else is an attribute in any scope. */
static const struct {
    const char *name;
    enum ql_intrinsic intrinsic;
} v1_intrinsics[] = {
    {"name", QL_I_NAME},
    {"rootName", QL_I_ROOT_NAME},
    {"root.name", QL_I_ROOT_NAME},
    {"rootServiceName", QL_I_ROOT_SERVICE},
    {"root.service.name", QL_I_ROOT_SERVICE},
};

static unsigned scope_bits(struct slice scope, bool none_has_intrinsics)
{
    static const char *const names[TAGS_SCOPE_COUNT] = {"span", "resource", "event", "link",
                                                        "instrumentation"};
    unsigned all = (1u << TAGS_SCOPE_COUNT) - 1;

    if (scope.len == 0 || slice_eq_str(scope, "none"))
        return all | (none_has_intrinsics ? (unsigned)ANSWERS_INTRINSIC : 0);
    if (slice_eq_str(scope, "intrinsic"))
        return ANSWERS_INTRINSIC;
    for (unsigned s = 0; s < TAGS_SCOPE_COUNT; s++)
        if (slice_eq_str(scope, names[s]))
            return 1u << s;
    return 0; /* "trace" has no attributes of its own */
}

/* With conditions, as recorded: every span has a service; events and links are listed only when they are asked for. */
static enum err names_filtered(struct api_request *r, const struct params_tags *p, unsigned *scopes,
                               struct tag_names *names)
{
    struct slice service = SLICE_LIT("service.name");
    struct tag_names parts[2] = {*names, {.counts = {0}}};
    struct ql_expr *filter = NULL;
    enum err e = p->q.len == 0 ? ERR_OK : ql_parse_tag_filter(r->search.arena, p->q, &filter);

    if (e != ERR_OK || filter == NULL)
        return e;
    ql_expr_release(filter);
    if (p->scope.len == 0 || slice_eq_str(p->scope, "none"))
        *scopes &= ~(1u << TAGS_EVENT | 1u << TAGS_LINK);
    parts[1].names[TAGS_RESOURCE] = &service;
    parts[1].counts[TAGS_RESOURCE] = 1;
    return tag_names_merge(r->search.arena, parts, 2, p->limit, names);
}

static enum err names_find(struct api_request *r, unsigned *ret_scopes, bool none_has_intrinsics,
                           struct tag_names *ret, struct err_detail *detail)
{
    struct params_tags p;

    enum err e = params_tags(r->search.arena, &r->rules, r->query, r->now_ns, &p, detail);
    if (e != ERR_OK)
        return e;
    *ret_scopes = scope_bits(p.scope, none_has_intrinsics);
    if ((*ret_scopes & ~(unsigned)ANSWERS_INTRINSIC) == 0)
        return ERR_OK; /* nothing to read */
    e = search_tag_names(&r->search, p.q, p.window.start_ns, p.window.end_ns, p.limit, ret);
    return e == ERR_OK ? names_filtered(r, &p, ret_scopes, ret) : e;
}

enum err api_tags_v1(struct api_request *r, struct api_answer *answer,
                     struct err_detail *reterr_detail)
{
    struct tag_names names = {0};
    unsigned scopes;

    enum err e = names_find(r, &scopes, false, &names, reterr_detail);
    if (e != ERR_OK)
        return e;
    answer->missing = r->search.missing;
    answer->content_type = r->wants_protobuf ? "application/protobuf" : answer->content_type;
    answers_tags_v1(&answer->body, r->search.arena, &names, scopes, r->wants_protobuf);
    return arena_err(r->search.arena);
}

enum err api_tags_v2(struct api_request *r, struct api_answer *answer,
                     struct err_detail *reterr_detail)
{
    struct tag_names names = {0};
    unsigned scopes;

    enum err e = names_find(r, &scopes, true, &names, reterr_detail);
    if (e != ERR_OK)
        return e;
    answer->missing = r->search.missing;
    answer->content_type = r->wants_protobuf ? "application/protobuf" : answer->content_type;
    answers_tags_v2(&answer->body, &names, scopes, r->wants_protobuf);
    return ERR_OK;
}

enum err api_values_v1(struct api_request *r, struct api_answer *answer,
                       struct err_detail *reterr_detail)
{
    struct params_tags p;
    struct tag_values values = {0};
    struct ql_attribute tag = {.name = r->argument};

    enum err e = params_tags(r->search.arena, &r->rules, r->query, r->now_ns, &p, reterr_detail);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < sizeof v1_intrinsics / sizeof v1_intrinsics[0]; i++)
        if (slice_eq_str(r->argument, v1_intrinsics[i].name))
            tag = (struct ql_attribute){.intrinsic = v1_intrinsics[i].intrinsic};
    bool any_scope = tag.intrinsic == QL_I_NONE;
    struct slice text = r->argument;
    if (!any_scope)
        text = tag.intrinsic == QL_I_NAME        ? SLICE_LIT("name")
               : tag.intrinsic == QL_I_ROOT_NAME ? SLICE_LIT("rootName")
                                                 : SLICE_LIT("rootServiceName");
    struct search_values_options o = {.tag_text = text,
                                      .tag = &tag,
                                      .any_scope = any_scope,
                                      .filter = p.q,
                                      .start_ns = p.window.start_ns,
                                      .end_ns = p.window.end_ns,
                                      .limit = p.limit,
                                      .bytes_max = r->rules.limits->max_bytes_per_tag_values_query};
    e = search_tag_values(&r->search, &o, &values);
    if (e != ERR_OK)
        return e;
    answer->missing = r->search.missing;
    answer->content_type = r->wants_protobuf ? "application/protobuf" : answer->content_type;
    answers_values_v1(&answer->body, &values, r->wants_protobuf);
    return ERR_OK;
}

enum err api_values_v2(struct api_request *r, struct api_answer *answer,
                       struct err_detail *reterr_detail)
{
    struct params_tags p;
    struct tag_values values = {0};
    struct ql_attribute tag;

    enum err e = params_tags(r->search.arena, &r->rules, r->query, r->now_ns, &p, reterr_detail);
    if (e != ERR_OK)
        return e;
    /* Older front ends encode the name twice. */
    struct slice name = http_percent_decode(r->search.arena, r->argument);
    if (name.ptr == NULL)
        name = r->argument;
    if (name.len == 0)
        return err_detail_set(reterr_detail, ERR_INVALID, "please provide a non-empty tagName");
    if (ql_parse_attribute(r->search.arena, name, &tag) != ERR_OK || tag.is_dotless)
        return err_detail_set(reterr_detail, ERR_INVALID,
                              "please provide a valid tagName: " SLICE_FMT, SLICE_ARG(name));
    struct search_values_options o = {.tag_text = name,
                                      .tag = &tag,
                                      .filter = p.q,
                                      .start_ns = p.window.start_ns,
                                      .end_ns = p.window.end_ns,
                                      .limit = p.limit,
                                      .bytes_max = r->rules.limits->max_bytes_per_tag_values_query};
    e = search_tag_values(&r->search, &o, &values);
    if (e != ERR_OK)
        return e;
    answer->missing = r->search.missing;
    if (r->wants_llm) {
        answer->content_type = ANSWERS_LLM_TYPE "+json";
        answers_llm_values(&answer->body, &values);
        return ERR_OK;
    }
    answer->content_type = r->wants_protobuf ? "application/protobuf" : answer->content_type;
    answers_values_v2(&answer->body, &values, r->wants_protobuf);
    return ERR_OK;
}
