"""The walk over page records in runs gives what reading each record through its schema gives."""

from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qmig
from qmig.capture import source as source_module
from qmig.capture.ram import PageRecordReader
from qmig.capture.records import PageBatch, Record
from qmig.capture.source import Cursor, Source
from qmig.errors import StreamError
from qmig.memory import PageKind, RamBlock
from tests.builders import ram
from tests.conftest import CaptureFiles
from tests.corpus import Item, each_fixture, streams
from tests.sources import BytesSource, forward_source

Page = tuple[int, int, int, int, int]
MIB = 1 << 20
GIB = 1 << 30


def pages_of(items: Iterable[Item]) -> list[Page]:
    """Expand runs: block, kind, page, offset of the payload, its length."""
    return [
        (run.block, run.kind, run.first_page + i, run.data_offset + i * run.stride_len,
         run.payload_len)
        for item in items if isinstance(item, PageBatch)
        for run in item.runs for i in range(run.count)
    ]  # fmt: skip


@each_fixture
def test_fast_walk_gives_the_pages_of_the_schema_walk(
    name: str, capture_files: CaptureFiles
) -> None:
    files = capture_files(name)
    with qmig.open_capture(*files) as fast, qmig.open_capture(*files) as careful:
        fast_pages = [pages_of(items) for _, items in streams(fast)]
        careful_pages = [pages_of(items) for _, items in streams(careful, careful=True)]
        assert fast_pages == careful_pages


@dataclass(frozen=True)
class Run:
    """Pages that follow one another, each in a record of its own."""

    block: int
    kind: PageKind
    first_page: int
    count: int
    named: bool
    payload: bytes


@dataclass(frozen=True)
class Records:
    """The body of a section and the pages that it holds.

    Attributes:
        page_size: bytes of a page.
        blocks: the block list.
        data: records up to and including EOS.
        start: where the first one begins in it.
        pages: what a walk must give, as `pages_of` has it.
        flush_words: MULTIFD_FLUSH words among them.
    """

    page_size: int
    blocks: list[RamBlock]
    data: bytes
    start: int
    pages: list[Page]
    flush_words: int


NAMES = ("pc.ram", "b", "x" * 255)


def build(page_size: int, lengths: list[int], runs: list[Run | None], start: int) -> Records:
    """Write records; None stands for a MULTIFD_FLUSH word."""
    data = bytearray(bytes(start))
    pages: list[Page] = []
    current = -1
    for run in runs:
        if run is None:
            data += ram.multifd_flush()
            continue
        for page in range(run.first_page, run.first_page + run.count):
            name = NAMES[run.block] if run.named or run.block != current else None
            current = run.block
            record = page_record(run, page * page_size, page_size, name)
            data += record
            kept = 1 if run.kind in (PageKind.ZERO, PageKind.FILL) else len(run.payload)
            if run.kind is PageKind.PLAIN:
                kept = page_size
            pages.append((run.block, run.kind, page, len(data) - kept, kept))
    data += ram.eos()
    blocks = [RamBlock(index, NAMES[index], length, 0) for index, length in enumerate(lengths)]
    flush_words = sum(run is None for run in runs)
    return Records(page_size, blocks, bytes(data), start, pages, flush_words)


def page_record(run: Run, addr: int, page_size: int, name: str | None) -> bytes:
    """Build one record."""
    if run.kind is PageKind.ZERO:
        return ram.zero(addr, name)
    if run.kind is PageKind.FILL:
        return ram.zero(addr, name, fill=run.payload[0])
    if run.kind is PageKind.XBZRLE:
        return ram.xbzrle(addr, run.payload, name)
    if run.kind is PageKind.COMPRESSED:
        return ram.compress_page(addr, b"", name, compressed=run.payload)
    # What a page holds may look like the record that follows it.
    filler = ram.word(addr + page_size, ram.PAGE | ram.CONTINUE) + run.payload
    return ram.page(addr, (filler * (page_size // len(filler) + 1))[:page_size], name)


PAGE_SIZES = [1 << bits for bits in range(8, 17)]
# Around the 16 records that are looked at singly, and the 32 and 128 first compared at a time.
COUNTS = [1, 2, 3, 15, 16, 17, 18, 31, 32, 33, 47, 48, 49, 159, 160, 161, 175, 176, 177]
KINDS = [PageKind.ZERO, PageKind.FILL, PageKind.PLAIN, PageKind.XBZRLE, PageKind.COMPRESSED]
MOST_PLAIN_LEN = 2 * MIB


@st.composite
def records(draw: st.DrawFn) -> Records:
    page_size = draw(st.sampled_from(PAGE_SIZES))
    lengths = draw(st.lists(st.sampled_from([2 * MIB, 64 * MIB, 9 * GIB]), min_size=1, max_size=3))
    runs: list[Run | None] = []
    for _ in range(draw(st.integers(1, 6))):
        if page_size > ram.MULTIFD_FLUSH and draw(st.integers(0, 9)) == 0:
            runs.append(None)
            continue
        runs.append(draw(one_run(page_size, lengths)))
    return build(page_size, lengths, runs, draw(st.sampled_from([0, 1, 4093])))


@st.composite
def one_run(draw: st.DrawFn, page_size: int, lengths: list[int]) -> Run:
    block = draw(st.integers(0, len(lengths) - 1))
    pages = lengths[block] // page_size
    # A page of 256 bytes leaves 8 bits for flags: no COMPRESS_PAGE (and above, no MULTIFD_FLUSH).
    kind = draw(st.sampled_from(KINDS if page_size > ram.COMPRESS_PAGE else KINDS[:-1]))
    most = MOST_PLAIN_LEN // page_size if kind is PageKind.PLAIN else max(COUNTS)
    count = min(draw(st.sampled_from(COUNTS)), most, pages)
    edges = [edge // page_size for edge in (0, 16 * MIB, 32 * MIB, 4 * GIB, 8 * GIB)]
    around = draw(st.sampled_from([*edges, pages]))
    first = min(max(0, around - draw(st.integers(0, count + 2))), pages - count)
    payload = draw(st.binary(min_size=1, max_size=40))
    if kind is PageKind.FILL:
        payload = bytes([draw(st.integers(1, 255))])
    return Run(block, kind, first, count, draw(st.booleans()), payload)


def walked(
    made: Records, source: Source, start: int, *, careful: bool
) -> tuple[list[Page], str | None, int, int]:
    """Walk over records; return the pages, the error, the flush words and where it stopped."""
    reader = PageRecordReader(made.blocks, made.page_size, mapped=False)
    items: list[Record | PageBatch] = []
    error = None
    try:
        for item in reader.read(Cursor(source, start), careful=careful):
            assert not items or item.offset == items[-1].offset + items[-1].length
            items.append(item)
    except StreamError as caught:
        error = str(caught)
    behind = items[-1].offset + items[-1].length if items else start
    return pages_of(items), error, reader.flush_words, behind


windows = st.sampled_from([(64, 32), (4096, 600), (70_000, 66_000), (4 * MIB, 128 * 1024)])


@settings(max_examples=150)
@given(made=records(), window=windows, piece_len=st.sampled_from([1000, 4096, 1 << 20]))
def test_made_streams_are_walked_alike(
    made: Records, window: tuple[int, int], piece_len: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "SPAN_LEN", window[0])
    monkeypatch.setattr(source_module, "SPAN_MIN_LEN", window[1])
    start = made.start
    whole = (made.pages, None, made.flush_words, len(made.data))
    assert walked(made, BytesSource(made.data), start, careful=True) == whole
    assert walked(made, BytesSource(made.data), start, careful=False) == whole
    assert walked(made, forward_source(made.data, piece_len), start, careful=False) == whole


@settings(max_examples=150)
@given(made=records(), where=st.floats(0, 1), change=st.integers(0, 255), window=windows)
def test_damaged_streams_are_walked_alike(
    made: Records,
    where: float,
    change: int,
    window: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One byte changed (or, with 0, the stream cut there): the same pages and the same error."""
    monkeypatch.setattr(source_module, "SPAN_LEN", window[0])
    monkeypatch.setattr(source_module, "SPAN_MIN_LEN", window[1])
    start = made.start
    at = start + int(where * (len(made.data) - 1 - start))
    changed = bytes([made.data[at] ^ change])
    data = made.data[:at] + (changed + made.data[at + 1 :] if change else b"")
    careful = walked(made, BytesSource(data), start, careful=True)
    assert walked(made, BytesSource(data), start, careful=False) == careful
    if not change:
        assert careful[1] is not None


@pytest.mark.parametrize("page_size", PAGE_SIZES)
@pytest.mark.parametrize("kind", [PageKind.ZERO, PageKind.PLAIN])
def test_long_runs_cross_every_window_of_addresses(kind: PageKind, page_size: int) -> None:
    """A run through 4 GiB, over the edges of the templates; and one up to its block's end."""
    count = 400 if kind is PageKind.ZERO else max(4, 4 * MIB // page_size)
    first = 4 * GIB // page_size - count // 2
    last = 9 * GIB // page_size - count
    runs: list[Run | None] = [Run(0, kind, at, count, False, b"?") for at in (first, last)]
    made = build(page_size, [9 * GIB], runs, 0)
    fast = walked(made, BytesSource(made.data), 0, careful=False)
    assert fast == (made.pages, None, 0, len(made.data))


@pytest.mark.parametrize("kind", [PageKind.ZERO, PageKind.PLAIN])
@pytest.mark.parametrize("count", COUNTS)
def test_a_run_ends_at_the_end_of_its_block(kind: PageKind, count: int) -> None:
    """The record behind the last page is refused, with the pages before it read."""
    made = build(256, [count * 256], [Run(0, kind, 0, count + 1, False, b"?")], 0)
    fast = walked(made, BytesSource(made.data), 0, careful=False)
    careful = walked(made, BytesSource(made.data), 0, careful=True)
    assert fast == careful
    assert fast[0] == made.pages[:-1]
    assert fast[1] is not None
    assert "offset in the block" in fast[1]
