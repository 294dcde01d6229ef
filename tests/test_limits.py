"""Each ceiling of `qmig.limits` holds: what claims more is refused, or bounded, and costs nothing.

A limit without an entry here fails. Ceilings on what a stream claims are tested as they are.
Those on what is kept or searched are lowered, so that small inputs reach them.
"""

import ast
import gzip
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import qmig
from qmig import limits
from qmig.capture import container, extent, rescue, rescue_sections, stream, survey
from qmig.capture.capture import Capture
from qmig.capture.extent import find_vmdescription, search_footer
from qmig.capture.salvaged import read_salvaged
from qmig.capture.source import Cursor
from qmig.checks import device_checks
from qmig.devices import decode
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    QmigError,
    SourceError,
    StreamError,
    UnsupportedStreamError,
)
from qmig.salvaging import salvage
from qmig.wire.multifd import MultifdInit, MultifdInit2018, MultifdPacket9, MultifdPacket2018
from qmig.wire.record import WireRecord, field_table, fixed_len
from qmig.wire.salvaged import SalvagedBlock, SalvagedFlag, SalvagedHead
from tests.builders import commands, framing, multifd, ram, vmdesc
from tests.builders.machine import MainStream
from tests.checks.broken_devices import EXAMPLES
from tests.devices import described
from tests.fuzz.built import BUILDERS, multifd_set
from tests.fuzz.guard import limited_memory, limited_time
from tests.sources import BytesSource

ROOT: Final = Path(__file__).parent
MEMORY_LEN: Final = 64 << 20  # far below what the ceilings are about
UNITS: Final = ("KIB", "MIB")


@dataclass(frozen=True)
class Room:
    """What a test of a limit gets.

    Attributes:
        folder: for files.
        patch: lowers a ceiling.
    """

    folder: Path
    patch: pytest.MonkeyPatch

    def opened(self, *files: bytes) -> Capture:
        """Write files and open them as a capture; it is closed by nobody."""
        return qmig.open_capture(*self.written(*files))

    def written(self, *files: bytes) -> list[Path]:
        """Write files."""
        paths = [self.folder / f"{number}.bin" for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        return paths

    def error(self, *files: bytes) -> QmigError:
        """Return the one error of a capture."""
        with self.opened(*files) as capture:
            (error,) = capture.errors
        return error


HOLDS: dict[str, Callable[[Room], None]] = {}

# Where a limit is tested with what it is about: file.
ELSEWHERE: Final[Mapping[str, str]] = {
    "MAX_MACHINE_NAME_LEN": "wire/test_gate.py",
    "MAX_DEVICE_DESCRIPTION_LEN": "wire/test_vmdesc.py",
    "MAX_LIBVIRT_DATA_LEN": "capture/test_container.py",
    "MAX_LZOP_BLOCK_LEN": "capture/test_decompress.py",
    "RETAINED_IN_MEMORY_LEN": "capture/test_source.py",
    "MAX_SEEN_RANGES": "capture/test_page_index.py",
    "MAX_PAGE_RUNS": "capture/test_page_index.py",
    "MAX_FINDINGS_OF_A_RULE": "cli/test_validate.py",
    "MAX_DAMAGED_PLACES": "checks/test_ram_damage.py",
    "MAX_JUDGED_PACKETS": "checks/test_multifd_limits.py",
    "MAX_JUDGED_PAGE_RUNS": "checks/test_multifd_limits.py",
    "MAX_DEVICE_FIELDS": "devices/test_decode.py",
    "MAX_DEVICE_NESTING": "devices/test_decode.py",
    "MAX_VIRTIO_STATE_LEN": "devices/test_virtio_state.py",
    "MAX_FIELD_DIFFERENCES": "diff/test_comparison.py",
    "MAX_DIFFERING_RANGES": "diff/test_comparison.py",
    "MAX_LIVE_CONTENT_BLOCKS": "diff/test_live_sections.py",
    "MAX_LIVE_CONTENT_STEPS": "diff/test_live_sections.py",
}


def holds(name: str) -> Callable[[Callable[[Room], None]], Callable[[Room], None]]:
    """Enter a test of a limit."""

    def enter(test: Callable[[Room], None]) -> Callable[[Room], None]:
        HOLDS[name] = test
        return test

    return enter


def limit_names() -> list[str]:
    """Return the names of all limits."""
    return [name for name in vars(limits) if name.isupper() and name not in UNITS]


def test_each_limit_is_tested() -> None:
    tested = {*HOLDS, *ELSEWHERE}
    assert not set(limit_names()) - tested, "enter them here with a test of each"
    assert not tested - set(limit_names()), "these are no limits any more"
    assert len(HOLDS) + len(ELSEWHERE) == len(tested)


def test_each_limit_has_its_reason_and_its_use() -> None:
    package = Path(limits.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py") if path.name != "limits.py"]
    lines = Path(limits.__file__).read_text().splitlines()
    for name in limit_names():
        (at,) = [number for number, line in enumerate(lines) if line.startswith(f"{name}:")]
        assert lines[at - 1].startswith("# "), name
        assert any(f"{name}" in text for text in texts), name


@pytest.mark.parametrize("name", ELSEWHERE)
def test_limit_is_tested_with_what_it_is_about(name: str) -> None:
    path = ROOT / ELSEWHERE[name]
    parsed = ast.parse(path.read_text())
    tests = [
        node
        for node in parsed.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    uses = [node for node in parsed.body if not isinstance(node, ast.ImportFrom)]
    assert tests
    assert any(name in ast.unparse(node) for node in uses), f"{path} does not use {name}"


@pytest.mark.parametrize("name", HOLDS)
def test_limit_holds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with limited_memory(MEMORY_LEN), limited_time():
        HOLDS[name](Room(tmp_path, monkeypatch))


def assert_at_most(error: QmigError, ceiling: int, field: str | None) -> None:
    assert isinstance(error, LimitExceededError), error
    assert f"{ceiling}" in error.expected
    assert error.field == field


# -- main stream ----------------------------------------------------------------------------------


@holds("MAX_CAPABILITIES")
def capabilities(room: Room) -> None:
    for count in (limits.MAX_CAPABILITIES + 1, 0xFFFFFFFF):
        main = MainStream("10.0", "none", subsections=[framing.capabilities([], count=count)])
        assert_at_most(room.error(main.finish()), limits.MAX_CAPABILITIES, "caps_count")


@holds("MAX_VMDESC_LEN")
def vmdescription_len(room: Room) -> None:
    for length in (limits.MAX_VMDESC_LEN + 1, 0xFFFFFFFF):
        main = MainStream("10.0", "none")
        main.ram_start(ram.block_list(_blocks(1)))
        main.ram_end()
        text = vmdesc.vmdescription(b'{"devices": []}', length=length)
        error = room.error(main.finish(describe=False) + text)
        assert_at_most(error, limits.MAX_VMDESC_LEN, "length")


def _blocks(count: int, used_length: int = 4096) -> list[ram.BlockEntry]:
    return [ram.BlockEntry(f"b{number}", used_length) for number in range(count)]


@holds("MAX_RAM_BLOCKS")
def blocks(room: Room) -> None:
    main = MainStream("10.0", "none")
    main.ram_start(ram.block_list(_blocks(limits.MAX_RAM_BLOCKS + 1)))
    with room.opened(main.unfinished()) as capture:
        assert len(capture.blocks) == limits.MAX_RAM_BLOCKS
        assert_at_most(capture.errors[0], limits.MAX_RAM_BLOCKS, None)


@holds("MAX_BLOCK_LEN")
def block_len(room: Room) -> None:
    for used_length in (limits.MAX_BLOCK_LEN + 4096, 1 << 63):
        main = MainStream("10.0", "none")
        main.ram_start(ram.block_list(_blocks(1, used_length)))
        error = room.error(main.unfinished())
        assert isinstance(error, MalformedStreamError)
        assert error.field == "used_length"
        assert f"0x{limits.MAX_BLOCK_LEN:x}" in error.expected
    main = MainStream("10.0", "none")
    main.ram_start(ram.block_list(_blocks(1, limits.MAX_BLOCK_LEN)))
    main.ram_end(ram.page(limits.MAX_BLOCK_LEN - 4096, b"p" * 4096, "b0"))
    main.standard_devices()
    with room.opened(main.finish()) as capture:  # and no byte of it is memory
        view = capture.ram["b0"]
        assert view.read(limits.MAX_BLOCK_LEN - 4096, 4) == b"pppp"


@holds("MAX_SECTIONS")
def sections(room: Room) -> None:
    room.patch.setattr(stream, "MAX_SECTIONS", 5)
    main = MainStream("10.0", "none")
    for number in range(6):
        main.device(vmdesc.old_style_device(f"dev{number}", 1), b"x")
    with room.opened(main.finish()) as capture:
        assert_at_most(capture.errors[0], 5, None)
        assert len(capture.stream.sections.rows) == 5


@holds("MAX_COMMANDS")
def many_commands(room: Room) -> None:
    room.patch.setattr(stream, "MAX_COMMANDS", 5)
    main = MainStream("10.0", "none")
    for number in range(9):
        main.add(commands.ping(number))
    main.standard_devices()
    with room.opened(main.finish()) as capture:
        assert capture.errors == []
        assert len(capture.stream.commands) == 5
        assert capture.stream.counters.commands_dropped == 4


@holds("MAX_DISCARD_RANGES")
def discard_ranges(room: Room) -> None:
    main = MainStream("10.0", "none")
    main.add(commands.postcopy_ram_discard("ram", [(4096 * at, 4096) for at in range(40)]))
    main.standard_devices()
    with room.opened(main.finish()) as capture:
        (command,) = capture.stream.commands
        assert command.detail["range_count"] == 40
        assert len(command.detail["ranges"]) == limits.MAX_DISCARD_RANGES


@holds("MAX_OPAQUE_SECTION_LEN")
def opaque_section(room: Room) -> None:
    footer = framing.section_footer(7)
    for front_len, found in ((1 << 20, 1 << 20), (6 << 20, None)):
        source = BytesSource(bytes(front_len) + footer + framing.end_of_file())
        room.patch.setattr(extent, "MAX_OPAQUE_SECTION_LEN", 3 << 20)
        assert search_footer(Cursor(source), 7, (), in_package=False) == found
        assert source.highest_read < 5 << 20


@holds("VMDESC_SEARCH_LEN")
def vmdescription_search(room: Room) -> None:
    text = vmdesc.vmdescription({"page_size": 4096, "devices": []})
    room.patch.setattr(extent, "VMDESC_SEARCH_LEN", 2 << 20)
    for behind_len, found in ((1 << 20, True), (3 << 20, False)):
        source = BytesSource(b"front" + text + b"x" * behind_len)
        assert (find_vmdescription(source, 0) is not None) is found


@holds("MAX_KEPT_ITEMS")
def kept_items(room: Room) -> None:
    room.patch.setattr(survey, "MAX_KEPT_ITEMS", 3)
    (file,) = BUILDERS["ordinary"]()
    with room.opened(file.data) as capture:
        capture.keep_items = True
        assert capture.survey.items is None
        assert capture.ram["ram"].read(256, 2) == b"qp"


# -- multifd --------------------------------------------------------------------------------------


@holds("MAX_CHANNELS")
def channels(room: Room) -> None:
    made = [multifd.init_packet(number & 0xFF) for number in range(limits.MAX_CHANNELS + 1)]
    with pytest.raises(LimitExceededError, match=f"at most {limits.MAX_CHANNELS} channels"):
        room.opened(*made)
    room.opened(*made[:-1]).close()


def _claiming(
    files: tuple[bytes, ...], record: type[WireRecord], field: str, offset: int, value: int
) -> tuple[bytes, ...]:
    """Put a number into the first packet of the last channel, which is the first one sent to."""
    at, length = field_table(record)[field]
    data = bytearray(files[-1])
    data[offset + at : offset + at + length] = value.to_bytes(length, "big")
    return *files[:-1], bytes(data)


@holds("MAX_PACKET_2018_PAGES")
def packet_pages(room: Room) -> None:
    made = multifd_set("3.1", multifd.NOCOMP)
    files = (made.main, *made.channels)
    for value in (limits.MAX_PACKET_2018_PAGES + 1, 0xFFFFFFFF):
        wrong = _claiming(files, MultifdPacket2018, "size", fixed_len(MultifdInit2018), value)
        assert_at_most(room.error(*wrong), limits.MAX_PACKET_2018_PAGES, "size")


@holds("MAX_PACKET_PAYLOAD_LEN")
def packet_payload(room: Room) -> None:
    made = multifd_set("10.0", multifd.ZSTD)
    files = (made.main, *made.channels)
    # Behind the initial packet and that of the first SYNC, which has no payload.
    mark = files[-1][: 2 * 4]  # magic and version, the same in all packets
    at = files[-1].index(mark, files[-1].index(mark, fixed_len(MultifdInit)) + 1)
    for value in (limits.MAX_PACKET_PAYLOAD_LEN + 1, 0xFFFFFFFF):
        wrong = _claiming(files, MultifdPacket9, "next_packet_size", at, value)
        assert_at_most(room.error(*wrong), limits.MAX_PACKET_PAYLOAD_LEN, "next_packet_size")


@holds("MAX_DEVICE_STATE_PACKET_LEN")
def device_state_packet(room: Room) -> None:
    main, channel = (file.data for file in BUILDERS["device_state"]())
    at = channel.index(b"0000:00:03.0/vfio") + 256 + 4
    for value in (limits.MAX_DEVICE_STATE_PACKET_LEN + 1, 0xFFFFFFFF):
        wrong = channel[:at] + value.to_bytes(4, "big") + channel[at + 4 :]
        error = room.error(main, wrong)
        assert_at_most(error, limits.MAX_DEVICE_STATE_PACKET_LEN, "next_packet_size")


# -- containers -----------------------------------------------------------------------------------


@holds("MAX_ZSTD_WINDOW_LEN")
def zstd_window(room: Room) -> None:
    (file,) = BUILDERS["ordinary"]()

    def frame(window_bits: int) -> bytes:
        """Return a frame of one raw block that asks for a window of so many bits."""
        descriptor = (window_bits - 10) << 3
        block = struct.pack("<L", len(file.data) << 3 | 1)[:3] + file.data
        return bytes.fromhex("28b52ffd00") + bytes([descriptor]) + block

    most = limits.MAX_ZSTD_WINDOW_LEN.bit_length() - 1
    with room.opened(frame(most)) as capture:
        assert capture.errors == []
    with pytest.raises(StreamError, match="zstd"):
        room.opened(frame(most + 1))


@holds("MAX_STREAM_START_OFFSET")
def stream_start(room: Room) -> None:
    (file,) = BUILDERS["ordinary"]()
    data = bytes(3 << 20) + file.data
    with room.opened(data) as capture:
        assert capture.stream.start_offset == 3 << 20
    room.patch.setattr(container, "MAX_STREAM_START_OFFSET", 1 << 20)
    with pytest.raises(SourceError, match="no migration stream"):
        room.opened(data)


@holds("MAX_CONTAINER_DEPTH")
def container_depth(room: Room) -> None:
    (file,) = BUILDERS["ordinary"]()
    data = file.data
    for depth in range(1, limits.MAX_CONTAINER_DEPTH + 3):
        data = gzip.compress(data, mtime=0)
        if depth <= limits.MAX_CONTAINER_DEPTH:
            with room.opened(data) as capture:
                assert capture.errors == []
            continue
        with pytest.raises(UnsupportedStreamError, match="at most"):
            room.opened(data)


# -- devices and salvage --------------------------------------------------------------------------


@holds("MAX_DEVICE_NUMBERS_LEN")
def device_numbers(room: Room) -> None:
    def error(count: int) -> StreamError | None:
        field = described.field("many", "uint8", 1, array_len=count)
        return described.decoded(room.folder, bytes(20), described.device(field)).error

    assert error(20) is None
    for count in (limits.MAX_DEVICE_NUMBERS_LEN + 1, 1 << 60):  # more than there is
        assert isinstance(error(count), MalformedStreamError)
    room.patch.setattr(decode, "MAX_DEVICE_NUMBERS_LEN", 19)
    refused = error(20)
    assert refused is not None
    assert "at most 19 bytes of numbers" in refused.expected


@holds("MAX_KEPT_BODIES_LEN")
def kept_bodies(room: Room) -> None:
    broken = EXAMPLES["QM415"].broken()  # what the body of a section tells
    paths = room.written(*broken.files.values())
    assert "QM415" in {found.rule.id for found in qmig.validate(*paths).findings}
    room.patch.setattr(device_checks, "MAX_KEPT_BODIES_LEN", 4)
    assert qmig.validate(*paths).findings == []  # what is not kept is not looked at


@holds("MAX_SALVAGED_SECTIONS")
def salvaged_sections(room: Room) -> None:
    room.patch.setattr(rescue_sections, "MAX_SALVAGED_SECTIONS", 20)
    for number, raised in ((1000, False), (0, True)):
        main = MainStream("10.0", "none", page_size=256)
        main.ram_start(ram.block_list([ram.BlockEntry("ram", 1 << 16)]))
        for _ in range(number):
            main.ram_part(b"")  # of which a stream may have any number
        data = main.unfinished() + commands.open_return_path() * 50 * raised
        if raised:
            with pytest.raises(LimitExceededError, match="at most 20 sections"):
                salvage(*room.written(data), out=room.folder / "out", force=True)
        else:
            salvage(*room.written(data), out=room.folder / "out", force=True)


@holds("MAX_SALVAGED_RANGES")
def salvaged_ranges(room: Room) -> None:
    block = SalvagedBlock(
        idstr=b"ram", known_pages=1, unknown_pages=2, ranges=limits.MAX_SALVAGED_RANGES + 1
    )
    head = SalvagedHead(flags=0, lost_ram_len=0, blocks=1, devices=0, origin=b"", error=b"")
    claim = head.build() + block.build()
    assert read_salvaged(BytesSource(claim), 0, len(claim)) is None
    # What is written keeps to it, and says so.
    room.patch.setattr(rescue, "MAX_SALVAGED_RANGES", 2)
    main = MainStream("10.0", "none", page_size=256)
    main.ram_start(ram.block_list([ram.BlockEntry("ram", 64 * 256)]))
    main.ram_part(b"".join(ram.zero(at * 256, "ram") for at in range(0, 64, 3)))
    done = salvage(*room.written(main.unfinished()), out=room.folder / "out")
    (pages,) = done.found.maps
    assert pages.ranges > 10
    assert len(pages.unknown) == 2
    assert done.counters is not None
    written = (room.folder / "out").read_bytes()
    at = written.index(b"qmig/salvaged") + len(b"qmig/salvaged") + 8
    flags = SalvagedFlag(int.from_bytes(written[at : at + 4], "big"))
    assert SalvagedFlag.RANGES_NOT_LISTED in flags
