"""mapped-ram: pages at fixed offsets, written by any channel in any order; bitmaps last."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.migrate.sync import MAPPED_RAM, Sync
from qmig.pages.flags import true_runs
from qmig.pages.zero import zero_pages
from qmig.wire.mapped_ram import (
    MAPPED_RAM_HDR_VERSION,
    MappedRamHeader,
    bitmap_len,
    pages_offset_behind,
)
from qmig.wire.ram import RamBlockRecord, RamSaveFlag
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import RamBlock, RunningGuest
    from qmig.migrate.channels import Channels, Write
    from qmig.migrate.counters import Counters
    from qmig.migrate.main_stream import MainStream, Output

JOB_LEN: Final = 1 << 20  # bytes of guest memory given to a channel at a time
_BITMAP_WRITE_LEN: Final = 1 << 20


@dataclass(slots=True)
class _Area:
    """Where a block goes, and which of its pages are in the file."""

    bitmap_offset: int
    pages_offset: int
    bitmap: np.ndarray[Any, np.dtype[np.uint8]]  # packed as in the file


class MappedRamLayout:
    """Writes a mapped-ram file.

    A bit is set only once its page is on the file; the bitmaps are written when all channels have
    nothing left to write, so that a file without its END section shows no page at all.

    Args:
        stream: the main stream.
        pages_output: what the channels write pages to.
        guest: where the pages come from.
        channels: who writes them.
        counters: what is counted.
        job_len: bytes of guest memory given to a channel at a time.
    """

    def __init__(
        self,
        stream: MainStream,
        pages_output: Output,
        guest: RunningGuest,
        channels: Channels,
        counters: Counters,
        *,
        job_len: int = JOB_LEN,
    ) -> None:
        self._stream = stream
        self._output = pages_output
        self._guest = guest
        self._channels = channels
        self._counters = counters
        self._areas: list[_Area] = []
        self._lock = threading.Lock()
        self._policy = MAPPED_RAM
        self._job_pages = max(8, job_len // guest.page_size_len)

    def setup(self, blocks: Sequence[RamBlock]) -> None:
        """Write the block list; each block's pages lie behind its entry."""
        stream, size = self._stream, self._guest.page_size_len
        stream.word(sum(block.used_length for block in blocks) | RamSaveFlag.MEM_SIZE)
        for block in blocks:
            name = block.name.encode("utf-8", "surrogateescape")
            stream.write(RamBlockRecord(idstr=name, used_length=block.used_length).build())
            bitmap_offset = stream.offset + fixed_len(MappedRamHeader)
            bitmap_bytes = bitmap_len(block.used_length // size)
            pages_offset = pages_offset_behind(bitmap_offset + bitmap_bytes)
            header = MappedRamHeader(
                version=MAPPED_RAM_HDR_VERSION,
                page_size=size,
                bitmap_offset=bitmap_offset,
                pages_offset=pages_offset,
            )
            stream.write(header.build())
            area = _Area(bitmap_offset, pages_offset, np.zeros(bitmap_bytes, np.uint8))
            self._areas.append(area)
            stream.move_to(pages_offset + block.used_length)
        self._sync(self._policy.setup)
        stream.eos()

    def send(self, block: int, first: int, count: int, *, first_round: bool) -> None:
        """Give pages to the channels, a job of 1 MiB at a time."""
        step = self._job_pages
        while count:
            # Jobs end at multiples of 8 pages, so that bitmap bytes are rarely shared.
            some = min(count, step - first % 8)
            self._submit(block, first, some, first_round=first_round)
            first += some
            count -= some

    def _submit(self, block: int, first: int, count: int, *, first_round: bool) -> None:
        def job(_channel: int) -> Write:
            pages = self._guest.read_pages(block, first, count)
            present = ~zero_pages(pages)
            return lambda: self._write(block, first, pages, present, first_round=first_round)

        self._channels.submit(job)

    def _write(
        self,
        block: int,
        first: int,
        pages: np.ndarray[Any, np.dtype[np.uint8]],
        present: np.ndarray[Any, np.dtype[np.bool_]],
        *,
        first_round: bool,
    ) -> None:
        area, size = self._areas[block], self._guest.page_size_len
        normal = int(np.count_nonzero(present))
        for begin, end in true_runs(present):
            offset = area.pages_offset + (first + begin) * size
            self._output.pwrite(pages[begin:end].data, offset)
        if normal or not first_round:
            self._mark(area, first, present)
        self._counters.add(
            normal=normal,
            duplicate=len(present) - normal,
            transferred=normal * size,
            multifd_bytes=normal * size if self._channels.count > 1 else 0,
        )

    def _mark(self, area: _Area, first: int, present: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Set the bits of pages that are on the file, clear those of pages that became zero."""
        low, behind = first // 8, -(-(first + len(present)) // 8)
        if first % 8 == 0 and len(present) % 8 == 0:  # whole bytes: nobody else's bits in them
            area.bitmap[low:behind] = np.packbits(present, bitorder="little")
            return
        with self._lock:
            bits = np.unpackbits(area.bitmap[low:behind], bitorder="little")
            bits[first - 8 * low :][: len(present)] = present
            area.bitmap[low:behind] = np.packbits(bits, bitorder="little")

    def round_end(self) -> None:
        """Wait for the channels: an older version must not land on a newer one."""
        self._sync(self._policy.round)

    def part_end(self) -> None:
        """Write the EOS word; channels go on."""
        self._sync(self._policy.part)
        self._stream.eos()

    def complete(self) -> None:
        """Write the bitmaps when the last page of all channels is on the file."""
        self._sync(self._policy.completion)
        for area in self._areas:
            for at in range(0, len(area.bitmap), _BITMAP_WRITE_LEN):
                piece = area.bitmap[at : at + _BITMAP_WRITE_LEN]
                self._output.pwrite(piece.data, area.bitmap_offset + at)
        self._stream.eos()

    def _sync(self, sync: Sync) -> None:
        if sync.wait:
            self._channels.sync()
