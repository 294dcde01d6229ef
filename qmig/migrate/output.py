"""Files that are there as a whole or not at all.

An `AtomicFile` is written beside its place and put there by `commit`, after it is on the storage.
Until then, and after any exception, whatever stood there stands there still. An `AtomicSet`
(`qmig.migrate.output_set`) does so for the several files of one save.

Threads may write at once. A thread that writes must be a daemon thread, for the process must be
able to end while one is blocked. Giving a file up never waits for writes; one that comes later
raises OutputError.
"""

from __future__ import annotations

import errno
import os
from threading import Lock
from typing import TYPE_CHECKING, Final, Self

from qmig.errors import OutputError
from qmig.limits import KIB
from qmig.migrate.descriptor import (
    DescriptorClosedError,
    SharedDescriptor,
    buffers_len,
    byte_view,
    output_error,
    pwrite_all,
    pwritev_all,
)
from qmig.migrate.direct_io import DIRECT_ALIGNMENT, DirectWriter, aligned_range
from qmig.migrate.draft import Draft
from qmig.migrate.target import check_target
from qmig.migrate.writeback import Writeback

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Buffer


# A durable file's long pieces are not left in the page cache first, where they would be copied to
# memory that the kernel must find, only for `fsync` to wait until all of it is written. Shorter
# pieces go faster through the cache, which joins them: a direct write each waits for the storage.
_DIRECT_FROM_LEN: Final = 128 * KIB


class AtomicFile:
    """A file that is written at any offset, by many threads, and appears when it is complete.

    Use it as a context manager; leaving without `commit` gives the file up. No call buffers: who
    has small pieces joins them first.

    Args:
        path: where it is to be. A symbolic link stands for the file that it names.
        force: whether it may replace a file.
        direct_io: write all aligned data past the page cache, where the file system can; a remark
            tells where it cannot. A durable file's long pieces go there in any case.
        anonymous: whether the unfinished file may do without a name, where the file system can.
        durable: wait for the storage before it appears. Without that a crash of the machine, but
            no crash of the process, may leave it with missing bytes, as with any file copy.

    Attributes:
        path: as the user gave it.
        draft: the unfinished file.
        remarks: what the user should know of how it was written.
        needed_len: bytes that the whole file will take on the storage, for the error where that
            has no room; None where it is not known.

    Raises:
        OutputRefusedError: something is there and may not be replaced.
        OutputError: its folder is missing, or cannot be written to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        force: bool = False,
        direct_io: bool = False,
        anonymous: bool = True,
        durable: bool = True,
    ) -> None:
        target = check_target(path, force=force)
        self.path = target.path
        self.remarks: list[str] = []
        self.needed_len: int | None = None
        self.draft = Draft(target, anonymous=anonymous)
        self._descriptor = SharedDescriptor(self.draft.fd)
        self._writeback = Writeback(self.draft.fd) if durable else None
        self._direct: DirectWriter | None = None
        self._direct_from_len = DIRECT_ALIGNMENT if direct_io else _DIRECT_FROM_LEN
        self._append_lock = Lock()
        self._position = 0
        self._committed = False
        # Opened for its first long piece: until `__enter__` nobody would clean up behind a signal.
        self._direct_awaited = durable and not direct_io
        if direct_io:
            self._open_direct()

    def _open_direct(self) -> None:
        try:
            self._direct = DirectWriter(self.draft.fd, self.remarks.append)
        except OSError as error:
            self.discard()
            raise output_error(self.path, "cannot open it for direct I/O", error) from error

    def _open_awaited(self) -> None:
        """Open it for the first long piece; another thread's may go through the cache meanwhile."""
        with self._append_lock:
            awaited, self._direct_awaited = self._direct_awaited, False
        if not awaited:
            return
        try:
            with self._descriptor as fd:
                self._direct = DirectWriter(fd, None)
        except OSError:
            return
        except DescriptorClosedError as error:
            raise self._closed_error() from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()

    @property
    def committed(self) -> bool:
        """Whether it is in its place."""
        return self._committed

    @property
    def position(self) -> int:
        """Offset where `append` goes on."""
        return self._position

    def skip_to(self, offset: int) -> None:
        """Let `append` go on elsewhere; what is passed over and never written is a hole."""
        with self._append_lock:
            self._position = offset

    def append(self, data: Buffer) -> None:
        """Write behind what was appended last; never by direct I/O.

        Raises:
            OutputError: the storage is full or has failed.
        """
        view = byte_view(data)
        with self._append_lock:
            self._write(view, self._position)
            self._position += len(view)

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write all bytes at an offset; `append` stays where it is.

        Raises:
            OutputError: the storage is full or has failed.
        """
        view = byte_view(data)
        if self._direct_awaited and len(view) >= self._direct_from_len:
            self._open_awaited()
        if self._direct is None:
            self._write(view, offset)
            return
        start, end = aligned_range(offset, len(view))
        if end - start < self._direct_from_len:
            self._write(view, offset)
            return
        self._write(view[: start - offset], offset)
        start += self._write_direct(self._direct, view[start - offset : end - offset], start)
        self._write(view[start - offset :], start)

    def pwritev(self, buffers: Sequence[bytes | memoryview], offset: int) -> None:
        """Write the bytes of many buffers one behind the other; never by direct I/O.

        Args:
            buffers: the bytes, views of bytes among them; no memory is taken for them.
            offset: of the first byte.

        Raises:
            OutputError: the storage is full or has failed.
        """
        try:
            with self._descriptor as fd:
                length = pwritev_all(fd, buffers, offset)
                if self._writeback is not None:
                    self._writeback.note(length)
        except OSError as error:
            raise self._write_error(buffers_len(buffers), offset, error) from error
        except DescriptorClosedError as error:
            raise self._closed_error() from error

    def _write(self, view: memoryview, offset: int) -> None:
        if not len(view):
            return
        try:
            with self._descriptor as fd:
                pwrite_all(fd, view, offset)
                if self._writeback is not None:
                    self._writeback.note(len(view))
        except OSError as error:
            raise self._write_error(len(view), offset, error) from error
        except DescriptorClosedError as error:
            raise self._closed_error() from error

    def _write_direct(self, direct: DirectWriter, view: memoryview, offset: int) -> int:
        try:
            return direct.write(view, offset)
        except OSError as error:
            raise self._write_error(len(view), offset, error) from error
        except DescriptorClosedError as error:
            raise self._closed_error() from error

    def _write_error(self, length: int, offset: int, error: OSError) -> OutputError:
        hint = None
        if error.errno == errno.ENOSPC:
            folder = self.draft.target.folder
            needed = f"; the whole file needs {self.needed_len}" if self.needed_len else ""
            hint = f"{folder} has {self.draft.free_len()} bytes free{needed}"
        doing = f"cannot write {length} bytes at 0x{offset:08x}"
        return output_error(self.path, doing, error, hint=hint)

    def _closed_error(self) -> OutputError:
        what = "is complete already" if self._committed else "was given up"
        return OutputError(what, path=self.path)

    def reserve(self, length: int) -> None:
        """Make the file at least this long; what is never written is a hole.

        Raises:
            OutputError: the file system, or a limit, allows no file of this length.
        """
        try:
            with self._append_lock, self._descriptor as fd:
                if os.fstat(fd).st_size < length:
                    os.ftruncate(fd, length)
        except OSError as error:
            doing = f"cannot make it {length} bytes long"
            raise output_error(self.path, doing, error) from error
        except DescriptorClosedError as error:
            raise self._closed_error() from error

    def sync(self) -> None:
        """Wait until its bytes are on the storage, if it is to be durable.

        Raises:
            OutputError: the storage is full or has failed.
            RuntimeError: some thread still writes.
        """
        if self._descriptor.busy or (self._direct is not None and self._direct.busy):
            raise RuntimeError(f"{self.path}: a thread writes while the file is to be complete")
        if self._writeback is None:
            return
        try:
            with self._descriptor as fd:
                os.fsync(fd)
        except OSError as error:
            raise output_error(self.path, "cannot bring it to the storage", error) from error
        except DescriptorClosedError as error:
            raise self._closed_error() from error

    def commit(self) -> None:
        """Put it in its place, complete, and durable if it is to be.

        An exception out of a signal handler may come after that; `committed` tells.

        Raises:
            OutputRefusedError: something has been made there meanwhile.
            OutputError: the storage failed, or the name cannot be given. It says so where the file
                is in its place, but may not outlive a crash of the machine.
            RuntimeError: some thread still writes.
        """
        self.sync()
        try:
            self.draft.publish()
        except OSError as error:
            raise output_error(self.path, "cannot put it in its place", error) from error
        self._committed = True
        try:
            self.sync_folder()
        except OSError as error:
            doing = "is in its place, but its name is not on the storage"
            raise output_error(self.path, doing, error) from error
        self._close()

    def sync_folder(self) -> None:
        """Make its name durable, if it is to be.

        Raises:
            OSError: the storage failed.
        """
        if self._writeback is not None:
            self.draft.sync_folder()

    def settle(self) -> None:
        """Note that an `AtomicSet` has put it in its place, and remove the file that was there."""
        self._committed = True
        try:
            self.draft.drop_old()
        except OSError as error:
            self.remarks.append(f"{self.path}: cannot remove the old file: {error}")
        self._close()

    def discard(self) -> None:
        """Give it up, if it is not complete: nothing of it is left. Never waits for threads."""
        try:
            self._close()
        finally:
            self._close()  # the first may have ended by an exception out of a signal handler

    def _close(self) -> None:
        if self._writeback is not None:
            self._writeback.close()
        self._descriptor.close()
        if self._direct is not None:
            self._direct.close()
        try:
            self.draft.remove()
        except OSError as error:
            self.remarks.append(f"{self.path}: cannot remove the unfinished file: {error}")
