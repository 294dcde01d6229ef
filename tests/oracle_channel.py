"""The independent reader's part for multifd channels; see `tests.oracle`."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.oracle_live import Data

_CHANNEL_MAGIC: Final = bytes.fromhex("11223344")
_u32: Final = struct.Struct(">I").unpack_from


@dataclass(frozen=True)
class Packet:
    """One packet of a channel: header, offsets and payload lie behind one another."""

    offset: int
    header_len: int
    offsets_len: int
    payload_len: int
    flags: int
    normal: int
    zero: int


def walk_channel(data: Data, page_size: int) -> tuple[int, list[Packet], int]:
    """Walk over a multifd channel.

    Returns:
        Length of the initial packet, the packets, and where the last one ends.
    """
    old = data[25:29] == _CHANNEL_MAGIC
    at = first = 25 if old else 64
    packets: list[Packet] = []
    while at < len(data):
        (flags,) = _u32(data, at + 8)
        zero = 0
        if flags & 0x40 and not old:
            (payload_len,) = _u32(data, at + 272)
            packet = Packet(at, 276, 0, payload_len, flags, 0, 0)
        else:
            capacity, normal, announced = struct.unpack_from(">III", data, at + 12)
            if not old:
                (zero,) = _u32(data, at + 32)
                capacity = 0x80000 // page_size
            plain = old or flags & 0x3E == 0
            payload_len = normal * page_size if plain else announced if normal else 0
            head_len = 284 if old else 320
            packet = Packet(at, head_len, 8 * capacity, payload_len, flags, normal, zero)
        packets.append(packet)
        at += packet.header_len + packet.offsets_len + packet.payload_len
    return first, packets, at


def page_size_of(covers: Sequence[str]) -> int:
    """Return the page size that a fixture's manifest entry tells: `page-size:8192`."""
    told = [cover.partition(":")[2] for cover in covers if cover.startswith("page-size:")]
    return int(told[0]) if told else 4096
