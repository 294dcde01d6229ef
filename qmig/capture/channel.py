"""One multifd channel: initial packet, packets of any generation, payload as it stands there."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.capture.records import Opaque, Record
from qmig.capture.source import Cursor
from qmig.errors import LimitExceededError, MalformedStreamError, StreamError
from qmig.limits import (
    MAX_DEVICE_STATE_PACKET_LEN,
    MAX_PACKET_2018_PAGES,
    MAX_PACKET_PAYLOAD_LEN,
)
from qmig.wire.gate import read_record
from qmig.wire.magic import MULTIFD_MAGIC
from qmig.wire.multifd import (
    MULTIFD_VERSION,
    MultifdDeviceState,
    MultifdInit,
    MultifdInit2018,
    MultifdPacket4,
    MultifdPacket7,
    MultifdPacket9,
    MultifdPacket2018,
    MultifdPacketHdr,
    pages_per_packet,
)
from qmig.wire.multifd_flags import COMPRESSION_MASK, MultifdCompression, MultifdFlag
from qmig.wire.record import WireRecord, field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from qmig.capture.source import Source

    PacketType = type[MultifdPacket4] | type[MultifdPacket7] | type[MultifdPacket9]

_MAGIC: Final = MULTIFD_MAGIC.to_bytes(4, "big")
_DEVICE_STATE: Final = int(MultifdFlag.DEVICE_STATE)
_SYNC: Final = int(MultifdFlag.SYNC)
_OFFSET_LEN: Final = 8


@dataclass(slots=True)
class Packet:
    """One packet of a channel.

    Attributes:
        index: number of the packet in its channel, from 0.
        offset: of its header.
        flags: as they stand there.
        packet_num: None in a device-state packet.
        block: name of the RAM block, or of the device's section.
        normal_pages: byte offsets in the block of the pages in the payload, in its order.
        zero_pages: byte offsets in the block of pages without payload.
        pages_alloc: as it stands there (2018: `size`); None in a device-state packet.
        next_packet_size: as it stands there; None in 2018 packets.
        payload_offset: where the payload is.
        payload_len: its bytes.
    """

    index: int
    offset: int
    flags: int
    packet_num: int | None
    block: str
    normal_pages: tuple[int, ...]
    zero_pages: tuple[int, ...]
    pages_alloc: int | None
    next_packet_size: int | None
    payload_offset: int
    payload_len: int

    @property
    def sync(self) -> bool:
        """Whether it carries SYNC."""
        return bool(self.flags & _SYNC)

    @property
    def device_state(self) -> bool:
        """Whether it carries device state instead of pages."""
        return bool(self.flags & _DEVICE_STATE)

    @property
    def compression(self) -> int:
        """The number under the compression mask."""
        return self.flags & COMPRESSION_MASK


@dataclass(slots=True)
class ChannelCounters:
    """What one walk over a channel counts; the evidence for its generation.

    Attributes:
        packets: all packets.
        data_packets: those with normal pages.
        normal_pages: pages with payload.
        zero_pages: pages without.
        syncs: packets with SYNC.
        syncs_with_pages: those of them with pages.
        syncs_alloc_zero: those with pages_alloc 0.
        empty_packets: packets without pages and without SYNC.
        stale_sizes: packets without normal pages whose next_packet_size is not 0.
        resent_batches: packets with SYNC that send the pages of the packet before again.
        device_state_packets: packets with device state.
        device_state_len: bytes of their payloads.
        methods: compression numbers of the data packets.
        payload_len: bytes of all payloads.
    """

    packets: int = 0
    data_packets: int = 0
    normal_pages: int = 0
    zero_pages: int = 0
    syncs: int = 0
    syncs_with_pages: int = 0
    syncs_alloc_zero: int = 0
    empty_packets: int = 0
    stale_sizes: int = 0
    resent_batches: int = 0
    device_state_packets: int = 0
    device_state_len: int = 0
    methods: set[int] = field(default_factory=set)
    payload_len: int = 0


class ChannelWalk:
    """Walks over one channel.

    Args:
        source: where the channel is.
        offset: where it begins.
        page_size_len: the target page size where it is known from elsewhere.
        packet_type: the generation whose field names the records get; all have one layout.

    Attributes:
        init: the initial packet; None before the walk.
        layout_2018: whether it is of 3.0 or 3.1; None where the bytes leave it open.
        page_size_len: bytes of a target page; None where no packet tells.
        counters: counts so far.
        error: why the walk stopped before the end.
        end_offset: behind the last whole packet.
    """

    def __init__(
        self,
        source: Source,
        offset: int,
        *,
        page_size_len: int | None = None,
        packet_type: PacketType = MultifdPacket9,
    ) -> None:
        self.source = source
        self.start_offset = offset
        self.init: MultifdInit | MultifdInit2018 | None = None
        self.layout_2018: bool | None = None
        self.page_size_len = page_size_len
        self.counters = ChannelCounters()
        self.error: StreamError | None = None
        self.end_offset = offset
        self._packet_type = packet_type
        self._last_pages: tuple[str, tuple[int, ...]] = ("", ())

    @property
    def channel_id(self) -> int | None:
        """Id from the initial packet."""
        return self.init.id if self.init else None

    @property
    def uuid(self) -> UUID | None:
        """UUID from the initial packet, None where it is all zeros."""
        from uuid import UUID

        return UUID(bytes=self.init.uuid) if self.init and any(self.init.uuid) else None

    @property
    def label(self) -> str:
        """The channel for people: `channel 1`."""
        return "channel" if self.init is None else f"channel {self.init.id}"

    def items(self) -> Iterator[Record | Packet]:
        """Yield all bytes as `Record`s; behind those of a packet, the `Packet`."""
        cursor = Cursor(self.source, self.start_offset)
        try:
            for item in self._channel(cursor):
                if isinstance(item, Record):
                    self.end_offset = item.offset + item.length
                yield item
        except StreamError as error:
            self.error = error
            end = self.source.end()
            if end is not None and end > self.end_offset:
                yield Opaque(self.end_offset, end - self.end_offset, "not read", extent="damage")

    def packets(self) -> Iterator[Packet]:
        """Yield the packets alone."""
        for item in self.items():
            if isinstance(item, Packet):
                yield item

    def _channel(self, cursor: Cursor) -> Iterator[Record | Packet]:
        yield self._initial_packet(cursor)
        while not cursor.at_end():
            flags_at = field_table(MultifdPacketHdr)["flags"]
            head = cursor.peek(fixed_len(MultifdPacketHdr))
            flags = int.from_bytes(head[flags_at[0] : sum(flags_at)], "big")
            if flags & _DEVICE_STATE and not self.layout_2018:
                yield from self._device_state(cursor)
            elif self.layout_2018:
                yield from self._packet_2018(cursor)
            else:
                yield from self._packet(cursor)
            cursor.source.release(cursor.offset)

    def _initial_packet(self, cursor: Cursor) -> Record:
        start = cursor.offset
        long, short = fixed_len(MultifdInit), fixed_len(MultifdInit2018)
        head = cursor.peek(long + len(_MAGIC))
        self.layout_2018 = self._looks_2018(head, long, short)
        kind: type[MultifdInit] | type[MultifdInit2018]
        kind = MultifdInit2018 if self.layout_2018 else MultifdInit
        self.init = read_record(cursor, kind, what="multifd initial packet")
        if self.init.version != MULTIFD_VERSION:
            raise self._wrong(kind, "version", start, str(MULTIFD_VERSION), self.init.version)
        return Record(start, cursor.offset - start, "multifd initial packet", self.init)

    @staticmethod
    def _looks_2018(head: bytes, long: int, short: int) -> bool:
        if head[long:] == _MAGIC:
            return False
        return len(head) == short or head[short : short + len(_MAGIC)] == _MAGIC

    # -- packets ----------------------------------------------------------------------------------

    def _what(self) -> str:
        return f"multifd {self.label} packet {self.counters.packets}"

    def _wrong(
        self, kind: type[WireRecord], name: str, start: int, expected: str, found: object
    ) -> MalformedStreamError:
        return MalformedStreamError(
            path=self.source.name,
            offset=start + field_table(kind)[name][0],
            record=self._what(),
            field=name,
            expected=expected,
            found=str(found),
        )

    def _packet_2018(self, cursor: Cursor) -> Iterator[Record | Packet]:
        start = cursor.offset
        kind = MultifdPacket2018
        header = read_record(cursor, kind, what=self._what())
        self._check_version(kind, header.version, start)
        if header.size > MAX_PACKET_2018_PAGES:
            raise LimitExceededError(
                path=cursor.name,
                offset=start + field_table(kind)["size"][0],
                record=self._what(),
                field="size",
                expected=f"at most {MAX_PACKET_2018_PAGES}",
                found=str(header.size),
            )
        if header.used > header.size:
            raise self._wrong(kind, "used", start, f"at most size, {header.size}", header.used)
        yield Record(start, cursor.offset - start, "multifd packet header", header)
        offsets = self._read_offsets(cursor, header.size)
        yield offsets
        normal = offsets.detail["pages"][: header.used]
        page_size_len = self.page_size_len or LEGAL_PAGE_SIZES[4]  # 4096: 3.x wrote no other
        yield from self._finish(
            cursor,
            Packet(
                self.counters.packets,
                start,
                header.flags,
                header.packet_num,
                _name(header.ramblock),
                normal,
                (),
                header.size,
                None,
                cursor.offset,
                len(normal) * page_size_len,
            ),
        )

    def _packet(self, cursor: Cursor) -> Iterator[Record | Packet]:
        start = cursor.offset
        kind = self._packet_type
        # The layout is that of 9.0; 7.x and 4.0 have other names for two of its fields.
        fields = read_record(Cursor(cursor.source, start), MultifdPacket9, what=self._what())
        header = fields if kind is MultifdPacket9 else kind.parse(cursor.peek(fixed_len(kind)))
        cursor.offset = start + fixed_len(kind)
        self._check_version(kind, fields.version, start)
        most = self._offsets_len(cursor, fields, start)
        normal_name = "pages_used" if kind is MultifdPacket4 else "normal_pages"
        if fields.normal_pages > most:
            raise self._wrong(kind, normal_name, start, f"at most {most}", fields.normal_pages)
        if fields.zero_pages > most - fields.normal_pages:
            raise self._wrong(
                MultifdPacket9,
                "zero_pages",
                start,
                f"at most {most - fields.normal_pages}",
                fields.zero_pages,
            )
        yield Record(start, cursor.offset - start, "multifd packet header", header)
        offsets = self._read_offsets(cursor, most)
        yield offsets
        pages = offsets.detail["pages"]
        split = fields.normal_pages
        yield from self._finish(
            cursor,
            Packet(
                self.counters.packets,
                start,
                fields.flags,
                fields.packet_num,
                _name(fields.ramblock),
                pages[:split],
                pages[split : split + fields.zero_pages],
                fields.pages_alloc,
                fields.next_packet_size,
                cursor.offset,
                self._payload_len(fields, start),
            ),
        )

    def _check_version(self, kind: type[WireRecord], version: int, start: int) -> None:
        if version != MULTIFD_VERSION:
            raise self._wrong(kind, "version", start, str(MULTIFD_VERSION), version)

    def _offsets_len(self, cursor: Cursor, fields: MultifdPacket9, start: int) -> int:
        """Return P, the length of the offset array; it is the same in every packet."""
        if self.page_size_len is None:
            self.page_size_len = self._found_page_size(cursor, fields, start)
        most = pages_per_packet(self.page_size_len)
        if fields.pages_alloc > most:
            raise self._wrong(
                MultifdPacket9, "pages_alloc", start, f"at most {most}", fields.pages_alloc
            )
        return most

    def _found_page_size(self, cursor: Cursor, fields: MultifdPacket9, start: int) -> int:
        """Find the page size from pages_alloc, or from where the next packet begins."""
        sizes = {pages_per_packet(size): size for size in LEGAL_PAGE_SIZES}
        if fields.pages_alloc in sizes:
            return sizes[fields.pages_alloc]
        base = start + fixed_len(MultifdPacket9)
        for pages, size in sizes.items():
            if cursor.source.read_at(base + pages * _OFFSET_LEN, len(_MAGIC)) == _MAGIC:
                return size
        for pages, size in sizes.items():
            if base + pages * _OFFSET_LEN == cursor.source.end():
                return size
        raise self._wrong(
            MultifdPacket9,
            "pages_alloc",
            start,
            "8 to 2048, a power of two",
            fields.pages_alloc,
        )

    def _payload_len(self, fields: MultifdPacket9, start: int) -> int:
        if fields.normal_pages == 0:
            return 0  # 5.2 to 7.2 leave the size of an earlier packet in next_packet_size
        if fields.flags & COMPRESSION_MASK == MultifdCompression.NOCOMP:
            return fields.normal_pages * (self.page_size_len or 0)
        if fields.next_packet_size > MAX_PACKET_PAYLOAD_LEN:
            raise LimitExceededError(
                path=self.source.name,
                offset=start + field_table(MultifdPacket9)["next_packet_size"][0],
                record=self._what(),
                field="next_packet_size",
                expected=f"at most {MAX_PACKET_PAYLOAD_LEN}",
                found=str(fields.next_packet_size),
            )
        return fields.next_packet_size

    def _device_state(self, cursor: Cursor) -> Iterator[Record | Packet]:
        start = cursor.offset
        kind = MultifdDeviceState
        header = read_record(cursor, kind, what=self._what())
        self._check_version(kind, header.version, start)
        if b"\0" not in header.idstr:
            raise self._wrong(kind, "idstr", start, "a NUL in 256 bytes", "none")
        if not 0 < header.next_packet_size <= MAX_DEVICE_STATE_PACKET_LEN:
            raise self._wrong(
                kind,
                "next_packet_size",
                start,
                f"1 to {MAX_DEVICE_STATE_PACKET_LEN}",
                header.next_packet_size,
            )
        yield Record(start, cursor.offset - start, "multifd device state header", header)
        yield from self._finish(
            cursor,
            Packet(
                self.counters.packets,
                start,
                header.flags,
                None,
                _name(header.idstr),
                (),
                (),
                None,
                header.next_packet_size,
                cursor.offset,
                header.next_packet_size,
            ),
        )

    def _read_offsets(self, cursor: Cursor, count: int) -> Record:
        start = cursor.offset
        data = cursor.read_exact(count * _OFFSET_LEN, what=self._what(), field="offset")
        pages = struct.unpack(f">{count}Q", data)
        return Record(start, len(data), "multifd packet offsets", None, pages=pages)

    def _finish(self, cursor: Cursor, packet: Packet) -> Iterator[Record | Packet]:
        """Move over the payload, count, and yield the packet behind its last record."""
        start = cursor.offset
        cursor.skip(packet.payload_len, what=self._what(), field="payload")
        if packet.payload_len:
            yield Record(start, packet.payload_len, "multifd payload")
        self._count(packet)
        yield packet

    def _count(self, packet: Packet) -> None:
        counters = self.counters
        counters.packets += 1
        counters.payload_len += packet.payload_len
        if packet.device_state:
            counters.device_state_packets += 1
            counters.device_state_len += packet.payload_len
            return
        counters.normal_pages += len(packet.normal_pages)
        counters.zero_pages += len(packet.zero_pages)
        if packet.normal_pages:
            counters.data_packets += 1
            counters.methods.add(packet.compression)
        elif packet.next_packet_size:
            counters.stale_sizes += 1
        has_pages = bool(packet.normal_pages or packet.zero_pages)
        if packet.sync:
            counters.syncs += 1
            counters.syncs_with_pages += has_pages
            counters.syncs_alloc_zero += packet.pages_alloc == 0
            again = has_pages and self._last_pages == (packet.block, packet.normal_pages)
            counters.resent_batches += again
        elif not has_pages:
            counters.empty_packets += 1
        if has_pages:
            self._last_pages = (packet.block, packet.normal_pages)


def _name(field_bytes: bytes) -> str:
    """Return the name before the NUL; what stands behind is left over from longer names."""
    return field_bytes.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
