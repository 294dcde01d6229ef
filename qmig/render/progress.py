"""How far a long survey has come, on a terminal alone."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

from qmig.render.words import WIDTH, cut, harmless

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from qmig.capture.container import Container

_SILENT_SECONDS: Final = 0.5  # shorter work shows nothing, and does not pay for loading rich
_STEP_SECONDS: Final = 0.1
_NAME_WIDTH: Final = WIDTH // 2


class SurveyProgress:
    """Shows how far each file was read; a context manager, and the callback of a `Capture`.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._next = monotonic() + _SILENT_SECONDS
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, container: Container, offset: int) -> None:
        """Note that the stream of a file was read up to an offset."""
        if not self._shown or monotonic() < self._next:
            return
        self._next = monotonic() + _STEP_SECONDS
        self._show(container, offset)

    def _show(self, container: Container, offset: int) -> None:
        if self._bar is None:
            self._bar = self._start()
        task = self._tasks.get(container.path)
        if task is None:
            name = cut(harmless(container.path), _NAME_WIDTH)
            task = self._bar.add_task(name, total=container.source.end())
            self._tasks[container.path] = task
        self._bar.update(task, completed=offset, total=container.source.end())

    @staticmethod
    def _start() -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            console=Console(stderr=True),
            transient=True,
        )
        bar.start()
        return bar

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
