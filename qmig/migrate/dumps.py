"""Raw dumps of RAM blocks as a guest: a file for each block, its first byte at address 0."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any

from qmig.closing import Closing
from qmig.errors import SourceError, WriterError
from qmig.memory import RamBlock
from qmig.migrate.guest import NO_ENTRY_OFFSET, StaticGuest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    Pages = np.ndarray[Any, np.dtype[np.uint8]]

_MAX_NAME_LEN = 255  # idstr is a counted string with a length of one byte


class DumpGuest(Closing, StaticGuest):
    """A guest whose blocks are files. Holes in them are not read. Any thread may read pages.

    The files are read, not mapped: a mapped file counts as memory in use, kills the process when
    it is cut short or its disk fails, and is no faster (a copy into the same memory again and
    again stays in the cache, and where it comes from need not be mapped page by page).

    Args:
        paths: block name -> file, in the order of the block list.
        page_size_len: bytes of a target page.

    Raises:
        SourceError: a file cannot be opened, or is no file.
        WriterError: a file's length is no multiple of the page, or a name cannot be a block's.
    """

    def __init__(
        self, paths: Mapping[str, str | os.PathLike[str]], page_size_len: int = 4096
    ) -> None:
        self._files: list[_Dump] = []
        blocks = []
        try:
            for index, (name, path) in enumerate(paths.items()):
                _check_name(name)
                self._files.append(dump := _Dump(path))
                _check_length(dump, name, page_size_len)
                blocks.append(RamBlock(index, name, dump.length, NO_ENTRY_OFFSET))
        except (SourceError, WriterError):
            self.close()
            raise
        super().__init__(blocks, page_size_len)

    def read_pages(self, block: int, first: int, count: int) -> Pages:
        """Return pages as the file has them, a copy; read-only zeros where all is a hole.

        Raises:
            SourceError: the file cannot be read, or was cut short.
            ValueError: the pages are not all in the block.
        """
        self._check_range(block, first, count)
        size = self._page_size_len
        dump, begin, end = self._files[block], first * size, (first + count) * size
        if dump.next_data(begin) >= end:
            return self._zero_pages(count)
        pages = self._new_pages(count)
        buffer = pages.reshape(-1)
        done = begin
        for low, high in dump.data(begin, end):
            buffer[done - begin : low - begin] = 0
            dump.read_into(low, buffer[low - begin : high - begin].data)
            done = high
        buffer[done - begin :] = 0
        return pages

    def close(self) -> None:
        """Close the files."""
        for dump in self._files:
            dump.close()


class _Dump:
    """A file that is read at offsets, and whose holes are known."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        try:
            # Without O_NONBLOCK a pipe would be waited for, and then be refused.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot open: {_reason(error)}", path=self.path) from error
        mode = os.fstat(self._fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            os.close(self._fd)
            raise SourceError("is not a file or block device", path=self.path)
        self.length = os.lseek(self._fd, 0, os.SEEK_END)

    def next_data(self, offset: int) -> int:
        """Return the first offset from `offset` on that is not in a hole; the end if none is."""
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a file system or device that knows no holes
                return offset
        if os.fstat(self._fd).st_size < self.length:
            raise self._cut_short(os.fstat(self._fd).st_size)
        return self.length

    def data(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (begin, end) of what is not in holes."""
        while (begin := self.next_data(begin)) < end:
            try:
                behind = min(end, os.lseek(self._fd, begin, os.SEEK_HOLE))
            except OSError:
                behind = end
            yield begin, behind
            begin = behind

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise SourceError(
                    f"cannot read at 0x{offset + done:x}: {_reason(error)}", path=self.path
                ) from error
            if count == 0:
                raise self._cut_short(offset + done)
            done += count

    def _cut_short(self, end: int) -> SourceError:
        return SourceError(
            f"ends at 0x{end:x} now, and had {self.length} bytes when it was opened",
            path=self.path,
            hint="it was cut short while it was read",
        )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _check_length(dump: _Dump, name: str, page_size_len: int) -> None:
    if dump.length == 0 or dump.length % page_size_len:
        raise WriterError(
            f"{dump.path}: a length of {dump.length} bytes is no multiple of the page "
            f"({page_size_len} bytes), so this is not the whole of {name!r}"
        )


def _check_name(name: str) -> None:
    name_len = len(name.encode("utf-8", "surrogateescape"))
    if not 1 <= name_len <= _MAX_NAME_LEN:
        raise WriterError(f"a block's name has 1 to {_MAX_NAME_LEN} bytes, {name!r} has {name_len}")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
