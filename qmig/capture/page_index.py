"""From runs of pages in the order in which they came to the place of each page's last version.

Runs are kept as columns; nothing is kept a page. A block is looked at in chunks of 65,536 pages:
the runs that touch a chunk are painted over each other in their order, and what shows at the end
is the last version. XBZRLE records are painted apart, because each builds on what lies below.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from qmig.limits import MAX_PAGE_RUNS
from qmig.memory import PageKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qmig.memory import PageRun

CHUNK_BITS: Final = 16
CHUNK_PAGES: Final = 1 << CHUNK_BITS
_PAINT_PAGES: Final = 1 << 22  # pages painted in one step, to bound memory
_CACHED_CHUNKS: Final = 8  # 512 KiB each


class TooManyRunsError(ValueError):
    """More runs than `limits.MAX_PAGE_RUNS`."""


class Placement(NamedTuple):
    """Where the last version of some pages is.

    Attributes:
        source: index of the source.
        kind: a `PageKind`; never XBZRLE.
        data_offset: of the first page's payload.
        stride_len: bytes from one payload to the next.
        payload_len: bytes of one payload.
    """

    source: int
    kind: int
    data_offset: int
    stride_len: int
    payload_len: int


class Delta(NamedTuple):
    """An XBZRLE record that a page's last version builds on."""

    source: int
    data_offset: int
    payload_len: int


class Chunk(NamedTuple):
    """One chunk of a block.

    Attributes:
        owner: int64 of CHUNK_PAGES: index of the run with the last whole version; -1: none.
        delta_pages: sorted int64: page in the chunk of each XBZRLE run that applies.
        delta_runs: int32: index of that run, in order of application for each page.
    """

    owner: np.ndarray[Any, np.dtype[np.int64]]
    delta_pages: np.ndarray[Any, np.dtype[np.int64]]
    delta_runs: np.ndarray[Any, np.dtype[np.int32]]


_RUNS_AT_ONCE: Final = 1 << 18  # when they are sorted by chunks, to bound memory
_RUN: Final = np.int32  # there are at most MAX_PAGE_RUNS
_CHUNK: Final = np.uint32  # MAX_BLOCK_LEN of the smallest pages
_COLUMNS: Final = {
    "block": "H",
    "kind": "B",
    "first_page": "q",
    "count": "q",
    "data_offset": "q",
    "stride_len": "I",
    "payload_len": "I",
    "source": "H",
}


class _ChunkRuns(NamedTuple):
    """The runs of a block by the chunks that they touch.

    Attributes:
        chunks: numbers of the chunks that any run touches, in order.
        starts: of each of them the index in `runs` of the first one; at the end that behind all.
        runs: index of each run, once for each chunk that it touches; in their order for each.
    """

    chunks: list[int]
    starts: list[int]
    runs: np.ndarray[Any, Any]

    def touching(self, number: int) -> np.ndarray[Any, Any]:
        """Return the runs that touch a chunk."""
        at = bisect_left(self.chunks, number)
        if at == len(self.chunks) or self.chunks[at] != number:
            return self.runs[:0]
        return self.runs[self.starts[at] : self.starts[at + 1]]


class PageIndex:
    """Runs of pages of all blocks; finds the last version of each page."""

    def __init__(self) -> None:
        self._columns = {name: array(code) for name, code in _COLUMNS.items()}
        self._stretches: list[tuple[int, int]] = []  # first run of each, and the order of all
        self._arrays: dict[str, np.ndarray[Any, Any]] | None = None
        self._by_block: dict[int, _ChunkRuns] = {}
        self._chunk = lru_cache(maxsize=_CACHED_CHUNKS)(self._painted)

    def add(self, runs: Iterable[PageRun], *, source: int = 0, order: int = 0) -> None:
        """Add runs in the order in which they came.

        Args:
            runs: the runs.
            source: index of the source that their data_offset counts in.
            order: runs of a higher order come later, whenever they are added.

        Raises:
            TooManyRunsError: the limit is reached.
        """
        columns = self._columns
        if not self._stretches or self._stretches[-1][1] != order:
            self._stretches.append((len(columns["block"]), order))
        for run in runs:
            columns["block"].append(run.block)
            columns["kind"].append(run.kind)
            columns["first_page"].append(run.first_page)
            columns["count"].append(run.count)
            columns["data_offset"].append(run.data_offset)
            columns["stride_len"].append(run.stride_len)
            columns["payload_len"].append(run.payload_len)
            columns["source"].append(source)
        if len(columns["block"]) > MAX_PAGE_RUNS:
            raise TooManyRunsError(f"more than {MAX_PAGE_RUNS} runs of pages")

    def relabel(self, blocks: Mapping[int, int]) -> None:
        """Put runs that were added under one block's index under another one's.

        Args:
            blocks: index as it was added -> index of the block.
        """
        column = np.frombuffer(self._columns["block"], dtype=np.uint16)
        for before, after in blocks.items():
            column[column == before] = after

    def finish(self) -> None:
        """Bring the runs into their order; no run can be added from here on."""
        arrays = {
            name: np.frombuffer(column, dtype=column.typecode) if column else np.empty(0, np.int64)
            for name, column in self._columns.items()
        }
        orders = np.array([order for _, order in self._stretches], dtype=np.int64)
        if np.any(orders[1:] < orders[:-1]):
            starts = [first for first, _ in self._stretches]
            lengths = np.diff(starts, append=len(self._columns["block"]))
            by_order = np.argsort(np.repeat(orders, lengths), kind="stable")
            for name in _COLUMNS:  # one at a time, and none is there twice for longer than that
                arrays[name] = arrays[name][by_order]
                del self._columns[name]
        self._columns = {}
        self._arrays = arrays
        for block in np.unique(arrays["block"]).tolist():
            self._by_block[block] = self._chunk_runs(block)

    @property
    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """The columns by name, after `finish`."""
        if self._arrays is None:
            raise RuntimeError("PageIndex.finish was not called")
        return self._arrays

    def _chunk_runs(self, block: int) -> _ChunkRuns:
        """Return the runs of a block, which must have some, by the chunks that they touch."""
        all_runs, all_chunks = [], []
        for start in range(0, len(self.columns["block"]), _RUNS_AT_ONCE):
            runs, chunks = self._touched_chunks(block, slice(start, start + _RUNS_AT_ONCE))
            all_runs.append((runs + start).astype(_RUN))
            all_chunks.append(chunks.astype(_CHUNK))
        runs = np.concatenate(all_runs)
        del all_runs  # there may be millions of them
        chunks = np.concatenate(all_chunks)
        del all_chunks
        if np.any(chunks[1:] < chunks[:-1]):
            order = np.argsort(chunks, kind="stable")
            runs, chunks = runs[order], chunks[order]
        starts = [0, *(np.flatnonzero(chunks[1:] != chunks[:-1]) + 1).tolist()]
        return _ChunkRuns(chunks[starts].tolist(), [*starts, len(runs)], runs)

    def _touched_chunks(
        self, block: int, some: slice
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return which of some runs are of a block, once a chunk that each touches, and these."""
        runs = np.flatnonzero(self.columns["block"][some] == block)
        first = self.columns["first_page"][some][runs]
        last = first + self.columns["count"][some][runs] - 1
        chunks = first >> CHUNK_BITS
        touched = (last >> CHUNK_BITS) - chunks + 1
        if not len(runs) or touched.max() == 1:
            return runs, chunks
        within = np.arange(touched.sum()) - np.repeat(np.cumsum(touched) - touched, touched)
        return np.repeat(runs, touched), np.repeat(chunks, touched) + within

    def chunk_numbers(self, block: int) -> list[int]:
        """Return the numbers of the chunks of a block that any run touches, in order."""
        if block not in self._by_block:
            return []
        return self._by_block[block].chunks

    def chunk(self, block: int, number: int) -> Chunk:
        """Return a chunk of a block, pages [number << 16, (number + 1) << 16)."""
        return self._chunk(block, number)

    def _painted(self, block: int, number: int) -> Chunk:
        owner = np.full(CHUNK_PAGES, -1, dtype=np.int64)
        if block not in self._by_block:
            return Chunk(owner, np.empty(0, dtype=np.int64), np.empty(0, dtype=_RUN))
        runs = self._by_block[block].touching(number)
        deltas = self.columns["kind"][runs] == PageKind.XBZRLE
        self._paint(owner, runs[~deltas], number)
        delta_runs = runs[deltas]
        delta_pages = self.columns["first_page"][delta_runs] - (number << CHUNK_BITS)
        applies = delta_runs > owner[delta_pages]
        delta_runs, delta_pages = delta_runs[applies], delta_pages[applies]
        by_page = np.argsort(delta_pages, kind="stable")
        return Chunk(owner, delta_pages[by_page], delta_runs[by_page])

    def _paint(self, owner: np.ndarray[Any, Any], runs: np.ndarray[Any, Any], number: int) -> None:
        base = number << CHUNK_BITS
        first = np.maximum(self.columns["first_page"][runs] - base, 0)
        behind = self.columns["first_page"][runs] + self.columns["count"][runs] - base
        counts = np.minimum(behind, CHUNK_PAGES) - first
        total = np.cumsum(counts)
        start = 0
        while start < len(runs):
            painted = total[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(total, painted + _PAINT_PAGES, "right")))
            some = slice(start, stop)
            lengths = counts[some]
            begins = np.cumsum(lengths) - lengths
            pages = np.arange(int(lengths.sum())) + np.repeat(first[some] - begins, lengths)
            # Where a page is named twice, the last assignment stays.
            owner[pages] = np.repeat(runs[some], lengths)
            start = stop

    def placement(self, run: int, page: int) -> Placement:
        """Return where a run has a page (its index in the block)."""
        columns = self.columns
        stride_len = columns["stride_len"].item(run)
        into = page - columns["first_page"].item(run)
        return Placement(
            columns["source"].item(run),
            columns["kind"].item(run),
            columns["data_offset"].item(run) + into * stride_len,
            stride_len,
            columns["payload_len"].item(run),
        )

    def delta(self, run: int) -> Delta:
        """Return an XBZRLE run as a delta."""
        columns = self.columns
        return Delta(
            int(columns["source"][run]),
            int(columns["data_offset"][run]),
            int(columns["payload_len"][run]),
        )
