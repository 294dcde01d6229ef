"""What is written of memory, from where it stands and read: the same bytes, and no zeros."""

import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import qmig
from qmig.capture.capture import Capture
from qmig.capture.plain_ram import plain_ram
from qmig.export.content import UNIT_LEN, ContentSource
from qmig.export.plain_content import PlainContent
from qmig.export.read_content import ReadContent
from tests.builders import ram
from tests.builders.machine import MainStream
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture

# Pages stand in one file as they are, each once: streams and mapped-ram files of stopped guests.
PLAIN: Final = (
    "qemu-10.0-ordinary",
    "qemu-10.0-mapped-plain",
    "qemu-10.0-mapped-zero-pages-none",
    "qemu-10.0-zero-pages-none",
    "qemu-10.0-aarch64-stopped",
    "qemu-10.0-alpha-mapped",  # pages of 8 KiB
    "libvirt-12-raw",
    "libvirt-12-sparse",
)
NOT_PLAIN: Final = (
    "qemu-10.0-xbzrle",
    "qemu-10.0-multifd-zstd",
    "qemu-10.0-exec-gzip",
    "qemu-10.0-shared",
    "libvirt-12-zstd",
)


def joined(content: ContentSource, block: str, addr: int, length: int) -> bytes:
    """Put the content of a range together, and hold it against what is promised of it."""
    made = bytearray(length)
    at = addr
    for piece in content.contents(block, addr, length):
        assert piece.addr == at
        at += piece.length
        behind = piece.addr
        for run in piece.runs:
            assert run.addr >= behind
            data = b"".join(run.buffers)
            assert data
            behind = run.addr + len(data)
            assert behind <= at
            made[run.addr - addr : behind - addr] = data
            for unit in range(-run.addr % UNIT_LEN, len(data) - UNIT_LEN + 1, UNIT_LEN):
                assert any(data[unit : unit + UNIT_LEN])
    assert at == addr + length
    return bytes(made)


def ranges(length: int) -> Iterator[tuple[int, int]]:
    chosen = random.Random(length)  # noqa: S311  # any few will do
    yield 0, length
    for _ in range(6):
        low = chosen.randrange(length)
        yield low, chosen.randrange(min(length - low, 1 << 20)) + 1


@each_fixture
def test_both_ways_give_what_a_read_gives(name: str, capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        capture.keep_items = True
        plain = plain_ram(capture)
        assert plain is not None or name not in PLAIN
        assert plain is None or name not in NOT_PLAIN
        if capture.errors:
            assert plain is None
        memory = capture.partial_ram
        ways: list[ContentSource] = [ReadContent(memory, holes=True)]
        if plain is not None and plain.page_size_len == UNIT_LEN:
            ways.append(PlainContent(plain))
        for view in memory.values():
            for addr, length in ranges(view.used_length) if view.used_length else ():
                expected = view.read(addr, length, missing="zero")
                for way in ways:
                    assert joined(way, view.name, addr, length) == expected


def test_most_fixtures_of_stopped_guests_need_no_reading() -> None:
    assert set(PLAIN) | set(NOT_PLAIN) <= set(FIXTURES)


def opened(path: Path, records: bytes, *, pages: int = 4) -> Capture:
    made = MainStream("10.0", "none")
    made.ram_start(ram.block_list([ram.BlockEntry("ram", pages * 4096)]))
    made.ram_part(records)
    made.ram_end()
    path.write_bytes(made.finish())
    capture = qmig.open_capture(path)
    capture.keep_items = True
    return capture


def page(value: int) -> bytes:
    return bytes([value]) * 4096


def test_pages_that_come_again_are_left_to_the_reader(tmp_path: Path) -> None:
    first = b"".join(ram.page(number * 4096, page(number + 1), "ram") for number in range(4))
    for more in (ram.page(4096, page(9), "ram"), ram.zero(0, "ram"), ram.zero(0, "ram", fill=7)):
        with opened(tmp_path / "stream", first + more) as capture:
            assert plain_ram(capture) is None
    with opened(tmp_path / "stream", first) as capture:
        assert plain_ram(capture) is not None


def test_pages_that_never_came_are_left_to_the_reader(tmp_path: Path) -> None:
    records = b"".join(ram.page(number * 4096, page(number + 1), "ram") for number in range(3))
    with opened(tmp_path / "stream", records) as capture:
        assert plain_ram(capture) is None


def test_zeros_are_looked_for_where_nobody_did(tmp_path: Path) -> None:
    """Pages of zeros among others in a block of which no page is said to be zero."""
    contents = [page(1), page(0), bytes(8) + page(2)[8:], page(0)]
    records = b"".join(ram.page(number * 4096, data, "ram") for number, data in enumerate(contents))
    with opened(tmp_path / "stream", records) as capture:
        plain = plain_ram(capture)
        assert plain is not None
        (piece,) = PlainContent(plain).contents("ram", 0, 4 * 4096)
        assert [(run.addr, b"".join(run.buffers)) for run in piece.runs] == [
            (0, page(1)),
            (2 * 4096, contents[2]),
        ]


def test_file_that_was_cut_meanwhile_is_an_error(tmp_path: Path) -> None:
    """The kernel is given bytes that are gone: it says so, and nobody is killed."""
    from qmig.migrate.output import AtomicFile

    records = b"".join(
        ram.page(number * 4096, page(number % 250 + 1), "ram") if number else ram.zero(0, "ram")
        for number in range(64)
    )
    with opened(tmp_path / "stream", records, pages=64) as capture:
        plain = plain_ram(capture)
        assert plain is not None
        (piece,) = PlainContent(plain).contents("ram", 0, 64 * 4096)
        with (tmp_path / "stream").open("rb+") as file:
            file.truncate(4096)
        with (
            AtomicFile(tmp_path / "out", durable=False) as out,
            pytest.raises(qmig.OutputError, match="cut short meanwhile"),
        ):
            out.pwritev(piece.runs[0].buffers, 0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["qemu-10.0-mapped-plain", "libvirt-12-sparse", "qemu-10.0-ordinary"]
)
def test_what_a_decompressor_gives_is_read(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """The bitmaps of a mapped-ram file have gone by when it is asked where its pages are."""
    (path,) = capture_files(name)
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    made = qmig.extract(packed, tmp_path / "packed")
    expected = qmig.extract(path, tmp_path / "plain")
    assert [file.sha256 for file in made.files] == [file.sha256 for file in expected.files]
    assert made.files
