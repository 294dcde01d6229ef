"""Raw dumps as a guest: pages, holes, and what is refused."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmig.errors import SourceError, WriterError
from qmig.migrate.dumps import DumpGuest
from qmig.pages.zero import zero_pages

PAGE = 4096

Pages = np.ndarray[Any, np.dtype[np.uint8]]


def numbered(count: int, page_size_len: int = PAGE) -> Pages:
    """Return pages, each filled from its own number and never zero."""
    pages = np.empty((count, page_size_len), np.uint8)
    pages[:] = (np.arange(count) % 251 + 1)[:, None]
    pages[:, :8] = np.arange(count, dtype=">u8").view(np.uint8).reshape(count, 8)
    return pages


def sparse(path: Path, pages: Pages, kept: list[int]) -> Pages:
    """Write some of the pages and leave the others as holes; return what the file then holds."""
    expected = np.zeros_like(pages)
    with path.open("wb") as file:
        for page in kept:
            os.pwrite(file.fileno(), pages[page].tobytes(), page * pages.shape[1])
            expected[page] = pages[page]
        os.ftruncate(file.fileno(), pages.size)
    return expected


def test_blocks_in_their_order(tmp_path: Path) -> None:
    files = {"pc.ram": 5, "pc.bios": 1, "0000:00:02.0/vga.vram": 3}
    for number, count in enumerate(files.values()):
        (tmp_path / str(number)).write_bytes(numbered(count).tobytes())
    paths = {name: tmp_path / str(number) for number, name in enumerate(files)}
    with DumpGuest(paths) as guest:
        assert [(b.index, b.name, b.used_length // PAGE) for b in guest.blocks] == [
            (index, name, count) for index, (name, count) in enumerate(files.items())
        ]
        for block in guest.blocks:
            count = files[block.name]
            assert (guest.read_pages(block.index, 0, count) == numbered(count)).all()
            assert guest.sent(block.index, 0, count).tolist() == [True] * count
        assert guest.page_size_len == PAGE


@pytest.mark.parametrize("page_size_len", [256, 4096, 65536])
def test_any_range_of_pages(tmp_path: Path, page_size_len: int) -> None:
    pages = numbered(40, page_size_len)
    path = tmp_path / "dump"
    path.write_bytes(pages.tobytes())
    with DumpGuest({"ram": path}, page_size_len) as guest:
        for first in range(0, 40, 7):
            for count in (0, 1, 2, 40 - first):
                assert (guest.read_pages(0, first, count) == pages[first : first + count]).all()


@pytest.mark.parametrize(
    "kept",
    [[], [0], [99], [50], [0, 99], [1, 2, 3, 50, 98], list(range(0, 100, 2)), list(range(100))],
    ids=str,
)
def test_holes_are_zero(tmp_path: Path, kept: list[int]) -> None:
    path = tmp_path / "dump"
    expected = sparse(path, numbered(100), kept)
    with DumpGuest({"ram": path}) as guest:
        for first, count in [(0, 100), (0, 50), (49, 2), (99, 1), (1, 98)]:
            used = guest.read_pages(0, 0, 100)
            if used.flags.writeable:
                used[:] = 0xEE  # memory that is used again must not show where a hole is
            del used
            assert (guest.read_pages(0, first, count) == expected[first : first + count]).all()


def test_holes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dump"
    count = (1 << 40) // PAGE
    with path.open("wb") as file:
        os.pwrite(file.fileno(), b"\1" * PAGE, 1000 * PAGE)
        os.ftruncate(file.fileno(), 1 << 40)
    read: list[tuple[int, int]] = []
    preadv = os.preadv

    def counting(fd: int, buffers: list[memoryview], offset: int) -> int:
        read.append((offset, sum(map(len, buffers))))
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", counting)
    with DumpGuest({"ram": path}) as guest:
        everything = guest.read_pages(0, 2000, count - 2000)  # a tebibyte of holes
        assert everything.shape == (count - 2000, PAGE)
        assert zero_pages(everything[:1000]).all()
        assert read == []
        some = guest.read_pages(0, 900, 200)
        assert np.flatnonzero(~zero_pages(some)).tolist() == [100]
    assert sum(length for _, length in read) <= 16 * PAGE  # the file system's idea of a hole


def test_a_file_system_that_knows_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dump"
    expected = sparse(path, numbered(20), [3, 15])
    lseek = os.lseek

    def unable(fd: int, offset: int, whence: int) -> int:
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(22, "Invalid argument")
        return lseek(fd, offset, whence)

    monkeypatch.setattr(os, "lseek", unable)
    with DumpGuest({"ram": path}) as guest:
        assert (guest.read_pages(0, 0, 20) == expected).all()
        assert (guest.read_pages(0, 4, 5) == 0).all()


def test_nothing_is_ever_dirty(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(numbered(3).tobytes())
    with DumpGuest({"a": path, "b": path}) as guest:
        for _ in range(2):
            dirty = guest.take_dirty()
            assert [pages.tolist() for pages in dirty] == [[False] * 3] * 2
            guest.throttle(50)
            guest.stop()


def test_threads_read_at_once(tmp_path: Path) -> None:
    pages = numbered(2000)
    path = tmp_path / "dump"
    expected = sparse(path, pages, [page for page in range(2000) if page % 5])
    wrong: list[int] = []

    def read(start: int) -> None:
        for first in range(start, 1900, 4):
            if not (guest.read_pages(0, first, 100) == expected[first : first + 100]).all():
                wrong.append(first)

    with DumpGuest({"ram": path}) as guest:
        threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize("length", [0, 1, 4095, 4097, 3 * 4096 - 1])
def test_a_length_that_is_no_multiple_of_the_page(tmp_path: Path, length: int) -> None:
    path = tmp_path / "dump.raw"
    path.write_bytes(bytes(length))
    with pytest.raises(WriterError) as caught:
        DumpGuest({"pc.ram": path})
    assert str(path) in str(caught.value)
    assert f"{length} bytes" in str(caught.value)
    assert "4096" in str(caught.value)


@pytest.mark.parametrize("name", ["", "n" * 256, "ü" * 128])
def test_names_that_no_block_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / "dump"
    path.write_bytes(bytes(PAGE))
    with pytest.raises(WriterError, match="1 to 255 bytes"):
        DumpGuest({name: path})


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        DumpGuest({"pc.ram": tmp_path / "none"})
    with pytest.raises(SourceError, match="is not a file or block device"):
        DumpGuest({"pc.ram": tmp_path})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="is not a file or block device"):
        DumpGuest({"pc.ram": tmp_path / "pipe"})
    with pytest.raises(SourceError, match="cannot open"):
        DumpGuest({"pc.ram": "with\0nul"})


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(bytes(PAGE))
    before = open_files()
    with DumpGuest({"a": path, "b": path}):
        assert open_files() == before + 2
    assert open_files() == before
    for broken in ({"a": path, "b": tmp_path / "none"}, {"a": path, "b": tmp_path}):
        with pytest.raises(SourceError):
            DumpGuest(broken)
    assert open_files() == before


@pytest.mark.parametrize("holes", [True, False])
def test_a_dump_that_is_cut_short_meanwhile(tmp_path: Path, holes: bool) -> None:
    path = tmp_path / "dump"
    sparse(path, numbered(100), [0] if holes else list(range(100)))
    with DumpGuest({"ram": path}) as guest:
        os.truncate(path, 50 * PAGE)
        with pytest.raises(SourceError, match=r"ends at 0x32000 now, and had 409600 bytes"):
            guest.read_pages(0, 40, 20)
        with pytest.raises(SourceError, match=r"ends at 0x32000 now"):
            guest.read_pages(0, 60, 20)


@pytest.mark.parametrize(("first", "count"), [(0, 4), (3, 1), (-1, 1), (0, -1)])
def test_pages_that_are_not_there(tmp_path: Path, first: int, count: int) -> None:
    path = tmp_path / "dump"
    path.write_bytes(bytes(3 * PAGE))
    with DumpGuest({"ram": path}) as guest:
        with pytest.raises(ValueError, match=r"not all in 'ram' \(3 pages\)"):
            guest.read_pages(0, first, count)
        with pytest.raises(ValueError, match="not all in"):
            guest.sent(0, first, count)
