#include "common/store/backend.h"
#include "common/sys/fs.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ID_A "11111111-2222-8333-8444-555555555555"
#define ID_B "aaaaaaaa-bbbb-8ccc-8ddd-eeeeeeeeeeee"
#define ID_C "cccccccc-2222-8333-8444-555555555555"
#define ID_D "dddddddd-2222-8333-8444-555555555555"
#define ID_E "eeeeeeee-2222-8333-8444-555555555555"

static char dir[SCRATCH_DIR_BYTES], root[SCRATCH_DIR_BYTES * 2];
static struct backend *backend;

static int set_up(void **state)
{
    (void)state;
    scratch_dir_make(dir);
    scratch_dir_path(dir, "blocks", root);
    return backend_local_new(root, &backend, NULL) == ERR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    backend->ops->free(backend);
    scratch_dir_remove(dir);
    return 0;
}

struct names {
    char text[512];
    unsigned count;
};

static enum err add_name(void *arg, const char *name)
{
    struct names *n = arg;
    size_t at = strlen(n->text);

    (void)snprintf(n->text + at, sizeof n->text - at, "%s ", name);
    n->count++;
    return ERR_OK;
}

static struct names blocks_of(const char *tenant)
{
    struct names n = {0};

    assert_int_equal(backend->ops->blocks(backend, tenant, add_name, &n), ERR_OK);
    return n;
}

static void publish(const char *tenant, const char *id, const char *bytes)
{
    char path[SCRATCH_DIR_BYTES * 2];

    scratch_dir_path(dir, "finished.vvb", path);
    scratch_dir_write(path, slice_str(bytes));
    assert_int_equal(backend->ops->publish(backend, tenant, id, path, SLICE_LIT("{\"m\":1}")),
                     ERR_OK);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_published_block_is_read_back(void **state)
{
    struct names n = {0};
    struct object *o = NULL;
    struct buf meta;
    char text[16] = {0};
    (void)state;

    publish("acme", ID_A, "0123456789");
    publish("acme", ID_B, "x");
    publish("single-tenant", ID_B, "y");
    assert_int_equal(backend->ops->tenants(backend, add_name, &n), ERR_OK);
    assert_int_equal(n.count, 2);
    assert_int_equal(blocks_of("acme").count, 2);
    assert_int_equal(blocks_of("single-tenant").count, 1);
    assert_int_equal(blocks_of("nobody").count, 0);

    buf_init(&meta, 100);
    assert_int_equal(backend->ops->read_meta(backend, "acme", ID_A, &meta), ERR_OK);
    assert_true(slice_eq_str(buf_slice(&meta), "{\"m\":1}"));
    buf_release(&meta);
    assert_int_equal(backend->ops->open(backend, "acme", ID_A, &o), ERR_OK);
    assert_int_equal(o->bytes, 10);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 3, text, 4), ERR_OK);
    assert_string_equal(text, "3456");
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 8, text, 3), ERR_CORRUPT);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, UINT64_MAX, text, 2), ERR_CORRUPT);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 10, text, 0), ERR_OK);

    /* Taken away while it is open: what is open stays readable. */
    assert_int_equal(backend->ops->remove(backend, "acme", ID_A), ERR_OK);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 0, text, 4), ERR_OK);
    o->ops->close(o);
    assert_int_equal(blocks_of("acme").count, 1);
    assert_int_equal(backend->ops->remove(backend, "acme", ID_A), ERR_NOT_FOUND);
    assert_int_equal(backend->ops->open(backend, "acme", ID_A, &o), ERR_NOT_FOUND);
}

static void the_same_block_twice_is_one(void **state)
{
    (void)state;
    publish("acme", ID_A, "first");
    publish("acme", ID_A, "first");
    assert_int_equal(blocks_of("acme").count, 1);
}

static enum err add_replaced(void *arg, const char *id, uint64_t replaced_ns)
{
    assert_true(replaced_ns > 1700000000ull * 1000000000ull);
    return add_name(arg, id);
}

static struct names replaced_of(const char *tenant)
{
    struct names n = {0};

    assert_int_equal(backend->ops->replaced(backend, tenant, add_replaced, &n), ERR_OK);
    return n;
}

static void a_block_takes_the_place_of_others(void **state)
{
    const char *const old[] = {ID_A, ID_B};
    char path[SCRATCH_DIR_BYTES * 2], text[8] = {0};
    struct object *o = NULL;
    (void)state;

    publish("acme", ID_A, "aaaa");
    publish("acme", ID_B, "bbbb");
    scratch_dir_path(dir, "finished.vvb", path);
    scratch_dir_write(path, SLICE_LIT("both"));
    assert_int_equal(replaced_of("acme").count, 0);
    assert_int_equal(backend->ops->replace(backend, "acme", ID_C, path, SLICE_LIT("{}"), old, 2),
                     ERR_OK);
    assert_string_equal(blocks_of("acme").text, ID_C " ");
    assert_int_equal(replaced_of("acme").count, 2);
    assert_int_equal(replaced_of("nobody").count, 0);

    /* Who had one of them in hand reads on. */
    assert_int_equal(backend->ops->open(backend, "acme", ID_A, &o), ERR_OK);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 0, text, 4), ERR_OK);
    assert_string_equal(text, "aaaa");
    o->ops->close(o);

    /* Its writer does not bring it back. */
    publish("acme", ID_A, "aaaa");
    assert_string_equal(blocks_of("acme").text, ID_C " ");
    assert_int_equal(backend->ops->remove(backend, "acme", ID_A), ERR_OK);
    assert_int_equal(replaced_of("acme").count, 1);
}

/* What is out of sight can not be replaced a second time; what is only half done can be done again. */
static void a_block_is_replaced_once(void **state)
{
    const char *const both[] = {ID_A, ID_B}, *const others[] = {ID_B, ID_D};
    char path[SCRATCH_DIR_BYTES * 2], meta[SCRATCH_DIR_BYTES * 2], was[SCRATCH_DIR_BYTES * 2];
    (void)state;

    publish("acme", ID_A, "aaaa");
    publish("acme", ID_B, "bbbb");
    publish("acme", ID_D, "dddd");
    scratch_dir_path(dir, "finished.vvb", path);
    scratch_dir_write(path, SLICE_LIT("both"));
    assert_int_equal(backend->ops->replace(backend, "acme", ID_C, path, SLICE_LIT("{}"), both, 2),
                     ERR_OK);
    scratch_dir_write(path, SLICE_LIT("others"));
    assert_int_equal(backend->ops->replace(backend, "acme", ID_E, path, SLICE_LIT("{}"), others, 2),
                     ERR_CONFLICT);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(blocks_of("acme").count, 2); /* the one that was made, and the one left over */
    /* As a crash between the marks leaves it. */
    scratch_dir_path(root, "acme/" ID_B "/meta.json", meta);
    scratch_dir_path(root, "acme/" ID_B "/meta.compacted.json", was);
    assert_int_equal(rename(was, meta), 0);
    scratch_dir_write(path, SLICE_LIT("both"));
    assert_int_equal(backend->ops->replace(backend, "acme", ID_C, path, SLICE_LIT("{}"), both, 2),
                     ERR_OK);
    assert_int_equal(blocks_of("acme").count, 2);
}

/* Two processes that share an input: whatever they do when, one of them is refused. */
static void two_that_race_leave_one_block(void **state)
{
    static const char *const ids[2] = {ID_C, ID_E};
    static const char *const inputs[2][2] = {{ID_A, ID_B}, {ID_B, ID_D}};
    char path[2][SCRATCH_DIR_BYTES * 2], tenant[16], name[32];
    (void)state;

    for (int round = 0; round < 40; round++) {
        int go[2], won = 0;
        pid_t pids[2];
        (void)snprintf(tenant, sizeof tenant, "t%d", round);
        publish(tenant, ID_A, "aaaa");
        publish(tenant, ID_B, "bbbb");
        publish(tenant, ID_D, "dddd");
        assert_int_equal(pipe(go), 0);
        for (int i = 0; i < 2; i++) {
            (void)snprintf(name, sizeof name, "finished-%d", i);
            scratch_dir_path(dir, name, path[i]);
            scratch_dir_write(path[i], SLICE_LIT("merged"));
            pids[i] = fork();
            assert_true(pids[i] >= 0);
            if (pids[i] == 0) {
                char c;
                (void)close(go[1]);
                (void)!read(go[0], &c, 1); /* until the other end is closed */
                enum err e = backend->ops->replace(backend, tenant, ids[i], path[i],
                                                   SLICE_LIT("{}"), inputs[i], 2);
                _exit(e == ERR_OK ? 1 : e == ERR_CONFLICT ? 0 : 2);
            }
        }
        (void)close(go[0]);
        (void)close(go[1]);
        for (int i = 0; i < 2; i++) {
            int status;
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
            won += WEXITSTATUS(status);
        }
        assert_int_equal(won, 1);
        assert_int_equal(blocks_of(tenant).count, 2);
    }
}

static void a_store_is_only_looked_at(void **state)
{
    char missing[SCRATCH_DIR_BYTES * 2], old[SCRATCH_DIR_BYTES * 2];
    struct backend *b = NULL;
    struct names n = {0};
    (void)state;

    publish("acme", ID_A, "aaaa");
    scratch_dir_path(root, "acme/.gone-" ID_B, old);
    assert_int_equal(fs_mkdir_all(old), ERR_OK);
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
    assert_int_equal(backend_local_open(root, &b, NULL), ERR_OK);
    assert_int_equal(access(old, F_OK), 0); /* not swept */
    assert_int_equal(b->ops->blocks(b, "acme", add_name, &n), ERR_OK);
    assert_int_equal(n.count, 1);
    b->ops->free(b);
    scratch_dir_path(dir, "missing", missing);
    assert_int_equal(backend_local_open(missing, &b, NULL), ERR_NOT_FOUND);
    assert_int_equal(access(missing, F_OK), -1); /* not made */
}

static void names_that_lead_out_are_refused(void **state)
{
    static const char *const tenants[] = {"",     ".",           "..",  "a/b",
                                          "../x", ".quarantine", "a b", "a\nb"};
    static const char *const ids[] = {"",
                                      "..",
                                      "11111111-2222-8333-8444-55555555555/",
                                      "11111111-2222-8333-8444-55555555555",
                                      "11111111-2222-8333-8444-5555555555555",
                                      "AAAAAAAA-bbbb-8ccc-8ddd-eeeeeeeeeeee"};
    struct names n = {0};
    struct object *o = NULL;
    (void)state;

    for (size_t i = 0; i < sizeof tenants / sizeof *tenants; i++) {
        assert_int_equal(backend->ops->blocks(backend, tenants[i], add_name, &n), ERR_INVALID);
        assert_int_equal(backend->ops->open(backend, tenants[i], ID_A, &o), ERR_INVALID);
        assert_int_equal(backend->ops->publish(backend, tenants[i], ID_A, "/nowhere", SLICE_NONE),
                         ERR_INVALID);
        assert_int_equal(backend->ops->remove(backend, tenants[i], ID_A), ERR_INVALID);
        assert_int_equal(backend->ops->quarantine(backend, tenants[i], ID_A, "why"), ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        assert_int_equal(backend->ops->open(backend, "acme", ids[i], &o), ERR_INVALID);
        assert_int_equal(backend->ops->remove(backend, "acme", ids[i]), ERR_INVALID);
    }
}

static void foreign_names_are_left_alone(void **state)
{
    char path[SCRATCH_DIR_BYTES * 2], tenant[SCRATCH_DIR_BYTES * 2];
    struct names n = {0};
    (void)state;

    publish("acme", ID_A, "x");
    scratch_dir_path(root, "acme", tenant);
    scratch_dir_path(tenant, "index.json.gz", path);
    scratch_dir_write(path, SLICE_LIT("not ours"));
    scratch_dir_path(tenant, ID_B, path);
    assert_int_equal(fs_mkdir_all(path), ERR_OK); /* no meta.json: not visible */
    scratch_dir_path(root, "lost+found$", path);
    assert_int_equal(fs_mkdir_all(path), ERR_OK);
    scratch_dir_path(root, "plain-file", path);
    scratch_dir_write(path, SLICE_NONE);
    assert_int_equal(backend->ops->tenants(backend, add_name, &n), ERR_OK);
    assert_string_equal(n.text, "acme ");
    assert_int_equal(blocks_of("acme").count, 1);
    /* A real block replaces the folder that never became one. */
    publish("acme", ID_B, "x");
    assert_int_equal(blocks_of("acme").count, 2);
}

static void quarantine_keeps_everything(void **state)
{
    char path[SCRATCH_DIR_BYTES * 2];
    struct buf why;
    (void)state;

    for (int i = 0; i < 3; i++) {
        publish("acme", ID_A, "damaged");
        assert_int_equal(backend->ops->quarantine(backend, "acme", ID_A, "page 3: checksum"),
                         ERR_OK);
        assert_int_equal(blocks_of("acme").count, 0);
    }
    scratch_dir_path(root, ".quarantine/acme", path);
    assert_int_equal(scratch_dir_count(path), 3);
    scratch_dir_path(root, ".quarantine/acme/" ID_A "/why.txt", path);
    scratch_dir_read(path, &why);
    assert_true(slice_eq_str(buf_slice(&why), "page 3: checksum"));
    buf_release(&why);
    struct names n = {0};
    assert_int_equal(backend->ops->tenants(backend, add_name, &n), ERR_OK);
    assert_string_equal(n.text, "acme ");
}

static enum err add_quarantined(void *arg, const char *tenant, const char *name, const char *why)
{
    struct names *n = arg;
    size_t at = strlen(n->text);

    (void)snprintf(n->text + at, sizeof n->text - at, "%s/%s:%s ", tenant, name, why);
    n->count++;
    return ERR_OK;
}

static void what_is_in_quarantine_comes_back(void **state)
{
    struct names n = {0};
    struct object *o = NULL;
    char text[4];
    (void)state;

    assert_int_equal(backend->ops->quarantined(backend, add_quarantined, &n), ERR_OK);
    assert_int_equal(n.count, 0);
    publish("acme", ID_A, "one");
    assert_int_equal(backend->ops->quarantine(backend, "acme", ID_A, "first"), ERR_OK);
    publish("acme", ID_A, "two");
    assert_int_equal(backend->ops->quarantine(backend, "acme", ID_A, "second"), ERR_OK);
    assert_int_equal(backend->ops->quarantined(backend, add_quarantined, &n), ERR_OK);
    assert_int_equal(n.count, 2);
    assert_non_null(strstr(n.text, "acme/" ID_A ":first "));
    assert_non_null(strstr(n.text, "acme/" ID_A ".1:second "));

    assert_int_equal(backend->ops->restore(backend, "acme", ID_A ".1"), ERR_OK);
    assert_int_equal(blocks_of("acme").count, 1);
    assert_int_equal(backend->ops->open(backend, "acme", ID_A, &o), ERR_OK);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 0, text, 3), ERR_OK);
    assert_memory_equal(text, "two", 3);
    o->ops->close(o);
    assert_int_equal(backend->ops->restore(backend, "acme", ID_A), ERR_CONFLICT);
    assert_int_equal(backend->ops->restore(backend, "acme", ID_B), ERR_NOT_FOUND);
    assert_int_equal(backend->ops->restore(backend, "acme", "../" ID_A), ERR_INVALID);
    assert_int_equal(backend->ops->restore(backend, "..", ID_A), ERR_INVALID);
    assert_int_equal(backend->ops->restore(backend, "acme", ID_A ".x"), ERR_INVALID);
    n = (struct names){0};
    assert_int_equal(backend->ops->quarantined(backend, add_quarantined, &n), ERR_OK);
    assert_string_equal(n.text, "acme/" ID_A ":first ");
}

static void old_leftovers_are_swept_at_start(void **state)
{
    char fresh[SCRATCH_DIR_BYTES * 2], old[SCRATCH_DIR_BYTES * 2];
    struct backend *again = NULL;
    (void)state;

    publish("acme", ID_A, "x");
    scratch_dir_path(root, "acme/.tmp-" ID_A, fresh);
    scratch_dir_path(root, "acme/.gone-" ID_B, old);
    assert_int_equal(fs_mkdir_all(fresh), ERR_OK);
    assert_int_equal(fs_mkdir_all(old), ERR_OK);
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, old, times, 0), 0);
    assert_int_equal(backend_local_new(root, &again, NULL), ERR_OK);
    again->ops->free(again);
    assert_int_equal(access(fresh, F_OK), 0);
    assert_int_equal(access(old, F_OK), -1);
    assert_int_equal(blocks_of("acme").count, 1);
}

static void a_root_that_can_not_be_used_is_told(void **state)
{
    char path[SCRATCH_DIR_BYTES * 2];
    struct backend *b = NULL;
    struct err_detail d = {0};
    (void)state;

    scratch_dir_path(dir, "file", path);
    scratch_dir_write(path, SLICE_NONE);
    assert_int_not_equal(backend_local_new(path, &b, &d), ERR_OK);
    assert_non_null(strstr(d.text, path));
    assert_int_not_equal(backend_local_new("", &b, &d), ERR_OK);
}

static void memory_is_an_object_too(void **state)
{
    struct object *o = NULL;
    char text[4];
    (void)state;

    assert_int_equal(object_memory(SLICE_LIT("abcdef"), &o), ERR_OK);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 2, text, 4), ERR_OK);
    assert_memory_equal(text, "cdef", 4);
    assert_int_equal(o->ops->read(o, OBJECT_VALUES, 3, text, 4), ERR_CORRUPT);
    o->ops->close(o);
    assert_int_equal(object_file_open(dir, &o), ERR_INVALID);
    assert_int_equal(object_file_open("/no/such/file", &o), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_published_block_is_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_block_twice_is_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_block_takes_the_place_of_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_block_is_replaced_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_that_race_leave_one_block, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_store_is_only_looked_at, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_that_lead_out_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(foreign_names_are_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quarantine_keeps_everything, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_in_quarantine_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_leftovers_are_swept_at_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_root_that_can_not_be_used_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(memory_is_an_object_too, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
