/* Bytes as answers of an object store and of those who give credentials.  Properties: no crash; a page of a listing is in order; credentials that are taken
 * have both keys. */
#include "common/objstore/s3_credentials.h"
#include "common/objstore/s3_list.h"
#include "common/objstore/xml.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {data, size};
    struct remote_page page;
    struct s3_keys keys;
    struct arena a;
    char text[64];

    arena_init(&a, NULL);
    if (s3_list_parse(bytes, &a, &page) == ERR_OK)
        for (uint32_t i = 1; i < page.count; i++)
            assert(strcmp(page.entries[i - 1].key, page.entries[i].key) <= 0);
    arena_release(&a);
    xml_text(bytes, "Code", text, sizeof text);
    assert(strlen(text) < sizeof text);
    if (s3_credentials_from_xml(bytes, &keys) == ERR_OK ||
        s3_credentials_from_json(bytes, &keys) == ERR_OK ||
        s3_credentials_from_ini(bytes, "default", &keys) == ERR_OK)
        assert(keys.access_key[0] != '\0' && keys.secret_key[0] != '\0');
    return 0;
}
