/* The nth allocation of ours fails: in reading what stores answer, in signing, and in every call of the three stores (nobody listens: a request is made
 * and refused). */
#include "common/objstore/azure.h"
#include "common/objstore/azure_sign.h"
#include "common/objstore/gcs.h"
#include "common/objstore/s3.h"
#include "common/objstore/s3_list.h"
#include "common/objstore/s3_sign.h"
#include "tests/lib/alloc_sweep.h"
#include "tests/lib/scratch_dir.h"
#include "tests/lib/test.h"

#include <stdlib.h>

#define NOBODY "127.0.0.1:1"

enum { FILE_BYTES = 300 << 10 };

static const struct remote_tries once = {.attempts_max = 1};
static char file[SCRATCH_DIR_BYTES * 2];

static void answers(void *arg)
{
    struct remote_page page = {0};
    struct arena a;

    (void)arg;
    arena_init(&a, NULL);
    enum err e = s3_list_parse(
        SLICE_LIT("<ListBucketResult><Contents><Key>b</Key><Size>1</Size></Contents><Contents>"
                  "<Key>a</Key></Contents></ListBucketResult>"),
        &a, &page);
    assert_true(e == ERR_OK ? page.count == 2 : e == ERR_NOMEM && alloc_sweep_has_failed());
    e = azure_list_parse(SLICE_LIT("<EnumerationResults><Blobs><Blob><Name>a</Name></Blob></Blobs>"
                                   "<NextMarker>m</NextMarker></EnumerationResults>"),
                         &a, &page);
    assert_true(e == ERR_OK ? page.count == 1 : e == ERR_NOMEM && alloc_sweep_has_failed());
    e = gcs_list_from_json(SLICE_LIT("{\"items\":[{\"name\":\"a\",\"size\":\"1\"}],"
                                     "\"prefixes\":[\"b/\"],\"nextPageToken\":\"t\"}"),
                           &a, &page);
    assert_true(e == ERR_OK ? page.count == 2 : e != ERR_OK && alloc_sweep_has_failed());
    arena_release(&a);
}

static void signatures(void *arg)
{
    static const char *const ms_headers[] = {"x-ms-date:d", NULL};
    struct azure_sign azure = {.method = "GET",
                               .account = "a",
                               .key = "a2V5",
                               .path = "/c",
                               .query = "comp=list",
                               .ms_headers = ms_headers};
    struct s3_header header = {"host", "h"};
    struct s3_sign s3 = {.method = "GET",
                         .path = "/",
                         .query = "",
                         .headers = &header,
                         .header_count = 1,
                         .payload_hash = "",
                         .region = "r",
                         .service = "s3",
                         .access_key = "a",
                         .secret_key = "s"};
    const char *text = NULL;
    struct arena a;

    (void)arg;
    arena_init(&a, NULL);
    assert_true(azure_sign(&a, &azure, &text) == ERR_OK || alloc_sweep_has_failed());
    assert_true(s3_sign(&a, &s3, &text) == ERR_OK || alloc_sweep_has_failed());
    arena_release(&a);
}

static enum err open_s3(struct bucket **ret)
{
    struct s3_options o = {.bucket = "traces",
                           .prefix = "a",
                           .endpoint = NOBODY,
                           .region = "",
                           .access_key = "a",
                           .secret_key = "s",
                           .session_token = "",
                           .is_insecure = true,
                           .part_bytes = 5 << 20,
                           .tries = once,
                           .clock = &clock_system};

    return s3_new(&o, ret, NULL);
}

static enum err open_gcs(struct bucket **ret)
{
    struct gcs_pair pair = {"k", "v"};
    struct gcs_options o = {.bucket = "traces",
                            .prefix = "a",
                            .endpoint = "http://" NOBODY,
                            .is_insecure = true,
                            .part_bytes = GCS_PART_BYTES_STEP,
                            .tries = once,
                            .cache_control = "no-store",
                            .metadata = &pair,
                            .metadata_count = 1,
                            .clock = &clock_system};

    return gcs_new(&o, ret, NULL);
}

static enum err open_azure(struct bucket **ret)
{
    struct azure_options o = {.account = "account",
                              .key = "a2V5",
                              .container = "traces",
                              .prefix = "a",
                              .endpoint_suffix = NOBODY,
                              .user_assigned_id = "",
                              .part_bytes = 64 << 10,
                              .tries = once,
                              .clock = &clock_system};

    return azure_new(&o, ret, NULL);
}

static enum err no_entry(void *arg, const struct bucket_entry *entry)
{
    (void)arg;
    (void)entry;
    return ERR_INTERNAL;
}

/* Not there to be asked: an answer can not come, whatever fails. */
static void calls(void *arg)
{
    enum err (*const *open)(struct bucket * *ret) = arg;
    struct bucket *b = NULL;
    uint64_t bytes = 0;
    struct buf all;
    uint8_t byte;

    enum err e = (*open)(&b);
    if (e != ERR_OK) {
        assert_true(alloc_sweep_has_failed());
        return;
    }
    buf_init(&all, 1024);
    assert_int_not_equal(b->ops->put(b, "k", SLICE_LIT("bytes")), ERR_OK);
    assert_int_not_equal(b->ops->put_file(b, "k", file), ERR_OK);
    assert_int_not_equal(b->ops->get(b, "k", 0, &byte, 1), ERR_OK);
    assert_int_not_equal(b->ops->get_all(b, "k", &all), ERR_OK);
    assert_int_not_equal(b->ops->head(b, "k", &bytes), ERR_OK);
    assert_int_not_equal(b->ops->list(b, "", false, no_entry, NULL), ERR_OK);
    assert_int_not_equal(b->ops->remove(b, "k"), ERR_OK);
    assert_int_equal(all.len, 0);
    buf_release(&all);
    b->ops->free(b);
}

static void test_answers(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(answers, NULL) >= 1);
}

static void test_signatures(void **state)
{
    (void)state;
    assert_true(ALLOC_SWEEP(signatures, NULL) >= 3);
}

static void test_calls(void **state)
{
    enum err (*opens[])(struct bucket * *ret) = {open_s3, open_gcs, open_azure};

    (void)state;
    for (size_t i = 0; i < sizeof opens / sizeof opens[0]; i++) {
        calls(&opens[i]); /* metrics are made once, and must be */
        assert_true(ALLOC_SWEEP(calls, &opens[i]) >= 10);
    }
}

static char dir[SCRATCH_DIR_BYTES];

static int set_up(void **state)
{
    uint8_t *bytes = calloc(1, FILE_BYTES);

    (void)state;
    assert_non_null(bytes);
    scratch_dir_make(dir);
    scratch_dir_path(dir, "file", file);
    scratch_dir_write(file, (struct slice){bytes, FILE_BYTES});
    free(bytes);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_dir_remove(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_calls),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
