"""The builders' counterpart for multifd: a reader with struct that judges nothing.

What the builders make out of the values read from a real channel is that channel again, byte
for byte. It believes its input, so it is no example of how to read foreign files.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

from tests.builders import multifd
from tests.builders.multifd import DeviceStatePacket, Layout, Packet
from tests.builders.primitives import u32, u64

AnyPacket = Packet | DeviceStatePacket


def read_init(data: bytes) -> tuple[int, bytes, bytes, Layout]:
    """Read an init packet: channel id, uuid, what is reserved, and the layout."""
    modern = u32(data, multifd.INIT_LEN) == multifd.MAGIC
    layout = Layout.MULTIFD if modern else Layout.X_MULTIFD
    length = multifd.INIT_LEN if modern else multifd.INIT_2018_LEN
    return data[24], data[8:24], data[25:length], layout


def read_packet(data: bytes, at: int, layout: Layout, page_size: int) -> tuple[AnyPacket, int]:
    """Read a packet of either kind and give the offset behind its payload."""
    magic, version, flags = struct.unpack_from(">3I", data, at)
    if flags & multifd.DEVICE_STATE:
        idstr, instance_id, size = struct.unpack_from(">256sII", data, at + 12)
        start = at + multifd.DEVICE_STATE_LEN
        payload = data[start : start + size]
        state = DeviceStatePacket(idstr, payload, instance_id, flags, size, magic, version)
        return state, start + size
    capacity, normal = struct.unpack_from(">2I", data, at + 12)
    if layout is Layout.X_MULTIFD:
        next_size, zero_pages, reserved = 0, 0, bytes(28)
        packet_num, name_at, array_len = u64(data, at + 20), at + 28, capacity
    else:
        next_size, packet_num, zero_pages = struct.unpack_from(">IQI", data, at + 20)
        reserved, name_at = data[at + 36 : at + 64], at + 64
        array_len = multifd.page_count(page_size)
    start = name_at + multifd.NAME_LEN
    offsets = struct.unpack_from(f">{array_len}Q", data, start)
    start += array_len * 8
    packed = bool(flags & multifd.COMPRESSION_MASK)
    size = 0 if normal == 0 else next_size if packed else normal * page_size
    packet = Packet(
        flags, capacity, normal, next_size, packet_num, zero_pages, reserved,
        data[name_at : name_at + multifd.NAME_LEN], offsets, array_len,
        data[start : start + size], layout, magic, version,
    )  # fmt: skip
    return packet, start + size


@dataclass
class Channel:
    """A channel's packets."""

    channel_id: int
    uuid: bytes
    reserved: bytes
    layout: Layout
    packets: list[AnyPacket]

    def build(self) -> bytes:
        """Build the channel again."""
        init = multifd.init_packet(
            self.channel_id, uuid=self.uuid, layout=self.layout, reserved=self.reserved
        )
        return init + b"".join(packet.build() for packet in self.packets)

    def ram_packets(self) -> list[Packet]:
        """Give the packets that are not device state."""
        return [packet for packet in self.packets if isinstance(packet, Packet)]


def read_channel(data: bytes, page_size: int = 4096) -> Channel:
    """Read a whole channel."""
    channel_id, uuid, reserved, layout = read_init(data)
    at = multifd.INIT_2018_LEN + len(reserved)
    packets: list[AnyPacket] = []
    while at < len(data):
        packet, at = read_packet(data, at, layout, page_size)
        packets.append(packet)
    return Channel(channel_id, uuid, reserved, layout, packets)


def _inflate_raw(data: bytes) -> bytes:
    """Inflate a deflate stream without any frame."""
    return zlib.decompress(data, -15)


def _each_page(
    payload: bytes, count: int, page_size: int, inflate: Callable[[bytes], bytes]
) -> bytes:
    """Unpack independent pages behind the list of their lengths."""
    lengths = struct.unpack_from(f">{count}I", payload)
    pages, at = [], 4 * count
    for length in lengths:
        piece = payload[at : at + length]
        pages.append(piece if length == page_size else inflate(piece))
        at += length
    return b"".join(pages)


def _members(payload: bytes) -> bytes:
    """Inflate gzip members one after the other."""
    out = []
    while payload:
        stream = zlib.decompressobj(31)
        out.append(stream.decompress(payload) + stream.flush())
        payload = stream.unused_data
    return b"".join(out)


class Decoder:
    """One channel's way of unpacking payloads."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._zlib = zlib.decompressobj()
        self._zstd = zstandard.ZstdDecompressor().decompressobj()

    def pages(self, packet: Packet) -> list[bytes]:
        """Give a packet's normal pages."""
        if packet.normal == 0:
            return []
        data = self._unpack(packet)
        if len(data) != packet.normal * self._page_size:
            raise ValueError(f"{len(data)} bytes for {packet.normal} pages")
        return [data[at : at + self._page_size] for at in range(0, len(data), self._page_size)]

    def _unpack(self, packet: Packet) -> bytes:
        count, size, payload = packet.normal, self._page_size, packet.payload
        method = packet.flags & multifd.COMPRESSION_MASK
        unpack: dict[int, Callable[[], bytes]] = {
            multifd.NOCOMP: lambda: payload,
            multifd.ZLIB: lambda: self._zlib.decompress(payload),
            multifd.ZSTD: lambda: self._zstd.decompress(payload),
            multifd.QPL: lambda: _each_page(payload, count, size, _inflate_raw),
            multifd.UADK: lambda: _each_page(payload, count, size, zlib.decompress),
            multifd.QATZIP: lambda: _members(payload),
        }
        return unpack[method]()
