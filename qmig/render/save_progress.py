"""How far a save has come, on a terminal alone: place in the guest's memory, round, rate."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

from qmig.render.words import short_size

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from qmig.memory import RunningGuest
    from qmig.migrate.counters import Counters

_SILENT_SECONDS: Final = 0.5  # shorter work shows nothing, and does not pay for loading rich
_STEP_SECONDS: Final = 0.1


class SaveProgress:
    """Shows a save; a context manager, and the callback of a migrator.

    Args:
        guest: what is saved.
        quiet: show nothing.
    """

    def __init__(self, guest: RunningGuest, *, quiet: bool) -> None:
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._page_size_len = guest.page_size_len
        self._starts = [0]  # of each block, were all one behind the other
        for block in guest.blocks:
            self._starts.append(self._starts[-1] + block.used_length)
        self._begun = monotonic()
        self._next = self._begun + _SILENT_SECONDS
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, counters: Counters, block: int, page: int) -> None:
        """Note that pages up to one of a block were sent in this round."""
        now = monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + _STEP_SECONDS
        place = self._starts[block] + page * self._page_size_len
        rate = short_size(int(counters.transferred / max(now - self._begun, _STEP_SECONDS)))
        if self._bar is None or self._task is None:
            self._bar, self._task = self._start()
        self._bar.update(
            self._task,
            completed=place,
            description=f"round {counters.dirty_sync_count + 1}",
            rate=f"{rate}/s",
        )

    def _start(self) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=True),
            TextColumn("{task.fields[rate]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task("", total=self._starts[-1], rate="")
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
