"""What the synthetic guest's memory holds, and what its writes put there; all from its seed.

Only raw outputs of a bit generator are used, which numpy keeps the same in all its releases, and
only whole-number arithmetic on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Words = np.ndarray[Any, np.dtype[np.uint64]]

_CHUNK_LEN: Final = 4 << 20  # filled from one generator: bounds the temporaries
_EXTENT_PAGES: Final = 16  # neighbours that are of one kind, as a guest's memory has them
_STRAY_IN: Final = 16  # one page in so many is of a kind of its own all the same
_WORD_LEN: Final = 8

# Streams of numbers that do not meet.
_CONTENT: Final = 0
_NOISE: Final = 1
_WRITES: Final = 2

_DRAWN_WRITES: Final = 256  # numbers are drawn for so many writes at a time
_NOISE_LEN: Final = 256 << 10  # random bytes that writes take theirs from
_HOT_OF_TEN: Final = 9
_SMALL_LEN: Final = 64

# Of 16 writes: one makes a page zero, one constant, two write all of it, two a part of any
# length, and ten write a few bytes, which is what XBZRLE is made for.
_KINDS: Final = 16
_KIND_ZERO: Final = 0
_KIND_CONSTANT: Final = 1
_KINDS_WHOLE: Final = (2, 3)
_KINDS_PART: Final = (4, 5)


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the memory is of which kind; together 1.

    Attributes:
        zero: pages of zeros.
        constant: pages of one byte, another for each page, never 0.
        random: pages that cannot be compressed.
    """

    zero: float = 0.5
    constant: float = 0.1
    random: float = 0.4


def fill(pages: Pages, seed: int, shares: Shares) -> None:
    """Write what a guest's memory holds at first into memory that is zero."""
    step = max(_EXTENT_PAGES, _CHUNK_LEN // pages.shape[1])
    for number, first in enumerate(range(0, len(pages), step)):
        _fill_chunk(pages[first : first + step], _generator(seed, _CONTENT, number), shares)


def _fill_chunk(pages: Pages, numbers: np.random.SFC64, shares: Shares) -> None:
    count, page_size_len = pages.shape
    page = np.arange(count)
    extent = _words(numbers, -(-count // _EXTENT_PAGES))[page // _EXTENT_PAGES]
    own, stray, fills = _words(numbers, 3 * count).reshape(3, count)
    place = np.where(stray % np.uint64(_STRAY_IN) == 0, own, extent) >> np.uint64(32)
    zero_below = round(shares.zero * 2**32)
    constant_below = zero_below + round(shares.constant * 2**32)
    constant = np.flatnonzero((place >= zero_below) & (place < constant_below))
    random = np.flatnonzero(place >= constant_below)
    pages[constant] = (fills[constant] % np.uint64(255) + np.uint64(1)).astype(np.uint8)[:, None]
    words = page_size_len // _WORD_LEN
    pages[random] = _words(numbers, len(random) * words).view(np.uint8).reshape(-1, page_size_len)


class WriteSequence:
    """The writes of a workload, one after another.

    Args:
        seed: of the guest.
        pages: its memory.
        hot_share: the part of the pages that nine of ten writes go to; None: no such part.

    Attributes:
        made: how many writes were made.
    """

    def __init__(self, seed: int, pages: Pages, *, hot_share: float | None) -> None:
        self.made = 0
        self._seed = seed
        self._pages = pages
        self._noise = _words(_generator(seed, _NOISE, 0), _NOISE_LEN // _WORD_LEN).view(np.uint8)
        self._hot_pages = 0 if hot_share is None else max(1, int(len(pages) * hot_share))
        place = int(_words(_generator(seed, _NOISE, 1), 1)[0])
        self._hot_first = place % (len(pages) - self._hot_pages + 1)
        self._drawn: list[list[int]] = []
        self._drawn_number = -1

    def make(self, writes: int) -> list[int]:
        """Make so many writes; return the pages they went to."""
        written = []
        for _ in range(writes):
            number, at = divmod(self.made, _DRAWN_WRITES)
            if number != self._drawn_number:
                drawn = _words(_generator(self._seed, _WRITES, number), 4 * _DRAWN_WRITES)
                self._drawn = drawn.reshape(-1, 4).tolist()
                self._drawn_number = number
            written.append(self._write(*self._drawn[at]))
            self.made += 1
        return written

    def _write(self, where: int, kind: int, place: int, length: int) -> int:
        page = self._target(where)
        content = self._pages[page]
        size = len(content)
        kind, value = kind % _KINDS, kind // _KINDS
        if kind == _KIND_ZERO:
            content[:] = 0
        elif kind == _KIND_CONSTANT:
            content[:] = value % 255 + 1
        else:
            length = self._length(kind, length, size)
            begin = place % (size - length + 1)
            noise = value % (_NOISE_LEN - length + 1)
            content[begin : begin + length] = self._noise[noise : noise + length]
        return page

    def _target(self, where: int) -> int:
        where, tenth = divmod(where, 10)
        if self._hot_pages and tenth < _HOT_OF_TEN:
            return self._hot_first + where % self._hot_pages
        return where % len(self._pages)

    @staticmethod
    def _length(kind: int, number: int, size: int) -> int:
        if kind in _KINDS_WHOLE:
            return size
        return number % (size if kind in _KINDS_PART else min(size, _SMALL_LEN)) + 1


def _generator(seed: int, stream: int, number: int) -> np.random.SFC64:
    return np.random.SFC64(np.random.SeedSequence([seed, stream, number]))


def _words(numbers: np.random.SFC64, count: int) -> Words:
    """Return the next numbers of a generator, little-endian so that their bytes are the same."""
    raw: Words = numbers.random_raw(count)
    return raw.astype("<u8", copy=False)
