"""Damage in the middle: what is claimed is what some version was, and devices are found behind."""

import random
from pathlib import Path

import pytest

import qmig
from fixtures.catalogue import Fixture
from qmig.salvaging import salvage
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture
from tests.oracle import FULL, MainWalk
from tests.oracle_channel import page_size_of
from tests.property.damage import sparse_copy
from tests.salvage.output import pages_of
from tests.salvage.truth import Truth, contents, truth_of
from tests.unwrap import unwrap

SAMPLE = 2  # damaged places of a fixture in the plain test run
THOROUGH = 30
MOST_LEN = 20_000


Sections = list[tuple[bytes, int, bytes, int, int]]


def fixture_without_footers(fixture: Fixture) -> bool:
    return "framing:no-footers" in fixture.covers


def whole_sections(path: Path, page_size: int) -> Sections:
    """Return name, instance, bytes and place of each FULL section, by the independent reader."""
    wrapped = unwrap(path)
    found = MainWalk(wrapped.data, page_size, offset=wrapped.stream_offset).walk()
    return [
        (
            section.idstr,
            section.instance_id,
            bytes(wrapped.data[section.offset : section.end]),
            section.offset,
            section.end,
        )
        for section in found.sections
        if section.kind == FULL
    ]


def hit(truth: Truth, file: int, start: int, end: int) -> set[tuple[bytes, int]]:
    """Return the pages of which some version has bytes in [start, end) of a file's stream."""
    size = truth.page_size
    found = {
        (version.block, version.page)
        for version in truth.versions
        if version.file == file and version.begin < end and version.end > start
    }
    for block in truth.mapped[0] if truth.mapped else ():
        pages = block.used_length // size
        for page in range(pages) if block.pages_offset else ():
            at, bit_at = block.pages_offset + page * size, block.bitmap_offset + page // 8
            if (at < end and at + size > start) or start <= bit_at < end:
                found.add((block.name, page))
    return found


def damaged(
    fixture: Fixture, paths: list[Path], folder: Path, seeded: random.Random
) -> tuple[list[Path], int, int, int]:
    """Copy the files with some bytes of one of them written over; return what was."""
    copies = [folder / path.name for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        sparse_copy(path, copy)
    index = seeded.randrange(len(paths))
    size = copies[index].stat().st_size
    start = seeded.randrange(8, size)
    length = min(size - start, seeded.choice((1, 8, 100, seeded.randrange(1, MOST_LEN))))
    assert fixture.files
    with copies[index].open("r+b") as file:
        file.seek(start)
        file.write(seeded.randbytes(length))
    return copies, index, start, start + length


@each_fixture
def test_no_page_is_claimed_that_never_was(
    name: str, capture_files: CaptureFiles, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    fixture, paths = FIXTURES[name], capture_files(name)
    truth = truth_of(fixture, paths)
    versions = contents(truth)
    sections = whole_sections(paths[0], truth.page_size)
    seeded = random.Random(f"damage {name}")  # noqa: S311  # a choice that can be repeated
    out = tmp_path / "out"
    for _ in range(THOROUGH if pytestconfig.getoption("--thorough") else SAMPLE):
        copies, index, start, end = damaged(fixture, paths, tmp_path, seeded)
        where = f"{copies[index].name} damaged at {start} to {end}"
        try:
            salvage(*copies, out=out, force=True)
        except (qmig.SourceError, qmig.StreamError):
            assert start < truth.wrapper_len + 2048 or truth.codec, where
            continue
        if truth.codec is not None:
            continue  # any byte may be hit
        spared = hit(truth, index, start, end)
        page_size = page_size_of(fixture.covers)
        for place, page in pages_of(out, page_size).items():
            assert place in spared or page in versions.get(place, ()), f"{where}: {place}"
        if index == 0 and not fixture_without_footers(fixture):
            kept = {section[:3] for section in whole_sections(out, page_size)}
            behind = [section for section in sections if section[3] >= end]
            before = [section for section in sections if section[4] <= start]
            # One that begins where the damage ends may have lost the footer in front of it, and
            # the footer of the one before the damage counts with a sound header behind it alone.
            near = before[:-1] + behind[1:]
            lost = [section[:2] for section in near if section[:3] not in kept]
            assert not lost, where
