"""Guest memory that is read before it is written: any that a capture can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.export.content import UNIT_LEN, Content, Run
from qmig.limits import MIB
from qmig.pages.buffers import BufferPool
from qmig.pages.flags import true_runs
from qmig.pages.zero import zero_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.memory import SavedBlock, SavedMemory

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]

PIECE_LEN: Final = 4 * MIB
_WINDOW_LEN: Final = 256 * MIB  # whose pages are looked up in one go
_POOL: Final = BufferPool()


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a block, read.

    Attributes:
        addr: first byte in the block.
        length: bytes.
        data: the bytes; None where all are zero.
    """

    addr: int
    length: int
    data: Bytes | None


def pieces(
    view: SavedBlock, page_size_len: int, addr: int, length: int, *, holes: bool
) -> Iterator[Piece]:
    """Yield a range of a block in pieces, read up to `PIECE_LEN` at a time.

    Zeros that are known are not read, and may come in larger pieces.

    Args:
        view: the block.
        page_size_len: bytes of a target page.
        addr: first byte.
        length: bytes.
        holes: give zeros for pages that the capture does not hold.

    Raises:
        MissingPagesError: the capture does not hold a page (without `holes`).
        StreamError: the payload of a page is damaged.
    """
    end = addr + length
    while addr < end:
        behind = min(end, (addr // _WINDOW_LEN + 1) * _WINDOW_LEN)
        first, count = touched_pages(addr, behind, page_size_len)
        zero = view.known_zero(first, count)
        if holes:
            zero |= ~view.present(first, count)
        if zero.all():
            yield Piece(addr, behind - addr, None)
            addr = behind
        while addr < behind:
            to = min(behind, (addr // PIECE_LEN + 1) * PIECE_LEN)
            at, some = touched_pages(addr, to, page_size_len)
            data: Bytes | None = None
            if not zero[at - first : at - first + some].all():
                pages = _POOL.take(some * page_size_len).reshape(some, page_size_len)
                view.read_pages_into(pages, at, missing="zero" if holes else "error")
                skip = addr - at * page_size_len
                data = pages.reshape(-1)[skip : skip + to - addr]
            yield Piece(addr, to - addr, data)
            addr = to


def touched_pages(addr: int, end: int, page_size_len: int) -> tuple[int, int]:
    """Return the first page of a range and how many it touches."""
    first = addr // page_size_len
    return first, -(-end // page_size_len) - first


class ReadContent:
    """The content of blocks that are read; a `ContentSource`.

    Args:
        ram: the blocks.
        holes: take pages that the capture does not hold for zeros.
    """

    def __init__(self, ram: SavedMemory, *, holes: bool) -> None:
        self._ram = ram
        self._holes = holes

    def contents(self, block: str, addr: int, length: int) -> Iterator[Content]:
        """See `ContentSource.contents`."""
        view = self._ram.blocks[block]
        for piece in pieces(view, self._ram.page_size_len, addr, length, holes=self._holes):
            runs = [] if piece.data is None else _runs_of(piece.data, piece.addr)
            yield Content(piece.addr, piece.length, runs)


def _runs_of(data: Bytes, addr: int) -> list[Run]:
    """Return bytes as runs, without units that are zero."""
    head = min(-addr % UNIT_LEN, len(data))
    whole = (len(data) - head) // UNIT_LEN
    tail = head + whole * UNIT_LEN
    runs: list[Run] = []
    if data[:head].any():
        runs.append(Run(addr, [data[:head].data]))
    if whole:
        body = data[head:tail].reshape(whole, UNIT_LEN)
        for low, high in true_runs(~zero_pages(body)):
            part = data[head + low * UNIT_LEN : head + high * UNIT_LEN]
            runs.append(Run(addr + head + low * UNIT_LEN, [part.data]))
    if data[tail:].any():
        runs.append(Run(addr + tail, [data[tail:].data]))
    return runs
