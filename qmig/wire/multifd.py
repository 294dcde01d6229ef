"""multifd channels: initial packet and every generation of packet header.

Grammar (big-endian)::

    channel   init { packet }*
    init      MultifdInit2018 (3.x, 25 bytes) | MultifdInit (4.0 and later, 64 bytes)
    packet    MultifdPacket2018 offset[size] page*                       3.0, 3.1
            | MultifdPacket4 offset[P] payload                           4.0 to 6.x
            | MultifdPacket7 offset[P] payload                           7.x, 8.x
            | MultifdPacket9 offset[P] payload                           9.0 and later
            | MultifdDeviceState payload                                 10.0 and later, flags bit 6

P = 524288 / page size, however many pages a packet has. `offset` is a be64 byte offset in the
block. Nothing in a header names its generation. Sources: migration/multifd.c and multifd.h of
3.1, 4.2, 5.2, 7.2, 8.2, 9.2, 10.0 and 11.1 (multifd_send_initial_packet, MultiFDPacket_t,
MultiFDPacketHdr_t, MultiFDPacketDeviceState_t).
"""

from __future__ import annotations

from typing import Final

from construct import Array, Bytes, Int8ub, Int32ub, Int64ub

from qmig.wire.magic import MULTIFD_MAGIC, MULTIFD_MAGIC_BYTES
from qmig.wire.record import WireRecord, constant, wire

MULTIFD_VERSION: Final = 1
MULTIFD_BEGIN: Final = MULTIFD_MAGIC_BYTES + MULTIFD_VERSION.to_bytes(4, "big")  # of a packet
MULTIFD_PACKET_SIZE: Final = 512 * 1024  # bytes of pages that a packet of 4.0 and later can hold
RAMBLOCK_NAME_LEN: Final = 256
OFFSET_DTYPE: Final = ">u8"  # of the offset array, in bytes inside the block


class MultifdInit2018(WireRecord):
    """First bytes of a channel of 3.0 and 3.1."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1")
    uuid: bytes = wire(Bytes(16), "UUID of the guest, zeros if it has none")
    id: int = wire(Int8ub, "number of the channel, from 0")


class MultifdInit(WireRecord):
    """First bytes of a channel of 4.0 and later."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1")
    uuid: bytes = wire(Bytes(16), "UUID of the guest, zeros if it has none")
    id: int = wire(Int8ub, "number of the channel, from 0")
    unused1: bytes = wire(Bytes(7), "zeros, not checked")
    unused2: bytes = wire(Bytes(32), "zeros, not checked")


class MultifdPacketHdr(WireRecord):
    """What all packets begin with."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1 in all generations")
    flags: int = wire(Int32ub, "MultifdFlag and MultifdCompression; unknown bits are kept")


class MultifdPacket2018(WireRecord):
    """Packet header of 3.0 and 3.1, before its `size` offsets."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1")
    flags: int = wire(Int32ub, "MultifdFlag")
    size: int = wire(Int32ub, "entries of the offset array: x-multifd-page-count")
    used: int = wire(Int32ub, "entries that are pages of this packet")
    packet_num: int = wire(Int64ub, "repeats and has gaps")
    ramblock: bytes = wire(Bytes(RAMBLOCK_NAME_LEN), "NUL-terminated name, then anything")


class MultifdPacket4(WireRecord):
    """Packet header of 4.0 to 6.x, before its P offsets."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1")
    flags: int = wire(Int32ub, "MultifdFlag and MultifdCompression")
    pages_alloc: int = wire(Int32ub, "P")
    pages_used: int = wire(Int32ub, "entries that are pages of this packet")
    next_packet_size: int = wire(Int32ub, "bytes of payload; stale where pages_used is 0 (5.2)")
    packet_num: int = wire(Int64ub, "repeats and has gaps")
    unused: list[int] = wire(Array(4, Int64ub), "zeros, not checked")
    ramblock: bytes = wire(Bytes(RAMBLOCK_NAME_LEN), "NUL-terminated name, then anything")


class MultifdPacket7(WireRecord):
    """Packet header of 7.x and 8.x, before its P offsets."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1")
    flags: int = wire(Int32ub, "MultifdFlag and MultifdCompression")
    pages_alloc: int = wire(Int32ub, "P")
    normal_pages: int = wire(Int32ub, "entries that are pages of this packet")
    next_packet_size: int = wire(Int32ub, "bytes of payload; stale where normal_pages is 0 (7.x)")
    packet_num: int = wire(Int64ub, "repeats and has gaps")
    unused: list[int] = wire(Array(4, Int64ub), "zeros, not checked")
    ramblock: bytes = wire(Bytes(RAMBLOCK_NAME_LEN), "NUL-terminated name, then anything")


class MultifdPacket9(WireRecord):
    """Packet header of 9.0 and later, before its P offsets."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1")
    flags: int = wire(Int32ub, "MultifdFlag and MultifdCompression")
    pages_alloc: int = wire(Int32ub, "P; 0 in SYNC packets of 9.2 and later")
    normal_pages: int = wire(Int32ub, "entries with a page in the payload, first in the array")
    next_packet_size: int = wire(Int32ub, "bytes of payload")
    packet_num: int = wire(Int64ub, "from 9.2: one counter for all channels, without gaps")
    zero_pages: int = wire(Int32ub, "entries behind the normal ones, without payload")
    unused32: int = wire(Int32ub, "0, not checked")
    unused64: list[int] = wire(Array(3, Int64ub), "zeros, not checked")
    ramblock: bytes = wire(Bytes(RAMBLOCK_NAME_LEN), "NUL-terminated name")


class MultifdDeviceState(WireRecord):
    """Packet header with device state, 10.0 and later; no offsets, no packet_num."""

    magic: int = constant(MULTIFD_MAGIC, Int32ub, "0x11223344")
    version: int = wire(Int32ub, "1")
    flags: int = wire(Int32ub, "with DEVICE_STATE")
    idstr: bytes = wire(Bytes(256), "NUL-terminated name of the device's section")
    instance_id: int = wire(Int32ub, "instance of that section")
    next_packet_size: int = wire(Int32ub, "bytes of payload, never 0")


class VfioDeviceStatePacket(WireRecord):
    """Head of a VFIO payload (hw/vfio/migration-multifd.c, 10.0), big-endian."""

    version: int = wire(Int32ub, "0")
    idx: int = wire(Int32ub, "position of this buffer in the device's state")
    flags: int = wire(Int32ub, "bit 0: device configuration")


def pages_per_packet(page_size_len: int) -> int:
    """Return P, the length of the offset array of 4.0 and later."""
    return MULTIFD_PACKET_SIZE // page_size_len
