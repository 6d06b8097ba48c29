"""The small files: manifests of common/objstore/README.md, the checkpoint of generator/README.md, read by somebody who knows those documents only."""
import struct

from format_bytes import Cursor, crc32c, page, require

WHY_MAX, MANIFEST_KIND = 3, 96


class Manifest:
    def __init__(self, data):
        require(data[:4] == b"VVM1" and struct.unpack("<HH", data[4:8]) == (1, 0), "no manifest of version 1")
        count, body = page(data, 8, len(data) - 8, MANIFEST_KIND, 2)
        s = Cursor(body)
        self.tenant, self.writer, self.number = s.text().decode(), s.text().decode(), s.varint()
        self.entries = [(s.take(36).decode(), s.varint(), s.text()) for _ in range(s.varint())]
        self.gone = [(s.take(36).decode(), s.u8(), s.u8(), s.varint()) for _ in range(s.varint())]
        s.end()
        require(len(self.entries) == count and all(0 < why <= WHY_MAX for _, why, _, _ in self.gone), "a manifest's entries")
        for ids in ([e[0] for e in self.entries], [g[0] for g in self.gone]):
            require(ids == sorted(set(ids)), "a manifest's order")


class Checkpoint:
    """`tenants`: {name: (series of spans, series of the graph, edges)}"""

    def __init__(self, data):
        require(data[:4] == b"VGC1" and struct.unpack("<I", data[4:8])[0] == crc32c(data[8:]), "no checkpoint")
        s = Cursor(data[8:])
        self.lsn, batches, self.batches, self.tenants = s.number("Q"), Cursor(s.take(s.number("Q"))), [], {}
        while batches.at < len(batches.data):
            self.batches.append((batches.take(16), batches.number("I"), batches.number("q")))
        while s.at < len(s.data):
            name = s.take(s.number("I")).decode()
            spans, graph, edges = (Cursor(s.take(s.number("Q"))) for _ in range(3))
            self.tenants[name] = read_set(spans, 1), read_set(graph, 2), read_edges(edges)
            for part in (spans, graph, edges):
                part.end()


def read_set(s, histograms):
    """[(labels, counters, [(sum, counts)])]"""
    found = []
    if len(s.data) == 0:
        return found
    bounds = [s.number("d") for _ in range(s.number("I"))]
    require(bounds == sorted(bounds), "bounds")
    for _ in range(s.number("I")):
        labels, pairs, _, _ = Cursor(s.take(s.number("I"))), [], s.number("q"), s.u8()
        while labels.at < len(labels.data):
            pairs.append((labels.text().decode(), labels.text().decode()))
        require(pairs == sorted(pairs) and all(value for _, value in pairs), "labels")
        counters = s.number("d"), s.number("d")
        found.append((dict(pairs), counters, [(s.number("d"), [s.number("Q") for _ in range(len(bounds) + 1)]) for _ in range(histograms)]))
    return found


def read_edges(s):
    if len(s.data) == 0:
        return []
    count, texts = s.number("I"), s.number("I")
    return [{"trace": s.take(16), "span": s.take(8), "is_root": s.take(8) == b"\1" + bytes(7), "since": s.number("q"), "client": s.number("d"), "server": s.number("d"), "connection": s.u8(), "failed": s.u8(),
             "texts": [s.text().decode() for _ in range(texts)]} for _ in range(count)]
