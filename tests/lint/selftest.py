#!/usr/bin/env python3
"""The lint catches what it must catch, and lets pass what it must let pass."""
import layers
import tidy
import tree

FUNCTION = "int f(void)\n{\n%s}\n"


def caught(findings):
    return len(list(findings)) > 0


def main():
    checks = tree.Checks("selftest")

    def check(what, is_right):
        checks.of([] if is_right else [f"selftest: {what}"])

    for name, path, is_allowed in [
        ("common/base/buf.c", "common/base/err.h", True),
        ("common/base/buf.c", "common/sys/fs.h", False),
        ("common/sys/proc.c", "common/base/num.h", True),
        ("common/sys/proc.c", "common/obs/log.h", False),
        ("common/codec/otlp.c", "common/model/value.h", True),
        ("common/codec/otlp.c", "common/sys/fs.h", False),
        ("common/store/wal.c", "common/sys/fs.h", True),
        ("common/store/wal.c", "common/query/ql.h", False),
        ("common/objstore/backend_bucket.c", "common/store/backend.h", True),
        ("common/objstore/backend_bucket.c", "common/query/ql.h", False),
        ("common/ring/members.c", "common/net/rpc.h", True),
        ("common/ring/members.c", "common/app/app.h", False),
        ("common/app/app.c", "common/ring/members.h", True),
        ("common/app/app.c", "querier/api.h", False),
        ("querier/api.c", "common/app/app.h", True),
        ("querier/api.c", "ingester/push.h", False),
        ("querier/api.c", "common/obs/metrics_priv.h", False),
        ("common/obs/metrics.c", "common/obs/metrics_priv.h", True),
        ("tests/unit/x_test.c", "common/obs/metrics_priv.h", True),
        ("querier/api.c", "querier/plan.c", False),
    ]:
        check(f"{name} includes {path}", (layers.law(name, path) is None) == is_allowed)
    for name, path, is_allowed in [
        ("common/net/rpc_client.c", "nng/nng.h", True),
        ("querier/api.c", "nng/nng.h", False),
        ("common/app/config_yaml.c", "yaml.h", True),
        ("common/app/app.c", "yaml.h", False),
        ("ingester/push.c", "push.pb-c.h", True),
        ("common/store/wal.c", "push.pb-c.h", False),
        ("common/sys/fs.c", "unistd.h", True),
    ]:
        check(f"{name} includes {path}", (layers.door(name, path) is None) == is_allowed)
    check("an include inside a comment counts", not layers.includes_of('/* #include "a.h" */\n'))
    check("an include is missed", layers.includes_of('int a;\n#  include "a.h" /* x */\n') == [(2, True, "a.h")])

    check("// in a string or a comment counts", not caught(tidy.comments("a.c", 'f("http://x"); /* a // b */ c = \'/\';\n')))
    check("// is missed", caught(tidy.comments("a.c", 'f("\\""); // note\n')))
    check("clang-format's own // fails", not caught(tidy.comments("a.cc", "} // namespace\n")))
    check("a long function passes", caught(tidy.long_functions("a.c", FUNCTION % ("    g();\n" * 120), {"functions": 0, "over": []})))
    counts = {"functions": 0, "over": []}
    check("a function of 100 lines fails", not caught(tidy.long_functions("a.c", FUNCTION % ("    g();\n" * 97), counts)))
    check("a function of 100 lines is not counted", counts["functions"] == 1 and counts["over"][0][0] == 100)
    table = "static const int rows[] = {\n" + "    1,\n" * 200 + "};\nstruct x\n{\n" + "    int a;\n" * 200 + "};\n"
    check("a table is a function", not list(tidy.functions(table)))
    check("a long file passes", caught(tidy.sizes("a.c", "\n" * 901)))
    check("a file of 900 lines fails", not caught(tidy.sizes("a.c", "\n" * 900)))
    check("a mark of unfinished work passes", caught(tidy.words("a.c", "/* TO" "DO: x */", [])))
    check("a machine's folder passes", caught(tidy.words("a.c", "see /ho" "me/me/x", [(tidy.PATHS, "")])))
    check("a relative path is a machine's folder", not caught(tidy.words("a.c", "tests/wo" "rk/x ${D}/wo" "rk/x", [(tidy.PATHS, "")])))
    check("trailing space passes", caught(tidy.spaces("a.c", "int a; \n")) and not caught(tidy.spaces("a.c", "int a;\n")))
    check("a header without guard passes", caught(tidy.guard("a.h", "int a;\n")))
    headers = ["common/net/http_server.h"]
    prefixes = tidy.allowed_prefixes("common/net/http_server_h1.c", headers)
    check("a file beside its header may not use its prefix", "http_server_" in prefixes and "grpc_" not in prefixes)
    checks.end()


if __name__ == "__main__":
    main()
