"""The encodings of common/store/README.md, read by somebody who knows that document only: numbers, texts, pages."""
import struct

import lz4.block
import zstandard

MASK = 2**64 - 1
VECTOR = 1024

CRC32C = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    CRC32C.append(n)


class Refused(Exception):
    """These bytes are not what the document says."""


def require(sound, why):
    if not sound:
        raise Refused(why)


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = CRC32C[(crc ^ b) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def signed(x):
    return x - 2**64 if x >> 63 else x


def unzigzag(x):
    return x >> 1 ^ -(x & 1)


class Cursor:
    """Bytes, read from the front."""

    def __init__(self, data):
        self.data, self.at = memoryview(data), 0

    def take(self, size):
        require(size <= len(self.data) - self.at, f"{size} bytes wanted, {len(self.data) - self.at} left")
        self.at += size
        return bytes(self.data[self.at - size:self.at])

    def number(self, layout):
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))[0]

    def u8(self):
        return self.number("B")

    def varint(self):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                require(value <= MASK, "a varint of more than 64 bits")
                return value
        raise Refused("a varint of more than 10 bytes")

    def text(self):
        return self.take(self.varint())

    def end(self):
        require(self.at == len(self.data), f"{len(self.data) - self.at} bytes too many")

    def vector(self, count):
        """`count` numbers, each as far above a base as its bits and, for some, an exception say."""
        base, width, exceptions = self.varint(), self.u8(), self.varint()
        require(width <= 64 and exceptions <= count, "a vector's width or exceptions")
        bits = int.from_bytes(self.take((count * width + 7) // 8), "little")
        values = [bits >> k * width & (1 << width) - 1 for k in range(count)]
        at = 0
        for k in range(exceptions):
            step, high = self.varint(), self.varint()
            require((step > 0 or k == 0) and at + step < count, "an exception's place")
            at += step
            values[at] += high << width
            require(high > 0 and values[at] <= MASK, "an exception's value")
        return [base + v & MASK for v in values]

    def ints(self, count):
        """Unsigned numbers below 2^64; nothing stands for none."""
        if count == 0:
            return []
        mode = self.u8()
        if mode == 0:
            return [self.varint()] * count
        if mode == 3:
            values = []
            while len(values) < count:
                value, run = self.varint(), self.varint()
                require(0 < run <= count - len(values), "a run's length")
                values += [value] * run
            return values
        require(mode in (1, 2), f"ints of mode {mode}")
        factor, values = self.varint(), []
        for first in range(0, count, VECTOR):
            values += self.vector(min(VECTOR, count - first))
        if mode == 2:
            total = 0
            for k, x in enumerate(values):
                total += unzigzag(x)
                values[k] = total
        return [factor * x & MASK for x in values]

    def ints_in_pieces(self, count):
        return [x for first in range(0, count, VECTOR) for x in self.ints(min(VECTOR, count - first))]

    def ascending(self, count):
        values, total = self.ints(count), 0
        for k, x in enumerate(values):
            total += x
            require(k == 0 or x > 0, "numbers that must ascend do not")
            values[k] = total
        return values

    def doubles(self, count):
        if count == 0:
            return []
        mode = self.u8()
        if mode == 0:
            return [self.number("d") for _ in range(count)]
        require(mode == 1, f"doubles of mode {mode}")
        places = self.u8()
        require(places <= 9, f"doubles of {places} places")
        return [(whole - 2**63) / 10**places for whole in self.ints_in_pieces(count)]

    def texts(self, count):
        return [self.take(size) for size in self.ints_in_pieces(count)]

    def templates(self, count):
        skeletons = self.texts(self.varint())
        which = self.ints(count)
        require(all(k <= len(skeletons) for k in which), "a skeleton that is not there")
        filled = [fill(self.text(), skeleton, which.count(k)) for k, skeleton in enumerate(skeletons)]
        filled.append(iter(self.texts(which.count(len(skeletons)))))
        return [next(filled[k]) for k in which]


def fill(slots, skeleton, count):
    """The `count` texts of one skeleton: its marks, replaced by what the slots hold for them."""
    slots, plain, columns, at = Cursor(slots), [b""], [], 0
    while at < len(skeleton):
        mark = skeleton[at]
        at += 1
        if not 1 <= mark <= 4:
            plain[-1] += bytes([mark])
            continue
        digits = 0
        if mark in (2, 3):
            require(at < len(skeleton), "a mark without its digits")
            digits = skeleton[at]
            at += 1
        columns.append(slot(slots, mark, digits, count))
        plain.append(b"")
    slots.end()
    require(len(columns) <= 32, "more than 32 marks")
    for values in zip(*columns) if columns else [()] * count:
        yield b"".join(a + b for a, b in zip(plain, values)) + plain[-1]


def slot(slots, mark, digits, count):
    if mark == 1:
        return [b"%d" % x for x in slots.ints(count)]
    if mark == 2:
        return [b"%0*d" % (digits, x) for x in slots.ints(count)]
    if mark == 3:
        require(digits >= 8, "an id's digits")
        ids = [slots.take((digits + 1) // 2).hex() for _ in range(count)]
        require(digits % 2 == 0 or all(x[-1] == "0" for x in ids), "the half that is left of an odd number")
        return [x[:digits].encode() for x in ids]
    ids = [slots.take(16).hex() for _ in range(count)]
    return [f"{x[:8]}-{x[8:12]}-{x[12:16]}-{x[16:20]}-{x[20:]}".encode() for x in ids]


HEADER = struct.Struct("<IIIIBBH")


def page(data, offset, size, kind, version):
    """The page at a reference, checked -> its value count and its raw bytes. `kind`: the one that belongs there, None: any."""
    require(offset + size <= len(data) and size >= HEADER.size, "a page outside the file")
    crc, stored, raw, count, its_kind, flags, zero = HEADER.unpack_from(data, offset)
    require(stored == size - HEADER.size, "a page's size is not that of its reference")
    require(crc == crc32c(data[offset + 4:offset + size]), f"checksum of the page at {offset}")
    require(kind in (None, its_kind) and zero == 0, f"the page at {offset} is of kind {its_kind}, not {kind}")
    require(raw <= 2**30 and (flags == 0 or raw <= 255 * stored + 64), "more raw bytes than there can be")
    body = bytes(data[offset + HEADER.size:offset + size])
    if flags == 1:
        body = lz4.block.decompress(body, uncompressed_size=raw)
    elif flags == 2 and version >= 2:
        body = zstandard.ZstdDecompressor().decompress(body, max_output_size=raw)
    else:
        require(flags == 0, f"page flags {flags}")
    require(len(body) == raw, "a page's raw size")
    return count, body
