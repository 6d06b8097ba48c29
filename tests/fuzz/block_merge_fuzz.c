/*
 * Two blocks merged.  First byte, bit 0: what follows is two requests, out of which blocks are written; or two block files as they stand, checksums repaired.
 * Then u32: where the second begins.
 *
 * Properties: never a crash, never over the budget; what is left is a whole block or no file.  Of requests, and of files that block_verify finds sound: the
 * output is sound and its spans are those of both.  Of requests besides: no span twice, blocks hold what the heads held, flags stay, and the order of the inputs changes no byte.
 */
#include "common/base/hash.h"
#include "common/codec/otlp.h"
#include "common/store/block_inspect.h"
#include "common/store/block_merge.h"
#include "common/store/head.h"
#include "tests/fuzz/repairing.h"
#include "tests/lib/scratch_dir.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BUDGET_BYTES = 64 << 20, SPANS_MAX = 20000 };

/* Fingerprints of spans with all that belongs to them. */
struct prints {
    uint64_t of[SPANS_MAX];
    size_t count;
};
static struct prints want, got;
static char dir[SCRATCH_DIR_BYTES];

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static size_t sort_unique(struct prints *p)
{
    size_t kept = 0;

    qsort(p->of, p->count, sizeof p->of[0], by_value);
    for (size_t i = 0; i < p->count; i++) {
        if (i == 0 || p->of[i] != p->of[kept - 1])
            p->of[kept++] = p->of[i];
    }
    size_t copies = p->count - kept;
    p->count = kept;
    return copies;
}

/* ERR_LIMIT: more spans than are looked at. */
static enum err add_segment(struct segment *s, struct prints *p)
{
    struct buf out;
    enum err e = ERR_OK;

    buf_init(&out, 1u << 26);
    if (s->row_count[SEG_SPAN] > SPANS_MAX - p->count)
        e = ERR_LIMIT;
    for (uint32_t row = 0; e == ERR_OK && row < s->row_count[SEG_SPAN]; row++) {
        buf_reset(&out);
        e = segment_write_otlp(s, &row, 1, &out);
        if (e == ERR_OK)
            e = buf_err(&out);
        p->of[p->count] = hash_with(buf_slice(&out), 1);
        p->count += e == ERR_OK;
    }
    buf_release(&out);
    return e;
}

static enum err add_block(struct block *b, struct budget *budget, struct prints *p)
{
    enum err e = ERR_OK;

    for (uint32_t g = 0; e == ERR_OK && g < block_group_count(b); g++) {
        struct segment *s = NULL;
        e = block_segment(b, g, budget, &s);
        if (e == ERR_OK)
            e = add_segment(s, p);
        segment_close(s);
    }
    return e;
}

static void no_damage(void *arg, const char *place, enum err e)
{
    (void)arg;
    (void)place;
    (void)e;
}

static bool is_sound(struct block *b)
{
    struct budget budget;
    struct block_verify_result r;

    budget_init(&budget, BUDGET_BYTES, NULL);
    return block_verify(b, &budget, &(struct block_verify_hooks){.damage = no_damage}, &r) ==
           ERR_OK;
}

static bool is_flagged(struct block *b, struct trace_id id)
{
    const struct trace_id *list;
    uint32_t count;
    enum err e = block_flagged(b, &list, &count);

    assert(e == ERR_OK);
    for (uint32_t i = 0; i < count; i++) {
        if (trace_id_eq(list[i], id))
            return true;
    }
    return false;
}

/* All flags of a are in b too. */
static void check_flags(struct block *a, struct block *b)
{
    const struct trace_id *list;
    uint32_t count;
    enum err e = block_flagged(a, &list, &count);

    assert(e == ERR_OK);
    for (uint32_t i = 0; i < count; i++)
        assert(is_flagged(b, list[i]));
}

static enum err merge(const char *path, struct block *a, struct block *b, struct budget *budget,
                      struct block **ret)
{
    struct block *inputs[] = {a, b};
    struct block_merge job = {.inputs = inputs, .input_count = 2, .budget = budget};
    struct block_meta meta = {.id = "m", .tenant = "t"};
    struct block_merge_result result;
    struct object *o;
    enum err e = block_merge(path, &job, &meta, &result);

    assert((access(path, F_OK) == 0) == (e == ERR_OK));
    if (e != ERR_OK)
        return e;
    e = object_file_open(path, &o);
    assert(e == ERR_OK);
    e = block_open(o, NULL, ret);
    assert(e == ERR_OK);
    return e;
}

/* What was merged out of two good blocks. */
static void check_union(struct block *a, struct block *b, struct block *merged, bool is_ours)
{
    enum err e;

    assert(is_sound(merged));
    want.count = got.count = 0;
    if (add_block(a, NULL, &want) != ERR_OK || add_block(b, NULL, &want) != ERR_OK)
        return; /* too many to look at */
    e = add_block(merged, NULL, &got);
    assert(e == ERR_OK);
    (void)sort_unique(&want);
    size_t copies = sort_unique(&got);
    assert(got.count == want.count);
    assert(want.count == 0 || memcmp(want.of, got.of, want.count * sizeof want.of[0]) == 0);
    if (!is_ours)
        return;
    assert(copies == 0);
    check_flags(a, merged);
    check_flags(b, merged);
}

static void merge_files(struct slice first, struct slice second)
{
    struct repairing files[2] = {{{&repairing_ops, first.len, 0}, first.ptr},
                                 {{&repairing_ops, second.len, 0}, second.ptr}};
    struct block *inputs[2] = {0}, *merged = NULL;
    struct budget budget;
    char path[SCRATCH_DIR_BYTES * 2];
    enum err e = ERR_OK;

    scratch_dir_path(dir, "merged", path);
    budget_init(&budget, BUDGET_BYTES, NULL);
    for (int i = 0; e == ERR_OK && i < 2; i++)
        e = block_open(&files[i].object, &budget, &inputs[i]);
    if (e == ERR_OK && merge(path, inputs[0], inputs[1], &budget, &merged) == ERR_OK) {
        if (is_sound(inputs[0]) && is_sound(inputs[1]))
            check_union(inputs[0], inputs[1], merged, false);
        block_unref(merged);
        (void)unlink(path);
    }
    block_unref(inputs[0]);
    block_unref(inputs[1]);
    assert(budget_used(&budget) == 0);
}

/* A block of the request's spans; NULL when there is none in it. */
static struct block *write_block(struct slice otlp, const char *name, char id)
{
    struct block_meta meta = {.id = {id}, .tenant = "t", .writer = "w"};
    struct head_append_result r;
    struct head *h = NULL;
    struct segment *s = NULL;
    struct block *b = NULL;
    struct object *o;
    char path[SCRATCH_DIR_BYTES * 2];
    enum err e = head_new(NULL, &(struct head_options){0}, &h);

    assert(e == ERR_OK);
    scratch_dir_path(dir, name, path);
    if (head_append(h, otlp, false, 1, &r) == ERR_OK && r.spans > 0) {
        e = head_segment(h, NULL, &s);
        assert(e == ERR_OK);
        e = block_write(path, &s, 1, NULL, NULL, NULL, &meta);
        assert(e == ERR_OK);
        e = object_file_open(path, &o);
        assert(e == ERR_OK);
        e = block_open(o, NULL, &b);
        assert(e == ERR_OK);
        assert(is_sound(b));
        want.count = got.count = 0;
        if (add_segment(s, &want) == ERR_OK) {
            e = add_block(b, NULL, &got);
            assert(e == ERR_OK);
            (void)sort_unique(&want);
            size_t copies = sort_unique(&got);
            assert(copies == 0 && want.count == got.count);
            assert(memcmp(want.of, got.of, want.count * sizeof want.of[0]) == 0);
        }
        segment_close(s);
        (void)unlink(path);
    }
    head_unref(h);
    return b;
}

static void check_same_bytes(const char *one, const char *other)
{
    struct buf a, b;

    scratch_dir_read(one, &a);
    scratch_dir_read(other, &b);
    assert(slice_eq(buf_slice(&a), buf_slice(&b)));
    buf_release(&a);
    buf_release(&b);
}

static void merge_requests(struct slice first, struct slice second)
{
    struct block *a, *b = NULL, *ab = NULL, *ba = NULL;
    struct budget budget;
    char path[SCRATCH_DIR_BYTES * 2], path_too[SCRATCH_DIR_BYTES * 2];
    uint32_t spans;
    enum err e;

    if (otlp_check(first, &otlp_limits_default, &spans, NULL) != ERR_OK ||
        otlp_check(second, &otlp_limits_default, &spans, NULL) != ERR_OK)
        return;
    scratch_dir_path(dir, "merged", path);
    scratch_dir_path(dir, "merged-too", path_too);
    a = write_block(first, "first", 'a');
    if (a != NULL)
        b = write_block(second, "second", 'b');
    if (b != NULL) {
        budget_init(&budget, BUDGET_BYTES, NULL);
        e = merge(path, a, b, &budget, &ab);
        assert(e == ERR_OK || e == ERR_LIMIT);
        if (e == ERR_OK) {
            check_union(a, b, ab, true);
            e = merge(path_too, b, a, &budget, &ba);
            assert(e == ERR_OK);
            check_same_bytes(path, path_too);
            (void)unlink(path);
            (void)unlink(path_too);
        }
        assert(budget_used(&budget) == 0);
    }
    block_unref(ab);
    block_unref(ba);
    block_unref(a);
    block_unref(b);
}

static void end(void)
{
    scratch_dir_remove(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {data + 5, size - 5};

    if (size < 5)
        return 0;
    if (dir[0] == 0) {
        scratch_dir_make(dir);
        (void)atexit(end);
    }
    size_t at = le32_read(data + 1) % (rest.len + 1);
    struct slice first = slice_sub(rest, 0, at), second = slice_sub(rest, at, rest.len);
    if ((data[0] & 1) != 0)
        merge_requests(first, second);
    else
        merge_files(first, second);
    return 0;
}
