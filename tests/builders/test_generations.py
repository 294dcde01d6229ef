"""Whole migrations: right by epochs, wrong without, and each generation's marks in place."""

import pytest

from tests.builders import multifd, ram, walk_main
from tests.builders.generations import GENERATIONS, build_set
from tests.builders.guest import first_difference
from tests.builders.migration import MigrationSet
from tests.builders.multifd import Packet
from tests.builders.sender import zeros_last
from tests.builders.walk_multifd import Channel, read_channel

BEFORE_9 = [name for name in GENERATIONS if not GENERATIONS[name].separate_sync]
FROM_9 = [name for name in GENERATIONS if GENERATIONS[name].separate_sync]
COMPRESSING = [name for name in GENERATIONS if name[:2] not in ("3.", "4.")]


@pytest.fixture(scope="module")
def sets() -> dict[str, MigrationSet]:
    return {name: build_set(name) for name in GENERATIONS}


def read(migration: MigrationSet) -> tuple[walk_main.MainStream, list[Channel]]:
    page_size = migration.page_size
    stream = walk_main.MainReader(migration.main, page_size=page_size).read()
    return stream, [read_channel(data, page_size) for data in migration.channels]


def packets_of(channels: list[Channel]) -> list[Packet]:
    return [packet for channel in channels for packet in channel.ram_packets()]


@pytest.mark.parametrize("name", GENERATIONS)
def test_reading_by_epochs_gives_what_was_sent(name: str, sets: dict[str, MigrationSet]) -> None:
    stream, channels = read(sets[name])
    assert stream.rebuilt == sets[name].main
    assert [channel.build() for channel in channels] == list(sets[name].channels)
    found = walk_main.final_ram(stream, channels).contents()
    assert first_difference(sets[name].expected, found) is None


@pytest.mark.parametrize("name", GENERATIONS)
def test_reading_without_epochs_gives_something_else(
    name: str, sets: dict[str, MigrationSet]
) -> None:
    stream, channels = read(sets[name])
    for order in (channels, channels[::-1], [*channels[1:], channels[0]]):
        found = walk_main.ram_without_epochs(stream, order).contents()
        assert first_difference(sets[name].expected, found) is not None


@pytest.mark.parametrize("name", GENERATIONS)
def test_no_page_stays_on_one_channel(name: str, sets: dict[str, MigrationSet]) -> None:
    """Most pages that are sent in several epochs change the channel."""
    _, channels = read(sets[name])
    carriers: dict[tuple[bytes, int], set[int]] = {}
    for channel in channels:
        for packet in channel.ram_packets():
            for addr in packet.offsets[: packet.normal]:
                assert isinstance(packet.ramblock, bytes)  # a reader leaves no name to be padded
                key = (packet.ramblock[:16], addr)
                carriers.setdefault(key, set()).add(channel.channel_id)
    assert sum(len(seen) > 1 for seen in carriers.values()) > 50


@pytest.mark.parametrize("name", GENERATIONS)
def test_syncs_and_markers_are_as_many_as_told(name: str, sets: dict[str, MigrationSet]) -> None:
    migration = sets[name]
    stream, channels = read(migration)
    for channel in channels:
        assert sum(packet.flags & multifd.SYNC for packet in channel.ram_packets()) == (
            migration.syncs
        )
    kinds = [record.kind for section in stream.ram_sections for record in section.records]
    flushes = kinds.count(ram.MULTIFD_FLUSH)
    assert migration.markers == (flushes or kinds.count(ram.EOS))
    assert bool(flushes) == GENERATIONS[name].flushes
    extra = 1 if name in ("9.1", "9.2") else 0
    assert migration.syncs == migration.markers + extra


@pytest.mark.parametrize("name", GENERATIONS)
def test_arrival_is_not_the_order_of_ids(name: str, sets: dict[str, MigrationSet]) -> None:
    _, channels = read(sets[name])
    assert [channel.channel_id for channel in channels] == [1, 2, 0]


@pytest.mark.parametrize("name", FROM_9)
def test_packet_numbers_have_no_gap_from_9_on(name: str, sets: dict[str, MigrationSet]) -> None:
    _, channels = read(sets[name])
    numbers = [packet.packet_num for packet in packets_of(channels)]
    assert sorted(numbers) == list(range(len(numbers)))
    syncs = [packet for packet in packets_of(channels) if packet.flags & multifd.SYNC]
    assert {packet.flags for packet in syncs} == {multifd.SYNC}
    assert {packet.normal + packet.zero_pages for packet in syncs} == {0}
    assert {packet.capacity for packet in syncs} == {128 if name == "9.1" else 0}


@pytest.mark.parametrize("name", [name for name in BEFORE_9 if name != "4.2"])
def test_sync_travels_with_pages_up_to_8_2(name: str, sets: dict[str, MigrationSet]) -> None:
    _, channels = read(sets[name])
    merged = [packet for packet in packets_of(channels) if packet.flags & multifd.SYNC]
    assert any(packet.normal for packet in merged)
    numbers = [packet.packet_num for packet in packets_of(channels)]
    assert len(set(numbers)) < len(numbers)
    assert max(numbers) >= len(set(numbers))


@pytest.mark.parametrize("name", ["4.2", "4.2-merged"])
def test_4_2_sends_batches_again(name: str, sets: dict[str, MigrationSet]) -> None:
    _, channels = read(sets[name])
    for channel in channels:
        packets = channel.ram_packets()
        first = next(index for index, packet in enumerate(packets) if packet.normal)
        assert all(packet.normal for packet in packets[first:])
        assert channel.reserved != bytes(39)


@pytest.mark.parametrize("name", ["5.2", "7.2"])
def test_empty_packets_keep_a_stale_size(name: str, sets: dict[str, MigrationSet]) -> None:
    _, channels = read(sets[name])
    empty = [packet for packet in packets_of(channels) if not packet.normal]
    assert any(packet.next_packet_size for packet in empty)
    assert not any(packet.payload for packet in empty)


@pytest.mark.parametrize("name", ["8.2", "8.2-flush-each", "9.2", "10.0"])
def test_empty_packets_have_no_size_later(name: str, sets: dict[str, MigrationSet]) -> None:
    _, channels = read(sets[name])
    empty = [packet for packet in packets_of(channels) if not packet.normal]
    assert not any(packet.next_packet_size for packet in empty)


@pytest.mark.parametrize("name", ["5.2", "7.2"])
def test_a_page_at_a_boundary_is_sent_twice(name: str, sets: dict[str, MigrationSet]) -> None:
    _, channels = read(sets[name])
    full = {
        packet.offsets[-1] for packet in packets_of(channels) if packet.normal == packet.capacity
    }
    assert any(
        packet.offsets[0] in full and packet.normal < packet.capacity
        for packet in packets_of(channels)
        if packet.normal
    )


@pytest.mark.parametrize("method", [multifd.ZLIB, multifd.ZSTD])
@pytest.mark.parametrize("name", COMPRESSING)
def test_one_compressed_stream_a_channel(name: str, method: int) -> None:
    migration = build_set(name, method=method)
    stream, channels = read(migration)
    found = walk_main.final_ram(stream, channels).contents()
    assert first_difference(migration.expected, found) is None
    methods = {packet.flags & multifd.COMPRESSION_MASK for packet in packets_of(channels)}
    assert methods == {0, method}


@pytest.mark.parametrize("method", [multifd.QPL, multifd.UADK, multifd.QATZIP])
def test_accelerators_pack_each_packet_alone(method: int) -> None:
    migration = build_set("10.0", method=method)
    stream, channels = read(migration)
    found = walk_main.final_ram(stream, channels).contents()
    assert first_difference(migration.expected, found) is None


@pytest.mark.parametrize("page_size", [8192, 16384, 65536])
def test_other_page_sizes(page_size: int) -> None:
    migration = build_set("10.0", page_size=page_size)
    stream, channels = read(migration)
    found = walk_main.final_ram(stream, channels, page_size=page_size).contents()
    assert first_difference(migration.expected, found, page_size) is None
    counts = {len(packet.offsets) for packet in packets_of(channels)}
    assert counts == {524288 // page_size}


def test_postcopy_leaves_the_channels_behind(sets: dict[str, MigrationSet]) -> None:
    stream, _ = read(sets["10.1-postcopy"])
    assert stream.commands[:3] == [1, 2, 3]
    switch = stream.commands.index(11)
    assert set(stream.commands[switch + 1 :]) == {2, 4, 5, 6, 7}
    after = [record.kind for section in stream.ram_sections[-3:] for record in section.records]
    assert ram.MULTIFD_FLUSH not in after
    assert after.count(ram.PAGE) > 10


def test_difference_names_the_page_that_stands_there(sets: dict[str, MigrationSet]) -> None:
    expected = sets["10.0"].expected
    found = dict(expected)
    memory = bytearray(found["pc.ram"])
    memory[4096 * 7 : 4096 * 8] = memory[4096 * 8 : 4096 * 9]
    found["pc.ram"] = bytes(memory)
    said = first_difference(expected, found)
    assert said is not None
    assert said.startswith("pc.ram page 7: block 0 page 8 version 3")


def test_zero_detection_orders_by_swaps() -> None:
    zero = [True, False, True, False, False]
    assert zeros_last([0, 1, 2, 3, 4], zero) == ([4, 1, 3, 2, 0], 3)
