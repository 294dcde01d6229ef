"""Runs of flags, against a plain loop."""

from itertools import groupby

import numpy as np
import pytest

from qmig.pages.flags import equal_runs, true_runs
from qmig.pages.zero import zero_pages


def plain_runs(flags: list[bool]) -> list[tuple[int, int, bool]]:
    runs = []
    begin = 0
    for value, group in groupby(flags):
        end = begin + len(list(group))
        runs.append((begin, end, value))
        begin = end
    return runs


@pytest.mark.parametrize("count", range(9))
def test_every_pattern(count: int) -> None:
    for pattern in range(1 << count):
        flags = [bool(pattern >> bit & 1) for bit in range(count)]
        expected = plain_runs(flags)
        array = np.array(flags, dtype=np.bool_)
        assert list(equal_runs(array)) == expected
        assert true_runs(array) == [(begin, end) for begin, end, value in expected if value]


@pytest.mark.parametrize("value", [False, True])
def test_one_flag_that_stands_for_all(value: bool) -> None:
    flags = np.broadcast_to(np.array([value]), (5,))
    assert true_runs(flags) == ([(0, 5)] if value else [])


@pytest.mark.parametrize("last", [0, 1])
def test_one_page_that_stands_for_all_is_looked_at(last: int) -> None:
    page = np.zeros(4096, dtype=np.uint8)
    page[-1] = last
    found = zero_pages(np.broadcast_to(page, (300, 4096)))
    assert found.tolist() == [not last] * 300
