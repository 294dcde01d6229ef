"""What is taken out of every fixture, against what QEMU said of its memory."""

import hashlib
import json
import re
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.catalogue import Fixture
from qmig.devices.devices import open_devices
from qmig.export.extract import ExtractFormat, ExtractOptions, extract
from qmig.export.layout import Given, Layout
from qmig.export.machine_layout import guest_layout
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture
from tests.extracts import compared_formats

_RANGE: Final = re.compile(r"0x([0-9a-f]+)-0x([0-9a-f]+)")
# Fixtures whose layout nothing in them tells: machines with RAM of their processor's, streams
# made by hand without devices, a libvirt image that was cut short, and a DIMM.
UNKNOWN: Final = re.compile(
    r"handmade-(?!libvirt-big)|qemu-10\.0-(arm|avr|tricore)-|libvirt-12-(sparse-)?partial$|qemu-10\.0-dimm$"
)
# Targets whose registers cores are not written of.
NO_CORE: Final = re.compile(r"-(alpha|m68k|or1k|ppc64|riscv64|s390x|sparc64)-")


def with_truth() -> list[str]:
    return [name for name, fixture in FIXTURES.items() if fixture.truth and fixture.truth.blocks]


@pytest.mark.parametrize("name", with_truth())
def test_blocks_equal_what_qemu_said(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ExtractOptions(holes=True)
    with qmig.open_capture(*capture_files(name)) as capture:
        extract(capture, out, options)
    manifest = json.loads((out / "manifest.json").read_text())
    files = {entry["block"]: entry for entry in manifest["files"]}
    assert {path.name for path in out.iterdir()} == {
        "manifest.json",
        *(entry["file"] for entry in files.values()),
    }
    for entry in files.values():
        data = (out / entry["file"]).read_bytes()
        assert len(data) == entry["length"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    truth = FIXTURES[name].truth
    assert truth is not None
    missing = {entry["block"] for entry in manifest["missing"]}
    compared = 0
    for block, said in truth.blocks.items():
        if block in missing:
            continue
        data = (out / files[block]["file"]).read_bytes()
        assert len(data) == said.used_length
        for item in said.ranges:
            part = data[item.addr : item.addr + item.length]
            assert hashlib.sha256(part).hexdigest() == item.sha256, (block, item.addr)
            compared += 1
    assert compared or missing


@pytest.mark.parametrize("name", with_truth())
def test_every_format_has_what_qemu_said(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    fixture = FIXTURES[name]
    assert fixture.truth is not None
    found = compared_formats(capture_files(name), fixture.truth.blocks, tmp_path)
    expected = {ExtractFormat.BLOCKS}
    if not UNKNOWN.match(name):
        expected |= {ExtractFormat.RAW, ExtractFormat.LIME}
        with qmig.open_capture(*capture_files(name)) as capture:
            cpus = [one for one in open_devices(capture) if one.name == "cpu"]
        if cpus and not cpus[0].undescribed and not NO_CORE.search(name):
            expected.add(ExtractFormat.ELF)
    assert set(found) == expected


@each_fixture
def test_layout_is_known_where_it_can_be(name: str, capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        lengths = {block.name: block.used_length for block in capture.blocks}
        if UNKNOWN.match(name):
            with pytest.raises(qmig.WriterError, match=r"--below-4g|--place|--main-ram"):
                guest_layout(capture)
            return
        layout = guest_layout(capture)
    assert layout.ranges
    for one in layout.ranges:
        assert one.block_addr + one.length <= lengths[one.block]
        assert one.origin
    ends = [one.end_addr for one in layout.ranges]
    starts = [one.start_addr for one in layout.ranges[1:]]
    assert all(end <= start for end, start in zip(ends, starts, strict=False))
    placed = {one.block for one in layout.ranges}
    assert placed | {one.block for one in layout.unplaced} == {n for n, x in lengths.items() if x}


def physical(fixture: Fixture) -> list[tuple[int, int]]:
    """Return the guest-physical ranges that `pmemsave` saved for a fixture's truth."""
    source = fixture.truth.source if fixture.truth else ""
    return [(int(low, 16), int(high, 16)) for low, high in _RANGE.findall(source)]


PHYSICAL: Final = [
    name for name in with_truth() if physical(FIXTURES[name]) and not UNKNOWN.match(name)
]


@pytest.mark.parametrize("name", PHYSICAL)
def test_raw_image_equals_pmemsave(name: str, capture_files: CaptureFiles, tmp_path: Path) -> None:
    fixture = FIXTURES[name]
    assert fixture.truth is not None
    out = tmp_path / "raw"
    with qmig.open_capture(*capture_files(name)) as capture:
        options = ExtractOptions(ExtractFormat.RAW, holes=True)
        layout = extract(capture, out, options).layout
    assert layout is not None
    compared = 0
    for start, end in physical(fixture):
        block, addr = shown(layout, start, end)
        for item in fixture.truth.blocks[block].ranges:
            at = start + item.addr - addr
            if start <= at and at + item.length <= end:
                with out.open("rb") as image:
                    image.seek(at)
                    data = image.read(item.length)
                assert hashlib.sha256(data).hexdigest() == item.sha256
                compared += 1
    assert compared


def shown(layout: Layout, start: int, end: int) -> tuple[str, int]:
    """Return the block that a range of addresses shows, and where it begins in the block."""
    (one,) = (r for r in layout.ranges if r.start_addr <= start and end <= r.end_addr)
    return one.block, one.block_addr + start - one.start_addr


def test_given_layout_is_taken_and_held_against_the_blocks(capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files("qemu-10.0-dimm")) as capture:
        layout = guest_layout(capture, Given(placed={"dimm0": 1 << 32}))
        (dimm,) = (one for one in layout.ranges if one.block == "dimm0")
        assert (dimm.start_addr, dimm.length) == (1 << 32, 4 << 20)
        left = guest_layout(capture, Given(without=["dimm0"]))
        assert "dimm0" in {one.block for one in left.unplaced}
        with pytest.raises(qmig.WriterError, match="would both stand at 0x100000"):
            guest_layout(capture, Given(placed={"dimm0": 1 << 20}))
        with pytest.raises(qmig.WriterError, match="no RAM block 'dimm1'"):
            guest_layout(capture, Given(placed={"dimm1": 1 << 32}, without=["dimm0"]))


def test_numa_nodes_stand_one_behind_the_other(capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files("qemu-10.0-numa")) as capture:
        layout = guest_layout(capture)
        nodes = [(r.start_addr, r.end_addr) for r in layout.ranges if r.block == "node1"]
        assert nodes == [(4 << 20, 8 << 20)]
        turned = guest_layout(capture, Given(main=["node1", "node0"]))
        assert turned.ranges[0].block == "node1"


def test_split_that_contradicts_the_clock_is_refused(capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files("qemu-10.0-file")) as capture:
        with pytest.raises(qmig.WriterError, match="more than the RAM"):
            guest_layout(capture, Given(below_4g_len=5 << 20))
        layout = guest_layout(capture, Given(below_4g_len=3 << 20))
    above = [one for one in layout.ranges if one.start_addr >= 1 << 32]
    assert [(one.start_addr, one.length, one.block_addr) for one in above] == [
        (1 << 32, 1 << 20, 3 << 20)
    ]
    assert "given with --below-4g" in {one.origin for one in layout.ranges}
