"""How far a save has come, on a terminal alone: place in the guest's memory, round, rate."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from qmig.render.progress import LateProgress
from qmig.render.words import short_size

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, TaskID

    from qmig.memory import RunningGuest
    from qmig.migrate.counters import Counters

_LEAST_SECONDS: Final = 0.1  # that a rate is taken over


class SaveProgress(LateProgress):
    """Shows a save; a context manager, and the callback of a migrator.

    Args:
        guest: what is saved.
        quiet: show nothing.
    """

    def __init__(self, guest: RunningGuest, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._page_size_len = guest.page_size_len
        self._starts = [0]  # of each block, were all one behind the other
        for block in guest.blocks:
            self._starts.append(self._starts[-1] + block.used_length)
        self._begun = monotonic()
        self._task: TaskID | None = None

    def __call__(self, counters: Counters, block: int, page: int) -> None:
        """Note that pages up to one of a block were sent in this round."""
        if not self.is_due():
            return
        place = self._starts[block] + page * self._page_size_len
        took = max(monotonic() - self._begun, _LEAST_SECONDS)
        if self._task is None:
            self._task = self.bar().add_task("", total=self._starts[-1], rate="")
        self.bar().update(
            self._task,
            completed=place,
            description=f"round {counters.dirty_sync_count + 1}",
            rate=f"{short_size(int(counters.transferred / took))}/s",
        )

    def columns(self) -> list[ProgressColumn]:
        """See `LateProgress.columns`."""
        from rich.progress import TextColumn

        return [
            TextColumn("{task.description}", markup=False),
            *super().columns(),
            TextColumn("{task.fields[rate]}", markup=False),
        ]
