"""The RAM that is read from each fixture is the RAM that QEMU had."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import qmig
from fixtures.catalogue import MANIFEST, TruthRange
from qmig.capture.ram_view import RamBlockView
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture

# What is wrong with the fixtures that are not whole: all that `errors` says, behind the path.
BROKEN = {
    "handmade-ram-hook": (
        "0x00000053 RAM record: flags: expected a record that is not part of an RDMA migration, "
        "found HOOK; what follows is defined by RDMA and cannot be read from a file"
    ),
    "libvirt-12-partial": (
        "0x0017fffa RAM record: expected 8 bytes, found end of data after 6; "
        "the file is cut short, or its save was not finished"
    ),
    "libvirt-12-sparse-partial": (
        "0x04310008 element: expected 1 bytes, found end of data after 0; "
        "the file is cut short, or its save was not finished"
    ),
}

# Blocks of whole fixtures that were never sent: the part of the format that the manifest names for
# it, and the pages that are missing.
NEVER_SENT = {
    "handmade-ram-silent-block": ("ram:never-sent", {"memory-device": 256}),
    "qemu-10.0-shared": ("ram:ignored-block", {"shared-memory": 1024}),
    "qemu-10.0-virtio-mem": ("ram:never-sent", {"0000:00:02.0/plugged0": 4096}),
    "qemu-11.1-mapped-shared": ("ram:ignored-block", {"shared-memory": 1024}),
    "qemu-11.1-shared": ("ram:ignored-block", {"shared-memory": 1024}),
    "qemu-5.2-shared": ("ram:ignored-block", {"shared-memory": 1024}),
    "qemu-7.2-shared": ("ram:ignored-block", {"shared-memory": 1024}),
}

PIECE_LEN = 3_000_001  # reads that begin and end inside pages


def pieces(block: RamBlockView, part: TruthRange) -> Iterator[bytes]:
    for addr in range(part.addr, part.addr + part.length, PIECE_LEN):
        yield block.read(addr, min(PIECE_LEN, part.addr + part.length - addr))


@each_fixture
def test_ram_is_what_qemu_had(name: str, capture_files: CaptureFiles) -> None:
    truth = FIXTURES[name].truth
    if name in BROKEN:
        assert truth is None
        return
    assert truth is not None
    never_sent = NEVER_SENT.get(name, ("", {}))[1]
    with qmig.open_capture(*capture_files(name)) as capture:
        for block_name, block in truth.blocks.items():
            view = capture.ram[block_name]
            compared_len = sum(part.length for part in block.ranges)
            # All of it, but for the window below 1 MiB that pmemsave sees the video memory in.
            assert compared_len >= 0.9 * block.used_length or block_name in never_sent
            assert view.used_length == block.used_length
            for part in block.ranges:
                if block_name in never_sent:
                    found = hashlib.sha256(view.read(part.addr, part.length, missing="zero"))
                else:
                    found = hashlib.sha256()
                    for piece in pieces(view, part):
                        found.update(piece)
                assert found.hexdigest() == part.sha256, f"{block_name} {part.addr:#x}"


@each_fixture
def test_errors_are_those_of_what_is_not_whole(name: str, capture_files: CaptureFiles) -> None:
    files = capture_files(name)
    with qmig.open_capture(*files) as capture:
        expected = [f"{files[0]}: {BROKEN[name]}"] if name in BROKEN else []
        assert [str(error) for error in capture.errors] == expected


@pytest.mark.parametrize("name", BROKEN)
def test_ram_of_what_is_not_whole_is_refused(name: str, capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        with pytest.raises(qmig.StreamError) as caught:
            _ = capture.ram
        assert caught.value is capture.errors[0]
        assert list(capture.partial_ram), "its block list is there"


@each_fixture
def test_pages_that_are_missing_were_never_sent(name: str, capture_files: CaptureFiles) -> None:
    cover, expected = NEVER_SENT.get(name, (None, {}))
    covers = set(FIXTURES[name].covers) & {"ram:never-sent", "ram:ignored-block"}
    with qmig.open_capture(*capture_files(name)) as capture:
        ram = capture.partial_ram if name in BROKEN else capture.ram
        missing = {key: pages for key, view in ram.items() if (pages := view.missing_pages())}
        if name in BROKEN:
            assert missing
            return
        assert missing == expected
        assert covers == ({cover} if cover else set())
        for block_name, pages in missing.items():
            with pytest.raises(qmig.MissingPagesError) as caught:
                ram[block_name].read(0, ram[block_name].used_length)
            assert (caught.value.block, caught.value.addr) == (block_name, 0)
            assert caught.value.length == pages * capture.ram.page_size_len


@each_fixture
def test_blocks_are_those_of_the_truth(name: str, capture_files: CaptureFiles) -> None:
    truth = FIXTURES[name].truth
    with qmig.open_capture(*capture_files(name)) as capture:
        lengths = {block.name: block.used_length for block in capture.blocks}
        assert list(capture.partial_ram) == list(lengths)
        assert sum(lengths.values()) == capture.stream.total_ram_len
        for block_name, block in truth.blocks.items() if truth else ():
            assert lengths[block_name] == block.used_length


def manifest_names() -> set[str]:
    document: dict[str, Any] = json.loads(MANIFEST.read_text())
    return set(document["fixtures"])


@pytest.mark.parametrize(
    "test",
    [
        "test_ram.py::test_ram_is_what_qemu_had",
        "test_ram.py::test_errors_are_those_of_what_is_not_whole",
        "test_tiling.py::test_records_tile_each_file",
        "test_round_trip.py::test_every_record_is_built_again",
        "test_fast_walk.py::test_fast_walk_gives_the_pages_of_the_schema_walk",
    ],
)
def test_every_fixture_of_the_manifest_is_exercised(test: str) -> None:
    here = Path(__file__).parent
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0",
         "-p", "no:cacheprovider", str(here / test)],
        capture_output=True, text=True, check=True, cwd=here.parent.parent,
    )  # fmt: skip
    collected = {line.partition("[")[2].removesuffix("]") for line in listed.stdout.splitlines()}
    assert collected - {""} == manifest_names()


def test_tables_name_fixtures_that_exist() -> None:
    assert manifest_names() >= BROKEN.keys() | NEVER_SENT.keys()
