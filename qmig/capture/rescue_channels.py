"""The pages of a damaged multifd channel: those of each packet that is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.channel import ChannelWalk
from qmig.capture.inflate import WHOLE_PACKET
from qmig.capture.multifd import ChannelPages
from qmig.errors import MalformedStreamError, StreamError
from qmig.limits import MAX_DAMAGED_PLACES
from qmig.memory import PageKind, PageRun, RamBlock
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.capture.channel import Packet
    from qmig.capture.container import Container

_STRAY: Final = RamBlock(-1, "", 0, -1)  # of pages that cannot be placed


class PacketRuns:
    """The pages of one packet.

    Attributes:
        epoch: SYNC packets before it.
        number: its packet_num.
        inflated: whether data_offset of plain runs counts in the inflated bytes.
        broken: whether its payload cannot be had.
        runs: the pages.
    """

    __slots__ = ("broken", "epoch", "inflated", "number", "runs")

    def __init__(
        self, epoch: int, number: int, runs: list[PageRun], *, inflated: bool, broken: bool
    ) -> None:
        self.epoch = epoch
        self.number = number
        self.inflated = inflated
        self.broken = broken
        self.runs = runs


class RescuedChannel(ChannelPages):
    """Reads what can be read of a channel.

    Args:
        container: the file, in a seekable source.
        blocks: block list of the main stream.
        page_size_len: bytes of a target page.
        all_listed: whether no block is missing in the list.

    Attributes:
        damage: what is wrong, in order.
        plain: the bytes of compressed pages.
        device_state_packets: packets with device state, which are not taken over.
    """

    def __init__(
        self,
        container: Container,
        blocks: Sequence[RamBlock],
        page_size_len: int,
        *,
        all_listed: bool,
    ) -> None:
        walk = ChannelWalk(
            container.source, container.stream_offset, page_size_len=page_size_len, resync=True
        )
        super().__init__(walk, blocks)
        self.damage: list[StreamError] = []
        self.plain = self.inflated_source()
        self._all_listed = all_listed
        self._plain_ended = False

    def packet_runs(self) -> Iterator[PacketRuns]:
        """Yield the pages of each packet that is whole."""
        for packet in self.walk.packets():
            epoch = self.syncs
            self.syncs += packet.sync
            if packet.device_state or not (packet.normal_pages or packet.zero_pages):
                continue
            try:
                inflated, runs = self._of_packet(packet)
            except StreamError as error:
                self._note(error)
                continue
            broken = inflated and not self._inflates(packet, runs)
            runs = [run for run in runs if run.block >= 0]
            yield PacketRuns(epoch, packet.packet_num or 0, runs, inflated=inflated, broken=broken)
        self.damage += self.walk.errors

    def _note(self, error: StreamError) -> None:
        if len(self.damage) < MAX_DAMAGED_PLACES:
            self.damage.append(error)

    def _block_of(self, packet: Packet) -> RamBlock:
        try:
            return super()._block_of(packet)
        except MalformedStreamError as error:
            if self._all_listed or packet.block in self._blocks:
                self._note(error)
            return _STRAY  # its payload is needed all the same for what comes behind it

    def _inflates(self, packet: Packet, runs: list[PageRun]) -> bool:
        """Tell whether the pages of a compressed packet can be had."""
        # The stream of a channel runs on across its packets: without one of them, what comes
        # behind gives bytes that are wrong, and nothing tells.
        on_its_own = packet.compression == MultifdCompression.QATZIP
        if self._plain_ended or (self.walk.errors and not on_its_own):
            return False
        ends = [
            run.data_offset + run.count * run.stride_len
            for run in runs
            if run.kind == PageKind.PLAIN
        ]
        if packet.compression not in WHOLE_PACKET or not ends:
            return True
        if len(self.plain.read_at(max(ends) - 1, 1)) == 1:
            return True
        self._plain_ended = True
        if self.plain.failure is not None:
            self._note(self.plain.failure)
        return False
