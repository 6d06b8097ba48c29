#include "common/base/arena.h"
#include "common/net/http_server.h"

#include <assert.h>

static int http_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* ptr NULL: a broken escape, or no memory. */
static struct slice http_decode(struct arena *a, struct slice text, bool is_plus_space)
{
    uint8_t *out = arena_alloc(a, text.len);
    size_t len = 0;

    if (out == NULL)
        return SLICE_NONE;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '+' && is_plus_space) {
            c = ' ';
        } else if (c == '%') {
            bool is_whole = text.len - i > 2;
            int high = is_whole ? http_hex_digit(text.ptr[i + 1]) : -1;
            int low = is_whole ? http_hex_digit(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return SLICE_NONE;
            c = (uint8_t)(high * 16 + low);
            i += 2;
        }
        out[len++] = c;
    }
    return (struct slice){out, len};
}

struct slice http_percent_decode(struct arena *a, struct slice text)
{
    return http_decode(a, text, false);
}

/* Go: pairs are parted by '&'; one with a ';' or a broken escape is left out; an empty one is nothing. */
void http_query_each(struct arena *a, struct slice query, http_query_fn *fn, void *arg)
{
    assert(fn != NULL);
    while (query.len > 0) {
        const uint8_t *amp = memchr(query.ptr, '&', query.len);
        size_t len = amp != NULL ? (size_t)(amp - query.ptr) : query.len;
        struct slice pair = slice_sub(query, 0, len);
        query = slice_sub(query, amp != NULL ? len + 1 : len, query.len);
        if (len == 0 || memchr(pair.ptr, ';', len) != NULL)
            continue;
        const uint8_t *equals = memchr(pair.ptr, '=', len);
        size_t name_len = equals != NULL ? (size_t)(equals - pair.ptr) : len;
        struct slice name = http_decode(a, slice_sub(pair, 0, name_len), true);
        struct slice value =
            http_decode(a, slice_sub(pair, equals != NULL ? name_len + 1 : len, len), true);
        if (name.ptr != NULL && value.ptr != NULL)
            fn(arg, name, value);
    }
}

struct http_query_search {
    struct slice name, value;
};

static void http_query_match(void *arg, struct slice name, struct slice value)
{
    struct http_query_search *search = arg;

    if (search->value.ptr == NULL && slice_eq(name, search->name))
        search->value = value;
}

struct slice http_query_get(struct arena *a, struct slice query, const char *name)
{
    struct http_query_search search = {.name = slice_str(name)};

    http_query_each(a, query, http_query_match, &search);
    return search.value;
}
