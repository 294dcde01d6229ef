"""Payloads: whether each decompresses, and to exactly the pages of its packet."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from qmig.capture.inflate import (
    SAYS_TOO_FEW,
    WHOLE_PACKET,
    Decoder,
    PayloadError,
    decoder_of,
)
from qmig.capture.multifd import page_lengths
from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.checks.check import Check, Context
from qmig.checks.multifd_packet_checks import name_of
from qmig.errors import MalformedStreamError
from qmig.faults import Fault
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from qmig.capture.channel import ChannelWalk, Packet
    from qmig.capture.container import Container

_SINGLE: Final = (MultifdCompression.QPL, MultifdCompression.UADK)


class PayloadCheck(Check):
    """Decompresses all payloads; nothing is kept of them.

    A damaged payload takes those behind it in its channel along, so the rest of the channel is
    not judged.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._walk: ChannelWalk | None = None
        self._method: int | None = None  # of the first packet with pages, of all channels
        self._decoder: Decoder | None = None
        self._lost = False

    def packet(self, container: Container, walk: ChannelWalk, packet: Packet) -> None:
        """Decompress a packet's payload."""
        if walk is not self._walk:
            self._walk, self._decoder, self._lost = walk, None, False
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
        method = MultifdCompression(packet.compression)
        if self._decoder is None:
            self._decoder = decoder_of(method)
        if any(error.fault is not Fault.CHANNEL_VERSION for error in walk.errors):
            self._lost = True
            return
        plain_len = len(packet.normal_pages) * size
        data = walk.source.read_at(packet.payload_offset, packet.payload_len)
        try:
            found_len = len(self._decoder.decode(data, plain_len))
        except PayloadError as error:
            self._broken(container, walk, packet, plain_len, str(error), error.says)
            return
        if found_len < plain_len:
            says = SAYS_TOO_FEW.get(method, "")
            self._broken(container, walk, packet, plain_len, f"{found_len}", says, few=True)
        elif found_len > plain_len:
            self._report("QM327", container, walk, packet, f"{plain_len} bytes", "more")
            self._lost = True

    def _broken(
        self,
        container: Container,
        walk: ChannelWalk,
        packet: Packet,
        plain_len: int,
        found: str,
        says: str,
        *,
        few: bool = False,
    ) -> None:
        self._lost = True
        expected = f"{plain_len} bytes of pages"
        if self._method == MultifdCompression.QATZIP:
            self._report("QM328", container, walk, packet, expected, found)
        elif few:
            self._report("QM326", container, walk, packet, expected, found, says=says)
        else:
            self._report("QM325", container, walk, packet, expected, found, says=says)

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
