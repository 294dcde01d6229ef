"""What a real QEMU wrote of a stopped guest is written again to the byte.

A fixture is in the first test by a rule over the manifest; each one that the rule leaves out is in
another test, which holds that it differs, and by no more than the reason says.
"""

import filecmp
import struct
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.catalogue import Fixture
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.migrate.saved import devices, in_order, page_size, ram_by_qmig, release
from tests.oracle_channel import walk_channel
from tests.unwrap import unwrap

SYNC: Final = 0x1
AROUND_PAGES_LEN: Final = 256 << 10  # device state, vmdescription and bitmaps
# Capability or parameter -> why an output is not the same to the byte.
REASONS: Final = {
    "compress": "what compress threads gave is not compressed again unless it is asked for",
    "postcopy-ram": "ADVISE and its page sizes are for a live connection, and left out",
    "x-colo": "ENABLE_COLO is for a live connection, and left out",
    "zero-page-detection": "zero pages that were written whole are found",
    "x-ignore-shared": "a mapped-ram output holds all RAM, so it records no x-ignore-shared",
}
# These may queue the page that fills a packet once more, for the next one.
REPEATING: Final = ("5.2", "7.2")
# libvirt's formats whose compressors are not the same programs as ours.
OTHER_COMPRESSORS: Final = ("xz", "lzop", "zstd")


def reason(fixture: Fixture) -> str | None:
    """Say why the output for a fixture may differ from it; None: it may not."""
    capabilities = {name for name, on in fixture.capabilities.items() if on}
    if fixture.parameters.get("zero-page-detection") == "none":
        return REASONS["zero-page-detection"]
    for name in ("compress", "postcopy-ram", "x-colo"):
        if name in capabilities:
            return REASONS[name]
    if {"x-ignore-shared", "mapped-ram"} <= capabilities:
        return REASONS["x-ignore-shared"]
    return None


def fixtures(origin: str, roles: set[str]) -> list[str]:
    return [
        name
        for name, fixture in FIXTURES.items()
        if fixture.origin == origin
        and fixture.guest == "stopped"
        and {file.role for file in fixture.files} == roles
    ]


def output_format(fixture: Fixture) -> str:
    return "mapped-ram" if fixture.capabilities.get("mapped-ram") else "stream"


BARE: Final = fixtures("qemu", {"main"})
SAME: Final = [name for name in BARE if reason(FIXTURES[name]) is None]
DIFFERENT: Final = [name for name in BARE if reason(FIXTURES[name]) is not None]
WRAPPED: Final = fixtures("qemu", {"container"})
SETS: Final = fixtures("qemu", {"main", "channel"})
IMAGES: Final = [n for n in fixtures("libvirt", {"container"}) if not n.endswith("partial")]
REFUSED: Final = "qemu-11.1-mapped-shared"


def test_the_rule_leaves_much() -> None:
    releases = Counter(release(FIXTURES[name]) for name in SAME)
    assert {"3.1", "4.2", "5.2", "7.2", "8.2", "9.2", "10.0", "10.1", "11.1"} <= set(releases)
    assert sum(releases.values()) > 3 * len(DIFFERENT)


@pytest.mark.parametrize("name", SAME)
def test_file_is_the_same(name: str, capture_files: CaptureFiles, tmp_path: Path) -> None:
    (path,) = capture_files(name)
    out = tmp_path / "out"
    qmig.save(path, out, format=output_format(FIXTURES[name]))
    assert filecmp.cmp(path, out, shallow=False)


@pytest.mark.parametrize("name", [n for n in SAME if FIXTURES[n].capabilities.get("mapped-ram")])
def test_mapped_ram_is_the_same_by_threads(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files(name)
    out = tmp_path / "out"
    counters = qmig.save(path, out, channels=4)
    assert filecmp.cmp(path, out, shallow=False)
    pages_len = counters.normal * page_size(FIXTURES[name])
    assert out.stat().st_blocks * 512 <= pages_len + AROUND_PAGES_LEN, "holes stay holes"


@pytest.mark.parametrize("name", [n for n in DIFFERENT if n != REFUSED])
def test_file_that_differs_has_the_same_content(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files(name)
    out = tmp_path / "out"
    qmig.save(path, out, format=output_format(FIXTURES[name]))
    assert not filecmp.cmp(path, out, shallow=False), "it belongs to those that are the same"
    assert ram_by_qmig([out]) == ram_by_qmig([path])
    size = page_size(FIXTURES[name])
    assert devices(out, size) == devices(path, size)


def test_shared_memory_that_was_not_saved_is_asked_for(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files(REFUSED)
    with pytest.raises(qmig.WriterError, match=r"'shared-memory'.*--ram"):
        qmig.save(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", WRAPPED)
def test_stream_inside_a_file_is_the_same(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """Compressed ones give the stream itself; at an offset, only mapped-ram's offsets move."""
    (path,) = capture_files(name)
    out = tmp_path / "out"
    qmig.save(path, out, format=output_format(FIXTURES[name]))
    wrapped = unwrap(path)
    if wrapped.codec is not None:
        assert out.read_bytes() == bytes(wrapped.data)[wrapped.stream_offset :]
        return
    assert wrapped.stream_offset
    assert ram_by_qmig([out]) == ram_by_qmig([path])
    size = page_size(FIXTURES[name])
    assert devices(out, size) == devices(path, size)


@pytest.mark.parametrize("name", IMAGES)
def test_libvirt_image_of_a_stopped_guest(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files(name)
    out = tmp_path / "out"
    with qmig.open_capture(path) as capture:
        assert capture.main is not None
        assert capture.main.libvirt is not None
        kind = capture.main.libvirt.format_name
        qmig.save(capture, out, format=output_format(FIXTURES[name]), libvirt=kind)
    if kind in OTHER_COMPRESSORS:
        before, after = unwrap(path), unwrap(out)
        assert bytes(after.data) == bytes(before.data)
        assert out.read_bytes()[: after.wrapper_len] == path.read_bytes()[: before.wrapper_len]
    else:
        assert filecmp.cmp(path, out, shallow=False)


@pytest.mark.parametrize("name", SETS)
def test_multifd_set(name: str, capture_files: CaptureFiles, tmp_path: Path) -> None:
    """The main stream is the same; which channel takes which packet is not determined."""
    fixture = FIXTURES[name]
    paths = in_order(fixture, capture_files(name))
    channels = len(paths) - 1
    out = tmp_path / "out"
    generation = release(fixture)
    qmig.save(paths, out, format="multifd", channels=channels, generation=generation)
    written = [out, *(tmp_path / f"out.ch{channel}" for channel in range(channels))]
    assert filecmp.cmp(paths[0], out, shallow=False)
    if channels == 1 and float(generation) >= 10:  # older ones leave stale bytes in their packets
        assert filecmp.cmp(paths[1], written[1], shallow=False)
    assert ram_by_qmig(written) == ram_by_qmig(paths)
    size = page_size(fixture)
    ours, theirs = Packets(written[1:], size), Packets(paths[1:], size)
    assert ours.pages == theirs.pages
    assert ours.syncs == theirs.syncs
    assert ours.filled.total() == theirs.filled.total()
    assert ours.repeated == 0
    if theirs.repeated:
        assert generation in REPEATING
        assert theirs.repeated <= theirs.full
    else:
        assert ours.filled == theirs.filled


class Packets:
    """What the packets of some channels hold.

    Attributes:
        filled: how many packets there are with so many pages, and zero pages.
        syncs: SYNC packets of each channel; up to 8.2 SYNC rides on whatever packet leaves next.
        pages: block and address of each page.
        repeated: how many pages were in more than one packet.
        full: how many packets had no room left.
    """

    def __init__(self, channels: list[Path], size: int) -> None:
        self.filled: Counter[tuple[int, int]] = Counter()
        self.syncs: list[int] = []
        pages: Counter[tuple[bytes, int]] = Counter()
        for path in channels:
            data = path.read_bytes()
            _, packets, end = walk_channel(data, size)
            assert end == len(data)
            self.syncs.append(sum(packet.flags & SYNC for packet in packets))
            for packet in packets:
                count = packet.normal + packet.zero
                if count:
                    self.filled[packet.normal, packet.zero] += 1
                at = packet.offset + packet.header_len
                name = data[at - 256 : at].rstrip(b"\0")
                pages.update((name, addr) for addr in struct.unpack_from(f">{count}Q", data, at))
        self.pages = set(pages)
        self.repeated = pages.total() - len(pages)
        most = 0x80000 // size
        self.full = sum(n for (normal, zero), n in self.filled.items() if normal + zero == most)


def test_one_channel_sets_are_recorded() -> None:
    one = [name for name in SETS if len(FIXTURES[name].files) == 2]
    assert one == ["qemu-10.0-multifd-one-channel", "qemu-11.1-multifd-one-channel"]
