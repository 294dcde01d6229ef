"""Let the storage begin with a file while the rest of it is still being written.

Left alone, the kernel keeps what was written in memory until `fsync` asks for it, and the storage
stands idle meanwhile. `sync_file_range(2)` makes it begin, and neither waits nor tells of errors:
`fsync` does both, as before.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from qmig.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP_LEN: Final = 32 * MIB
_SYNC_FILE_RANGE_WRITE: Final = 2  # linux/fs.h


class Writeback:
    """Starts the writing to the storage of one file, in a thread of its own.

    The thread is a daemon, and has a descriptor of its own: neither the end of the process nor that
    of the save waits for it. Files that stay short get none.

    Args:
        fd: the file; it may be closed at any time after `close`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting_len = 0
        self._due = threading.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None

    def note(self, length: int) -> None:
        """Note that so many bytes were written; never waits for the storage."""
        self._waiting_len += length  # threads may lose some of it to each other: it is no account
        if self._waiting_len < _STEP_LEN:
            return
        with self._lock:
            self._waiting_len = 0
            if self._closed:
                return
            if self._thread is None:
                self._start()
        self._due.set()

    def _start(self) -> None:
        own_fd = os.dup(self._fd)
        self._thread = threading.Thread(
            target=self._work, args=(own_fd,), name="qmig-writeback", daemon=True
        )
        self._thread.start()

    def _work(self, fd: int) -> None:
        begin = _begin_writing()
        try:
            while begin is not None:
                self._due.wait()
                self._due.clear()
                if self._closed:
                    return
                begin(fd, 0, 0, _SYNC_FILE_RANGE_WRITE)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Start no more; what is under way goes on."""
        with self._lock:
            self._closed = True
        self._due.set()


def _begin_writing() -> Callable[[int, int, int, int], int] | None:
    """Return `sync_file_range`; None where the C library has none."""
    import ctypes

    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        function.restype = ctypes.c_int
    return function
