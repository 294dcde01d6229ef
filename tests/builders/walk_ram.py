"""The builders' counterpart for RAM: a reader with struct that judges nothing.

It reads the records and the block list of the main stream, and carries records and packets out
on a destination's memory. It believes its input, so it is no example of how to read foreign
files.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.builders import mapped_ram, multifd, ram, xbzrle
from tests.builders.multifd import DeviceStatePacket, Packet
from tests.builders.primitives import read_counted, u16, u32, u64
from tests.builders.ram import BlockEntry
from tests.builders.walk_multifd import AnyPacket, Channel, Decoder


@dataclass(frozen=True)
class Record:
    """A word of the RAM section and what follows it; `named` where the block is spelled out."""

    kind: int
    addr: int
    block: str | None = None
    named: bool = False
    body: bytes = b""

    def build(self) -> bytes:
        """Build the record again."""
        if self.block is None:
            return ram.word(self.addr, self.kind)
        name = self.block if self.named else None
        if self.kind == ram.ZERO:
            return ram.zero(self.addr, name, fill=self.body[0])
        if self.kind == ram.XBZRLE:
            return ram.xbzrle(self.addr, self.body, name)
        if self.kind == ram.COMPRESS_PAGE:
            return ram.compress_page(self.addr, b"", name, compressed=self.body)
        return ram.page(self.addr, self.body, name)


@dataclass
class RamReader:
    """Reads RAM records; remembers the block that CONTINUE means."""

    page_size: int = 4096
    block: str | None = None

    def records(self, data: bytes, at: int) -> tuple[list[Record], int]:
        """Read up to and with the end-of-section word, and give the offset behind it."""
        found: list[Record] = []
        while not found or found[-1].kind != ram.EOS:
            record, at = self.record(data, at)
            found.append(record)
        return found, at

    def record(self, data: bytes, at: int) -> tuple[Record, int]:
        """Read one record and give the offset behind it."""
        value = u64(data, at)
        at += 8
        flags = value & (self.page_size - 1) & 0x3FF
        addr, kind = value - flags, flags & ~ram.CONTINUE
        if kind in (ram.EOS, ram.MULTIFD_FLUSH, ram.HOOK):
            return Record(flags, addr), at
        named = not flags & ram.CONTINUE
        if named:
            self.block, at = read_counted(data, at)
        if kind == ram.ZERO:
            start, size = at, 1
        elif kind == ram.PAGE:
            start, size = at, self.page_size
        elif kind == ram.XBZRLE:
            start, size = at + 3, u16(data, at + 1)
        elif kind == ram.COMPRESS_PAGE:
            start, size = at + 4, u32(data, at)
        else:
            raise ValueError(f"word 0x{value:x} at 0x{at - 8:x}")
        end = start + size
        return Record(kind, addr, self.block, named, data[start:end]), end


def read_block_list(
    data: bytes, at: int, *, addrs: bool = False, mapped: bool = False
) -> tuple[list[BlockEntry], int]:
    """Read the block list behind its word, and give the offset behind it."""
    total = u64(data, at) & ~ram.MEM_SIZE
    at += 8
    entries: list[BlockEntry] = []
    while sum(entry.used_length for entry in entries) < total:
        name, at = read_counted(data, at)
        used_length, at = u64(data, at), at + 8
        addr = u64(data, at) if addrs else None
        at += 8 if addrs else 0
        body = b""
        if mapped:
            end = u64(data, at + 20) + used_length
            body, at = data[at:end], end
        entries.append(BlockEntry(name, used_length, None, addr, body))
    return entries, at


def mapped_memory(file: bytes, entry_at: int, used_length: int) -> bytes:
    """Read a block of a mapped-ram file by its bitmap, given the offset of its header."""
    page_size, bitmap_at, pages_at = struct.unpack_from(">QQQ", file, entry_at + 4)
    pages = used_length // page_size
    bits = int.from_bytes(file[bitmap_at : bitmap_at + mapped_ram.bitmap_len(pages)], "little")
    memory = bytearray(used_length)
    for index in range(pages):
        if bits >> index & 1:
            start = pages_at + index * page_size
            memory[index * page_size : (index + 1) * page_size] = file[start : start + page_size]
    return bytes(memory)


def decode_xbzrle(body: bytes) -> list[xbzrle.Run]:
    """Read a delta's runs."""
    found, at = [], 0

    def count() -> int:
        nonlocal at
        value, at = body[at], at + 1
        if value >= 0x80:
            value, at = value & 0x7F | body[at] << 7, at + 1
        return value

    while at < len(body):
        unchanged = count()
        length = count()
        found.append(xbzrle.Run(unchanged, body[at : at + length]))
        at += length
    return found


@dataclass
class Memory:
    """RAM as a destination has it after each record."""

    blocks: dict[str, bytearray]
    page_size: int = 4096
    written: set[tuple[str, int]] = field(default_factory=set)

    @classmethod
    def of(cls, entries: Sequence[BlockEntry], page_size: int = 4096) -> "Memory":
        """Make fresh RAM for a block list."""
        return cls({str(entry.name): bytearray(entry.used_length) for entry in entries}, page_size)

    def store(self, block: str, addr: int, data: bytes) -> None:
        """Put a page into its place."""
        self.blocks[block][addr : addr + self.page_size] = data
        self.written.add((block, addr))

    def apply(self, record: Record) -> None:
        """Carry out a record."""
        if record.block is None:
            return
        if record.kind == ram.ZERO:
            data = record.body * self.page_size
        elif record.kind == ram.COMPRESS_PAGE:
            data = zlib.decompress(record.body)
        elif record.kind == ram.XBZRLE:
            page = self.blocks[record.block][record.addr : record.addr + self.page_size]
            at = 0
            for run in decode_xbzrle(record.body):
                at += run.unchanged
                page[at : at + len(run.new)] = run.new
                at += len(run.new)
            data = bytes(page)
        else:
            data = record.body
        self.store(record.block, record.addr, data)

    def apply_packet(self, packet: Packet, pages: Sequence[bytes]) -> None:
        """Carry out a packet, given its normal pages."""
        if packet.normal + packet.zero_pages == 0:
            return
        raw = packet.ramblock if isinstance(packet.ramblock, bytes) else packet.ramblock.encode()
        block = raw.split(b"\0", 1)[0].decode()
        for addr, data in zip(packet.offsets, pages, strict=False):
            self.store(block, addr, data)
        for addr in packet.offsets[packet.normal : packet.normal + packet.zero_pages]:
            self.store(block, addr, bytes(self.page_size))

    def contents(self) -> Mapping[str, bytes]:
        """Give a copy of all blocks."""
        return {name: bytes(data) for name, data in self.blocks.items()}


class ChannelEpochs:
    """Takes a channel apart at its SYNC packets."""

    def __init__(self, channel: Channel, page_size: int) -> None:
        self._packets: Iterator[AnyPacket] = iter(channel.packets)
        self._decoder = Decoder(page_size)

    def next_epoch(self) -> list[tuple[Packet, list[bytes]]]:
        """Give the packets up to and with the next SYNC, with their pages."""
        found: list[tuple[Packet, list[bytes]]] = []
        for packet in self._packets:
            if isinstance(packet, DeviceStatePacket):
                continue
            found.append((packet, self._decoder.pages(packet)))
            if packet.flags & multifd.SYNC:
                break
        return found
