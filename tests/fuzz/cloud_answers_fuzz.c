/* Bytes as answers of GCS and Azure, and of those who give tokens.  Properties: no crash; a page of a listing is in order; what is taken is whole. */
#include "common/objstore/azure.h"
#include "common/objstore/gcs.h"
#include "common/objstore/gcs_credentials.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_page(const struct remote_page *page)
{
    for (uint32_t i = 1; i < page->count; i++)
        assert(strcmp(page->entries[i - 1].key, page->entries[i].key) <= 0);
    assert(page->is_truncated == (page->token != NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bearer_token token;
    struct slice bytes = {data, size};
    struct gcs_account account;
    struct remote_page page;
    struct arena a;
    uint64_t number;
    char reason[64];

    arena_init(&a, NULL);
    if (gcs_list_from_json(bytes, &a, &page) == ERR_OK)
        check_page(&page);
    if (azure_list_parse(bytes, &a, &page) == ERR_OK)
        check_page(&page);
    if (gcs_size_from_json(bytes, &number) == ERR_OK)
        assert(size > 0);
    gcs_reason_from_json(bytes, reason, sizeof reason);
    assert(strlen(reason) < sizeof reason);
    if (bearer_from_json(bytes, 0, &token) == ERR_OK)
        assert(token.text[0] != '\0' && token.expires_ns >= 0);
    if (gcs_account_from_json(bytes, &a, &account, NULL) == ERR_OK)
        assert(account.token_uri != NULL &&
               (account.kind == GCS_ACCOUNT_USER ? account.refresh_token != NULL
                                                 : account.private_key != NULL));
    arena_release(&a);
    return 0;
}
