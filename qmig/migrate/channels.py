"""Channels: threads that write pages while the main thread scans for more.

A job has two steps, taking pages from the guest and writing them, so that a test can put anything
between them: that is where a page can be overtaken by a newer version of itself.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[], None]
    Job = Callable[[int], Write]

_QUEUED_JOBS: Final = 2  # a channel: one being written, one waiting
_POLL_S: Final = 0.1  # how soon a wait for a channel notices that another one has failed


class Channels(Protocol):
    """Some channels that jobs can be given to."""

    @property
    def count(self) -> int:
        """Number of channels."""

    def submit(self, job: Job, *, channel: int | None = None) -> None:
        """Give a job to a channel, or to whichever is next; jobs of one channel keep their order.

        Raises:
            Exception: what an earlier job raised.
        """

    def sync(self) -> None:
        """Return when all jobs given so far are done.

        Raises:
            Exception: what a job raised.
        """

    def close(self) -> None:
        """Stop; jobs that wait are dropped. Returns at once, even if a channel is blocked."""


class InlineChannels:
    """No threads: each job is done where it is given."""

    count = 1

    def submit(self, job: Job, *, channel: int | None = None) -> None:
        """Do the job."""
        job(channel or 0)()

    def sync(self) -> None:
        """Nothing is ever waiting."""

    def close(self) -> None:
        """Nothing to stop."""


class ThreadChannels:
    """A thread for each channel, each with a short queue.

    The threads are daemons: one that is blocked in a write does not keep the process from ending.

    Args:
        count: number of channels.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._queues: list[queue.Queue[Job | None]] = [
            queue.Queue(_QUEUED_JOBS) for _ in range(count)
        ]
        self._idle = threading.Condition()
        self._open_jobs = 0
        self._error: BaseException | None = None
        self._closed = False
        self._next = 0
        for channel in range(count):
            threading.Thread(
                target=self._work, args=(channel,), name=f"qmig-channel-{channel}", daemon=True
            ).start()

    def _work(self, channel: int) -> None:
        jobs = self._queues[channel]
        while (job := jobs.get()) is not None:
            error: BaseException | None = None
            if self._error is None and not self._closed:
                try:
                    job(channel)()
                except BaseException as caught:  # raised again in the main thread
                    error = caught
            with self._idle:
                self._error = self._error or error
                self._open_jobs -= 1
                self._idle.notify_all()

    def submit(self, job: Job, *, channel: int | None = None) -> None:
        """Give a job to a channel; waits while its queue is full."""
        if channel is None:
            channel = self._next
            self._next = (self._next + 1) % self.count
        with self._idle:
            self._open_jobs += 1
        while True:
            self._raise()
            try:
                self._queues[channel].put(job, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def sync(self) -> None:
        """Wait for all jobs."""
        with self._idle:
            while self._open_jobs and self._error is None:
                self._idle.wait(_POLL_S)
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Tell the threads to end, and do not wait for them."""
        self._closed = True
        for jobs in self._queues:
            while True:
                try:
                    jobs.get_nowait()
                except queue.Empty:
                    break
            jobs.put(None)
