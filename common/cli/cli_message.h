/*
 * cli_message.h - messages of tempopb.StreamingQuerier: answers as the JSON that the HTTP API gives, requests written.
 *
 * Shape:   protobuf's JSON mapping as Tempo writes it (json_out.h): what is 0 or empty is left out, but for the list that an answer is about.
 * Errors:  ERR_FORMAT damage, ERR_TOO_LARGE nesting beyond CLI_MESSAGE_DEPTH_MAX.
 * Source:  Tempo's pkg/tempopb/tempo.proto (field numbers).
 */
#ifndef VIVACE_CLI_CLI_MESSAGE_H
#define VIVACE_CLI_CLI_MESSAGE_H

#include "common/codec/json_out.h"

enum { CLI_MESSAGE_DEPTH_MAX = 64 };
enum cli_message {
    CLI_MESSAGE_SEARCH,
    CLI_MESSAGE_TAGS,
    CLI_MESSAGE_VALUES,
    CLI_MESSAGE_RANGE,
    CLI_MESSAGE_INSTANT
};
MUST_CHECK enum err cli_message_to_json(enum cli_message kind, struct slice message,
                                        struct json_out *j);

/* A field of a request, if it is there (not NULL, not 0). */
void cli_message_text(struct buf *out, uint32_t field, const char *text);
void cli_message_number(struct buf *out, uint32_t field, uint64_t v);

#endif
