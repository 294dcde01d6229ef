"""The page cache: slots, ages and counters."""

import itertools
import random
from typing import Any

import numpy as np
import pytest

from qmig.errors import WriterError
from qmig.pages.page_cache import PageCache

PAGE = 256

Pages = np.ndarray[Any, np.dtype[np.uint8]]


def content(value: int) -> Pages:
    return np.full(PAGE, value, np.uint8)


@pytest.mark.parametrize(
    ("bound_len", "slots"),
    [(PAGE, 1), (2 * PAGE - 1, 1), (2 * PAGE, 2), (7 * PAGE, 4), (8 * PAGE, 8), (1 << 20, 4096)],
)
def test_slots_are_a_power_of_two_within_the_bound(bound_len: int, slots: int) -> None:
    assert PageCache(bound_len, PAGE, [10]).slots == slots


def test_a_bound_below_a_page_is_refused() -> None:
    with pytest.raises(WriterError, match="255 bytes does not hold one page of 256"):
        PageCache(PAGE - 1, PAGE, [10])


def test_gives_back_what_it_took() -> None:
    cache = PageCache(64 * PAGE, PAGE, [10, 20])
    assert cache.find(1, 3, 2) is None
    cache.insert(1, 3, content(7), 2)
    cache.insert(0, 3, content(8), 2)
    found = cache.find(1, 3, 2)
    other = cache.find(0, 3, 2)
    assert found is not None and other is not None
    assert (found == 7).all()
    assert (other == 8).all()
    assert (cache.hits, cache.misses, cache.evictions, len(cache)) == (2, 1, 0, 2)


def test_keeps_a_copy_and_gives_the_content_itself() -> None:
    cache = PageCache(64 * PAGE, PAGE, [10])
    given = content(1)
    cache.insert(0, 0, given, 1)
    given[:] = 2
    found = cache.find(0, 0, 1)
    assert found is not None and (found == 1).all()
    found[:] = 3
    again = cache.find(0, 0, 1)
    assert again is not None and (again == 3).all()


def test_blocks_lie_one_behind_the_other() -> None:
    """Pages of all blocks fit without meeting as long as there are slots for all of them."""
    cache = PageCache(32 * PAGE, PAGE, [10, 20, 2])
    places = [(b, p) for b, pages in enumerate([10, 20, 2]) for p in range(pages)]
    for number, (block, page) in enumerate(places):
        assert cache.insert(block, page, content(number), 1) is not None
    for number, (block, page) in enumerate(places):
        found = cache.find(block, page, 1)
        assert found is not None and (found == number).all()
    assert cache.refusals == cache.evictions == 0


def test_a_page_in_use_does_not_give_way() -> None:
    cache = PageCache(4 * PAGE, PAGE, [16])
    cache.insert(0, 1, content(1), 5)
    assert cache.insert(0, 5, content(2), 5) is None
    assert cache.insert(0, 5, content(2), 6) is None
    assert (cache.refusals, cache.evictions) == (2, 0)
    assert cache.find(0, 1, 6) is not None  # in use in round 6
    assert cache.insert(0, 5, content(2), 7) is None
    assert cache.insert(0, 5, content(2), 8) is not None
    assert (cache.refusals, cache.evictions) == (3, 1)
    assert cache.find(0, 1, 8) is None
    assert len(cache) == 1


def test_a_page_always_takes_its_own_new_content() -> None:
    cache = PageCache(4 * PAGE, PAGE, [16])
    cache.insert(0, 1, content(1), 5)
    assert cache.insert(0, 1, content(2), 5) is not None
    found = cache.find(0, 1, 5)
    assert found is not None and (found == 2).all()
    assert (cache.refusals, cache.evictions) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_as_a_plain_model_does(seed: int) -> None:
    """A dictionary from slot to (page, age, value) behaves alike over thousands of calls."""
    pick = random.Random(seed)  # noqa: S311  # the same in each run
    cache = PageCache(16 * PAGE, PAGE, [40, 25])
    model: dict[int, tuple[int, int, int]] = {}
    counts = dict.fromkeys(("hits", "misses", "evictions", "refusals"), 0)
    ages = itertools.accumulate(pick.random() < 0.01 for _ in range(3000))
    for age in ages:
        block = pick.randrange(2)
        page = pick.randrange((40, 25)[block])
        number = page + 40 * block
        before = model.get(number % 16)
        if pick.random() < 0.5:
            found = cache.find(block, page, age)
            if before is not None and before[0] == number:
                counts["hits"] += 1
                assert found is not None and (found == before[2]).all()
                model[number % 16] = (number, age, before[2])
            else:
                counts["misses"] += 1
                assert found is None
            continue
        value = pick.randrange(256)
        taken = cache.insert(block, page, content(value), age) is not None
        if before is not None and before[0] != number and before[1] + 2 > age:
            counts["refusals"] += 1
            assert not taken
        else:
            counts["evictions"] += before is not None and before[0] != number
            assert taken
            model[number % 16] = (number, age, value)
    assert {name: getattr(cache, name) for name in counts} == counts
    assert min(counts.values()) > 0
