"""What common/store/README.md says about a block beyond its spans: the order of its rows, its zones, lists, filters, locator. Each claim is asked of every value."""
import functools
import re
from bisect import bisect_left, bisect_right
from itertools import accumulate

import xxhash

from format_bytes import page
from format_block import DICTIONARY, KIND_FILTER, KIND_FLAGGED, KIND_LOCATOR, KIND_TEMPLATES, MAX_GROUP_SPANS, PARTS_OF_A_FILTER, PLAIN, SHAPE
from format_otlp import INT

CHUNK_TEXTS, CHUNK_BYTES, LOCATOR_CHUNK, FILTER_LEAST, FILTER_MISSES = 16384, 64 << 10, 4096, 256, 128


class Finder:
    """Finds by the indexes alone, as the document says it."""

    def __init__(self, block):
        self.block, self.ends = block, list(accumulate(g["trace"] for g in block.groups))
        self.locator_chunk, self.filter_page = functools.cache(self.locator_chunk), functools.cache(self.filter_page)

    def locator_chunk(self, number):
        """-> hashes, numbers of traces"""
        _, count, ref = self.block.locator[number]
        _, body = self.block.page(ref, KIND_LOCATOR, count)
        found = body.ints(count), body.ints(count)
        body.end()
        return found

    def trace(self, trace_id):
        """The number of a trace in the block, or None."""
        hashed, firsts = hash_of(trace_id) >> 32, [first for first, _, _ in self.block.locator]
        for chunk in range(max(bisect_left(firsts, hashed) - 1, 0), bisect_right(firsts, hashed)):
            hashes, numbers = self.locator_chunk(chunk)
            for number in numbers[bisect_left(hashes, hashed):bisect_right(hashes, hashed)]:
                group = bisect_right(self.ends, number)
                if self.block.stream(15, group)[number - self.ends[group]] == trace_id:
                    return number
        return None

    def text(self, dictionary, parts, text):
        """{part: the code that the text has there}, from one chunk of a dictionary."""
        number = max(bisect_right([separator for separator, *_ in self.block.dictionaries[dictionary]], text) - 1, 0)
        texts, before, numbers = self.block.chunk(dictionary, number, parts)
        at = bisect_left(texts, text)
        if texts[at:at + 1] != [text]:
            return {}
        return {part: before[part] + numbers[part].index(at) for part in range(parts) if at in numbers[part]}

    def filter_page(self, ref):
        count, body = self.block.page(ref, KIND_FILTER, None)
        found = body.ascending(count)
        body.end()
        return frozenset(found)

    def may_have(self, column, part, text):
        """What the filter says."""
        scale, refs = column.filters[part // PARTS_OF_A_FILTER]
        hashed = hash_of(text) & ~63
        page_of = refs[(hashed >> 32) * len(refs) >> 32]
        return part % PARTS_OF_A_FILTER * scale + ((hashed & 0xFFFFFFFF) * scale >> 32) in self.filter_page(page_of)


def hash_of(data):
    return xxhash.xxh3_64_intdigest(data)


def check(block):
    check_bytes(block)
    traces = [(group, trace) for group in range(len(block.groups)) for trace in block.traces(group)]
    check_counts(block, traces)
    for group in range(len(block.groups)):
        check_group(block, group)
    check_dictionary(block, 0, [set(span.name for span in block.spans(g)) for g in range(len(block.groups))])
    names = [block.code_list(1, g, len(block.groups)) if block.groups[g]["event"] else [] for g in range(len(block.groups))]
    check_dictionary(block, 1, [set(names[g][x] for x in block.stream(22, g)) for g in range(len(block.groups))])
    used = [0, 1]
    for table, columns in enumerate(block.columns):
        assert len({(c.type, c.field, c.key) for c in columns}) == len(columns)
        values = [values_of(block, table, part) for part in range(block.parts(table))]
        for c, column in enumerate(columns):
            check_column(block, column, [v[c] for v in values])
            used += [column.dictionary] if column.form == DICTIONARY else []
    assert sorted(used) == list(range(len(block.dictionaries)))  # each belongs to one column
    check_locator(block, traces)


def check_bytes(block):
    """Every byte of the file is the header's, the trailer's, or one page's."""
    at = 16
    for offset, size in sorted(block.refs()):
        assert offset == at
        page(block.data, offset, size, None, block.version)
        at += size
    assert at == len(block.data) - 32


def check_counts(block, traces):
    meta, spans = block.meta, [span for group in range(len(block.groups)) for span in block.spans(group)]
    assert meta["span_count"] == len(spans) and meta["trace_count"] == len(traces) == len({trace.id for _, trace in traces})
    assert meta["min_start_ns"] == min(span.start for span in spans) and meta["max_end_ns"] == max(span.end for span in spans)
    for rows, used in ((block.once["resource"], {s.resource for s in spans}), (block.once["scope"], {s.scope for s in spans})):
        assert used == set(range(rows))
    keys = [(trace.start, trace.id) for _, trace in traces]
    assert keys == sorted(keys)
    flagged = sorted(trace.id for _, trace in traces if trace.flags & 1)
    count, body = block.page(block.flagged_ref, KIND_FLAGGED, meta["flagged_count"]) if block.flagged_ref else (0, None)
    assert [body.take(16) for _ in range(count)] == flagged


def check_group(block, group):
    rows, spans, traces = block.groups[group], block.spans(group), block.traces(group)
    assert rows["trace"] == len(traces) and (rows["span"] <= MAX_GROUP_SPANS or len(traces) == 1)
    assert rows["min"] == min(s.start for s in spans) and rows["max"] == max(s.end for s in spans)
    for stream in (20, 23):
        of = block.stream(stream, group)
        assert of == sorted(of) and all(row < len(spans) for row in of)
    for trace in traces:
        mine = [spans[row] for row in trace.rows]
        assert trace.start == min(s.start for s in mine) and trace.end == max(s.end for s in mine)
        assert trace.flags < 4 and (not trace.flags & 2 or len({s.id for s in mine}) == len(mine))
        if len({(s.start, s.id) for s in mine}) == len(mine):  # nothing else says which of two comes first
            assert [(s.depth, s.id) for s in mine] == [(depth, s.id) for depth, s in depth_first(mine)]


def depth_first(spans):
    """The documented order of a trace's spans, made anew: (depth, span)"""
    spans = sorted(spans, key=lambda s: (s.start, s.id))
    owners, children = {}, {}
    for s in spans:
        owners.setdefault(s.id, s)
    for s in spans:
        if s.parent and s.parent in owners:
            children.setdefault(id(owners[s.parent]), []).append(s)
    placed, out = set(), []

    def place(span):
        stack = [(0, span)]
        while stack:
            depth, one = stack.pop()
            if id(one) not in placed:
                placed.add(id(one))
                out.append((depth, one))
                stack += [(depth + 1, child) for child in reversed(children.get(id(one), []))]

    for root in [s for s in spans if not s.parent] + [s for s in spans if s.parent and s.parent not in owners]:
        place(root)
    for one in spans:  # circles, and what hangs on them
        place(one)
    return out


def values_of(block, table, part):
    """Per column its values in row order."""
    counts = [0] * len(block.columns[table])
    for shape in block.stream(SHAPE + table, part):
        for c in block.shapes[table][shape]:
            counts[c] += 1
    return [block.column_values(table, column, part, counts[c]) for c, column in enumerate(block.columns[table])]


def check_column(block, column, values):
    assert [ref is not None for ref in column.pages] == [bool(v) for v in values]
    if column.type == INT:
        assert column.zones == {part: (min(v), max(v)) for part, v in enumerate(values) if v}
    if column.form == DICTIONARY:
        check_dictionary(block, column.dictionary, list(map(set, values)))
    for ref, mine in zip(column.pages, values) if column.form == PLAIN else ():
        if ref and block.data[ref[0] + 16] == KIND_TEMPLATES:
            check_templates(block, ref, mine)
    for first in range(0, len(values), PARTS_OF_A_FILTER) if column.form == PLAIN and column.filters else ():
        check_filter(block, column, range(first, min(first + PARTS_OF_A_FILTER, len(values))), values)


# From the left: a UUID, an id of letters and digits, a number; the first two are whole runs of these digits.
MARK = re.compile(rb"(?<![0-9a-f])([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})(?![0-9a-f])"
                  rb"|(?<![0-9a-f])((?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,255})(?![0-9a-f])|([0-9]{1,18})")


def skeleton_of(text):
    """What varies in a text, by its marks; None: it has no skeleton."""
    def mark(found):
        if found[1]:
            return b"\4"
        if found[2]:
            return bytes([3, len(found[2])])
        return bytes([2, len(found[3])]) if found[3][:1] == b"0" < found[3] else b"\1"
    return None if len(text) > 4096 or re.search(rb"[\1-\4]", text) else MARK.sub(mark, text, count=32)


def check_templates(block, ref, values):
    _, body = block.page(ref, KIND_TEMPLATES, len(values))
    skeletons = body.texts(body.varint())
    assert len(set(skeletons)) == len(skeletons)
    for text, which in zip(values, body.ints(len(values))):
        assert (skeletons + [None])[which] in (skeleton_of(text), None)


def check_dictionary(block, dictionary, sets):
    """`sets`: the texts that each part has."""
    chunks, texts, parts = block.dictionaries[dictionary], [], len(sets)
    for part, wanted in enumerate(sets):
        found = block.code_list(dictionary, part, parts) if wanted else []
        assert len(found) == len(wanted) and set(found) == wanted
        assert block.version == 1 or found == sorted(found)
    for number, (separator, count, _, _) in enumerate(chunks):
        mine, _, _ = block.chunk(dictionary, number, parts)
        if block.version > 1:
            assert 0 < count <= CHUNK_TEXTS and sum(map(len, mine[:-1])) < CHUNK_BYTES
            last = texts[-1] if texts else None
            assert separator == (b"" if last is None else next(mine[0][:k] for k in range(1, len(mine[0]) + 1) if mine[0][:k] > last))
        texts += mine
    assert set(texts) == set().union(*sets) and len(set(texts)) == len(texts)
    if block.version > 1:
        find, lists = Finder(block), [block.code_list(dictionary, part, parts) if sets[part] else [] for part in range(parts)]
        assert texts == sorted(texts)
        for text in texts[::max(1, len(texts) // 50)]:
            assert find.text(dictionary, parts, text) == {part: lists[part].index(text) for part in range(parts) if text in sets[part]}
            assert text + b"\0" in texts or find.text(dictionary, parts, text + b"\0") == {}


def check_filter(block, column, parts, values):
    count = sum(len(values[part]) for part in parts)
    refs = column.filters[parts[0] // PARTS_OF_A_FILTER][1]
    assert bool(refs) or count < FILTER_LEAST
    if refs:
        find = Finder(block)
        assert all(find.may_have(column, part, text) for part in parts for text in set(values[part]))
        hits = sum(find.may_have(column, part, b"absent %d" % k) for part in parts for k in range(1000))
        assert hits < 4 * 1000 * len(parts) / FILTER_MISSES


def check_locator(block, traces):
    find, numbers, hashes = Finder(block), [], []
    for chunk, (first, count, _) in enumerate(block.locator):
        mine = find.locator_chunk(chunk)
        assert count <= LOCATOR_CHUNK and mine[0][0] == first
        hashes += mine[0]
        numbers += mine[1]
    assert sorted(numbers) == list(range(len(traces))) and hashes == sorted(hashes)
    assert hashes == [hash_of(traces[n][1].id) >> 32 for n in numbers]
    assert all(find.trace(trace.id) == number for number, (_, trace) in enumerate(traces))
    assert find.trace(b"\xff" * 16) is None
