"""Page records and mapped-ram headers are judged on behind what is wrong with one of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from qmig.capture.capture import open_capture
from qmig.checks.judge import Judge
from qmig.checks.validate import validate
from qmig.limits import MAX_DAMAGED_PLACES
from tests.builders import mapped_ram, ram
from tests.builders.machine import around_mapped_ram
from tests.builders.mapped_ram import MappedBlock
from tests.checks.broken_ram import (
    BLOCK,
    BLOCK_LEN,
    CONTENT,
    MACHINE,
    PAGE_LEN,
    PAGES,
    ended,
    first_round,
    started,
)


def found(path: Path) -> list[str]:
    """Return the ids of what is found, in its order."""
    return [finding.rule.id for finding in validate(path).findings]


def written(directory: Path, data: bytes) -> Path:
    path = directory / "main"
    path.write_bytes(data)
    return path


def test_each_damaged_record_is_found_and_all_others_are_read(tmp_path: Path) -> None:
    main = started()
    main.ram_part(
        b"".join(
            [
                ram.zero(0),  # continues nothing
                first_round(PAGES // 2),
                ram.page(BLOCK_LEN, CONTENT),  # outside
                ram.page(0, CONTENT, "nope") + ram.zero(PAGE_LEN) + ram.zero(2 * PAGE_LEN),
                ram.hook(),
                ram.xbzrle(0, b"\0\1x", BLOCK, encoding=9),
                b"".join(ram.zero(at * PAGE_LEN) for at in range(PAGES // 2, PAGES)),
                ram.zero(0, fill=7),
            ]
        )
    )
    path = written(tmp_path, ended(main))
    assert found(path) == ["QM112", "QM114", "QM113", "QM111", "QM116", "QM115"]
    with open_capture(path) as capture:
        Judge(capture).run()
        assert capture.statistics.block(0).seen_pages == PAGES


def test_what_cannot_be_passed_over_is_left_at_the_end_of_its_section(tmp_path: Path) -> None:
    main = started()
    main.ram_part(ram.page(0, CONTENT, BLOCK) + ram.word(PAGE_LEN, ram.FULL) + CONTENT)
    main.ram_part(first_round() + ram.zero(BLOCK_LEN))
    assert found(written(tmp_path, ended(main))) == ["QM110", "QM114"]


def test_pages_of_an_unknown_block_are_one_finding(tmp_path: Path) -> None:
    main = started()
    lost = b"".join(ram.zero(at * PAGE_LEN) for at in range(1, 2 * MAX_DAMAGED_PLACES))
    main.ram_part(first_round() + ram.zero(0, "nope") + lost)
    assert found(written(tmp_path, ended(main))) == ["QM113"]


def test_places_that_are_passed_over_are_bounded(tmp_path: Path) -> None:
    main = started()
    main.ram_part(first_round() + ram.zero(BLOCK_LEN) * (MAX_DAMAGED_PLACES + 50))
    verdict = validate(written(tmp_path, ended(main)))
    assert set(verdict.counts) == {"QM114"}
    assert MAX_DAMAGED_PLACES <= verdict.counts["QM114"] <= MAX_DAMAGED_PLACES + 1


def test_pages_without_a_block_list_are_no_findings(tmp_path: Path) -> None:
    main = started(ram.eos())
    main.ram_part(first_round())
    verdict = validate(written(tmp_path, ended(main)))
    assert verdict.findings == []
    (error,) = verdict.unjudged
    assert "no list" in str(error)


def _mapped(directory: Path, blocks: list[MappedBlock]) -> Path:
    head, rest = around_mapped_ram(machine=MACHINE)
    path = directory / "mapped"
    mapped_ram.write_capture(path, head, blocks, rest)
    return path


def test_each_wrong_header_is_found(tmp_path: Path) -> None:
    block = MappedBlock("a", 16 * PAGE_LEN, {3: CONTENT})
    blocks = [
        replace(block, version=2),
        replace(block, name="b"),
        replace(block, name="c", page_size=8192),
        replace(block, name="d", version=0),
    ]
    assert found(_mapped(tmp_path, blocks)) == ["QM201", "QM204", "QM202"]


FAR = (1 << 64) - (1 << 20)


@pytest.mark.parametrize(("bitmap_offset", "pages_offset"), [(FAR, None), (None, FAR)])
def test_offsets_that_no_file_has_are_bounded(
    bitmap_offset: int | None, pages_offset: int | None, tmp_path: Path
) -> None:
    block = MappedBlock(
        "a",
        16 * PAGE_LEN,
        {3: CONTENT},
        bitmap_offset=bitmap_offset,
        pages_offset=pages_offset,
    )
    ids = found(_mapped(tmp_path, [block]))
    assert ids
    assert ids[0] in ("QM207", "QM210", "QM211")


@pytest.mark.parametrize(
    ("pages", "cut_page", "first", "wanted", "available"),
    [
        ({1, 70}, 0, 1, 1, 0),  # all of it
        ({1, 70}, 2, 70, 1, 0),
        (set(range(600)), 300, 256, 256, 44),  # inside the second MiB of a run
        (set(range(600)), 512, 512, 88, 0),
        ({5, 6, 7}, 6, 5, 3, 1),
    ],
)
def test_the_first_lost_pages_are_those_that_qemu_reads_then(
    pages: set[int], cut_page: int, first: int, wanted: int, available: int, tmp_path: Path
) -> None:
    content = dict.fromkeys(pages, CONTENT)
    path = _mapped(tmp_path, [MappedBlock(BLOCK, BLOCK_LEN, content)])
    pages_offset = mapped_ram.PAGES_ALIGNMENT
    with path.open("r+b") as file:
        file.truncate(pages_offset + cut_page * PAGE_LEN)
    (finding,) = (f for f in validate(path).findings if f.rule.id == "QM211")
    assert finding.message == (
        f"(ram) failed to read page {first * PAGE_LEN:x}from file offset "
        f"{pages_offset + first * PAGE_LEN:x}: Partial read of size {available * PAGE_LEN}, "
        f"expected {wanted * PAGE_LEN}"
    )
