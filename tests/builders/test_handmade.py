"""The handmade fixtures: as their recipes make them, and true by the walk."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fixtures.catalogue import Fixture, load_manifest, unpack
from fixtures.handmade.__main__ import RECIPES, entry
from fixtures.handmade.recipe import Handmade
from tests.builders import commands, framing, libvirt, ram, walk_main
from tests.builders.guest import truth
from tests.builders.multifd import DeviceStatePacket
from tests.builders.walk_multifd import read_channel

MANIFEST = load_manifest()
NOT_WHOLE = ("handmade-recovery-3.0", "handmade-ram-hook")
WHOLE = [name for name in RECIPES if name not in NOT_WHOLE]


def page_size_of(fixture: Fixture) -> int:
    sizes = [cover.removeprefix("page-size:") for cover in fixture.covers if "page-size" in cover]
    return int(sizes[0]) if sizes else 4096


def stream_of(role: str, data: bytes, endian: str) -> bytes:
    if role != "container":
        return data
    data_len = int.from_bytes(data[20:24], "big" if endian == "big" else "little")
    return data[libvirt.HEADER_LEN + data_len :]


def contents(name: str, tmp_path: Path) -> list[tuple[str, bytes]]:
    fixture = MANIFEST[name]
    paths = unpack(fixture, tmp_path)
    return [(file.role, path.read_bytes()) for file, path in zip(fixture.files, paths, strict=True)]


@pytest.fixture(scope="module")
def made() -> dict[str, Handmade]:
    return {name: recipe() for name, recipe in RECIPES.items()}


def test_manifest_and_recipes_name_the_same_fixtures() -> None:
    assert {name for name in MANIFEST if MANIFEST[name].origin == "handmade"} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_stored_files_are_what_the_recipe_makes(
    name: str, made: dict[str, Handmade], tmp_path: Path
) -> None:
    assert contents(name, tmp_path) == list(made[name].files)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_gives_the_same_bytes_and_entry_twice(name: str, made: dict[str, Handmade]) -> None:
    stored: list[dict[str, Any]] = []
    for content in (made[name], RECIPES[name]()):
        with tempfile.TemporaryDirectory() as directory:
            item = entry(name, content, Path(directory))
            item["packed"] = {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in Path(directory).iterdir()
            }
            stored.append(item)
    assert stored[0] == stored[1]


@pytest.mark.parametrize("name", WHOLE)
def test_walk_yields_the_ram_that_was_sent(name: str, tmp_path: Path) -> None:
    fixture = MANIFEST[name]
    page_size = page_size_of(fixture)
    files = contents(name, tmp_path)
    endian = "big" if "big-endian" in name else "little"
    (main,) = (stream_of(role, data, endian) for role, data in files if role != "channel")
    raw = [data for role, data in files if role == "channel"]
    stream = walk_main.MainReader(main, page_size=page_size).read()
    assert stream.rebuilt == main
    channels = [read_channel(data, page_size) for data in raw]
    assert [channel.build() for channel in channels] == raw
    memory = walk_main.final_ram(stream, channels, page_size=page_size)
    assert fixture.truth is not None
    found = truth(memory.contents())
    for block, known in fixture.truth.blocks.items():
        assert found[block]["used_length"] == known.used_length
        for part in known.ranges:
            assert [vars(part)] == found[block]["ranges"]


def test_hook_stream_has_hooks_and_no_pages(tmp_path: Path) -> None:
    ((_, main),) = contents("handmade-ram-hook", tmp_path)
    stream = walk_main.MainReader(main).read()
    assert stream.rebuilt == main
    kinds = [[record.kind for record in section.records] for section in stream.ram_sections]
    assert kinds == [[ram.HOOK, ram.EOS]] * 4
    assert MANIFEST["handmade-ram-hook"].truth is None


def test_recovery_yields_the_ram_that_was_sent(tmp_path: Path) -> None:
    (_, main), (role, recovery) = contents("handmade-recovery-3.0", tmp_path)
    assert role == "recovery"
    assert recovery[0] == framing.COMMAND
    numbers = [recovery[at + 2] for at in (0, 5 + 7, 5 + 7 + 5 + 8)]
    assert numbers == [commands.RECV_BITMAP_3_0] * 2 + [commands.POSTCOPY_RESUME_3_0]
    # Close the broken part as its end would have been, and let the second connection follow.
    joined = main + bytes(1000 - 13) + ram.eos() + framing.section_footer(2) + recovery
    stream = walk_main.MainReader(joined).read()
    known = MANIFEST["handmade-recovery-3.0"].truth
    assert known is not None
    memory = walk_main.final_ram(stream)
    for block, data in memory.contents().items():
        (part,) = known.blocks[block].ranges
        assert hashlib.sha256(data).hexdigest() == part.sha256


def test_resent_batch_needs_packet_numbers(tmp_path: Path) -> None:
    """Channel by channel inside an epoch gives wrong RAM, in either order of channels or both."""
    (_, main), *rest = contents("handmade-multifd-merged-resend", tmp_path)
    stream = walk_main.MainReader(main).read()
    channels = [read_channel(data) for _, data in rest]
    right = walk_main.final_ram(stream, channels).contents()
    wrong = [
        walk_main.final_ram(stream, order, by_number=False).contents()
        for order in (channels, channels[::-1])
    ]
    assert right not in wrong


def test_device_state_stands_before_and_behind_the_last_sync(tmp_path: Path) -> None:
    _, *rest = contents("handmade-multifd-device-state", tmp_path)
    for _, data in rest:
        kinds = [isinstance(packet, DeviceStatePacket) for packet in read_channel(data).packets]
        assert sum(kinds) == 2
        assert kinds[-1]
        assert not kinds[-2]


@pytest.mark.parametrize(
    ("name", "count"), [("handmade-multifd-16k-pages", 32), ("handmade-multifd-64k-pages", 8)]
)
def test_large_pages_shorten_the_offset_array(name: str, count: int, tmp_path: Path) -> None:
    _, *rest = contents(name, tmp_path)
    for _, data in rest:
        packets = read_channel(data, page_size_of(MANIFEST[name])).ram_packets()
        assert {len(packet.offsets) for packet in packets} == {count}
