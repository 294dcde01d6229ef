"""What a command ends with, whatever happens: one line on standard error, and an exit code.

==== ===========================================================================================
0    fine
1    the input was judged bad: damaged, cut short; what can be read of it is shown
2    the command line is wrong, or asks for what a format cannot express
3    could not judge: the file cannot be read, is of another kind, or not supported; or what was
     to be written cannot be
70   a bug in qmig
130  interrupted by the user; 143, 129: by SIGTERM, SIGHUP
141  the reader of the output went away
==== ===========================================================================================
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qmig.errors import QmigError

FINE: Final = 0
BAD_INPUT: Final = 1
WRONG_USAGE: Final = 2
CANNOT_JUDGE: Final = 3
BUG: Final = 70
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141
_SIGNALLED: Final = 128
_EXHAUSTED: Final = {
    errno.EMFILE: "`ulimit -n` allows more open files",
    errno.ENFILE: "other programs have too many files open",
    errno.ENOSPC: "make room there, or let TMPDIR name another folder",
    errno.EFBIG: "`ulimit -f` allows longer files",
    errno.EDQUOT: "make room there, or let TMPDIR name another folder",
}
_STANDARD_FD: Final = 1
OUTPUT_NAME: Final = "standard output"
DEBUG_VARIABLE: Final = "QMIG_DEBUG"


class UsageError(Exception):
    """The command line asks for what cannot be; its text is one line."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command; return its exit code, or that of the exception that ended it."""
    try:
        return _flushed(_coded(command))
    except KeyboardInterrupt as stop:
        _forget_output()  # who does not read it now would keep the end of this process waiting
        return _interrupted(stop)


def _coded(command: Callable[[], int]) -> int:
    from qmig.errors import OutputClosedError, QmigError

    try:
        return command()
    except UsageError as error:
        _complain(str(error))
        return WRONG_USAGE
    except OutputClosedError:
        return CLOSED_PIPE
    except QmigError as error:
        _complain(str(error))
        return code_of([error])
    except BrokenPipeError:
        return CLOSED_PIPE
    except Exception as error:  # the last resort: a bug must not look like a finding
        refused = _refused_by_system(error)
        if refused is not None:
            _complain(refused)
            return CANNOT_JUDGE
        _complain_of_bug(error)
        return BUG


def _refused_by_system(error: Exception) -> str | None:
    """Say what the machine did not give, where that is what ended the command."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return (
            "there is not enough memory for this; other programs, or `ulimit -v`, leave too little"
        )
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        where = f"{error.filename}: " if error.filename else ""
        return (
            f"{where}the system refuses what is needed: {error.strerror}; {_EXHAUSTED[error.errno]}"
        )
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "the system allows no more threads; `ulimit -u` and `ulimit -v` limit them"
    return None


def _flushed(code: int) -> int:
    """Write what standard output still keeps; return the exit code after that."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return code if code >= BUG else CLOSED_PIPE
    except OSError as error:
        _forget_output()
        if code in (FINE, BAD_INPUT):  # of all else a line was said
            _complain(f"{OUTPUT_NAME}: cannot write to it: {error.strerror or error}")
            return CANNOT_JUDGE
    return code


def _interrupted(stop: KeyboardInterrupt) -> int:
    from qmig.migrate.interrupt import StopRequested

    if isinstance(stop, StopRequested):
        _complain(str(stop))
        return _SIGNALLED + stop.signum
    _complain("interrupted")
    return INTERRUPTED


def code_of(errors: Sequence[QmigError]) -> int:
    """Return the exit code that errors of reading or writing lead to."""
    from qmig.errors import OutputRefusedError, StreamError, UnsupportedStreamError, WriterError

    if any(isinstance(error, WriterError | OutputRefusedError) for error in errors):
        return WRONG_USAGE
    if any(
        isinstance(e, StreamError) and not isinstance(e, UnsupportedStreamError) for e in errors
    ):
        return BAD_INPUT
    return CANNOT_JUDGE if errors else FINE


def _complain(text: str) -> None:
    from qmig.render.errors import show_error

    show_error(text)


def _complain_of_bug(error: Exception) -> None:
    where = "an unknown place"
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        where = f"{os.path.basename(code.co_filename)}:{trace.tb_lineno} ({code.co_name})"  # noqa: PTH119  # pathlib is not loaded yet
        trace = trace.tb_next
    said = str(error).splitlines()
    detail = f": {said[0]}" if said else ""
    _complain(
        f"this is a bug in qmig, not in your file: {type(error).__name__} in {where}{detail}; "
        f"{DEBUG_VARIABLE}=1 shows more"
    )
    if os.environ.get(DEBUG_VARIABLE) == "1":
        from traceback import print_exception

        print_exception(error)


def _forget_output() -> None:
    """Let what standard output still keeps go nowhere, or Python tries once more at its end."""
    if sys.stdout is None:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STANDARD_FD)
    os.close(nowhere)
