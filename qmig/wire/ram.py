"""The `ram` section: block list and page records.

Grammar (big-endian)::

    START        RamWord(MEM_SIZE | total) { block }* [RamWord(MULTIFD_FLUSH)] RamWord(EOS)
    block        RamBlockRecord [RamBlockPageSize] [RamBlockAddr] [mapped-ram header and pages]
    PART, END    { page | RamWord(MULTIFD_FLUSH) }* RamWord(EOS)
    page         RamWord(kind [| CONTINUE] | offset) [name] body

Body by kind: ZERO `FillByte`; PAGE one target page; XBZRLE `XbzrleHead` and its encoding;
COMPRESS_PAGE `CompressPageHead` and a whole zlib stream; HOOK what RDMA defines.

Sources: migration/ram.c (ram_save_setup, save_page_header, ram_save_iterate, ram_load_precopy,
parse_ramblocks) of 5.2 to 11.1. COMPRESS_PAGE went away in 9.1, MULTIFD_FLUSH came with 8.1.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from construct import Int8ub, Int16ub, Int32ub, Int64ub

from qmig.wire.record import COUNTED_STRING, WireRecord, wire

RAM_SAVE_VERSION: Final = 4


class RamSaveFlag(IntFlag):
    """Low bits of the word that opens each record. Prefix in QEMU: RAM_SAVE_FLAG_."""

    FULL = 0x001  # obsolete since 2009
    ZERO = 0x002  # called COMPRESS until 2.x, when any fill byte was legal
    MEM_SIZE = 0x004
    PAGE = 0x008
    EOS = 0x010
    CONTINUE = 0x020
    XBZRLE = 0x040
    HOOK = 0x080  # RDMA only
    COMPRESS_PAGE = 0x100  # 2.4 to 9.0
    MULTIFD_FLUSH = 0x200  # 8.1 and later


class RamWord(WireRecord):
    """The word that opens each RAM record."""

    word: int = wire(Int64ub, "offset in the block, with RamSaveFlag in the bits below the page")


class RamBlockRecord(WireRecord):
    """One entry of the block list, the fields that are always there."""

    idstr: bytes = wire(COUNTED_STRING, "name of the block; any bytes, never a path")
    used_length: int = wire(Int64ub, "bytes")


class RamBlockPageSize(WireRecord):
    """In a block list entry: postcopy-ram, where its page is not max(host page, target page)."""

    page_size: int = wire(Int64ub, "host page size of the block, bytes")


class RamBlockAddr(WireRecord):
    """In a block list entry: x-ignore-shared."""

    addr: int = wire(Int64ub, "guest-physical address of the block, bytes")


class RamPageName(WireRecord):
    """In a page record without CONTINUE."""

    idstr: bytes = wire(COUNTED_STRING, "name of the block")


class FillByte(WireRecord):
    """Body of a ZERO record."""

    fill: int = wire(Int8ub, "each byte of the page; 8.2 and later refuse other than 0")


class XbzrleHead(WireRecord):
    """Body of an XBZRLE record up to its encoding."""

    flag: int = wire(Int8ub, "1: encoding of 2012")
    encoded_len: int = wire(Int16ub, "bytes of the encoding that follow")


class CompressPageHead(WireRecord):
    """Body of a COMPRESS_PAGE record up to its zlib stream."""

    compressed_len: int = wire(Int32ub, "bytes of the zlib stream that follow")


ENCODING_FLAG_XBZRLE: Final = 1
