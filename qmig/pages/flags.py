"""Flags of pages: where runs of them begin and end."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    Flags = np.ndarray[Any, np.dtype[np.bool_]]


def true_runs(flags: Flags) -> list[tuple[int, int]]:
    """Return (begin, end) of each run of True.

    Args:
        flags: bool, shape (count,).
    """
    count = len(flags)
    found = np.count_nonzero(flags)
    if found == 0:
        return []
    if found == count:
        return [(0, count)]
    padded = np.zeros(count + 2, dtype=np.bool_)
    padded[1:-1] = flags
    edges = np.flatnonzero(padded[1:] != padded[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def equal_runs(flags: Flags) -> Iterator[tuple[int, int, bool]]:
    """Yield (begin, end, value) of each run of one value."""
    edges = [0, *(np.flatnonzero(flags[1:] != flags[:-1]) + 1).tolist(), len(flags)]
    for begin, end in pairwise(edges):
        if begin < end:
            yield begin, end, bool(flags[begin])
