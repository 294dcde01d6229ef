"""The bytes of one device section, read in order; every error names its byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.devices.tree import Blob
from qmig.errors import MalformedStreamError, StreamError, TruncatedStreamError
from qmig.limits import KIB

if TYPE_CHECKING:
    from qmig.capture.source import Source

_WINDOW_LEN: Final = 256 * KIB
_MOST_IN_MEMORY_LEN: Final = 64 * KIB


class Body:
    """Reads a section's body from its first byte to its last.

    Args:
        source: where it is.
        offset: its first byte.
        length: its bytes.
        device: its device in words, for errors.

    Attributes:
        offset: of the next byte.
        end: behind the last byte.
        name: name of the file, for errors.
        device: its device in words, for errors.
    """

    def __init__(self, source: Source, offset: int, length: int, device: str) -> None:
        self.offset = offset
        self.end = offset + length
        self.name = source.name
        self._source = source
        self.device = device
        self._window = b""
        self._window_offset = offset

    @property
    def left(self) -> int:
        """Bytes from here to the end."""
        return self.end - self.offset

    def take(self, length: int, what: str) -> bytes:
        """Return the next bytes, which are few, and move behind them.

        Raises:
            MalformedStreamError: the section ends before.
            TruncatedStreamError: the data ends before.
        """
        self.need(length, what)
        at = self.offset - self._window_offset
        if at < 0 or at + length > len(self._window):
            wanted = min(max(length, _WINDOW_LEN), self.left)
            self._window = self._source.read_at(self.offset, wanted)
            self._window_offset, at = self.offset, 0
            if len(self._window) < length:
                raise self.truncated(length, len(self._window), what=self._of(what))
        self.offset += length
        return self._window[at : at + length]

    def blob(self, length: int, what: str) -> bytes | Blob:
        """Return the next bytes, or, where they are many, what reads them later."""
        self.need(length, what)
        if length <= _MOST_IN_MEMORY_LEN:
            return self.take(length, what)
        blob = Blob(self._source, self.offset, length)
        self.offset += length
        return blob

    def need(self, length: int, what: str) -> None:
        """Check that the section has as many bytes more.

        Raises:
            MalformedStreamError: it has not.
        """
        if length > self.left:
            raise self.wrong(
                self.offset,
                what,
                expected=_bytes(length),
                found=f"{_bytes(self.left)} to the end of the section",
            )

    def wrong(self, offset: int, what: str, *, expected: str, found: str) -> StreamError:
        """Return the error for something at `offset`."""
        return MalformedStreamError(
            path=self.name,
            offset=offset,
            record=self.device,
            field=what or None,
            expected=expected,
            found=found,
        )

    # -- what `qmig.wire.gate` asks of a reader ---------------------------------------------------

    def peek(self, length: int) -> bytes:
        """Return up to `length` of the next bytes without moving."""
        start = self.offset
        data = self.take(min(length, self.left), "")
        self.offset = start
        return data

    def advance(self, length: int) -> None:
        """Move on over bytes that `peek` has returned."""
        self.offset += length

    def truncated(self, wanted_len: int, available_len: int, *, what: str) -> StreamError:
        """Return the error for data that ends inside a record."""
        return TruncatedStreamError(
            path=self.name,
            offset=self.offset,
            record=what,
            wanted_len=wanted_len,
            available_len=available_len,
        )

    def _of(self, what: str) -> str:
        return f"{self.device}: {what}" if what else self.device


def _bytes(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"
