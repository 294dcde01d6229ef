"""The channel of postcopy-preempt (7.1): page records and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.capture.ram import PageRecordReader
from qmig.capture.records import NOT_READ, Opaque, PageBatch, Record
from qmig.capture.source import Cursor
from qmig.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.source import Source
    from qmig.capture.stream import StreamWalk


class PreemptWalk:
    """Walks over a preempt channel.

    Args:
        source: where it is.
        offset: where it begins.
        main: the finished walk over the main stream, which has the block list.
        exact: see `PageRecordReader`.

    Attributes:
        error: why the walk stopped before the end.
    """

    def __init__(
        self, source: Source, offset: int, main: StreamWalk, *, exact: bool = False
    ) -> None:
        self.source = source
        self.start_offset = offset
        self.error: StreamError | None = None
        self._main = main
        self._exact = exact

    def records(self) -> Iterator[Record | PageBatch]:
        """Yield every byte of the channel under a name."""
        size = self._main.page_size.length if self._main.page_size else DEFAULT_PAGE_SIZE_LEN
        reader = PageRecordReader(self._main.blocks, size, mapped=False, exact=self._exact)
        covered = self.start_offset
        try:
            for item in reader.read(Cursor(self.source, self.start_offset), bare=True):
                covered = item.offset + item.length
                yield item
        except StreamError as error:
            self.error = error
            end = self.source.end()
            if end is not None and end > covered:
                yield Opaque(covered, end - covered, NOT_READ, extent="damage")
