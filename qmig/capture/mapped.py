"""Counts over the bitmaps of a mapped-ram file, without reading its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.source import FileSource
from qmig.errors import TruncatedStreamError
from qmig.limits import MIB

if TYPE_CHECKING:
    from qmig.capture.source import Source
    from qmig.memory import MappedLayout, RamBlock

_PIECE_LEN: Final = 256 * 1024
_OFF_T_END: Final = 1 << 63
_LOAD_LEN: Final = MIB  # what QEMU reads of a run of pages at a time (MAPPED_RAM_LOAD_BUF_SIZE)


def count_set_pages(source: Source, layout: MappedLayout, pages: int) -> int:
    """Return how many pages of a block have their bit set.

    Bits behind the last page do not count.

    Args:
        source: the file; seekable.
        layout: where the bitmap is.
        pages: number of pages of the block.

    Raises:
        SourceError: the bitmap cannot be read.
        TruncatedStreamError: the file ends inside it.
    """
    wanted_len = -(-pages // 8)
    start = layout.header.bitmap_offset
    count = done = 0
    while done < wanted_len:
        piece = source.read_at(start + done, min(_PIECE_LEN, wanted_len - done))
        if not piece:
            raise TruncatedStreamError(
                path=source.name,
                offset=start,
                record="mapped-ram bitmap",
                wanted_len=wanted_len,
                available_len=done,
            )
        done += len(piece)
        bits = int.from_bytes(piece, "little")
        if done == wanted_len and pages % 8:
            bits &= (1 << (len(piece) * 8 - 8 + pages % 8)) - 1
        count += bits.bit_count()
    return count


def first_lost_pages(
    source: Source, layout: MappedLayout, block: RamBlock, end: int
) -> dict[str, int | str] | None:
    """Return the first pages with their bit set that a file does not hold, as QEMU reads them.

    It reads each run of set bits by the MiB (migration/ram.c read_ramblock_mapped_ram, 10.0).

    Args:
        source: the file; seekable.
        layout: where bitmap and pages are.
        block: the block.
        end: where the file ends.

    Returns:
        Name of the block, addr of the first page, its offset in the file, and what QEMU says of
        the read; None where all pages are there.
    """
    size = layout.header.page_size
    if not 0 < size <= _LOAD_LEN:
        return None
    pages = block.used_length // size
    there = min(pages, max(0, (end - layout.header.pages_offset) // size))
    step = _LOAD_LEN // size
    # The run that the end lies in may begin before it, and is read in steps from there.
    run = _run_before(source, layout, there)
    first = run + (there - run) // step * step
    if not _bit(source, layout, there):
        first = next_set_page(source, layout, there, pages)
        if first < 0:
            return None
    wanted = 1
    while wanted < min(step, pages - first) and _bit(source, layout, first + wanted):
        wanted += 1
    offset = layout.header.pages_offset + first * size
    return {
        "block": block.name,
        "addr": first * size,
        "offset": offset,
        "says": (
            f"Partial read of size {max(0, end - offset)}, expected {wanted * size}"
            if offset < _OFF_T_END
            else "Unable to read from file: Invalid argument"
        ),
    }


def _bit(source: Source, layout: MappedLayout, page: int) -> bool:
    data = source.read_at(layout.header.bitmap_offset + page // 8, 1)
    return bool(data) and bool(data[0] >> page % 8 & 1)


def _run_before(source: Source, layout: MappedLayout, page: int) -> int:
    """Return the first page of the run of set bits that ends before `page`."""
    while page:
        low = max(0, (page - 1) // 8 - _PIECE_LEN)
        data = source.read_at(layout.header.bitmap_offset + low, -(-page // 8) - low)
        bits = ~int.from_bytes(data, "little") & ((1 << (page - low * 8)) - 1)
        if bits:
            return low * 8 + bits.bit_length()
        page = low * 8
    return 0


def next_set_page(source: Source, layout: MappedLayout, page: int, pages: int) -> int:
    """Return the first page from `page` on whose bit is set; -1 if none is."""
    while page < pages:
        if isinstance(source, FileSource):  # a hole holds no bit
            data_at = source.next_data(layout.header.bitmap_offset + page // 8)
            page = max(page, (data_at - layout.header.bitmap_offset) * 8)
        low = page // 8
        data = source.read_at(layout.header.bitmap_offset + low, _PIECE_LEN)
        if not data:
            break
        bits = int.from_bytes(data, "little") >> (page - low * 8) << (page - low * 8)
        if bits:
            found = low * 8 + (bits & -bits).bit_length() - 1
            return found if found < pages else -1
        page = (low + len(data)) * 8
    return -1
