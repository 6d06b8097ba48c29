"""The files of the tree, C with its comments and strings blanked, and the counting of checks: shared by layers.py and tidy.py."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROOMS = ("distributor", "ingester", "querier", "generator")
SOURCE_ENDINGS = (".c", ".h", ".cc")


def files():
    """Every file of the tree, tracked or about to be; without git, whatever lies there."""
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"],
                             capture_output=True, check=True).stdout.decode()
        names = [n for n in out.split("\0") if n]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, here in os.walk(ROOT):
            folders[:] = [f for f in folders if f not in ("build", "data", ".git", "__pycache__")]
            names += [os.path.relpath(os.path.join(folder, f), ROOT) for f in here]
    return sorted(n for n in names if os.path.isfile(os.path.join(ROOT, n)))


def sources(names):
    return [n for n in names if n.endswith(SOURCE_ENDINGS)]


def text_of(name):
    """The file's text, or None when it is not text."""
    with open(os.path.join(ROOT, name), "rb") as f:
        data = f.read()
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def blank(text, keep_strings=False):
    """C with comments, and the insides of strings, turned to spaces; `//` comments stay, so that they can be found."""
    out = []
    at, end = 0, len(text)

    def spaces(part):
        return "".join(c if c == "\n" else " " for c in part)

    while at < end:
        c = text[at]
        if text.startswith("/*", at):
            stop = text.find("*/", at + 2)
            stop = end if stop < 0 else stop + 2
            out.append(spaces(text[at:stop]))
        elif text.startswith("//", at):
            stop = text.find("\n", at)
            stop = end if stop < 0 else stop
            out.append("//" + spaces(text[at + 2:stop]))
        elif c in "\"'":
            stop = at + 1
            while stop < end and text[stop] != c and text[stop] != "\n":
                stop += 2 if text[stop] == "\\" else 1
            stop = min(stop + 1, end)
            out.append(text[at:stop] if keep_strings else c + spaces(text[at + 1:stop - 1]) + c)
        else:
            stop = at + 1
            out.append(c)
        at = stop
    return "".join(out)


class Checks:
    """Counts checks; a check is one rule on one file."""

    def __init__(self, name):
        self.name, self.passed, self.failed = name, 0, 0

    def of(self, findings):
        """One check: passed when there are no findings, which are printed."""
        findings = list(findings)
        for finding in findings:
            print(finding)
        if findings:
            self.failed += 1
        else:
            self.passed += 1

    def skip(self, why):
        print(f"{self.name}: SKIPPED: {why}")

    def end(self):
        print(f"{self.name}: {self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)
