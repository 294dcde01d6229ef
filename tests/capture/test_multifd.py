"""Channels of every generation, reassembled by epochs; what is missing is told."""

from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qmig
from qmig.capture.channel import ChannelWalk
from qmig.capture.multifd import adjacent
from qmig.capture.remarks import remarks
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    StreamError,
    UnsupportedStreamError,
)
from tests.builders import multifd, ram
from tests.builders.generations import GENERATIONS, build_set, default_workload
from tests.builders.guest import first_difference
from tests.builders.machine import MainStream
from tests.builders.migration import MigrationSet
from tests.builders.multifd import Layout, Packet

METHODS = {
    "none": multifd.NOCOMP, "zlib": multifd.ZLIB, "zstd": multifd.ZSTD,
    "qpl": multifd.QPL, "uadk": multifd.UADK, "qatzip": multifd.QATZIP,
}  # fmt: skip


def write(made: MigrationSet, folder: Path) -> list[Path]:
    """Write the main stream and the channels as files."""
    files = [folder / "main", *(folder / f"channel{n}" for n in range(len(made.channels)))]
    for path, data in zip(files, (made.main, *made.channels), strict=True):
        path.write_bytes(data)
    return files


def ram_of(capture: qmig.Capture) -> dict[str, bytes]:
    return {name: view.read(0, view.used_length) for name, view in capture.ram.items()}


def can_have(name: str, method: str) -> bool:
    """Tell whether a generation knows a compression method; each row is built without, too."""
    first = {"none": (3, 0), "zlib": (5, 0), "zstd": (5, 0), "qpl": (9, 1), "uadk": (9, 1),
             "qatzip": (9, 2)}  # fmt: skip
    release = tuple(map(int, name.split("-")[0].split(".")))
    return release >= first[method]


ROWS = [(name, method) for name in GENERATIONS for method in METHODS if can_have(name, method)]


@pytest.mark.parametrize(("name", "method"), ROWS)
def test_ram_is_that_of_the_guest(name: str, method: str, tmp_path: Path) -> None:
    made = build_set(name, method=METHODS[method])
    files = write(made, tmp_path)
    with qmig.open_capture(*files[1:], files[0]) as capture:
        assert capture.errors == []
        assert first_difference(made.expected, ram_of(capture)) is None
        assert [channel.walk.counters.syncs for channel in capture.channels] == [made.syncs] * 3
        assert [channel.walk.channel_id for channel in capture.channels] == [0, 1, 2]
        assert name.split("-")[0] in capture.releases
        assert len(capture.releases) < 16


@given(st.lists(st.integers(0, 6).map(lambda page: page * 4096), max_size=10))
def test_adjacent_pages_are_runs_that_cannot_be_longer(addrs: list[int]) -> None:
    runs = list(adjacent(addrs, 4096))
    pages = [page for first, count, _ in runs for page in range(first, first + count)]
    assert [page * 4096 for page in pages] == addrs
    assert [at for *_, at in runs] == [sum(r[1] for r in runs[:n]) for n in range(len(runs))]
    assert all(one[0] + one[1] != other[0] for one, other in pairwise(runs))


def test_every_generation_is_built() -> None:
    assert {name for name, _ in ROWS} == set(GENERATIONS)


@pytest.mark.parametrize("page_size", [256, 1024, 8192, 16384, 65536])
@pytest.mark.parametrize("name", ["4.2", "8.2", "10.0"])
def test_other_page_sizes(name: str, page_size: int, tmp_path: Path) -> None:
    if page_size <= ram.MULTIFD_FLUSH and GENERATIONS[name].flushes:
        page_size = 2048  # a page this small leaves no bit for MULTIFD_FLUSH
    made = build_set(name, page_size=page_size)
    with qmig.open_capture(*write(made, tmp_path)) as capture:
        assert capture.errors == []
        assert first_difference(made.expected, ram_of(capture), page_size) is None


def test_channels_may_come_in_any_order(tmp_path: Path) -> None:
    made = build_set("10.0", method=multifd.ZSTD)
    for files in permutations(write(made, tmp_path)):
        with qmig.open_capture(*files) as capture:
            assert first_difference(made.expected, ram_of(capture)) is None


@pytest.mark.parametrize("name", GENERATIONS)
def test_the_order_of_epochs_matters(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all of a channel in one epoch RAM is wrong: the tests above could fail."""
    made = build_set(name)
    monkeypatch.setattr("qmig.capture.ram_build.order_of", lambda *_: 0)
    with qmig.open_capture(*write(made, tmp_path)) as capture:
        assert first_difference(made.expected, ram_of(capture)) is not None


def test_a_missing_channel_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    made = build_set("10.0")
    files = write(made, tmp_path)
    with qmig.open_capture(*files[:3]) as capture:
        assert any("channel" in remark.text for remark in remarks(capture))
        view = capture.partial_ram["pc.ram"]
        assert 0 < view.missing_pages() < view.used_length // 4096
        with pytest.raises(qmig.MissingPagesError):
            capture.partial_ram["pc.ram"].read(0, view.used_length)


def test_a_missing_main_stream_is_told_and_channels_are_read(tmp_path: Path) -> None:
    made = build_set("10.0")
    with qmig.open_capture(*write(made, tmp_path)[1:]) as capture:
        assert [channel.walk.channel_id for channel in capture.channels] == [0, 1, 2]
        assert capture.errors == []
        assert capture.page_size is not None
        assert (capture.page_size.length, capture.page_size.origin) == (4096, "multifd packets")
        assert any("main stream is missing" in remark.text for remark in remarks(capture))
        with pytest.raises(qmig.SourceError, match="main stream is missing"):
            _ = capture.partial_ram


# -- single packets -------------------------------------------------------------------------------


def main_stream() -> bytes:
    stream = MainStream("10.0", "pc-i440fx-10.0")
    blocks = [ram.BlockEntry("pc.ram", 16 * 4096), ram.BlockEntry("rom", 8192)]
    stream.ram_start(ram.block_list(blocks, tail=ram.multifd_flush() + ram.eos()))
    stream.ram_end(ram.multifd_flush())
    return stream.finish()


def channel(*packets: bytes, layout: Layout = Layout.MULTIFD) -> bytes:
    return multifd.init_packet(0, layout=layout) + b"".join(packets)


def one_page(**changes: Any) -> bytes:  # noqa: ANN401  # Packet's fields
    values: dict[str, Any] = {
        "normal": 1, "ramblock": "pc.ram", "offsets": [4096], "payload": b"\x11" * 4096,
        "next_packet_size": 4096, "array_len": 128, **changes,
    }  # fmt: skip
    return Packet(**values).build()


HEAD = multifd.INIT_LEN
WRONG = {
    "magic": (one_page(magic=0x11223345), HEAD, "magic", MalformedStreamError),
    "version": (one_page(version=2), HEAD + 4, "version", MalformedStreamError),
    "pages_alloc": (one_page(capacity=129), HEAD + 12, "pages_alloc", MalformedStreamError),
    "normal_pages": (one_page(normal=129), HEAD + 16, "normal_pages", MalformedStreamError),
    "zero_pages": (one_page(zero_pages=128), HEAD + 32, "zero_pages", MalformedStreamError),
    "next_packet_size": (
        one_page(flags=multifd.ZLIB, next_packet_size=1 << 30), HEAD + 20, "next_packet_size",
        LimitExceededError,
    ),
    "ramblock": (one_page(ramblock="pc.rom"), HEAD, "ramblock", MalformedStreamError),
    "offset beyond": (one_page(offsets=[16 * 4096]), HEAD, "offset", MalformedStreamError),
    "offset huge": (one_page(offsets=[1 << 63]), HEAD, "offset", MalformedStreamError),
    "offset between": (one_page(offsets=[4097]), HEAD, "offset", MalformedStreamError),
    "method": (
        one_page(flags=0x3E, payload=b"x" * 4096), HEAD, "flags", UnsupportedStreamError,
    ),
    "qpl lengths": (
        one_page(flags=multifd.QPL, payload=b"\0\0\x20\x01" * 1024), HEAD + 1344, "page lengths",
        MalformedStreamError,
    ),
}  # fmt: skip


def errors_of(data: bytes, tmp_path: Path) -> list[StreamError]:
    (tmp_path / "main").write_bytes(main_stream())
    (tmp_path / "channel").write_bytes(data)
    with qmig.open_capture(tmp_path / "main", tmp_path / "channel") as capture:
        return capture.errors


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_in_a_packet_is_located(what: str, tmp_path: Path) -> None:
    packet, offset, field, kind = WRONG[what]
    sync = Packet(flags=multifd.SYNC, capacity=0, array_len=128).build()
    (error,) = errors_of(channel(packet, sync), tmp_path)
    assert type(error) is kind
    assert (error.offset, error.field) == (offset, field)
    assert str(error.path).endswith("channel")
    assert error.record.startswith("multifd channel 0 packet 0")


def test_a_packet_as_it_should_be_is_read(tmp_path: Path) -> None:
    assert errors_of(channel(one_page()), tmp_path) == []
    with qmig.open_capture(tmp_path / "main", tmp_path / "channel") as capture:
        assert capture.ram["pc.ram"].read(4096, 4096) == b"\x11" * 4096


def test_unknown_flag_bits_are_kept_and_read(tmp_path: Path) -> None:
    assert errors_of(channel(one_page(flags=0x80000100)), tmp_path) == []
    with qmig.open_capture(tmp_path / "channel") as capture:
        (packet,) = capture.channels[0].walk.__class__(capture.channel_files[0].source, 0).packets()
        assert packet.flags == 0x80000100
        assert packet.compression == 0
        assert not packet.sync


def test_stale_sizes_of_packets_without_pages_are_not_believed(tmp_path: Path) -> None:
    """5.2 to 7.2 leave the size of an earlier packet there."""
    stale = Packet(flags=multifd.SYNC, next_packet_size=123_456).build()
    assert errors_of(channel(one_page(), stale, one_page(offsets=[0])), tmp_path) == []
    with qmig.open_capture(tmp_path / "main", tmp_path / "channel") as capture:
        assert capture.channels[0].walk.counters.stale_sizes == 1
        assert capture.channels[0].walk.counters.packets == 3


@pytest.mark.parametrize("layout", list(Layout))
def test_a_channel_of_an_initial_packet_alone_is_whole(layout: Layout, tmp_path: Path) -> None:
    assert errors_of(channel(layout=layout), tmp_path) == []
    with qmig.open_capture(tmp_path / "channel") as capture:
        assert capture.channels[0].walk.layout_2018 is (layout is Layout.X_MULTIFD)


def test_device_state_that_is_not_legal_is_located(tmp_path: Path) -> None:
    good = multifd.DeviceStatePacket("dev/vfio", b"state")
    assert errors_of(channel(good.build()), tmp_path) == []
    unterminated = multifd.DeviceStatePacket("x" * 256, b"state").build()
    (error,) = errors_of(channel(unterminated), tmp_path)
    assert (error.offset, error.field) == (HEAD + 12, "idstr")
    for size in (0, 0xFFFFFFFF):
        packet = multifd.DeviceStatePacket("dev", b"state", next_packet_size=size).build()
        (error,) = errors_of(channel(packet), tmp_path)
        assert (error.offset, error.field) == (HEAD + 272, "next_packet_size")


@pytest.mark.parametrize("method", ["zlib", "zstd", "qatzip", "qpl", "uadk"])
def test_a_payload_that_is_damaged_is_told_when_it_is_read(method: str, tmp_path: Path) -> None:
    made = build_set("10.0", method=METHODS[method], channels=1, workload=default_workload())
    files = write(made, tmp_path)
    data = bytearray(files[1].read_bytes())
    with qmig.open_capture(*files) as capture:
        walk = ChannelWalk(capture.channel_files[0].source, 0, page_size_len=4096)
        packets = [packet for packet in walk.packets() if packet.payload_len]
    target = packets[len(packets) // 2]
    start = target.payload_offset + 4 * len(target.normal_pages)
    data[start : start + 60] = b"\xaa" * 60
    files[1].write_bytes(data)
    with qmig.open_capture(*files) as capture:
        with pytest.raises(StreamError) as caught:
            ram_of(capture)
        assert target.payload_offset <= caught.value.offset
        assert str(files[1]) in str(caught.value)
