"""RAM that stands in one file as it is, each page once: where its pages are.

That is a stopped guest's mapped-ram file, or its stream, neither compressed nor encoded. Whatever
is not certain here is left to `qmig.capture.ram_build`, errors too. Nothing here needs numpy,
which takes longer to load than some hundred MiB take to be copied.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.records import PageBatch
from qmig.limits import MAX_KEPT_ITEMS
from qmig.memory import PageKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qmig.capture.capture import Capture
    from qmig.capture.file_mapping import FileMapping
    from qmig.capture.records import Record
    from qmig.capture.source import Source
    from qmig.memory import PageRun, RamBlock

_BITS_LEN: Final = 8192  # bytes of a bitmap that are looked at in one go
_ONES: Final = re.compile("1+")
_KINDS: Final = frozenset((PageKind.ZERO, PageKind.PLAIN))


class PlainRun(NamedTuple):
    """Pages that follow one another, and are not zero by what the capture says.

    Attributes:
        first_page: in the block.
        page_count: how many.
        offset: of the first one in the file.
        stride_len: bytes from one to the next.
    """

    first_page: int
    page_count: int
    offset: int
    stride_len: int


class PlainRam:
    """Where the pages of all blocks stand.

    Args:
        file: the file.
        page_size_len: bytes of a target page.
        pages: name -> number of pages of a block.
        blocks: name -> runs of a block, by first page; what is in none of them is zero.

    Attributes:
        file: the file.
        page_size_len: bytes of a target page.
    """

    def __init__(
        self,
        file: FileMapping,
        page_size_len: int,
        pages: Mapping[str, int],
        blocks: Mapping[str, list[PlainRun]],
    ) -> None:
        self.file = file
        self.page_size_len = page_size_len
        self._pages = pages
        self._blocks = blocks
        self._firsts = {name: [run.first_page for run in runs] for name, runs in blocks.items()}

    def knows_zeros(self, block: str) -> bool:
        """Tell whether the capture says of any page of a block that it is zero.

        Where it does, whoever wrote it looked for zeros, so other pages are none.
        """
        return sum(run.page_count for run in self._blocks[block]) < self._pages[block]

    def runs(self, block: str, first_page: int, behind_page: int) -> Iterator[PlainRun]:
        """Yield what a block has of pages [first_page, behind_page)."""
        runs = self._blocks[block]
        start = max(0, bisect_right(self._firsts[block], first_page) - 1)
        for at in range(start, len(runs)):
            run = runs[at]
            if run.first_page >= behind_page:
                return
            low = max(first_page, run.first_page)
            high = min(behind_page, run.first_page + run.page_count)
            if low < high:
                skip = low - run.first_page
                yield PlainRun(low, high - low, run.offset + skip * run.stride_len, run.stride_len)


def plain_ram(capture: Capture) -> PlainRam | None:
    """Return where all pages of a capture stand; None where that takes more than a look.

    The survey must have kept what it saw (`Capture.keep_items`).

    Raises:
        SourceError: there is no main stream, or it cannot be read.
    """
    walk = capture.stream
    mapped = {block.mapped is not None for block in capture.blocks}
    if capture.errors or walk.page_size is None or len(mapped) != 1 or len(capture.files) != 1:
        return None
    size = walk.page_size.length
    if any(block.used_length % size for block in capture.blocks):
        return None
    file = walk.source.mapped()
    if file is None:  # a pipe or a decompressor also has let the bitmaps go by
        return None
    runs: dict[str, list[PlainRun]] | None
    if mapped == {True}:
        if walk.eof_offset is None:
            return None
        runs = _all_mapped_runs(walk.source, capture.blocks, size)
    else:
        runs = _recorded_runs(capture.survey.items, capture.blocks, size)
    if runs is None or not _within(runs, size, len(file.view)):
        return None
    return PlainRam(file, size, {block.name: block.pages(size) for block in capture.blocks}, runs)


def _all_mapped_runs(
    source: Source, blocks: Iterable[RamBlock], page_size_len: int
) -> dict[str, list[PlainRun]] | None:
    found: dict[str, list[PlainRun]] = {}
    for block in blocks:
        runs = _mapped_runs(source, block, page_size_len)
        if runs is None:
            return None
        found[block.name] = runs
    return found


def _mapped_runs(source: Source, block: RamBlock, page_size_len: int) -> list[PlainRun] | None:
    """Return the runs of a block of a finished mapped-ram file: the bits that are set."""
    layout = block.mapped
    runs: list[PlainRun] = []
    if layout is None:
        return None
    pages = block.pages(page_size_len)
    for first in range(0, pages, _BITS_LEN * 8):
        count = min(_BITS_LEN * 8, pages - first)
        data = source.read_at(layout.header.bitmap_offset + first // 8, -(-count // 8))
        if len(data) * 8 < count or len(runs) > MAX_KEPT_ITEMS:
            return None
        # One character a page: the lowest bit stands for the first page, and so it comes last.
        bits = f"{int.from_bytes(data, 'little'):0{count}b}"[::-1][:count]
        for found in _ONES.finditer(bits):
            page = first + found.start()
            offset = layout.header.pages_offset + page * page_size_len
            runs.append(PlainRun(page, found.end() - found.start(), offset, page_size_len))
    return runs


def _recorded_runs(
    items: Iterable[Record | PageBatch] | None, blocks: list[RamBlock], page_size_len: int
) -> dict[str, list[PlainRun]] | None:
    """Return the runs of pages that came as records; None where not each came once, and plain."""
    by_block: list[list[PageRun]] = [[] for _ in blocks]
    for item in items or ():
        if isinstance(item, PageBatch):
            for run in item.runs:
                if run.kind not in _KINDS:
                    return None
                by_block[run.block].append(run)
    found: dict[str, list[PlainRun]] = {}
    for block, runs in zip(blocks, by_block, strict=True):
        runs.sort(key=lambda run: run.first_page)
        twice = any(run.first_page + run.count > later.first_page for run, later in pairwise(runs))
        if twice or sum(run.count for run in runs) != block.pages(page_size_len):
            return None
        found[block.name] = [
            PlainRun(run.first_page, run.count, run.data_offset, run.stride_len)
            for run in runs
            if run.kind == PageKind.PLAIN
        ]
    return found


def _within(runs: Mapping[str, list[PlainRun]], page_size_len: int, end: int) -> bool:
    return all(
        run.offset + (run.page_count - 1) * run.stride_len + page_size_len <= end
        for some in runs.values()
        for run in some
    )
