"""Packets one by one: counts, flags, block, offsets, and what next_packet_size says."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.checks.check import Check, Context
from qmig.wire.multifd import (
    MULTIFD_PACKET_SIZE,
    MultifdDeviceState,
    MultifdPacket9,
    MultifdPacket2018,
    MultifdPacketHdr,
)
from qmig.wire.multifd_flags import COMPRESSION_MASK, MultifdCompression, MultifdFlag
from qmig.wire.record import field_table, fixed_len

if TYPE_CHECKING:
    from qmig.capture.channel import ChannelWalk, Packet
    from qmig.capture.container import Container
    from qmig.capture.records import Record
    from qmig.memory import RamBlock

_METHODS: Final = frozenset(MultifdCompression)
_KNOWN_FLAGS: Final = int(MultifdFlag.SYNC | MultifdFlag.DEVICE_STATE) | COMPRESSION_MASK
_FLAGS: Final = field_table(MultifdPacketHdr)["flags"]
_ROOM_LEN: Final = 2 * MULTIFD_PACKET_SIZE  # what a receiver has for a compressed payload
_OFFSET_LEN: Final = 8


class PacketCheck(Check):
    """What is wrong in a packet by itself, or against the block list."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._method: int | None = None  # of the first packet with pages, of all channels
        self._blocks: dict[str, RamBlock] | None = None

    def packet(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        """Look at a packet."""
        unknown = packet.flags & ~_KNOWN_FLAGS
        if unknown:
            self._report(
                "QM314",
                container,
                walk,
                packet,
                "flags",
                f"bits of 0x{_KNOWN_FLAGS:x}",
                f"0x{unknown:x} as well",
            )
        if packet.device_state:
            return
        self._counts(container, walk, packet)
        if packet.normal_pages or packet.zero_pages:
            self._compression(container, walk, packet)
            self._pages(container, walk, packet)

    def _counts(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        alloc = packet.pages_alloc or 0
        normal, zero = len(packet.normal_pages), len(packet.zero_pages)
        if normal + zero <= alloc:
            return
        for rule_id, name, count, most in (
            ("QM316", "normal_pages", normal, alloc),
            ("QM317", "zero_pages", zero, max(0, alloc - normal)),
        ):
            if count > most:
                self._report(
                    rule_id,
                    container,
                    walk,
                    packet,
                    name,
                    f"at most {most}, with pages_alloc {alloc}",
                    str(count),
                    pages=count,
                    most=most,
                )
                return

    def _compression(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        method = packet.compression
        if method not in _METHODS:
            self._report(
                "QM313",
                container,
                walk,
                packet,
                "flags",
                "the number of a compression method",
                f"0x{method:02x}",
                flags=method,
                wanted=self._method or 0,
            )
            return
        if self._method is None:
            self._method = method
        if method != self._method:
            self._report(
                "QM312",
                container,
                walk,
                packet,
                "flags",
                f"method {MultifdCompression(self._method).name}, as before",
                MultifdCompression(method).name,
                flags=method,
                wanted=self._method,
            )
        told, normal = packet.next_packet_size, len(packet.normal_pages)
        if told is None:
            return
        if method == MultifdCompression.NOCOMP:
            length = packet.payload_len
            if normal and told != length:
                self._size("QM321", container, walk, packet, f"{length}, {normal} pages")
        elif not normal and told:
            self._size("QM322", container, walk, packet, "0, as there is no normal page")
        elif told > _ROOM_LEN:
            self._size("QM324", container, walk, packet, f"at most {_ROOM_LEN}")

    def _size(
        self, rule_id: str, container: Container, walk: ChannelWalk, packet: Packet, expected: str
    ) -> None:
        size = packet.next_packet_size or 0
        name = "next_packet_size"
        self._report(rule_id, container, walk, packet, name, expected, str(size), size=size)

    def _pages(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        main = self.context.walk
        if main is None or not main.blocks:
            return
        if self._blocks is None:
            self._blocks = {block.name: block for block in main.blocks}
        block = self._blocks.get(packet.block)
        if block is None:
            self._report(
                "QM318",
                container,
                walk,
                packet,
                "ramblock",
                "the name of a block in the main stream's block list",
                repr(packet.block[:64]),
                block=packet.block[:255],
            )
            return
        size = walk.page_size_len or DEFAULT_PAGE_SIZE_LEN
        most = block.used_length - size
        run = packet.page_run(size)
        if run and run[-1] <= most and not run[0] & (size - 1):
            return
        addrs = packet.normal_pages + packet.zero_pages
        if max(addrs) > most:
            at = next(at for at, addr in enumerate(addrs) if addr > most)
            self._offset("QM319", container, walk, packet, at, f"at most 0x{max(0, most):x}", block)
        else:
            if reduce(or_, addrs) & (size - 1):
                at = next(at for at, addr in enumerate(addrs) if addr & (size - 1))
                self._offset("QM320", container, walk, packet, at, f"a multiple of {size}", block)

    def _offset(
        self,
        rule_id: str,
        container: Container,
        walk: ChannelWalk,
        packet: Packet,
        at: int,
        expected: str,
        block: RamBlock,
    ) -> None:
        """Report the first bad entry of a packet's array of offsets."""
        addr = (packet.normal_pages + packet.zero_pages)[at]
        head = MultifdPacket2018 if walk.layout_2018 else MultifdPacket9
        self.context.report(
            rule_id,
            container,
            offset=packet.offset + fixed_len(head) + at * _OFFSET_LEN,
            length=_OFFSET_LEN,
            record=name_of(walk, packet.index),
            field=f"offset[{at}]",
            expected=f"{expected}, in block {block.name}",
            found=f"0x{addr:x}",
            addr=addr,
            used_length=block.used_length,
        )

    def _report(
        self,
        rule_id: str,
        container: Container,
        walk: ChannelWalk,
        packet: Packet,
        name: str,
        expected: str,
        found: str,
        **values: int | str,
    ) -> None:
        at, length = _field(walk, name)
        self.context.report(
            rule_id,
            container,
            offset=packet.offset + at,
            length=length,
            record=name_of(walk, packet.index),
            field=name,
            expected=expected,
            found=found,
            channel=walk.channel_id or 0,
            **values,
        )


class DeviceStateCheck(Check):
    """Packets with device state, against the sections of the main stream."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"multifd device state header"})

    def record(self, container: Container, record: Record) -> None:
        """Look at the header of a device-state packet."""
        wire = record.wire
        if not isinstance(wire, MultifdDeviceState):
            return
        idstr = wire.idstr.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        what = f"multifd device state of {idstr[:64]!r}"
        if wire.flags & MultifdFlag.SYNC:
            self.context.report(
                "QM352",
                container,
                offset=record.offset + _FLAGS[0],
                length=_FLAGS[1],
                record=what,
                field="flags",
                expected="no SYNC",
                found=f"0x{wire.flags:x}",
            )
        main = self.context.walk
        if main is None or main.errors:
            return
        sections = {(row.idstr, row.instance_id) for row in main.sections.rows}
        if (idstr, wire.instance_id) not in sections:
            offset, length = field_table(MultifdDeviceState)["idstr"]
            self.context.report(
                "QM353",
                container,
                offset=record.offset + offset,
                length=length,
                record=what,
                field="idstr",
                expected="name and instance of a section of the main stream",
                found=f"{idstr[:64]!r}, instance {wire.instance_id}",
                idstr=idstr,
                instance=wire.instance_id,
            )


def name_of(walk: ChannelWalk, index: int) -> str:
    """Return a packet's name in findings: `multifd channel 1 packet 7`."""
    return f"multifd {walk.label} packet {index}"


def _field(walk: ChannelWalk, name: str) -> tuple[int, int]:
    """Return offset and length of a field in a packet header, under its newest name."""
    if not walk.layout_2018:
        return field_table(MultifdPacket9)[name]
    return field_table(MultifdPacket2018)[{"normal_pages": "used"}.get(name, name)]
