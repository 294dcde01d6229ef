"""mapped-ram (called fixed-ram in its patches): pages at fixed offsets of the file.

Grammar, inside a block list entry of the `ram` START section::

    MappedRamHeader bitmap hole pages

Offsets count from byte 0 of the *file*, not of the stream. Sources: migration/ram.c
(mapped_ram_setup_ramblock, parse_ramblock_mapped_ram) of 9.0 to 11.1.
"""

from __future__ import annotations

from typing import Final

from construct import Int32ub, Int64ub

from qmig.wire.record import WireRecord, wire

MAPPED_RAM_HDR_VERSION: Final = 1
MAPPED_RAM_FILE_OFFSET_ALIGNMENT: Final = 0x100000
BITMAP_WORD_LEN: Final = 8  # bytes of an unsigned long on a 64-bit host


class MappedRamHeader(WireRecord):
    """Header of one block, packed, 28 bytes."""

    version: int = wire(Int32ub, "1; 10.0 accepts 0")
    page_size: int = wire(Int64ub, "target page size, bytes")
    bitmap_offset: int = wire(Int64ub, "file offset of the bitmap: the byte behind this header")
    pages_offset: int = wire(Int64ub, "file offset of page 0, a multiple of 1 MiB")


def bitmap_len(pages: int) -> int:
    """Return the bytes of a bitmap of `pages` bits, in whole 64-bit words."""
    return -(-pages // (8 * BITMAP_WORD_LEN)) * BITMAP_WORD_LEN


def pages_offset_behind(bitmap_end_offset: int) -> int:
    """Return where QEMU puts the pages: the next multiple of 1 MiB."""
    alignment = MAPPED_RAM_FILE_OFFSET_ALIGNMENT
    return -(-bitmap_end_offset // alignment) * alignment
