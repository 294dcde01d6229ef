"""How far an extraction has come, on a terminal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.render.progress import LateProgress

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, TaskID


class ExtractProgress(LateProgress):
    """Shows an extraction; a context manager, and the callback of `extract`.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int) -> None:
        """Note that so many bytes of the output have been dealt with."""
        if not self.is_due():
            return
        if self._task is None:
            self._task = self.bar().add_task("", total=total)
        self.bar().update(self._task, completed=done)

    def columns(self) -> list[ProgressColumn]:
        """See `LateProgress.columns`."""
        from rich.progress import TransferSpeedColumn

        return [*super().columns(), TransferSpeedColumn()]
