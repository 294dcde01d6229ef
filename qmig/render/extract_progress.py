"""How far an extraction has come, on a terminal alone."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

_SILENT_SECONDS: Final = 0.5  # shorter work shows nothing, and does not pay for loading rich
_STEP_SECONDS: Final = 0.1


class ExtractProgress:
    """Shows an extraction; a context manager, and the callback of `extract`.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._next = monotonic() + _SILENT_SECONDS
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        """Note that so many bytes of the output have been dealt with."""
        if not self._shown or monotonic() < self._next:
            return
        self._next = monotonic() + _STEP_SECONDS
        if self._bar is None or self._task is None:
            self._bar, self._task = self._start(total)
        self._bar.update(self._task, completed=done)

    @staticmethod
    def _start(total: int) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        bar = Progress(
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task("", total=total)
        bar.start()
        return bar, task

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
