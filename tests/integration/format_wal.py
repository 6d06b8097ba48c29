"""The write-ahead log of common/store/WAL.md, read by somebody who knows that document only."""
import pathlib
import struct
from dataclasses import dataclass

from format_bytes import crc32c, require

MAGIC, FILE_HEADER, PREFIX, FRAME_MAX = b"VWAL1\r\n\0", 96, 16, 72 * 2**20
FIXED = struct.Struct("<QQ16sIBBBB")
SPANS, DOUBT, SECOND_COPY, CARRIED = 1, 1, 2, 4


@dataclass
class Frame:
    file: str
    offset: int
    lsn: int
    time: int
    batch: bytes
    part: int
    kind: int
    flags: int
    tenant: str
    first_target: str
    payload: bytes


class Log:
    """`frames` of a folder in order; `damages` as (file, offset, bytes); `torn`: (file, bytes) when the last file ends in no frame."""

    def __init__(self, folder):
        self.frames, self.damages, self.torn = [], [], None
        files = [File(path) for path in pathlib.Path(folder).glob("*.wal")]
        files.sort(key=lambda f: (f.first_lsn, f.path.name))
        self.instances = {f.instance for f in files}
        last, before = 0, None
        for file in files:
            name, is_copy = file.path.name, before is not None and before.first_lsn == file.first_lsn
            before, rest = file, len(file.data) - file.end
            self.damages += file.damages + ([(name, 0, len(file.data))] if is_copy else [])
            if rest > 0 and file is files[-1]:
                self.torn = name, rest
            elif rest > 0:
                self.damages.append((name, file.end, rest))
            for frame, size in file.frames:
                if frame.lsn > last:
                    self.frames.append(frame)
                    last = frame.lsn
                elif not is_copy:
                    self.damages.append((name, frame.offset, size))


class File:
    """`frames`: with their sizes; `damages`; `end`: where the last sound frame ends."""

    def __init__(self, path):
        self.path, self.data, self.frames, self.damages = path, path.read_bytes(), [], []
        self.tag, self.instance, self.first_lsn = None, "", int(path.stem, 16)
        self.end = at = FILE_HEADER if self.read_header() else 0
        if self.end == 0 and self.frame(FILE_HEADER):  # this one tells the tag
            self.damages.append((path.name, 0, FILE_HEADER))
            self.end = at = FILE_HEADER
        while at < len(self.data):
            found = self.frame(at)
            if found is None:
                at = self.data.find(b"VFRM", at + 1) if b"VFRM" in self.data[at + 1:] else len(self.data)
                continue
            if at > self.end:
                self.damages.append((path.name, self.end, at - self.end))
            self.frames.append((found[0], found[1] - at))
            self.end = at = found[1]

    def read_header(self):
        head = self.data[:FILE_HEADER]
        if len(head) < FILE_HEADER or head[:8] != MAGIC or crc32c(head[:92]) != struct.unpack("<I", head[92:])[0]:
            return False
        version, tag, first_lsn, instance, _ = struct.unpack("<IIQ64sI", head[8:92])
        require(version == 1, f"a log of version {version}")
        if first_lsn == 0:
            return False
        self.tag, self.first_lsn, self.instance = tag, first_lsn, instance.rstrip(b"\0").decode()
        return True

    def frame(self, at):
        """The sound frame that begins here and where it ends, or None."""
        prefix = self.data[at:at + PREFIX]
        if len(prefix) < PREFIX or prefix[:4] != b"VFRM":
            return None
        size, crc, tag = struct.unpack("<III", prefix[4:])
        end = at + PREFIX + size
        if size < FIXED.size or PREFIX + size > FRAME_MAX or end > len(self.data) or self.tag not in (None, tag):
            return None
        body = self.data[at + PREFIX:end]
        if crc != crc32c(prefix[4:8] + prefix[12:] + body):
            return None
        lsn, time, batch, part, kind, flags, tenant, target = FIXED.unpack_from(body)
        if lsn == 0 or tenant > 150 or FIXED.size + tenant + target > size:
            return None
        self.tag = tag
        names = body[FIXED.size:FIXED.size + tenant + target].decode()
        return Frame(self.path.name, at, lsn, time, batch, part, kind, flags, names[:tenant], names[tenant:], body[FIXED.size + tenant + target:]), end
