"""The sender's memory of what pages held when it last sent them: what XBZRLE encodes against.

A cache of a power of two of slots, each for one page. Pages of all blocks are numbered one behind
the other, and a page's slot is its number modulo the slots. A page gives way to another only when
it was not asked for in this round and the one before, so that a hot page is not driven out by one
that passes by. Source: migration/page_cache.c (cache_insert, cache_is_cached), 3.1 to 11.1.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.errors import WriterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Pages = np.ndarray[Any, np.dtype[np.uint8]]

_LIFETIME_ROUNDS: Final = 2  # migration/page_cache.c, CACHED_PAGE_LIFETIME
_EMPTY: Final = -1


class PageCache:
    """Contents of pages, by block and page.

    Args:
        bound_len: bytes of contents at most; slots are filled as they are used.
        page_size_len: bytes of a page.
        block_pages: pages of each block.

    Attributes:
        slots: pages that fit.
        hits: pages that were asked for and were there (QEMU: xbzrle pages).
        misses: pages that were asked for and were not there (QEMU: cache-miss).
        evictions: pages that gave way to others.
        refusals: pages that were not taken in because the one in their slot is still in use.

    Raises:
        WriterError: not one page fits the bound.
    """

    def __init__(self, bound_len: int, page_size_len: int, block_pages: Sequence[int]) -> None:
        pages = bound_len // page_size_len
        if pages < 1:
            raise WriterError(
                f"a page cache of {bound_len} bytes does not hold one page of {page_size_len}"
            )
        self.slots = 1 << pages.bit_length() - 1
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.refusals = 0
        self._first_number = [0, *accumulate(block_pages)]
        # Memory of this size comes from the kernel page by page, when it is first written.
        self._contents = np.empty((self.slots, page_size_len), dtype=np.uint8)
        self._owners = np.full(self.slots, _EMPTY, dtype=np.int64)
        self._ages = np.zeros(self.slots, dtype=np.int64)

    def __len__(self) -> int:
        """Return how many pages are in the cache."""
        return int(np.count_nonzero(self._owners != _EMPTY))

    def find(self, block: int, page: int, age: int) -> Pages | None:
        """Return what the cache holds of a page, None if nothing; count a hit or a miss.

        Args:
            block: index of the block.
            page: index of the page in it.
            age: number of the round; a page that is found is in use in it.

        Returns:
            The content itself: what is written into it is in the cache.
        """
        number, slot = self._place(block, page)
        if self._owners[slot] != number:
            self.misses += 1
            return None
        self.hits += 1
        self._ages[slot] = age
        found: Pages = self._contents[slot]
        return found

    def insert(self, block: int, page: int, content: Pages, age: int) -> Pages | None:
        """Take in a page, or the new content of one that is there.

        Args:
            block: index of the block.
            page: index of the page in it.
            content: what it holds.
            age: number of the round.

        Returns:
            The content in the cache, as `find` does; None where the page in its slot was in use
            in this round or the one before.
        """
        number, slot = self._place(block, page)
        owner = int(self._owners[slot])
        if owner not in (number, _EMPTY):
            if self._ages[slot] + _LIFETIME_ROUNDS > age:
                self.refusals += 1
                return None
            self.evictions += 1
        self._owners[slot] = number
        self._ages[slot] = age
        cached: Pages = self._contents[slot]
        cached[:] = content
        return cached

    def _place(self, block: int, page: int) -> tuple[int, int]:
        number = self._first_number[block] + page
        return number, number & self.slots - 1
