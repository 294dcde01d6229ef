"""Parse records from a reader: the one place where construct's errors become ours.

A record is read in two steps where it has counted fields: each length is read and held against
its ceiling first, then exactly the bytes that the record needs are asked for. So truncation and
absurd lengths are reported before anything is allocated, with their absolute offset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from construct import ConstructError

from qmig.errors import LimitExceededError, MalformedStreamError
from qmig.wire.record import Counted, WireRecord, field_table, fixed_len, has_counted, plain

if TYPE_CHECKING:
    from construct import Construct

    from qmig.errors import StreamError

R = TypeVar("R", bound=WireRecord)


class RecordReader(Protocol):
    """What the gate needs of a reader: bytes at a position that it knows."""

    @property
    def name(self) -> str:
        """Name of the file, for errors."""

    @property
    def offset(self) -> int:
        """Absolute byte offset of the next byte."""

    def peek(self, length: int) -> bytes:
        """Return up to `length` bytes from here without moving; fewer at the end of data."""

    def advance(self, length: int) -> None:
        """Move on over bytes that `peek` has returned."""

    def truncated(self, wanted_len: int, available_len: int, *, what: str) -> StreamError:
        """Return the error for data that ends inside a record at this position."""


def read_record(reader: RecordReader, record: type[R], *, what: str) -> R:
    """Read one record at the reader's position and move behind it.

    Args:
        reader: where to read from.
        record: the record's class.
        what: the record in words, for errors ("section header", "multifd ch1 packet 7").

    Raises:
        TruncatedStreamError: the data ends inside the record.
        LimitExceededError: a counted field is longer than its ceiling.
        MalformedStreamError: a magic number is not the one that stands there.
    """
    start = reader.offset
    length = _record_len(reader, record, what)
    data = reader.peek(length)
    if len(data) < length:
        raise reader.truncated(length, len(data), what=what)
    try:
        parsed = record.parse(data)
    except ConstructError as error:
        field, offset, length = _locate(record, error)
        raise MalformedStreamError(
            path=reader.name,
            offset=start + offset,
            record=what,
            field=field,
            expected=_expected(record, field),
            found=spaced_hex(data[offset : offset + length]),
        ) from error
    reader.advance(len(data))
    return parsed


def spaced_hex(data: bytes, *, most: int = 16) -> str:
    """Return bytes as text for an error line: `00 11 22`, cut after `most`."""
    if not data:
        return "nothing"
    return data[:most].hex(" ") + (" ..." if len(data) > most else "")


def _record_len(reader: RecordReader, record: type[WireRecord], what: str) -> int:
    if not has_counted(record):
        return fixed_len(record)
    length = 0
    for subcon in record.SCHEMA.subcons:
        counted = plain(subcon)
        if not isinstance(counted, Counted):
            length += int(subcon.sizeof())
            continue
        head_len = int(counted.lengthfield.sizeof())
        head = reader.peek(length + head_len)[length:]
        if len(head) < head_len:
            return length + head_len
        count = int.from_bytes(head, "big")
        if count > counted.max_len:
            raise LimitExceededError(
                path=reader.name,
                offset=reader.offset + length,
                record=what,
                field=f"length of {subcon.name}",
                expected=f"at most {counted.max_len}",
                found=str(count),
            )
        length += head_len + count
    return length


def _locate(record: type[WireRecord], error: ConstructError) -> tuple[str, int, int]:
    field = str(error.path or "").split(" -> ")[-1].strip()
    offset, length = field_table(record).get(field, (0, 1))
    return field, offset, length


def _expected(record: type[WireRecord], field: str) -> str:
    subcon: Construct | None = next((s for s in record.SCHEMA.subcons if s.name == field), None)
    value = getattr(subcon.subcon, "value", None) if subcon is not None else None
    if isinstance(value, int):
        return f"0x{value:x}"
    return repr(value) if value is not None else "a valid value"
