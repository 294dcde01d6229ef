"""The RAM of a capture as a guest that runs: it is what the capture holds only when it stops.

Some pages change at each round and become other pages, zero pages, or pages that were zero, so
that all that a live migration must get right happens; yet what is left at the end is known.
"""

from typing import Any, Final

import numpy as np

from qmig.memory import SavedMemory
from qmig.migrate.captured import CapturedGuest

EVERY: Final = 3  # of so many pages, one changes

Pages = np.ndarray[Any, np.dtype[np.uint8]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class RestlessGuest(CapturedGuest):
    """A guest with a capture's RAM at its end, and others before. It changes in `take_dirty`.

    Args:
        ram: the RAM of a capture.
    """

    def __init__(self, ram: SavedMemory) -> None:
        super().__init__(ram)
        self._changes = 0
        self._stopped = False
        self._told = False

    def read_pages(self, block: int, first: int, count: int) -> Pages:
        """Return pages as they are now."""
        pages = super().read_pages(block, first, count)
        changes, stopped = self._changes, self._stopped
        if stopped:
            return pages
        pages = np.array(pages)
        for index in range(-first % EVERY, count, EVERY):
            _change(pages[index], first + index, changes)
        return pages

    def take_dirty(self) -> list[Flags]:
        """Write to the pages that change, and tell which those are."""
        if self._stopped and self._told:
            return super().take_dirty()
        self._told = self._stopped
        self._changes += 1
        dirty = super().take_dirty()
        for pages in dirty:
            pages[::EVERY] = True
        return dirty

    def stop(self) -> None:
        """Stop: all pages become the capture's."""
        self._stopped = True


def _change(page: Pages, number: int, changes: int) -> None:
    """Make another page of it: a little, a lot, all zero, or nothing at all."""
    kind = (number // EVERY + changes) % 4
    if kind == 0:
        page[number % 4000 : number % 4000 + 9] ^= 0x11 * (changes % 15 + 1)
    elif kind == 1:
        page ^= 0x5A
    elif kind == 2:
        page[:] = 0
