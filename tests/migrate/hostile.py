"""Channels that a scheduler reorders as badly as it can, and outputs in memory, for tests.

A job has two steps, taking pages from the guest and writing them. Here anything can come between
them: other channels' steps, and writes of the guest. What a channel is given keeps its order, for
that much a thread with a queue does guarantee.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from _typeshed import ReadableBuffer

    from qmig.memory import RamBlock, RunningGuest
    from qmig.migrate.channels import Job, Write


class HostileChannels:
    """Channels whose steps are made in an order that a seed decides.

    Args:
        count: number of channels.
        seed: what the order is a function of.
        between: called between steps; makes the guest write.
        honest: whether `sync` waits for the jobs, as it must. Without that the test must fail.
    """

    def __init__(
        self, count: int, seed: int, between: Callable[[Random], None], *, honest: bool = True
    ) -> None:
        self.count = count
        self.overtakings = 0  # how often a channel stood still in the middle of a job
        self._random = Random(seed)  # noqa: S311  # a schedule, no secret
        self._between = between
        self._honest = honest
        self._jobs: list[deque[Job]] = [deque() for _ in range(count)]
        self._begun: list[Write | None] = [None] * count

    def submit(self, job: Job, *, channel: int | None = None) -> None:
        """Take a job, then perhaps let some channels make a step."""
        chosen = self._random.randrange(self.count) if channel is None else channel
        self._jobs[chosen].append(job)
        for _ in range(self._random.choice((0, 0, 0, 1, 2, 5))):
            self._step()

    def sync(self) -> None:
        """Let all channels finish, in a bad order."""
        if self._honest:
            self.drain()

    def drain(self) -> None:
        """Let all channels finish."""
        while self._step():
            pass

    def close(self) -> None:
        """Nothing to stop."""

    def _step(self) -> bool:
        busy = [c for c in range(self.count) if self._begun[c] or self._jobs[c]]
        if not busy:
            return False
        channel = self._random.choice(busy)
        self._between(self._random)
        write = self._begun[channel]
        if write is not None:
            self._begun[channel] = None
            write()
        else:
            self._begun[channel] = self._jobs[channel].popleft()(channel)
            self.overtakings += 1
        return True


class CopiedGuest:
    """A guest whose pages are copied when they are taken, so that a late write writes old pages."""

    def __init__(self, guest: RunningGuest) -> None:
        self._guest = guest

    @property
    def page_size_len(self) -> int:
        return self._guest.page_size_len

    @property
    def blocks(self) -> Sequence[RamBlock]:
        return self._guest.blocks

    def read_pages(self, block: int, first: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.array(self._guest.read_pages(block, first, count))

    def sent(self, block: int, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return self._guest.sent(block, first, count)

    def take_dirty(self) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
        return self._guest.take_dirty()

    def throttle(self, percent: int) -> None:
        self._guest.throttle(percent)

    def stop(self) -> None:
        self._guest.stop()


class MemoryOutput:
    """A file in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def pwrite(self, data: ReadableBuffer, offset: int) -> None:
        view = memoryview(data).cast("B")
        if len(self.data) < offset + len(view):
            self.data += bytes(offset + len(view) - len(self.data))
        self.data[offset : offset + len(view)] = view

    def append(self, data: ReadableBuffer) -> None:
        self.pwrite(data, len(self.data))
