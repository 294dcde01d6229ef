"""Where a command's result goes: standard output, or a file that is whole or not there at all."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, Self, TextIO

from qmig.cli.guard import OUTPUT_NAME, UsageError
from qmig.cli.plain import STANDARD_STREAM
from qmig.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack
    from types import TracebackType

    from qmig.migrate.output import AtomicFile
    from qmig.migrate.stream_output import StreamOutput
    from qmig.render.document import Document

_FEW_LINES: Final = 1000


class Output:
    """Takes text; a context manager. A file appears under its name once all is written.

    A pipe or a device is written to as it is, and a symbolic link stands for the file it names.

    Args:
        path: the file; None, or "-": standard output.
        force: whether an existing file may be replaced.
        inputs: files that must not be overwritten in any case.

    Raises:
        UsageError: the file is one of the inputs.
        OutputRefusedError: something is there and may not be replaced.
        OutputError: nothing can be written there.
    """

    def __init__(self, path: str | None, *, force: bool, inputs: Iterable[str]) -> None:
        self._path = None if path == STANDARD_STREAM else path
        self._force = force
        self._file: AtomicFile | StreamOutput | None = None
        self._opened: ExitStack | None = None
        if self._path is not None:
            self._check(self._path, inputs)

    def _check(self, path: str, inputs: Iterable[str]) -> None:
        from qmig.migrate.open_output import check_stream
        from qmig.migrate.stream_output import names_stream
        from qmig.migrate.target import check_target

        if any(is_same_file(path, name) for name in inputs):
            raise UsageError(f"{path} is one of the files to read")
        if names_stream(path):
            check_stream(path, force=self._force)
        else:
            check_target(path, force=self._force)

    @property
    def to_terminal(self) -> bool:
        """Whether a person sees the text at once."""
        return self._path is None and sys.stdout is not None and sys.stdout.isatty()

    @property
    def is_file(self) -> bool:
        """Whether the text goes into a file of its own."""
        return self._path is not None

    def write(self, text: str) -> None:
        """Write text.

        Raises:
            OutputError: it cannot be written; of standard output also: it is closed.
        """
        if self._file is not None:
            self._file.append(text.encode("utf-8", "backslashreplace"))
        elif sys.stdout is None:
            raise OutputError("cannot write to it: it is closed", path=OUTPUT_NAME)
        else:
            _write_to(sys.stdout, text)

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines as they come, each with a line feed.

        Raises:
            OutputError: they cannot be written; of standard output also: it is closed.
        """
        some: list[str] = []
        for line in lines:
            some.append(line)
            if len(some) >= _FEW_LINES:
                self.write("\n".join(some) + "\n")
                some.clear()
        if some:
            self.write("\n".join(some) + "\n")

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        from contextlib import ExitStack

        from qmig.migrate.interrupt import StopOnSignals
        from qmig.migrate.open_output import open_output

        with ExitStack() as stack:
            stack.enter_context(StopOnSignals())
            file = open_output(self._path, force=self._force, allow_stream=True, durable=False)
            stack.enter_context(file)
            self._file = file
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._opened is None or self._file is None:
            return
        with self._opened:
            if kind is None:
                self._file.commit()


def is_same_file(out: str, name: str) -> bool:
    """Tell whether an output is the file that an input is; - is standard output, or input."""
    from pathlib import Path

    if name == STANDARD_STREAM or (out == STANDARD_STREAM and sys.stdout is None):
        return False
    try:
        target = os.fstat(sys.stdout.fileno()) if out == STANDARD_STREAM else Path(out).stat()
        return os.path.samestat(target, Path(name).stat())
    except (OSError, ValueError):  # not there, or no file at all
        return False


def show_report(
    report: Document,
    text_lines: Callable[[Document], Iterable[str]],
    *,
    as_json: bool,
    to_stderr: bool,
) -> None:
    """Write the report of a verb whose result is a file.

    Args:
        report: what is written as JSON.
        text_lines: makes the lines of it that people read.
        as_json: write JSON.
        to_stderr: standard output is the result's.
    """
    if as_json:
        from qmig.render.jsonout import json_text

        text = json_text(report)
    else:
        text = "\n".join(text_lines(report)) + "\n"
    file = sys.stderr if to_stderr else sys.stdout
    if file is not None:
        _write_to(file, text)


def _write_to(file: TextIO, text: str) -> None:
    encoding = file.encoding or "ascii"
    try:
        file.write(text.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard error" if file is sys.stderr else OUTPUT_NAME
        reason = f"cannot write to it: {error.strerror or error}"
        raise OutputError(reason, path=name) from error
