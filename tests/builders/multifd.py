"""multifd: init packets and the packet headers of every generation."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tests.builders.primitives import be32, be64, encoded

MAGIC = 0x11223344
VERSION = 1
PACKET_LEN = 512 * 1024  # bytes of page data that a full packet carries
NAME_LEN = 256

INIT_2018_LEN = 25
INIT_LEN = 64
HEADER_2018_LEN = 284
HEADER_LEN = 320
DEVICE_STATE_LEN = 276

SYNC = 0x01
COMPRESSION_MASK = 0x3E
NOCOMP = 0x00
ZLIB = 0x02
ZSTD = 0x04
QPL = 0x08
UADK = 0x10
QATZIP = 0x20
DEVICE_STATE = 0x40


class Layout(Enum):
    """How a packet with pages is laid out."""

    X_MULTIFD = "3.0 and 3.1, 284 bytes and offsets"
    MULTIFD = "4.0 and later, 320 bytes and offsets"


def page_count(page_size: int) -> int:
    """Give how many pages a packet of 4.0 and later has room for."""
    return PACKET_LEN // page_size


def init_packet(
    channel_id: int,
    *,
    uuid: bytes = bytes(16),
    layout: Layout = Layout.MULTIFD,
    magic: int = MAGIC,
    version: int = VERSION,
    reserved: bytes = bytes(39),
) -> bytes:
    """Build the packet that introduces a channel; 3.x has no reserved bytes in it."""
    head = be32(magic) + be32(version) + uuid + bytes([channel_id])
    return head if layout is Layout.X_MULTIFD else head + reserved


@dataclass(frozen=True)
class Packet:
    """A packet with room for pages, as its fields stand on the wire.

    Attributes:
        flags: SYNC and the compression method.
        capacity: `size` of 3.x, `pages_alloc` later.
        normal: `used` of 3.x, `pages_used`, later `normal_pages`.
        next_packet_size: Absent from 3.x.
        packet_num: The packet's number.
        zero_pages: Since 9.0; unused bytes before.
        reserved: What stands between the counters and the name, zero_pages not included.
        ramblock: The name's 256 bytes, or a name to be padded with NULs.
        offsets: The whole array, padded with zeros to array_len.
        array_len: How many offsets the array has; None for as many as the capacity.
        payload: What follows the header.
        layout: Which generation's layout.
        magic: The packet's magic.
        version: The packet's version.
    """

    flags: int = 0
    capacity: int = 128
    normal: int = 0
    next_packet_size: int = 0
    packet_num: int = 0
    zero_pages: int = 0
    reserved: bytes = bytes(28)
    ramblock: str | bytes = b""
    offsets: Sequence[int] = ()
    array_len: int | None = None
    payload: bytes = b""
    layout: Layout = Layout.MULTIFD
    magic: int = MAGIC
    version: int = VERSION

    def header(self) -> bytes:
        """Build the header with its offsets."""
        head = be32(self.magic) + be32(self.version) + be32(self.flags)
        head += be32(self.capacity) + be32(self.normal)
        if self.layout is Layout.MULTIFD:
            head += be32(self.next_packet_size)
        head += be64(self.packet_num)
        if self.layout is Layout.MULTIFD:
            head += be32(self.zero_pages) + self.reserved
        length = self.capacity if self.array_len is None else self.array_len
        padded = list(self.offsets) + [0] * (length - len(self.offsets))
        name = encoded(self.ramblock).ljust(NAME_LEN, b"\0")
        return head + name + struct.pack(f">{len(padded)}Q", *padded)

    def build(self) -> bytes:
        """Build the packet with its payload."""
        return self.header() + self.payload


@dataclass(frozen=True)
class DeviceStatePacket:
    """A packet with a piece of a device's state (10.0 and later).

    Attributes:
        idstr: The device's 256 bytes, or a name to be padded with NULs.
        payload: The piece.
        instance_id: The device's instance.
        flags: The packet's flags.
        next_packet_size: The length to announce in place of the payload's.
        magic: The packet's magic.
        version: The packet's version.
    """

    idstr: str | bytes
    payload: bytes
    instance_id: int = 0
    flags: int = DEVICE_STATE
    next_packet_size: int | None = None
    magic: int = MAGIC
    version: int = VERSION

    def build(self) -> bytes:
        """Build the packet with its payload."""
        announced = len(self.payload) if self.next_packet_size is None else self.next_packet_size
        head = be32(self.magic) + be32(self.version) + be32(self.flags)
        name = encoded(self.idstr).ljust(NAME_LEN, b"\0")
        return head + name + be32(self.instance_id) + be32(announced) + self.payload


def vfio_state(index: int, data: bytes, *, flags: int = 0, version: int = 0) -> bytes:
    """Build the payload that VFIO puts into a device-state packet.

    Args:
        index: The piece's place in the device's state, from 0.
        data: The piece.
        flags: 1 for the last piece, the configuration.
        version: The payload's version.
    """
    return be32(version) + be32(index) + be32(flags) + data
