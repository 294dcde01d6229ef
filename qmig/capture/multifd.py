"""From the channels of a multifd migration to runs of pages, epoch by epoch.

The k-th SYNC of each channel stands for the k-th marker of the main stream: what a channel sent
before it comes after what the main stream sent before the marker, and before all that follows.
Markers are MULTIFD_FLUSH words where there are any, and EOS words otherwise (`migration/ram.c`:
up to 8.0, and later with multifd-flush-after-each-section, the destination syncs at EOS).
"""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING

from qmig.capture.channel import ChannelWalk, Packet
from qmig.capture.forward_source import ForwardSource
from qmig.capture.inflate import WHOLE_PACKET, CompressedPayload, iter_inflated
from qmig.capture.page_size import DEFAULT_PAGE_SIZE_LEN
from qmig.errors import MalformedStreamError, StreamError, UnsupportedStreamError
from qmig.faults import Fault
from qmig.memory import PageKind, PageRun
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.memory import RamBlock

_SIZE_LEN = 4  # be32 length of each page before the pages of qpl and uadk


class ChannelPages:
    """Turns the packets of one channel into runs of pages.

    Args:
        walk: a walk over the channel that has not begun.
        blocks: block list of the main stream.

    Attributes:
        syncs: SYNC packets so far: the epoch that the next packet belongs to.
        payloads: compressed payloads whose plain bytes the runs of `inflated` count in.
        error: why pages of the channel cannot be placed.
    """

    def __init__(self, walk: ChannelWalk, blocks: Sequence[RamBlock]) -> None:
        self.walk = walk
        self.syncs = 0
        self.payloads: list[CompressedPayload] = []
        self.error: StreamError | None = None
        self._blocks = {block.name: block for block in blocks}
        self._plain_offset = 0

    def runs(self) -> Iterator[tuple[int, int, bool, list[PageRun]]]:
        """Yield epoch, packet_num, whether data_offset counts in the inflated bytes, and runs.

        Stops at the first packet that is damaged; `error` says why.
        """
        try:
            for packet in self.walk.packets():
                epoch = self.syncs
                self.syncs += packet.sync
                if packet.normal_pages or packet.zero_pages:
                    inflated, runs = self._of_packet(packet)
                    yield epoch, packet.packet_num or 0, inflated, runs
        except StreamError as error:
            self.error = error
            return
        self.error = self.walk.error

    def inflated_source(self) -> ForwardSource:
        """Return the plain bytes of the compressed payloads, made on demand."""
        source = self.walk.source
        return ForwardSource(
            iter_inflated(source, self.payloads, channel=self.walk.channel_id or 0),
            name=f"{source.name} (decompressed pages)",
            keep_all=True,
        )

    def _of_packet(self, packet: Packet) -> tuple[bool, list[PageRun]]:
        block = self._block_of(packet)
        size = self.walk.page_size_len or DEFAULT_PAGE_SIZE_LEN
        zeros = [
            PageRun(block.index, PageKind.ZERO, first, count, -1, 0, 0)
            for first, count, _ in adjacent(packet.zero_pages, size)
        ]
        method = packet.compression
        if not packet.normal_pages:
            return False, zeros
        if method in (MultifdCompression.QPL, MultifdCompression.UADK):
            return False, [*self._single_pages(packet, block), *zeros]
        base, inflated = packet.payload_offset, False
        if method in WHOLE_PACKET:
            inflated = True
            base = self._plain_offset
            plain_len = len(packet.normal_pages) * size
            self.payloads.append(
                CompressedPayload(
                    packet.index, method, packet.payload_offset, packet.payload_len, plain_len
                )
            )
            self._plain_offset += plain_len
        elif method != MultifdCompression.NOCOMP:
            raise self._wrong_method(packet)
        normal = [
            PageRun(block.index, PageKind.PLAIN, first, count, base + at * size, size, size)
            for first, count, at in adjacent(packet.normal_pages, size)
        ]
        return inflated, [*normal, *zeros]

    def _wrong_method(self, packet: Packet) -> UnsupportedStreamError:
        return UnsupportedStreamError(
            path=self.walk.source.name,
            offset=packet.offset,
            record=f"multifd {self.walk.label} packet {packet.index}",
            field="flags",
            expected="compression none, zlib, zstd, qpl, uadk or qatzip",
            found=f"method 0x{packet.compression:02x}",
            fault=Fault.PACKET_METHOD,
            values={"channel": self.walk.channel_id or 0, "flags": packet.compression, "wanted": 0},
        )

    def _block_of(self, packet: Packet) -> RamBlock:
        """Return the packet's block, its offsets checked against it."""
        what = f"multifd {self.walk.label} packet {packet.index}"
        block = self._blocks.get(packet.block)
        if block is None:
            raise MalformedStreamError(
                path=self.walk.source.name,
                offset=packet.offset,
                record=what,
                field="ramblock",
                expected="the name of a block in the main stream's block list",
                found=repr(packet.block[:64]),
                fault=Fault.PACKET_BLOCK,
                values={"block": packet.block},
            )
        size = self.walk.page_size_len or DEFAULT_PAGE_SIZE_LEN
        most = block.used_length - size
        run = packet.page_run(size)
        if run and run[-1] <= most and run[0] % size == 0:
            return block
        for addr in (*packet.normal_pages, *packet.zero_pages):
            if addr > most or addr % size:
                raise MalformedStreamError(
                    path=self.walk.source.name,
                    offset=packet.offset,
                    record=what,
                    field="offset",
                    expected=f"a multiple of {size}, at most 0x{max(0, most):x}",
                    found=f"0x{addr:x}",
                    fault=Fault.PACKET_OFFSET if addr > most else Fault.PACKET_ALIGNMENT,
                    values={"addr": addr, "used_length": block.used_length},
                )
        return block

    def _single_pages(self, packet: Packet, block: RamBlock) -> Iterator[PageRun]:
        """Yield the pages of qpl and uadk: each has its length in front and stands alone."""
        size = self.walk.page_size_len or DEFAULT_PAGE_SIZE_LEN
        lengths = page_lengths(self.walk, packet, size)
        deflated = (
            PageKind.RAW_DEFLATE
            if packet.compression == MultifdCompression.QPL
            else PageKind.COMPRESSED
        )
        offset = packet.payload_offset + len(lengths) * _SIZE_LEN
        for addr, length in zip(packet.normal_pages, lengths, strict=True):
            kind = PageKind.PLAIN if length == size else deflated
            yield PageRun(block.index, kind, addr // size, 1, offset, length, length)
            offset += length


def page_lengths(walk: ChannelWalk, packet: Packet, page_size_len: int) -> list[int]:
    """Return the lengths of the pages of a packet of qpl or uadk, which stand before the pages.

    Raises:
        MalformedStreamError: they do not fill the payload, or one is longer than a page.
    """
    source = walk.source
    count = len(packet.normal_pages)
    table = source.read_at(packet.payload_offset, min(count * _SIZE_LEN, packet.payload_len))
    lengths = [
        int.from_bytes(table[at : at + _SIZE_LEN], "big") for at in range(0, len(table), _SIZE_LEN)
    ]
    total = count * _SIZE_LEN + sum(lengths)
    if total != packet.payload_len or any(length > page_size_len for length in lengths):
        raise MalformedStreamError(
            path=source.name,
            offset=packet.payload_offset,
            record=f"multifd {walk.label} packet {packet.index}",
            field="page lengths",
            expected=(
                f"{count} lengths of at most {page_size_len} that fill {packet.payload_len} bytes"
            ),
            found=f"{total} bytes in all",
            fault=Fault.PAGE_LENGTHS,
        )
    return lengths


def adjacent(addrs: Sequence[int], size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first page, count, position) of pages that follow one another.

    Args:
        addrs: offsets in the block, as a packet has them.
        size: bytes of a page.
    """
    steps = list(map(sub, addrs[1:], addrs))
    at = 0
    if steps.count(size) < len(steps):
        for end, step in enumerate(steps, start=1):
            if step != size:
                yield addrs[at] // size, end - at, at
                at = end
    if addrs:
        yield addrs[at] // size, len(addrs) - at, at
