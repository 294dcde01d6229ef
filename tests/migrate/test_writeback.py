"""The storage is asked to begin while a file is written, by a thread that nobody waits for."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qmig.limits import KIB, MIB
from qmig.migrate import writeback
from qmig.migrate.output import AtomicFile
from qmig.migrate.writeback import Writeback

STEP_LEN = 32 * MIB
PIECE_LEN = 64 * KIB
SECONDS = 20.0


class Storage:
    """Stands for `sync_file_range`; can be blocked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []  # inode, length of the file at that moment
        self.called = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def __call__(self, fd: int, offset: int, length: int, flags: int) -> int:
        assert (offset, length, flags) == (0, 0, 2)
        status = os.fstat(fd)
        self.asked.append((status.st_ino, status.st_size))
        self.called.set()
        self.free.wait(SECONDS)
        return 0


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    made = Storage()
    monkeypatch.setattr(writeback, "_begin_writing", lambda: made)
    yield made
    made.free.set()
    assert until(lambda: not threads()), "a thread is left over"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "qmig-writeback"]


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_short_files_are_left_to_fsync(storage: Storage, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        begun = Writeback(file.fileno())
        begun.note(STEP_LEN - 1)
        assert not threads()
        begun.close()
        begun.note(STEP_LEN)
    assert not threads()
    assert not storage.asked


def test_the_storage_begins_while_a_file_is_written(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with AtomicFile(path) as file:
        for at in range(0, STEP_LEN, PIECE_LEN):  # long ones do not go through the page cache
            file.pwrite(bytes(PIECE_LEN), at + 5)
        assert storage.called.wait(SECONDS)
        assert not path.exists()
        file.commit()
    assert storage.asked == [(path.stat().st_ino, STEP_LEN + 5)]


def test_nothing_waits_for_a_storage_that_hangs(storage: Storage, tmp_path: Path) -> None:
    storage.free.clear()
    begun = time.monotonic()
    with AtomicFile(tmp_path / "file") as file:
        file.append(bytes(STEP_LEN))
        assert storage.called.wait(SECONDS)
        file.append(bytes(STEP_LEN))
        file.commit()
    assert time.monotonic() - begun < SECONDS / 2
    assert (tmp_path / "file").stat().st_size == 2 * STEP_LEN


def test_a_file_that_is_given_up_ends_the_thread(storage: Storage, tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "file") as file:
        file.append(bytes(STEP_LEN))
        assert storage.called.wait(SECONDS)
    assert until(lambda: not threads())
    assert not list(tmp_path.iterdir())


def test_the_real_call_takes_a_file(tmp_path: Path) -> None:
    begin = writeback._begin_writing()
    if begin is None:  # a C library without it: then there is nothing to call
        assert not hasattr(__import__("ctypes").CDLL(None), "sync_file_range")
        return
    with (tmp_path / "file").open("wb") as file:
        file.write(b"qmig")
        file.flush()
        assert begin(file.fileno(), 0, 0, 2) == 0
