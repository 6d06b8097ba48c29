/* Bytes as a server's answers to vivace-cli; first byte: which.  Properties: no crash; what is made of a message is JSON that reads back; a trace's
 * listing has every span once; what is written for a terminal holds no control character. */
#include "common/cli/cli_answer.h"
#include "common/cli/cli_frame.h"
#include "common/cli/cli_message.h"
#include "common/cli/cli_table.h"
#include "common/cli/cli_text.h"
#include "common/cli/cli_tree.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_BYTES_MAX = 64 << 20, WIDTH = 60 };

static void check_output(const struct buf *out)
{
    if (buf_err(out) != ERR_OK)
        return;
    for (size_t i = 0; i < out->len; i++) {
        uint8_t b = out->ptr[i];
        assert((b >= 0x20 || b == '\n' || b == '\t') && b != 0x7f);
        assert(b != 0xc2 || out->ptr[i + 1] >= 0xa0); /* C1 */
    }
}

static void check_rows(struct arena *a, const struct slice *pairs, uint32_t count)
{
    static const struct cli_column columns[] = {{"A", false, true}, {"B", true, true}};
    struct cli_table t;
    struct buf out;

    buf_init(&out, OUT_BYTES_MAX);
    cli_table_init(&t, a, columns, 2);
    for (uint32_t i = 0; i < count; i++)
        cli_table_row(&t, pairs + 2 * (size_t)i);
    cli_table_write(&t, WIDTH, &out);
    check_output(&out);
    buf_release(&out);
}

static void check_answer(struct arena *a, const struct cli_answer *answer)
{
    struct cli_answer twice[2] = {*answer, *answer}, joined;

    for (uint32_t i = 0; i < answer->found_count && i < 8; i++)
        check_rows(a, (const struct slice[]){answer->found[i].trace_id, answer->found[i].name}, 1);
    for (uint32_t i = 0; i < answer->tag_count && i < 8; i++)
        check_rows(a, (const struct slice[]){answer->tags[i].group, answer->tags[i].text}, 1);
    for (uint32_t i = 0; i < answer->series_count && i < 8; i++)
        check_rows(a, (const struct slice[]){answer->series[i].labels, answer->message}, 1);
    enum err e = cli_answer_join(twice, 2, a, &joined);
    assert(e == ERR_OK);
    assert(joined.found_count <= answer->found_count && joined.tag_count <= answer->tag_count &&
           joined.series_count <= answer->series_count);
}

static void as_json(struct slice json, struct arena *a)
{
    struct err_detail d = {0};
    struct cli_answer answer;
    struct buf out;
    bool is_there;

    buf_init(&out, OUT_BYTES_MAX);
    cli_text_json(&out, json);
    check_output(&out);
    buf_release(&out);
    if (cli_answer_from_json(json, a, &answer, &d) == ERR_OK)
        check_answer(a, &answer);
    else
        assert(d.text[0] != '\0');
    if (cli_answer_has_trace_json(json, &is_there, &d) != ERR_OK)
        assert(d.text[0] != '\0');
}

static void as_message(enum cli_message kind, struct slice message, struct arena *a)
{
    struct err_detail d = {0};
    struct cli_answer answer;
    struct json_out j;
    struct buf json;

    buf_init(&json, OUT_BYTES_MAX);
    json_out_init(&j, &json);
    if (cli_message_to_json(kind, message, &j) == ERR_OK) {
        enum err e = cli_answer_from_json(buf_slice(&json), a, &answer, &d);
        assert(e == ERR_OK);
        check_answer(a, &answer);
    }
    buf_release(&json);
}

static void as_trace(struct slice otlp, struct arena *a)
{
    struct err_detail d = {0};
    struct cli_tree t;
    struct buf branch;

    if (cli_tree_of(otlp, a, &t, &d) != ERR_OK)
        return;
    bool *is_seen = ARENA_ARRAY(a, bool, t.count);
    buf_init(&branch, OUT_BYTES_MAX);
    for (uint32_t i = 0; i < t.count; i++) {
        int32_t at = t.listed[i];
        assert(!is_seen[at]);
        assert(t.spans[at].parent == CLI_TREE_NONE || is_seen[t.spans[at].parent]);
        is_seen[at] = true;
        cli_tree_put_branch(&t, at, &branch);
    }
    buf_release(&branch);
}

static void as_frames(struct slice bytes)
{
    struct err_detail d = {0};
    struct slice rest = bytes, message;
    enum err e = ERR_OK;

    while (cli_frame_next(&rest, &message, &e, &d))
        assert(message.ptr + message.len == rest.ptr);
    assert(rest.ptr + rest.len == bytes.ptr + bytes.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;

    if (size == 0)
        return 0;
    struct slice rest = {data + 1, size - 1};
    cli_text_init();
    arena_init(&a, NULL);
    switch (data[0] % 8) {
    case 0: as_json(rest, &a); break;
    case 6: as_trace(rest, &a); break;
    case 7: as_frames(rest); break;
    default: as_message((enum cli_message)(data[0] % 8 - 1), rest, &a);
    }
    arena_release(&a);
    return 0;
}
