"""Writing past the kernel's page cache, as QEMU's `direct-io` does for pages.

O_DIRECT wants offset, length and memory to be multiples of the device's block; 4096 does for all
that are in use. What is not aligned goes through the ordinary descriptor.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from typing import TYPE_CHECKING, Final

from qmig.limits import MIB
from qmig.migrate.descriptor import SharedDescriptor
from qmig.migrate.draft import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

DIRECT_ALIGNMENT: Final = 4096
_BOUNCE_LEN: Final = MIB

_REFUSED: Final = (
    "its file system does not do direct I/O: written through the page cache (see open(2), O_DIRECT)"
)


class DirectWriter:
    """A second descriptor of a file, opened with O_DIRECT.

    Args:
        fd: the file.
        remark: told once, in words, where the file system refuses; None: nobody need know.
    """

    def __init__(self, fd: int, remark: Callable[[str], None] | None) -> None:
        self._remark = remark or (lambda _: None)
        self._bounce = threading.local()
        self._descriptor: SharedDescriptor | None = None
        try:
            direct_fd = os.open(path_of(fd), os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
                raise
            self._remark(_REFUSED)
        else:
            self._descriptor = SharedDescriptor(direct_fd)

    def write(self, view: memoryview, offset: int) -> int:
        """Write as much as the file system takes.

        Args:
            view: bytes; their number is a multiple of `DIRECT_ALIGNMENT`.
            offset: where; a multiple of `DIRECT_ALIGNMENT`.

        Returns:
            The bytes written; where that is fewer than all, the rest is for the ordinary
            descriptor, which meets the same error if there is one.

        Raises:
            OSError: the storage failed.
        """
        descriptor = self._descriptor
        if descriptor is None:
            return 0
        written_len = 0
        with descriptor as fd:
            while written_len < len(view):
                piece = view[written_len : written_len + _BOUNCE_LEN]
                try:
                    taken_len = os.pwrite(fd, self._aligned(piece), offset + written_len)
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                    self._refuse()
                    break
                written_len += taken_len
                if taken_len < len(piece):
                    break
        return written_len

    def _aligned(self, piece: memoryview) -> memoryview:
        """Return the bytes where they are, or a copy in aligned memory of this thread."""
        import numpy as np  # loaded by whoever has pages to write; not all who write files have

        address = np.frombuffer(piece, np.uint8).__array_interface__["data"][0]
        if address % DIRECT_ALIGNMENT == 0:
            return piece
        bounce: mmap.mmap | None = getattr(self._bounce, "memory", None)
        if bounce is None:
            bounce = self._bounce.memory = mmap.mmap(-1, _BOUNCE_LEN)
        copy = memoryview(bounce)[: len(piece)]
        copy[:] = piece
        return copy

    def _refuse(self) -> None:
        """Go on without it: the device wants a larger alignment, or another kind of memory."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            descriptor.close()
            self._remark(_REFUSED)

    @property
    def busy(self) -> bool:
        """Whether some thread writes through it now."""
        return self._descriptor is not None and self._descriptor.busy

    def close(self) -> None:
        """Take no more writes."""
        if self._descriptor is not None:
            self._descriptor.close()


def aligned_range(offset: int, length: int) -> tuple[int, int]:
    """Return the aligned part of a range as its start and end; an empty one where there is none."""
    start = -(-offset // DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT
    end = (offset + length) // DIRECT_ALIGNMENT * DIRECT_ALIGNMENT
    return start, max(start, end)
