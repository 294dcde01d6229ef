"""Streams made by hand, damaged in one place: what is known behind it, and what is not."""

import random
import zlib
from pathlib import Path

import pytest

import qmig
from qmig.capture.rescue import rescue
from qmig.capture.rescue_result import Rescue
from qmig.capture.salvaged import read_salvaged
from qmig.capture.source import FileSource
from qmig.salvaging import salvage
from tests.builders import framing, mapped_ram, ram, vmdesc, xbzrle
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.property.patience import soon
from tests.salvage.output import pages_of
from tests.salvage.truth import contents, truth_of

RAM_ID = 1
SIZE = 4096
BIG, SMALL = "big", "small"
BLOCKS = [ram.BlockEntry(BIG, 16 * SIZE), ram.BlockEntry(SMALL, 4 * SIZE)]
NONSENSE = b"\xff" * 64
# A page right in front of damage is doubtful, but for a zero page, whose record is nothing else.
DAMAGE = ram.zero(15 * SIZE) + NONSENSE
IN_FRONT = {(BIG, 15): bytes(SIZE)}
TIMER = framing.section_full(9, "timer", framing.timer_body(), version_id=2)
STATE = framing.section_full(10, "globalstate", framing.globalstate_body("running"))
DESCRIPTION = vmdesc.vmdescription(
    {
        "page_size": SIZE,
        "devices": [
            vmdesc.old_style_device("timer", len(framing.timer_body())),
            vmdesc.old_style_device("globalstate", len(framing.globalstate_body("running"))),
        ],
    }
)


def content(page: int, version: int = 0) -> bytes:
    return bytes([page]) * (SIZE - 1) + bytes([version])


def plain(page: int, name: str | None = None, version: int = 0) -> bytes:
    return ram.page(page * SIZE, content(page, version), name)


def delta(page: int, before: int, after: int) -> bytes:
    body = xbzrle.encode(content(page, before), content(page, after))
    return ram.xbzrle(page * SIZE, body)


def stream(
    *parts: bytes,
    blocks: list[ram.BlockEntry] | None = None,
    devices: bytes = TIMER + STATE,
    description: bytes = DESCRIPTION,
) -> bytes:
    """Build a stream whose PART sections have these bodies."""
    start = framing.section_start(RAM_ID, "ram", ram.block_list(blocks or BLOCKS))
    went_on = b"".join(framing.section_part(RAM_ID, part + ram.eos()) for part in parts)
    return (
        framing.file_header() + framing.configuration("none") + start + went_on
        + framing.section_end(RAM_ID, ram.eos()) + devices + framing.end_of_file() + description
    )  # fmt: skip


def found_in(data: bytes, tmp_path: Path) -> tuple[dict[tuple[str, int], bytes], Rescue]:
    """Return the known pages, and what else was found."""
    path = tmp_path / "damaged"
    path.write_bytes(data)
    pages = {}
    with rescue(path) as found:
        for view in found.blocks:
            for first, count in view.known_runs():
                for page in range(first, first + count):
                    pages[view.name, page] = view.read(page * SIZE, SIZE)
    return pages, found


def test_sound_stream_is_whole(tmp_path: Path) -> None:
    pages, found = found_in(stream(plain(0, BIG) + plain(1) + plain(2, SMALL)), tmp_path)
    assert found.whole
    assert pages == {(BIG, 0): content(0), (BIG, 1): content(1), (SMALL, 2): content(2)}


def test_pages_behind_damage_have_the_block_that_is_named(tmp_path: Path) -> None:
    data = stream(plain(0, BIG) + DAMAGE, plain(1, SMALL) + plain(2))
    pages, found = found_in(data, tmp_path)
    assert pages == IN_FRONT | {
        (BIG, 0): content(0),
        (SMALL, 1): content(1),
        (SMALL, 2): content(2),
    }
    assert found.versions_may_be_old
    assert [element.name for element, _ in found.elements if element.complete] == [
        "ram", "ram", "ram", "timer", "globalstate",
    ]  # fmt: skip


def test_first_footer_with_another_id_is_damage_and_no_stream_without_footers(
    tmp_path: Path,
) -> None:
    """The damage goes on into the next section, so that only its footer is left."""
    data = stream(plain(0, BIG) + plain(1, SMALL))
    at = data.index(bytes([0x7E]) + RAM_ID.to_bytes(4, "big"))
    _, found = found_in(data[: at + 1] + NONSENSE + data[at + 1 + len(NONSENSE) :], tmp_path)
    assert [element.name for element, _ in found.elements if element.complete][-2:] == [
        "timer", "globalstate",
    ]  # fmt: skip


@pytest.mark.parametrize("change", ["insert", "delete"])
@pytest.mark.parametrize("length", [1, 7, 8, 100, SIZE])
@pytest.mark.parametrize("first", [0x00, 0x10, 0x20, 0x22, 0xFF])
def test_page_that_lost_or_gained_bytes_is_not_known(
    change: str, length: int, first: int, tmp_path: Path
) -> None:
    """What stands where the next word should be has any flag; each of these says EOS to a QEMU."""
    sent = [bytes([first, page]) * (SIZE // 2) for page in range(4)]
    parts = [ram.page(page * SIZE, sent[page], None if page else BIG) for page in range(4)]
    at = len(parts[1]) - SIZE + 1000  # in page 1
    lost = length if change == "delete" else 0
    put = bytes([first]) * (0 if change == "delete" else length)
    rest = parts[1][at:] + parts[2]
    parts[1:3] = [parts[1][:at] + put + rest[lost:]]
    pages, found = found_in(stream(b"".join(parts), plain(9, BIG)), tmp_path)
    assert not found.whole
    assert pages.keys() >= {(BIG, 0), (BIG, 9)}
    assert pages.pop((BIG, 9)) == content(9)
    assert {place: sent[place[1]] for place in pages} == pages


def test_older_version_of_a_page_that_is_doubtful_is_not_taken_for_it(tmp_path: Path) -> None:
    pages, found = found_in(stream(plain(0, BIG), plain(0, BIG, 1) + NONSENSE), tmp_path)
    assert pages == {}
    assert "the page right in front of the damage may lack bytes: it is left out" in found.reasons


def test_stream_that_is_cut_short_keeps_its_last_page(tmp_path: Path) -> None:
    data = stream(plain(0, BIG) + plain(1))
    end = data.index(content(1)) + SIZE
    for more in range(9):
        pages, found = found_in(data[: end + more], tmp_path)
        assert pages == {(BIG, 0): content(0), (BIG, 1): content(1)}
        assert not found.whole


@pytest.mark.parametrize("at", [10, 20])
def test_device_of_another_length_than_described_is_not_whole(at: int, tmp_path: Path) -> None:
    """Its footer is where it ends, but a byte of it is lost, and others have moved."""
    body = framing.timer_body()
    short = framing.section_full(9, "timer", body[:at] + body[at + 1 :], version_id=2)
    _, found = found_in(stream(plain(0, BIG), devices=short + STATE), tmp_path)
    assert not found.guest_whole
    assert [device.name for device in found.missing] == ["timer"]
    assert f"expected {len(body)} bytes" in str(found.damage[0])


def test_device_whose_end_nothing_confirms_is_not_whole(tmp_path: Path) -> None:
    """Its footer has another id, which may be that of a later device; no description tells."""
    other = TIMER[:-4] + (10).to_bytes(4, "big")
    _, found = found_in(stream(plain(0, BIG), devices=other + STATE, description=b""), tmp_path)
    assert not found.guest_whole
    kept = [element.name for element, _ in found.elements if element.complete]
    assert kept == ["ram", "ram", "ram", "globalstate"]


def test_last_section_of_ram_that_is_damaged_leaves_versions_old(tmp_path: Path) -> None:
    data = stream(plain(0, BIG), plain(0, BIG, 1))
    at = data.index(content(0, 1)) - 8  # its word
    _, found = found_in(data[:at] + NONSENSE + data[at + 64 :], tmp_path)
    assert found.versions_may_be_old


def test_scattered_pages_are_all_written_and_no_other(tmp_path: Path) -> None:
    """Alone, in runs, with short and long gaps, zero and not, over a step of the writer."""
    seeded = random.Random("scattered")  # noqa: S311  # a choice that can be repeated
    page = 0
    records: list[bytes] = []
    sent: dict[tuple[str, int], bytes] = {}
    while page < 6000:
        for at in range(page, page + seeded.choice((1, 1, 1, 2, 30))):
            zero = seeded.random() < 0.5
            sent[BIG, at] = bytes(SIZE) if zero else content(1 + at % 250)
            name = None if records else BIG
            build = ram.zero(at * SIZE, name) if zero else ram.page(at * SIZE, sent[BIG, at], name)
            records.append(build)
            page = at + 1
        page += seeded.choice((1, 1, 1, 3, 16, 17, 200))
    data = stream(b"".join(records), blocks=[ram.BlockEntry(BIG, 8000 * SIZE)], description=b"")
    path = tmp_path / "damaged"
    path.write_bytes(data[:-40])  # in the last device
    done = salvage(path, out=tmp_path / "out")
    assert not done.found.guest_whole
    assert pages_of(tmp_path / "out", SIZE) == {(b"big", at): sent[BIG, at] for _, at in sent}


@pytest.mark.parametrize("pages", [2, 5, 60])
def test_damage_does_not_make_pages_larger(pages: int, tmp_path: Path) -> None:
    """Nothing but the records tells their size, and a larger page would reach over the damage."""
    records = [plain(page, None if page else BIG) for page in range(pages)]
    blocks = [ram.BlockEntry(BIG, 64 * SIZE)]
    data = stream(*records, blocks=blocks, devices=b"", description=b"")
    end = data.index(records[-1]) + len(records[-1])
    found_pages, found = found_in(data[:end] + bytes(1 << 20), tmp_path)
    assert found.page_size_len == SIZE
    assert found_pages == {(BIG, page): content(page) for page in range(pages - 1)}


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_page_of_a_preempt_channel_that_gained_a_byte_is_not_known(
    at: float, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    name = "qemu-11.1-postcopy-preempt"
    paths = capture_files(name)
    versions = contents(truth_of(FIXTURES[name], paths))
    data = paths[1].read_bytes()
    place = int(len(data) * at)
    (tmp_path / "channel").write_bytes(data[:place] + b"\0" + data[place:])
    done = salvage(paths[0], tmp_path / "channel", out=tmp_path / "out")
    assert not done.found.whole
    for page, held in pages_of(tmp_path / "out", SIZE).items():
        assert held in versions[page]


def test_block_that_is_not_named_is_found_by_its_length(tmp_path: Path) -> None:
    """Page 9 is in none but the big block, so the pages before it in its chain are, too."""
    data = stream(plain(0, BIG) + DAMAGE, plain(1) + plain(9), plain(2) + plain(3, SMALL))
    pages, _ = found_in(data, tmp_path)
    assert pages == {
        **IN_FRONT,
        **{(BIG, page): content(page) for page in (0, 1, 2, 9)},
        (SMALL, 3): content(3),
    }


def test_block_that_could_be_either_is_not_guessed(tmp_path: Path) -> None:
    data = stream(plain(0, BIG) + DAMAGE, plain(1) + plain(2), plain(9, BIG))
    pages, _ = found_in(data, tmp_path)
    assert pages == IN_FRONT | {(BIG, 0): content(0), (BIG, 9): content(9)}


def test_delta_is_applied_to_the_page_that_it_changes(tmp_path: Path) -> None:
    pages, found = found_in(stream(plain(0, BIG), delta(0, 0, 1), delta(0, 1, 2)), tmp_path)
    assert found.whole
    assert pages == {(BIG, 0): content(0, 2)}


def test_delta_behind_damage_changes_a_version_that_may_be_lost(tmp_path: Path) -> None:
    data = stream(
        plain(0, BIG) + plain(1) + DAMAGE,
        plain(9, BIG) + delta(0, 1, 2),
        plain(1, BIG, 3) + delta(1, 3, 4),
    )
    pages, _ = found_in(data, tmp_path)
    assert pages == IN_FRONT | {(BIG, 9): content(9), (BIG, 1): content(1, 4)}


def test_delta_of_nothing_is_not_known(tmp_path: Path) -> None:
    pages, _ = found_in(stream(plain(0, BIG) + delta(5, 0, 1)), tmp_path)
    assert pages == {(BIG, 0): content(0)}


@pytest.mark.parametrize(
    "payload",
    [b"\0" * 20, zlib.compress(bytes(SIZE - 1)), zlib.compress(content(1))[:-1]],
    ids=["no-zlib", "short", "cut"],
)
def test_compressed_page_that_cannot_be_decoded_is_not_known(
    payload: bytes, tmp_path: Path
) -> None:
    data = stream(
        plain(1, BIG)
        + ram.compress_page(1 * SIZE, b"", compressed=payload)
        + ram.compress_page(2 * SIZE, content(2))
    )
    pages, found = found_in(data, tmp_path)
    assert pages == {(BIG, 2): content(2)}  # the older version of page 1 is not its last
    assert not found.whole
    assert "1 page payloads cannot be decoded" in found.reasons


def test_delta_that_cannot_be_decoded_is_not_known(tmp_path: Path) -> None:
    broken = ram.xbzrle(0, b"\x00\xff\x7f" + bytes(10))
    pages, found = found_in(stream(plain(0, BIG) + broken + plain(1)), tmp_path)
    assert pages == {(BIG, 1): content(1)}
    assert not found.whole


def test_devices_are_found_again(tmp_path: Path) -> None:
    """The first device is lost with its footer; the second is found by its name."""
    data = stream(plain(0, BIG), devices=TIMER[:30] + NONSENSE + STATE)
    pages, found = found_in(data, tmp_path)
    assert pages == {(BIG, 0): content(0)}
    assert [device.name for device in found.missing] == ["timer"]
    assert found.missing_listed
    assert [e.name for e, _ in found.elements if e.behind_damage] == ["globalstate"]


def test_devices_without_description_are_not_listed(tmp_path: Path) -> None:
    data = stream(plain(0, BIG), devices=TIMER[:30] + NONSENSE + STATE, description=b"")
    _, found = found_in(data, tmp_path)
    assert not found.missing_listed
    assert found.missing == []


def test_huge_block_costs_what_is_known_of_it(tmp_path: Path) -> None:
    blocks = [ram.BlockEntry(BIG, 1 << 55)]
    far = (1 << 55) - SIZE
    data = stream(plain(0, BIG) + ram.page(far, content(7)) + DAMAGE, blocks=blocks)
    (tmp_path / "damaged").write_bytes(data)
    with soon():
        done = salvage(tmp_path / "damaged", out=tmp_path / "out")
    (pages,) = done.found.maps
    assert pages.known_pages == 3
    assert pages.unknown == [(1, 14), (16, (1 << 43) - 17)]
    with qmig.open_capture(tmp_path / "out") as capture:
        assert capture.ram[BIG].read(far, SIZE) == content(7)


def interrupted(tmp_path: Path, *, bits: set[int]) -> bytes:
    """Build a mapped-ram file of two blocks that ends behind its pages."""
    path = tmp_path / "mapped"
    head = framing.file_header() + framing.configuration(
        "none", [framing.capabilities(["mapped-ram"])]
    )
    with path.open("wb") as file:
        file.write(head + framing.section_head(1, RAM_ID, "ram"))
        entries = [
            mapped_ram.MappedBlock(BIG, 16 * SIZE, pages={1: content(1)}, set_pages=frozenset()),
            mapped_ram.MappedBlock(
                SMALL, 4 * SIZE, pages={2: content(2)}, set_pages=frozenset(bits)
            ),
        ]
        mapped_ram.write_start(file, entries)
    return path.read_bytes()


def test_clear_bitmaps_of_an_interrupted_save_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "damaged").write_bytes(interrupted(tmp_path, bits=set()))
    with rescue(tmp_path / "damaged") as found:
        assert [(view.name, list(view.known_runs())) for view in found.blocks] == [
            (BIG, []),
            (SMALL, []),
        ]
        with pytest.raises(qmig.MissingPagesError, match="lost"):
            found.blocks[0].read(SIZE, SIZE)


def test_bitmap_in_front_of_one_that_was_written_was_written(tmp_path: Path) -> None:
    pages, _ = found_in(interrupted(tmp_path, bits={2}), tmp_path)
    assert pages == {
        **{(BIG, page): bytes(SIZE) for page in range(16)},
        **{(SMALL, page): bytes(SIZE) for page in (0, 1, 3)},
        (SMALL, 2): content(2),
    }


def test_body_of_the_marker_is_not_believed(tmp_path: Path) -> None:
    """Whatever stands in the section: an answer or none, in bounded time and memory."""
    (tmp_path / "damaged").write_bytes(stream(plain(0, BIG) + NONSENSE))
    salvage(tmp_path / "damaged", out=tmp_path / "out")
    data = (tmp_path / "out").read_bytes()
    start = data.index(b"qmig/salvaged") + len("qmig/salvaged") + 8
    end = data.index(b"\x7e\x00\x00", start)
    body = bytearray(data[start:end])
    seeded = random.Random("marker")  # noqa: S311  # a choice that can be repeated
    path = tmp_path / "body"
    understood = 0
    for _ in range(300):
        changed = bytearray(body)
        for _ in range(seeded.randrange(4)):
            changed[seeded.randrange(len(changed))] = seeded.choice((0, 1, 0x7F, 0xFF))
        path.write_bytes(changed)
        with FileSource(path) as source, soon():
            understood += read_salvaged(source, 0, len(changed)) is not None
    assert 0 < understood < 300
