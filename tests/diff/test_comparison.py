"""What a comparison finds: nothing in a capture and itself, and all that was changed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import qmig
from qmig.capture.ram_view import RamBlockView
from qmig.capture.records import PageBatch, Record
from qmig.comparison import fields, ram
from qmig.comparison.compare import compare
from qmig.comparison.fields import differing_bytes, fact_differences
from qmig.comparison.ignoring import Ignored
from qmig.comparison.model import (
    Comparison,
    FactDifference,
    FieldDifference,
    Outcome,
    PageRange,
    PageState,
    Side,
    What,
)
from qmig.memory import RamBlock
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture
from tests.devices.described import device, field, layout, stream

PC: Final = "qemu-10.0-devices-pc"
# What none of them holds whole: by what it covers, or because it is cut short.
LACKING: Final = ("ram:ignored-block", "ram:never-sent", "container:libvirt-partial", "ram:hook")
FORMS: Final[tuple[dict[str, Any], ...]] = (
    {"format": "mapped-ram"},
    {"format": "mapped-ram", "channels": 2},
    {"format": "stream"},
    {"format": "stream", "compress": True},
    {"format": "stream", "libvirt": "zstd", "libvirt_xml": b"<domain/>"},
    {"format": "mapped-ram", "libvirt": "sparse", "libvirt_xml": b"<domain/>"},
    {"format": "multifd", "channels": 2},
    {"format": "multifd", "channels": 2, "compression": "zstd"},
    {"format": "multifd", "channels": 2, "compression": "zlib", "generation": "7.2"},
)
SOURCES: Final = (
    PC,
    "qemu-10.0-xbzrle",
    "qemu-10.0-s390x-stopped",
    "qemu-11.1-dirty-bitmap",
    "qemu-11.1-multifd-zstd",
    "qemu-11.1-postcopy",
)
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Pages = np.ndarray[Any, np.dtype[np.uint8]]
Write = Callable[..., list[Path]]


@pytest.fixture
def saved(tmp_path: Path) -> Write:
    """Give a function that saves a capture anew and returns the files."""

    def save(paths: Sequence[Path], name: str = "out", **form: Any) -> list[Path]:  # noqa: ANN401  # what qmig.save takes
        out = tmp_path / name
        qmig.save(paths, out, **form)
        channels = form["channels"] if form["format"] == "multifd" else 0
        return [out, *(tmp_path / f"{name}.ch{at}" for at in range(channels))]

    return save


# -- a capture and itself -------------------------------------------------------------------------


@each_fixture
def test_a_capture_is_equal_to_itself(name: str, capture_files: CaptureFiles) -> None:
    paths = capture_files(name)
    found = compare(paths, paths)
    lacking = set(LACKING) & set(FIXTURES[name].covers)
    assert found.outcome is (Outcome.UNKNOWN if lacking else Outcome.EQUAL)
    assert not found.only
    assert not found.sections
    states = {state for block in found.blocks for state, count in block.pages.items() if count}
    assert states <= {PageState.EQUAL, PageState.IN_NEITHER}
    if not lacking:
        assert states <= {PageState.EQUAL}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
@pytest.mark.parametrize("name", SOURCES)
def test_it_is_equal_in_every_encoding(
    name: str, form: dict[str, Any], capture_files: CaptureFiles, saved: Write
) -> None:
    paths = capture_files(name)
    found = compare(paths, saved(paths, **form))
    assert (found.outcome, found.sections, found.only) == (Outcome.EQUAL, [], [])
    assert sum(block.pages[PageState.EQUAL] for block in found.blocks) > 0


def test_two_encodings_of_it_are_equal(capture_files: CaptureFiles, saved: Write) -> None:
    paths = capture_files("qemu-11.1-mapped-live")
    one = saved(paths, "one", **FORMS[4])
    other = saved(paths, "other", **FORMS[7])
    assert compare(one, other).equal


# -- RAM ------------------------------------------------------------------------------------------


def dumps(paths: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Write the block pc.ram as a raw dump."""
    with qmig.open_capture(*paths) as capture:
        path = folder / "pc.ram.raw"
        path.write_bytes(b"".join(capture.ram["pc.ram"].pieces()))
    return {"pc.ram": path}


def test_changed_bytes_are_found_by_their_pages(
    capture_files: CaptureFiles, saved: Write, tmp_path: Path
) -> None:
    paths = capture_files("qemu-10.0-ordinary")
    dump = dumps(paths, tmp_path)
    with dump["pc.ram"].open("r+b") as file:
        for addr in (0x3000, 0x4FFF, 0x200000):
            file.seek(addr)
            byte = file.read(1)[0]
            file.seek(addr)
            file.write(bytes([byte ^ 0x80]))
    found = compare(paths, saved(paths, format="mapped-ram", ram=dump))
    assert found.outcome is Outcome.DIFFERENT
    assert not found.sections
    (block,) = (block for block in found.blocks if block.differs)
    assert block.name == "pc.ram"
    differs = PageState.DIFFERS
    assert block.ranges == [PageRange(differs, 0x3000, 0x2000), PageRange(differs, 0x200000, 4096)]
    assert block.pages[differs] == 3
    left_out = compare(paths, saved(paths, "b", format="mapped-ram", ram=dump), ignore=["ram/pc*"])
    assert left_out.equal
    assert [one.name for one in left_out.blocks if one.ignored] == ["pc.ram", "pc.rom", "pc.bios"]


def test_pages_that_are_not_there_are_not_zero(capture_files: CaptureFiles, tmp_path: Path) -> None:
    """A main stream without its channels holds none of their pages; they are not equal to any."""
    paths = capture_files("qemu-10.0-multifd-none")
    alone = compare(paths, paths[0])
    assert alone.outcome is Outcome.UNKNOWN
    lacking = sum(block.pages[PageState.NOT_IN_B] for block in alone.blocks)
    assert lacking > 0
    assert sum(block.pages[PageState.DIFFERS] for block in alone.blocks) == 0
    turned = compare(paths[0], paths, accept_missing=True)
    assert turned.outcome is Outcome.UNKNOWN, "what one holds is known"
    assert sum(block.pages[PageState.NOT_IN_A] for block in turned.blocks) == lacking
    neither = compare(paths[0], paths[0])
    assert neither.outcome is Outcome.UNKNOWN
    assert sum(block.pages[PageState.IN_NEITHER] for block in neither.blocks) == lacking
    assert compare(paths[0], paths[0], accept_missing=True).equal


class Held(RamBlockView):
    """A block of bytes, some pages of which are not there, and some of which it calls zero."""

    def __init__(
        self, data: bytes, page_size_len: int, absent: Sequence[int] = (), *, zeros: bool = False
    ) -> None:
        super().__init__(RamBlock(0, "block", len(data), 0), page_size_len)
        whole = -(-len(data) // page_size_len) * page_size_len
        # What lies behind the block's end is nobody's.
        padded = np.frombuffer(data + b"\xee" * (whole - len(data)), np.uint8)
        self._pages = padded.reshape(-1, page_size_len)
        self._absent = list(absent)
        self._zeros = zeros

    def present(self, first: int, count: int) -> Flags:
        flags = np.ones(len(self._pages), np.bool_)
        flags[self._absent] = False
        return flags[first : first + count]

    def known_zero(self, first: int, count: int) -> Flags:
        zero: Flags = ~self._pages.any(axis=1) & self._zeros & self.present(0, len(self._pages))
        return zero[first : first + count]

    def _fill_pages(self, out: Pages, first: int) -> None:
        out[:] = self._pages[first : first + len(out)]
        out[~self.present(first, len(out))] = 0


@pytest.mark.parametrize("sizes", [(256, 256), (256, 4096), (4096, 1024)])
@pytest.mark.parametrize("seed", range(8))
def test_states_are_those_of_a_plain_comparison(
    sizes: tuple[int, int], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a loop over single pages, with pieces so small that there are many."""
    monkeypatch.setattr(ram, "_CHUNK_LEN", 8 * 4096)
    monkeypatch.setattr(ram, "_PIECE_LEN", 2 * 4096)
    random = np.random.default_rng(seed)
    length = 20 * 4096 + int(random.integers(1, 4096))
    base = random.integers(0, 2, length, np.uint8) * np.repeat(
        random.integers(0, 2, -(-length // 4096), np.uint8), 4096
    )[:length].astype(np.uint8)
    changed = base.copy()
    for at in random.integers(0, length, 6):
        changed[at] ^= 1
    data = (base.tobytes(), changed.tobytes())
    views = []
    for content, size in zip(data, sizes, strict=True):
        pages = -(-length // size)
        absent = random.choice(pages, pages // 5, replace=False).tolist()
        views.append((Held(content, size, absent, zeros=bool(seed % 2)), absent))
    (a, absent_a), (b, absent_b) = views
    found = ram.compare_blocks(a, b)

    size = min(sizes)
    states: list[PageState] = []
    for addr in range(0, length, size):
        in_a, in_b = addr // sizes[0] not in absent_a, addr // sizes[1] not in absent_b
        equal = data[0][addr : addr + size] == data[1][addr : addr + size]
        compared = PageState.EQUAL if equal else PageState.DIFFERS
        states.append(
            {
                (True, True): compared,
                (True, False): PageState.NOT_IN_B,
                (False, True): PageState.NOT_IN_A,
                (False, False): PageState.IN_NEITHER,
            }[in_a, in_b]
        )
    assert {state: count for state, count in found.pages.items() if count} == {
        state: states.count(state) for state in states
    }
    told = {
        page: piece.state
        for piece in found.ranges
        for page in range(piece.addr // size, -(-(piece.addr + piece.length) // size))
    }
    assert [told.get(page, PageState.EQUAL) for page in range(len(states))] == states
    assert all(one.state is not other.state or one.addr + one.length < other.addr
               for one, other in zip(found.ranges, found.ranges[1:], strict=False))  # fmt: skip


def test_ranges_beyond_the_ceiling_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ram, "MAX_DIFFERING_RANGES", 3)
    a, b = bytes(20 * 256), (b"\1" + bytes(511)) * 10
    found = ram.compare_blocks(Held(a, 256), Held(b, 256))
    assert len(found.ranges) == 3
    assert found.ranges_left_out == 7
    assert found.pages[PageState.DIFFERS] == 10


def test_an_error_of_reading_leaves_the_rest_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Held):
        def _fill_pages(self, out: Pages, first: int) -> None:
            raise qmig.SourceError("is gone", path="vm.sav")

    found = ram.compare_blocks(Held(b"\1" * 4096, 256), Broken(b"\1" * 4096, 256))
    assert str(found.error) == "vm.sav: is gone"
    assert found.pages[PageState.UNREAD] == 16
    assert Comparison(blocks=[found]).outcome is Outcome.UNKNOWN


def test_blocks_of_other_lengths_differ() -> None:
    found = ram.compare_blocks(Held(b"\1" * 512, 256), Held(b"\1" * 1000, 256))
    assert found.differs
    assert found.pages[PageState.EQUAL] == 2
    assert Comparison(blocks=[found]).outcome is Outcome.DIFFERENT


# -- devices --------------------------------------------------------------------------------------


def two(tmp_path: Path, a: bytes, b: bytes) -> Comparison:
    """Compare two streams."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, data in zip(paths, (a, b), strict=True):
        path.write_bytes(data)
    return compare(*paths)


NUMBERS: Final = device(
    field("flag", "bool", 1),
    field("list", "uint16", 2, array_len=3),
    field("text", "buffer", 4),
    field("part", "struct", 2, struct=layout(field("x", "uint16", 2))),
)


def test_fields_are_told_by_their_paths_with_both_values(tmp_path: Path) -> None:
    a = stream(bytes.fromhex("00 0001 0002 0003 61626364 0007"), NUMBERS)
    b = stream(bytes.fromhex("01 0001 ffff 0003 61006300 0008"), NUMBERS)
    found = two(tmp_path, a, b)
    (section,) = found.sections
    assert section.undecoded is None
    assert section.fields == [
        FieldDifference("dev/0/flag", "bool", What.VALUE, False, True),
        FieldDifference("dev/0/list[1]", "uint16", What.VALUE, 2, 0xFFFF),
        FieldDifference("dev/0/text", "buffer", What.BYTES, b"bcd", b"\0c\0", 1, 2),
        FieldDifference("dev/0/part.x", "uint16", What.VALUE, 7, 8),
    ]
    assert found.outcome is Outcome.DIFFERENT
    assert two(tmp_path, a, a).equal


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["dev"], []),
        (["dev/*/list", "dev/0/flag", "*.x", "dev/0/text"], []),
        (["dev/0/text[1]"], ["flag", "list[1]", "text", "part.x"]),
        (["dev/0/text[1]", "dev/0/text[3]"], ["flag", "list[1]", "part.x"]),
        (["dev/0/part", "dev/?/lis"], ["flag", "list[1]", "text"]),
        (["ev/0/flag", "dev/0/fla?", "dev/1"], ["list[1]", "text", "part.x"]),
    ],
)
def test_what_is_ignored_is_counted_and_no_difference(
    patterns: list[str], left: list[str], tmp_path: Path
) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(stream(bytes.fromhex("00 0001 0002 0003 61626364 0007"), NUMBERS))
    paths[1].write_bytes(stream(bytes.fromhex("01 0001 ffff 0003 61006300 0008"), NUMBERS))
    found = compare(*paths, ignore=patterns)
    (section,) = found.sections
    assert [one.path for one in section.fields] == [f"dev/0/{path}" for path in left]
    # A field of bytes of which some are ignored is still there, with the others.
    assert section.fields_ignored == 4 - len(left)
    assert found.equal == (not left)


def test_a_timer_is_a_clock(tmp_path: Path) -> None:
    kind = device(field("due", "timer", 8), field("x", "uint8", 1))
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(stream(bytes(9), kind))
    paths[1].write_bytes(stream(b"\0" * 7 + b"\1\0", kind))
    assert compare(*paths).outcome is Outcome.DIFFERENT
    assert compare(*paths, ignore_clocks=True).equal


def test_another_layout_is_told_by_what_one_alone_has(tmp_path: Path) -> None:
    a = device(field("x", "uint8", 1), field("list", "uint8", 1, array_len=2))
    b = device(
        field("x", "uint8", 1),
        field("list", "uint8", 1, array_len=3),
        field("more", "struct", 1, struct=layout(field("y", "uint8", 1))),
    )
    (section,) = two(tmp_path, stream(b"\1\2\3", a), stream(b"\1\2\4\5\6", b)).sections
    assert section.fields == [
        FieldDifference("dev/0/list", "uint8", What.COUNT, 2, 3),
        FieldDifference("dev/0/list[1]", "uint8", What.VALUE, 3, 4),
        FieldDifference("dev/0/more", "inner", What.ONLY, None, "struct of 1 byte"),
    ]


def test_what_cannot_be_decoded_is_compared_as_bytes_and_said_to_be(tmp_path: Path) -> None:
    lies = device(field("x", "uint32", 4))
    (section,) = two(tmp_path, stream(b"\1\2\3", lies), stream(b"\1\2\4", lies)).sections
    assert section.undecoded == "in A its description does not fit its bytes"
    (one,) = section.fields
    assert one == FieldDifference("dev/0", fields.NOT_DECODED, What.BYTES, b"\3", b"\4", 2, 1)
    assert two(tmp_path, stream(b"\1\2\3", lies), stream(b"\1\2\3", lies)).equal


def test_devices_without_a_description_are_compared_as_bytes(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files("qemu-11.1-no-vmdesc")
    data = bytearray(path.read_bytes())
    data[data.index(b"globalstate") + len(b"globalstate") + 8 + 4] ^= 1
    changed = tmp_path / "changed"
    changed.write_bytes(data)
    (section,) = compare(path, changed).sections
    assert section.path == "globalstate/0"
    assert section.undecoded == "in A the stream has no vmdescription"


def test_sections_that_one_alone_has(tmp_path: Path) -> None:
    kind = device(field("x", "uint8", 1))
    one, other = stream(b"\1", kind), stream(b"\1", {**kind, "name": "other"}, name="other")
    found = two(tmp_path, one, other)
    assert [(row.side, row.path, row.certain) for row in found.only] == [
        (Side.A, "dev/0", True),
        (Side.B, "other/0", True),
    ]
    assert found.outcome is Outcome.DIFFERENT
    cut = other[: other.index(b"other") - 6]
    damaged = two(tmp_path, one, cut)
    assert [(row.side, row.path, row.certain) for row in damaged.only] == [(Side.A, "dev/0", False)]
    assert damaged.outcome is Outcome.UNKNOWN


def test_what_was_salvaged_is_equal_to_nothing(capture_files: CaptureFiles, tmp_path: Path) -> None:
    """What it has is compared, what it lacks is not known, and itself it is not known either."""
    (path,) = capture_files("qemu-10.0-ordinary")
    data = path.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(data[: data.index(b"mc146818rtc") - 6])
    rest = tmp_path / "rest"
    qmig.salvage(cut, out=rest)
    found = compare(path, rest)
    assert found.salvaged == (False, True)
    assert "mc146818rtc/0" in [row.path for row in found.only]
    assert {(row.side, row.certain) for row in found.only} == {(Side.A, False)}
    assert not found.sections
    assert found.sections_in_both > 5
    assert found.outcome is Outcome.UNKNOWN
    assert compare(rest, rest).outcome is Outcome.UNKNOWN


def test_versions_that_differ(tmp_path: Path) -> None:
    kind = device(field("x", "uint8", 1))
    data = stream(b"\1", kind)
    at = data.index(b"dev") + len(b"dev") + 4
    version = int.from_bytes(data[at : at + 4])
    newer = data[:at] + (version + 1).to_bytes(4) + data[at + 4 :]
    (section,) = two(tmp_path, data, newer).sections
    assert section.versions == (version, version + 1)
    assert section.differs


def test_fields_beyond_the_ceiling_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "MAX_FIELD_DIFFERENCES", 2)
    kind = device(field("list", "uint8", 1, array_len=9))
    (section,) = two(tmp_path, stream(bytes(9), kind), stream(b"\1" * 9, kind)).sections
    assert len(section.fields) == 2
    assert section.fields_left_out == 7


def test_configuration_is_compared_but_for_how_it_was_saved(tmp_path: Path) -> None:
    kind = device(field("x", "uint8", 1))
    data = stream(b"\1", kind)
    other = data.replace(b"pc-i440fx-10.0", b"pc-i440fx-11.0")
    found = two(tmp_path, data, other)
    assert found.configuration == [
        FieldDifference("configuration/machine", "", What.VALUE, "pc-i440fx-10.0", "pc-i440fx-11.0")
    ]
    assert compare(tmp_path / "a", tmp_path / "b", ignore=["configuration"]).equal


def test_dirty_bitmaps_are_compared(capture_files: CaptureFiles, tmp_path: Path) -> None:
    (path,) = capture_files("qemu-11.1-dirty-bitmap")
    with qmig.open_capture(path) as capture:
        start = next(one for one in capture.records() if one_is(one, "dirty-bitmap start"))
    found = with_a_bit_changed(path, start.offset + 4, tmp_path)
    (section,) = found.sections
    assert section.path == "dirty-bitmap/0"
    assert section.undecoded == "it has a grammar of its own, and no description"
    (fact,) = section.facts
    assert fact.name.endswith(".enabled")
    assert {fact.a, fact.b} == {True, False}
    assert found.outcome is Outcome.DIFFERENT


def test_hash_tables_are_compared_by_all_their_bytes(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    (path,) = capture_files("qemu-10.0-ppc64-stopped")
    with qmig.open_capture(path) as capture:
        items = list(capture.records())
    heads = [at for at, one in enumerate(items) if one_is(one, "spapr/htab entries")]
    assert heads
    found = with_a_bit_changed(path, items[heads[-1]].offset + 1, tmp_path)
    (section,) = found.sections
    assert section.path == "spapr/htab/0"
    assert section.facts == []
    assert compare(path, tmp_path / "changed", ignore=["spapr/htab"]).equal


def one_is(item: Record | PageBatch, name: str) -> bool:
    """Tell whether an item is a record of this name."""
    return isinstance(item, Record) and item.name == name


def with_a_bit_changed(path: Path, offset: int, folder: Path) -> Comparison:
    """Compare a file with one whose bit 0 of a byte is another."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    (folder / "changed").write_bytes(data)
    return compare(path, folder / "changed")


def test_bytes_are_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MIB", 4)
    a, b = b"0123456789abc", b"0123x56789aXcdef"

    def read_a(first: int, length: int) -> bytes:
        return a[first : first + length]

    def read_b(first: int, length: int) -> bytes:
        return b[first : first + length]

    assert differing_bytes(read_a, len(a), read_b, len(b)) == (4, 5)
    assert differing_bytes(read_a, len(a), read_a, len(a))[1] == 0
    assert differing_bytes(read_a, 4, read_b, 9) == (4, 5)


def test_facts_are_told_by_name() -> None:
    a = {"rip": 1, "same": 2, "segments": [{"name": "cs", "base": 3}], "list": [1, 2]}
    b = {"rip": 5, "same": 2, "segments": [{"name": "cs", "base": 4}], "list": [1]}
    assert list(fact_differences(a, b)) == [
        FactDifference("rip", 1, 5),
        FactDifference("segments[cs].base", 3, 4),
        FactDifference("list[1]", 2, None),
    ]


def test_patterns_hold_brackets_as_they_are() -> None:
    ignored = Ignored(["cpu/*/env.regs[1]", "a?c"])
    assert ignored.path("cpu/3/env.regs[1]")
    assert not ignored.path("cpu/3/env.regs1")
    assert not ignored.path("cpu/3/env.regs[10]")
    assert ignored.path("abc.d")
    assert not ignored.path("abcd")
    assert not Ignored().path("")
