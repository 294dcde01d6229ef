"""Find the target page size by trying, where nothing in the stream tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.extent import FOOTER_LEN
from qmig.capture.page_size import LEGAL_PAGE_SIZES, PageSize
from qmig.capture.ram import PageRecordReader
from qmig.capture.records import PageBatch
from qmig.capture.source import Cursor
from qmig.errors import StreamError
from qmig.wire.framing import PartHead, QemuVmSection
from qmig.wire.gate import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import RamBlock

_PROBE_RECORDS: Final = 8


def probed_page_size(cursor: Cursor, blocks: Sequence[RamBlock], guess: PageSize) -> PageSize:
    """Try a guess on the first page records, then the other sizes.

    Args:
        cursor: at the first word of a `ram` section behind the block list; it is not moved.
        blocks: the block list.
        guess: what the machine type makes likely; returned where no size fits.
    """
    if _walks_with(cursor, blocks, guess.length):
        return guess
    for length in LEGAL_PAGE_SIZES:
        if length != guess.length and _walks_with(cursor, blocks, length):
            return PageSize(length, "page records")
    return guess


def _walks_with(cursor: Cursor, blocks: Sequence[RamBlock], page_size_len: int) -> bool:
    """Tell whether the first PART that has records can be walked with this page size."""
    probe = PageRecordReader(blocks, page_size_len, mapped=False)
    ahead = Cursor(cursor.source, cursor.offset, limit=cursor.limit)
    records = 0
    try:
        while records < _PROBE_RECORDS:
            for item in probe.read(ahead, careful=True):
                records += isinstance(item, PageBatch)
                if records >= _PROBE_RECORDS:
                    return True
            if ahead.peek(FOOTER_LEN)[:1] == bytes([QemuVmSection.SECTION_FOOTER]):
                ahead.advance(FOOTER_LEN)
            if ahead.peek(1) != bytes([QemuVmSection.SECTION_PART]):
                return True
            read_record(ahead, PartHead, what="section header")
    except StreamError as error:
        return error.offset >= (cursor.source.end() or 0)
    return True
