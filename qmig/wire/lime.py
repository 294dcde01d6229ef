"""LiME images: memory as ranges of physical addresses, each behind a header; little-endian.

The format is that of the Linux Memory Extractor, version 1. A range's bytes stand behind its
header, and its last address counts to it.
"""

from __future__ import annotations

from typing import Final

from construct import Int32ul, Int64ul

from qmig.wire.record import WireRecord, constant, wire

LIME_MAGIC: Final = 0x4C694D45  # EMiL
LIME_VERSION: Final = 1


class LimeHeader(WireRecord):
    """In front of each range."""

    magic: int = constant(LIME_MAGIC, Int32ul, "EMiL")
    version: int = constant(LIME_VERSION, Int32ul, "version of the format")
    s_addr: int = wire(Int64ul, "first physical address")
    e_addr: int = wire(Int64ul, "last physical address")
    reserved: int = wire(Int64ul, "zero")
