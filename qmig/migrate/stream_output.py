"""Outputs that only go forwards: standard output, pipes, devices."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol, Self

from qmig.errors import OutputError, OutputRefusedError, WriterError
from qmig.migrate.descriptor import (
    DescriptorClosedError,
    SharedDescriptor,
    byte_view,
    output_error,
    write_all,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

STANDARD_OUTPUT: Final = "-"
_STREAM_KINDS: Final = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)


def names_stream(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is standard output, a pipe or a device, which only goes forwards."""
    if os.fspath(path) == STANDARD_OUTPUT:
        return True
    try:
        return stat.S_IFMT(Path(path).stat().st_mode) in _STREAM_KINDS
    except OSError:
        return False


class Sink(Protocol):
    """What a stream is written to, from its start to its end."""

    @property
    def position(self) -> int:
        """Offset of the next byte."""

    def append(self, data: Buffer) -> None:
        """Write all bytes of a buffer.

        Raises:
            OutputError: they cannot be written.
        """


def require_position(sink: Sink, offset: int) -> None:
    """Hold a write against the position of a sink that only goes forwards.

    Raises:
        WriterError: it is elsewhere.
    """
    if offset != sink.position:
        raise WriterError(
            f"cannot write at 0x{offset:08x} of an output that only goes forwards and stands at "
            f"0x{sink.position:08x}; name an ordinary file"
        )


class StreamOutput:
    """Standard output, a pipe or a device: what is written is gone, there is no going back.

    It has the calls of `AtomicFile` that need no going back, so that both can take a stream. Use it
    as a context manager.

    Args:
        path: "-" for standard output, or a pipe or a device; opening a pipe waits for its reader.

    Attributes:
        path: as errors name it.
        remarks: what the user should know: that nothing is taken back.

    Raises:
        OutputRefusedError: it is a terminal.
        OutputError: it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str] = STANDARD_OUTPUT) -> None:
        standard = os.fspath(path) == STANDARD_OUTPUT
        self.path = "standard output" if standard else os.fspath(path)
        try:
            # A second descriptor, so that closing it leaves the process its own.
            fd = os.dup(1) if standard else os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            raise output_error(self.path, "cannot write to it", error) from error
        self._descriptor = SharedDescriptor(fd)
        self._append_lock = Lock()
        self._position = 0
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self.remarks = [f"{self.path}: if the save fails, what was written so far stays written"]
        if os.isatty(fd):
            self.close()
            raise OutputRefusedError(
                "is a terminal", path=self.path, hint="send it to a file or into a pipe"
            )
        if standard and sys.stdout is not None:
            sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def position(self) -> int:
        """Bytes written."""
        return self._position

    def append(self, data: Buffer) -> None:
        """Write all bytes, and wait where the reader is slow.

        Raises:
            OutputClosedError: the reader has gone away.
            OutputError: they cannot be written.
        """
        view = byte_view(data)
        try:
            with self._append_lock, self._descriptor as fd:
                write_all(fd, view)
                self._position += len(view)
        except OSError as error:
            doing = f"cannot write {len(view)} bytes behind 0x{self._position:08x}"
            raise output_error(self.path, doing, error) from error
        except DescriptorClosedError as error:
            raise OutputError("was given up", path=self.path) from error

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Do what `append` does, for a writer of a stream that says where it is.

        Raises:
            WriterError: the offset is not the position; there is no going back.
            OutputError: they cannot be written.
        """
        require_position(self, offset)
        self.append(data)

    def commit(self) -> None:
        """Say that all is written; a file behind standard output is brought to the storage.

        Raises:
            OutputError: the storage is full or has failed.
        """
        try:
            with self._descriptor as fd:
                if self._regular:
                    os.fsync(fd)
        except OSError as error:
            raise output_error(self.path, "cannot bring it to the storage", error) from error
        except DescriptorClosedError as error:
            raise OutputError("was given up", path=self.path) from error
        self.close()

    def discard(self) -> None:
        """Write no more. Never waits for threads."""
        self.close()

    def close(self) -> None:
        """Let go of it."""
        self._descriptor.close()
