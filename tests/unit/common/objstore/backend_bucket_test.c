/* Blocks in a bucket: publishing that ends at any request, readers beside writers, replacing, removing, damage, strays, reads ahead. */
#include "common/objstore/backend_bucket.h"
#include "common/store/block_lineage.h"
#include "common/sys/fs.h"
#include "tests/lib/fake_memcached.h"
#include "tests/lib/test.h"
#include "tests/lib/tmpdir.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define T0 (1700000000LL * NS_PER_S)

/* A bucket that counts, and whose writes fail from one on: as if the process had ended there. */
struct failing {
    struct bucket bucket; /* first */
    struct bucket *to;
    atomic_uint reads, lists, writes;
    unsigned fail_at;          /* the write with this number and all later ones; 0: none */
    bool is_done_all_the_same; /* that one is done, but its answer lost */
    bool is_list_old;          /* listings of manifests are empty */
    struct buf old;            /* what reading `old_key` brings; empty: what is there */
    const char *old_key;
};

static bool may_write(struct failing *f, bool *ret_does)
{
    unsigned n = atomic_fetch_add(&f->writes, 1) + 1;
    bool fails = f->fail_at != 0 && n >= f->fail_at;

    *ret_does = !fails || (n == f->fail_at && f->is_done_all_the_same);
    return !fails;
}

static enum err f_put(struct bucket *b, const char *key, struct slice bytes)
{
    struct failing *f = (struct failing *)b;
    bool does, is_good = may_write(f, &does);
    enum err e = does ? f->to->ops->put(f->to, key, bytes) : ERR_OK;

    return is_good ? e : ERR_UNAVAILABLE;
}

static enum err f_put_file(struct bucket *b, const char *key, const char *path)
{
    struct failing *f = (struct failing *)b;
    bool does, is_good = may_write(f, &does);
    enum err e = does ? f->to->ops->put_file(f->to, key, path) : ERR_OK;

    return is_good ? e : ERR_UNAVAILABLE;
}

static enum err f_remove(struct bucket *b, const char *key)
{
    struct failing *f = (struct failing *)b;
    bool does, is_good = may_write(f, &does);
    enum err e = does ? f->to->ops->remove(f->to, key) : ERR_OK;

    return is_good ? e : ERR_UNAVAILABLE;
}

static enum err f_get(struct bucket *b, const char *key, uint64_t offset, void *ret, size_t len)
{
    struct failing *f = (struct failing *)b;

    atomic_fetch_add(&f->reads, 1);
    return f->to->ops->get(f->to, key, offset, ret, len);
}

static enum err f_get_all(struct bucket *b, const char *key, struct buf *ret)
{
    struct failing *f = (struct failing *)b;

    atomic_fetch_add(&f->reads, 1);
    if (f->old.len > 0 && strcmp(key, f->old_key) == 0) {
        buf_append(ret, buf_slice(&f->old));
        return buf_err(ret);
    }
    return f->to->ops->get_all(f->to, key, ret);
}

static enum err f_head(struct bucket *b, const char *key, uint64_t *ret)
{
    struct failing *f = (struct failing *)b;

    return f->to->ops->head(f->to, key, ret);
}

static enum err f_list(struct bucket *b, const char *prefix, bool is_deep, bucket_entry_fn *fn,
                       void *arg)
{
    struct failing *f = (struct failing *)b;

    atomic_fetch_add(&f->lists, 1);
    if (f->is_list_old && prefix[0] == '~')
        return ERR_OK;
    return f->to->ops->list(f->to, prefix, is_deep, fn, arg);
}

static void f_free(struct bucket *b)
{
    free(b); /* what it stands before lives on */
}

static const struct bucket_ops failing_ops = {.put = f_put,
                                              .put_file = f_put_file,
                                              .get = f_get,
                                              .get_all = f_get_all,
                                              .head = f_head,
                                              .list = f_list,
                                              .remove = f_remove,
                                              .free = f_free};

static struct bucket *memory;
static struct budget budget;
static struct fake_clock fake;

static struct backend *open_store(const char *writer, struct failing **ret)
{
    struct failing *f = calloc(1, sizeof *f);
    struct backend *b = NULL;

    assert_non_null(f);
    f->bucket.ops = &failing_ops;
    f->to = memory;
    struct backend_bucket_options o = {.bucket = &f->bucket,
                                       .writer = writer,
                                       .memory = &budget,
                                       .cache_bytes = 4 << 20,
                                       .clock = &fake.clock};
    assert_int_equal(backend_bucket_new(&o, &b), ERR_OK);
    if (ret != NULL)
        *ret = f;
    return b;
}

static int set_up(void **state)
{
    budget_init(&budget, 64 << 20, NULL);
    fake_clock_init(&fake, T0);
    return tmpdir_setup(state) == 0 && bucket_memory_new(&memory) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    memory->ops->free(memory);
    assert_int_equal(budget_used(&budget), 0);
    return tmpdir_teardown(state);
}

static const char *id_of(unsigned n)
{
    static char ids[8][37];

    (void)snprintf(ids[n % 8], sizeof ids[0], "00000000-0000-4000-8000-%012u", n);
    return ids[n % 8];
}

static enum err try_replace(void **state, struct backend *b, unsigned n, const char *writer,
                            const char *const *old, uint32_t old_count)
{
    struct block_meta meta = {.version = 1, .bytes = 10, .created_ns = (uint64_t)T0};
    struct block_lineage lineage = {.compacted_ns = (uint64_t)clock_wall_ns(&fake.clock)};
    struct arena a;

    const char *path = tmpdir_path(state, "data.vvb");
    struct buf json;

    (void)snprintf(meta.id, sizeof meta.id, "%s", id_of(n));
    (void)snprintf(meta.tenant, sizeof meta.tenant, "acme");
    (void)snprintf(meta.writer, sizeof meta.writer, "%s", writer);
    buf_init(&json, 8192);
    arena_init(&a, NULL);
    for (uint32_t i = 0; i < old_count; i++) {
        struct block_meta input = {.version = 1};
        (void)snprintf(input.id, sizeof input.id, "%s", old[i]);
        assert_int_equal(block_lineage_add(&lineage, &input, &(struct block_lineage){0}, &a),
                         ERR_OK);
    }
    if (old_count == 0)
        assert_int_equal(block_meta_to_json(&meta, &json), ERR_OK);
    else
        assert_int_equal(block_lineage_to_json(&meta, &lineage, &json), ERR_OK);
    arena_release(&a);
    assert_int_equal(fs_replace(path, SLICE_LIT("0123456789")), ERR_OK);
    enum err e = old_count == 0
                     ? b->ops->publish(b, "acme", meta.id, path, buf_slice(&json))
                     : b->ops->replace(b, "acme", meta.id, path, buf_slice(&json), old, old_count);
    assert_int_equal(access(path, F_OK), e == ERR_OK ? -1 : 0); /* kept for the next attempt */
    buf_release(&json);
    return e;
}

static enum err publish(void **state, struct backend *b, unsigned n, const char *writer)
{
    return try_replace(state, b, n, writer, NULL, 0);
}

struct text {
    char text[256];
};

static enum err add_id(void *arg, const char *id)
{
    struct text *t = arg;
    size_t at = strlen(t->text);

    (void)snprintf(t->text + at, sizeof t->text - at, "%s%d", at > 0 ? " " : "",
                   (int)strtol(id + 24, NULL, 10));
    return ERR_OK;
}

static enum err add_replaced(void *arg, const char *id, uint64_t when_ns)
{
    assert_true(when_ns >= (uint64_t)T0);
    return add_id(arg, id);
}

static struct text blocks_of(struct backend *b)
{
    struct text t = {""};

    assert_int_equal(b->ops->blocks(b, "acme", add_id, &t), ERR_OK);
    return t;
}

struct walk {
    struct backend *b;
    struct text *t;
};

static enum err tenant_blocks(void *arg, const char *tenant)
{
    struct walk *w = arg;

    return w->b->ops->blocks(w->b, tenant, add_id, w->t);
}

/* As a querier polls: tenants, and the blocks of each. */
static struct text polled(struct backend *b)
{
    struct text t = {""};
    struct walk w = {b, &t};

    assert_int_equal(b->ops->tenants(b, tenant_blocks, &w), ERR_OK);
    return t;
}

static void test_readers_see_what_writers_publish(void **state)
{
    struct failing *f;
    struct backend *one = open_store("i/1", NULL), *two = open_store("i-2", NULL),
                   *reader = open_store(NULL, &f);
    struct object *o;
    char text[8] = {0};

    assert_string_equal(polled(reader).text, "");
    assert_int_equal(publish(state, one, 1, "i/1"), ERR_OK);
    assert_int_equal(publish(state, two, 2, "i-2"), ERR_OK);
    assert_int_equal(publish(state, one, 3, "i/1"), ERR_OK);
    assert_int_equal(publish(state, one, 3, "i/1"), ERR_OK); /* once more: nothing new */
    unsigned reads = atomic_load(&f->reads), lists = atomic_load(&f->lists);
    assert_string_equal(polled(reader).text, "1 2 3");
    assert_int_equal(atomic_load(&f->reads) - reads, 2); /* one read a writer */
    assert_int_equal(atomic_load(&f->lists) - lists, 1);
    assert_string_equal(polled(reader).text, "1 2 3");
    assert_int_equal(atomic_load(&f->reads) - reads, 2); /* and none when nothing has changed */
    assert_int_equal(reader->ops->open(reader, "acme", id_of(2), &o), ERR_OK);
    assert_int_equal(o->bytes, 10);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 3, text, 4), ERR_OK);
    assert_string_equal(text, "3456");
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 8, text, 3), ERR_CORRUPT);
    o->ops->close(o);
    assert_int_equal(publish(state, reader, 4, "x"), ERR_FORBIDDEN);
    one->ops->free(one);
    two->ops->free(two);
    reader->ops->free(reader);
}

static void test_an_old_listing_hides_nothing(void **state)
{
    struct failing *f;
    struct backend *one = open_store("i", NULL), *reader = open_store(NULL, &f);

    assert_int_equal(publish(state, one, 1, "i"), ERR_OK);
    assert_string_equal(polled(reader).text, "1");
    assert_int_equal(publish(state, one, 2, "i"), ERR_OK);
    f->is_list_old = true; /* the manifest that is known is read past it */
    assert_string_equal(blocks_of(reader).text, "1 2");
    assert_string_equal(polled(reader).text, "1 2");
    one->ops->free(one);
    reader->ops->free(reader);
}

static void test_a_block_takes_the_place_of_others(void **state)
{
    struct backend *one = open_store("i", NULL), *two = open_store("j", NULL),
                   *reader = open_store(NULL, NULL);
    const char *old[] = {id_of(1), id_of(2)};
    struct text replaced = {""};
    struct object *o;
    uint64_t bytes;
    char key[512];

    assert_int_equal(publish(state, one, 1, "i"), ERR_OK);
    assert_int_equal(publish(state, two, 2, "j"), ERR_OK);
    assert_string_equal(polled(two).text, "1 2");
    assert_int_equal(try_replace(state, two, 3, "j", old, 2), ERR_OK);
    assert_string_equal(polled(reader).text, "3");
    assert_string_equal(polled(one).text, "3");
    assert_int_equal(reader->ops->open(reader, "acme", id_of(1), &o),
                     ERR_OK); /* for who needs it still */
    o->ops->close(o);
    assert_int_equal(publish(state, one, 1, "i"), ERR_OK); /* its writer does not bring it back */
    assert_string_equal(polled(reader).text, "3");
    assert_int_equal(two->ops->replaced(two, "acme", add_replaced, &replaced), ERR_OK);
    assert_string_equal(replaced.text, "1 2");
    for (unsigned i = 1; i <= 2; i++) {
        assert_int_equal(two->ops->remove(two, "acme", id_of(i)), ERR_OK);
        (void)snprintf(key, sizeof key, "acme/%s/data.vvb", id_of(i));
        assert_int_equal(memory->ops->head(memory, key, &bytes), ERR_NOT_FOUND);
    }
    replaced.text[0] = '\0';
    assert_int_equal(two->ops->replaced(two, "acme", add_replaced, &replaced), ERR_OK);
    assert_string_equal(replaced.text, "");
    assert_string_equal(polled(reader).text, "3");
    assert_int_equal(two->ops->remove(two, "acme", id_of(1)), ERR_NOT_FOUND);
    one->ops->free(one);
    two->ops->free(two);
    reader->ops->free(reader);
}

/* The process ends at each write of a replacement, once before and once after it was done; a new one takes up. */
static void test_killed_anywhere(void **state)
{
    for (unsigned at = 1; at <= 4; at++) {
        for (int done = 0; done < 2; done++) {
            const char *old[] = {id_of(1)};
            struct failing *f;
            struct backend *b = open_store("i", &f), *reader = open_store(NULL, NULL);

            assert_int_equal(publish(state, b, 1, "i"), ERR_OK);
            f->fail_at = atomic_load(&f->writes) + at;
            f->is_done_all_the_same = done == 1;
            enum err e = try_replace(state, b, 2, "i", old, 1);
            assert_int_equal(e, at <= 3 ? ERR_UNAVAILABLE : ERR_OK);
            bool is_seen = at == 4 || (at == 3 && done == 1);
            assert_string_equal(polled(reader).text, is_seen ? "2" : "1");
            b->ops->free(b);
            b = open_store("i", NULL);
            struct text after = polled(b); /* a block with a meta.json was published */
            bool is_there = is_seen || at == 3 || (at == 2 && done == 1);
            assert_string_equal(after.text, is_there ? "2" : "1");
            assert_int_equal(try_replace(state, b, 2, "i", old, 1), ERR_OK);
            assert_string_equal(polled(reader).text, "2");
            assert_int_equal(b->ops->remove(b, "acme", id_of(1)), ERR_OK);
            assert_int_equal(b->ops->remove(b, "acme", id_of(2)), ERR_OK);
            assert_string_equal(polled(reader).text, "");
            b->ops->free(b);
            reader->ops->free(reader);
        }
    }
}

/* Two that merge do not see each other: at every step of theirs readers that know more or less have each block once, by itself or in another. */
static void test_two_merges_share_an_input(void **state)
{
    struct failing *f;
    struct backend *one = open_store("i", NULL), *two = open_store("j", &f),
                   *reader = open_store(NULL, NULL), *new_reader;
    const char *a[] = {id_of(1), id_of(2), id_of(3)}, *late[] = {id_of(3), id_of(4)};
    struct text replaced = {""};

    for (unsigned n = 1; n <= 5; n++)
        assert_int_equal(publish(state, n % 2 == 0 ? two : one, n, n % 2 == 0 ? "j" : "i"), ERR_OK);
    assert_string_equal(polled(one).text, "1 2 3 4 5");
    assert_string_equal(polled(two).text, "1 2 3 4 5");
    f->old_key = "~manifests/acme/i"; /* it looks before the other one's change comes */
    buf_init(&f->old, 1 << 20);
    assert_int_equal(memory->ops->get_all(memory, f->old_key, &f->old), ERR_OK);
    assert_int_equal(try_replace(state, one, 6, "", a, 3), ERR_OK);
    assert_string_equal(polled(reader).text, "4 5 6");
    fake_clock_advance(&fake, NS_PER_S);
    assert_int_equal(try_replace(state, two, 7, "", late, 2), ERR_OK);
    buf_release(&f->old);
    buf_init(&f->old, 1);
    assert_string_equal(polled(reader).text, "4 5 6");
    assert_string_equal(blocks_of(two).text, "4 5 6");
    new_reader = open_store(NULL, NULL);
    assert_string_equal(polled(new_reader).text, "4 5 6");
    /* What lost is removed like what was merged; not by the time of a clock that is wrong, but when it has been seen so for so long. */
    assert_int_equal(two->ops->replaced(two, "acme", add_replaced, &replaced), ERR_OK);
    assert_string_equal(replaced.text, "1 2 3 7");
    assert_int_equal(two->ops->remove(two, "acme", id_of(3)), ERR_OK);
    assert_string_equal(polled(reader).text, "4 5 6");
    assert_int_equal(two->ops->remove(two, "acme", id_of(7)), ERR_OK);
    assert_int_equal(one->ops->remove(one, "acme", id_of(1)), ERR_OK);
    assert_string_equal(polled(reader).text, "4 5 6");
    /* Seen in time it is not done at all. */
    assert_string_equal(polled(two).text, "4 5 6");
    const char *taken[] = {id_of(2), id_of(5)}, *left[] = {id_of(4), id_of(5)};
    assert_int_equal(try_replace(state, two, 8, "", taken, 2), ERR_CONFLICT);
    assert_string_equal(polled(reader).text, "4 5 6");
    assert_int_equal(try_replace(state, two, 8, "", left, 2), ERR_OK);
    assert_string_equal(polled(reader).text, "6 8");
    one->ops->free(one);
    two->ops->free(two);
    reader->ops->free(reader);
    new_reader->ops->free(new_reader);
}

static void test_a_removal_is_finished_later(void **state)
{
    struct failing *f;
    struct backend *b = open_store("i", &f);
    uint64_t bytes;
    char key[512];

    assert_int_equal(publish(state, b, 1, "i"), ERR_OK);
    f->fail_at =
        atomic_load(&f->writes) + 2; /* the manifest says so, the objects are still there */
    assert_int_equal(b->ops->remove(b, "acme", id_of(1)), ERR_UNAVAILABLE);
    b->ops->free(b);
    b = open_store("i", NULL);
    assert_string_equal(polled(b).text, "");
    (void)snprintf(key, sizeof key, "acme/%s/data.vvb", id_of(1));
    assert_int_equal(memory->ops->head(memory, key, &bytes), ERR_NOT_FOUND);
    b->ops->free(b);
}

static void test_quarantine_keeps_everything(void **state)
{
    struct backend *b = open_store("i", NULL);
    uint64_t bytes;
    char key[512];

    assert_int_equal(publish(state, b, 1, "i"), ERR_OK);
    assert_int_equal(b->ops->quarantine(b, "acme", id_of(1), "bits flipped"), ERR_OK);
    assert_string_equal(polled(b).text, "");
    b->ops->free(b);
    b = open_store("i", NULL);
    assert_string_equal(polled(b).text, "");
    (void)snprintf(key, sizeof key, "acme/%s/data.vvb", id_of(1));
    assert_int_equal(memory->ops->head(memory, key, &bytes), ERR_OK);
    (void)snprintf(key, sizeof key, "~quarantine/acme/%s/why.txt", id_of(1));
    assert_int_equal(memory->ops->head(memory, key, &bytes), ERR_OK);
    b->ops->free(b);
}

static void test_without_manifests_folders_are_looked_at(void **state)
{
    struct backend *b = open_store("i", NULL), *reader;

    assert_int_equal(publish(state, b, 1, "i"), ERR_OK);
    assert_int_equal(memory->ops->remove(memory, "~manifests/acme/i"), ERR_OK);
    reader = open_store(NULL, NULL);
    assert_string_equal(polled(reader).text, ""); /* its writer may be about to name it */
    reader->ops->free(reader);
    fake_clock_advance(&fake, 2 * BACKEND_BUCKET_STRAY_NS);
    reader = open_store(NULL, NULL);
    assert_string_equal(polled(reader).text, "1");
    reader->ops->free(reader);
    /* Damaged: at once. */
    assert_int_equal(memory->ops->put(memory, "~manifests/acme/i", SLICE_LIT("VVM1 nonsense")),
                     ERR_OK);
    reader = open_store(NULL, NULL);
    assert_string_equal(polled(reader).text, "1");
    reader->ops->free(reader);
    b->ops->free(b);
}

static void test_what_is_wanted_is_loaded_together(void **state)
{
    static uint8_t bytes[3 << 20];
    struct object_range ranges[] = {{2 << 20, 100, OBJECT_VALUES},
                                    {0, 1000, OBJECT_VALUES},
                                    {300 << 10, 1000, OBJECT_VALUES},
                                    {1000, 50, OBJECT_VALUES}};
    struct failing *f;
    struct backend *b = open_store(NULL, &f);
    struct object *o;
    uint8_t got[1000];
    char key[512];
    (void)state;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    (void)snprintf(key, sizeof key, "acme/%s/data.vvb", id_of(1));
    assert_int_equal(memory->ops->put(memory, key, (struct slice){bytes, sizeof bytes}), ERR_OK);
    assert_int_equal(b->ops->open(b, "acme", id_of(1), &o), ERR_OK);
    object_want(o, ranges, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(o->ops->read(o, OBJECT_VALUES, ranges[i].offset, got, ranges[i].len),
                         ERR_OK);
        assert_memory_equal(got, bytes + ranges[i].offset, ranges[i].len);
    }
    assert_int_equal(atomic_load(&f->reads), 2); /* three are near each other, one is far */
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 0, got, 1000), ERR_OK);
    assert_int_equal(atomic_load(&f->reads), 2);
    o->ops->close(o);
    b->ops->free(b);
}

/* A store over the same bucket and one cache of its own, as another process has it. */
static struct backend *open_sharing(const struct fake_memcached *server, struct failing **ret)
{
    const char *address = fake_memcached_address(server);
    struct cache_options o = {.name = "test",
                              .addresses = &address,
                              .address_count = 1,
                              .timeout_ns = 10 * NS_PER_S,
                              .connect_timeout_ns = 10 * NS_PER_S,
                              .update_ns = 60 * NS_PER_S,
                              .idle_max = 10,
                              .writers = 2,
                              .queue_max = 100,
                              .queue_bytes_max = 32 << 20,
                              .memory = &budget,
                              .clock = &fake.clock};
    struct shared_ranges_options r = {.cache_count = 1, .clock = &fake.clock};
    struct failing *f = calloc(1, sizeof *f);
    struct shared_ranges *shared;
    struct backend *b = NULL;
    uint8_t byte;
    struct cache_item item = {.key = "is-it-known", .ret = &byte, .len = 1};

    assert_non_null(f);
    assert_int_equal(cache_new(&o, &r.caches[0], NULL), ERR_OK);
    for (unsigned before = fake_memcached_gets(server); fake_memcached_gets(server) == before;) {
        (void)usleep(1000);
        cache_get(r.caches[0], &item, 1);
    }
    r.of_part[OBJECT_VALUES] = r.of_part[OBJECT_FOOTER] = r.caches[0];
    assert_int_equal(shared_ranges_new(&r, &shared), ERR_OK);
    f->bucket.ops = &failing_ops;
    f->to = memory;
    struct backend_bucket_options bo = {.bucket = &f->bucket,
                                        .memory = &budget,
                                        .cache_bytes = 4 << 20,
                                        .shared = shared,
                                        .clock = &fake.clock};
    assert_int_equal(backend_bucket_new(&bo, &b), ERR_OK);
    *ret = f;
    return b;
}

enum { SHARED_RANGES = 6 };

/* Reads all ranges, wanted before or not, in a store of its own; how often the bucket was read. */
static unsigned read_sharing(const struct fake_memcached *server, const uint8_t *bytes, bool wants)
{
    static const struct object_range ranges[SHARED_RANGES] = {
        {2 << 20, 100, OBJECT_VALUES},
        {0, 1000, OBJECT_VALUES},
        {300 << 10, 1000, OBJECT_VALUES},
        {1000, 50, OBJECT_TRACES} /* not kept */,
        {2000, 700, OBJECT_FOOTER},
        {100 << 10, 1 << 20, OBJECT_VALUES} /* more than one go */};
    static uint8_t got[1 << 20];
    struct failing *f;
    struct backend *b = open_sharing(server, &f);
    struct object *o;

    assert_int_equal(b->ops->open(b, "acme", id_of(1), &o), ERR_OK);
    if (wants)
        object_want(o, ranges, SHARED_RANGES);
    for (unsigned i = 0; i < SHARED_RANGES; i++) {
        const struct object_range *r = &ranges[i];
        assert_int_equal(o->ops->read(o, r->part, r->offset, got, r->len), ERR_OK);
        assert_memory_equal(got, bytes + r->offset, r->len);
    }
    unsigned reads = atomic_load(&f->reads);
    o->ops->close(o);
    b->ops->free(b);
    return reads;
}

static void test_what_one_has_read_the_others_need_not(void **state)
{
    static const enum fake_mood moods[] = {FAKE_FLIPS, FAKE_MIXES, FAKE_LONGER, FAKE_BABBLES,
                                           FAKE_CLOSES};
    static uint8_t bytes[3 << 20];
    struct fake_memcached *server = fake_memcached_new();
    char key[512];
    (void)state;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    (void)snprintf(key, sizeof key, "acme/%s/data.vvb", id_of(1));
    assert_int_equal(memory->ops->put(memory, key, (struct slice){bytes, sizeof bytes}), ERR_OK);
    /* What waits is dropped when a store is closed: until all has come. */
    while (fake_memcached_sets(server) < SHARED_RANGES - 1)
        (void)read_sharing(server, bytes, false);
    fake_memcached_wait(server, SHARED_RANGES - 1);
    assert_int_equal(read_sharing(server, bytes, false), 1);
    assert_int_equal(read_sharing(server, bytes, true), 1);
    for (unsigned i = 0; i < sizeof moods / sizeof moods[0]; i++) {
        fake_memcached_set_mood(server, moods[i]);
        assert_true(read_sharing(server, bytes, i % 2 == 0) > 1);
    }
    fake_memcached_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_readers_see_what_writers_publish, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_old_listing_hides_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_block_takes_the_place_of_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_killed_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_two_merges_share_an_input, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_removal_is_finished_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_quarantine_keeps_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_without_manifests_folders_are_looked_at, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_wanted_is_loaded_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_one_has_read_the_others_need_not, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
