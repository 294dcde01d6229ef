"""What is seen at a glance to be as it must be is what the whole comparison finds so."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmig.capture.channel import ChannelWalk, Packet
from qmig.checks import multifd_log, multifd_numbers
from qmig.checks.multifd_log import MAIN, ChannelLog, PageLog, Repeat
from qmig.checks.multifd_numbers import judge_numbers
from qmig.memory import PageKind, PageRun, RamBlock
from qmig.wire.multifd import MultifdInit
from tests.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.capture.container import Container
    from qmig.checks.check import Context

PAGE_LEN = 4096
BLOCK_PAGES = 16
BLOCKS = [
    RamBlock(index, name, BLOCK_PAGES * PAGE_LEN, BLOCK_PAGES * PAGE_LEN)
    for index, name in enumerate("ab")
]


def packet(
    normal: Sequence[int], zero: Sequence[int] = (), *, block: str = "a", number: int | None = 0
) -> Packet:
    return Packet(0, 0, 0, number, block, tuple(normal), tuple(zero), 128, 0, 0, 0)


PAGES = st.lists(st.integers(0, BLOCK_PAGES - 1), max_size=6)
ADDRS = PAGES.map(lambda pages: [page * PAGE_LEN for page in pages])
ODD_ADDRS = st.lists(st.integers(0, BLOCK_PAGES * PAGE_LEN), max_size=4)


@given(ADDRS | ODD_ADDRS, ADDRS, st.sampled_from([PAGE_LEN, 2 * PAGE_LEN]))
def test_a_run_is_all_pages_of_a_packet_one_behind_the_other(
    normal: list[int], zero: list[int], size: int
) -> None:
    made = packet(normal, zero)
    every = sorted(normal + zero)
    one_run = all(after - before == size for before, after in pairwise(every))
    for _ in range(2):
        assert list(made.page_run(size)) == (every if one_run else [])


def test_a_run_is_of_the_page_size_asked_for() -> None:
    made = packet(range(0, 4 * PAGE_LEN, PAGE_LEN))
    assert [len(made.page_run(size)) for size in (PAGE_LEN, 2 * PAGE_LEN, PAGE_LEN)] == [4, 0, 4]


class Sent(NamedTuple):
    """Pages that one connection carries at once."""

    epoch: int
    connection: int
    block: int
    pages: list[int]


SENT = st.builds(
    Sent, st.integers(0, 2), st.sampled_from([0, 1, 2, MAIN]), st.integers(0, 1), PAGES
)
FAR_APART = st.builds(
    lambda pages: [Sent(page // 8, page % 3, page % 2, [page // 2]) for page in pages],
    st.lists(st.integers(0, 2 * BLOCK_PAGES - 1), unique=True, max_size=12),
)


def logged(all_sent: Sequence[Sent]) -> PageLog:
    log = PageLog(BLOCKS, PAGE_LEN)
    for index, sent in enumerate(all_sent):
        block = BLOCKS[sent.block]
        if sent.connection == MAIN:
            runs = [PageRun(block.index, PageKind.PLAIN, page, 1, 0, 0, 0) for page in sent.pages]
            log.add_main(sent.epoch, runs)
        else:
            made = packet([page * PAGE_LEN for page in sent.pages], block=block.name)
            log.add_packet(sent.connection, sent.epoch, index, made)
    return log


def repeats(log: PageLog, *, main: bool, screened: bool) -> list[Repeat]:
    with pytest.MonkeyPatch.context() as patch:
        if not screened:
            patch.setattr(multifd_log, "_FEW_RUNS", -1)
        return list(log.repeats(main=main))


@given(st.lists(SENT, max_size=6) | FAR_APART, st.booleans())
def test_pages_that_come_twice(all_sent: list[Sent], main: bool) -> None:
    log = logged(all_sent)
    found = repeats(log, main=main, screened=True)
    assert found == repeats(log, main=main, screened=False)
    every = [
        (sent.epoch, sent.block, page)
        for sent in all_sent
        if main or sent.connection != MAIN
        for page in sent.pages
    ]
    assert bool(found) == any(one == other for one, other in combinations(every, 2))


def channel_log(channel: int, numbers: Sequence[int | None]) -> ChannelLog:
    walk = ChannelWalk(BytesSource(b""), 0)
    walk.init = MultifdInit(version=1, uuid=bytes(16), id=channel, unused1=bytes(7),
                            unused2=bytes(32))  # fmt: skip
    walk.counters.syncs = walk.counters.syncs_alloc_zero = 1
    log = ChannelLog(cast("Container", None), walk)
    for number in numbers:
        log.add(packet([], number=number))
    return log


class Reports:
    """Takes the place of a context; keeps what is reported."""

    def __init__(self) -> None:
        self.found: list[tuple[object, ...]] = []

    def report(self, rule_id: str, _: object, **values: Any) -> None:  # noqa: ANN401
        self.found.append((rule_id, *values.values()))


def reported(logs: Sequence[ChannelLog], *, screened: bool) -> list[tuple[object, ...]]:
    reports = Reports()
    with pytest.MonkeyPatch.context() as patch:
        if not screened:
            patch.setattr(multifd_numbers, "_as_they_must_be", lambda _: False)
        judge_numbers(cast("Context", reports), logs)
    return reports.found


@given(st.data())
def test_numbers(data: st.DataObject) -> None:
    channels: list[list[int | None]] = [[], [], []]
    for number in range(data.draw(st.integers(1, 8))):
        channels[data.draw(st.integers(0, 2))].append(number)
    if data.draw(st.booleans()):
        wrong = data.draw(st.none() | st.integers(0, 9))
        place = data.draw(st.integers(0, 2))
        channels[place].insert(data.draw(st.integers(0, len(channels[place]))), wrong)
    if data.draw(st.booleans()) and channels[0]:
        channels[0].pop(data.draw(st.integers(0, len(channels[0]) - 1)))
    logs = [channel_log(index, numbers) for index, numbers in enumerate(channels)]
    assert reported(logs, screened=True) == reported(logs, screened=False)


def test_sound_numbers_are_seen_to_be_so() -> None:
    logs = [channel_log(0, [0, 3, 4]), channel_log(1, [1, 2, 5])]
    assert multifd_numbers._as_they_must_be(logs)
    assert reported(logs, screened=False) == []
