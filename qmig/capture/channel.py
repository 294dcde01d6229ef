"""One multifd channel: initial packet, packets of any generation, payload as it stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.channel_packets import ChannelCounters, Packet
from qmig.capture.channel_resync import next_packet
from qmig.capture.ordinary_packets import iter_ordinary
from qmig.capture.packet_reader import PacketReader
from qmig.capture.records import Opaque, Record
from qmig.capture.source import Cursor
from qmig.errors import StreamError, TruncatedStreamError
from qmig.faults import Fault
from qmig.limits import MAX_DAMAGED_PLACES
from qmig.wire.gate import read_record
from qmig.wire.magic import MULTIFD_MAGIC_BYTES
from qmig.wire.multifd import (
    MULTIFD_VERSION,
    MultifdInit,
    MultifdInit2018,
    MultifdPacket9,
    MultifdPacketHdr,
)
from qmig.wire.record import field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from qmig.capture.packet_reader import PacketType
    from qmig.capture.source import Source

__all__ = ["ChannelCounters", "ChannelWalk", "Packet"]


class ChannelWalk(PacketReader):
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
        super().__init__(
            source, page_size_len=page_size_len, packet_type=packet_type, resync=resync
        )
        self.start_offset = offset
        self.end_offset = offset

    @property
    def error(self) -> StreamError | None:
        """Why the walk stopped before the end; with `resync`, the first thing that is wrong."""
        return self.errors[0] if self.errors else None

    @property
    def uuid(self) -> UUID | None:
        """UUID from the initial packet, None where it is all zeros."""
        from uuid import UUID

        return UUID(bytes=self.init.uuid) if self.init and any(self.init.uuid) else None

    def items(self, *, briefly: bool = False) -> Iterator[Record | Packet]:
        """Yield all bytes as `Record`s; behind those of a packet, the `Packet`.

        Args:
            briefly: leave out the records of packets in which nothing is out of the ordinary.
        """
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
            if briefly:
                yield from iter_ordinary(self, cursor)
            if cursor.at_end():
                return
            items = self.packet(cursor)

    def _following(self, cursor: Cursor) -> int | None:
        """Move behind damage, to where the walk can go on, and return that; None: nowhere."""
        if not self.resync or self.index < 0 or len(self.errors) >= MAX_DAMAGED_PLACES:
            return None
        following = next_packet(self.source, max(self.end_offset, self.packet_offset + 1))
        if following is not None:
            cursor.offset = following
        return following

    def _with_cause(self, error: StreamError) -> StreamError:
        if error.fault is None and isinstance(error, TruncatedStreamError):
            error.fault = Fault.CHANNEL_CUT
        return error

    def packets(self) -> Iterator[Packet]:
        """Yield the packets alone."""
        for item in self.items(briefly=True):
            if isinstance(item, Packet):
                yield item

    def _initial_packet(self, cursor: Cursor) -> Iterator[Record]:
        start = cursor.offset
        long, short = fixed_len(MultifdInit), fixed_len(MultifdInit2018)
        head = cursor.peek(long + len(MULTIFD_MAGIC_BYTES))
        self.layout_2018 = self._looks_2018(head, long, short)
        kind: type[MultifdInit] | type[MultifdInit2018]
        kind = MultifdInit2018 if self.layout_2018 else MultifdInit
        self.init = read_record(cursor, kind, what="multifd initial packet")
        version = self.init.version
        if version != MULTIFD_VERSION:
            wrong = self.wrong(
                kind,
                "version",
                start,
                str(MULTIFD_VERSION),
                version,
                fault=Fault.CHANNEL_VERSION,
                version=version,
            )
            if not self.resync:
                raise wrong
            self.errors.append(wrong)  # the rest is as it must be
        yield Record(start, cursor.offset - start, "multifd initial packet", self.init)

    @staticmethod
    def _looks_2018(head: bytes, long: int, short: int) -> bool:
        if head[long:] == MULTIFD_MAGIC_BYTES:
            return False
        if len(head) == short or head[short:].startswith(MULTIFD_MAGIC_BYTES):
            return True
        # The magic of the first packet may be damaged; its version stands where it should.
        version_at = short + field_table(MultifdPacketHdr)["version"][0]
        return head[version_at : version_at + 4] == MULTIFD_VERSION.to_bytes(4, "big")
