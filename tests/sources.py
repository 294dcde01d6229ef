"""Sources of bytes for tests: in memory, in pieces, or a file with some bytes changed."""

from collections.abc import Iterator, Mapping

from qmig.capture.forward_source import ForwardSource
from qmig.capture.source import Source


class BytesSource(Source):
    """Bytes in memory.

    Args:
        data: the bytes.
        name: for errors.
    """

    def __init__(self, data: bytes, *, name: str = "memory") -> None:
        self.name = name
        self.data = data
        self.highest_read = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Source.read_at`."""
        self.highest_read = max(self.highest_read, min(offset + length, len(self.data)))
        return self.data[offset : offset + length]

    def end(self) -> int | None:
        """Return the length of the data."""
        return len(self.data)


class OverlaySource(Source):
    """Another source, cut short and with some bytes changed.

    Args:
        inner: the source below; it is closed by whoever opened it.
        cut: the length to end at, None for the whole.
        changed: offset -> the byte that stands there instead.
    """

    def __init__(
        self, inner: Source, *, cut: int | None = None, changed: Mapping[int, int] | None = None
    ) -> None:
        self.name = inner.name
        self._inner = inner
        whole = inner.end()
        if whole is None:
            raise ValueError("the length of the source below must be known")
        self._end = whole if cut is None else min(cut, whole)
        self._changed = dict(changed or {})

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Source.read_at`."""
        length = min(length, self._end - offset)
        if length <= 0:
            return b""
        data = self._inner.read_at(offset, length)
        hits = [at for at in self._changed if offset <= at < offset + len(data)]
        if hits:
            patched = bytearray(data)
            for at in hits:
                patched[at - offset] = self._changed[at]
            data = bytes(patched)
        return data

    def end(self) -> int | None:
        """Return where the data is cut."""
        return self._end


def in_pieces(data: bytes, piece_len: int) -> Iterator[bytes]:
    """Yield data in pieces of one length."""
    for at in range(0, len(data), piece_len):
        yield data[at : at + piece_len]


def forward_source(data: bytes, piece_len: int, *, keep_all: bool = False) -> ForwardSource:
    """Return a source that gives the data once, in pieces of one length."""
    return ForwardSource(in_pieces(data, piece_len), name="pipe", keep_all=keep_all)
