"""Where a command's result goes: standard output, or a file that is whole or not there at all."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, Final, Self, TextIO

from qmig.cli.guard import STANDARD_OUTPUT, UsageError
from qmig.errors import OutputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from qmig.render.document import Document

_STANDARD: Final = "-"  # output or input
_FEW_LINES: Final = 1000


class Output:
    """Takes text; a context manager. A file appears under its name once all is written.

    Args:
        path: the file; None: standard output.
        force: whether an existing file may be replaced.
        inputs: files that must not be overwritten in any case.

    Raises:
        UsageError: the file exists, or is one of the inputs.
    """

    def __init__(self, path: str | None, *, force: bool, inputs: Iterable[str]) -> None:
        self._path: Path | None = None
        self._part: Path | None = None
        self._file: IO[str] | None = None
        if path is not None:
            from pathlib import Path

            self._path = Path(path)
            self._check(self._path, force=force, inputs=inputs)

    @staticmethod
    def _check(path: Path, *, force: bool, inputs: Iterable[str]) -> None:
        if any(is_same_file(str(path), name) for name in inputs):
            raise UsageError(f"{path} is one of the files to read")
        if path.is_dir():
            raise UsageError(f"{path} is a directory")
        if path.exists() and not force:
            raise UsageError(f"{path} exists; --force replaces it")
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent} is no directory")

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
            SourceError: it cannot be written.
            OutputError: standard output is closed, or takes no more.
        """
        if self._file is None:
            if sys.stdout is None:
                raise OutputError("cannot write to it: it is closed", path=STANDARD_OUTPUT)
            _write_to(sys.stdout, text)
            return
        try:
            self._file.write(text)
        except OSError as error:
            raise self._failed(error) from error

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write lines as they come, each with a line feed.

        Raises:
            SourceError: they cannot be written.
            OutputError: standard output is closed, or takes no more.
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
        if self._path is not None:
            self._part = self._path.with_name(f"{self._path.name}.{os.getpid()}.part")
            try:
                self._file = self._part.open("x", encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise self._failed(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None or self._part is None or self._path is None:
            return
        try:
            self._file.close()
            if kind is None:
                self._part.replace(self._path)
        except OSError as failure:
            raise self._failed(failure) from failure
        finally:
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> SourceError:
        return SourceError(f"cannot write: {error.strerror or error}", path=str(self._path))


def is_same_file(out: str, name: str) -> bool:
    """Tell whether an output is the file that an input is; - is standard output, or input."""
    from pathlib import Path

    if name == _STANDARD or (out == _STANDARD and sys.stdout is None):
        return False
    try:
        target = os.fstat(sys.stdout.fileno()) if out == _STANDARD else Path(out).stat()
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
        name = "standard error" if file is sys.stderr else STANDARD_OUTPUT
        reason = f"cannot write to it: {error.strerror or error}"
        raise OutputError(reason, path=name) from error
