"""What a capture does not hold of its guest's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qmig.export.read_content import touched_pages
from qmig.limits import MIB
from qmig.pages.flags import true_runs

if TYPE_CHECKING:
    from qmig.memory import SavedBlock

_CHECK_LEN: Final = 64 * MIB


@dataclass(frozen=True, slots=True)
class Missing:
    """A range of a block that the capture does not hold.

    Attributes:
        block: its name.
        addr: first byte in the block.
        length: bytes.
    """

    block: str
    addr: int
    length: int


def missing_in(view: SavedBlock, page_size_len: int, addr: int, length: int) -> list[Missing]:
    """Return the ranges of a block that the capture does not hold, in order."""
    found: list[Missing] = []
    end = addr + length
    for start in range(addr, end, _CHECK_LEN):
        behind = min(end, start + _CHECK_LEN)
        first, count = touched_pages(start, behind, page_size_len)
        for low, high in true_runs(~view.present(first, count)):
            low_addr = max(start, (first + low) * page_size_len)
            high_addr = min(behind, (first + high) * page_size_len)
            last = found[-1] if found else None
            if last is not None and last.addr + last.length == low_addr:
                found[-1] = Missing(last.block, last.addr, last.length + high_addr - low_addr)
            else:
                found.append(Missing(view.block.name, low_addr, high_addr - low_addr))
    return found
