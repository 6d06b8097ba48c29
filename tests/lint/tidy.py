#!/usr/bin/env python3
"""Sizes, comments, words, names of symbols, formatting."""
import os
import re
import shutil
import subprocess

import tree

FILE_LINES_WANTED, FILE_LINES_MAX = 500, 900
FUNCTION_LINES_WANTED, FUNCTION_LINES_MAX = 70, 120

# foo.c exports foo_*, and bar_* when it is bar_something.c beside bar.h.  Beyond that: files of one header that has several nouns.
SYMBOL_PREFIXES = {
    r"common/base/trace_id\.c": ["span_id_", "hex_"],
    r"common/base/clock\.c": ["fake_clock_"],
    r"common/sys/thread\.c": ["mutex_", "cond_"],
    r"common/sys/queue\.c": ["workers_"],
    r"common/obs/metrics[a-z_]*\.c": ["metric_"],
    r"common/codec/otlp_write\.c": ["pb_"],
    r"common/parquet/tempo_meta_json\.c": ["tempo_meta_"],
    r"common/net/http_(query|server[a-z0-9_]*)\.c": ["http_"],
    r"common/query/result[a-z_]*\.c": ["search_result_", "tag_names_", "tag_values_"],
    r"common/ring/members[a-z_]*\.c": ["member_"],
    r"(.*/)?main\.c": ["main"],
    r".*_fuzz\.c": ["LLVMFuzzer"],
}

# What marks unfinished work; in pieces, so that this file does not hold it.
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")

# Folders of somebody's machine.  More words, one pattern a line, may stand in .git/info/lint-words, which nobody else gets.
PATHS = re.compile(r"(?<![\w.}$/-])/(home|Users|root|work)/\w|/tmp/(b|wt)/")


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def sizes(name, text):
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{name}: {lines} lines, at most {FILE_LINES_MAX}"


def functions(text):
    """(first line, lines, name) of each function: our braces stand at the first column."""
    lines = tree.blank(text).split("\n")
    opened = None
    for i, line in enumerate(lines):
        if line.rstrip() == "{" and opened is None:
            first = i - 1
            while first > 0 and lines[first - 1].strip() and not re.search(r"[;}]\s*$|^\s*#", lines[first - 1]):
                first -= 1
            head = " ".join(lines[first:i])
            m = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)\)?", "", head))
            opened = (first + 1, m.group(1) if m and "=" not in head.split("(")[0] else None)
        elif line.startswith("}") and opened is not None:
            if opened[1] is not None:
                yield opened[0], i + 2 - opened[0], opened[1]
            opened = None


def long_functions(name, text, counts):
    for first, lines, function in functions(text):
        counts["functions"] += 1
        if lines > FUNCTION_LINES_WANTED:
            counts["over"].append((lines, f"{name}:{first}: {function}"))
        if lines > FUNCTION_LINES_MAX:
            yield f"{name}:{first}: {function} has {lines} lines, at most {FUNCTION_LINES_MAX}"


def comments(name, text):
    for m in re.finditer(r"//", tree.blank(text)):
        if name.endswith(".cc") and text.startswith("// namespace", m.start()):
            continue  # clang-format writes this one itself
        yield f"{name}:{line_of(text, m.start())}: // comment: write /* sentence. */"


def words(name, text, private):
    for pattern, what in [(MARKS, "a mark of unfinished work")] + private:
        for m in pattern.finditer(text):
            yield f"{name}:{line_of(text, m.start())}: \"{m.group(0)}\": {what}"


def spaces(name, text):
    if text and not text.endswith("\n"):
        yield f"{name}: no newline at the end"
    for m in re.finditer(r"[ \t]+$", text, re.M):
        yield f"{name}:{line_of(text, m.start())}: space at the end of the line"
    if name.endswith(tree.SOURCE_ENDINGS):
        for m in re.finditer(r"^\t", text, re.M):
            yield f"{name}:{line_of(text, m.start())}: tab"


def guard(name, text):
    if not name.endswith(".h"):
        return
    m = re.search(r"#ifndef (\w+)\n#define (\w+)\n", text)
    if m is None or m.group(1) != m.group(2):
        yield f"{name}: no include guard"


def private_words():
    """[(pattern, what)] of the words that this clone alone knows, and the folders of machines."""
    found = [(PATHS, "a folder of somebody's machine")]
    try:
        path = subprocess.run(["git", "-C", tree.ROOT, "rev-parse", "--path-format=absolute", "--git-path", "info/lint-words"],
                              capture_output=True, check=True, text=True).stdout.strip()
        with open(path, encoding="utf-8") as f:
            found += [(re.compile(w.strip(), re.I), "a word of the workplace") for w in f if w.strip()]
    except (OSError, subprocess.CalledProcessError):
        pass
    return found


def commit_messages(private):
    try:
        log = subprocess.run(["git", "-C", tree.ROOT, "log", "--format=%h %s%n%b"], capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return
    for line in log.split("\n"):
        for pattern, what in private:
            m = pattern.search(line)
            if m:
                yield f"commit message: {line.strip()!r}: \"{m.group(0)}\": {what}"


def object_folder():
    """The variant's folder with the newest libcommon.a below $B."""
    build = os.path.join(tree.ROOT, os.environ.get("B") or "build")
    found = []
    for variant in ("release", "debug", "tsan"):
        lib = os.path.join(build, variant, "libcommon.a")
        if os.path.exists(lib):
            found.append((os.path.getmtime(lib), os.path.join(build, variant)))
    return max(found)[1] if found else None


def allowed_prefixes(name, headers):
    folder, base = os.path.split(name)
    stem = base.rsplit(".", 1)[0]
    prefixes = {stem + "_"}
    for h in headers:
        if os.path.dirname(h) == folder:
            header = os.path.basename(h)[:-2]
            if stem.startswith(header + "_"):
                prefixes.add(header + "_")
    for pattern, more in SYMBOL_PREFIXES.items():
        if re.fullmatch(pattern, name):
            prefixes.update(more)
    return prefixes


def symbols(name, path, headers):
    out = subprocess.run(["nm", "-g", "--defined-only", path], capture_output=True, check=True, text=True).stdout
    prefixes = allowed_prefixes(name, headers)
    for line in out.split("\n"):
        parts = line.split()
        if len(parts) != 3 or parts[1] not in "TDBRGC" or parts[2].startswith("_"):
            continue
        symbol = parts[2]
        if not any(symbol.startswith(p) or symbol == p.rstrip("_") for p in prefixes):
            yield f"{name}: exports {symbol}: not {' or '.join(sorted(p + '*' for p in prefixes))}"


def check_symbols(checks, sources):
    folder = object_folder()
    if folder is None or shutil.which("nm") is None:
        checks.skip("names of symbols: no objects (make all) or no nm")
        return
    headers = [n for n in sources if n.endswith(".h")]
    count = 0
    for name in sources:
        path = os.path.join(folder, name + ".o")
        source = os.path.join(tree.ROOT, name)
        if not name.endswith(".c") or name.startswith("tests/") or not os.path.exists(path):
            continue
        if os.path.getmtime(path) >= os.path.getmtime(source):
            count += 1
            checks.of(symbols(name, path, headers))
    print(f"tidy: names of symbols: {count} objects of {os.path.basename(folder)}")


def check_format(checks, sources):
    tool = shutil.which("clang-format")
    if tool is None:
        checks.skip("formatting: clang-format is missing")
        return
    for name in sources:
        done = subprocess.run([tool, "--dry-run", "-Werror", os.path.join(tree.ROOT, name)], capture_output=True, text=True, cwd=tree.ROOT)
        first = done.stderr.split("\n")[0].replace(tree.ROOT + "/", "")
        checks.of([] if done.returncode == 0 else [f"{first or name}: make format"])


def main():
    names = tree.files()
    sources = tree.sources(names)
    checks = tree.Checks("tidy")
    counts = {"functions": 0, "over": [], "files": 0}
    private = private_words()
    for name in names:
        text = tree.text_of(name)
        if text is None or name.startswith(("tests/fuzz/corpus/", "tests/data/")):
            continue
        checks.of(words(name, text, private))
        if name.endswith(tree.SOURCE_ENDINGS + (".py", ".def", ".proto")):
            checks.of(spaces(name, text))
        if name not in sources:
            continue
        checks.of(sizes(name, text))
        checks.of(long_functions(name, text, counts))
        checks.of(comments(name, text))
        checks.of(guard(name, text))
        counts["files"] += text.count("\n") > FILE_LINES_WANTED
    checks.of(commit_messages(private))
    check_symbols(checks, sources)
    check_format(checks, sources)
    for lines, where in sorted(counts["over"], reverse=True)[:20]:
        print(f"tidy: note: {where}: {lines} lines, {FUNCTION_LINES_WANTED} wanted")
    print(f"tidy: {len(counts['over'])} of {counts['functions']} functions over {FUNCTION_LINES_WANTED} lines; "
          f"{counts['files']} files over {FILE_LINES_WANTED}")
    checks.end()


if __name__ == "__main__":
    main()
