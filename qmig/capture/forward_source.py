"""Bytes that come once and in order, from a pipe or a decompressor; what is needed is kept."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Final

from qmig.capture.source import CHUNK_LEN, Source
from qmig.errors import SourceError, StreamError
from qmig.limits import RETAINED_IN_MEMORY_LEN

if TYPE_CHECKING:
    from collections.abc import Iterator

_ZEROS: Final = bytes(64 * 1024)


class ForwardSource(Source):
    """Bytes that come once, in order: a pipe or a decompressor.

    Args:
        chunks: the bytes; a `StreamError` that it raises ends the data and becomes `failure`.
        name: for errors.
        keep_all: keep every byte (in a temporary file), so that the source is seekable.
    """

    def __init__(self, chunks: Iterator[bytes], *, name: str, keep_all: bool = False) -> None:
        self.name = name
        self.seekable = keep_all
        self._chunks = chunks
        self._keep = _Retained()
        self._ended = False
        import threading

        self._lock = threading.Lock()  # RAM is read by several threads when it is saved

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Source.read_at`."""
        with self._lock:
            if offset < self._keep.start:
                raise SourceError(
                    f"byte 0x{offset:08x} has gone by and is not kept",
                    path=self.name,
                    hint="save the data to a file and read that",
                )
            self._pull(offset + length)
            return self._keep.read(offset, length)

    def _pull(self, upto: int) -> None:
        while self._keep.end < upto and not self._ended:
            try:
                self._keep.append(next(self._chunks))
            except StopIteration:
                self._ended = True
            except StreamError as error:  # what came before it is still good
                self._ended = True
                self.failure = error

    def end(self) -> int | None:
        """Return the offset behind the last byte once it has been reached."""
        return self._keep.end if self._ended else None

    def release(self, offset: int) -> None:
        """Forget what is before `offset`, unless everything is kept."""
        if not self.seekable:
            with self._lock:
                self._pull(offset)
                self._keep.release(offset)

    def close(self) -> None:
        """Give back the temporary file, and stop the producer."""
        self._keep.close()
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()


class _Retained:
    """A range of bytes that grows at its end and shrinks at its start.

    Up to `RETAINED_IN_MEMORY_LEN` it stays in memory; then it moves to a temporary file, with
    holes where it is zero.
    """

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self._memory = bytearray()  # bytes [start, end) while there is no file
        self._file: IO[bytes] | None = None  # byte n at file position n - _file_base
        self._file_base = 0

    def append(self, data: bytes) -> None:
        try:
            if self._file is None and self.end - self.start > RETAINED_IN_MEMORY_LEN:
                self._move_to_file()
            if self._file is not None:
                self._write(self.end, data)
            else:
                self._memory += data
        except OSError as error:
            raise SourceError(
                f"cannot keep what was decompressed or came through a pipe: {error.strerror}",
                path="temporary file",
                hint="TMPDIR names the folder for it; make room there, or name another",
            ) from error
        self.end += len(data)

    def _move_to_file(self) -> None:
        import tempfile

        self._file = tempfile.TemporaryFile(prefix="qmig-")  # noqa: SIM115  # open for longer
        self._file_base = self.start
        self._write(self.start, bytes(self._memory))
        self._memory.clear()

    def _write(self, offset: int, data: bytes) -> None:
        if self._file is None:
            return
        fd = self._file.fileno()
        position = offset - self._file_base
        step = len(_ZEROS)
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            if piece != _ZEROS[: len(piece)]:
                _pwrite_all(fd, piece, position + at)
        os.ftruncate(fd, position + len(data))

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.end - offset))
        if self._file is not None:
            return os.pread(self._file.fileno(), length, offset - self._file_base)
        at = offset - self.start
        return bytes(self._memory[at : at + length])

    def release(self, offset: int) -> None:
        offset = min(offset, self.end)
        if offset <= self.start:
            return
        if self._file is None:
            del self._memory[: offset - self.start]
        elif offset == self.end:
            self._file.close()
            self._file = None
        self.start = offset

    def close(self) -> None:
        self._memory.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


def iter_file(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield what a pipe gives, in pieces as they come.

    Raises:
        SourceError: it is no pipe or file, or its bytes cannot be had.
    """
    try:
        while data := os.read(stream.fileno(), CHUNK_LEN):
            yield data
    except OSError as error:
        raise SourceError(f"cannot read: {error.strerror}", path="standard input") from error


def _pwrite_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view = view[count:]
        offset += count
