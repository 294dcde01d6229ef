"""What a reader must not do, noticed: write elsewhere, hang, take memory, leave files open."""

import gc
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from tests.property.patience import MOST_PROCESSOR_SECONDS

MOST_MEMORY_LEN: Final = 200 << 20  # above what the process has before the first input
# glibc reserves 64 MiB, aligned to as much, for what a thread allocates.
_RESERVED_LEN: Final = 128 << 20

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events that change the file system: which arguments are paths, and which are the numbers of
# the open directories that they count from.
_CHANGING: Final = {
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
}
_NEVER: Final = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect",
     "socket.bind", "ctypes.dlopen", "os.putenv", "exec", "compile"}
)  # fmt: skip

_OPEN_FILES: Final = "/proc/self/fd/"


class ContractBrokenError(AssertionError):
    """The reader did what it must not do with any input."""


class HangError(BaseException):
    """An input takes longer than any may; no handler of errors holds it."""


class _Watch:
    """Sees all audit events of this process; judges them while `folder` is set."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        self._added = False

    def add(self) -> None:
        """Begin to see; this cannot be undone."""
        if not self._added:
            self._added = True
            sys.addaudithook(self._event)

    def _event(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder is None:
            return
        if event == "open":
            path, mode, flags = arguments
            # Where a name counts from an open directory (`os.open`, which has no mode), the event
            # does not tell which; so the directory must be the right one when it is opened.
            relative = mode is None and not os.path.isabs(os.fsdecode(path))  # type: ignore[arg-type]  # noqa: PTH117  # no Path
            if isinstance(flags, int) and flags & (os.O_DIRECTORY | _WRITING) and not relative:
                self._judge(event, path, None)
        elif event in _CHANGING:
            for name, folder in _CHANGING[event]:
                self._judge(event, arguments[name], folder and arguments[folder])
        elif event in _NEVER and not _importing():
            self.seen.append(event)

    def _judge(self, event: str, path: object, folder: object) -> None:
        if isinstance(path, int):  # a file that is open already
            return
        # With `os.path`, as pathlib resolves links, and asks the file system on its way.
        name = os.fsdecode(path)  # type: ignore[arg-type]  # all events have names here
        if isinstance(folder, int) and folder >= 0:
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)  # noqa: PTH115,PTH118  # see above
        name = os.path.abspath(name)  # noqa: PTH100  # see above
        if name.startswith(_OPEN_FILES):  # a second descriptor of a file that is open
            name = os.readlink(name)  # noqa: PTH115  # see above
        inside = self.folder is not None and f"{name}{os.sep}".startswith(self.folder)
        if not inside and not _importing():
            self.seen.append(f"{event} {name}")


def _importing() -> bool:
    """Tell whether code runs because a module is being imported."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


_WATCH: Final = _Watch()


@contextmanager
def writing_only_into(folder: Path) -> Iterator[None]:
    """Check that nothing is written but below a folder, and no process or connection begun.

    Temporary files go there, too.

    Raises:
        ContractBrokenError: something was.
    """
    _WATCH.add()
    _WATCH.seen = []
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    _WATCH.folder = f"{folder}{os.sep}"
    try:
        yield
    finally:
        _WATCH.folder, tempfile.tempdir = None, before
    if _WATCH.seen:
        raise ContractBrokenError(f"outside of the output folder: {_WATCH.seen}")


def lowest_free_file() -> int:
    """Return the number that the next opened file gets: it grows where files are left open."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def peak_memory_len() -> int:
    """Return the most bytes that this process has had in memory."""
    return _status_len("VmHWM")


def _status_len(name: str) -> int:
    """Return a length that the kernel tells of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


@contextmanager
def limited_memory(length: int = MOST_MEMORY_LEN) -> Iterator[None]:
    """Let the process grow by this much only; a request for more is a MemoryError.

    Address space is what can be limited, and an allocator reserves more of it than it uses. So
    some more is allowed, and what was in memory is looked at in the end.

    Raises:
        ContractBrokenError: more was in memory.
    """
    gc.collect()
    with suppress(OSError):  # else the mark stays where it was before, which is higher
        Path("/proc/self/clear_refs").write_text("5")
    peak_before = peak_memory_len()
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = _status_len("VmSize") + length + _RESERVED_LEN
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    grown_len = peak_memory_len() - peak_before
    if grown_len > length:
        raise ContractBrokenError(f"{grown_len} bytes more in memory than before")


def _too_long(number: int, frame: FrameType | None) -> None:
    raise HangError(f"more than {MOST_PROCESSOR_SECONDS} s of a processor")


@contextmanager
def limited_time(seconds: float = MOST_PROCESSOR_SECONDS) -> Iterator[None]:
    """Interrupt what takes more time of a processor; works in the main thread alone.

    Raises:
        HangError: it took more.
    """
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
