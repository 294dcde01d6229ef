"""Which pages are zero.

All words of a page are ORed into one. There is no early end at a page's first byte that is not
zero: numpy's reduction reads memory as fast as it comes, and a page that is not zero is read again
by whoever sends it, then from the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    Pages = np.ndarray[Any, np.dtype[np.uint8]]

_CHUNK_LEN: Final = 1 << 20  # what one step reads: bounds its temporaries, fits the L2 cache
_WORD_LEN: Final = 8


def zero_pages(pages: Pages) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which pages hold nothing but zeros.

    It reads each page once, gives up the interpreter lock while it does, and takes no memory that
    grows with the number of pages but for its result. Pages that change under it count as what was
    seen of them.

    Args:
        pages: uint8, shape (count, page_size_len); may be read-only, and of any strides.

    Returns:
        bool, shape (count,).

    Raises:
        ValueError: the array has another shape or type.
    """
    if pages.ndim != 2 or pages.dtype != np.uint8:
        raise ValueError(f"pages of {pages.dtype} in {pages.ndim} dimensions, not uint8 in 2")
    count, page_size_len = pages.shape
    if pages.strides[0] == 0 and count > 1:  # one page that stands for all of them
        return np.full(count, zero_pages(pages[:1])[0])
    zero = np.empty(count, dtype=np.bool_)
    step = max(1, _CHUNK_LEN // max(1, page_size_len))
    for first in range(0, count, step):
        part = pages[first : first + step]
        np.equal(np.bitwise_or.reduce(_in_words(part), axis=1), 0, out=zero[first : first + step])
    return zero


def _in_words(pages: Pages) -> np.ndarray[Any, Any]:
    """View pages as words of 8 bytes where they can be viewed so, and as they are where not."""
    if pages.strides[1] != 1 or pages.shape[1] % _WORD_LEN:
        return pages
    words = pages.view(np.uint64)
    # numpy would copy unaligned words piece by piece; bytes need no alignment.
    return words if words.flags.aligned else pages
