"""A block file of common/store/README.md, read by somebody who knows that document only."""
import functools
import struct
from dataclasses import dataclass

import format_otlp
from format_bytes import MASK, Cursor, crc32c, page, require, signed, unzigzag
from format_otlp import ANY, ATTRIBUTE, BOOL, DOUBLE, EVENT, INT, LINK, RESOURCE, SCOPE, SPAN

NUMBERS, DICTIONARY, PLAIN = range(3)
META, GROUPS, COLUMNS, SHAPES, PAGES, ZONES, DICTIONARIES, LOCATOR, FILTERS = range(1, 10)

# Streams by what a row of them is.
STREAMS = ["span"] * 10 + ["span", "resource", "scope", "event", "link"] + ["trace"] * 5 + ["event"] * 3 + ["link"] * 3
ORPHANS, SHAPE = 2, 10
IDS = {0: 8, 15: 16, 24: 16, 25: 8}

KIND_INTS, KIND_DOUBLES, KIND_BOOLS, KIND_CODES, KIND_TEXTS, KIND_TEMPLATES = 64, 65, 66, 67, 68, 75
KIND_DICTIONARY, KIND_LISTS, KIND_LOCATOR, KIND_FLAGGED, KIND_FOOTER, KIND_FILTER = 69, 70, 71, 72, 73, 74
MAX_GROUP_SPANS, PARTS_OF_A_FILTER = 16384, 64


@dataclass
class Trace:
    id: bytes
    start: int
    end: int
    flags: int
    rows: range


@dataclass
class Span:
    id: bytes
    depth: int
    parent: bytes
    name: bytes
    kind: int
    start: int
    end: int
    status: int
    resource: int
    scope: int


class Column:
    def __init__(self, cursor):
        self.type, self.field, self.form = cursor.u8(), cursor.u8(), cursor.u8()
        require(self.type <= ANY and self.field <= ATTRIBUTE and self.form <= PLAIN, "a column's type, field or form")
        require((self.form == NUMBERS) == (self.type in (INT, DOUBLE, BOOL)), "a column's form does not go with its type")
        self.dictionary = cursor.varint() if self.form == DICTIONARY else None
        self.key = cursor.text()
        self.pages, self.zones, self.filters = [], {}, []


class Block:
    def __init__(self, data):
        self.data = data
        for method in ("stream", "spans", "chunk", "code_list"):  # asked more than once
            setattr(self, method, functools.cache(getattr(self, method)))
        require(len(data) >= 48 and data[:4] == b"VVB1" and data[-4:] == b"VVB1", "no block")
        offset, size, version, zero, length, _ = struct.unpack("<QIHHQI", data[-32:-4])
        require(crc32c(data[-32:-8]) == struct.unpack("<I", data[-8:-4])[0], "checksum of the trailer")
        require(version in (1, 2), f"version {version}")
        require(struct.unpack("<H10x", data[4:16]) == (version,) and zero == 0 and length == len(data), "header and trailer differ")
        self.version = version
        self.footer = offset, size
        _, footer = page(data, offset, size, KIND_FOOTER, version)
        self.sections, cursor = {}, Cursor(footer)
        while cursor.at < len(footer):
            number = cursor.varint()
            require(number > max(self.sections, default=0) or number > FILTERS, "sections out of order")
            self.sections[number] = Cursor(cursor.text())
        for number, read in ((META, self.read_meta), (GROUPS, self.read_groups), (COLUMNS, self.read_columns), (SHAPES, self.read_shapes), (PAGES, self.read_pages),
                             (ZONES, self.read_zones), (DICTIONARIES, self.read_dictionaries), (LOCATOR, self.read_locator), (FILTERS, self.read_filters)):
            if number == FILTERS and version == 1:
                continue
            section = self.sections[number]
            self.end_of_ref = 16
            read(section)
            section.end()

    # The footer's sections.

    def read_meta(self, s):
        self.meta = {k: s.text().decode() for k in ("id", "tenant", "writer")}
        for k in ("lsn_lo", "lsn_hi", "min_start_ns", "max_end_ns", "span_count", "trace_count", "flagged_count", "created_ns"):
            self.meta[k] = s.varint()

    def read_groups(self, s):
        self.once = {"resource": s.varint(), "scope": s.varint()}
        self.groups = []
        for _ in range(s.varint()):
            group = {k: s.varint() for k in ("span", "event", "link", "trace")}
            self.groups.append({**group, "min": s.number("Q"), "max": s.number("Q")})

    def parts(self, table):
        return 1 if table in (RESOURCE, SCOPE) else len(self.groups)

    def rows(self, what, part):
        return self.once[what] if what in self.once else self.groups[part][what]

    def read_columns(self, s):
        self.columns = [[Column(s) for _ in range(s.varint())] for _ in range(5)]

    def read_shapes(self, s):
        self.shapes = []
        for columns in self.columns:
            shapes = [[s.varint() for _ in range(s.varint())] for _ in range(s.varint())]
            require(all(c < len(columns) for shape in shapes for c in shape), "a shape's column is not there")
            self.shapes.append(shapes)

    def ref(self, s):
        size = s.varint()
        if size == 0:
            return None
        offset = self.end_of_ref + unzigzag(s.varint())
        require(offset >= 16, "a reference before the file's pages")
        self.end_of_ref = offset + size
        return offset, size

    def read_pages(self, s):
        require(s.varint() == len(STREAMS), "not 26 streams")
        self.streams = [[self.ref(s) for _ in range(1 if what in self.once else len(self.groups))] for what in STREAMS]
        for table, columns in enumerate(self.columns):
            for column in columns:
                column.pages = [self.ref(s) for _ in range(self.parts(table))]

    def read_zones(self, s):
        for columns in self.columns:
            for column in columns:
                for part, ref in enumerate(column.pages):
                    if column.type == INT and ref:
                        low = unzigzag(s.varint())
                        column.zones[part] = low, low + s.varint()

    def read_dictionaries(self, s):
        self.dictionaries = []
        for _ in range(s.varint()):
            if self.version == 1:
                self.dictionaries.append([(b"", s.varint(), self.ref(s), self.ref(s))])
            else:
                self.dictionaries.append([(s.text(), s.varint(), self.ref(s), self.ref(s)) for _ in range(s.varint())])

    def read_locator(self, s):
        self.locator = [(s.number("I"), s.varint(), self.ref(s)) for _ in range(s.varint())]
        self.flagged_ref = self.ref(s)

    def read_filters(self, s):
        for table, columns in enumerate(self.columns):
            for column in columns if self.parts(table) else ():
                for _ in range(0, self.parts(table), PARTS_OF_A_FILTER) if column.form == PLAIN else ():
                    pages = s.varint()
                    column.filters.append((s.varint(), [self.ref(s) for _ in range(pages)]) if pages else (0, []))

    # Pages.

    def refs(self):
        """Of every page that the footer names, and of the footer."""
        found = [ref for stream in self.streams for ref in stream] + [ref for _, _, ref in self.locator] + [self.flagged_ref, self.footer]
        found += [ref for chunks in self.dictionaries for _, _, *two in chunks for ref in two]
        for columns in self.columns:
            found += [ref for column in columns for ref in column.pages] + [ref for column in columns for _, pages in column.filters for ref in pages]
        return [ref for ref in found if ref]

    def page(self, ref, kind, count):
        """Of the kind and with the count that its place implies."""
        found, body = page(self.data, *ref, kind, self.version)
        require(count is None or found == count, f"a page of kind {kind} has {found} values, not {count}")
        return found, Cursor(body)

    def stream(self, number, part):
        count, ref = self.rows(STREAMS[number], part), self.streams[number][part]
        if ref is None:
            require(count == 0, f"stream {number} has no page")
            return []
        _, body = self.page(ref, 1 + number, count)
        values = [body.take(IDS[number]) for _ in range(count)] if number in IDS else body.ints(count)
        body.end()
        return values

    def orphans(self, group):
        """{row: parent id}"""
        ref = self.streams[ORPHANS][group]
        if ref is None:
            return {}
        count, body = self.page(ref, 1 + ORPHANS, None)
        rows = body.ints(count)
        found = {row: body.take(8) for row in rows}
        body.end()
        return found

    def chunk(self, dictionary, number, parts):
        """Of a dictionary: its texts; per part how many texts the chunks before it have there, and the numbers of those that this one has."""
        _, count, texts_ref, lists_ref = self.dictionaries[dictionary][number]
        _, body = self.page(texts_ref, KIND_DICTIONARY, count)
        texts = body.texts(count)
        body.end()
        pairs, body = self.page(lists_ref, KIND_LISTS, None)
        before, numbers = body.ints(parts), [[] for _ in range(parts)]
        if self.version == 1:
            require(sum(before) == pairs, "a code list's count")
            before, numbers = [0] * parts, [body.ints(n) for n in before]
        else:
            for x in body.ascending(pairs):
                require(x < parts * count, "a text of no part")
                numbers[x // count].append(x % count)
        body.end()
        require(all(n < count for listed in numbers for n in listed), "a text that is not there")
        return texts, before, numbers

    def code_list(self, dictionary, part, parts):
        """All texts that this part has, by their codes."""
        found = []
        for number in range(len(self.dictionaries[dictionary])):
            texts, before, numbers = self.chunk(dictionary, number, parts)
            require(before[part] == len(found), "texts of the chunks before")
            found += [texts[n] for n in numbers[part]]
        return found

    def column_values(self, table, column, part, count):
        ref = column.pages[part]
        if ref is None:
            require(count == 0, "a column without its page")
            return []
        if column.form == NUMBERS:
            kind = {INT: KIND_INTS, DOUBLE: KIND_DOUBLES, BOOL: KIND_BOOLS}[column.type]
        elif column.form == DICTIONARY:
            kind = KIND_CODES
        else:
            kind = self.data[ref[0] + 16]
            require(kind in (KIND_TEXTS, KIND_TEMPLATES), "a plain column's page")
        _, body = self.page(ref, kind, count)
        if kind == KIND_INTS:
            shift = body.u8()
            values = [signed(x - (2**63 if shift else 0) & MASK) for x in body.ints(count)]
        elif kind == KIND_DOUBLES:
            values = body.doubles(count)
        elif kind == KIND_BOOLS:
            values = [bool(x) for x in body.ints(count)]
        elif kind == KIND_CODES:
            texts = self.code_list(column.dictionary, part, self.parts(table))
            values = [texts[x] for x in body.ints(count)]
        else:
            values = body.texts(count) if kind == KIND_TEXTS else body.templates(count)
        body.end()
        return values

    def fields(self, table, part):
        """Per row of the table: its columns and their values, in the order of its shape."""
        shapes = [self.shapes[table][x] for x in self.stream(SHAPE + table, part)]
        counts = [0] * len(self.columns[table])
        for shape in shapes:
            for c in shape:
                counts[c] += 1
        values = [iter(self.column_values(table, column, part, counts[c])) for c, column in enumerate(self.columns[table])]
        return [[(self.columns[table][c], next(values[c])) for c in shape] for shape in shapes]

    # Spans.

    def traces(self, group):
        found, first = [], 0
        for trace_id, size, start, length, flags in zip(*(self.stream(n, group) for n in (15, 16, 17, 18, 19))):
            found.append(Trace(trace_id, start, start + length & MASK, flags, range(first, first + size)))
            first += size
        require(first == self.rows("span", group), "the traces do not have all spans")
        return found

    def spans(self, group):
        """Of all traces, row by row."""
        ids, depths, steps, durations, names, kinds, statuses, resources, scopes = (self.stream(n, group) for n in (0, 1, 3, 4, 5, 6, 7, 8, 9))
        texts, orphans, path, spans = self.code_list(0, group, len(self.groups)), self.orphans(group), [], []
        for trace in self.traces(group):
            start = trace.start
            for row in trace.rows:
                start = start + unzigzag(steps[row]) & MASK
                require(depths[row] <= (len(path) if row > trace.rows[0] else 0), "a depth without a parent")
                del path[depths[row]:]
                parent = path[-1] if path else orphans.get(row, b"")
                path.append(ids[row])
                spans.append(Span(ids[row], depths[row], parent, texts[names[row]], kinds[row], start, start + durations[row] & MASK, statuses[row], resources[row], scopes[row]))
        return spans

    def inner(self, group, spans):
        """Per span its events, its links."""
        events, links = [[] for _ in spans], [[] for _ in spans]
        texts = self.code_list(1, group, len(self.groups)) if self.rows("event", group) else []
        for row, offset, name, fields in zip(*(self.stream(n, group) for n in (20, 21, 22)), self.fields(EVENT, group)):
            events[row].append(format_otlp.event(spans[row].start + unzigzag(offset) & MASK, texts[name], fields))
        for row, trace_id, span_id, fields in zip(*(self.stream(n, group) for n in (23, 24, 25)), self.fields(LINK, group)):
            links[row].append(format_otlp.link(trace_id, span_id, fields))
        return events, links

    def otlp(self):
        """(resource, its schema URL, scope, its schema URL, span) of each span, as messages of OTLP, in the block's order."""
        resources, scopes = ([format_otlp.resource_or_scope(table, row) for row in self.fields(table, 0)] for table in (RESOURCE, SCOPE))
        for group in range(len(self.groups)):
            spans, fields = self.spans(group), self.fields(SPAN, group)
            events, links = self.inner(group, spans)
            for trace in self.traces(group):
                for row in trace.rows:
                    one = format_otlp.span(trace.id, spans[row], fields[row], events[row], links[row])
                    yield *resources[spans[row].resource], *scopes[spans[row].scope], one
