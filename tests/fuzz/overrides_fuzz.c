/* Any bytes as the overrides file: limits of tenants that can be looked up, or an error that says where and what. */
#include "common/app/overrides_priv.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(enum err e, const struct err_detail *detail)
{
    assert(e == ERR_INVALID);
    assert(detail->line > 0);
    assert(strstr(detail->text, "f.yml:") == detail->text);
    assert(strlen(detail->text) > strlen("f.yml:1: "));
}

/* What holds can be used as it is: lists are there, names too. */
static void check_limits(const struct limits *l)
{
    struct limits copy;
    struct arena a;

    arena_init(&a, NULL);
    config_limits_copy(l, &a, &copy);
    assert(arena_err(&a) == ERR_OK);
    assert(config_limits_equal_generator(l, &copy));
    assert(l->trace_id_label_name[0] != '\0');
    assert(l->compaction_window_ns > 0 && l->block_retention_ns >= 0);
    assert(l->max_attribute_bytes >= 0 && l->max_search_duration_ns >= 0);
    arena_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    static bool is_open;
    struct config_warning *warnings;
    struct err_detail detail = {0};
    struct overrides_file f;

    if (!is_open &&
        config_parse("fuzz", SLICE_NONE, false, NULL, 0, &config, &warnings, NULL) != ERR_OK)
        return 0;
    is_open = true;
    if (size == 0)
        return 0;
    /* The first byte decides about variables. */
    config.expand_env = data[0] == '!';
    enum err e = overrides_file_parse(
        &config, "f.yml", (struct slice){data + config.expand_env, size - config.expand_env}, &f,
        &detail);
    if (e != ERR_OK) {
        check_error(e, &detail);
        return 0;
    }
    for (uint32_t i = 0; i < f.count; i++) {
        assert(i == 0 || slice_cmp(f.tenants[i - 1].name, f.tenants[i].name) <= 0);
        const struct overrides_tenant *t = overrides_file_find(&f, f.tenants[i].name);
        assert(t != NULL && slice_eq(t->name, f.tenants[i].name));
        check_limits(&f.tenants[i].limits);
    }
    overrides_file_release(&f);
    return 0;
}
