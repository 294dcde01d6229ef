"""Every XBZRLE body in the fixtures that a real QEMU wrote is what the encoder writes."""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import qmig
from qmig.capture.capture import Capture
from qmig.capture.records import PageBatch
from qmig.capture.source import Source
from qmig.memory import PageKind, PageRun
from qmig.pages.xbzrle import decode_into, encode, encode_pages
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES

Pages = np.ndarray[Any, np.dtype[np.uint8]]

REAL = [
    name
    for name, fixture in FIXTURES.items()
    if fixture.origin == "qemu" and "ram:xbzrle" in fixture.covers
]

BATCH = 64  # deltas that are encoded together


class Destination:
    """The memory that a destination has after each record."""

    def __init__(self, capture: Capture, source: Source) -> None:
        size = capture.page_size
        assert size is not None
        self.page_size_len = size.length
        self._source = source
        self._blocks = [
            np.zeros((block.pages(size.length), size.length), np.uint8) for block in capture.blocks
        ]

    def apply(self, run: PageRun) -> Iterator[tuple[Pages, Pages, bytes]]:
        """Take in a run; yield each delta with the page before and after it."""
        pages = self._blocks[run.block]
        if run.kind == PageKind.ZERO:
            pages[run.first_page : run.first_page + run.count] = 0
            return
        assert run.kind in (PageKind.PLAIN, PageKind.COMPRESSED, PageKind.XBZRLE)
        for number in range(run.count):
            offset = run.data_offset + number * run.stride_len
            body = self._source.read_at(offset, run.payload_len)
            page = pages[run.first_page + number]
            if run.kind == PageKind.XBZRLE:
                before = page.copy()
                after = bytearray(page)
                decode_into(after, body)
                page[:] = np.frombuffer(after, np.uint8)
                yield before, page.copy(), body
            else:
                plain = zlib.decompress(body) if run.kind == PageKind.COMPRESSED else body
                page[:] = np.frombuffer(plain, np.uint8)


def deltas(capture: Capture) -> Iterator[tuple[Pages, Pages, bytes]]:
    (container,) = capture.files
    destination = Destination(capture, container.source)
    for item in capture.records():
        if isinstance(item, PageBatch):
            for run in item.runs:
                yield from destination.apply(run)


def test_there_are_bodies_of_every_release() -> None:
    releases = {FIXTURES[name].qemu for name in REAL}
    assert len(releases) >= 6


@pytest.mark.parametrize("name", REAL)
def test_the_encoder_writes_what_qemu_wrote(name: str, capture_files: CaptureFiles) -> None:
    total = 0
    with qmig.open_capture(*capture_files(name)) as capture:
        waiting = list[tuple[Pages, Pages, bytes]]()
        for delta in deltas(capture):
            waiting.append(delta)
            if len(waiting) == BATCH:
                total += compare(waiting)
                waiting = []
        total += compare(waiting)
        counts = [capture.statistics.block(block.index).pages for block in capture.blocks]
    assert total == sum(pages.get(PageKind.XBZRLE, 0) for pages in counts)
    assert total > 0


def compare(some: list[tuple[Pages, Pages, bytes]]) -> int:
    if some:
        old, new, bodies = zip(*some, strict=True)
        page_size_len = len(old[0])
        assert encode_pages(np.array(old), np.array(new), max_len=page_size_len) == list(bodies)
        alone = [encode(*delta[:2], max_len=page_size_len) for delta in some[::4]]
        assert alone == list(bodies[::4])
    return len(some)
