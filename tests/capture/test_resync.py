"""A walk that goes on behind damage: what it finds again, and that it names every byte."""

import random

import pytest

from qmig.capture.records import NOT_READ, Record
from qmig.capture.stream import StreamWalk
from tests.builders import framing
from tests.checks.broken_framing import ended, pages, stream
from tests.checks.example import MAIN
from tests.checks.examples import all_examples
from tests.conftest import CaptureFiles
from tests.sources import BytesSource, forward_source

SMALL = ("qemu-10.0-8m", "qemu-10.0-xbzrle", "qemu-5.2-machine-i440fx-2.2", "qemu-11.1-postcopy")


def walked(data: bytes, *, resync: bool = True) -> tuple[StreamWalk, list[tuple[int, int, str]]]:
    """Walk over data; return the walk and offset, length and name of each item."""
    walk = StreamWalk(BytesSource(data), 0, resync=resync)
    items = [
        (item.offset, item.length, item.name if isinstance(item, Record) else "pages")
        for item in walk.records()
    ]
    return walk, items


def assert_tiled(items: list[tuple[int, int, str]], end: int) -> None:
    """Each item begins where the one before ends, up to the end of the data."""
    at = 0
    for offset, length, name in items:
        assert offset == at, name
        at += length
    assert at == end


def whole_sections(walk: StreamWalk) -> set[str]:
    """Return the names of the sections that were read to their ends."""
    return {row.idstr for row in walk.sections.rows if row.complete}


def test_without_damage_nothing_changes(capture_files: CaptureFiles) -> None:
    for name in SMALL[:2]:
        data = capture_files(name)[0].read_bytes()
        walk, items = walked(data)
        _, plain = walked(data, resync=False)
        assert walk.errors == []
        assert items == plain


def test_devices_behind_a_damaged_one_are_found() -> None:
    data = bytearray(ended(stream()))
    head = framing.section_head(framing.SECTION_FULL, 0, "timer", version_id=2)
    at = data.index(head)
    data[at : at + len(head)] = b"\xee" * len(head)
    walk, items = walked(bytes(data))
    assert whole_sections(walk) == {"ram", "globalstate"}
    assert walk.vmdescription is not None
    assert [name for _, _, name in items].count(NOT_READ) == 1
    assert len(walk.errors) == 1
    assert walk.error is walk.errors[0]


def test_ram_goes_on_with_the_next_part() -> None:
    main = stream()
    start = len(main.unfinished())
    main.ram_part(pages())
    data = bytearray(ended(main))
    data[start] = 0x55
    walk, _ = walked(bytes(data))
    assert walk.ram_ended
    assert whole_sections(walk) == {"ram", "timer", "globalstate"}


def test_footers_in_pages_do_not_count() -> None:
    """A page that holds device sections of a stream is no place to go on: no EOS is in front."""
    main = stream()
    start = len(main.unfinished())
    record = (4096 * 7 | 0x08 | 0x20).to_bytes(8, "big")
    footer = framing.section_footer(main.release.ram_id)
    device = framing.section_full(0, "timer", framing.timer_body(), version_id=2)
    page = (footer + device + device + footer).ljust(4096, b"\0")
    main.ram_part(bytes(3) + record + page)
    data = ended(main)
    walk, items = walked(data)
    (place,) = [(offset, length) for offset, length, name in items if name == NOT_READ]
    assert place[0] >= start
    assert place[1] >= len(page)
    assert whole_sections(walk) == {"ram", "timer", "globalstate"}


def test_without_footers_the_next_header_counts() -> None:
    main = stream(release="10.0", footers=False)
    data = bytearray(ended(main))
    head = framing.section_head(framing.SECTION_FULL, 0, "timer", version_id=2)
    data[data.index(head)] = 0x55
    walk, _ = walked(bytes(data))
    assert "globalstate" in whole_sections(walk)
    assert walk.eof_offset is not None


def test_damaged_configuration_costs_itself_alone() -> None:
    data = bytearray(ended(stream()))
    data[9:13] = b"\xff" * 4
    walk, _ = walked(bytes(data))
    assert whole_sections(walk) == {"ram", "timer", "globalstate"}
    assert len(walk.errors) == 1


@pytest.mark.parametrize("rule_id", [i for i in all_examples() if i[:3] in ("QM0", "QM1", "QM4")])
def test_every_byte_of_a_broken_example_has_its_name(rule_id: str) -> None:
    files = all_examples()[rule_id].broken().files
    if rule_id == "QM001":
        return  # no walk begins without the magic
    _, items = walked(files[MAIN])
    assert_tiled(items, len(files[MAIN]))


@pytest.mark.parametrize("name", SMALL)
def test_every_byte_of_a_damaged_fixture_has_its_name(
    name: str, capture_files: CaptureFiles
) -> None:
    data = capture_files(name)[0].read_bytes()
    choice = random.Random(name)  # noqa: S311  # the same in each run
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(choice.choice((1, 2, 8))):
            at = int(len(damaged) * choice.random() ** 3)
            damaged[at : at + choice.choice((1, 4, 16))] = choice.randbytes(choice.choice((1, 4)))
        _, items = walked(bytes(damaged))
        assert_tiled(items, len(damaged))


def test_a_pipe_goes_on_behind_damage_as_well() -> None:
    main = stream()
    main.switchover()
    main.ram_end()
    lost, state = main.standard_sections()
    main.add(lost[:-5] + framing.section_footer(9) + state)
    walk = StreamWalk(forward_source(main.finish(), 1000), 0, resync=True)
    for _ in walk.records():
        pass
    assert whole_sections(walk) == {"ram", "timer", "globalstate"}
    assert len(walk.errors) == 1
