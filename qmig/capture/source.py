"""Random-access bytes, as those of a file; errors name file and offset.

A `Source` numbers its bytes from 0: those of the file, or those that come out of a decompressor
or a pipe (`qmig.capture.forward_source`). `Cursor` reads it in order.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from qmig.closing import Closing
from qmig.errors import SourceError, StreamError, TruncatedStreamError
from qmig.limits import MIB

if TYPE_CHECKING:
    from qmig.capture.file_mapping import FileMapping

CHUNK_LEN: Final = MIB
SPAN_MIN_LEN: Final = 128 * 1024  # more than the longest page record, a name and 64 KiB
SPAN_LEN: Final = 4 * MIB
_CURSOR_CHUNK_LEN: Final = 64 * 1024


class Source(Closing, ABC):
    """Bytes at offsets.

    Attributes:
        name: the file's name as the user gave it, with its decompressor where there is one.
        seekable: whether every byte can be read at any time.
        failure: why the data ends where it ends, where a decompressor had to give up.
    """

    name: str
    seekable: bool = True
    failure: StreamError | None = None
    _span: tuple[bytes, int] = (b"", 0)

    @abstractmethod
    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes at `offset`; fewer only at the end of data.

        Raises:
            SourceError: the bytes cannot be read, or are no longer kept.
        """

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` with the bytes at `offset`.

        Returns:
            How many bytes there were; fewer than asked for only at the end of data.

        Raises:
            SourceError: as `read_at`.
        """
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @abstractmethod
    def end(self) -> int | None:
        """Return the offset behind the last byte, or None while that is not known."""

    def span(self, offset: int) -> tuple[mmap.mmap | bytes, int]:
        """Return a buffer around `offset`, and the offset of its first byte.

        It holds at least `SPAN_MIN_LEN` bytes from `offset` on, or all up to the end of data; it
        may be the whole file, mapped.
        """
        data, base = self._span
        if not base <= offset <= base + len(data) - SPAN_MIN_LEN:
            data, base = self._span = self.read_at(offset, SPAN_LEN), offset
        return data, base

    def mapped(self) -> FileMapping | None:
        """Return all bytes as a file mapped into memory; None where they are none."""
        return None

    def release(self, offset: int) -> None:  # most sources need not
        """Tell that nothing before `offset` will be asked for again."""


class FileSource(Source):
    """A regular file or a block device.

    Args:
        path: the file.

    Raises:
        SourceError: it cannot be opened, or is a directory, a socket or the like.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self._map: mmap.mmap | None = None
        self._mapping: FileMapping | None = None
        self._mappable = False
        self._released = 0
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot open: {_reason(error)}", path=self.name) from error
        try:
            self._end = self._measure()
        except SourceError:
            os.close(self._fd)
            raise

    def _measure(self) -> int:
        mode = os.fstat(self._fd).st_mode
        if stat.S_ISDIR(mode):
            raise SourceError(
                "is a directory", path=self.name, hint="give the files in it by their names"
            )
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise SourceError(
                "is not a file or block device",
                path=self.name,
                hint="a pipe can be read as standard input: qmig inspect - < PIPE",
            )
        try:
            end = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:  # files of /proc
            raise SourceError(
                f"has no end that can be looked for: {_reason(error)}",
                path=self.name,
            ) from error
        # A block device that cannot be read would kill a process that has it mapped.
        self._mappable = stat.S_ISREG(mode) and end > 0
        return end

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Source.read_at`."""
        length = min(length, self._end - offset)
        if length <= 0:
            return b""
        try:
            data = os.pread(self._fd, length, offset)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except (OSError, OverflowError) as error:
            raise self._unreadable(offset, error) from error
        return data

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """See `Source.read_into`."""
        done = 0
        try:
            while done < len(buffer):
                count = os.preadv(self._fd, [buffer[done:]], offset + done)
                if not count:
                    break
                done += count
        except (OSError, OverflowError) as error:
            raise self._unreadable(offset + done, error) from error
        return done

    def span(self, offset: int) -> tuple[mmap.mmap | bytes, int]:
        """Return the file mapped into memory, where it can be mapped."""
        self._try_to_map()
        if self._map is None:
            return super().span(offset)
        return self._map, 0

    def mapped(self) -> FileMapping | None:
        """See `Source.mapped`."""
        self._try_to_map()
        if self._mapping is None and self._map is not None:
            from qmig.capture.file_mapping import FileMapping

            self._mapping = FileMapping(self._map)
        return self._mapping

    def _try_to_map(self) -> None:
        if self._map is None and self._mappable:
            self._mappable = False
            with contextlib.suppress(OSError, ValueError):  # then it is read instead
                self._map = mmap.mmap(self._fd, self._end, prot=mmap.PROT_READ)

    def release(self, offset: int) -> None:
        """Give back the memory of mapped pages before `offset`; they can be read again."""
        end = offset & -mmap.PAGESIZE
        if self._map is not None and end != self._released:
            start = self._released if end > self._released else 0
            self._map.madvise(mmap.MADV_DONTNEED, start, end - start)
            self._released = end

    def end(self) -> int | None:
        """Return the length of the file."""
        return self._end

    def next_data(self, offset: int) -> int:
        """Return the first offset from `offset` on that is not in a hole; the end if none is."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except (OSError, OverflowError):  # behind the last data, or a file system without holes
            return self._end if self.read_at(offset, 1) == b"" else offset

    def next_hole(self, offset: int) -> int:
        """Return the first offset from `offset` on that is in a hole; the end if none is."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_HOLE)
        except (OSError, OverflowError):
            return self._end

    def close(self) -> None:
        """Close the file."""
        if self._mapping is not None:
            self._mapping.close()
            self._mapping = None
        if self._map is not None:
            with contextlib.suppress(BufferError):  # a thread still writes from it
                self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _unreadable(self, offset: int, error: Exception) -> SourceError:
        return SourceError(f"cannot read at 0x{offset:08x}: {_reason(error)}", path=self.name)


class Cursor:
    """A position in a source, read in order; what `qmig.wire.gate` reads records from.

    Args:
        source: where the bytes are.
        offset: where to start.
        limit: no byte at or behind this offset belongs to the reader (None: the source's end).
    """

    __slots__ = ("_base", "_chunk", "limit", "offset", "source")

    def __init__(self, source: Source, offset: int = 0, *, limit: int | None = None) -> None:
        self.source = source
        self.offset = offset
        self.limit = limit
        self._chunk = b""
        self._base = 0

    @property
    def name(self) -> str:
        """Name of the source, for errors."""
        return self.source.name

    def peek(self, length: int) -> bytes:
        """Return up to `length` bytes from here without moving; fewer at the end."""
        if self.limit is not None:
            length = max(0, min(length, self.limit - self.offset))
        at = self.offset - self._base
        if at < 0 or at + length > len(self._chunk):
            self._chunk = self.source.read_at(self.offset, max(length, _CURSOR_CHUNK_LEN))
            self._base = self.offset
            at = 0
        return self._chunk[at : at + length]

    def advance(self, length: int) -> None:
        """Move on."""
        self.offset += length

    def at_end(self) -> bool:
        """Tell whether no byte is left."""
        return not self.peek(1)

    def read_exact(self, length: int, *, what: str, field: str | None = None) -> bytes:
        """Return exactly `length` bytes and move on.

        Raises:
            TruncatedStreamError: fewer are left.
        """
        data = self.peek(length)
        if len(data) < length:
            raise self.truncated(length, len(data), what=what, field=field)
        self.offset += length
        return data

    def skip(self, length: int, *, what: str, field: str | None = None) -> None:
        """Move over `length` bytes that must be there, without reading them all.

        Raises:
            TruncatedStreamError: fewer are left.
        """
        target = self.offset + length
        end = self.source.end()
        if self.limit is not None:
            end = self.limit if end is None else min(end, self.limit)
        if end is None:  # a forward source: walk through it
            while self.offset < target:
                step = min(CHUNK_LEN, target - self.offset)
                self.read_exact(step, what=what, field=field)
                if length > CHUNK_LEN:  # the pages of a whole block, not those of one record
                    self.source.release(self.offset)
            return
        if target > end:
            raise self.truncated(length, max(0, end - self.offset), what=what, field=field)
        self.offset = target

    def truncated(
        self, wanted_len: int, available_len: int, *, what: str, field: str | None = None
    ) -> StreamError:
        """Return the error for data that ends inside a record at this position."""
        if self.source.failure is not None:
            return self.source.failure
        return TruncatedStreamError(
            path=self.name,
            offset=self.offset,
            record=what,
            field=field,
            wanted_len=wanted_len,
            available_len=available_len,
            hint="the file is cut short, or its save was not finished",
        )


def source_name(path: str | os.PathLike[str]) -> str:
    """Return a file's name for people; `-` is standard input."""
    name = os.fspath(path)
    return "standard input" if name == "-" else name


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
