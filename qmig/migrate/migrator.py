"""The migrator: setup, rounds over a guest that goes on dirtying its memory, completion.

As migration/migration.c and migration/ram.c do it: the first round sends every page; each further
round those that were written meanwhile; when what is left can be sent within the downtime at the
measured bandwidth, the guest is stopped and the rest goes into the END section. Auto-converge
throttles the guest where it dirties more than half of what a round transfers, twice in a row
(arch_init.c of 2015: initial 20 %, 10 % more each time).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.migrate.counters import Counters
from qmig.migrate.skeleton import Carried, RamEnd, RamPart, RamStart, Skeleton
from qmig.pages.flags import true_runs
from qmig.wire.framing import QemuVmSection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.memory import RunningGuest
    from qmig.migrate.layout import Layout
    from qmig.migrate.main_stream import MainStream

    Dirty = list[np.ndarray[Any, np.dtype[np.bool_]]]
    Progress = Callable[["Counters", int, int], None]

_STEP_LEN: Final = 8 << 20  # bytes of guest memory handed to the layout at a time
_LOOK_PAGES: Final = 1 << 16  # dirty pages are looked for in so many at a time
_PART_S: Final = 0.05  # a PART section ends after this time (migration/ram.c, MAX_WAIT)
_THROTTLE_INITIAL: Final = 20
_THROTTLE_INCREMENT: Final = 10
_THROTTLE_MOST: Final = 99
_HIGH_DIRTY_ROUNDS: Final = 2
_MOST_PARTS: Final = 10_000  # a source's PARTs are followed up to this many


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """How a migration runs.

    Attributes:
        max_rounds: rounds before the guest is stopped whatever is left.
        max_bandwidth: bytes a second; None: as fast as it goes.
        downtime_limit_ms: how long the guest may stand still (QEMU's default).
        auto_converge: whether a guest that dirties too fast is throttled.
        static: the guest does not run: PART sections follow the skeleton and not the clock.
    """

    max_rounds: int = 30
    max_bandwidth: int | None = None
    downtime_limit_ms: int = 300
    auto_converge: bool = False
    static: bool = False


class Migrator:
    """Runs one migration of a guest into a layout.

    Args:
        guest: whose memory goes.
        skeleton: what stands around it.
        stream: the main stream; its header is written already.
        layout: the output format.
        options: how it runs.
        counters: what it counts.
        progress: told (counters, pages done, pages of this round) now and then.
    """

    def __init__(
        self,
        guest: RunningGuest,
        skeleton: Skeleton,
        stream: MainStream,
        layout: Layout,
        *,
        options: MigrationOptions,
        counters: Counters,
        progress: Progress | None = None,
    ) -> None:
        self.counters = counters
        self._guest = guest
        self._skeleton = skeleton
        self._stream = stream
        self._layout = layout
        self._options = options
        self._progress = progress
        self._started = 0.0
        self._throttle = 0
        self._high_rounds = 0

    def run(self) -> None:
        """Write all sections of the stream, up to the last element before EOF."""
        self._started = time.monotonic()
        parts = [e for e in self._skeleton.elements if isinstance(e, RamPart)]
        left: Dirty = []
        for element in self._skeleton.elements:
            if isinstance(element, Carried):
                self._stream.carry(element.chunks())
            elif isinstance(element, RamStart):
                self._setup()
            elif isinstance(element, RamEnd):
                self._complete(left)
            elif element is parts[0]:
                left = self._iterate(parts)
        self.counters.total_time = self._milliseconds(self._started)

    def _setup(self) -> None:
        self._stream.ram_start()
        self._layout.setup(self._guest.blocks)
        self._stream.footer()
        self._guest.take_dirty()

    # -- rounds -----------------------------------------------------------------------------------

    def _iterate(self, parts: list[RamPart]) -> Dirty:
        """Send the first round and those that follow; return what is left for the END section."""
        self._bulk(parts)
        while True:
            self.counters.dirty_sync_count += 1
            dirty = self._guest.take_dirty()
            pages = _count(dirty)
            if pages == 0:
                return []
            if self._is_little(pages):
                return dirty
            if self.counters.dirty_sync_count >= self._options.max_rounds:
                return dirty
            self._throttle_guest(pages)
            self._round(dirty)

    def _bulk(self, parts: list[RamPart]) -> None:
        """Send all pages once; PARTs end where the source's did, or after some time."""
        steps = self._all_pages()
        if self._options.static:
            self._as_planned(self._plan(parts), steps)
        else:
            self._parts(steps, first_round=True)

    def _plan(self, parts: list[RamPart]) -> list[RamPart]:
        """Return the PARTs of the source with the pages that go into each.

        Where its pages did not come in PARTs (mapped-ram, multifd), the first one gets them all.
        Where they do not add up, or the scan began anew more than once, the source was a guest
        that ran: all goes into one PART, so that the same source gives the same bytes each time.
        """
        total = self._pages_to_send()
        found = sum(part.pages for part in parts)
        rounds = sum(part.rounds for part in parts)
        if rounds > 1 or found not in (0, total) or len(parts) > _MOST_PARTS:
            return [RamPart(total, 1)]
        if found == 0:
            parts = [replace(parts[0], pages=total), *parts[1:]]
        if rounds == 0:
            parts = [*parts[:-1], replace(parts[-1], rounds=1)]
        return parts

    def _pages_to_send(self) -> int:
        return sum(count for _, _, count in self._all_pages())

    def _all_pages(self) -> Iterator[tuple[int, int, int]]:
        """Yield (block, first page, count) of what is to be sent, in steps of some MiB."""
        size = self._guest.page_size_len
        step = max(1, _STEP_LEN // size)
        for block in self._guest.blocks:
            for first in range(0, block.used_length // size, step):
                count = min(step, block.used_length // size - first)
                sent = self._guest.sent(block.index, first, count)
                for begin, end in true_runs(sent):
                    yield block.index, first + begin, end - begin

    def _as_planned(self, parts: list[RamPart], steps: Iterator[tuple[int, int, int]]) -> None:
        """End each PART after as many pages as the source's had."""
        block = first = count = 0
        for part in parts:
            self._stream.ram_part(QemuVmSection.SECTION_PART)
            left = part.pages
            while left:
                if count == 0:
                    block, first, count = next(steps)
                some = min(left, count)
                self._send(block, first, some, first_round=True)
                first, count, left = first + some, count - some, left - some
            for _ in range(part.rounds):
                self._layout.round_end()
            self._layout.part_end()
            self._stream.footer()

    def _parts(self, steps: Iterator[tuple[int, int, int]], *, first_round: bool) -> None:
        """Send pages in PART sections; the last one ends the round."""
        self._stream.ram_part(QemuVmSection.SECTION_PART)
        begun = time.monotonic()
        for block, first, count in steps:
            if time.monotonic() - begun > _PART_S:
                self._layout.part_end()
                self._stream.footer()
                self._stream.ram_part(QemuVmSection.SECTION_PART)
                begun = time.monotonic()
            self._send(block, first, count, first_round=first_round)
        self._layout.round_end()
        self._layout.part_end()
        self._stream.footer()

    def _send(self, block: int, first: int, count: int, *, first_round: bool) -> None:
        self._layout.send(block, first, count, first_round=first_round)
        self._keep_bandwidth()
        if self._progress is not None:
            self._progress(self.counters, block, first + count)

    def _round(self, dirty: Dirty) -> None:
        begun = time.monotonic()
        self._parts(_dirty_steps(dirty, self._guest.page_size_len), first_round=False)
        self._rate(begun, _count(dirty))

    def _complete(self, left: Dirty) -> None:
        stopped = time.monotonic()
        self._guest.stop()
        last = self._guest.take_dirty()
        if left and last:
            left = [old | new for old, new in zip(left, last, strict=True)]
        else:
            left = left or last
        self._stream.ram_part(QemuVmSection.SECTION_END)
        for block, first, count in _dirty_steps(left, self._guest.page_size_len):
            self._layout.send(block, first, count, first_round=False)
        self._layout.round_end()
        self._layout.complete()
        self._stream.footer()
        self.counters.downtime = self._milliseconds(stopped)

    # -- convergence ------------------------------------------------------------------------------

    def _bandwidth(self) -> float:
        """Return bytes a second since the start."""
        elapsed = max(time.monotonic() - self._started, 1e-6)
        return self.counters.transferred / elapsed

    def _is_little(self, pages: int) -> bool:
        """Tell whether the pages can be sent within the downtime."""
        left_len = pages * self._guest.page_size_len
        return left_len <= self._bandwidth() * self._options.downtime_limit_ms / 1000

    def _rate(self, begun: float, pages: int) -> None:
        elapsed = max(time.monotonic() - begun, 1e-6)
        self.counters.dirty_pages_rate = int(pages / elapsed)

    def _throttle_guest(self, dirty_pages: int) -> None:
        """Throttle where more than half of what was transferred is dirty again, twice."""
        if not self._options.auto_converge:
            return
        dirtied = dirty_pages * self._guest.page_size_len
        high = dirtied > self.counters.transferred // (2 * self.counters.dirty_sync_count)
        self._high_rounds = self._high_rounds + 1 if high else 0
        if self._high_rounds >= _HIGH_DIRTY_ROUNDS:
            self._high_rounds = 0
            more = self._throttle + _THROTTLE_INCREMENT if self._throttle else _THROTTLE_INITIAL
            self._throttle = min(_THROTTLE_MOST, more)
            self._guest.throttle(self._throttle)
            self.counters.throttle_percentage = self._throttle

    def _keep_bandwidth(self) -> None:
        if self._options.max_bandwidth is None:
            return
        due = self.counters.transferred / self._options.max_bandwidth
        ahead = due - (time.monotonic() - self._started)
        if ahead > 0:
            time.sleep(ahead)

    @staticmethod
    def _milliseconds(since: float) -> int:
        return round((time.monotonic() - since) * 1000)


def _count(dirty: Dirty) -> int:
    return sum(int(np.count_nonzero(pages)) for pages in dirty)


def _dirty_steps(dirty: Dirty, page_size_len: int) -> Iterator[tuple[int, int, int]]:
    step = max(1, _STEP_LEN // page_size_len)
    for block, pages in enumerate(dirty):
        for low in range(0, len(pages), _LOOK_PAGES):
            for begin, end in true_runs(pages[low : low + _LOOK_PAGES]):
                for first in range(low + begin, low + end, step):
                    yield block, first, min(step, low + end - first)
