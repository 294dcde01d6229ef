"""Every fixture, cut at every border of its records: named, and never more than named.

The cut is made in a view of the file, not in a copy, which is what makes all of them affordable;
`test_bad_input` cuts files, fewer times, and asks for all that a user sees of them.
"""

import random

import pytest

import qmig
from qmig.capture.channel import ChannelWalk, Packet
from qmig.capture.container import Role
from qmig.capture.records import PageBatch
from qmig.capture.source import SPAN_LEN, SPAN_MIN_LEN, Source
from qmig.capture.stream import StreamWalk
from tests.conftest import CaptureFiles
from tests.corpus import each_fixture
from tests.property.patience import soon

SAMPLE = 20  # borders of a fixture that the plain test run takes
# `--thorough` takes all 85,740 borders of the 223 fixtures that have no more than this. The two
# others have 570,000 together, at half a second a cut, and are sampled.
ALL_UP_TO = 2000
SAMPLED_OF_MORE = 400


class CutSource(Source):
    """The first bytes of another source."""

    def __init__(self, whole: Source, length: int) -> None:
        self.name = whole.name
        self._whole = whole
        self._length = length

    def read_at(self, offset: int, length: int) -> bytes:
        return self._whole.read_at(offset, max(0, min(length, self._length - offset)))

    def end(self) -> int | None:
        return self._length

    def span(self, offset: int) -> tuple[bytes, int]:
        data, base = self._span
        if not base <= offset <= base + len(data) - SPAN_MIN_LEN:
            data, base = self._span = self.read_at(offset, SPAN_LEN), offset
        return data, base


Walk = StreamWalk | ChannelWalk


def new_walk(source: Source, offset: int, role: Role, page_size_len: int | None) -> Walk:
    if role is Role.MAIN:
        return StreamWalk(source, offset)
    return ChannelWalk(source, offset, page_size_len=page_size_len)


def borders(walk: Walk) -> set[int]:
    found: set[int] = set()
    for item in walk.records() if isinstance(walk, StreamWalk) else walk.items():
        if isinstance(item, PageBatch):
            for run in item.runs:
                last = run.data_offset + (run.count - 1) * run.stride_len
                found |= {run.data_offset, last + run.payload_len}
        elif not isinstance(item, Packet):
            found |= {item.offset, item.offset + item.length}
    return found


def walked_to(walk: Walk, start: int) -> int:
    """Walk; return where the records end, which must lie next to each other."""
    at = start
    for item in walk.records() if isinstance(walk, StreamWalk) else walk.items():
        if not isinstance(item, Packet):
            assert item.offset == at
            at += item.length
    return at


@each_fixture
def test_a_cut_at_any_border_is_named(
    name: str, capture_files: CaptureFiles, pytestconfig: pytest.Config
) -> None:
    cuts = 0
    with qmig.open_capture(*capture_files(name), keep_all=True) as capture:
        size = capture.page_size.length if capture.page_size else None
        for container in capture.files:
            if container.role not in (Role.MAIN, Role.CHANNEL):
                continue
            source, start, role = container.source, container.stream_offset, container.role
            every = borders(new_walk(source, start, role, size))
            end = source.end()
            assert end is not None
            chosen = sorted(at for at in every if start < at < end)
            most = ALL_UP_TO if pytestconfig.getoption("--thorough") else SAMPLE
            if len(chosen) > most:
                seeded = random.Random(name)  # noqa: S311  # a choice that can be repeated
                chosen = sorted(seeded.sample(chosen, min(most, SAMPLED_OF_MORE)))
            for border in chosen:
                walk = new_walk(CutSource(source, border), start, role, size)
                with soon():
                    assert walked_to(walk, start) == border, f"cut at {border}"
                if isinstance(walk, StreamWalk) and walk.eof_offset is None:
                    assert walk.error is not None, f"cut at {border}"
                if walk.error is not None:
                    line = str(walk.error)
                    assert "\n" not in line
                    assert source.name in line
                    assert "expected" in line
                    assert "found" in line
                    assert walk.error.offset <= border
                cuts += 1
    assert cuts > 0
