"""Find the target page size by trying, where nothing in the stream tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.extent import FOOTER_LEN
from qmig.capture.page_size import LEGAL_PAGE_SIZES, PageSize
from qmig.capture.ram import PageRecordReader
from qmig.capture.records import PageBatch
from qmig.capture.source import Cursor, Source
from qmig.errors import StreamError
from qmig.limits import MIB
from qmig.wire.framing import PartHead, QemuVmSection
from qmig.wire.gate import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import RamBlock

_PROBE_LEN: Final = MIB
# Where the data ends inside a page, a part of it is a whole page of a smaller size.
_MOST_OF_A_CUT: Final = 1
_CONTINUING: Final = (bytes([QemuVmSection.SECTION_PART]), bytes([QemuVmSection.SECTION_END]))


class _Window(Source):
    """Bytes of another source, read once and at the same offsets, so that it stays as it is."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self.name = source.name
        self.data = source.read_at(offset, length)
        self.base = offset

    def read_at(self, offset: int, length: int) -> bytes:
        """See `Source.read_at`."""
        return self.data[offset - self.base : offset - self.base + length]

    def end(self) -> int | None:
        """Return where the window ends."""
        return self.base + len(self.data)


def probed_page_size(cursor: Cursor, blocks: Sequence[RamBlock], guess: PageSize) -> PageSize:
    """Find the page size with which most records ahead can be read.

    A size above the true one soon meets an address that is no multiple of it, or passes over
    records in its first page; one below it meets a page that does not end where the next record
    begins. Where several find as many, because there are too few records or none with a page, the
    guess is taken, or else the largest. How far one gets does not count: a page that is too large
    reaches over damage.

    Args:
        cursor: at the first word of a `ram` section behind the block list; it is not moved.
        blocks: the block list.
        guess: what the machine type makes likely.
    """
    length = _PROBE_LEN if cursor.limit is None else min(_PROBE_LEN, cursor.limit - cursor.offset)
    window = _Window(cursor.source, cursor.offset, length)
    found = {size: _records(window, blocks, size) for size in LEGAL_PAGE_SIZES}
    most = max(found.values())
    best = max(size for size in found if found[size] == most)
    cut = _MOST_OF_A_CUT if best < guess.length else 0
    if found[guess.length] >= most - cut:
        return guess
    return PageSize(best, "page records")


def _records(window: _Window, blocks: Sequence[RamBlock], page_size_len: int) -> int:
    """Return how many page records can be read with this page size."""
    reader = PageRecordReader(blocks, page_size_len, mapped=False, exact=True)
    cursor = Cursor(window, window.base)
    records = 0
    try:
        while True:
            for item in reader.read(cursor):
                if isinstance(item, PageBatch):
                    records += sum(run.count for run in item.runs)
            if cursor.peek(1) == bytes([QemuVmSection.SECTION_FOOTER]):
                cursor.read_exact(FOOTER_LEN, what="section footer")
            if cursor.peek(1) not in _CONTINUING:
                return records
            read_record(cursor, PartHead, what="section header")
    except StreamError:
        return records
