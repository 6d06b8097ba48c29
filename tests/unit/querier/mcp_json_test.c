/* What an MCP client asks: ids, methods, arguments, and what is not a message. */
#include "common/base/buf.h"
#include "querier/mcp.h"
#include "tests/lib/test.h"

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static struct mcp_request parsed(const char *json, enum err want)
{
    struct mcp_request m;

    assert_int_equal(mcp_request_parse(&arena, slice_str(json), &m), want);
    return m;
}

static void test_a_call(void **state)
{
    (void)state;
    struct mcp_request m = parsed(
        " {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/call\",\"params\":{\"name\":\"t\",\"uri\":\"u\",\"protocolVersion\":\"v\","
        "\"arguments\":{\"query\":\"{ }\",\"limit\":20,\"deep\":{\"a\":[true]},\"none\":null}}}\n",
        ERR_OK);
    assert_true(m.has_id && !m.id_is_text && slice_eq_str(m.id, "7"));
    assert_true(slice_eq_str(m.method, "tools/call") && slice_eq_str(m.name, "t"));
    assert_true(slice_eq_str(m.uri, "u") && slice_eq_str(m.protocol_version, "v"));
    assert_int_equal(m.argument_count, 3);
    assert_true(slice_eq_str(m.arguments[0].value, "{ }"));
    assert_true(slice_eq_str(m.arguments[1].value, "20"));
    assert_true(slice_eq_str(m.arguments[2].value, "{\"a\":[true]}"));
}

static void test_ids(void **state)
{
    (void)state;
    struct mcp_request m =
        parsed("{\"jsonrpc\":\"2.0\",\"id\":\"a\\\"b\",\"method\":\"ping\"}", ERR_OK);
    assert_true(m.has_id && m.id_is_text && slice_eq_str(m.id, "a\"b"));
    m = parsed("{\"jsonrpc\":\"2.0\",\"id\":\"\",\"method\":\"ping\"}", ERR_OK);
    assert_true(m.has_id && m.id_is_text && m.id.len == 0);
    m = parsed("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}", ERR_OK);
    assert_false(m.has_id);
    m = parsed("{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}", ERR_OK);
    assert_true(m.has_id && m.method.len == 0);
}

static void test_what_is_no_message(void **state)
{
    static const struct {
        const char *json;
        enum err want;
    } rows[] = {
        {"", ERR_FORMAT},
        {"{", ERR_FORMAT},
        {"nope", ERR_FORMAT},
        {"{} {}", ERR_FORMAT},
        {"[]", ERR_INVALID},
        {"7", ERR_INVALID},
        {"{}", ERR_INVALID},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", ERR_INVALID},
        {"{\"jsonrpc\":\"2.0\",\"id\":1}", ERR_INVALID},
        {"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", ERR_INVALID},
        {"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}", ERR_INVALID},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":5}", ERR_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mcp_request m;
        enum err e = mcp_request_parse(&arena, slice_str(rows[i].json), &m);
        if (e != rows[i].want)
            fail_msg("%s: %s", rows[i].json, err_name(e));
    }
    struct mcp_request m =
        parsed("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", ERR_INVALID);
    assert_true(m.has_id && slice_eq_str(m.id, "1")); /* the answer names it */
}

static void test_limits(void **state)
{
    (void)state;
    struct buf b;
    struct mcp_request m;

    buf_init(&b, 2 * MCP_BYTES_MAX);
    buf_append_str(
        &b, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"params\":{\"arguments\":{\"a\":1");
    for (int i = 1; i < MCP_ARGUMENTS_MAX; i++)
        buf_appendf(&b, ",\"a%d\":1", i);
    size_t len = b.len;
    buf_append_str(&b, "}}}");
    assert_int_equal(mcp_request_parse(&arena, buf_slice(&b), &m), ERR_OK);
    b.len = len;
    buf_append_str(&b, ",\"more\":1}}}");
    assert_int_equal(mcp_request_parse(&arena, buf_slice(&b), &m), ERR_INVALID);
    while (b.len <= MCP_BYTES_MAX)
        buf_append_byte(&b, ' ');
    assert_int_equal(mcp_request_parse(&arena, buf_slice(&b), &m), ERR_TOO_LARGE);
    buf_release(&b);
}

static void test_pages(void **state)
{
    (void)state;
    assert_non_null(mcp_docs_traceql(SLICE_LIT("basic")));
    assert_ptr_equal(mcp_docs_traceql(SLICE_LIT("query")), mcp_docs_traceql(SLICE_LIT("basic")));
    assert_null(mcp_docs_traceql(SLICE_LIT("none")));
    assert_null(mcp_docs_traceql(SLICE_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test(test_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
