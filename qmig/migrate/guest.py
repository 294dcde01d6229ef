"""What guests that do not run have in common: nothing of them becomes dirty.

The guests are in modules of their own: `synthetic` (it runs), `dumps` and `captured`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qmig.pages.buffers import BufferPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import RamBlock

    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

NO_ENTRY_OFFSET = -1  # RamBlock.entry_offset of a block that was in no stream


class StaticGuest:
    """Base of the guests whose memory does not change.

    Args:
        blocks: in the order of the block list; each one's index is its position.
        page_size_len: bytes of a target page.
    """

    def __init__(self, blocks: Sequence[RamBlock], page_size_len: int) -> None:
        self._blocks = list(blocks)
        self._page_size_len = page_size_len
        self._zeros = np.zeros(page_size_len, dtype=np.uint8)
        self._pool = BufferPool()

    @property
    def page_size_len(self) -> int:
        """Bytes of a target page."""
        return self._page_size_len

    @property
    def blocks(self) -> Sequence[RamBlock]:
        """The blocks, in the order of the block list."""
        return self._blocks

    def sent(self, block: int, first: int, count: int) -> Flags:
        """All pages are sent; see `qmig.memory.RunningGuest`."""
        self._check_range(block, first, count)
        return np.ones(count, dtype=np.bool_)

    def take_dirty(self) -> list[Flags]:
        """No page is ever dirty; see `qmig.memory.RunningGuest`."""
        clean = np.zeros(1, dtype=np.bool_)
        counts = (block.pages(self._page_size_len) for block in self._blocks)
        return [np.broadcast_to(clean, (count,)) for count in counts]  # one byte for all pages

    def throttle(self, percent: int) -> None:
        """Do nothing: there is nothing to slow down."""

    def stop(self) -> None:
        """Do nothing: there is nothing to stop."""

    def _zero_pages(self, count: int) -> Pages:
        """Return so many zero pages that take the memory of one; read-only."""
        return np.broadcast_to(self._zeros, (count, self._page_size_len))

    def _new_pages(self, count: int) -> Pages:
        """Return memory for pages, with anything in it."""
        return self._pool.take(count * self._page_size_len).reshape(count, self._page_size_len)

    def _check_range(self, block: int, first: int, count: int) -> None:
        entry = self._blocks[block]
        pages = entry.pages(self._page_size_len)
        if first < 0 or count < 0 or first + count > pages:
            raise ValueError(
                f"pages {first} to {first + count} are not all in {entry.name!r} ({pages} pages)"
            )
