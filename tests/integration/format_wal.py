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
    """`frames` of a folder in order; `damages` as (file, offset, what); `torn`: (file, bytes) when the last file ends in no frame."""

    def __init__(self, folder):
        self.frames, self.damages, self.torn = [], [], None
        files = [File(path) for path in pathlib.Path(folder).glob("*.wal")]
        files.sort(key=lambda f: (f.first_lsn, f.path.name))
        self.instances = {f.instance for f in files}
        last, firsts = 0, set()
        for file in files:
            if file.first_lsn in firsts:
                self.damages.append((file.path.name, 0, "a copy"))
            firsts.add(file.first_lsn)
            for frame in file.frames:
                if frame.lsn > last:
                    self.frames.append(frame)
                    last = frame.lsn
                else:
                    self.damages.append((frame.file, frame.offset, "does not go up"))
            self.damages += file.damages
            if file.end < len(file.data) and file is files[-1]:
                self.torn = file.path.name, len(file.data) - file.end
            elif file.end < len(file.data):
                self.damages.append((file.path.name, file.end, "no frame"))


class File:
    def __init__(self, path):
        self.path, self.data, self.frames, self.damages = path, path.read_bytes(), [], []
        self.read_header()
        self.end = at = FILE_HEADER
        while at < len(self.data):
            found = self.frame(at)
            if found is None:
                at += 1
                continue
            if at > self.end:
                self.damages.append((path.name, self.end, "no frame"))
            self.frames.append(found[0])
            self.end = at = found[1]

    def read_header(self):
        head = self.data[:FILE_HEADER]
        self.tag, self.instance, self.first_lsn = None, "", int(self.path.stem, 16)
        if len(head) < FILE_HEADER or head[:8] != MAGIC or crc32c(head[:92]) != struct.unpack("<I", head[92:])[0]:
            self.damages.append((self.path.name, 0, "header"))
            return
        version, self.tag, self.first_lsn, instance, zero = struct.unpack("<IIQ64sI", head[8:92])
        require(version == 1 and zero == 0, f"a log of version {version}")
        self.instance = instance.rstrip(b"\0").decode()

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
        if tenant > 150 or FIXED.size + tenant + target > size:
            return None
        self.tag = tag
        names = body[FIXED.size:FIXED.size + tenant + target].decode()
        return Frame(self.path.name, at, lsn, time, batch, part, kind, flags, names[:tenant], names[tenant:], body[FIXED.size + tenant + target:]), end
