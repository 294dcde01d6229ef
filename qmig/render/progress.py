"""How far a long piece of work has come, on a terminal alone."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

from qmig.render.words import WIDTH, cut, harmless

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, ProgressColumn, TaskID

    from qmig.capture.container import Container

_SILENT_SECONDS: Final = 0.5  # shorter work shows nothing, and does not pay for loading rich
_STEP_SECONDS: Final = 0.1
_NAME_WIDTH: Final = WIDTH // 2


class LateProgress:
    """Bars on standard error that appear once work takes long; a context manager.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._next = monotonic() + _SILENT_SECONDS
        self._bar: Progress | None = None

    def is_due(self) -> bool:
        """Tell whether to show something now; what is shown next is due a step later."""
        if not self._shown:
            return False
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + _STEP_SECONDS
        return True

    def bar(self) -> Progress:
        """Return the bars; from the first call on they are on the screen."""
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress

            console = Console(stderr=True)
            self._bar = Progress(*self.columns(), console=console, transient=True)
            self._bar.start()
        return self._bar

    def columns(self) -> list[ProgressColumn]:
        """Return what a bar consists of."""
        from rich.progress import BarColumn, DownloadColumn

        return [BarColumn(bar_width=None), DownloadColumn(binary_units=True)]

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


class SurveyProgress(LateProgress):
    """Shows how far each file was read; the callback of a `Capture`.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, container: Container, offset: int) -> None:
        """Note that the stream of a file was read up to an offset."""
        if self.is_due():
            self.show(container.path, offset, container.source.end())

    def show(self, name: str, done: int, total: int | None) -> None:
        """Show how many bytes of something were dealt with, in a bar of its own."""
        task = self._tasks.get(name)
        if task is None:
            task = self.bar().add_task(cut(harmless(name), _NAME_WIDTH), total=total)
            self._tasks[name] = task
        self.bar().update(task, completed=done, total=total)

    def columns(self) -> list[ProgressColumn]:
        """See `LateProgress.columns`."""
        from rich.progress import TextColumn

        return [TextColumn("{task.description}", markup=False), *super().columns()]


class ComparisonProgress(SurveyProgress):
    """Shows how far two captures were read, and then how far their RAM was compared.

    Args:
        quiet: show nothing.
    """

    def compared(self, block: str, done: int, total: int) -> None:
        """Note how many bytes of a RAM block were compared; what `compare` tells."""
        if self.is_due():
            self.show(f"ram {block}", done, total)
