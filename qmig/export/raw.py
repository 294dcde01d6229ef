"""One image of guest-physical memory: each byte at the offset that is its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.errors import WriterError
from qmig.export.image import Memory
from qmig.export.layout import part

if TYPE_CHECKING:
    from qmig.export.layout import Layout
    from qmig.memory import RamBlock


def raw_image(layout: Layout) -> tuple[list[Memory], int]:
    """Return the segments and the length of the image of a whole layout."""
    segments = [
        Memory(one.start_addr, one.length, one.block, one.block_addr) for one in layout.ranges
    ]
    return segments, layout.ranges[-1].end_addr if layout.ranges else 0


def raw_range(layout: Layout, start: int, length: int) -> tuple[list[Memory], int]:
    """Return the segments and the length of the image of some guest-physical addresses.

    Raises:
        WriterError: some of them show no RAM.
    """
    end = start + length
    segments = []
    at = start
    for one in layout.ranges:
        low, high = max(one.start_addr, start), min(one.end_addr, end)
        if low >= high:
            continue
        if low > at:
            break
        shown = part(one, low, high)
        segments.append(Memory(low - start, high - low, shown.block, shown.block_addr))
        at = high
    if at < end:
        why = next(
            (f": {one.why}" for one in layout.hidden if 0 <= at - one.start_addr < one.length), ""
        )
        raise WriterError(f"guest-physical address 0x{at:x} of --range shows no RAM{why}")
    return segments, length


def raw_block(block: RamBlock, start: int, length: int | None) -> tuple[list[Memory], int]:
    """Return the segments and the length of the image of one block, or of a range of it.

    Raises:
        WriterError: the range does not lie in the block.
    """
    wanted = block.used_length - start if length is None else length
    if start + wanted > block.used_length or wanted < 0:
        raise WriterError(
            f"--range 0x{start:x}:0x{wanted:x} does not lie in RAM block {block.name!r}, which has "
            f"0x{block.used_length:x} bytes"
        )
    return [Memory(0, wanted, block.name, start)], wanted
