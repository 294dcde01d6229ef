"""A walk over a channel that goes on behind damage: at the next packet, and nowhere else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qmig.capture.channel import ChannelWalk, Packet
from qmig.capture.forward_source import ForwardSource
from qmig.capture.records import Record
from qmig.capture.source import FileSource, Source
from qmig.errors import StreamError, TruncatedStreamError
from qmig.faults import Fault
from tests.builders import multifd
from tests.builders.generations import build_set
from tests.builders.walk_multifd import Channel, read_channel

PAGE_LEN = 4096


def built(method: int = multifd.NOCOMP, name: str = "10.0") -> tuple[bytes, Channel, list[int]]:
    """Build a channel; return it, its packets, and where they begin."""
    data = build_set(name, method=method).channels[0]
    channel = read_channel(data)
    offsets, at = [], 25 + len(channel.reserved)
    for packet in channel.packets:
        offsets.append(at)
        at += len(packet.build())
    return data, channel, offsets


def walked(source: Source) -> tuple[list[int], list[Record], list[StreamError]]:
    """Walk over a channel; return where packets begin, all records, and what is wrong."""
    walk = ChannelWalk(source, 0, page_size_len=PAGE_LEN, resync=True)
    items = list(walk.items())
    records = [item for item in items if isinstance(item, Record)]
    return [item.offset for item in items if isinstance(item, Packet)], records, walk.errors


def file_of(data: bytes, folder: Path) -> FileSource:
    path = folder / "channel"
    path.write_bytes(data)
    return FileSource(path)


def pipe_of(data: bytes, folder: Path) -> ForwardSource:
    del folder
    return ForwardSource((data[at : at + 1000] for at in range(0, len(data), 1000)), name="pipe")


@pytest.mark.parametrize("source_of", [file_of, pipe_of])
@pytest.mark.parametrize("name", ["3.1", "5.2", "8.2", "10.0"])
@pytest.mark.parametrize("field_at", [0, 4])
def test_only_the_damaged_packet_is_lost(
    source_of: Callable[[bytes, Path], Source], name: str, field_at: int, tmp_path: Path
) -> None:
    data, _, offsets = built(name=name)
    for lost, offset in enumerate(offsets[:-1]):
        broken = data[: offset + field_at] + b"\xee" + data[offset + field_at + 1 :]
        with source_of(broken, tmp_path) as source:
            found, records, errors = walked(source)
        assert found == offsets[:lost] + offsets[lost + 1 :]
        (error,) = errors
        assert error.offset == offset + field_at
        assert error.fault is (Fault.PACKET_VERSION if field_at else Fault.PACKET_MAGIC)
        ends = [record.offset + record.length for record in records]
        assert [record.offset for record in records] == [0, *ends[:-1]], "records tile the file"
        assert ends[-1] == len(data)


def test_several_damaged_packets(tmp_path: Path) -> None:
    data, _, offsets = built()
    broken = bytearray(data)
    for offset in offsets[2:7:2]:
        broken[offset] ^= 0xFF
    with file_of(bytes(broken), tmp_path) as source:
        found, _, errors = walked(source)
    assert found == [offset for offset in offsets if offset not in offsets[2:7:2]]
    assert [error.offset for error in errors] == offsets[2:7:2]


def test_without_resync_the_walk_ends_at_the_first_damage(tmp_path: Path) -> None:
    data, _, offsets = built()
    broken = data[: offsets[3]] + b"\xee" + data[offsets[3] + 1 :]
    with file_of(broken, tmp_path) as source:
        walk = ChannelWalk(source, 0, page_size_len=PAGE_LEN)
        assert [packet.offset for packet in walk.packets()] == offsets[:3]
        assert walk.error is not None
        assert walk.end_offset == offsets[3]


@pytest.mark.parametrize("wrong_by", [-40, -1, 1, 40])
def test_wrong_length_of_a_payload_is_told_at_its_packet(wrong_by: int, tmp_path: Path) -> None:
    data, channel, offsets = built(multifd.ZSTD)
    index = next(at for at, packet in enumerate(channel.ram_packets()) if packet.normal)
    at = offsets[index] + 20
    size = int.from_bytes(data[at : at + 4], "big")
    broken = data[:at] + (size + wrong_by).to_bytes(4, "big") + data[at + 4 :]
    with file_of(broken, tmp_path) as source:
        found, _, (error,) = walked(source)
    assert found == offsets[:index] + offsets[index + 1 :]
    assert (error.offset, error.fault) == (at, Fault.PACKET_SIZE)
    assert f"{size} bytes" in error.expected


def test_cut_anywhere(tmp_path: Path) -> None:
    data, _, offsets = built()
    for cut in range(offsets[4], offsets[6], 977):
        with file_of(data[:cut], tmp_path) as source:
            found, records, errors = walked(source)
        assert found == [offset for offset in offsets[:7] if offset < cut][: len(found)]
        assert records[-1].offset + records[-1].length == cut
        if cut in offsets:
            assert errors == []
            continue
        (error,) = errors
        assert isinstance(error, TruncatedStreamError)
        assert error.fault is Fault.CHANNEL_CUT


def test_pages_that_hold_a_packet_are_no_packet(tmp_path: Path) -> None:
    """Behind a damaged packet its pages are searched; what looks like a packet there may be one.

    Nothing can tell it from one; but while nothing is damaged, pages are never looked into.
    """
    inner, _, _ = built()
    page = inner[multifd.INIT_LEN :][:PAGE_LEN].ljust(PAGE_LEN, b"\0")
    packet = multifd.Packet(0, 128, 1, PAGE_LEN, ramblock="ram", payload=page, array_len=128)
    data = multifd.init_packet(0) + packet.build() + packet.build()
    with file_of(data, tmp_path) as source:
        found, _, errors = walked(source)
    assert errors == []
    assert found == [multifd.INIT_LEN, multifd.INIT_LEN + len(packet.build())]
