/*
 * cli_tree.h - the spans of a trace as a tree, in the order of a listing.
 *
 * Shape:   children below their parent by start; a span whose parent is not there stands at the top, and so does one of a ring of parents.
 * Memory:  texts borrow the OTLP, the tree is in the arena.
 */
#ifndef VIVACE_CLI_CLI_TREE_H
#define VIVACE_CLI_CLI_TREE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/codec/otlp.h"

enum { CLI_TREE_SPANS_MAX = 4 << 20, CLI_TREE_NONE = -1 };

struct cli_tree_span {
    struct slice id, parent_id, service, name;
    uint64_t start_ns, end_ns;
    uint32_t status; /* StatusCode */
    uint32_t depth;  /* 0: at the top */
    bool is_orphan;  /* it names a parent that is not there */
    /* Positions in `spans`, or CLI_TREE_NONE. */
    int32_t parent, first_child, next;
};
struct cli_tree {
    struct cli_tree_span *spans; /* by start */
    uint32_t count, service_count, error_count;
    uint64_t start_ns, end_ns; /* of them all */
    int32_t *listed;           /* `count` of them: parents before children */
};
/* Of an OTLP request.  ERR_FORMAT, ERR_TOO_LARGE with one line; ERR_NOMEM, ERR_LIMIT. */
MUST_CHECK enum err cli_tree_of(struct slice otlp, struct arena *a, struct cli_tree *ret,
                                struct err_detail *reterr_detail);
/* "│  ├─ " before a span's name; deep ones begin with how deep they are. */
void cli_tree_put_branch(const struct cli_tree *t, int32_t at, struct buf *out);

#endif
