"""A file mapped into memory, for those who write its bytes elsewhere without a copy in between."""

from __future__ import annotations

import contextlib
import mmap


class FileMapping:
    """All bytes of a file.

    Bytes that the file has lost since kill the process that looks at them, as with `Source.span`;
    a system call that is given them fails with EFAULT instead.

    Args:
        memory: the mapped file, which others use, too.

    Attributes:
        memory: the mapped file.
        view: its bytes.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.view = memoryview(memory)

    def forget(self) -> None:
        """Give back the memory that holds it; what is looked at again is read again."""
        with contextlib.suppress(ValueError):  # it is closed
            self.memory.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Let go of it; what somebody still has of it stays until that is gone."""
        with contextlib.suppress(BufferError):
            self.view.release()
