"""The packets of one multifd channel, one by one: headers of any generation, offsets, payload."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from qmig.capture.channel_packets import ChannelCounters, Packet, block_name
from qmig.capture.channel_resync import begins_packet, next_packet, packet_page_size
from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.capture.records import Record
from qmig.capture.source import Cursor
from qmig.errors import LimitExceededError, MalformedStreamError, StreamError
from qmig.faults import Fault
from qmig.limits import (
    MAX_DEVICE_STATE_PACKET_LEN,
    MAX_PACKET_2018_PAGES,
    MAX_PACKET_PAYLOAD_LEN,
)
from qmig.wire.gate import read_record, spaced_hex
from qmig.wire.magic import MULTIFD_MAGIC, MULTIFD_MAGIC_BYTES
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
from qmig.wire.record import fast_parser, field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.source import Source
    from qmig.wire.gate import R
    from qmig.wire.record import WireRecord

    PacketType = type[MultifdPacket4] | type[MultifdPacket7] | type[MultifdPacket9]

_DEVICE_STATE: Final = int(MultifdFlag.DEVICE_STATE)
_OFFSET_LEN: Final = 8


class PacketReader:
    """Reads packets; what a walk over a channel has found so far decides how.

    Args:
        source: where the channel is.
        page_size_len: the target page size where it is known from elsewhere.
        packet_type: the generation whose field names the records get; all have one layout.
        resync: hold each packet against where the next one begins, too.

    Attributes:
        init: the initial packet; None before it was read.
        layout_2018: whether it is of 3.0 or 3.1; None where the bytes leave it open.
        page_size_len: bytes of a target page; None where no packet tells.
        counters: counts so far.
        errors: all that is wrong so far.
        resync: as given.
        index: of the packet that is being read, those that are damaged counted; -1 before.
        packet_offset: where that begins.
    """

    def __init__(
        self,
        source: Source,
        *,
        page_size_len: int | None = None,
        packet_type: PacketType = MultifdPacket9,
        resync: bool = False,
    ) -> None:
        self.source = source
        self.init: MultifdInit | MultifdInit2018 | None = None
        self.layout_2018: bool | None = None
        self.page_size_len = page_size_len
        self.counters = ChannelCounters()
        self.errors: list[StreamError] = []
        self.index = -1
        self.packet_offset = 0
        self._packet_type = packet_type
        self.resync = resync

    @property
    def channel_id(self) -> int | None:
        """Id from the initial packet."""
        return self.init.id if self.init else None

    @property
    def label(self) -> str:
        """The channel for people: `channel 1`."""
        return "channel" if self.init is None else f"channel {self.init.id}"

    def packet(self, cursor: Cursor) -> Iterator[Record | Packet]:
        """Yield the records of the packet at the cursor, and then the packet.

        Raises:
            StreamError: it is damaged.
        """
        self.index += 1
        self.packet_offset = cursor.offset
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

    def _what(self) -> str:
        if self.index < 0:
            return f"multifd {self.label} initial packet"
        return f"multifd {self.label} packet {self.index}"

    def wrong(
        self,
        kind: type[WireRecord],
        name: str,
        start: int,
        expected: str,
        found: object,
        *,
        fault: Fault | None = None,
        limit: bool = False,
        **values: int | str,
    ) -> MalformedStreamError:
        """Return the error for a field of a header at `start`; `values` are for QEMU's message."""
        return (LimitExceededError if limit else MalformedStreamError)(
            path=self.source.name,
            offset=start + field_table(kind)[name][0],
            record=self._what(),
            field=name,
            expected=expected,
            found=str(found),
            fault=fault,
            values={"channel": self.channel_id or 0, **values},
        )

    def _header(self, cursor: Cursor, kind: type[R]) -> R:
        """Read a packet header whose magic and version are right."""
        start = cursor.offset
        head = cursor.peek(fixed_len(MultifdPacketHdr))
        magic, version = head[:4], int.from_bytes(head[4:8], "big")
        if len(head) == fixed_len(MultifdPacketHdr):
            if magic != MULTIFD_MAGIC_BYTES:
                raise self.wrong(
                    MultifdPacketHdr,
                    "magic",
                    start,
                    f"0x{MULTIFD_MAGIC:x}",
                    spaced_hex(magic),
                    fault=Fault.PACKET_MAGIC,
                    magic=int.from_bytes(magic, "big"),
                )
            if version != MULTIFD_VERSION:
                raise self.wrong(
                    MultifdPacketHdr,
                    "version",
                    start,
                    str(MULTIFD_VERSION),
                    version,
                    fault=Fault.PACKET_VERSION,
                    version=version,
                )
        data = cursor.peek(fixed_len(kind))
        if len(data) < fixed_len(kind):
            return read_record(cursor, kind, what=self._what())
        cursor.advance(len(data))
        header: R = fast_parser(kind)(data)
        return header

    def _packet_2018(self, cursor: Cursor) -> Iterator[Record | Packet]:
        start = cursor.offset
        kind = MultifdPacket2018
        header = self._header(cursor, kind)
        size, used = header.size, header.used
        if size > MAX_PACKET_2018_PAGES:
            most = MAX_PACKET_2018_PAGES
            raise self.wrong(kind, "size", start, f"at most {most}", size, limit=True)
        if used > size:
            fault, expected = Fault.PACKET_NORMAL, f"at most size, {size}"
            raise self.wrong(
                kind, "used", start, expected, used, fault=fault, pages=used, most=size
            )
        yield Record(start, cursor.offset - start, "multifd packet header", header)
        offsets = self._read_offsets(cursor, size)
        yield offsets
        normal = offsets.detail["pages"][:used]
        page_size_len = self.page_size_len or LEGAL_PAGE_SIZES[4]  # 4096: 3.x wrote no other
        yield from self._finish(
            cursor,
            Packet(
                self.index,
                start,
                header.flags,
                header.packet_num,
                block_name(header.ramblock),
                normal,
                (),
                size,
                None,
                cursor.offset,
                len(normal) * page_size_len,
            ),
        )

    def _packet(self, cursor: Cursor) -> Iterator[Record | Packet]:
        start = cursor.offset
        kind = self._packet_type
        # The layout is that of 9.0; 7.x and 4.0 have other names for two of its fields.
        fields = self._header(Cursor(cursor.source, start), MultifdPacket9)
        header = fields if kind is MultifdPacket9 else kind.parse(cursor.peek(fixed_len(kind)))
        cursor.offset = start + fixed_len(kind)
        most = self._offsets_len(cursor, fields, start)
        self._check_counts(fields, start, most)
        yield Record(start, cursor.offset - start, "multifd packet header", header)
        offsets = self._read_offsets(cursor, most)
        yield offsets
        pages = offsets.detail["pages"]
        split = fields.normal_pages
        yield from self._finish(
            cursor,
            Packet(
                self.index,
                start,
                fields.flags,
                fields.packet_num,
                block_name(fields.ramblock),
                pages[:split],
                pages[split : split + fields.zero_pages],
                fields.pages_alloc,
                fields.next_packet_size,
                cursor.offset,
                self._payload_len(fields, start),
            ),
        )

    def _check_counts(self, fields: MultifdPacket9, start: int, most: int) -> None:
        """Hold the counts against the length of the offset array."""
        alloc, normal, zero = fields.pages_alloc, fields.normal_pages, fields.zero_pages
        normal_name = "pages_used" if self._packet_type is MultifdPacket4 else "normal_pages"
        for name, count, room, allowed, fault in (
            ("pages_alloc", alloc, most, most, Fault.PACKET_ALLOC),
            (normal_name, normal, most, alloc, Fault.PACKET_NORMAL),
            ("zero_pages", zero, most - normal, max(0, alloc - normal), Fault.PACKET_ZERO),
        ):
            if count > room:
                kind = self._packet_type if name == normal_name else MultifdPacket9
                expected = f"at most {room}"
                raise self.wrong(
                    kind, name, start, expected, count, fault=fault, pages=count, most=allowed
                )

    def _offsets_len(self, cursor: Cursor, fields: MultifdPacket9, start: int) -> int:
        """Return P, the length of the offset array; it is the same in every packet."""
        if self.page_size_len is None:
            alloc = fields.pages_alloc
            offsets_at = start + fixed_len(MultifdPacket9)
            self.page_size_len = packet_page_size(cursor.source, offsets_at, alloc)
            if self.page_size_len is None:
                expected = "8 to 2048, a power of two"
                raise self.wrong(MultifdPacket9, "pages_alloc", start, expected, alloc)
        return pages_per_packet(self.page_size_len)

    def _payload_len(self, fields: MultifdPacket9, start: int) -> int:
        normal, told = fields.normal_pages, fields.next_packet_size
        if normal == 0:
            return 0  # 5.2 to 7.2 leave the size of an earlier packet in next_packet_size
        method = fields.flags & COMPRESSION_MASK
        if method == MultifdCompression.NOCOMP:
            plain_len = normal * (self.page_size_len or 0)
            if self.resync and plain_len != told and any(self.counters.methods):
                raise self._method_changed(method, start)
            return plain_len
        if told > MAX_PACKET_PAYLOAD_LEN:
            raise self.wrong(
                MultifdPacket9,
                "next_packet_size",
                start,
                f"at most {MAX_PACKET_PAYLOAD_LEN}",
                told,
                limit=True,
                fault=Fault.PACKET_SIZE_LIMIT,
                size=told,
            )
        return told

    def _method_changed(self, method: int, start: int) -> MalformedStreamError:
        """Return the error for a packet that says `none` and has a compressed payload."""
        before = max(self.counters.methods)
        return self.wrong(
            MultifdPacket9,
            "flags",
            start,
            f"method {MultifdCompression(before).name}, as before",
            "NOCOMP",
            fault=Fault.PACKET_METHOD_CHANGED,
            flags=method,
            wanted=before,
        )

    def _device_state(self, cursor: Cursor) -> Iterator[Record | Packet]:
        start = cursor.offset
        kind = MultifdDeviceState
        header = self._header(cursor, kind)
        size = header.next_packet_size
        if b"\0" not in header.idstr:
            fault = Fault.DEVICE_STATE_NAME
            raise self.wrong(kind, "idstr", start, "a NUL in 256 bytes", "none", fault=fault)
        if not 0 < size <= MAX_DEVICE_STATE_PACKET_LEN:
            expected = f"1 to {MAX_DEVICE_STATE_PACKET_LEN}"
            fault = Fault.DEVICE_STATE_EMPTY if not size else Fault.LIMIT
            raise self.wrong(
                kind, "next_packet_size", start, expected, size, fault=fault, limit=bool(size)
            )
        yield Record(start, cursor.offset - start, "multifd device state header", header)
        yield from self._finish(
            cursor,
            Packet(
                self.index,
                start,
                header.flags,
                None,
                block_name(header.idstr),
                (),
                (),
                None,
                size,
                cursor.offset,
                size,
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
        if self.resync and packet.payload_len:
            self._check_size(packet)
        cursor.skip(packet.payload_len, what=self._what(), field="payload")
        if packet.payload_len:
            yield Record(start, packet.payload_len, "multifd payload")
        self.counters.count(packet)
        yield packet

    def _check_size(self, packet: Packet) -> None:
        """Hold the length of the payload against where the next packet begins."""
        source, start = self.source, packet.payload_offset
        end = start + packet.payload_len
        head = source.read_at(end, fixed_len(MultifdPacketHdr))
        if begins_packet(head) and (head or source.read_at(end - 1, 1)):
            return
        following = next_packet(source, start)
        if following is None:
            return  # what stands there instead is wrong, or missing
        told = packet.next_packet_size is not None and packet.compression
        kind = MultifdPacket2018 if packet.next_packet_size is None else self._packet_type
        name = next(n for n in ("used", "pages_used", "normal_pages") if n in field_table(kind))
        raise self.wrong(
            kind,
            "next_packet_size" if told else name,
            packet.offset,
            f"the length of what follows, {following - start} bytes",
            f"{packet.payload_len} bytes",
            fault=Fault.PACKET_SIZE,
            magic=int.from_bytes(head[:4], "big"),
        )
