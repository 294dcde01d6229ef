"""Writing past the page cache."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from qmig.errors import OutputError
from qmig.limits import MIB
from qmig.migrate.direct_io import DIRECT_ALIGNMENT, aligned_range
from qmig.migrate.output import AtomicFile

REFUSED = [
    "its file system does not do direct I/O: written through the page cache (see open(2), O_DIRECT)"
]


class Spy:
    """Notes each write: whether it was direct, where, how much."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[bool, int, int]] = []
        self._real = os.pwrite
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        direct = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
        self.calls.append((direct, offset, len(data)))
        return self._real(fd, data, offset)


def require_direct(folder: Path) -> None:
    with AtomicFile(folder / "probe", direct_io=True) as file:
        file.pwrite(bytes(DIRECT_ALIGNMENT), 0)
        if file.remarks:
            pytest.skip("the file system of the temporary folder does no direct I/O")


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, 4096, (0, 4096)), (1, 8192, (4096, 8192)), (4097, 100, (8192, 8192)), (0, 0, (0, 0))],
)
def test_aligned_range(offset: int, length: int, expected: tuple[int, int]) -> None:
    assert aligned_range(offset, length) == expected


def test_only_what_is_aligned_is_direct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_direct(tmp_path)
    data = np.random.default_rng(3).bytes(3 * MIB)
    spy = Spy(monkeypatch)
    with AtomicFile(tmp_path / "a", direct_io=True) as file:
        file.append(data[:100])
        file.pwrite(data[100:], 100)
        file.commit()
    assert (tmp_path / "a").read_bytes() == data
    assert spy.calls[:2] == [(False, 0, 100), (False, 100, 3996)]
    assert [call for call in spy.calls if call[0]] == [
        (True, 4096, MIB),
        (True, 4096 + MIB, MIB),
        (True, 4096 + 2 * MIB, MIB - 4096),
    ]
    assert len(spy.calls) == 5
    assert file.remarks == []


@pytest.mark.parametrize("durable", [True, False])
def test_long_pieces_of_a_durable_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    """They are direct unasked, shorter ones are not; nothing is where nobody waits for storage."""
    require_direct(tmp_path)
    data = np.random.default_rng(6).bytes(MIB)
    spy = Spy(monkeypatch)
    with AtomicFile(tmp_path / "a", durable=durable) as file:
        file.pwrite(data, 0)
        file.pwrite(data[:65536], MIB)
        file.pwrite(data, 2 * MIB + 4095)
        file.commit()
    assert (tmp_path / "a").read_bytes() == data + data[:65536] + bytes(MIB - 61441) + data
    assert [(offset, length) for direct, offset, length in spy.calls if direct] == (
        [(0, MIB), (2 * MIB + 4096, MIB - 4096)] if durable else []
    )
    assert file.remarks == []


@pytest.mark.parametrize(
    ("direct_io", "lengths"),
    [(True, (4096, 65536)), (True, (1, 20_000)), (True, (4000, 4200)), (False, (1, 400_000))],
)
def test_direct_and_ordinary_writes_mix(
    tmp_path: Path, direct_io: bool, lengths: tuple[int, int]
) -> None:
    """Later writes win, whichever way they and the earlier ones went."""
    random = np.random.default_rng(4)
    area = 2 * MIB
    expected = bytearray(area)
    with AtomicFile(tmp_path / "a", direct_io=direct_io) as file:
        file.reserve(area)
        for _ in range(200):
            length = int(random.integers(*lengths))
            offset = int(random.integers(area - length))
            if random.integers(2):
                offset -= offset % 4096
            data = random.bytes(length)
            file.pwrite(data, offset)
            expected[offset : offset + length] = data
        file.commit()
    assert (tmp_path / "a").read_bytes() == expected


def test_threads_have_their_own_memory(tmp_path: Path) -> None:
    threads, pieces = 6, 24
    expected = np.random.default_rng(5).integers(0, 256, (pieces, threads, 65536), np.uint8)

    def write(index: int) -> None:
        for piece in range(pieces):
            # One byte beside where memory would be aligned, so that all is copied.
            shifted = np.empty(65536 + 4097, np.uint8)[1:][:65536]
            shifted[:] = expected[piece, index]
            file.pwrite(shifted.data, (piece * threads + index) * 65536)

    with AtomicFile(tmp_path / "a", direct_io=True) as file:
        workers = [threading.Thread(target=write, args=(i,), daemon=True) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        file.commit()
    assert (tmp_path / "a").read_bytes() == expected.tobytes()


def test_file_system_that_refuses_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: str | Path, flags: int, *arguments: int, **options: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with AtomicFile(tmp_path / "a", direct_io=True) as file:
        file.pwrite(b"x" * 8192, 0)
        file.commit()
    assert (tmp_path / "a").read_bytes() == b"x" * 8192
    assert file.remarks == REFUSED


def test_device_that_wants_more_alignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_direct(tmp_path)
    real = os.pwrite
    taken = [0]

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            taken[0] += 1
            if taken[0] == 2:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    data = np.random.default_rng(6).bytes(4 * MIB)
    with AtomicFile(tmp_path / "a", direct_io=True) as file:
        file.pwrite(data, 0)
        file.pwrite(data[:4096], 4 * MIB)
        file.commit()
    assert (tmp_path / "a").read_bytes() == data + data[:4096]
    assert taken == [2]
    assert file.remarks == REFUSED


def test_storage_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_direct(tmp_path)

    def fail(fd: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    with (
        AtomicFile(tmp_path / "a", direct_io=True) as file,
        pytest.raises(OutputError, match="cannot write 8192 bytes at 0x00001000: Input/output"),
    ):
        file.pwrite(bytes(8192), 4096)


def test_rest_of_a_short_write_goes_the_ordinary_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of a page is not aligned any more; that is no reason to give direct I/O up."""
    require_direct(tmp_path)
    real = os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            return real(fd, data[:4096], offset) - 512  # as far as the caller is told
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    data = np.random.default_rng(7).bytes(3 * 4096)
    with AtomicFile(tmp_path / "a", direct_io=True) as file:
        file.pwrite(data, 0)
        file.commit()
    assert (tmp_path / "a").read_bytes() == data
    assert file.remarks == []
