"""The builders' layouts against real captures: parsed values give the same bytes again."""

import hashlib
from pathlib import Path

import pytest

from fixtures.catalogue import Fixture, load_manifest, unpack
from tests.builders import mapped_ram, ram, walk_main, xbzrle
from tests.builders.primitives import u32, u64
from tests.builders.walk_multifd import Channel, read_channel
from tests.builders.walk_ram import Memory, decode_xbzrle, mapped_memory

RELEASES = ("3.1", "4.2", "8.2", "9.2", "10.1")
KINDS = ("precopy", "live", "xbzrle", "compress", "multifd", "multifd-zlib", "multifd-zstd",
         "multifd-flusheach", "mapped", "mapped-multifd-live")  # fmt: skip
REAL = {
    name: fixture
    for name, fixture in load_manifest().items()
    if name in {f"qemu-{release}-{kind}" for release in RELEASES for kind in KINDS}
}
MAPPED = [name for name in REAL if "mapped" in name]
# Those of 3.1, 4.2 and 8.2 converged before a delta paid; they hold whole pages only.
XBZRLE = ("qemu-9.2-xbzrle", "qemu-10.1-xbzrle")
WITH_CHANNELS = [name for name in REAL if "multifd" in name and name not in MAPPED]
ORDINARY = [name for name in REAL if name not in MAPPED]


def connections(fixture: Fixture, tmp_path: Path) -> tuple[bytes, list[bytes]]:
    """Give the main connection and the channels."""
    data = {
        file.path: path.read_bytes()
        for file, path in zip(fixture.files, unpack(fixture, tmp_path), strict=True)
    }
    (main,) = (data[file.path] for file in fixture.files if file.role == "main")
    return main, [data[file.path] for file in fixture.files if file.role == "channel"]


def channels_of(raw: list[bytes]) -> list[Channel]:
    return [read_channel(data) for data in raw]


def assert_truth(fixture: Fixture, memory: Memory) -> None:
    assert fixture.truth is not None
    for name, block in fixture.truth.blocks.items():
        assert len(memory.blocks[name]) == block.used_length
        for part in block.ranges:
            found = memory.blocks[name][part.addr : part.addr + part.length]
            assert hashlib.sha256(found).hexdigest() == part.sha256, f"{name} {part.addr:#x}"


def test_each_generation_and_kind_is_among_the_captures() -> None:
    assert len(REAL) == 35
    assert len(WITH_CHANNELS) == 13
    assert len(MAPPED) == 4


@pytest.mark.parametrize("name", REAL)
def test_main_stream_is_rebuilt_byte_for_byte(name: str, tmp_path: Path) -> None:
    main, _ = connections(REAL[name], tmp_path)
    stream = walk_main.MainReader(main, mapped=name in MAPPED).read()
    assert stream.rebuilt == main
    assert stream.machine.startswith("pc-i440fx-")
    assert stream.idstrs[0] == "ram"


@pytest.mark.parametrize("name", WITH_CHANNELS)
def test_channels_are_rebuilt_byte_for_byte(name: str, tmp_path: Path) -> None:
    _, raw = connections(REAL[name], tmp_path)
    channels = channels_of(raw)
    assert [channel.build() for channel in channels] == raw
    assert sorted(channel.channel_id for channel in channels) == [0, 1]
    assert all(channel.packets for channel in channels)


@pytest.mark.parametrize("name", ORDINARY)
def test_walk_yields_the_true_ram(name: str, tmp_path: Path) -> None:
    main, raw = connections(REAL[name], tmp_path)
    stream = walk_main.MainReader(main).read()
    assert_truth(REAL[name], walk_main.final_ram(stream, channels_of(raw)))


@pytest.mark.parametrize("name", MAPPED)
def test_mapped_ram_layout_follows_from_lengths(name: str, tmp_path: Path) -> None:
    main, _ = connections(REAL[name], tmp_path)
    stream = walk_main.MainReader(main, mapped=True).read()
    at = main.index(b"\x03ram") + 4 + 8
    total = u64(main, at) & ~ram.MEM_SIZE
    assert total == sum(entry.used_length for entry in stream.blocks)
    at += 8
    memory = {}
    for entry in stream.blocks:
        at += 1 + len(entry.name) + 8
        pages = entry.used_length // 4096
        bitmap_offset = at + mapped_ram.HEADER_LEN
        pages_offset = mapped_ram.align_up(bitmap_offset + mapped_ram.bitmap_len(pages))
        head = mapped_ram.header(4096, bitmap_offset, pages_offset)
        assert main[at : at + mapped_ram.HEADER_LEN] == head
        bits = main[bitmap_offset : bitmap_offset + mapped_ram.bitmap_len(pages)]
        present = [index for index in range(pages) if bits[index // 8] >> index % 8 & 1]
        assert mapped_ram.bitmap(present, pages) == bits
        memory[str(entry.name)] = bytearray(mapped_memory(main, at, entry.used_length))
        at = pages_offset + entry.used_length
    assert_truth(REAL[name], Memory(memory))


@pytest.mark.parametrize("name", MAPPED)
def test_mapped_ram_file_is_rebuilt_sparse(name: str, tmp_path: Path) -> None:
    main, _ = connections(REAL[name], tmp_path)
    stream = walk_main.MainReader(main, mapped=True).read()
    start = main.index(b"\x03ram") + 4 + 8
    at, blocks = start + 8, []
    for entry in stream.blocks:
        at += 1 + len(entry.name) + 8
        bitmap_at, pages_at = u64(main, at + 12), u64(main, at + 20)
        count = entry.used_length // 4096
        every = {
            index: main[pages_at + index * 4096 : pages_at + (index + 1) * 4096]
            for index in range(count)
        }
        bits = int.from_bytes(main[bitmap_at : bitmap_at + count // 8 + 1], "little")
        blocks.append(
            mapped_ram.MappedBlock(
                str(entry.name),
                entry.used_length,
                {index: page for index, page in every.items() if any(page)},
                frozenset(index for index in range(count) if bits >> index & 1),
            )
        )
        at = pages_at + entry.used_length
    rest = main[at + 8 :]
    mapped_ram.write_capture(tmp_path / "rebuilt", main[:start], blocks, rest)
    assert (tmp_path / "rebuilt").read_bytes() == main


@pytest.mark.parametrize("name", XBZRLE)
def test_deltas_are_encoded_as_the_source_did(name: str, tmp_path: Path) -> None:
    """The delta between two states of a page is the very body that QEMU wrote."""
    main, _ = connections(REAL[name], tmp_path)
    stream = walk_main.MainReader(main).read()
    memory = Memory.of(stream.blocks)
    records = (record for section in stream.ram_sections for record in section.records)
    total = 0
    for record in records:
        if record.kind != ram.XBZRLE or record.block is None:
            memory.apply(record)
            continue
        area = slice(record.addr, record.addr + 4096)
        before = bytes(memory.blocks[record.block][area])
        memory.apply(record)
        after = bytes(memory.blocks[record.block][area])
        assert xbzrle.build(decode_xbzrle(record.body)) == record.body
        assert xbzrle.encode(before, after) == record.body
        total += 1
        if total == 3000:  # of well over 100000 alike
            break
    assert total == 3000


@pytest.mark.parametrize("name", [name for name in WITH_CHANNELS if "3.1" in name])
def test_3_1_channels_have_the_short_init_packet(name: str, tmp_path: Path) -> None:
    _, raw = connections(REAL[name], tmp_path)
    assert [u32(data, 25) for data in raw] == [0x11223344, 0x11223344]
