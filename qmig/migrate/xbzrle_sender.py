"""XBZRLE on the sending side: what the destination has of a page, and what changed against it.

As migration/ram.c does it (save_xbzrle_page, xbzrle_cache_zero_page; 5.2 to 11.1): from the second
round on; a page that is not in the cache goes whole and is put there, one that is goes as what
changed, and the cache then holds what was sent, never what the guest has written since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qmig.pages.page_cache import PageCache
from qmig.pages.xbzrle import encode

if TYPE_CHECKING:
    from qmig.memory import RunningGuest
    from qmig.migrate.counters import Counters

    Pages = np.ndarray[Any, np.dtype[np.uint8]]


class XbzrleSender:
    """Encodes pages against what was sent of them before.

    Args:
        cache_len: bytes of the page cache at most.
        guest: whose pages they are.
        counters: what is counted.

    Raises:
        WriterError: not one page fits the cache.
    """

    def __init__(self, cache_len: int, guest: RunningGuest, counters: Counters) -> None:
        size = guest.page_size_len
        self._cache = PageCache(cache_len, size, [b.used_length // size for b in guest.blocks])
        self._counters = counters
        self._zeros = np.zeros(size, np.uint8)
        self._round = 1

    def next_round(self) -> None:
        """The scan over dirty pages begins anew."""
        self._round += 1

    def encode(self, block: int, page: int, content: Pages) -> tuple[Pages, bytes | None]:
        """Return what to send of a page.

        Args:
            block: index of the block.
            page: index of the page in it.
            content: the page; the guest may write to it meanwhile.

        Returns:
            The content that was taken, and its encoding: empty where nothing changed, None where
            the page goes whole.
        """
        taken = np.array(content)
        cached = self._cache.find(block, page, self._round)
        if cached is None:
            self._counters.add(xbzrle_cache_miss=1)
            self._cache.insert(block, page, taken, self._round)
            return taken, None
        encoding = encode(cached, taken, max_len=len(taken))
        cached[:] = taken
        if encoding is None:
            self._counters.add(xbzrle_overflow=1)
        elif encoding:
            self._counters.add(xbzrle_pages=1, xbzrle_bytes=len(encoding))
        return taken, encoding

    def became_zero(self, block: int, first: int, count: int) -> None:
        """Note that pages were sent as zero pages."""
        for page in range(first, first + count):
            self._cache.insert(block, page, self._zeros, self._round)
