"""One multifd channel: initial packet, packets of any generation, payload as it stands there."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from qmig.capture.channel_packets import ChannelCounters, Packet
from qmig.capture.channel_resync import begins_packet, next_packet
from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.capture.records import Opaque, Record
from qmig.capture.source import Cursor
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    StreamError,
    TruncatedStreamError,
)
from qmig.faults import Fault
from qmig.limits import (
    MAX_DAMAGED_PLACES,
    MAX_DEVICE_STATE_PACKET_LEN,
    MAX_PACKET_2018_PAGES,
    MAX_PACKET_PAYLOAD_LEN,
)
from qmig.wire.gate import read_record, spaced_hex
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
from qmig.wire.record import fast_parser, field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from qmig.capture.source import Source
    from qmig.wire.gate import R
    from qmig.wire.record import WireRecord

    PacketType = type[MultifdPacket4] | type[MultifdPacket7] | type[MultifdPacket9]

__all__ = ["ChannelCounters", "ChannelWalk", "Packet"]

_MAGIC: Final = MULTIFD_MAGIC.to_bytes(4, "big")
_DEVICE_STATE: Final = int(MultifdFlag.DEVICE_STATE)
_OFFSET_LEN: Final = 8


class ChannelWalk:
    """Walks over one channel.

    Args:
        source: where the channel is.
        offset: where it begins.
        page_size_len: the target page size where it is known from elsewhere.
        packet_type: the generation whose field names the records get; all have one layout.
        resync: go on behind damage, at the next packet header.

    Attributes:
        init: the initial packet; None before the walk.
        layout_2018: whether it is of 3.0 or 3.1; None where the bytes leave it open.
        page_size_len: bytes of a target page; None where no packet tells.
        counters: counts so far.
        error: why the walk stopped before the end; with `resync`, the first of `errors`.
        errors: all that is wrong, of at most `MAX_DAMAGED_PLACES` places.
        end_offset: behind the last whole record; with damage at the end, where that begins.
    """

    def __init__(
        self,
        source: Source,
        offset: int,
        *,
        page_size_len: int | None = None,
        packet_type: PacketType = MultifdPacket9,
        resync: bool = False,
    ) -> None:
        self.source = source
        self.start_offset = offset
        self.init: MultifdInit | MultifdInit2018 | None = None
        self.layout_2018: bool | None = None
        self.page_size_len = page_size_len
        self.counters = ChannelCounters()
        self.errors: list[StreamError] = []
        self.end_offset = offset
        self._packet_type = packet_type
        self._resync = resync
        self._index = -1  # of the packet that is being read, those that are damaged counted
        self._packet_offset = offset

    @property
    def error(self) -> StreamError | None:
        """Why the walk stopped before the end; with `resync`, the first thing that is wrong."""
        return self.errors[0] if self.errors else None

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
        items: Iterator[Record | Packet] = self._initial_packet(cursor)
        while True:
            try:
                for item in items:
                    if isinstance(item, Record):
                        self.end_offset = item.offset + item.length
                    yield item
            except StreamError as error:
                self.errors.append(self._with_cause(error))
                following = self._following(cursor)
                end = self.source.end() if following is None else following
                if end is not None and end > self.end_offset:
                    start = self.end_offset
                    yield Opaque(start, end - start, "not read", extent="damage")
                if following is None:
                    return
            if cursor.at_end():
                return
            items = self._any_packet(cursor)

    def _following(self, cursor: Cursor) -> int | None:
        """Move behind damage, to where the walk can go on, and return that; None: nowhere."""
        if not self._resync or self._index < 0 or len(self.errors) >= MAX_DAMAGED_PLACES:
            return None
        following = next_packet(self.source, max(self.end_offset, self._packet_offset + 1))
        if following is not None:
            cursor.offset = following
        return following

    def _with_cause(self, error: StreamError) -> StreamError:
        if error.fault is None and isinstance(error, TruncatedStreamError):
            error.fault = Fault.CHANNEL_CUT
        return error

    def packets(self) -> Iterator[Packet]:
        """Yield the packets alone."""
        for item in self.items():
            if isinstance(item, Packet):
                yield item

    def _any_packet(self, cursor: Cursor) -> Iterator[Record | Packet]:
        self._index += 1
        self._packet_offset = cursor.offset
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

    def _initial_packet(self, cursor: Cursor) -> Iterator[Record]:
        start = cursor.offset
        long, short = fixed_len(MultifdInit), fixed_len(MultifdInit2018)
        head = cursor.peek(long + len(_MAGIC))
        self.layout_2018 = self._looks_2018(head, long, short)
        kind: type[MultifdInit] | type[MultifdInit2018]
        kind = MultifdInit2018 if self.layout_2018 else MultifdInit
        self.init = read_record(cursor, kind, what="multifd initial packet")
        version = self.init.version
        if version != MULTIFD_VERSION:
            wrong = self._wrong(
                kind,
                "version",
                start,
                str(MULTIFD_VERSION),
                version,
                fault=Fault.CHANNEL_VERSION,
                version=version,
            )
            if not self._resync:
                raise wrong
            self.errors.append(wrong)  # the rest is as it must be
        yield Record(start, cursor.offset - start, "multifd initial packet", self.init)

    @staticmethod
    def _looks_2018(head: bytes, long: int, short: int) -> bool:
        if head[long:] == _MAGIC:
            return False
        return len(head) == short or head[short : short + len(_MAGIC)] == _MAGIC

    # -- packets ----------------------------------------------------------------------------------

    def _what(self) -> str:
        if self._index < 0:
            return f"multifd {self.label} initial packet"
        return f"multifd {self.label} packet {self._index}"

    def _wrong(
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
            if magic != _MAGIC:
                raise self._wrong(
                    MultifdPacketHdr,
                    "magic",
                    start,
                    f"0x{MULTIFD_MAGIC:x}",
                    spaced_hex(magic),
                    fault=Fault.PACKET_MAGIC,
                    magic=int.from_bytes(magic, "big"),
                )
            if version != MULTIFD_VERSION:
                raise self._wrong(
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
            raise self._wrong(kind, "size", start, f"at most {most}", size, limit=True)
        if used > size:
            fault, expected = Fault.PACKET_NORMAL, f"at most size, {size}"
            raise self._wrong(
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
                self._index,
                start,
                header.flags,
                header.packet_num,
                _name(header.ramblock),
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
                self._index,
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

    def _check_counts(self, fields: MultifdPacket9, start: int, most: int) -> None:
        """Hold the counts against the length of the offset array."""
        alloc, normal, zero = fields.pages_alloc, fields.normal_pages, fields.zero_pages
        if alloc > most:
            raise self._wrong(
                MultifdPacket9,
                "pages_alloc",
                start,
                f"at most {most}",
                alloc,
                fault=Fault.PACKET_ALLOC,
                pages=alloc,
                most=most,
            )
        if normal > most:
            old = self._packet_type is MultifdPacket4
            raise self._wrong(
                self._packet_type,
                "pages_used" if old else "normal_pages",
                start,
                f"at most {most}",
                normal,
                fault=Fault.PACKET_NORMAL,
                pages=normal,
                most=alloc,
            )
        if zero > most - normal:
            raise self._wrong(
                MultifdPacket9,
                "zero_pages",
                start,
                f"at most {most - normal}",
                zero,
                fault=Fault.PACKET_ZERO,
                pages=zero,
                most=max(0, alloc - normal),
            )

    def _offsets_len(self, cursor: Cursor, fields: MultifdPacket9, start: int) -> int:
        """Return P, the length of the offset array; it is the same in every packet."""
        if self.page_size_len is None:
            self.page_size_len = self._found_page_size(cursor, fields, start)
        return pages_per_packet(self.page_size_len)

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
        alloc = fields.pages_alloc
        expected = "8 to 2048, a power of two"
        raise self._wrong(MultifdPacket9, "pages_alloc", start, expected, alloc)

    def _payload_len(self, fields: MultifdPacket9, start: int) -> int:
        normal, told = fields.normal_pages, fields.next_packet_size
        if normal == 0:
            return 0  # 5.2 to 7.2 leave the size of an earlier packet in next_packet_size
        method = fields.flags & COMPRESSION_MASK
        if method == MultifdCompression.NOCOMP:
            plain_len = normal * (self.page_size_len or 0)
            if self._resync and plain_len != told and any(self.counters.methods):
                raise self._method_changed(method, start)
            return plain_len
        if told > MAX_PACKET_PAYLOAD_LEN:
            raise self._wrong(
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
        return self._wrong(
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
            raise self._wrong(kind, "idstr", start, "a NUL in 256 bytes", "none", fault=fault)
        if not 0 < size <= MAX_DEVICE_STATE_PACKET_LEN:
            expected = f"1 to {MAX_DEVICE_STATE_PACKET_LEN}"
            fault = Fault.DEVICE_STATE_EMPTY if not size else Fault.LIMIT
            raise self._wrong(
                kind, "next_packet_size", start, expected, size, fault=fault, limit=bool(size)
            )
        yield Record(start, cursor.offset - start, "multifd device state header", header)
        yield from self._finish(
            cursor,
            Packet(
                self._index,
                start,
                header.flags,
                None,
                _name(header.idstr),
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
        if self._resync and packet.payload_len:
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
        raise self._wrong(
            kind,
            "next_packet_size" if told else name,
            packet.offset,
            f"the length of what follows, {following - start} bytes",
            f"{packet.payload_len} bytes",
            fault=Fault.PACKET_SIZE,
            magic=int.from_bytes(head[:4], "big"),
        )


def _name(field_bytes: bytes) -> str:
    """Return the name before the NUL; what stands behind is left over from longer names."""
    return field_bytes.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
