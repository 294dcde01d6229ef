"""Every byte of every fixture belongs to a named record, and to the right one.

That records tile a file could be had for nothing: one record of everything does. So where they
begin and end is held against `tests.oracle`, which knows the format and nothing of qmig.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

import qmig
from qmig.capture.capture import Capture
from qmig.capture.channel import Packet
from qmig.capture.container import Container, Role
from qmig.capture.records import Opaque, PageBatch, Record
from qmig.memory import PageKind
from tests import oracle
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, Item, each_fixture, streams
from tests.oracle_channel import page_size_of, walk_channel
from tests.unwrap import Unwrapped, unwrap

# Names of the oracle's frames -> those of the records that make them up, where they differ.
RECORDS_OF_FRAMES = {
    "subsection": "configuration subsection",
    "subsection body": ("configuration/target-page-bits", "configuration/uuid"),
    "capabilities": "configuration/capabilities",
    "capability": "configuration/capabilities",
    "trailing": ("padding", "trailing data"),
}
KINDS = {
    oracle.ZERO: PageKind.ZERO,
    oracle.FILL: PageKind.FILL,
    oracle.PLAIN: PageKind.PLAIN,
    oracle.XBZRLE: PageKind.XBZRLE,
    oracle.COMPRESSED: PageKind.COMPRESSED,
}


def assert_tiled(items: Iterable[Item], start: int, end: int) -> list[Record | PageBatch]:
    """Check that items lie behind one another from `start` to `end`; return them."""
    at = start
    tiles: list[Record | PageBatch] = []
    for item in items:
        if isinstance(item, Packet):  # comes behind its records
            assert item.payload_offset + item.payload_len == at
            continue
        assert item.offset == at, f"{item} after {tiles[-1] if tiles else None}"
        assert item.length > 0
        at += item.length
        tiles.append(item)
    assert at == end
    return tiles


@each_fixture
def test_records_tile_each_file(name: str, capture_files: CaptureFiles) -> None:
    with qmig.open_capture(*capture_files(name)) as capture:
        walked = 0
        for container, items in streams(capture):
            plain = unwrap(Path(container.path))
            assert_spans_tile(container, plain)
            tiles = assert_tiled(items, plain.stream_offset, len(plain.data))
            assert all(not isinstance(tile, Record) or tile.name for tile in tiles)
            walked += 1
        assert walked == len(FIXTURES[name].files)


def assert_spans_tile(container: Container, plain: Unwrapped) -> None:
    """Check the records of the wrapping: from byte 0 to the stream, or its compressed form."""
    at = 0
    for span in container.spans:
        assert span.offset == at
        assert span.length > 0
        assert span.record
        at += span.length
    assert at == plain.wrapper_len
    assert container.stream_offset == plain.stream_offset
    assert container.compressed == (plain.codec is not None)
    end = container.source.end()
    assert end is None or end == len(plain.data)


def oracle_walks(
    name: str, capture: Capture, files: list[Path]
) -> dict[str, tuple[oracle.Walked, Unwrapped]]:
    """Walk over all files that have RAM records, with the oracle."""
    page_size = page_size_of(FIXTURES[name].covers)
    before: oracle.MainWalk | None = None
    walks = {}
    by_path = {container.path: container for container in capture.files}
    roles = [Role.MAIN, Role.RECOVERY, Role.PREEMPT]
    for path in sorted(
        (path for path in files if by_path[str(path)].role in roles),
        key=lambda path: roles.index(by_path[str(path)].role),
    ):
        plain = unwrap(path)
        role = by_path[str(path)].role
        walk = oracle.MainWalk(plain.data, page_size, offset=plain.stream_offset, resumes=before)
        walks[str(path)] = (walk.walk_bare() if role is Role.PREEMPT else walk.walk(), plain)
        before = walk
    return walks


def frame_offsets(items: list[Record | PageBatch], walked: oracle.Walked) -> set[tuple[int, str]]:
    """Return where records begin, under the names of the oracle's frames."""
    names = {frame.offset: frame.name for frame in walked.frames}
    found = set()
    for item in items:
        if isinstance(item, PageBatch) or item.offset >= walked.end:
            continue
        frame = names.get(item.offset)
        if frame is None:
            continue
        expected = RECORDS_OF_FRAMES.get(frame, frame)
        same = frame == "chunk" or item.name in (
            (expected,) if isinstance(expected, str) else expected
        )
        found.add((item.offset, frame if same else item.name))
    return found


@each_fixture
def test_records_begin_where_the_oracle_says(name: str, capture_files: CaptureFiles) -> None:
    files = capture_files(name)
    with qmig.open_capture(*files) as capture:
        walks = oracle_walks(name, capture, files)
        for container, items in streams(capture):
            if container.role is Role.CHANNEL:
                continue
            walked, plain = walks.pop(container.path)
            tiles = [item for item in items if not isinstance(item, Packet)]
            assert frame_offsets(tiles, walked) == {(f.offset, f.name) for f in walked.frames}
            assert_not_read(tiles, walked, len(plain.data))
            assert_words(tiles, walked)
            assert_pages(tiles, walked)
        assert not walks


def assert_not_read(tiles: list[Record | PageBatch], walked: oracle.Walked, end: int) -> None:
    """Check that exactly what the oracle could not read either is called so."""
    damaged = [
        tile.offset for tile in tiles if isinstance(tile, Opaque) and tile.name == "not read"
    ]
    assert damaged == ([] if walked.end == end else [walked.end])
    if walked.whole:
        assert walked.end == end


def assert_words(tiles: list[Record | PageBatch], walked: oracle.Walked) -> None:
    """Check that the two agree on every word that is no page record, and on nothing else."""
    words = [t.offset for t in tiles if isinstance(t, Record) and t.name == "RAM word"]
    assert words == [frame.offset for frame in walked.frames if frame.name == "RAM word"]


def assert_pages(tiles: list[Record | PageBatch], walked: oracle.Walked) -> None:
    """Check every page: block, kind, index, and where its payload is."""
    found = [
        (run.block, run.kind, run.first_page + i, run.data_offset + i * run.stride_len,
         run.payload_len)
        for tile in tiles if isinstance(tile, PageBatch)
        for run in tile.runs for i in range(run.count)
    ]  # fmt: skip
    assert found == [(block, KINDS[kind], *rest) for block, kind, *rest in walked.pages]


@each_fixture
def test_section_table_is_complete(name: str, capture_files: CaptureFiles) -> None:
    """The table's rows, and what lies between sections, add up to the whole stream."""
    files = capture_files(name)
    with qmig.open_capture(*files) as capture:
        walks = oracle_walks(name, capture, files)
        assert capture.main is not None
        walked, plain = walks[capture.main.path]
        stream = capture.stream
        sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        rows = []
        for section in walked.sections:
            parts = section.kind == oracle.PART
            key = (section.section_id, section.kind if parts else -section.offset - 1)
            if key not in sums:
                rows.append((section.offset, key, section))
            sums[key][0] += 1
            sums[key][1] += section.end - section.offset
        complete = [row for row in stream.sections.rows if row.complete]
        rows.sort(key=lambda row: row[0])
        expected = [
            (s.kind, s.section_id, s.idstr.decode(), s.instance_id, s.version_id, at, *sums[key])
            for at, key, s in rows
        ]
        found = [
            (row.kind, row.section_id, row.idstr, row.instance_id, row.version_id, row.offset,
             row.count, row.length)
            for row in complete
        ]  # fmt: skip
        if stream.error is None:
            assert found == expected
            assert len(complete) == len(stream.sections.rows)
            between = sum(
                frame.end - frame.offset
                for frame in walked.frames
                if not any(s.offset <= frame.offset < s.end for s in walked.sections)
            )
            total = sum(row.length for row in stream.sections.rows)
            assert total + between == len(plain.data) - plain.stream_offset
            assert stream.eof_offset in {f.offset for f in walked.frames if f.name == "EOF"}
        else:  # one row may have broken off; its sums are those of its first parts
            assert {row[:6] for row in found} <= {row[:6] for row in expected}
            assert len(expected) - len(found) <= 1
            assert len(stream.sections.rows) - len(complete) <= 1


@pytest.mark.parametrize(
    "name", [name for name, f in FIXTURES.items() if any(x.role == "channel" for x in f.files)]
)
def test_packets_are_where_the_oracle_says(name: str, capture_files: CaptureFiles) -> None:
    page_size = page_size_of(FIXTURES[name].covers)
    with qmig.open_capture(*capture_files(name)) as capture:
        channels = 0
        for container, items in streams(capture):
            if container.role is not Role.CHANNEL:
                continue
            channels += 1
            listed = list(items)
            first, packets, end = walk_channel(Path(container.path).read_bytes(), page_size)
            assert end == container.source.end()
            assert isinstance(listed[0], Record)
            assert listed[0].length == first
            found = [item for item in listed if isinstance(item, Packet)]
            assert [
                (p.offset, p.payload_offset - p.offset, p.payload_len, p.flags,
                 len(p.normal_pages), len(p.zero_pages))
                for p in found
            ] == [
                (p.offset, p.header_len + p.offsets_len, p.payload_len, p.flags, p.normal, p.zero)
                for p in packets
            ]  # fmt: skip
            heads = [i for i in listed if isinstance(i, Record) and i.name.endswith("header")]
            assert [(i.offset, i.length) for i in heads] == [
                (p.offset, p.header_len) for p in packets
            ]
        assert channels == sum(file.role == "channel" for file in FIXTURES[name].files)
