"""Guest memory read by guest-physical address."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.errors import MissingPagesError
from qmig.pages.flags import true_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.ram_view import Ram
    from qmig.export.layout import Layout, PhysicalRange

_CHECK_PAGES: Final = 65536
# Small reads are served from pieces of this length; page tables and lists lie scattered.
_PIECE_LEN: Final = 1 << 16
_KEPT_PIECES: Final = 512


class Gap(NamedTuple):
    """Where memory is asked for and none is known.

    Attributes:
        addr: the first such guest-physical address.
        reason: why it is not known.
    """

    addr: int
    reason: str


class PhysicalMemory:
    """A guest's memory by guest-physical address; nothing is known where no RAM block stands.

    Args:
        layout: where the blocks stand.
        ram: the blocks.

    Attributes:
        layout: where the blocks stand.
        missing_pages: how many pages of the blocks in the layout the capture does not hold.
    """

    def __init__(self, layout: Layout, ram: Ram) -> None:
        self.layout = layout
        self._ram = ram
        self._ranges = layout.ranges
        self._starts = [one.start_addr for one in layout.ranges]
        placed = {one.block for one in layout.ranges}
        self.missing_pages = sum(ram[name].missing_pages() for name in placed)
        self._piece = lru_cache(_KEPT_PIECES)(self._read_piece)

    @property
    def first_addr(self) -> int:
        """The first guest-physical address; 0 where there is no memory."""
        return self._ranges[0].start_addr if self._ranges else 0

    @property
    def end_addr(self) -> int:
        """The guest-physical address behind the last byte."""
        return self._ranges[-1].end_addr if self._ranges else 0

    def read(self, addr: int, length: int) -> bytes:
        """Return memory; what is not known reads as zero, so ask `gap` before.

        Args:
            addr: first guest-physical address.
            length: number of bytes.

        Raises:
            StreamError: the payload of a page is damaged.
            SourceError: the file cannot be read.
        """
        first, skip = divmod(addr, _PIECE_LEN)
        if addr >= 0 and skip + length <= _PIECE_LEN:
            piece = self._piece(first)
            if piece is not None:
                return piece[skip : skip + length]
        parts: list[bytes] = []
        at = addr
        for start, end in self.runs(addr, length):
            parts += (bytes(start - at), self._known(start, end))
            at = end
        parts.append(bytes(addr + length - at))
        return b"".join(parts)

    def gap(self, addr: int, length: int) -> Gap | None:
        """Return the first address of a range that is not known; None where all are."""
        at = addr
        for start, end in self.runs(addr, length):
            if start > at:
                break
            at = end
        return None if at >= addr + length else Gap(at, self._why(at))

    def runs(self, addr: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield what is known of a range as (start, end), by address; what touches is one."""
        begin: int | None = None
        end = addr
        for low, high in self._known_parts(addr, addr + length):
            if begin is not None and low == end:
                end = high
                continue
            if begin is not None:
                yield begin, end
            begin, end = low, high
        if begin is not None:
            yield begin, end

    def _known_parts(self, addr: int, behind: int) -> Iterator[tuple[int, int]]:
        at = max(0, bisect_right(self._starts, addr) - 1)
        for one in self._ranges[at:]:
            if one.start_addr >= behind:
                return
            low, high = max(addr, one.start_addr), min(behind, one.end_addr)
            if low >= high:
                continue
            if self.missing_pages:
                yield from self._present_parts(one, low, high)
            else:
                yield low, high

    def _present_parts(self, one: PhysicalRange, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of [low, high), which lies in a range, whose pages are there."""
        view, size = self._ram[one.block], self._ram.page_size_len
        shift = one.start_addr - one.block_addr
        first, behind = (low - shift) // size, -(-(high - shift) // size)
        for start in range(first, behind, _CHECK_PAGES):
            flags = view.present(start, min(_CHECK_PAGES, behind - start))
            for begin, end in true_runs(flags):
                begin_addr, end_addr = (start + begin) * size + shift, (start + end) * size + shift
                yield max(low, begin_addr), min(high, end_addr)

    def _known(self, start: int, end: int) -> bytes:
        """Return [start, end), all of which is there; it may lie in several ranges."""
        parts = []
        while start < end:
            one = self._ranges[bisect_right(self._starts, start) - 1]
            length = min(end, one.end_addr) - start
            block_addr = one.block_addr + start - one.start_addr
            parts.append(self._ram[one.block].read(block_addr, length))
            start += length
        return b"".join(parts)

    def _read_piece(self, number: int) -> bytes | None:
        """Return a piece of which all is known, else None."""
        addr = number * _PIECE_LEN
        whole = [(addr, addr + _PIECE_LEN)]
        return self._known(*whole[0]) if list(self.runs(addr, _PIECE_LEN)) == whole else None

    def _why(self, addr: int) -> str:
        for one in self._ranges:
            if one.start_addr <= addr < one.end_addr:
                block_addr = one.block_addr + addr - one.start_addr
                try:
                    self._ram[one.block].read(block_addr, 1)
                except MissingPagesError as error:
                    return str(error)
        for hidden in self.layout.hidden:
            if hidden.start_addr <= addr < hidden.start_addr + hidden.length:
                return hidden.why
        return "no RAM stands there"
