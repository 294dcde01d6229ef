"""LiME images, which memory forensics tools read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.export.image import Literal, Memory, Segment
from qmig.wire.lime import LimeHeader

if TYPE_CHECKING:
    from qmig.export.layout import Layout


def lime_image(layout: Layout) -> tuple[list[Segment], int]:
    """Return the segments and the length of the LiME image of a layout."""
    segments: list[Segment] = []
    offset = 0
    for one in layout.ranges:
        header = LimeHeader(s_addr=one.start_addr, e_addr=one.end_addr - 1, reserved=0).build()
        segments.append(Literal(offset, header))
        offset += len(header)
        segments.append(Memory(offset, one.length, one.block, one.block_addr))
        offset += one.length
    return segments, offset
