"""Reads a system-call trace of an ingester: did each acknowledgement leave after the sync of the bytes that it speaks of?

The trace has every byte (strace -f -yy -xx).  From the push lane's connections come the requests and replies (nng's framing, then ours), from the log's
files the writes and syncs.  A call that strace splits ("<unfinished ...>", "resumed") begins at its first line and ends at its second."""
import re
import shutil

STRACE = shutil.which("strace")
CALLS = "fdatasync,fsync,pwritev,pwritev2,pwrite64,write,writev,sendmsg,sendto,read,readv,recvmsg,recvfrom"
METHOD_PUSH = 10


def command(path):
    # -D: the traced process stays our child, strace is the grandchild.
    return [STRACE, "-D", "-f", "-qq", "-yy", "-xx", "-s", "300000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(path)]


class Call:
    def __init__(self, begin, name):
        self.begin, self.end, self.name, self.text, self.result = begin, begin, name, "", None

    def file(self):
        m = re.match(r"\d+<(TCP:\[[^\]]*\]|[^>]*)>", self.text)
        where = m[1] if m else ""
        return bytes.fromhex(where.replace("\\x", "")).decode() if where.startswith("\\x") else where

    def data(self):
        """The bytes that went over, of all parts."""
        whole = b"".join(bytes.fromhex(s.replace("\\x", "")) for s in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', self.text.partition(", ")[2]))
        return whole[:self.result]


def read(path):
    """All calls in the order of their ends; those without a result (the process was killed) are left out."""
    open_calls, calls = {}, []
    with open(path) as lines:
        for at, line in enumerate(lines):
            pid, _, rest = line.rstrip("\n").partition(" ")
            rest = rest.lstrip()
            resumed = re.match(r"<\.\.\. (\w+) resumed>(.*)", rest)
            begun = re.match(r"(\w+)\((.*)", rest)
            if resumed:
                call = open_calls.pop(pid, None)
                if call is None:
                    continue
                text = call.text + resumed[2]
            elif begun:
                call = Call(at, begun[1])
                text = begun[2]
                if text.endswith("<unfinished ...>"):
                    call.text = text[:-len("<unfinished ...>")]
                    open_calls[pid] = call
                    continue
            else:
                continue
            head, _, result = text.rpartition(" = ")
            m = re.match(r"-?\d+", result)
            if m is None:
                continue
            call.text, call.result, call.end = head, int(m[0]), at
            calls.append(call)
    return calls


class Stream:
    """One direction of one connection: nng's messages with the line at which the last of their bytes went over."""

    def __init__(self):
        self.bytes, self.greeted = b"", False

    def add(self, data):
        self.bytes += data
        if not self.greeted:
            if len(self.bytes) < 8:
                return
            assert self.bytes[:3] == b"\0SP", self.bytes[:8]
            self.bytes, self.greeted = self.bytes[8:], True
        while len(self.bytes) >= 8:
            size = int.from_bytes(self.bytes[:8], "big")
            if len(self.bytes) < 8 + size:
                return
            message, self.bytes = self.bytes[8:8 + size], self.bytes[8 + size:]
            yield message


class Proof:
    def __init__(self):
        self.proven, self.violations, self.unanswered = 0, [], 0


def acks_follow_syncs(path, push_port, trace_ids):
    """Judges every acknowledged push of one of `trace_ids` (bytes)."""
    writes, syncs, pushes, replies = [], [], [], {}
    streams = {}
    for call in read(path):
        where = call.file()
        if call.result < 0:
            continue
        if where.endswith(".wal"):
            if call.name in ("fdatasync", "fsync"):
                syncs.append(call)
            else:
                writes.append((call, call.data()))
        elif where.startswith("TCP") and f":{push_port}->" in where and call.result > 0:
            sent = call.name in ("sendmsg", "sendto", "write", "writev")
            stream = streams.setdefault((where, sent), Stream())
            for message in stream.add(call.data()):
                number, method = message[:4], int.from_bytes(message[6:8], "little")
                if sent:
                    replies.setdefault((where, number), (call.begin, method))
                elif method == METHOD_PUSH:
                    pushes.append((where, number, message))
    proof = Proof()
    for where, number, message in pushes:
        ids = [i for i in trace_ids if i in message]
        reply = replies.get((where, number))
        if reply is None or reply[1] != 0:
            proof.unanswered += 1
            continue
        for trace_id in ids:
            ok = any(trace_id in data and any(s.file() == w.file() and s.begin > w.end and s.end < reply[0] for s in syncs) for w, data in writes)
            if ok:
                proof.proven += 1
            else:
                proof.violations.append((trace_id.hex(), reply[0]))
    return proof
