"""The index of runs, and the set of pages seen, against dictionaries and sets."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmig.capture import page_index, statistics
from qmig.capture.page_index import CHUNK_PAGES, PageIndex, Placement, TooManyRunsError
from qmig.capture.statistics import RamStatistics, SeenPages
from qmig.memory import PageKind, PageRun

BLOCK_PAGES = 2 * CHUNK_PAGES + 10

KINDS = [PageKind.ZERO, PageKind.FILL, PageKind.PLAIN, PageKind.XBZRLE, PageKind.COMPRESSED]


@st.composite
def page_runs(draw: st.DrawFn) -> PageRun:
    """A run, as often as not near the edge of a chunk; only PLAIN, ZERO and FILL are long."""
    kind = draw(st.sampled_from(KINDS))
    single = kind in (PageKind.XBZRLE, PageKind.COMPRESSED)
    count = 1 if single else draw(st.sampled_from([1, 2, 3, 5, 40, CHUNK_PAGES, CHUNK_PAGES + 3]))
    around = draw(st.sampled_from([0, CHUNK_PAGES, 2 * CHUNK_PAGES]))
    first = min(max(0, around + draw(st.integers(-4, 4))), BLOCK_PAGES - count)
    offset = draw(st.integers(0, 1 << 40))
    return PageRun(draw(st.integers(0, 1)), kind, first, count, offset, 4104, 4096)


Added = list[tuple[int, int, list[PageRun]]]


@settings(max_examples=60)
@given(
    added=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 4), st.lists(page_runs(), max_size=5)),
        max_size=12,
    ),
    step=st.sampled_from([1, 1000, 1 << 22]),
    runs_at_once=st.sampled_from([1, 3, 1 << 18]),
)
def test_index_finds_what_a_dictionary_has(
    added: Added, step: int, runs_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_index, "_PAINT_PAGES", step)
    monkeypatch.setattr(page_index, "_RUNS_AT_ONCE", runs_at_once)
    index = PageIndex()
    for source, order, runs in added:
        index.add(runs, source=source, order=order)
    index.finish()
    for block in (0, 1):
        for page in interesting_pages(added, block):
            whole, deltas = model_of(added, block, page)
            number, inside = divmod(page, CHUNK_PAGES)
            chunk = index.chunk(block, number)
            owner = int(chunk.owner[inside])
            assert (index.placement(owner, page) if owner >= 0 else None) == whole
            of_page = chunk.delta_runs[chunk.delta_pages == inside]
            found = [index.delta(int(run)) for run in of_page]
            assert [(delta.source, delta.data_offset) for delta in found] == deltas
            assert list(chunk.delta_pages) == sorted(chunk.delta_pages)


def interesting_pages(added: Added, block: int) -> set[int]:
    """Return the ends of all chunks and runs, and their neighbours."""
    pages = {0, CHUNK_PAGES - 1, CHUNK_PAGES, 2 * CHUNK_PAGES - 1, 2 * CHUNK_PAGES}
    for _, _, runs in added:
        for run in runs:
            end = run.first_page + run.count
            if run.block == block:
                pages |= {run.first_page - 1, run.first_page, end - 1, end}
    return {page for page in pages if 0 <= page < BLOCK_PAGES}


def model_of(added: Added, block: int, page: int) -> tuple[Placement | None, list[tuple[int, int]]]:
    """Apply the runs to one page, in their order; return its whole version and the deltas."""
    whole: Placement | None = None
    deltas: list[tuple[int, int]] = []
    for source, _, runs in sorted(added, key=lambda item: item[1]):
        for run in runs:
            if run.block != block or not 0 <= page - run.first_page < run.count:
                continue
            offset = run.data_offset + (page - run.first_page) * run.stride_len
            if run.kind == PageKind.XBZRLE:
                deltas.append((source, offset))
            else:
                deltas.clear()
                whole = Placement(source, run.kind, offset, run.stride_len, run.payload_len)
    return whole, deltas


def test_an_empty_index_has_nothing() -> None:
    index = PageIndex()
    index.finish()
    assert (index.chunk(0, 0).owner == -1).all()
    assert len(index.chunk(0, 0).delta_pages) == 0


def test_columns_need_finish() -> None:
    with pytest.raises(RuntimeError):
        _ = PageIndex().columns


def test_runs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_index, "MAX_PAGE_RUNS", 3)
    index = PageIndex()
    run = PageRun(0, PageKind.ZERO, 0, 1, 0, 9, 1)
    index.add([run] * 3)
    with pytest.raises(TooManyRunsError):
        index.add([run])


ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=40)


@given(ranges)
def test_seen_pages_are_a_set(added: list[tuple[int, int]]) -> None:
    seen, model = SeenPages(), set[int]()
    for first, count in added:
        pages = set(range(first, first + count))
        assert seen.add(first, count) == len(pages & model)
        model |= pages
        assert seen.pages == len(model)
        edges = list(zip(seen._starts, seen._ends, strict=True))
        assert edges == sorted(edges)
        assert all(end < start for (_, end), (start, _) in pairwise(edges))
    assert not seen.gave_up


def test_seen_pages_give_up_where_they_are_too_scattered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_SEEN_RANGES", 10)
    seen = SeenPages()
    for page in range(100, 0, -2):
        seen.add(page, 1)
    assert seen.gave_up
    assert len(seen._starts) < 20
    assert seen.add(100, 1) == 0


BLOCK_AND_PAGES = st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(1, 4))


@given(st.lists(st.lists(BLOCK_AND_PAGES, max_size=8), max_size=6))
def test_resent_pages_are_counted_however_runs_follow_one_another(
    batches: list[list[tuple[int, int, int]]],
) -> None:
    statistics_ = RamStatistics()
    sent: list[tuple[int, int]] = []
    for batch in batches:
        statistics_.add(
            PageRun(block, PageKind.ZERO, first, count, 8, 9, 1) for block, first, count in batch
        )
        sent += [(block, first + at) for block, first, count in batch for at in range(count)]
    for block in (0, 1):
        pages = [page for at, page in sent if at == block]
        counts = statistics_.block(block)
        assert counts.seen_pages == len(set(pages))
        assert counts.resent_pages == len(pages) - len(set(pages))
        assert sum(counts.pages.values()) == len(pages)
        assert counts.wire_len == 9 * len(pages)


def test_statistics_count_by_block_and_kind() -> None:
    statistics_ = RamStatistics()
    zero = PageRun(1, PageKind.ZERO, 0, 10, 8, 9, 1)
    plain = PageRun(1, PageKind.PLAIN, 5, 3, 8, 4104, 4096)
    statistics_.add([zero, plain])
    statistics_.add([PageRun(0, PageKind.FILL, 7, 1, 8, 9, 1)])
    counts = statistics_.block(1)
    assert counts.pages == {PageKind.ZERO: 10, PageKind.PLAIN: 3}
    assert (counts.resent_pages, counts.seen_pages) == (3, 10)
    assert counts.wire_len == 90 + 3 * 4104
    assert statistics_.block(0).pages == {PageKind.FILL: 1}
    assert statistics_.block(2).seen_pages == 0


RUNS = 100_000


def scattered() -> Iterator[PageRun]:
    """Every other page, each a run of its own."""
    return (PageRun(0, PageKind.ZERO, 2 * at, 1, 9 * at, 9, 0) for at in range(RUNS))


@pytest.mark.parametrize("orders", [[0], [1, 0]], ids=["in-order", "sorted"])
def test_scattered_runs_take_little_memory(orders: list[int]) -> None:
    with traced() as peak_len:
        index = PageIndex()
        for order in orders:
            index.add(scattered(), order=order)
        index.finish()
    assert peak_len() < 100 * RUNS * len(orders)


def test_scattered_pages_seen_take_little_memory() -> None:
    with traced() as peak_len:
        seen = SeenPages()
        for run in scattered():
            seen.add(run.first_page, run.count)
    assert peak_len() < 24 * RUNS


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Trace allocations; give what tells, behind, how many bytes there were at most."""
    found: list[int] = []
    tracemalloc.start()
    try:
        yield lambda: found[0]
        found.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
