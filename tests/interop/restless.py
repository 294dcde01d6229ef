"""The RAM of a capture as a guest that runs: it is what the capture holds only when it stops.

Until then pages are other pages, zero pages, or pages that were zero. Some become the capture's in
each round and then keep still, so that a page that any round forgets is missed in the end.
"""

from typing import Any, Final

import numpy as np

from qmig.memory import SavedMemory
from qmig.migrate.captured import CapturedGuest

# By page number modulo GROUPS: 0 keeps still, 1 to 3 settle in the round of that number, 4 settles
# when the guest stops, 5 changes in each round and settles then, too.
GROUPS: Final = 6
SETTLES_AT_STOP: Final = 4
RESTLESS: Final = 5

Pages = np.ndarray[Any, np.dtype[np.uint8]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class RestlessGuest(CapturedGuest):
    """A guest with a capture's RAM at its end, and others before. It changes in `take_dirty`.

    Args:
        ram: the RAM of a capture.
    """

    def __init__(self, ram: SavedMemory) -> None:
        super().__init__(ram)
        self._round = -1  # the first call of `take_dirty` begins the logging
        self._stopped = False
        self._told = False

    def read_pages(self, block: int, first: int, count: int) -> Pages:
        """Return pages as they are now."""
        pages = super().read_pages(block, first, count)
        now = self._round
        if self._stopped:
            return pages
        pages = np.array(pages)
        for index in range(count):
            group = (first + index) % GROUPS
            if group == RESTLESS:
                _change(pages[index], first + index, now)
            elif group == SETTLES_AT_STOP or group > max(now, 0):
                _change(pages[index], first + index, 0)
        return pages

    def take_dirty(self) -> list[Flags]:
        """Write to the pages whose turn it is, and tell which those are."""
        # A guest that stands still gives one flag for all pages of a block.
        dirty = [pages.copy() for pages in super().take_dirty()]
        groups: list[int] = []
        if not self._stopped:
            self._round += 1
            if self._round > 0:
                groups = [RESTLESS]
            if 0 < self._round < SETTLES_AT_STOP:
                groups.append(self._round)
        elif not self._told:
            self._told = True
            groups = list(range(max(self._round, 0) + 1, SETTLES_AT_STOP))  # too late for theirs
            groups += [SETTLES_AT_STOP, RESTLESS]
        for pages in dirty:
            for group in groups:
                pages[group::GROUPS] = True
        return dirty

    def stop(self) -> None:
        """Stop: all pages become the capture's."""
        self._stopped = True


def _change(page: Pages, number: int, version: int) -> None:
    """Make another page of it: a little, a lot, all zero, or nothing at all."""
    kind = (number // GROUPS + version) % 4
    if kind == 0:
        page[number % 4000 : number % 4000 + 9] ^= 0x11 * (version % 15 + 1)
    elif kind == 1:
        page ^= 0x5A
    elif kind == 2:
        page[:] = 0
