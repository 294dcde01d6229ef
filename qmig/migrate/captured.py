"""The RAM of a capture as a guest: what makes a conversion of a save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmig.migrate.guest import StaticGuest

if TYPE_CHECKING:
    import numpy as np

    from qmig.memory import SavedMemory

    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]


class CapturedGuest(StaticGuest):
    """A guest that stands still as it was saved. Any thread may read its pages.

    Args:
        ram: the RAM of a capture.
    """

    def __init__(self, ram: SavedMemory) -> None:
        self._views = list(ram.blocks.values())
        super().__init__([view.block for view in self._views], ram.page_size_len)

    def read_pages(self, block: int, first: int, count: int) -> Pages:
        """Return pages, zeros for those that were never sent; a copy.

        Where the capture says that all are zero, nothing is read, and the array is read-only.

        Raises:
            StreamError: the payload of a page is damaged.
            SourceError: the file cannot be read.
            ValueError: the pages are not all in the block.
        """
        self._check_range(block, first, count)
        view = self._views[block]
        if view.known_zero(first, count).all():
            return self._zero_pages(count)
        pages = self._new_pages(count)
        view.read_pages_into(pages, first, missing="zero")
        return pages

    def sent(self, block: int, first: int, count: int) -> Flags:
        """Tell which pages the capture holds; see `qmig.memory.RunningGuest`."""
        self._check_range(block, first, count)
        return self._views[block].present(first, count)
