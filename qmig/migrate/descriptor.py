"""A file descriptor that many threads write through and that one may close at any time.

A save is given up while its channels still write. Closing their descriptor under them would let a
late write go to whatever file gets the same number next; waiting for them would let a blocked
channel block the exit. So a descriptor that is closed takes no new writes, and the last write
under way closes it.
"""

from __future__ import annotations

import errno
import os
import select
from pickle import PickleBuffer
from threading import Lock
from typing import TYPE_CHECKING, Final

from qmig.errors import OutputClosedError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Buffer  # collections.abc has it from Python 3.12 on

_HINTS: Final = {
    errno.ENOSPC: "make room there, or write elsewhere",
    errno.EDQUOT: "the user's quota is used up",
    errno.EFBIG: "the file system, or `ulimit -f`, allows no file of this length",
    errno.EIO: "the storage has failed; the kernel's log may say more",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "write elsewhere, or as another user",
    errno.EFAULT: "a file that it is taken from was cut short meanwhile; leave it as it is",
    errno.EPERM: "write elsewhere, or as another user",
}


_MOST_BUFFERS: Final = 1024  # of one system call (IOV_MAX)
_BYTE_FORMATS: Final = frozenset("bBc")  # others are few and short


class DescriptorClosedError(Exception):
    """It takes no new writes."""


class SharedDescriptor:
    """A descriptor with a count of those who use it.

    Use it as a context manager around each use; that gives the number.

    Args:
        fd: the descriptor; it belongs to this object from now on.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = Lock()
        self._users = 0
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether some thread uses it now."""
        return self._users > 0

    def __enter__(self) -> int:
        """Give the descriptor.

        Raises:
            DescriptorClosedError: it is closed.
        """
        with self._lock:
            if self._closed:
                raise DescriptorClosedError
            self._users += 1
        return self._fd

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._users -= 1
            last = self._closed and self._users == 0
        if last:
            os.close(self._fd)

    def close(self) -> None:
        """Take no more uses; close now, or as soon as the last use ends. Never waits."""
        with self._lock:
            now = not self._closed and self._users == 0
            self._closed = True
        if now:
            os.close(self._fd)


def byte_view(data: Buffer) -> memoryview:
    """Give the bytes of any buffer, whatever the type and shape of its items.

    Args:
        data: a buffer; one that is not contiguous (a slice with a step) is copied.
    """
    if isinstance(data, memoryview):
        # No view may hang on another view: where an exception keeps both in a cycle, the collector
        # takes the lower one away under the upper one, and the process crashes (Python 3.11).
        plain = data.c_contiguous and data.nbytes and data.format in _BYTE_FORMATS
        return data.cast("B") if plain else memoryview(data.tobytes())
    with memoryview(data) as view:
        if not view.c_contiguous:
            return memoryview(view.tobytes())
    return PickleBuffer(data).raw()


def pwrite_all(fd: int, view: memoryview, offset: int) -> None:
    """Write all bytes at an offset; the kernel may take them in parts.

    Raises:
        OSError: the kernel took no more.
    """
    while len(view):
        written_len = os.pwrite(fd, view, offset)
        _require_progress(written_len)
        view = view[written_len:]
        offset += written_len


def buffers_len(buffers: Iterable[bytes | memoryview]) -> int:
    """Return how many bytes buffers have together; memory is seen as bytes."""
    return sum(map(len, buffers))


def pwritev_all(fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
    """Write the bytes of many buffers one behind the other; return how many that were.

    Raises:
        OSError: the kernel took no more.
    """
    start = offset
    for first in range(0, len(buffers), _MOST_BUFFERS):
        rest = buffers[first : first + _MOST_BUFFERS]
        while any(map(len, rest)):
            written_len = os.pwritev(fd, rest, offset)
            _require_progress(written_len)
            offset += written_len
            rest = _behind(rest, written_len)
    return offset - start


def _behind(buffers: Sequence[bytes | memoryview], length: int) -> Sequence[bytes | memoryview]:
    """Return buffers without their first bytes, which nobody looks at."""
    if length == buffers_len(buffers):
        return ()
    index = 0
    while length >= len(buffers[index]):
        length -= len(buffers[index])
        index += 1
    return [memoryview(buffers[index])[length:], *buffers[index + 1 :]]


def write_all(fd: int, view: memoryview) -> None:
    """Write all bytes where the descriptor stands.

    Waits where whoever shares a pipe has made it non-blocking.

    Raises:
        OSError: the kernel took no more.
    """
    while len(view):
        try:
            written_len = os.write(fd, view)
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()
            continue
        _require_progress(written_len)
        view = view[written_len:]


def _require_progress(written_len: int) -> None:
    if written_len == 0:
        raise OSError(errno.EIO, "the kernel takes no bytes, and gives no reason")


def output_error(path: str, doing: str, error: OSError, *, hint: str | None = None) -> OutputError:
    """Make an error line of a failed system call.

    Args:
        path: the output as the user named it.
        doing: what failed, as in "cannot write 4096 bytes".
        error: what the kernel said.
        hint: what to do, if that is known better than from the error's number.
    """
    kind = OutputClosedError if error.errno == errno.EPIPE else OutputError
    reason = error.strerror or str(error)
    return kind(f"{doing}: {reason}", path=path, hint=hint or _HINTS.get(error.errno or 0))
