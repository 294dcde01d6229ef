"""What a command ends with, whatever it raises."""

import errno
import signal
from collections.abc import Callable
from typing import NoReturn

import pytest

from qmig.cli.guard import code_of, guarded
from qmig.errors import (
    MalformedStreamError,
    OutputClosedError,
    OutputError,
    OutputRefusedError,
    SourceError,
    TruncatedStreamError,
    UnsupportedStreamError,
    WriterError,
)
from qmig.migrate.interrupt import StopRequested

BAD = MalformedStreamError(offset=16, record="thing", expected="1", found="2", path="f")
CUT = TruncatedStreamError(offset=16, record="thing", wanted_len=4, available_len=1, path="f")
UNSUPPORTED = UnsupportedStreamError(offset=1, record="thing", expected="1", found="2", path="f")
MISSING = SourceError("cannot open", path="f")


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def command() -> NoReturn:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (BAD, 1, "qmig: f: 0x00000010 thing: expected 1, found 2"),
        (CUT, 1, "expected 4 bytes, found end of data after 1"),
        (UNSUPPORTED, 3, "thing"),
        (MISSING, 3, "qmig: f: cannot open"),
        (WriterError("cannot be"), 2, "qmig: cannot be"),
        (OutputRefusedError("exists already", path="f", hint="force"), 2, "f: exists already"),
        (OutputError("is full", path="f"), 3, "qmig: f: is full"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (StopRequested(signal.SIGINT), 130, "stopped by SIGINT"),
        (StopRequested(signal.SIGTERM), 143, "stopped by SIGTERM"),
        (StopRequested(signal.SIGHUP), 129, "stopped by SIGHUP"),
        (ZeroDivisionError("by \x1b[31m zero\nsecond line"), 70, "ZeroDivisionError"),
        (MemoryError(), 3, "not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 3, "not enough memory"),
        (OSError(errno.EMFILE, "Too many open files", "x"), 3, "x: the system refuses"),
        (RuntimeError("can't start new thread"), 3, "no more threads"),
        (OSError(errno.EINVAL, "Invalid argument"), 70, "Invalid argument"),
        (RecursionError("deep"), 70, "RecursionError"),
        (ValueError(), 70, "bug in qmig"),
    ],
)
def test_exit_code_and_one_line(
    error: BaseException,
    code: int,
    says: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("QMIG_DEBUG", raising=False)
    assert guarded(raising(error)) == code
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert says in line
    assert line.isprintable()


def test_a_bug_says_where_and_more_when_asked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QMIG_DEBUG", "1")
    assert guarded(raising(KeyError("x"))) == 70
    _, err = capfd.readouterr()
    assert "test_guard.py:" in err.splitlines()[0]
    assert "Traceback" in err


def test_reader_that_is_gone_is_nothing_to_complain_of(capfd: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(OutputClosedError("closed", path="-"))) == 141
    assert capfd.readouterr() == ("", "")


def test_code_of_a_fine_command() -> None:
    assert guarded(lambda: 0) == 0
    assert guarded(lambda: 2) == 2


def test_bad_input_outweighs_what_is_not_supported() -> None:
    assert code_of([]) == 0
    assert code_of([UNSUPPORTED]) == 3
    assert code_of([UNSUPPORTED, BAD]) == 1
