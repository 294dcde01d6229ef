"""Framing of live sections other than `ram`, each by its own grammar (`qmig.wire.live`).

Each framer yields the records of one section body and stops behind its last byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.records import Record
from qmig.errors import MalformedStreamError, UnsupportedStreamError
from qmig.wire.framing import QemuVmSection
from qmig.wire.gate import read_record
from qmig.wire.live import (
    BLK_MIG_BLOCK_SIZE,
    BLK_MIG_FLAG_MASK,
    HASH_PTE_LEN,
    HTAB_NONE,
    STATTR_FLAG_MASK,
    BlkMigFlag,
    BlockWord,
    DirtyBitmapBits,
    DirtyBitmapBuffer,
    DirtyBitmapFlag,
    DirtyBitmapName,
    DirtyBitmapStart,
    HtabChunk,
    HtabHead,
    StattribCount,
    StattribFlag,
    StattribWord,
    VfioTag,
    VfioWord,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.capture.source import Cursor
    from qmig.wire.record import WireRecord

    Framer = Callable[[Cursor, QemuVmSection], Iterator[Record]]


def framer_of(idstr: str) -> Framer | None:
    """Return the framer of a live section's body, None where qmig knows no grammar for it."""
    if idstr.endswith("/vfio"):
        return frame_vfio
    return _FRAMERS.get(idstr)


def _record(cursor: Cursor, kind: type[WireRecord], name: str) -> tuple[Record, WireRecord]:
    start = cursor.offset
    wire = read_record(cursor, kind, what=name)
    return Record(start, cursor.offset - start, name, wire), wire


def _data(cursor: Cursor, length: int, name: str) -> Record:
    start = cursor.offset
    cursor.skip(length, what=name)
    return Record(start, length, name)


def frame_dirty_bitmap(cursor: Cursor, kind: QemuVmSection) -> Iterator[Record]:
    """Frame `dirty-bitmap`: chunks up to EOS."""
    del kind  # START, PART and END are alike
    what = "dirty-bitmap chunk"
    while True:
        start = cursor.offset
        flags = DirtyBitmapFlag(cursor.read_exact(1, what=what, field="flags")[0])
        if flags & DirtyBitmapFlag.EXTRA_FLAGS:
            raise UnsupportedStreamError(
                path=cursor.name,
                offset=start,
                record=what,
                field="flags",
                expected="one byte of flags, as every QEMU writes it",
                found=f"0x{int(flags):02x}, flags of two or four bytes",
            )
        yield Record(start, 1, what, flags=str(flags.name))
        if flags & DirtyBitmapFlag.DEVICE_NAME:
            yield _record(cursor, DirtyBitmapName, "dirty-bitmap node name")[0]
        if flags & DirtyBitmapFlag.BITMAP_NAME:
            yield _record(cursor, DirtyBitmapName, "dirty-bitmap bitmap name")[0]
        # One of the three, as a destination looks for them.
        if flags & DirtyBitmapFlag.START:
            yield _record(cursor, DirtyBitmapStart, "dirty-bitmap start")[0]
        elif flags & DirtyBitmapFlag.COMPLETE:
            pass
        elif flags & DirtyBitmapFlag.BITS:
            yield _record(cursor, DirtyBitmapBits, "dirty-bitmap bits")[0]
            if not flags & DirtyBitmapFlag.ZEROES:
                at = cursor.offset
                buffer = read_record(cursor, DirtyBitmapBuffer, what="dirty-bitmap bits")
                yield Record(at, cursor.offset - at, "dirty-bitmap buffer length", buffer)
                yield _data(cursor, buffer.buf_len, "dirty-bitmap bits")
        if flags & DirtyBitmapFlag.EOS:
            return


def frame_htab(cursor: Cursor, kind: QemuVmSection) -> Iterator[Record]:
    """Frame `spapr/htab`: a shift at START, then chunks up to an empty one."""
    start = cursor.offset
    head = read_record(cursor, HtabHead, what="spapr/htab")
    yield Record(start, cursor.offset - start, "spapr/htab head", head)
    if kind == QemuVmSection.SECTION_START or head.section_hdr == HTAB_NONE:
        return
    if head.section_hdr != 0:
        raise MalformedStreamError(
            path=cursor.name,
            offset=start,
            record="spapr/htab",
            field="section_hdr",
            expected="0 or ffffffff",
            found=f"{head.section_hdr:x}",
        )
    while True:
        at = cursor.offset
        chunk = read_record(cursor, HtabChunk, what="spapr/htab chunk")
        yield Record(at, cursor.offset - at, "spapr/htab chunk", chunk)
        if chunk.index == chunk.n_valid == chunk.n_invalid == 0:
            return
        if chunk.n_valid:
            yield _data(cursor, chunk.n_valid * HASH_PTE_LEN, "spapr/htab entries")


def frame_stattrib(cursor: Cursor, kind: QemuVmSection) -> Iterator[Record]:
    """Frame `s390-storage_attributes`: runs of bytes up to EOS."""
    del kind
    what = "s390-storage_attributes"
    while True:
        start = cursor.offset
        word = read_record(cursor, StattribWord, what=what)
        flags = word.word & STATTR_FLAG_MASK
        yield Record(start, cursor.offset - start, f"{what} word", word)
        if flags == StattribFlag.EOS:
            return
        if flags == StattribFlag.MORE:
            at = cursor.offset
            count = read_record(cursor, StattribCount, what=what)
            yield Record(at, cursor.offset - at, f"{what} count", count)
            yield _data(cursor, count.count, f"{what} bytes")
        elif flags not in (StattribFlag.DONE, StattribFlag.ERROR):
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record=what,
                field="flags",
                expected="MORE, DONE, ERROR or EOS",
                found=f"0x{flags:x}",
            )


def frame_block(cursor: Cursor, kind: QemuVmSection) -> Iterator[Record]:
    """Frame `block` (up to 9.0): blocks of a disk up to EOS."""
    del kind
    while True:
        start = cursor.offset
        word = read_record(cursor, BlockWord, what="block")
        flags = word.word & BLK_MIG_FLAG_MASK
        yield Record(start, cursor.offset - start, "block word", word)
        if flags & BlkMigFlag.EOS:
            return
        if flags & BlkMigFlag.DEVICE_BLOCK:
            yield _record(cursor, DirtyBitmapName, "block device name")[0]
            if not flags & BlkMigFlag.ZERO_BLOCK:
                yield _data(cursor, BLK_MIG_BLOCK_SIZE, "block data")
        elif not flags & BlkMigFlag.PROGRESS:
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record="block",
                field="flags",
                expected="DEVICE_BLOCK, PROGRESS or EOS",
                found=f"0x{flags:x}",
            )


def frame_vfio(cursor: Cursor, kind: QemuVmSection) -> Iterator[Record]:
    """Frame a VFIO section: tagged data up to END_OF_STATE or DEV_INIT_DATA_SENT.

    The device's configuration has no length of its own (it is a vmstate of the bus), so a section
    with DEV_CONFIG_STATE is unsupported here; the caller finds its end by the footer.
    """
    del kind
    while True:
        start = cursor.offset
        word = read_record(cursor, VfioWord, what="VFIO tag")
        tag = word.word
        yield Record(start, cursor.offset - start, "VFIO tag", word)
        # vfio_save_iterate writes INIT_DATA_SENT in the place of END_OF_STATE.
        if tag in (VfioTag.END_OF_STATE, VfioTag.DEV_INIT_DATA_SENT):
            return
        if tag == VfioTag.DEV_DATA_STATE:
            at = cursor.offset
            size = read_record(cursor, VfioWord, what="VFIO data length")
            yield Record(at, cursor.offset - at, "VFIO data length", size)
            yield _data(cursor, size.word, "VFIO data")
        elif tag == VfioTag.DEV_CONFIG_STATE:
            raise UnsupportedStreamError(
                path=cursor.name,
                offset=start,
                record="VFIO tag",
                expected="a tag whose data has a length",
                found="DEV_CONFIG_STATE, whose length only the device knows",
            )
        elif tag != VfioTag.DEV_SETUP_STATE:
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record="VFIO tag",
                expected="a VFIO_MIG_FLAG",
                found=f"0x{tag:016x}",
            )


_FRAMERS: Final[dict[str, Framer]] = {
    "dirty-bitmap": frame_dirty_bitmap,
    "spapr/htab": frame_htab,
    "s390-storage_attributes": frame_stattrib,
    "block": frame_block,
}
