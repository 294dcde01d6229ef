"""Packets read straight from their bytes are those that are read through their schemas."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qmig
from qmig.capture.channel import ChannelCounters, ChannelWalk, Packet
from qmig.capture.container import Role
from qmig.capture.records import Opaque
from qmig.capture.source import Source
from qmig.errors import LimitExceededError, SourceError
from qmig.faults import Fault
from tests.builders import multifd
from tests.builders.generations import GENERATIONS, build_set
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.sources import BytesSource, OverlaySource, forward_source

PAGE_LEN = 4096
METHODS = {name: [multifd.NOCOMP] for name in GENERATIONS} | {
    name: [multifd.NOCOMP, multifd.ZLIB, multifd.ZSTD] for name in ("5.2", "7.2", "8.2", "10.0")
}
SETS = [(name, method) for name, methods in METHODS.items() for method in methods]
FLAGS_AT = 11  # their low byte in a packet
HEAD_LEN = 320  # of a packet of 4.0 and later
WITH_CHANNELS = [
    name for name, fixture in FIXTURES.items() if any(f.role == "channel" for f in fixture.files)
]

Seen = tuple[list[Packet], list[tuple[int, int]], ChannelCounters, list[str], int, int, int]


def walked(walk: ChannelWalk, *, briefly: bool) -> tuple[Seen, int]:
    """Walk; return all that a walk tells, and how many records it made."""
    items = list(walk.items(briefly=briefly))
    packets = [item for item in items if isinstance(item, Packet)]
    damage = [(item.offset, item.length) for item in items if isinstance(item, Opaque)]
    errors = [str(error) for error in walk.errors]
    seen = (packets, damage, walk.counters, errors, walk.index, walk.packet_offset, walk.end_offset)
    return seen, len(items) - len(packets)


def assert_same(source: Source, start: int, size: int | None) -> tuple[int, int]:
    """Walk over a channel in both ways; return the number of packets and of records saved."""
    packets = saved = 0
    for resync in (False, True):
        whole, records = walked(
            ChannelWalk(source, start, page_size_len=size, resync=resync), briefly=False
        )
        brief, fewer = walked(
            ChannelWalk(source, start, page_size_len=size, resync=resync), briefly=True
        )
        assert brief == whole
        packets += len(whole[0])
        saved += records - fewer
    return packets, saved


@cache
def channel(name: str, method: int) -> bytes:
    return build_set(name, method=method).channels[1]


def packet_offsets(data: bytes) -> list[int]:
    source = BytesSource(data)
    return [packet.offset for packet in ChannelWalk(source, 0, page_size_len=PAGE_LEN).packets()]


@pytest.mark.parametrize("name", WITH_CHANNELS)
def test_every_fixture(name: str, capture_files: CaptureFiles) -> None:
    channels = 0
    with qmig.open_capture(*capture_files(name), keep_all=True) as capture:
        size = capture.page_size.length if capture.page_size else None
        for container in capture.files:
            if container.role is Role.CHANNEL:
                assert_same(container.source, container.stream_offset, size)
                channels += 1
    assert channels > 0


@pytest.mark.parametrize("size", [None, PAGE_LEN])
@pytest.mark.parametrize(("name", "method"), SETS)
def test_every_generation(name: str, method: int, size: int | None) -> None:
    packets, saved = assert_same(BytesSource(channel(name, method)), 0, size)
    if name.startswith("3."):
        assert saved == 0
    elif size is not None and not name.startswith("4."):  # 4.x counts none in next_packet_size
        assert saved >= 2 * packets
    else:
        assert saved > 0


@pytest.mark.parametrize(("name", "method"), SETS)
def test_from_a_pipe(name: str, method: int) -> None:
    data = channel(name, method)
    seen = []
    for briefly in (False, True):
        walk = ChannelWalk(forward_source(data, 1000), 0, page_size_len=PAGE_LEN, resync=True)
        seen.append(walked(walk, briefly=briefly)[0])
    assert seen[0] == seen[1]


def test_a_pipe_keeps_the_payload_of_the_last_packet_alone() -> None:
    data = channel("10.0", multifd.ZSTD)
    walk = ChannelWalk(forward_source(data, 1000), 0, page_size_len=PAGE_LEN)
    end = 0
    for packet in walk.packets():
        start, length = packet.payload_offset, packet.payload_len
        assert walk.source.read_at(start, length) == data[start : start + length]
        if packet.index > 0:
            with pytest.raises(SourceError, match="has gone by"):
                walk.source.read_at(end - 1, 1)
        end = start + length


def with_packets(*packets: multifd.Packet) -> bytes:
    """Return a channel of 10.0 with packets behind its own."""
    return channel("10.0", multifd.ZSTD) + b"".join(packet.build() for packet in packets)


def test_a_payload_longer_than_any_is_left_to_the_schema() -> None:
    room = multifd.Packet(flags=multifd.ZSTD, normal=1, next_packet_size=3 << 20, offsets=[0],
                          payload=bytes(3 << 20), ramblock="pc.ram")  # fmt: skip
    source = BytesSource(with_packets(room, multifd.Packet(flags=multifd.SYNC)))
    assert_same(source, 0, PAGE_LEN)
    walk = ChannelWalk(source, 0, page_size_len=PAGE_LEN)
    assert len(list(walk.packets())) == walk.index > 0
    assert isinstance(walk.error, LimitExceededError)


def test_a_changed_method_is_left_to_the_schema() -> None:
    plain = multifd.Packet(normal=1, next_packet_size=0, offsets=[0], payload=bytes(PAGE_LEN),
                           ramblock="pc.ram")  # fmt: skip
    source = BytesSource(with_packets(plain, multifd.Packet(flags=multifd.SYNC)))
    assert_same(source, 0, PAGE_LEN)
    walk = ChannelWalk(source, 0, page_size_len=PAGE_LEN, resync=True)
    assert list(walk.packets())
    assert [error.fault for error in walk.errors] == [Fault.PACKET_METHOD_CHANGED]


def test_device_state_is_left_to_the_schema() -> None:
    whole = BytesSource(channel("10.0", multifd.NOCOMP))
    for offset in packet_offsets(whole.data):
        source = OverlaySource(whole, changed={offset + FLAGS_AT: multifd.DEVICE_STATE})
        assert_same(source, 0, PAGE_LEN)


BROKEN = [("4.2", multifd.NOCOMP), ("7.2", multifd.ZLIB), ("8.2", multifd.NOCOMP),
          ("10.0", multifd.NOCOMP), ("10.0", multifd.ZSTD)]  # fmt: skip
COUNTS_AT = (
    FLAGS_AT,
    15,
    19,
    22,
    23,
    31,
    35,
)  # low bytes: flags, counts, next_packet_size, numbers


@settings(max_examples=400)
@given(st.data())
def test_damaged_headers_and_cuts(data: st.DataObject) -> None:
    whole = channel(*data.draw(st.sampled_from(BROKEN)))
    offset = data.draw(st.sampled_from(packet_offsets(whole)))
    within = st.sampled_from(COUNTS_AT) | st.integers(0, HEAD_LEN + 64)
    at = offset + data.draw(within)
    value = data.draw(st.sampled_from([0, 1, 2, 0x40, 0x80, 0xFF]) | st.integers(0, 255))
    near = st.integers(max(0, offset - 16), min(len(whole), offset + HEAD_LEN + PAGE_LEN))
    cut = data.draw(st.none() | st.none() | st.sampled_from(packet_offsets(whole)) | near)
    size = data.draw(st.sampled_from([PAGE_LEN, PAGE_LEN, None, 8192]))
    changed = {at: value} if at < len(whole) else {}
    assert_same(OverlaySource(BytesSource(whole), cut=cut, changed=changed), 0, size)
