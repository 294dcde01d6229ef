"""Turn the signals that ask a process to end into one exception, so that files are cleaned up.

What the rest must do for a quick end, whatever is blocked:

- The main thread waits only where a signal can wake it: locks, queues, events, `Thread.join`,
  system calls of its own. Python runs signal handlers in no other thread.
- Threads are `threading.Thread(daemon=True)`, for the interpreter joins all others before it ends,
  those of `concurrent.futures` included.
- Nobody waits for threads after the exception: `AtomicFile.discard` needs none of them to end.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(KeyboardInterrupt):
    """A signal asked the process to end. No error: nothing is wrong but that it must stop.

    Attributes:
        signum: the signal; a shell expects the exit code 128 + signum.
    """

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(signum)
        self.signum = signum

    def __str__(self) -> str:
        return f"stopped by {self.signum.name}"


class StopOnSignals:
    """Raise `StopRequested` in the main thread at the first signal that asks to end.

    Use it as a context manager. Later signals change nothing until it is left, so that cleaning up
    is not interrupted. A signal that is ignored (`nohup`) stays ignored. In another thread than the
    main one it does nothing.

    Args:
        signals: the signals.
    """

    def __init__(self, signals: tuple[signal.Signals, ...] = STOP_SIGNALS) -> None:
        self._signals = signals
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._raising = False
        self._late: signal.Signals | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for signum in self._signals:
                before = signal.getsignal(signum)
                if before is not None and before != signal.SIG_IGN:
                    self._before[signum] = before
                    signal.signal(signum, self._handle)
            self._raising = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stopped = not self._raising
        self._raising = False
        for signum, before in self._before.items():
            signal.signal(signum, before)
        self._before.clear()
        if self._late is not None and not stopped:
            os.kill(os.getpid(), self._late)  # it came too late for us, but it came
        if isinstance(value, RuntimeError) and isinstance(value.__context__, StopRequested):
            # It was raised inside of `threading.Condition.wait`, which then gives back a lock that
            # it does not hold ("release unlocked lock"), and that error took its place.
            raise value.__context__

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._raising:
            self._late = signal.Signals(signum)
            return
        self._raising = False
        raise StopRequested(signal.Signals(signum))
