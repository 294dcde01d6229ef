"""What qmig raises, and nothing else leaves the public API for bad data.

::

    QmigError
    ├── FileError                about a file as a whole
    │   ├── SourceError            cannot open, read or seek; or not a file qmig knows
    │   └── OutputError            cannot open, write, sync or put in place an output
    │       ├── OutputRefusedError   not a place to write to, or not without leave: wrong usage
    │       └── OutputClosedError    who read it is gone: nothing to tell the user
    ├── StreamError              something is wrong at a byte
    │   ├── TruncatedStreamError   the data ends inside a record
    │   ├── MalformedStreamError   a value that the format does not allow
    │   │   └── LimitExceededError   a length or count above qmig.limits
    │   └── UnsupportedStreamError legal, but not handled: never skipped in silence
    ├── MissingPagesError        the capture does not hold these pages
    └── WriterError              asked to write what the format cannot express

The text of each is one line: file, byte offset, record, field, expected, found, what to do.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qmig.faults import Fault


class QmigError(Exception):
    """Base of all errors of qmig; its text is one line for people."""


class FileError(QmigError):
    """Something is the matter with a file as a whole.

    Attributes:
        path: the name of the file as the user gave it.
        reason: what is the matter.
        hint: what the user can do, or None.
    """

    def __init__(self, reason: str, *, path: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        return join_hint(f"{self.path}: {self.reason}", self.hint)


class SourceError(FileError):
    """A file cannot be opened, read or positioned, or is of another kind."""


class StreamError(QmigError):
    """Something is wrong with a stream, at a byte.

    Attributes:
        path: name of the file (with its decompressor where there is one).
        offset: byte offset in that file, or in the data that its decompressor gives.
        record: the record that was being read, in words.
        field: the field in it, under QEMU's name, or None.
        expected: what the format wants there.
        found: what stood there.
        hint: what the user can do, or None.
        fault: the cause, by the name that a rule knows it by; None where no rule does.
        values: what the message of a QEMU about it is made from.
    """

    def __init__(
        self,
        *,
        offset: int,
        record: str,
        expected: str,
        found: str,
        field: str | None = None,
        path: str | None = None,
        hint: str | None = None,
        fault: Fault | None = None,
        values: Mapping[str, int | str] | None = None,
    ) -> None:
        super().__init__(record)
        self.fault = fault
        self.values = values or {}
        self.path = path
        self.offset = offset
        self.record = record
        self.field = field
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        what = f"{self.record}: {self.field}" if self.field else self.record
        line = f"{where}0x{self.offset:08x} {what}: expected {self.expected}, found {self.found}"
        return join_hint(line, self.hint)


class TruncatedStreamError(StreamError):
    """The data ends inside a record.

    Attributes:
        wanted_len: bytes that the record needs at `offset`.
        available_len: bytes that are there.
    """

    def __init__(
        self,
        *,
        offset: int,
        record: str,
        wanted_len: int,
        available_len: int,
        field: str | None = None,
        path: str | None = None,
        hint: str | None = None,
        fault: Fault | None = None,
        values: Mapping[str, int | str] | None = None,
    ) -> None:
        super().__init__(
            offset=offset,
            record=record,
            field=field,
            path=path,
            expected=f"{wanted_len} bytes",
            found=f"end of data after {available_len}",
            hint=hint,
            fault=fault,
            values=values,
        )
        self.wanted_len = wanted_len
        self.available_len = available_len


class MalformedStreamError(StreamError):
    """A value that the format does not allow."""


class LimitExceededError(MalformedStreamError):
    """A length or a count is above its ceiling in `qmig.limits`; raised before it is believed."""


class UnsupportedStreamError(StreamError):
    """Legal in a stream, but not handled by qmig."""


class MissingPagesError(QmigError):
    """The capture does not hold these pages of a block.

    Attributes:
        block: name of the RAM block.
        addr: first byte in the block that is not there.
        length: how many bytes from there are not there.
        reason: why, as far as the capture tells.
    """

    def __init__(self, *, block: str, addr: int, length: int, reason: str) -> None:
        super().__init__(reason)
        self.block = block
        self.addr = addr
        self.length = length
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"RAM block {self.block!r}: {self.length} bytes at 0x{self.addr:x} are not in the "
            f"capture: {self.reason}"
        )


class WriterError(QmigError):
    """Asked to write something that the format cannot express."""

    def __str__(self) -> str:
        return join_hint(super().__str__(), None)


class OutputError(FileError):
    """An output cannot be opened, written, synced or put in place."""


class OutputRefusedError(OutputError):
    """What was named is no place to write to, or would be overwritten without leave."""


class OutputClosedError(OutputError):
    """Who read the output has closed it (a pipe into `head`): a reason to stop, not to complain."""


def printed_int(value: int) -> int:
    """Return 32 bits as C's `%d` prints them, which QEMU's messages use for unsigned fields too."""
    return value - (1 << 32) if value >= 1 << 31 else value


def join_hint(line: str, hint: str | None) -> str:
    """Append a hint to an error line, where there is one; names from a stream become harmless."""
    whole = f"{line}; {hint}" if hint else line
    if whole.isprintable():
        return whole
    from qmig.escape import harmless

    return harmless(whole)


@contextmanager
def naming_cut(fault: Fault, **values: int | str) -> Iterator[None]:
    """Give the end of data inside this context its cause, where it has none yet."""
    try:
        yield
    except TruncatedStreamError as error:
        if error.fault is None:
            error.fault, error.values = fault, values
        raise
