"""What is known of one multifd packet, and what a walk over a channel counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from qmig.wire.multifd_flags import COMPRESSION_MASK, MultifdFlag

_DEVICE_STATE: Final = int(MultifdFlag.DEVICE_STATE)
_SYNC: Final = int(MultifdFlag.SYNC)


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
    _run: range = field(default=range(0), init=False, repr=False, compare=False)

    def page_run(self, page_size_len: int) -> range:
        """Return the offsets of all pages in ascending order; empty where they are not one run.

        Nearly all packets carry one run, in whatever order: zero pages stand behind the others.
        """
        if self._run.step != page_size_len:
            addrs = sorted(self.normal_pages + self.zero_pages)
            first = addrs[0] if addrs else 0
            run = range(first, first + len(addrs) * page_size_len, page_size_len)
            self._run = run if addrs == list(run) else range(0, 0, page_size_len)
        return self._run

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
        highest_nums: the two highest packet_num, the higher one first; -1: there is none.
        last_pages: block and offsets of the last packet with pages.
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
    highest_nums: tuple[int, int] = (-1, -1)
    last_pages: tuple[str, tuple[int, ...]] = ("", ())

    def count(self, packet: Packet) -> None:
        """Count a packet."""
        self.packets += 1
        self.payload_len += packet.payload_len
        if packet.device_state:
            self.device_state_packets += 1
            self.device_state_len += packet.payload_len
            return
        number = packet.packet_num
        if number is not None and number > self.highest_nums[1]:
            first = self.highest_nums[0]
            self.highest_nums = (number, first) if number > first else (first, number)
        self.normal_pages += len(packet.normal_pages)
        self.zero_pages += len(packet.zero_pages)
        if packet.normal_pages:
            self.data_packets += 1
            self.methods.add(packet.compression)
        elif packet.next_packet_size:
            self.stale_sizes += 1
        has_pages = bool(packet.normal_pages or packet.zero_pages)
        if packet.sync:
            self.syncs += 1
            self.syncs_with_pages += has_pages
            self.syncs_alloc_zero += packet.pages_alloc == 0
            again = has_pages and self.last_pages == (packet.block, packet.normal_pages)
            self.resent_batches += again
        elif not has_pages:
            self.empty_packets += 1
        if has_pages:
            self.last_pages = (packet.block, packet.normal_pages)


def block_name(field_bytes: bytes) -> str:
    """Return the name before the NUL; what stands behind is left over from longer names."""
    return field_bytes.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
