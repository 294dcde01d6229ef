"""The synthetic guest: what its seed determines, what it marks, how it obeys."""

import mmap
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from qmig.errors import WriterError
from qmig.migrate.synthetic import SyntheticGuest, Workload
from qmig.migrate.synthetic_content import Shares
from qmig.pages.zero import zero_pages

PAGE = 4096
MIB = 1 << 20

Pages = np.ndarray[Any, np.dtype[np.uint8]]


def guest(
    seed: int = 1,
    size_len: int = MIB,
    *,
    rate: float = 0,
    hot_share: float | None = None,
    shares: Shares | None = None,
    page_size_len: int = PAGE,
) -> SyntheticGuest:
    workload = Workload(dirty_pages_per_s=rate)
    if hot_share is not None:
        workload = Workload(dirty_pages_per_s=rate, pattern="hot", hot_share=hot_share)
    return SyntheticGuest(
        seed, size_len, shares=shares, workload=workload, page_size_len=page_size_len
    )


def whole(some: SyntheticGuest) -> Pages:
    """Return a copy of the memory, a row for each page."""
    return some.read_pages(0, 0, some.blocks[0].pages(some.page_size_len)).copy()


def test_one_block_of_pages() -> None:
    some = guest(size_len=MIB)
    (block,) = some.blocks
    assert (block.index, block.name, block.used_length) == (0, "pc.ram", MIB)
    assert some.page_size_len == PAGE
    assert some.read_pages(0, 3, 5).shape == (5, PAGE)
    assert some.sent(0, 3, 5).tolist() == [True] * 5


def test_the_seed_determines_the_memory() -> None:
    assert guest(5).digest() == guest(5).digest()
    assert len({guest(seed).digest()["pc.ram"] for seed in range(10)}) == 10


def test_memory_and_writes_of_a_seed_stay_what_they_are() -> None:
    """Saves made from a seed must be the same with every release of qmig and of numpy."""
    some = guest(2024, 6 * MIB, hot_share=0.1)
    assert some.digest() == {
        "pc.ram": "a3e831ac80ef5e83efbcd7d0a9460efaf07d97846cfa3b23057d2ea15af53deb"
    }
    some.step(1000)
    assert some.digest() == {
        "pc.ram": "d1ecb3131fbb9e39cbafc145a376f937d5a1e8d9c817965f509a06fd1ef80be5"
    }


@pytest.mark.parametrize("page_size_len", [256, 4096, 65536])
def test_shares_of_kinds(page_size_len: int) -> None:
    shares = Shares(zero=0.3, constant=0.2, random=0.5)
    pages = whole(guest(3, 4096 * page_size_len, shares=shares, page_size_len=page_size_len))
    zero = zero_pages(pages)
    constant = (pages == pages[:, :1]).all(axis=1) & ~zero
    assert abs(zero.mean() - 0.3) < 0.1
    assert abs(constant.mean() - 0.2) < 0.1
    random = pages[~zero & ~constant]
    assert len(np.unique(random.view("S32")[:, 0])) == len(random)
    assert abs(random.mean() - 127.5) < 1


@pytest.mark.parametrize("kind", ["zero", "constant", "random"])
def test_memory_of_one_kind(kind: str) -> None:
    shares = Shares(**{"zero": 0.0, "constant": 0.0, "random": 0.0, kind: 1.0})
    pages = whole(guest(3, 4 * MIB, shares=shares))
    assert zero_pages(pages).all() == (kind == "zero")
    assert zero_pages(pages).any() == (kind == "zero")
    assert (pages == pages[:, :1]).all() == (kind != "random")


def test_kinds_come_in_stretches() -> None:
    zero = zero_pages(whole(guest(3, 64 * MIB)))
    edges = [0, *(np.flatnonzero(zero[1:] != zero[:-1]) + 1).tolist(), len(zero)]
    lengths = Counter(end - begin for begin, end in pairwise(edges))
    assert max(lengths) >= 16
    assert lengths[1] > 0


@pytest.mark.parametrize("split", [[500], [1] * 500, [3, 255, 1, 240, 1], [256, 244]])
def test_writes_do_not_depend_on_how_they_are_split(split: list[int]) -> None:
    some, other = guest(7), guest(7)
    some.step(500)
    for writes in split:
        other.step(writes)
    assert some.writes == other.writes == 500
    assert some.digest() == other.digest()


def test_writes_are_of_all_kinds() -> None:
    """Pages become zero and constant, are written whole, and change by some bytes."""
    some = guest(9, 64 * PAGE)
    seen = Counter[str]()
    for _ in range(600):
        before = whole(some)
        some.step(1)
        after = whole(some)
        changed = np.flatnonzero((before != after).any(axis=1))
        assert len(changed) <= 1
        for page in changed.tolist():
            count = int(np.count_nonzero(before[page] != after[page]))
            if not after[page].any():
                seen["zero"] += 1
            elif (after[page] == after[page][0]).all():
                seen["constant"] += 1
            elif count > PAGE * 0.9:
                seen["whole"] += 1
            elif count <= 64:
                seen["small"] += 1
            else:
                seen["part"] += 1
    assert set(seen) == {"zero", "constant", "whole", "small", "part"}
    assert seen["small"] > sum(seen.values()) / 2


def test_hot_pages_are_written_more() -> None:
    some = guest(11, 1000 * PAGE, hot_share=0.02)
    some.take_dirty()
    hits = np.zeros(1000, np.int64)
    for _ in range(2000):
        some.step(1)
        hits += some.take_dirty()[0]
    assert hits.sum() == 2000
    hot = np.flatnonzero(hits > 20)
    assert len(hot) == 20
    assert hot[-1] - hot[0] == 19
    assert hits[hot].sum() / 2000 == pytest.approx(0.9, abs=0.05)
    assert np.count_nonzero(hits) > 100


def test_uniform_writes_go_everywhere() -> None:
    some = guest(11, 1000 * PAGE)
    some.take_dirty()
    some.step(8000)
    assert some.take_dirty()[0].mean() > 0.99


def test_what_is_dirty_is_what_was_written() -> None:
    some = guest(4)
    some.step(50)
    assert not some.take_dirty()[0].any()  # the first call starts the logging
    for writes in (1, 10, 100, 0):
        before = whole(some)
        some.step(writes)
        changed = (before != whole(some)).any(axis=1)
        (dirty,) = some.take_dirty()
        assert dirty.dtype == np.bool_
        assert dirty[changed].all()
        assert np.count_nonzero(dirty) <= writes
        assert not some.take_dirty()[0].any()


def test_a_write_is_marked_behind_itself() -> None:
    """Between a write and its mark a reader sees the new content of a page that looks clean."""
    some = guest(4)
    some.take_dirty()
    before = whole(some)
    some.step(20, mark=False)
    assert (before != whole(some)).any()
    assert not some.take_dirty()[0].any()
    some.mark()
    changed = (before != whole(some)).any(axis=1)
    assert some.take_dirty()[0][changed].all()


def test_stop_marks_what_was_written() -> None:
    some = guest(4)
    some.take_dirty()
    some.step(20, mark=False)
    some.stop()
    assert some.take_dirty()[0].any()
    some.stop()
    with pytest.raises(RuntimeError, match="stopped"):
        some.step(1)
    with pytest.raises(RuntimeError, match="once"):
        some.start()


def copy_while_it_is_written(seed: int, *, without_last_round: bool) -> bool:
    """Copy a guest page by page with writes in between; tell whether the copy is the guest."""
    pick = Random(seed)  # noqa: S311  # the same in each run
    some = guest(seed, 64 * PAGE, hot_share=0.2)
    copy = np.zeros((64, PAGE), np.uint8)
    some.take_dirty()
    todo = list(range(64))
    for _ in range(4):
        pick.shuffle(todo)
        for page in todo:
            copy[page] = some.read_pages(0, page, 1)[0]
            some.step(pick.randrange(3), mark=pick.random() < 0.5)
        todo = np.flatnonzero(some.take_dirty()[0]).tolist()
    some.stop()
    todo += np.flatnonzero(some.take_dirty()[0]).tolist()
    for page in [] if without_last_round else todo:
        copy[page] = some.read_pages(0, page, 1)[0]
    return bool((copy == whole(some)).all())


@pytest.mark.parametrize("seed", range(50))
def test_a_copy_by_dirty_pages_is_the_guest(seed: int) -> None:
    assert copy_while_it_is_written(seed, without_last_round=False)
    assert not copy_while_it_is_written(seed, without_last_round=True)


def test_a_copy_of_a_running_guest_is_the_guest() -> None:
    some = guest(21, 8 * MIB, rate=200_000, hot_share=0.1)
    copy = np.zeros((2048, PAGE), np.uint8)
    some.take_dirty()
    some.start()
    todo = np.ones(2048, np.bool_)
    for _ in range(10):
        for page in np.flatnonzero(todo).tolist():
            copy[page] = some.read_pages(0, page, 1)[0]
        todo = some.take_dirty()[0]
    some.stop()
    todo |= some.take_dirty()[0]
    copy[todo] = whole(some)[todo]
    assert some.writes > 0
    assert (copy == whole(some)).all()


def test_a_run_is_the_same_writes_as_steps() -> None:
    some, other = (guest(6, rate=50_000) for _ in range(2))
    some.start()
    while some.writes < 500:
        time.sleep(0.001)
    some.stop()
    made = some.writes
    time.sleep(0.03)
    assert some.writes == made
    other.step(made)
    assert some.digest() == other.digest()


def writes_in(some: SyntheticGuest, seconds: float) -> float:
    begun, before = time.monotonic(), some.writes
    time.sleep(seconds)
    return (some.writes - before) / (time.monotonic() - begun)


def test_the_rate_is_kept_and_throttled() -> None:
    """Upper bounds hold on any machine; a busy one may write less, but not nothing."""
    some = guest(6, rate=5000)
    assert some.throttle_percent == 0
    some.start()
    free = writes_in(some, 0.5)
    some.throttle(90)
    assert some.throttle_percent == 90
    slow = writes_in(some, 0.5)
    some.throttle(0)
    again = writes_in(some, 0.5)
    some.stop()
    slack = 150  # a slice of 10 ms and some more at either end
    assert 0 < free < 5000 + slack
    assert 0 < slow < 500 + slack
    assert slow < free / 2
    assert slow < again / 2


def test_throttle_leaves_a_hundredth() -> None:
    some = guest()
    some.throttle(150)
    assert some.throttle_percent == 99
    some.throttle(-3)
    assert some.throttle_percent == 0


def test_a_guest_without_a_workload_does_nothing() -> None:
    some = guest(6)
    before = some.digest()
    some.take_dirty()
    some.start()
    with pytest.raises(RuntimeError, match="by itself"):
        some.step(1)
    time.sleep(0.05)
    some.stop()
    assert some.digest() == before
    assert not some.take_dirty()[0].any()


def test_readers_cannot_write() -> None:
    view = guest().read_pages(0, 0, 2)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1


@pytest.mark.parametrize(("block", "first", "count"), [(1, 0, 1), (0, -1, 1), (0, 250, 7)])
def test_pages_that_are_not_there(block: int, first: int, count: int) -> None:
    with pytest.raises(ValueError, match="has no pages"):
        guest().read_pages(block, first, count)
    with pytest.raises(ValueError, match="has no pages"):
        guest().sent(block, first, count)


def resident_len() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_what_is_not_written_takes_no_memory() -> None:
    before = resident_len()
    some = guest(1, 1 << 30, shares=Shares(1.0, 0.0, 0.0))
    for first in range(0, (1 << 30) // PAGE, 4096):
        assert zero_pages(some.read_pages(0, first, 4096)).all()
    assert resident_len() - before < 64 * MIB


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_len": MIB + 1}, "1048577 bytes is no multiple of the page"),
        ({"size_len": 0}, "0 bytes is no multiple"),
        ({"seed": -1}, "seed -1"),
        ({"shares": Shares(0.5, 0.5, 0.5)}, "not together all pages"),
        ({"shares": Shares(1.5, -0.5, 0.0)}, "not together all pages"),
        ({"rate": -1.0}, "-1.0 writes a second"),
        ({"hot_share": 0.0}, "hot share of 0.0"),
        ({"hot_share": 1.5}, "hot share of 1.5"),
    ],
)
def test_what_makes_no_guest(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(WriterError, match=message):
        guest(**arguments)
