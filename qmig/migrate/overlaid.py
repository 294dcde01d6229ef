"""A captured guest whose named blocks come from raw dumps instead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from qmig.closing import Closing
from qmig.errors import WriterError
from qmig.migrate.dumps import DumpGuest
from qmig.migrate.guest import StaticGuest

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np

    from qmig.memory import RunningGuest

    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

_NAMES_SHOWN: Final = 12


class OverlaidGuest(Closing, StaticGuest):
    """A guest that stands still, some of whose blocks are files.

    All else is the base's: the block list, and the content of the blocks that are not named. Where
    dumps give all that a capture with x-ignore-shared lacks, the blocks lose their addresses, for
    with them a destination would refuse the pages of its shared memory.

    Args:
        base: the guest below; who made it closes what it reads.
        paths: block name -> file.

    Raises:
        SourceError: a file cannot be opened, or is no file.
        WriterError: the base has no such block, or a file's length is not the block's.
    """

    def __init__(self, base: RunningGuest, paths: Mapping[str, str | os.PathLike[str]]) -> None:
        blocks = {block.name: block for block in base.blocks}
        for name in paths:
            if name not in blocks:
                raise WriterError(f"there is no RAM block {name!r}; there are {_listed(blocks)}")
        self._base = base
        self._dumps = DumpGuest(paths, base.page_size_len)
        self._dump_index = {blocks[name].index: at for at, name in enumerate(paths)}
        for dump in self._dumps.blocks:
            if dump.used_length != blocks[dump.name].used_length:
                self._dumps.close()
                raise WriterError(
                    f"{paths[dump.name]}: {dump.used_length} bytes are not the whole of RAM block "
                    f"{dump.name!r}, which has {blocks[dump.name].used_length}"
                )
        super().__init__(base.blocks, base.page_size_len)
        if any(block.addr is not None for block in self._blocks) and self._complete():
            self._blocks = [replace(block, addr=None) for block in self._blocks]

    def _complete(self) -> bool:
        pages = [block.pages(self._page_size_len) for block in self._blocks]
        return all(self.sent(index, 0, count).all() for index, count in enumerate(pages))

    def read_pages(self, block: int, first: int, count: int) -> Pages:
        """Return pages of a dump or of the base; see `qmig.memory.RunningGuest`.

        Raises:
            StreamError: the payload of a page of the base is damaged.
            SourceError: a file cannot be read, or was cut short.
            ValueError: the pages are not all in the block.
        """
        dump = self._dump_index.get(block)
        if dump is None:
            return self._base.read_pages(block, first, count)
        return self._dumps.read_pages(dump, first, count)

    def sent(self, block: int, first: int, count: int) -> Flags:
        """Tell which pages there are: all of a dump, and those that the base has."""
        if block in self._dump_index:
            return super().sent(block, first, count)
        return self._base.sent(block, first, count)

    def close(self) -> None:
        """Close the dumps."""
        self._dumps.close()


def _listed(names: Mapping[str, object]) -> str:
    shown = [repr(name) for name in list(names)[:_NAMES_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
