"""What a capture does not hold of its guest's memory."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.memory import SavedBlock

_CHECK_LEN: Final = 64 * MIB


class Missing(NamedTuple):
    """A range of a block that the capture does not hold.

    Attributes:
        block: its name.
        addr: first byte in the block.
        length: bytes.
    """

    block: str
    addr: int
    length: int


class MissingRanges:
    """Ranges that a capture does not hold, in the order in which they were looked for.

    Kept as columns: every other page may be missing, and as objects they would take gigabytes.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._blocks = array("L")  # index of each range's name
        self._addrs = array("Q")
        self._lengths = array("Q")

    def __len__(self) -> int:
        return len(self._addrs)

    def __iter__(self) -> Iterator[Missing]:
        for name, addr, length in zip(self._blocks, self._addrs, self._lengths, strict=True):
            yield Missing(self._names[name], addr, length)

    @property
    def length(self) -> int:
        """Bytes of all ranges."""
        return sum(self._lengths)

    def look(self, view: SavedBlock, page_size_len: int, addr: int, length: int) -> None:
        """Add what the capture does not hold of a range of a block.

        Args:
            view: the block.
            page_size_len: bytes of a target page.
            addr: first byte in the block.
            length: bytes.
        """
        from qmig.export.read_content import touched_pages  # with numpy
        from qmig.pages.flags import true_runs

        addrs, lengths = self._addrs, self._lengths
        before = len(addrs)
        end = addr + length
        for start in range(addr, end, _CHECK_LEN):
            behind = min(end, start + _CHECK_LEN)
            first, count = touched_pages(start, behind, page_size_len)
            for low, high in true_runs(~view.present(first, count)):
                low_addr = max(start, (first + low) * page_size_len)
                high_addr = min(behind, (first + high) * page_size_len)
                if len(addrs) > before and addrs[-1] + lengths[-1] == low_addr:
                    lengths[-1] += high_addr - low_addr
                else:
                    addrs.append(low_addr)
                    lengths.append(high_addr - low_addr)
        self._blocks.extend([len(self._names)] * (len(addrs) - before))
        self._names.append(view.block.name)
