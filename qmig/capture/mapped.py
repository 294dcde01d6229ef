"""Counts over the bitmaps of a mapped-ram file, without reading its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.errors import TruncatedStreamError

if TYPE_CHECKING:
    from qmig.capture.source import Source
    from qmig.memory import MappedLayout

_PIECE_LEN: Final = 256 * 1024


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
