"""The sending side of a multifd migration, reduced to what decides about bytes.

Threads are replaced by fixed choices: which channel takes a batch, and whether SYNC catches the
batch before it has left, follow from counters, so that the same call gives the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.builders import commands, multifd, ram
from tests.builders.guest import Guest
from tests.builders.machine import MainStream
from tests.builders.migration import Generation, MigrationSet, SyncPoints, Workload
from tests.builders.multifd import Layout, Packet
from tests.builders.payloads import Encoder, encoder


@dataclass
class Batch:
    """Pages of one block that leave in one packet."""

    block: str
    addrs: list[int] = field(default_factory=list)


def zeros_last(addrs: Sequence[int], is_zero: Sequence[bool]) -> tuple[list[int], int]:
    """Reorder a batch as the zero page detection does, by swaps; give the normal count too."""
    pages = list(zip(addrs, is_zero, strict=True))
    low, high = 0, len(pages) - 1
    while low <= high:
        if pages[low][1]:
            pages[low], pages[high] = pages[high], pages[low]
            high -= 1
        else:
            low += 1
    return [addr for addr, _ in pages], low


def _nothing() -> None:
    """Stand in for what most migrations do not do."""


class ChannelWriter:
    """One channel: its packets so far and what an old sender leaves standing in the next."""

    def __init__(
        self, channel_id: int, generation: Generation, guest: Guest, encode: Encoder
    ) -> None:
        self.packet_num = 0
        self._last: Batch | None = None
        self._generation = generation
        self._guest = guest
        self._encoder = encode
        self._capacity = generation.capacity or multifd.page_count(guest.page_size)
        self._offsets = [0] * self._capacity
        self._name = b""
        self._size = 0
        init = multifd.init_packet(
            channel_id, layout=generation.layout, reserved=generation.init_reserved
        )
        self._parts = [init]

    @property
    def data(self) -> bytes:
        """Everything the channel carries."""
        return b"".join(self._parts)

    @property
    def left_over(self) -> Batch | None:
        """What a packet without a batch of its own carries: nothing, or 4.2's last pages."""
        return self._last if self._generation.resends_batch else None

    def add(self, packet: bytes) -> None:
        """Append a ready-made packet."""
        self._parts.append(packet)

    def write(self, batch: Batch | None, flags: int) -> None:
        """Write a packet with pages, or an empty one."""
        generation = self._generation
        if batch is None and generation.separate_sync:
            self._write_bare_sync(flags)
            return
        addrs, normal = self._placed(batch)
        pages = [self._page(batch, addr) for addr in addrs[:normal]] if batch else []
        payload = self._encoder.encode(pages) if pages else b""
        if batch is not None:
            flags |= self._encoder.method
            self._name = batch.block.encode()
            self._offsets[: len(addrs)] = addrs
            self._last = batch
        fresh = batch is not None or not generation.stale_size
        self._size = len(payload) if fresh else self._size
        stale = not generation.separate_sync
        modern = generation.layout is Layout.MULTIFD
        packet = Packet(
            flags=flags,
            capacity=self._capacity,
            normal=normal,
            next_packet_size=self._size if modern else 0,
            packet_num=self.packet_num,
            zero_pages=len(addrs) - normal,
            ramblock=self._name,
            offsets=tuple(self._offsets) if stale else addrs,
            payload=payload,
            array_len=self._capacity,
            layout=generation.layout,
        )
        self._parts.append(packet.build())

    def _write_bare_sync(self, flags: int) -> None:
        told = self._generation.empty_sync_capacity
        packet = Packet(
            flags=flags,
            capacity=self._capacity if told is None else told,
            packet_num=self.packet_num,
            array_len=self._capacity,
        )
        self._parts.append(packet.build())

    def _placed(self, batch: Batch | None) -> tuple[list[int], int]:
        if batch is None:
            return [], 0
        if not self._generation.zero_pages_in_packets:
            return batch.addrs, len(batch.addrs)
        is_zero = [not any(self._page(batch, addr)) for addr in batch.addrs]
        return zeros_last(batch.addrs, is_zero)

    def _page(self, batch: Batch, addr: int) -> bytes:
        return self._guest.page(batch.block, addr // self._guest.page_size)


class Sender:
    """Migrates a guest once.

    Args:
        generation: Whose way to do it.
        workload: The guest and what it does meanwhile.
        method: The compression method.
        channels: How many channels.
    """

    def __init__(
        self, generation: Generation, workload: Workload, *, method: int, channels: int
    ) -> None:
        guest = workload.guest
        self._generation = generation
        self._workload = workload
        self._guest = guest
        self._main = MainStream(generation.release, generation.machine, page_size=guest.page_size)
        self._channels = [
            ChannelWriter(index, generation, guest, encoder(method)) for index in range(channels)
        ]
        self._capacity = generation.capacity or multifd.page_count(guest.page_size)
        self._pending: Batch | None = None
        self._carrier: dict[tuple[str, int], int] = {}
        self._records: list[bytes] = []
        self._block: str | None = None
        self._numbers = iter(range(1 << 32))
        self._batches = 0
        self._syncs = 0
        self._markers = 0

    @property
    def main(self) -> MainStream:
        """The main stream, for what else is to go into it."""
        return self._main

    @property
    def channels(self) -> list[ChannelWriter]:
        """The channels by id, for what else is to go into them."""
        return self._channels

    def run(self) -> MigrationSet:
        """Migrate and give everything that was sent."""
        self.start()
        for act in self._workload.rounds[:-1]:
            act(self._guest)
            self.round()
        self._workload.rounds[-1](self._guest)
        if self._generation.postcopy:
            self._postcopy()
            return self._finished(describe=False)
        self.complete()
        self._main.standard_devices()
        return self._finished(describe=True)

    def start(self) -> None:
        """Send what comes before the first round."""
        if self._generation.postcopy:
            self._main.add(commands.open_return_path() + commands.ping(1))
            size = self._guest.page_size
            self._main.add(commands.postcopy_advise(size, size))
        self._sync(flush=self._generation.flushes)
        blocks = [ram.BlockEntry(name, length) for name, length in self._guest.lengths.items()]
        self._main.ram_start(ram.block_list(blocks, tail=self._take() + ram.eos()))
        self._count_section()

    def round(self) -> None:
        """Scan RAM once, in as many PARTs as it takes."""
        chunks = list(self._chunks(self._guest.take_dirty()))
        for index, chunk in enumerate(chunks):
            self._send(chunk)
            if not self._generation.flushes:
                self._sync(flush=False)
            elif index == len(chunks) - 1:
                self._sync(flush=True)
            self._main.ram_part(self._take())
            self._count_section()

    def complete(self, meanwhile: Callable[[], None] = _nothing) -> None:
        """Send what a stopped guest has left, and close RAM.

        Args:
            meanwhile: What else goes out between the last pages and the last SYNC.
        """
        self._main.switchover()
        self._send(self._guest.take_dirty())
        meanwhile()
        points = self._generation.sync_points
        if self._generation.flushes:
            self._sync(flush=True)
        if points is not SyncPoints.ROUND:
            self._sync(flush=points is SyncPoints.ROUND_AND_END)
        self._main.ram_end(self._take())
        self._count_section()

    def finished(self) -> MigrationSet:
        """Send the devices and give everything that was sent."""
        self._main.standard_devices()
        return self._finished(describe=True)

    def _finished(self, *, describe: bool) -> MigrationSet:
        data = [channel.data for channel in self._channels]
        return MigrationSet(
            self._generation,
            self._main.finish(describe=describe),
            tuple(data[1:] + data[:1]),
            self._guest.contents(),
            self._syncs,
            self._markers,
            self._guest.page_size,
        )

    def _chunks(self, pages: list[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
        step = self._workload.part_pages
        for start in range(0, max(len(pages), 1), step):
            yield pages[start : start + step]

    def _count_section(self) -> None:
        """Count the end-of-section word where it is the marker."""
        self._markers += 0 if self._generation.flushes else 1

    def _take(self) -> bytes:
        taken = b"".join(self._records)
        self._records.clear()
        return taken

    def _send(self, pages: list[tuple[str, int]]) -> None:
        for block, index in pages:
            data = self._guest.page(block, index)
            if not self._generation.zero_pages_in_packets and not any(data):
                self._record(block, index, data)
            else:
                self._queue(block, index)

    def _record(self, block: str, index: int, data: bytes) -> None:
        """Send a page over main."""
        name = None if block == self._block else block
        self._block = block
        addr = index * self._guest.page_size
        self._records.append(ram.page(addr, data, name) if any(data) else ram.zero(addr, name))

    def _queue(self, block: str, index: int) -> None:
        if self._pending is not None and self._pending.block != block:
            self._send_batch()
        if self._pending is None:
            self._pending = Batch(block)
        self._pending.addrs.append(index * self._guest.page_size)
        if len(self._pending.addrs) == self._capacity:
            full = self._pending
            self._send_batch()
            if self._generation.doubles_boundary and self._batches % 2:
                self._pending = Batch(block, full.addrs[-1:])

    def _pick(self, batch: Batch) -> ChannelWriter:
        """Choose the channel that carried the fewest of these pages before, else the next."""
        turns = [
            (self._batches + step) % len(self._channels) for step in range(len(self._channels))
        ]
        carried = [self._carrier.get((batch.block, addr)) for addr in batch.addrs]
        wanted = min(turns, key=carried.count)
        for addr in batch.addrs:
            self._carrier[batch.block, addr] = wanted
        self._batches += 1
        return self._channels[wanted]

    def _send_batch(self) -> None:
        batch, self._pending = self._pending, None
        if batch is not None:
            channel = self._pick(batch)
            channel.packet_num = next(self._numbers)
            channel.write(batch, 0)

    def _sync(self, *, flush: bool) -> None:
        """Bring the channels into step; the pending batch leaves before, or with it."""
        batch = self._pending
        merged: ChannelWriter | None = None
        if self._generation.merges_sync and batch is not None and self._syncs % 2:
            self._pending = None
            merged = self._pick(batch)
            merged.packet_num = next(self._numbers)  # lost: SYNC's number comes on top
        self._send_batch()
        for channel in self._channels:
            channel.packet_num = next(self._numbers)
            if channel is merged:
                channel.write(batch, multifd.SYNC)
                channel.write(channel.left_over, 0)
            else:
                channel.write(channel.left_over, multifd.SYNC)
        self._syncs += 1
        if flush:
            self._records.append(ram.multifd_flush())
            self._markers += 1

    def _postcopy(self) -> None:
        """Switch over with the last round's pages unsent: they follow over main."""
        self._sync(flush=True)
        main, guest = self._main, self._guest
        main.ram_part(self._take())
        main.switchover()
        left = guest.take_dirty()
        for block in guest.lengths:
            ranges = [
                (index * guest.page_size, guest.page_size) for name, index in left if name == block
            ]
            for start in range(0, len(ranges), 12):
                main.add(commands.postcopy_ram_discard(block, ranges[start : start + 12]))
        main.add(commands.ping(2))
        devices = b"".join(main.standard_sections("running"))
        package = commands.postcopy_listen() + devices + commands.ping(3)
        main.add(commands.packaged(package + commands.postcopy_run()) + commands.ping(4))
        half = len(left) // 2
        for block, index in left[:half]:
            self._record(block, index, guest.page(block, index))
        main.ram_part(self._take())
        for block, index in left[half:]:
            self._record(block, index, guest.page(block, index))
        main.ram_part(self._take())
        main.ram_end()
