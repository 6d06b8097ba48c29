#!/usr/bin/env python3
"""The include law (common/README.md) and one door per library."""
import os
import re

import tree

BASE = {"base"}
FLOORS_0_TO_2 = BASE | {"sys", "obs", "codec", "model"}
FLOORS_0_TO_3 = FLOORS_0_TO_2 | {"store", "query", "net", "cache"}

# A folder of common/ and the folders of common/ that it may include besides itself.
MAY_INCLUDE = {
    "base": set(),
    "sys": BASE,
    "obs": BASE,
    "codec": BASE | {"model"},
    "model": BASE | {"codec"},
    "parquet": BASE | {"codec"},
    "store": FLOORS_0_TO_2,
    "query": FLOORS_0_TO_2,
    "net": FLOORS_0_TO_2,
    "cache": FLOORS_0_TO_2,
    "ring": FLOORS_0_TO_3 - {"cache"},
    "objstore": FLOORS_0_TO_3 - {"query"},
    "app": FLOORS_0_TO_3 | {"ring", "objstore"},
    "tool": FLOORS_0_TO_3 | {"parquet", "ring", "objstore", "app"},
    "cli": BASE | {"sys", "codec", "net", "app"},
}

# Single headers beyond that: who, what.
EXCEPTIONS = [
    (r"common/(codec|model)/", r"common/obs/metrics\.h"),
    (r"common/base/hash\.c|common/base/map\.h", r"common/base/.*"),
]

ROOM = "(%s)/" % "|".join(tree.ROOMS)

# A library's headers, and the files that may include them.  Everybody else goes through those files.
DOORS = [
    (r"nng/.*", r"common/net/rpc[a-z_]*\.[ch]"),
    (r"event2/.*|event\.h", r"common/net/(loop|http_server|http_client)[a-z0-9_]*\.[ch]"),
    (r"nghttp2/.*", r"common/net/(http_server|h2|grpc)[a-z0-9_]*\.[ch]"),
    (r"http_parser\.h", r"common/net/http_server[a-z0-9_]*\.[ch]"),
    (r"curl/.*", r"common/net/http_client[a-z_]*\.[ch]"),
    (r"openssl/.*", r"common/net/(tls|http_server|http_client)[a-z0-9_]*\.[ch]|common/codec/digest\.c"),
    (r"hiredis/.*", r"common/cache/cache_redis\.c"),
    (r"expat\.h", r"common/objstore/xml\.c"),
    (r"cjson/.*|cJSON\.h", r"common/codec/otlp_json[a-z_]*\.c|common/store/block_(meta|lineage)\.c|.*_json\.c"),
    (r"lz4.*\.h", r"common/codec/(lz4|inflate)[a-z0-9_]*\.c|common/store/[a-z0-9_]*\.c"),
    (r"zstd.*\.h", r"common/codec/(inflate[a-z_]*|lz4_page)\.c"),
    (r"zlib\.h|libdeflate\.h", r"common/codec/(inflate|deflate|gzip)[a-z_]*\.c|common/net/http_server[a-z0-9_]*\.c"),
    (r"snappy.*\.h", r"common/codec/inflate[a-z_]*\.c|common/codec/snappy_block\.c"),
    (r"yaml\.h", r"common/app/config[a-z_]*\.[ch]"),
    (r"protobuf-c/.*|.*\.pb-c\.h", r"(common/[a-z]+/|%s)[a-z0-9_]*_pb\.[ch]|%s[a-z0-9_]*\.[ch]" % (ROOM, ROOM)),
    (r"re2/.*", r"common/query/regex\.cc"),
    (r"xxhash\.h", r"common/base/hash\.c"),
    (r"uthash\.h|utlist\.h", r"common/base/map\.h"),
    (r"cmocka\.h", r"tests/.*"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def includes_of(text):
    """(line, is ours, path)"""
    blanked = tree.blank(text, keep_strings=True)
    return [(blanked.count("\n", 0, m.start(2)) + 1, m.group(1) == '"', m.group(2)) for m in INCLUDE.finditer(blanked)]


def is_excepted(name, path):
    return any(re.match(who, name) and re.fullmatch(what, path) for who, what in EXCEPTIONS)


def law(name, path):
    """Why `name` may not include our `path`; None when it may."""
    own, target = name.split("/"), path.split("/")
    is_test = own[0] == "tests"
    if path.endswith((".c", ".cc")):
        return None if is_test else "a source file is not a header"
    if target[-1].endswith("_priv.h") and own[:-1] != target[:-1] and not is_test:
        return "_priv.h is for its own folder"
    if is_test or is_excepted(name, path):
        return None
    if own[0] in tree.ROOMS:
        if target[0] == own[0] or target[0] == "common":
            return None
        return "a room includes common and itself"
    if own[0] != "common":
        return None
    if target[0] != "common":
        return "common includes common"
    if own[1] not in MAY_INCLUDE:
        return f"common/{own[1]} has no floor: add it to the law"
    if target[1] == own[1] or target[1] in MAY_INCLUDE[own[1]]:
        return None
    return f"common/{own[1]} may not include common/{target[1]}"


def door(name, path):
    for headers, doors in DOORS:
        if re.fullmatch(headers, path) and not name.startswith("tests/") and not re.fullmatch(doors, name):
            return f"the door of this library is {doors}"
    return None


def check_file(name, known):
    for line, is_quoted, path in includes_of(tree.text_of(name) or ""):
        why = door(name, path)
        if is_quoted and not path.endswith(".pb-c.h"):
            if path not in known:
                why = "no such file (paths are full, from the root)"
            else:
                why = why or law(name, path)
        if why is not None:
            yield f"{name}:{line}: includes {path}: {why}"


def cycles(headers):
    """Header cycles, each once."""
    graph = {h: [p for _, is_quoted, p in includes_of(tree.text_of(h) or "") if is_quoted and p in headers] for h in headers}
    state, path = {}, []

    def visit(h):
        state[h] = "open"
        path.append(h)
        for to in graph[h]:
            if state.get(to) == "open":
                yield "header cycle: " + " -> ".join(path[path.index(to):] + [to])
            elif to not in state:
                yield from visit(to)
        path.pop()
        state[h] = "done"

    for h in sorted(headers):
        if h not in state:
            yield from visit(h)


def main():
    names = tree.files()
    sources = tree.sources(names)
    checks = tree.Checks("layers")
    known = set(names)
    for name in sources:
        checks.of(check_file(name, known))
    headers = {n for n in sources if n.endswith(".h")}
    checks.of(cycles(headers))
    by_name = {}
    for h in headers:
        if not h.startswith("tests/"):
            by_name.setdefault(os.path.basename(h), []).append(h)
    checks.of(f"two headers of one name: {' '.join(sorted(hs))}" for hs in by_name.values()
              if len(hs) > 1 and not hs[0].endswith("_priv.h"))
    checks.end()


if __name__ == "__main__":
    main()
