"""RAM of two captures against each other, a bounded piece at a time.

A page that a capture does not hold is not zero: it is not known, and never equal to one that the
other holds. What both captures say is zero is not read.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.comparison.model import BlockComparison, PageRange, PageState
from qmig.errors import QmigError
from qmig.limits import MAX_DIFFERING_RANGES, MIB
from qmig.pages.buffers import BufferPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmig.capture.ram_view import Flags, RamBlockView

    States = np.ndarray[Any, np.dtype[np.uint8]]

_CHUNK_LEN: Final = 64 * MIB  # whose pages' states are held at a time
_PIECE_LEN: Final = MIB  # read from both at a time: it stays in the cache for the comparison
_WORD_LEN: Final = 8
_POOL: Final = BufferPool()
_STATES: Final = tuple(PageState)
_CODES: Final = {state: code for code, state in enumerate(_STATES)}


def compare_blocks(
    a: RamBlockView, b: RamBlockView, progress: Callable[[int], None] | None = None
) -> BlockComparison:
    """Compare two blocks of the same name.

    Args:
        a: the block in A.
        b: the block in B; where their lengths differ, what both have is compared.
        progress: told the number of bytes that were compared, now and then.

    Returns:
        What is known of their pages. An error that reading meets stands in it.
    """
    size = min(a.page_size_len, b.page_size_len)
    found = BlockComparison(a.name, (a.used_length, b.used_length), size)
    length = min(a.used_length, b.used_length)
    ranges = _Ranges(found)
    pair = _Pair(a, b, length)
    for addr in range(0, length, _CHUNK_LEN):
        chunk_len = min(_CHUNK_LEN, length - addr)
        states = np.full(-(-chunk_len // size), _CODES[PageState.UNREAD], np.uint8)
        if found.error is None:
            try:
                pair.compare(states, addr, chunk_len)
            except QmigError as error:
                found.error = error
        ranges.add(states, addr, length)
        if progress is not None:
            progress(addr + chunk_len)
    ranges.finish()
    return found


class _Pair:
    """Two blocks of which the first `length` bytes are compared."""

    def __init__(self, a: RamBlockView, b: RamBlockView, length: int) -> None:
        self._a = a
        self._b = b
        self._size = min(a.page_size_len, b.page_size_len)
        self._unit = max(a.page_size_len, b.page_size_len)
        self._length = length

    def compare(self, states: States, addr: int, length: int) -> None:
        """Set the states of the pages from `addr`, which is a multiple of any page size."""
        in_a = self._flags(self._a, self._a.present, addr, length)
        in_b = self._flags(self._b, self._b.present, addr, length)
        zero = self._flags(self._a, self._a.known_zero, addr, length)
        zero &= self._flags(self._b, self._b.known_zero, addr, length)
        both = in_a & in_b
        look = both & ~zero
        states[~both & in_a] = _CODES[PageState.NOT_IN_B]
        states[~both & in_b] = _CODES[PageState.NOT_IN_A]
        states[~in_a & ~in_b] = _CODES[PageState.IN_NEITHER]
        states[both & zero] = _CODES[PageState.EQUAL]
        step = _PIECE_LEN // self._size
        for first in range(0, len(states), step):
            wanted = np.flatnonzero(look[first : first + step])
            if len(wanted):
                low, high = first + int(wanted[0]), first + int(wanted[-1]) + 1
                self._look(states, look, addr, low, high)

    def _look(self, states: States, look: Flags, addr: int, low: int, high: int) -> None:
        """Read pages `low` to `high` of the states' and set those that `look` tells of."""
        per_unit = self._unit // self._size
        low -= low % per_unit
        high = min(-(-high // per_unit) * per_unit, len(look))
        start = addr + low * self._size
        a, b = self._read(self._a, start, high - low), self._read(self._b, start, high - low)
        differ = np.empty(high - low, np.bool_)
        np.not_equal(a.view(np.uint64), b.view(np.uint64)).reshape(high - low, -1).any(
            axis=1, out=differ
        )
        part = look[low:high]
        codes = np.where(differ, _CODES[PageState.DIFFERS], _CODES[PageState.EQUAL])
        states[low:high][part] = codes[part]

    def _read(self, view: RamBlockView, start: int, count: int) -> States:
        """Read `count` of the smaller pages; what lies behind the compared bytes becomes zero."""
        size, length = view.page_size_len, count * self._size
        pages = _POOL.take(-(-length // size) * size)
        view.read_pages_into(pages.reshape(-1, size), start // size, missing="zero")
        pages[max(0, self._length - start) :] = 0
        return pages[:length]

    def _flags(
        self, view: RamBlockView, tell: Callable[[int, int], Flags], addr: int, length: int
    ) -> Flags:
        size = view.page_size_len
        flags = tell(addr // size, -(-length // size))
        return np.repeat(flags, size // self._size)[: -(-length // self._size)]


class _Ranges:
    """Collects pages of one state that follow one another."""

    def __init__(self, found: BlockComparison) -> None:
        self._found = found
        self._open: PageRange | None = None

    def add(self, states: States, addr: int, end: int) -> None:
        """Take the states of the pages from `addr` on, of a block of `end` bytes."""
        size = self._found.page_size_len
        edges = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1).tolist(), len(states)]
        for low, high in pairwise(edges):
            state = _STATES[int(states[low])]
            self._found.pages[state] += high - low
            start = addr + low * size
            self._extend(PageRange(state, start, min(addr + high * size, end) - start))

    def _extend(self, new: PageRange) -> None:
        last = self._open
        if last is not None and last.state is new.state:
            self._open = last._replace(length=last.length + new.length)
            return
        self.finish()
        self._open = new

    def finish(self) -> None:
        """Keep the range that is open."""
        last, self._open = self._open, None
        if last is None or last.state is PageState.EQUAL:
            return
        if len(self._found.ranges) < MAX_DIFFERING_RANGES:
            self._found.ranges.append(last)
        else:
            self._found.ranges_left_out += 1
