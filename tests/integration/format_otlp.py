"""Rows of a block's tables as OTLP messages, byte by byte (opentelemetry/proto/trace/v1/trace.proto): nothing is lost in a library on the way."""
import struct

SPAN, RESOURCE, SCOPE, EVENT, LINK = range(5)
TEXT, INT, DOUBLE, BOOL, ANY = range(5)
(STATUS_MESSAGE, TRACE_STATE, FLAGS, DROPPED_ATTRIBUTES, DROPPED_EVENTS, DROPPED_LINKS, HAS_STATUS, SCHEMA_URL, SCOPE_NAME, SCOPE_VERSION,
 UNKNOWN, ATTRIBUTE) = range(12)

# OTLP's numbers of what columns hold, by table.
NUMBERS = {SPAN: {TRACE_STATE: 3, ATTRIBUTE: 9, DROPPED_ATTRIBUTES: 10, DROPPED_EVENTS: 12, DROPPED_LINKS: 14, FLAGS: 16},
           RESOURCE: {ATTRIBUTE: 1, DROPPED_ATTRIBUTES: 2},
           SCOPE: {SCOPE_NAME: 1, SCOPE_VERSION: 2, ATTRIBUTE: 3, DROPPED_ATTRIBUTES: 4},
           EVENT: {ATTRIBUTE: 3, DROPPED_ATTRIBUTES: 4},
           LINK: {TRACE_STATE: 3, ATTRIBUTE: 4, DROPPED_ATTRIBUTES: 5, FLAGS: 6}}


VARINTS = [bytes([n]) for n in range(128)]  # most of them


def varint(n):
    if n < 128:
        return VARINTS[n]
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def number(field, value):
    return varint(field << 3) + varint(value & 2**64 - 1)


def fixed64(field, value):
    return varint(field << 3 | 1) + struct.pack("<Q", value)


def fixed32(field, value):
    return varint(field << 3 | 5) + struct.pack("<I", value)


def message(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def any_value(kind, value):
    if kind == TEXT:
        return message(1, value)
    if kind == BOOL:
        return number(2, value)
    if kind == INT:
        return number(3, value)
    return varint(4 << 3 | 1) + struct.pack("<d", value) if kind == DOUBLE else value


class Message:
    """Fields in any order, written by their numbers; what is zero or empty is not written, as in proto3."""

    def __init__(self):
        self.fields, self.unknown = {}, b""

    def put(self, field, write, value):
        if value:
            self.fields[field] = self.fields.get(field, b"") + write(field, value)
        return self

    def add(self, field, data):
        self.fields[field] = self.fields.get(field, b"") + message(field, data)

    def put_columns(self, table, row):
        """What a row has in columns; -> its status message (None: it has no status), its schema URL."""
        status, schema_url = None, b""
        for column, value in row:
            field = NUMBERS[table].get(column.field)
            if column.field == ATTRIBUTE:
                self.add(field, (message(1, column.key) if column.key else b"") + message(2, any_value(column.type, value)))
            elif column.field in (STATUS_MESSAGE, HAS_STATUS):
                status = (status or b"") + (value if column.field == STATUS_MESSAGE else b"")
            elif column.field == SCHEMA_URL:
                schema_url = value
            elif column.field == UNKNOWN:
                self.unknown += value
            else:
                self.put(field, message if column.type == TEXT else fixed32 if column.field == FLAGS else number, value)
        return status, schema_url

    def data(self):
        return b"".join(self.fields[k] for k in sorted(self.fields)) + self.unknown


def resource_or_scope(table, row):
    """-> the message, its schema URL"""
    made = Message()
    _, schema_url = made.put_columns(table, row)
    return made.data(), schema_url


def event(time, name, row):
    made = Message().put(1, fixed64, time).put(2, message, name)
    made.put_columns(EVENT, row)
    return made.data()


def link(trace_id, span_id, row):
    made = Message().put(1, message, trace_id.strip(b"\0") and trace_id).put(2, message, span_id.strip(b"\0") and span_id)
    made.put_columns(LINK, row)
    return made.data()


def span(trace_id, one, row, events, links):
    made = Message().put(1, message, trace_id).put(2, message, one.id).put(4, message, one.parent).put(5, message, one.name).put(6, number, one.kind)
    made.put(7, fixed64, one.start).put(8, fixed64, one.end)
    text, _ = made.put_columns(SPAN, row)
    for field, inner in ((11, events), (13, links)):
        for each in inner:
            made.add(field, each)
    if text is not None or one.status:
        made.add(15, Message().put(2, message, text).put(3, number, one.status).data())
    return made.data()


def traces_data(rows):
    """(resource, its schema URL, scope, its schema URL, span) each, all messages -> TracesData: runs of one resource, of one scope stand together."""
    out, resource_spans, scope_spans, before = b"", None, None, None
    for resource, resource_url, scope, scope_url, one in rows:
        if before != (resource, resource_url, scope, scope_url):
            if before is not None:
                resource_spans.add(2, scope_spans.data())
            if before is None or before[:2] != (resource, resource_url):
                out += message(1, resource_spans.data()) if resource_spans else b""
                resource_spans = Message().put(1, message, resource).put(3, message, resource_url)
            scope_spans = Message().put(1, message, scope).put(3, message, scope_url)
            before = resource, resource_url, scope, scope_url
        scope_spans.add(2, one)
    if before is not None:
        resource_spans.add(2, scope_spans.data())
        out += message(1, resource_spans.data())
    return out
