#include "common/model/value.h"

const char *value_status_name(int64_t status)
{
    switch (status) {
    case STATUS_OK: return "ok";
    case STATUS_ERROR: return "error";
    default: return "unset";
    }
}

const char *value_kind_name(int64_t kind)
{
    switch (kind) {
    case KIND_INTERNAL: return "internal";
    case KIND_SERVER: return "server";
    case KIND_CLIENT: return "client";
    case KIND_PRODUCER: return "producer";
    case KIND_CONSUMER: return "consumer";
    default: return "unspecified";
    }
}
