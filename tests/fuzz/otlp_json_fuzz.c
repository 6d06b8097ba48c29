/* Bytes as an OTLP/JSON request.  Properties: no crash; an error has a text; what is converted is what otlp_check knows as well formed, but for
 * counts and fields given twice. */
#include "common/codec/otlp.h"
#include "common/codec/otlp_json.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct budget budget;
    struct buf pb;
    struct err_detail detail = {0};
    uint32_t count = 0;

    budget_init(&budget, 256u << 20, NULL);
    buf_init(&pb, 64u << 20);
    enum err e = otlp_json_to_pb((struct slice){data, size}, &budget, &pb, &detail);
    assert(budget_used(&budget) == 0);
    assert(e == ERR_OK || detail.text[0] != '\0');
    if (e == ERR_OK) {
        detail = (struct err_detail){0};
        e = otlp_check(buf_slice(&pb), &otlp_limits_default, &count, &detail);
        assert(e == ERR_OK || e == ERR_TOO_LARGE ||
               strstr(detail.text, "given more than once") != NULL);
    }
    buf_release(&pb);
    return 0;
}
