"""Payloads: whether each decompresses, and to exactly the pages of its packet."""

from __future__ import annotations

import zlib
from collections import deque
from typing import TYPE_CHECKING, Final

from qmig.capture.inflate import WHOLE_PACKET
from qmig.capture.multifd import page_lengths
from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.checks.check import Check, Context
from qmig.checks.multifd_inflating import Inflating
from qmig.checks.multifd_packet_checks import name_of
from qmig.errors import MalformedStreamError
from qmig.faults import Fault
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from qmig.capture.channel import ChannelWalk, Packet
    from qmig.capture.container import Container

_SINGLE: Final = (MultifdCompression.QPL, MultifdCompression.UADK)
_AT_ONCE: Final = 2  # channels that are decompressed while the walk goes on


class PayloadCheck(Check):
    """Decompresses all payloads; nothing is kept of them.

    A damaged payload takes those behind it in its channel along, so the rest of the channel is
    not judged.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._walk: ChannelWalk | None = None
        self._method: int | None = None  # of the first packet with pages, of all channels
        self._inflating: deque[Inflating] = deque()
        self._lost = False

    def packet(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        """Decompress a packet's payload."""
        if walk is not self._walk:
            self._walk, self._lost = walk, False
        if self._method is None and (packet.normal_pages or packet.zero_pages):
            self._method = packet.compression
        if packet.compression != self._method:
            # What was lost before a payload has changed the decompressor's state.
            self._lost = self._lost or bool(packet.normal_pages)
            return
        if not packet.normal_pages or packet.device_state:
            return
        size = walk.page_size_len or DEFAULT_PAGE_SIZE_LEN
        if packet.compression in _SINGLE:
            self._single_pages(container, walk, packet, size)
        elif packet.compression in WHOLE_PACKET and not self._lost:
            self._whole(container, walk, packet, size)

    def _whole(self, container: Container, walk: ChannelWalk, packet: Packet, size: int) -> None:
        if any(error.fault is not Fault.CHANNEL_VERSION for error in walk.errors):
            self._lost = True
            return
        if not self._inflating or self._inflating[-1].walk is not walk:
            if len(self._inflating) >= _AT_ONCE:
                self._finish(self._inflating.popleft())
            self._inflating.append(Inflating(container, walk, packet.compression))
        inflating = self._inflating[-1]
        if inflating.broken is not None:
            self._lost = True
            return
        inflating.submit(packet, len(packet.normal_pages) * size)

    def end(self) -> None:
        """Wait for what is still being decompressed."""
        while self._inflating:
            self._finish(self._inflating.popleft())

    def _finish(self, inflating: Inflating) -> None:
        inflating.finish()
        broken = inflating.broken
        if broken is None:
            return
        rule_id = "QM325"
        if inflating.method == MultifdCompression.QATZIP:
            rule_id = "QM328"
        elif broken.found_len is not None:
            rule_id = "QM326" if broken.found_len < broken.plain_len else "QM327"
        self._report(
            rule_id,
            inflating.container,
            inflating.walk,
            broken.packet,
            f"{broken.plain_len} bytes of pages",
            "more" if rule_id == "QM327" else broken.found,
            says=broken.says,
        )

    def _single_pages(
        self, container: Container, walk: ChannelWalk, packet: Packet, size: int
    ) -> None:
        try:
            lengths = page_lengths(walk, packet, size)
        except MalformedStreamError as error:
            self._report("QM328", container, walk, packet, error.expected, error.found)
            return
        raw = packet.compression == MultifdCompression.QPL
        offset = packet.payload_offset + packet.payload_len - sum(lengths)
        for at, length in enumerate(lengths):
            data = walk.source.read_at(offset, length)
            offset += length
            if length == size:
                continue
            inner = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
            try:
                found = f"{len(inner.decompress(data, size + 1))} bytes"
            except zlib.error as error:
                found = str(error)
            if found != f"{size} bytes":
                expected = f"{size} bytes of page {at}"
                self._report("QM328", container, walk, packet, expected, found)
                return

    def _report(
        self,
        rule_id: str,
        container: Container,
        walk: ChannelWalk,
        packet: Packet,
        expected: str,
        found: str,
        says: str = "",
    ) -> None:
        self.context.report(
            rule_id,
            container,
            offset=packet.payload_offset,
            length=packet.payload_len,
            record=name_of(walk, packet.index),
            field=f"{MultifdCompression(packet.compression).name.lower()} payload",
            expected=expected,
            found=found,
            channel=walk.channel_id or 0,
            says=says,
        )
