"""A stream that comes through a pipe is read as the same stream in a file.

A pipe cannot be looked ahead of, so the vmdescription comes too late to help: the page size is
found otherwise, and the ends of sections by their footers.
"""

import pytest

import qmig
from qmig.capture.stream import StreamWalk
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.golden.test_fast_walk import pages_of
from tests.oracle_channel import page_size_of
from tests.sources import forward_source
from tests.unwrap import unwrap

PIECE_LEN = 10_007

STREAMS = [
    name for name, fixture in FIXTURES.items()
    if fixture.files[0].role in ("main", "container")
    and sum(file.length for file in fixture.files) < 20_000_000  # what is longer is mostly holes
]  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_a_piped_stream_is_read_like_a_file(name: str, capture_files: CaptureFiles) -> None:
    path = capture_files(name)[0]
    plain = unwrap(path)
    start = plain.stream_offset
    mapped = any(cover.startswith("mapped-ram") for cover in FIXTURES[name].covers)
    front = start if mapped else 0  # mapped-ram's own offsets count from the file's first byte
    data = plain.data[start - front :]
    with qmig.open_capture(path) as capture:
        expected = capture.stream
        rows = [
            (row.kind, row.section_id, row.idstr, row.instance_id, row.version_id,
             row.offset - start, row.length, row.count, row.complete)
            for row in expected.sections.rows
        ]  # fmt: skip
        errors = [] if expected.error is None else [expected.error.offset - start]
    piped = StreamWalk(forward_source(data, PIECE_LEN), front)
    pages = pages_of(piped.records())
    found = [
        (row.kind, row.section_id, row.idstr, row.instance_id, row.version_id,
         row.offset - front, row.length, row.count, row.complete)
        for row in piped.sections.rows
    ]  # fmt: skip
    assert found == rows
    assert ([] if piped.error is None else [piped.error.offset - front]) == errors
    assert piped.page_size is not None
    assert expected.page_size is not None
    assert piped.page_size.length == expected.page_size.length
    if pages:
        assert piped.page_size.length == page_size_of(FIXTURES[name].covers)
    assert (piped.vmdescription is None) == (expected.vmdescription is None)


def test_most_fixtures_are_piped() -> None:
    assert len(STREAMS) > 0.95 * len(FIXTURES)
