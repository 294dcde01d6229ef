"""Counts of pages by block and kind, without keeping the pages."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qmig.limits import MAX_SEEN_RANGES
from qmig.memory import PageKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qmig.memory import PageRun


class SeenPages:
    """The set of pages of a block that were sent, as ranges that are sorted and do not touch."""

    def __init__(self) -> None:
        # Columns of integers: as objects of Python they would take three times as much.
        self._starts = array("q")
        self._ends = array("q")
        self._last_end = -1
        self.gave_up = False

    def add(self, first: int, count: int) -> int:
        """Add pages; return how many of them were there already (0 after giving up)."""
        last, end = self._last_end, first + count
        if first > last:
            self._starts.append(first)
            self._ends.append(end)
            self._last_end = end
        elif first == last:
            self._ends[-1] = self._last_end = end
        elif not self.gave_up:
            return self._merge(first, end)
        return 0

    def _merge(self, first: int, end: int) -> int:
        starts, ends = self._starts, self._ends
        low = bisect_left(ends, first)  # the first range that ends at or behind `first`
        high = bisect_right(starts, end)  # the first one that starts behind `end`
        if high - low == 1 and starts[low] <= first and end <= ends[low]:
            return end - first
        seen = 0
        for at in range(low, high):
            seen += max(0, min(end, ends[at]) - max(first, starts[at]))
        if high > low:
            first = min(first, starts[low])
            end = max(end, ends[high - 1])
        starts[low:high] = array("q", (first,))
        ends[low:high] = array("q", (end,))
        self._last_end = ends[-1]
        if len(starts) > MAX_SEEN_RANGES:
            self.gave_up = True
        return seen

    @property
    def pages(self) -> int:
        """Number of different pages."""
        return sum(self._ends) - sum(self._starts)


@dataclass
class BlockStatistics:
    """What was sent of one block.

    Attributes:
        pages: pages sent, by kind; a page that was sent twice counts twice.
        resent_pages: how many of them had been sent before; None where that was given up.
        seen_pages: number of different pages sent.
        wire_len: bytes of records and payloads.
    """

    pages: dict[PageKind, int] = field(default_factory=dict)
    resent_pages: int | None = 0
    seen_pages: int = 0
    wire_len: int = 0


class RamStatistics:
    """Collects runs of pages into counts."""

    def __init__(self) -> None:
        self._pages: dict[tuple[int, int], int] = {}
        self._wire: dict[int, int] = {}
        self._resent: dict[int, int] = {}
        self._seen: dict[int, SeenPages] = {}

    def add(self, runs: Iterable[PageRun]) -> None:
        """Count runs; it is cheapest where they come in ascending order."""
        pages, wire = self._pages, self._wire
        block_before, start, end = -1, 0, 0  # of runs that follow one another
        for block, kind, first_page, count, _, stride_len, _ in runs:
            key = (block, kind)
            pages[key] = pages.get(key, 0) + count
            wire[block] = wire.get(block, 0) + count * stride_len
            if first_page != end or block != block_before:
                if end > start:
                    self._see(block_before, start, end)
                block_before, start = block, first_page
            end = first_page + count
        if end > start:
            self._see(block_before, start, end)

    def _see(self, block: int, start: int, end: int) -> None:
        seen = self._seen.get(block)
        if seen is None:
            seen = self._seen[block] = SeenPages()
        again = seen.add(start, end - start)
        if again:
            self._resent[block] = self._resent.get(block, 0) + again

    def block(self, index: int) -> BlockStatistics:
        """Return the counts of one block."""
        seen = self._seen.get(index) or SeenPages()
        return BlockStatistics(
            pages={PageKind(kind): n for (block, kind), n in self._pages.items() if block == index},
            resent_pages=None if seen.gave_up else self._resent.get(index, 0),
            seen_pages=seen.pages,
            wire_len=self._wire.get(index, 0),
        )
