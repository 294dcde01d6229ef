"""multifd: pages in packets over channels, with the syncs of a generation."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from qmig.migrate.sequential import RecordWriter, name_bytes, write_block_list
from qmig.pages.flags import equal_runs
from qmig.pages.zero import zero_pages
from qmig.wire.multifd import (
    MULTIFD_VERSION,
    OFFSET_DTYPE,
    RAMBLOCK_NAME_LEN,
    MultifdInit2018,
    MultifdPacket4,
    MultifdPacket9,
    MultifdPacket2018,
    pages_per_packet,
)
from qmig.wire.multifd_flags import MultifdCompression, MultifdFlag
from qmig.wire.ram import RamSaveFlag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import RamBlock, RunningGuest
    from qmig.migrate.channels import Channels, Write
    from qmig.migrate.counters import Counters
    from qmig.migrate.generations import Generation
    from qmig.migrate.main_stream import MainStream
    from qmig.migrate.sync import Sync, SyncPolicy

    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Indices = np.ndarray[Any, np.dtype[np.int64]]

_PACKET_PAGES_2018: Final = 16  # x-multifd-page-count of 3.x
_ZLIB_LEVEL: Final = 1  # multifd-zlib-level
_ZSTD_LEVEL: Final = 1  # multifd-zstd-level


class ChannelOutput(Protocol):
    """The file or socket of one channel."""

    def append(self, data: bytes) -> None:
        """Write all of `data` behind what was written before."""


class _Encoder(Protocol):
    def encode(self, data: bytes) -> bytes:
        """Return the payload for the pages of one packet."""


class _Plain:
    def encode(self, data: bytes) -> bytes:
        return data


class _Zlib:
    """One deflate stream a channel, flushed behind each packet and never ended."""

    def __init__(self) -> None:
        self._inner = zlib.compressobj(_ZLIB_LEVEL)

    def encode(self, data: bytes) -> bytes:
        return self._inner.compress(data) + self._inner.flush(zlib.Z_SYNC_FLUSH)


class _Zstd:
    """One zstd frame a channel, flushed behind each packet and never ended."""

    def __init__(self) -> None:
        import zstandard

        self._flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._inner: Any = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()

    def encode(self, data: bytes) -> bytes:
        payload: bytes = self._inner.compress(data) + self._inner.flush(self._flush)
        return payload


_ENCODERS: Final[dict[MultifdCompression, type[_Encoder]]] = {
    MultifdCompression.NOCOMP: _Plain,
    MultifdCompression.ZLIB: _Zlib,
    MultifdCompression.ZSTD: _Zstd,
}


class MultifdLayout:
    """Writes a main stream and its channels.

    Args:
        stream: the main stream.
        outputs: one for each channel.
        guest: where the pages come from.
        channels: who writes to them; as many as there are outputs.
        counters: what is counted.
        generation: whose packets and syncs.
        policy: when channels are brought into step, where not as the generation does by default.
        compression: none, zlib or zstd.
        uuid: of the guest, zeros if it has none.
    """

    def __init__(
        self,
        stream: MainStream,
        outputs: Sequence[ChannelOutput],
        guest: RunningGuest,
        channels: Channels,
        counters: Counters,
        *,
        generation: Generation,
        policy: SyncPolicy | None = None,
        compression: MultifdCompression = MultifdCompression.NOCOMP,
        uuid: bytes = bytes(16),
    ) -> None:
        self._stream = stream
        self._outputs = outputs
        self._guest = guest
        self._channels = channels
        self._counters = counters
        self._generation = generation
        self._policy = policy or generation.policy
        self._method = compression
        self._uuid = uuid
        self._encoders = [_ENCODERS[compression]() for _ in outputs]
        self._records = RecordWriter(stream, guest.page_size_len)
        self._old = generation.packet is MultifdPacket2018
        self._packet_pages = (
            _PACKET_PAGES_2018 if self._old else pages_per_packet(guest.page_size_len)
        )
        self._packet_num = 0
        self._last_sizes = [0] * len(outputs)  # of the last packet with pages; each channel's own
        self._block: int | None = None
        self._pages: list[Indices] = []
        self._held = 0
        self._rides = 0  # packets with pages that had SYNC on them

    def setup(self, blocks: Sequence[RamBlock]) -> None:
        """Write the initial packets and the block list."""
        for channel, output in enumerate(self._outputs):
            fields: dict[str, Any] = {
                "version": MULTIFD_VERSION,
                "uuid": self._uuid,
                "id": channel,
            }
            if self._generation.init is not MultifdInit2018:
                fields |= {"unused1": bytes(7), "unused2": bytes(32)}
            output.append(self._generation.init(**fields).build())
        write_block_list(self._stream, blocks)
        self._sync(self._policy.setup)
        self._stream.eos()

    def send(self, block: int, first: int, count: int, *, first_round: bool) -> None:
        """Collect pages into packets; up to 8.2 zero pages go on the main stream."""
        del first_round
        indices = np.arange(first, first + count)
        if not self._generation.zero_in_packets:
            zero = zero_pages(self._guest.read_pages(block, first, count))
            self._zeros(block, first, zero)
            indices = indices[~zero]
        while len(indices):
            if block != self._block:
                self._flush()
                self._block = block
            room = self._packet_pages - self._held
            self._pages.append(indices[:room])
            self._held += len(indices[:room])
            indices = indices[room:]
            if self._held == self._packet_pages:
                self._flush()

    def _zeros(self, block: int, first: int, zero: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        entry = self._guest.blocks[block]
        for begin, end, is_zero in equal_runs(zero):
            if is_zero:
                written = self._records.zeros(entry, first + begin, end - begin)
                self._counters.add(duplicate=end - begin, transferred=written)

    # -- packets ----------------------------------------------------------------------------------

    def _flush(self, *, sync: tuple[int, int] | None = None) -> None:
        """Give the packet that is being filled, if there is one, to a channel.

        Args:
            sync: put SYNC on it, and give it to this channel with this number; None: to any
                channel, without SYNC.
        """
        if not self._held or self._block is None:
            return
        indices = np.concatenate(self._pages)
        block = self._guest.blocks[self._block]
        sync_channel, number = sync or (None, self._next_number())
        self._pages, self._held = [], 0

        def job(channel: int) -> Write:
            pages = self._read(block.index, indices)

            def write() -> None:
                self._write(channel, block, indices, pages, number, sync=sync is not None)
                if sync is not None:
                    self._append_empty(channel, number, sync=False)

            return write

        self._channels.submit(job, channel=sync_channel)

    def _next_number(self) -> int:
        number = self._packet_num
        self._packet_num += 1
        return number

    def _read(self, block: int, indices: Indices) -> Pages:
        """Return the pages, copied, in the order of `indices`."""
        parts = []
        breaks = np.flatnonzero(np.diff(indices) != 1) + 1
        for run in np.split(indices, breaks):
            parts.append(np.array(self._guest.read_pages(block, int(run[0]), len(run))))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _write(
        self,
        channel: int,
        block: RamBlock,
        indices: Indices,
        pages: Pages,
        number: int,
        *,
        sync: bool,
    ) -> None:
        normal = len(indices)
        if self._generation.zero_in_packets:
            order, normal = normal_pages_first(zero_pages(pages))
            indices, pages = indices[order], pages[order]
        payload = b""
        if normal:
            payload = self._encoders[channel].encode(pages[:normal].tobytes())
            self._last_sizes[channel] = len(payload)
        offsets = np.zeros(self._packet_pages, OFFSET_DTYPE)
        offsets[: len(indices)] = indices * self._guest.page_size_len
        header = self._header(
            flags=int(self._method) | (MultifdFlag.SYNC if sync else 0),
            normal=normal,
            zero=len(indices) - normal,
            next_packet_size=len(payload),
            number=number,
            ramblock=name_bytes(block),
            pages_alloc=self._packet_pages,
        )
        data = header + offsets.tobytes() + payload
        self._outputs[channel].append(data)
        self._counters.add(
            normal=normal,
            duplicate=len(indices) - normal,
            transferred=len(data),
            multifd_bytes=len(data),
        )

    def _header(
        self,
        *,
        flags: int,
        normal: int,
        zero: int,
        next_packet_size: int,
        number: int,
        ramblock: bytes,
        pages_alloc: int,
    ) -> bytes:
        name = ramblock.ljust(RAMBLOCK_NAME_LEN, b"\0")
        if self._old:
            return MultifdPacket2018(
                version=MULTIFD_VERSION,
                flags=flags,
                size=self._packet_pages,
                used=normal,
                packet_num=number,
                ramblock=name,
            ).build()
        fields: dict[str, Any] = {
            "version": MULTIFD_VERSION,
            "flags": flags,
            "pages_alloc": pages_alloc,
            "normal_pages": normal,
            "next_packet_size": next_packet_size,
            "packet_num": number,
            "ramblock": name,
        }
        kind = self._generation.packet
        if kind is MultifdPacket4:
            fields["pages_used"] = fields.pop("normal_pages")
        if kind is MultifdPacket9:
            return kind(zero_pages=zero, unused32=0, unused64=[0, 0, 0], **fields).build()
        return kind(unused=[0, 0, 0, 0], **fields).build()

    # -- syncs ------------------------------------------------------------------------------------

    def round_end(self) -> None:
        """The scan begins anew."""
        self._sync(self._policy.round)

    def part_end(self) -> None:
        """Close a PART section."""
        self._sync(self._policy.part)
        self._stream.eos()
        self._stream.flush()

    def complete(self) -> None:
        """Close the END section."""
        self._sync(self._policy.completion)
        self._channels.sync()
        self._stream.eos()
        self._stream.flush()

    def _sync(self, sync: Sync) -> None:
        if sync.packet:
            self._sync_packets()
        if sync.wait:
            self._channels.sync()
        if sync.flush_word:
            self._stream.word(RamSaveFlag.MULTIFD_FLUSH)

    def _sync_packets(self) -> None:
        """Put SYNC on every channel, behind all pages."""
        ridden: int | None = None
        if not self._generation.sync_rides:
            self._flush()
        elif self._held:
            # In turn: which channel it is with a real sender is decided by who is ready.
            ridden = self._rides % len(self._outputs)
            self._rides += 1
            self._next_number()  # that of the packet, lost: SYNC's number comes on top
        for channel in range(len(self._outputs)):
            number = self._next_number()
            if channel == ridden:
                self._flush(sync=(channel, number))
            else:
                self._sync_packet(channel, number)

    def _sync_packet(self, channel: int, number: int) -> None:
        self._channels.submit(
            lambda _channel: lambda: self._append_empty(channel, number, sync=True),
            channel=channel,
        )

    def _append_empty(self, channel: int, number: int, *, sync: bool) -> None:
        """Write a packet without pages."""
        header = self._header(
            flags=int(MultifdFlag.SYNC) if sync else 0,
            normal=0,
            zero=0,
            next_packet_size=self._last_sizes[channel] if self._generation.stale_sizes else 0,
            number=number,
            ramblock=b"",
            pages_alloc=0 if self._generation.sync_is_bare else self._packet_pages,
        )
        data = header + bytes(self._packet_pages * np.dtype(OFFSET_DTYPE).itemsize)
        self._outputs[channel].append(data)
        self._counters.add(transferred=len(data), multifd_bytes=len(data))


def normal_pages_first(
    zero: np.ndarray[Any, np.dtype[np.bool_]],
) -> tuple[np.ndarray[Any, np.dtype[np.intp]], int]:
    """Return the order that puts normal pages before zero ones, and how many are normal.

    Zero pages are swapped with the last page not yet looked at, as QEMU does it
    (migration/multifd-zero-page.c, multifd_send_zero_page_detect, 9.0 to 11.1).
    """
    order = np.arange(len(zero))
    low, high = 0, len(zero) - 1
    while low <= high:
        if zero[order[low]]:
            order[low], order[high] = order[high], order[low]
            high -= 1
        else:
            low += 1
    return order, low
