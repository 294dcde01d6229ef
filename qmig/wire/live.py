"""Bodies of the live sections other than `ram`, which no vmdescription describes.

Grammar (big-endian unless said)::

    dirty-bitmap   { chunk }* chunk(EOS)
    chunk          flags [counted node] [counted bitmap] [DirtyBitmapStart]
                   [DirtyBitmapBits [be64 length, bytes]]
    spapr/htab     START: be32 shift | ffffffff
                   PART, END: be32 0, { HtabChunk, valid * 16 bytes }*, HtabChunk(0, 0, 0)
                            | be32 ffffffff
    s390-storage_attributes
                   { StattribWord(MORE | addr), be64 count, bytes }* [StattribWord(DONE)]
                   StattribWord(EOS)
    block          { BlockWord ... }* BlockWord(EOS)        removed in 9.1
    */vfio         be64 tag { be64 length, bytes }?, closed by END_OF_STATE or DEV_INIT_DATA_SENT

Sources: migration/block-dirty-bitmap.c, hw/ppc/spapr.c (htab_save_*), hw/s390x/s390-stattrib.c,
migration/block.c (8.2), hw/vfio/migration.c (10.0).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from construct import Int8ub, Int16ub, Int32ub, Int64ub

from qmig.wire.record import COUNTED_STRING, WireRecord, wire


class DirtyBitmapFlag(IntFlag):
    """First byte of a chunk. Prefix in QEMU: DIRTY_BITMAP_MIG_FLAG_."""

    EOS = 0x01
    ZEROES = 0x02
    BITMAP_NAME = 0x04
    DEVICE_NAME = 0x08
    START = 0x10
    COMPLETE = 0x20
    BITS = 0x40
    EXTRA_FLAGS = 0x80  # two or four bytes of flags; reserved, no QEMU writes it


class DirtyBitmapStartFlag(IntFlag):
    """Flags of a bitmap. Prefix in QEMU: DIRTY_BITMAP_MIG_START_FLAG_."""

    ENABLED = 0x01
    PERSISTENT = 0x02


class DirtyBitmapName(WireRecord):
    """Node name, then bitmap name, each where its flag is set."""

    name: bytes = wire(COUNTED_STRING, "node or bitmap")


class DirtyBitmapStart(WireRecord):
    """With START."""

    granularity: int = wire(Int32ub, "bytes that one bit stands for")
    flags: int = wire(Int8ub, "DirtyBitmapStartFlag")


BDRV_SECTOR_SIZE: Final = 512  # include/block/block-common.h


class DirtyBitmapBits(WireRecord):
    """With BITS; unless ZEROES, be64 length and that many bytes follow."""

    start_sector: int = wire(Int64ub, f"in units of {BDRV_SECTOR_SIZE} bytes")
    nr_sectors: int = wire(Int32ub, f"in units of {BDRV_SECTOR_SIZE} bytes")


class DirtyBitmapBuffer(WireRecord):
    """Length of a bitmap's bytes: 64-bit little-endian words."""

    buf_len: int = wire(Int64ub, "bytes, a multiple of 32")


HTAB_NONE: Final = 0xFFFFFFFF  # the guest has no hash table
HASH_PTE_LEN: Final = 16


class HtabHead(WireRecord):
    """First word of each part of spapr/htab."""

    section_hdr: int = wire(Int32ub, "START: shift of the table; PART, END: 0; ffffffff: none")


class HtabChunk(WireRecord):
    """Head of a run of entries; `n_valid` entries of 16 bytes follow."""

    index: int = wire(Int32ub, "first entry")
    n_valid: int = wire(Int16ub, "entries that follow")
    n_invalid: int = wire(Int16ub, "entries behind them that are invalid")


class StattribFlag(IntFlag):
    """Low bits of a word. Prefix in QEMU: STATTR_FLAG_."""

    EOS = 0x01
    MORE = 0x02
    ERROR = 0x04
    DONE = 0x08


STATTR_PAGE_LEN: Final = 4096  # a page of s390x; one byte of attributes stands for each
STATTR_FLAG_MASK: Final = STATTR_PAGE_LEN - 1


class StattribWord(WireRecord):
    """Word of s390-storage_attributes (and, with the same numbers, s390-skeys)."""

    word: int = wire(Int64ub, "guest-physical address with StattribFlag in its low bits")


class StattribCount(WireRecord):
    """Behind MORE: that many bytes follow."""

    count: int = wire(Int64ub, "bytes")


BLK_MIG_BLOCK_SIZE: Final = 1 << 20


class BlkMigFlag(IntFlag):
    """Low bits of a word of the `block` section. Prefix in QEMU: BLK_MIG_FLAG_."""

    DEVICE_BLOCK = 0x01
    EOS = 0x02
    PROGRESS = 0x04
    ZERO_BLOCK = 0x08


BLK_MIG_FLAG_MASK: Final = BDRV_SECTOR_SIZE - 1


class BlockWord(WireRecord):
    """Word of the `block` section."""

    word: int = wire(Int64ub, "sector << 9, with BlkMigFlag in its low bits")


class VfioTag(IntEnum):
    """Tags of a VFIO section. Prefix in QEMU: VFIO_MIG_FLAG_."""

    END_OF_STATE = 0xFFFFFFFFEF100001
    DEV_CONFIG_STATE = 0xFFFFFFFFEF100002
    DEV_SETUP_STATE = 0xFFFFFFFFEF100003
    DEV_DATA_STATE = 0xFFFFFFFFEF100004
    DEV_INIT_DATA_SENT = 0xFFFFFFFFEF100005


class VfioWord(WireRecord):
    """A tag, or the length behind DEV_DATA_STATE."""

    word: int = wire(Int64ub, "VfioTag, or bytes of data")
