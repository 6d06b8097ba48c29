"""A power cut for one process: after its kill, everything is taken back that no sync had confirmed (tests/lib/preload/forgetful.c writes the journal)."""
import os
import pathlib
import shutil


class File:
    def __init__(self, durable):
        self.durable = durable  # bytes from the start that a sync has confirmed
        self.done = []          # ends of writes that are over
        self.is_dir = False


class Name:
    """One change of names; its paths are kept as they are now."""

    def __init__(self, kind, path, other=None):
        self.kind, self.path, self.other = kind, path, other

    def folder(self):
        return os.path.dirname(self.other if self.kind in "RL" else self.path)


def moved(path, old, new):
    return new + path[len(old):] if path == old or path.startswith(old + "/") else path


class Forgetful:
    def __init__(self, library, roots, side):
        """`side`: a folder on the same file system as `roots`, outside of them."""
        self.library, self.roots, self.side = library, [str(r) for r in roots], pathlib.Path(side)
        self.side.mkdir(parents=True, exist_ok=True)
        self.journal = self.side / "journal"

    def env(self):
        return {"LD_PRELOAD": str(self.library), "FORGETFUL_ROOT": ":".join(self.roots), "FORGETFUL_JOURNAL": str(self.journal)}

    def fired(self):
        """Whether the call that FORGETFUL_FAULT names was reached since the last kill."""
        return self.journal.exists() and "\nF\t" in "\n" + self.journal.read_text()

    def _read(self):
        self.files, self.names, writes, syncs = {}, [], {}, {}
        for line in self.journal.read_text().splitlines():
            op, *a = line.split("\t")
            if op == "W":
                file = self.files.setdefault(a[1], File(int(a[2])))
                assert int(a[2]) >= file.durable, f"what was synced is written over: {line}"
                writes[a[0]] = (file, int(a[2]) + int(a[3]))
            elif op == "w":
                file, end = writes.pop(a[0])
                file.done.append(end)
            elif op == "T":
                file = self.files.setdefault(a[0], File(int(a[1])))
                file.durable, file.done = min(file.durable, int(a[1])), [min(e, int(a[1])) for e in file.done]
            elif op == "s":
                file = self.files.get(a[1])
                syncs[a[0]] = (file, list(file.done) if file else [], [n for n in self.names if n.folder() == a[1]])
            elif op == "S":
                file, ends, names = syncs.pop(a[0])
                if file is not None:
                    file.durable = max([file.durable, *ends])
                self.names = [n for n in self.names if n not in names]
            elif op in "CM":
                if a[0] not in self.roots:  # whose own folders are not looked at
                    self.names.append(Name(op, a[0]))
                if op == "C":
                    self.files[a[0]] = File(0)
            elif op == "U":
                self.names.append(Name("U", *a))
                self.files.pop(a[0], None)
            elif op == "L":
                self.names.append(Name("L", *a))
                if a[0] in self.files:
                    self.files[a[1]] = self.files[a[0]]
            elif op == "R":
                self._rename(*a)
                self.names.append(Name("R", *a))

    def _rename(self, old, new):
        self.files = {moved(p, old, new): f for p, f in self.files.items()}
        for n in self.names:
            n.path = moved(n.path, old, new)
            if n.kind in "RL":
                n.other = moved(n.other, old, new)

    def forget(self, rng):
        """-> bytes and names that are gone now.  Removals that were not confirmed come back or not, as chance has it."""
        if not self.journal.exists():
            return 0, 0
        self._read()
        names = 0
        for i in range(len(self.names) - 1, -1, -1):
            n = self.names[i]
            names += 1
            if n.kind == "C" and os.path.exists(n.path):
                os.unlink(n.path)
            elif n.kind == "M":
                shutil.rmtree(n.path, ignore_errors=True)
            elif n.kind == "L" and os.path.exists(n.other):
                os.unlink(n.other)
            elif n.kind == "U" and n.other != "-" and not os.path.exists(n.path) and rng.random() < 0.5:
                os.makedirs(os.path.dirname(n.path), exist_ok=True)
                os.link(n.other, n.path)
            elif n.kind == "R" and os.path.exists(n.other) and not os.path.exists(n.path):
                os.makedirs(os.path.dirname(n.path), exist_ok=True)
                os.rename(n.other, n.path)
                self.names = self.names[:i]
                self._rename(n.other, n.path)
        lost = 0
        for path, file in self.files.items():
            if os.path.isfile(path) and os.path.getsize(path) > file.durable:
                lost += self._cut(path, file.durable, rng)
        for kept in self.side.glob("journal.kept-*"):
            kept.unlink()
        self.journal.unlink()
        return lost, names

    @staticmethod
    def _cut(path, durable, rng):
        """Unsynced bytes may be gone, be zero, or be there up to somewhere."""
        size = os.path.getsize(path)
        at = durable if rng.random() < 0.6 else rng.randrange(durable, size)
        if rng.random() < 0.3:
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(bytes(size - at))
        else:
            os.truncate(path, at)
        return size - at
