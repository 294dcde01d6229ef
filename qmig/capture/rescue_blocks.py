"""The blocks of a rescued RAM: which pages are known, and which of those are zero."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from qmig.capture.page_index import CHUNK_BITS, CHUNK_PAGES, Chunk
from qmig.capture.ram_blocks import MappedBlock, RecordedBlock
from qmig.capture.ram_view import RamBlockView
from qmig.limits import MIB
from qmig.pages.flags import true_runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.capture.page_index import PageIndex
    from qmig.capture.ram_blocks import Owners
    from qmig.capture.ram_view import Flags, Pages
    from qmig.capture.source import Source
    from qmig.memory import RamBlock

BROKEN: Final = (1 << 16) - 1  # stands for a source in the index: the payload is damaged
_LOST: Final = "they were lost with the damaged part of the capture"
_BITS_LEN: Final = MIB // 8


@dataclass(slots=True)
class PageMap:
    """Which pages of a block are known.

    Attributes:
        known_pages: how many are.
        unknown_pages: how many are not.
        unknown: first page and count of ranges that are not, the first ones.
        ranges: how many such ranges there are.
    """

    known_pages: int = 0
    unknown_pages: int = 0
    unknown: list[tuple[int, int]] = field(default_factory=list)
    ranges: int = 0

    def add_unknown(self, first: int, count: int, most: int) -> None:
        """Count a range, and keep it if there is room."""
        if count <= 0:
            return
        self.unknown_pages += count
        self.ranges += 1
        if len(self.unknown) < most:
            self.unknown.append((first, count))


class RescuedView(RamBlockView):
    """A block of which pages may be lost."""

    def known_runs(self) -> Iterator[tuple[int, int]]:
        """Yield first page and count of the pages that are known, in order, joined."""
        first = behind = 0
        for low, high in self._known():
            if low > behind:
                if behind > first:
                    yield first, behind - first
                first = low
            behind = high
        if behind > first:
            yield first, behind - first

    def page_map(self, most_ranges: int) -> PageMap:
        """Return which pages are known.

        Args:
            most_ranges: of unknown pages that are kept.
        """
        pages = PageMap()
        behind = 0
        for first, count in self.known_runs():
            pages.add_unknown(behind, first - behind, most_ranges)
            pages.known_pages += count
            behind = first + count
        all_pages = self.block.pages(self.page_size_len)
        pages.add_unknown(behind, all_pages - behind, most_ranges)
        return pages

    @abstractmethod
    def _known(self) -> Iterator[tuple[int, int]]:
        """Yield [first, behind) of pages that are known, in order."""

    def _known_in(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        present = self.present(first, count)
        edges = np.flatnonzero(np.diff(present, prepend=False, append=False)).tolist()
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            yield first + begin, first + end

    def _reason(self) -> str:
        return _LOST


class RescuedBlock(RecordedBlock, RescuedView):
    """A block whose pages came as records or in packets.

    Each undamaged stretch of a stream is a source of its own. What changes a page (XBZRLE) means
    nothing where the page before it came in another stretch: its next version may be lost between.

    Args:
        block: the entry of the block list.
        page_size_len: bytes of a target page.
        index: the runs of all blocks; those with a damaged payload have the source `BROKEN`.
        sources: what the runs' `source` counts.
    """

    def __init__(
        self,
        block: RamBlock,
        page_size_len: int,
        *,
        index: PageIndex,
        sources: Sequence[Source],
    ) -> None:
        super().__init__(block, page_size_len, index=index, sources=sources, reason=_LOST)

    def present(self, first: int, count: int) -> Flags:
        """See `RamBlockView.present`."""
        present = super().present(first, count)
        at = 0
        for chunk, low, high, _ in self._chunks(first, count):
            part = present[at : at + high - low]
            part &= self._sound(chunk, low, high)
            at += high - low
        return present

    def known_zero(self, first: int, count: int) -> Flags:
        """See `RamBlockView.known_zero`."""
        zero: Flags = super().known_zero(first, count) & self.present(first, count)
        return zero

    def _sound(self, chunk: Chunk, low: int, high: int) -> Flags:
        """Tell which pages in a range of a chunk build on nothing that is damaged."""
        sources = self._index.columns["source"]
        if not len(sources):
            return np.ones(high - low, dtype=np.bool_)
        sound: Flags = sources[chunk.owner[low:high]] != BROKEN
        begin, end = np.searchsorted(chunk.delta_pages, [low, high])
        if begin < end:
            pages = chunk.delta_pages[begin:end]
            base = sources[chunk.owner[pages]]
            sound[pages[sources[chunk.delta_runs[begin:end]] != base] - low] = False
        return sound

    def _known(self) -> Iterator[tuple[int, int]]:
        pages = self.block.used_length // self.page_size_len
        for number in self._index.chunk_numbers(self.block.index):
            first = number << CHUNK_BITS
            if first < pages:
                yield from self._known_in(first, min(CHUNK_PAGES, pages - first))

    def _shown(self, owner: Owners) -> Owners:
        shown = super()._shown(owner)
        sources = self._index.columns["source"]
        if len(sources):
            shown[sources[owner] == BROKEN] = -1  # of an owner of -1, too, whatever it selects
        return shown

    def _fill_pages(self, out: Pages, first: int) -> None:
        if not self._has_deltas(first, len(out)):
            super()._fill_pages(out, first)
            return
        present = self.present(first, len(out))
        out[:] = 0
        edges = np.flatnonzero(np.diff(present, prepend=False, append=False)).tolist()
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            super()._fill_pages(out[begin:end], first + begin)

    def _has_deltas(self, first: int, count: int) -> bool:
        for chunk, low, high, _ in self._chunks(first, count):
            begin, end = np.searchsorted(chunk.delta_pages, [low, high])
            if begin < end:
                return True
        return False


class RescuedMapped(MappedBlock, RescuedView):
    """A block of a mapped-ram file that may be cut short.

    Args:
        block: the entry of the block list, with its layout.
        page_size_len: bytes of a target page.
        source: the file.
        written: whether the block's bitmap was written, so that a clear bit is a zero page.
        moved: whether bitmap and pages may stand elsewhere, so that nothing of them is known.
    """

    def __init__(
        self,
        block: RamBlock,
        page_size_len: int,
        *,
        source: Source,
        written: bool,
        moved: bool = False,
    ) -> None:
        super().__init__(block, page_size_len, source=source, finished=written)
        self._moved = moved

    def _reason(self) -> str:
        return super()._reason() if self.block.mapped is None else _LOST

    def present(self, first: int, count: int) -> Flags:
        """See `RamBlockView.present`."""
        bits, read = self._bits_there(first, count)
        layout = self.block.mapped
        if layout is None:
            return bits
        end = self._source.end() or 0
        whole = max(0, end - layout.header.pages_offset) // self.page_size_len
        present = bits.copy()
        present[max(0, whole - first) :] = False
        if self._finished:
            present |= ~bits
        present[read:] = False
        return present

    def known_zero(self, first: int, count: int) -> Flags:
        """See `RamBlockView.known_zero`."""
        bits, _ = self._bits_there(first, count)
        return ~bits & self.present(first, count)

    def _fill_pages(self, out: Pages, first: int) -> None:
        present = self.present(first, len(out))
        if present.all():
            super()._fill_pages(out, first)
            return
        out[:] = 0
        for begin, end in true_runs(present):
            super()._fill_pages(out[begin:end], first + begin)

    def _bits(self, first: int, count: int) -> Flags:
        return self._bits_there(first, count)[0]

    def _bits_there(self, first: int, count: int) -> tuple[Flags, int]:
        """Return the bits, False where the file ends before them, and how many are there."""
        bits = np.zeros(count, dtype=np.bool_)
        layout = self.block.mapped
        if layout is None or self._moved:
            return bits, 0
        low, behind = first // 8, -(-(first + count) // 8)
        data = self._source.read_at(layout.header.bitmap_offset + low, behind - low)
        found = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        found = found[first - low * 8 :][:count]
        bits[: len(found)] = found
        return bits, len(found)

    def _known(self) -> Iterator[tuple[int, int]]:
        layout = self.block.mapped
        if layout is None or self._moved:
            return
        bits_len = max(0, (self._source.end() or 0) - layout.header.bitmap_offset)
        pages = min(self.block.used_length // self.page_size_len, bits_len * 8)
        for first in range(0, pages, CHUNK_PAGES):
            yield from self._known_in(first, min(CHUNK_PAGES, pages - first))


def last_written(blocks: Sequence[RamBlock], source: Source) -> int:
    """Return the index of the last block of which a bit is set; -1: of none.

    The bitmaps are written when all pages are, one block after the other (migration/ram.c,
    ram_save_complete and ram_save_file_bmap of 9.0 to 11.1): what stands before the last
    one that is not empty was written, too.
    """
    for block in reversed(blocks):
        layout = block.mapped
        if layout is None:
            continue
        start, end = layout.header.bitmap_offset, layout.header.bitmap_offset + layout.bitmap_len
        while start < end:
            data = source.read_at(start, min(_BITS_LEN, end - start))
            if not data:
                break
            if data.strip(b"\0"):
                return block.index
            start += len(data)
    return -1
