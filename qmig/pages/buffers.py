"""Memory for pages on their way, used again as soon as nobody looks at it."""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from typing import Any, Final

import numpy as np

_LEAST_LEN: Final = 1 << 20
_MOST_LEN: Final = 16 << 20  # larger ones are not kept
_IDLE: Final = 4  # buffers of one size that wait for their next use; a channel each is enough


class BufferPool:
    """Gives arrays of bytes whose memory comes back by itself.

    New memory costs more than what is done with it here: the kernel clears it page by page. An
    array's memory is given out again once the array and all views of it are gone. It begins at a
    boundary of a memory page, as direct I/O wants it. Any thread may take arrays.
    """

    def __init__(self) -> None:
        self._idle: dict[int, deque[mmap.mmap]] = {}

    def take(self, length: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return an array of `length` bytes of any content."""
        if length > _MOST_LEN:
            return np.empty(length, dtype=np.uint8)
        size = 1 << max(_LEAST_LEN, length).bit_length() - 1
        if size < length:
            size *= 2
        # Threads may meet here, and the collector may run `append` at any point: a deque's
        # methods are whole steps for both, a lock would not be.
        idle = self._idle.setdefault(size, deque(maxlen=_IDLE))
        try:
            memory = idle.pop()
        except IndexError:
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # Views of this array keep it alive, and not only the memory, because the memory is no
        # array: so its end is the end of all of them.
        array = np.frombuffer(memory, dtype=np.uint8, count=length)
        weakref.finalize(array, idle.append, memory).atexit = False
        return array
