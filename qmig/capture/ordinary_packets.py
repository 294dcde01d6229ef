"""Packets as nearly all are, straight from their bytes: 4.0 and later, pages alone, nothing wrong.

A packet that is read through its schema takes some ten times as long. Whatever is not like that is
left to `qmig.capture.packet_reader`, which locates what is wrong.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Final

from qmig.capture.channel_packets import Packet, block_name
from qmig.capture.channel_resync import begins_packet
from qmig.limits import MAX_PACKET_PAYLOAD_LEN
from qmig.wire.multifd import (
    MULTIFD_BEGIN,
    MultifdPacket9,
    MultifdPacketHdr,
    pages_per_packet,
)
from qmig.wire.multifd_flags import COMPRESSION_MASK, MultifdCompression, MultifdFlag
from qmig.wire.record import field_struct, field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.channel import ChannelWalk
    from qmig.capture.source import Cursor

_HEAD_LEN: Final = fixed_len(MultifdPacketHdr)
_RESERVED: Final = slice(
    field_table(MultifdPacket9)["unused32"][0], field_table(MultifdPacket9)["ramblock"][0]
)
_ZEROS: Final = bytes(_RESERVED.stop - _RESERVED.start)
_NOCOMP: Final = int(MultifdCompression.NOCOMP)
_DEVICE_STATE: Final = int(MultifdFlag.DEVICE_STATE)
_FIELDS: Final = (
    "flags",
    "pages_alloc",
    "normal_pages",
    "next_packet_size",
    "packet_num",
    "zero_pages",
    "ramblock",
)


def iter_ordinary(walk: ChannelWalk, cursor: Cursor) -> Iterator[Packet]:
    """Yield packets from the cursor on, up to the first one that is not ordinary.

    The walk and the cursor are left behind the last packet that was yielded, as if it had been
    read through its schema.

    Args:
        walk: the walk over the channel; where its page size is not known, nothing is yielded.
        cursor: at a packet.
    """
    size, source = walk.page_size_len, walk.source
    if size is None or walk.layout_2018:
        return
    most = pages_per_packet(size)
    packed = _packed(most)
    read_len, first = packed.size, len(_FIELDS)
    name_field, name = b"", ""
    offset = cursor.offset
    data = source.read_at(offset, read_len)
    while len(data) == read_len and data.startswith(MULTIFD_BEGIN):
        values = packed.unpack(data)
        flags, alloc, normal, told, number, zero, field = values[:first]
        if flags & _DEVICE_STATE or alloc > most or normal + zero > most:
            return
        if walk.resync and data[_RESERVED] != _ZEROS:
            return
        payload_len = _payload_len(walk, size, flags, normal, told)
        if payload_len is None:
            return
        payload_offset = offset + read_len
        end = payload_offset + payload_len
        data = source.read_at(end, read_len)
        if payload_len and not _ends_there(walk, end, data):
            return
        if field != name_field:
            name_field, name = field, block_name(field)
        split = first + normal
        packet = Packet(
            walk.index + 1,
            offset,
            flags,
            number,
            name,
            values[first:split],
            values[split : split + zero],
            alloc,
            told,
            payload_offset,
            payload_len,
        )
        walk.index += 1
        walk.packet_offset = offset
        walk.counters.count(packet)
        walk.end_offset = cursor.offset = offset = end
        yield packet
        source.release(end)


@cache
def _packed(pages: int) -> struct.Struct:
    return struct.Struct(f"{field_struct(MultifdPacket9, *_FIELDS).format}{pages}Q")


def _payload_len(walk: ChannelWalk, size: int, flags: int, normal: int, told: int) -> int | None:
    """Return the length of a payload; None where the header contradicts itself."""
    if normal == 0:
        return 0  # 5.2 to 7.2 leave the size of an earlier packet in next_packet_size
    if flags & COMPRESSION_MASK != _NOCOMP:
        return told if told <= MAX_PACKET_PAYLOAD_LEN else None
    return normal * size if normal * size == told or not walk.resync else None


def _ends_there(walk: ChannelWalk, end: int, behind: bytes) -> bool:
    """Tell whether a payload is there up to its end, and a packet or nothing behind it."""
    if walk.resync and not begins_packet(behind[:_HEAD_LEN]):
        return False
    return bool(behind or walk.source.read_at(end - 1, 1))
