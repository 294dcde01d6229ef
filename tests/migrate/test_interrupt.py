"""Signals as one exception."""

import os
import signal
import threading
import time
from types import FrameType

import pytest

from qmig.migrate.interrupt import StopOnSignals, StopRequested


def send(signum: signal.Signals) -> None:
    """Send a signal to this thread, and let Python handle it before this returns.

    One to the process may be handled later: a kernel may give it to another thread, of which a
    test run has many, and only `pthread_kill` looks for signals itself.
    """
    signal.pthread_kill(threading.get_ident(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_raises_and_later_ones_wait(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    cleaned = False
    with pytest.raises(StopRequested) as caught, StopOnSignals():
        try:
            send(signum)
            pytest.fail("the signal did nothing")
        finally:
            send(signum)
            send(signal.SIGTERM)
            cleaned = True
    assert cleaned
    assert caught.value.signum == signum
    assert str(caught.value) == f"stopped by {signum.name}"
    assert signal.getsignal(signum) == before


def test_no_handler_of_errors_takes_it_for_one() -> None:
    with pytest.raises(StopRequested), StopOnSignals():
        try:
            send(signal.SIGTERM)
        except Exception as error:  # the broadest that code may have around a save
            pytest.fail(f"{error} is no error")


def test_a_lock_that_was_lost_on_the_way_does_not_hide_it() -> None:
    lock = threading.Lock()
    with pytest.raises(StopRequested), StopOnSignals():
        try:
            send(signal.SIGTERM)
        finally:
            lock.release()  # as a condition does that waits: "release unlocked lock"
    with pytest.raises(RuntimeError, match="release unlocked lock"), StopOnSignals():
        lock.release()


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopOnSignals():
            send(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signal_that_comes_while_handlers_are_restored_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        seen.append(signum)

    before = signal.signal(signal.SIGTERM, note)
    real = signal.signal
    try:
        stopping = StopOnSignals((signal.SIGTERM,))
        stopping.__enter__()

        def late(signum: signal.Signals, handler: signal.Handlers) -> object:
            monkeypatch.setattr(signal, "signal", real)
            send(signal.SIGTERM)
            return real(signum, handler)

        monkeypatch.setattr(signal, "signal", late)
        stopping.__exit__(None, None, None)
        end = time.monotonic() + 10
        while not seen and time.monotonic() < end:
            time.sleep(0.01)
        assert seen == [signal.SIGTERM]
    finally:
        real(signal.SIGTERM, before)


def test_other_threads_change_nothing() -> None:
    handlers = []

    def look() -> None:
        with StopOnSignals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_main_thread_is_woken_where_it_waits() -> None:
    never = threading.Event()
    sender = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    sender.start()
    begun = time.monotonic()
    with pytest.raises(StopRequested), StopOnSignals():
        never.wait(30)
    assert time.monotonic() - begun < 10
    sender.join()
