"""A capture's RAM as a guest: the very pages that the capture gives."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qmig
from qmig.capture.capture import Capture
from qmig.capture.page_index import PageIndex
from qmig.capture.ram_blocks import RecordedBlock
from qmig.capture.ram_view import Ram, RamBlockView
from qmig.capture.source import FileSource
from qmig.errors import TruncatedStreamError
from qmig.memory import PageKind, PageRun, RamBlock
from qmig.migrate.captured import CapturedGuest
from qmig.pages.zero import zero_pages
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture

Pages = np.ndarray[Any, np.dtype[np.uint8]]

STEP_LEN = 1 << 20


def ranges(pages: int, page_size_len: int) -> Iterator[tuple[int, int]]:
    """Yield (first, count) that tile a block, in steps that end inside bytes of a bitmap."""
    step = max(3, STEP_LEN // page_size_len - 3)
    for first in range(0, pages, step):
        yield first, min(step, pages - first)


def content(view: RamBlockView, first: int, count: int) -> Pages:
    """Return what `read` says of pages; behind the end of the block zeros."""
    size = view.page_size_len
    addr = first * size
    data = view.read(addr, min(count * size, view.used_length - addr), missing="zero")
    return np.frombuffer(data.ljust(count * size, b"\0"), np.uint8).reshape(count, size)


def check_blocks(capture: Capture, *, missing_pages: int) -> None:
    ram = capture.partial_ram
    guest = CapturedGuest(ram)
    assert [block.name for block in guest.blocks] == list(ram)
    assert [block.index for block in guest.blocks] == list(range(len(ram)))
    assert guest.page_size_len == ram.page_size_len
    not_sent = 0
    for block, view in zip(guest.blocks, ram.blocks.values(), strict=True):
        for first, count in ranges(block.pages(ram.page_size_len), ram.page_size_len):
            pages = guest.read_pages(block.index, first, count)
            sent = guest.sent(block.index, first, count)
            zero = view.known_zero(first, count)
            assert pages.shape == (count, ram.page_size_len)
            assert (pages == content(view, first, count)).all()
            assert zero_pages(pages)[zero | ~sent].all()
            assert sent[zero].all()
            not_sent += int(np.count_nonzero(~sent))
    assert not_sent == sum(view.missing_pages() for view in ram.blocks.values())
    assert (not_sent == 0) == (missing_pages == 0)


# Fixtures of each way that pages can be stored, and of each reason for which they can be missing.
CHECKED = {
    "qemu-10.0-xbzrle": 0,
    "qemu-5.2-compress-xbzrle": 0,
    "qemu-10.0-mapped-multifd-live": 0,
    "qemu-10.0-exec-gzip": 0,
    "qemu-10.0-multifd-zstd": 0,
    "qemu-10.0-multifd-zero-pages-legacy": 0,
    "qemu-10.0-postcopy-preempt": 0,
    "qemu-10.0-avr-live": 0,
    "qemu-10.0-virtio-mem": 4096,
    "qemu-11.1-mapped-shared": 1024,
    "handmade-ram-fill-byte": 0,
    "handmade-ram-64k-pages": 0,
    "handmade-multifd-qpl": 0,
    "handmade-ram-silent-block": 256,
    "libvirt-12-sparse-partial": 1,
}


@pytest.mark.parametrize("name", CHECKED)
def test_pages_are_those_of_the_capture(name: str, capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        check_blocks(capture, missing_pages=CHECKED[name])


@each_fixture
def test_what_the_manifest_knows_of_blocks(name: str, capture_files: CaptureFiles) -> None:
    """Every fixture makes a guest, with the blocks that QEMU had."""
    truth = FIXTURES[name].truth
    with qmig.open_capture(*capture_files(name)) as capture:
        guest = CapturedGuest(capture.partial_ram)
        lengths = {block.name: block.used_length for block in guest.blocks}
        dirty = guest.take_dirty()
    assert [len(pages) for pages in dirty] == [b.pages(guest.page_size_len) for b in guest.blocks]
    assert not any(pages.any() for pages in dirty)
    assert bool(lengths) or truth is None
    if truth is not None:
        known = {block: truth.blocks[block].used_length for block in truth.blocks}
        assert known.items() <= lengths.items()


def test_ranges_of_known_zeros_are_not_read(
    capture_files: CaptureFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with qmig.open_capture(*capture_files("qemu-10.0-ordinary")) as capture:
        guest = CapturedGuest(capture.ram)
        view = next(iter(capture.ram.blocks.values()))
        known = view.known_zero(0, guest.blocks[0].pages(guest.page_size_len))
        first = int(np.flatnonzero(known[:-1] & known[1:])[0])

        def read(out: Pages, first: int, *, missing: str) -> None:
            raise AssertionError(f"page {first} and {len(out) - 1} more were read, {missing}")

        monkeypatch.setattr(view, "read_pages_into", read)
        assert zero_pages(guest.read_pages(0, first, 2)).all()
        beside = int(np.flatnonzero(~known)[0])
        with pytest.raises(AssertionError, match="were read"):
            guest.read_pages(0, beside, 1)


def test_a_change_of_a_zero_page_is_no_zero_page(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"\x05\x01\xee" + b"\xaa")
    index = PageIndex()
    index.add(
        [
            PageRun(0, PageKind.ZERO, 0, 4, -1, 9, 0),
            PageRun(0, PageKind.XBZRLE, 2, 1, 0, 3, 3),
            PageRun(0, PageKind.FILL, 4, 1, 3, 9, 1),
        ]
    )
    index.finish()
    block = RamBlock(0, "ram", 6 * 4096, 0)
    with FileSource(tmp_path / "source") as source:
        view = RecordedBlock(block, 4096, index=index, sources=[source], reason="")
        guest = CapturedGuest(Ram({"ram": view}, 4096))
        assert view.known_zero(0, 6).tolist() == [True, True, False, True, False, False]
        assert guest.sent(0, 0, 6).tolist() == [True] * 5 + [False]
        assert guest.read_pages(0, 2, 1).tobytes() == bytes(5) + b"\xee" + bytes(4090)
        assert guest.read_pages(0, 4, 2).tobytes() == b"\xaa" * 4096 + bytes(4096)


def test_arrays_that_are_held_do_not_change(capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files("qemu-10.0-live")) as capture:
        guest = CapturedGuest(capture.ram)
        spans = list(ranges(guest.blocks[0].pages(guest.page_size_len), guest.page_size_len))
        held = [guest.read_pages(0, first, count) for first, count in spans]
        view = next(iter(capture.ram.blocks.values()))
        for pages, (first, count) in zip(held, spans, strict=True):
            assert (pages == content(view, first, count)).all()


@pytest.mark.parametrize(
    "name", ["qemu-10.0-live", "qemu-10.0-mapped-live", "qemu-10.0-multifd-zlib"]
)
def test_threads_read_at_once(name: str, capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        guest = CapturedGuest(capture.ram)
        view = next(iter(capture.ram.blocks.values()))
        pages = guest.blocks[0].pages(guest.page_size_len)
        expected = content(view, 0, pages)
        wrong: list[int] = []

        def read(start: int) -> None:
            for first in range(start, pages - 64, 61):
                if not (guest.read_pages(0, first, 64) == expected[first : first + 64]).all():
                    wrong.append(first)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize("name", ["qemu-10.0-ordinary", "qemu-10.0-mapped-plain"])
def test_a_capture_that_is_cut_short_meanwhile(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (whole,) = capture_files(name)
    path = tmp_path / "capture"
    shutil.copyfile(whole, path)
    with qmig.open_capture(path) as capture:
        guest = CapturedGuest(capture.ram)
        view = next(iter(capture.ram.blocks.values()))
        known = view.known_zero(0, guest.blocks[0].pages(guest.page_size_len))
        last = int(np.flatnonzero(~known)[-1])
        before = guest.read_pages(0, last, 1).tobytes()
        assert before.strip(b"\0")
        os.truncate(path, path.stat().st_size // 4 if "mapped" in name else 4096)
        with pytest.raises(TruncatedStreamError, match="changed while it was read"):
            guest.read_pages(0, last, 1)


def test_pages_that_are_not_there(capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files("qemu-10.0-ordinary")) as capture:
        guest = CapturedGuest(capture.ram)
        pages = guest.blocks[0].pages(guest.page_size_len)
        for first, count in ((pages, 1), (-1, 1), (0, pages + 1), (3, -1)):
            with pytest.raises(ValueError, match="not all in"):
                guest.read_pages(0, first, count)
            with pytest.raises(ValueError, match="not all in"):
                guest.sent(0, first, count)
