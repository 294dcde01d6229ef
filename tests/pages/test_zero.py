"""The search for zero pages."""

import threading
import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmig.pages.zero import zero_pages

Pages = np.ndarray[Any, np.dtype[np.uint8]]

PAGE_SIZES = [1 << bits for bits in range(8, 17)]


def few_pages(count: int, page_size_len: int) -> tuple[Pages, list[bool]]:
    """Return pages of which two of three are not zero, by one byte at a place of its own."""
    pages = np.zeros((count, page_size_len), np.uint8)
    for page in range(count):
        if page % 3:
            pages[page, page * 37 % page_size_len] = page % 255 + 1
    return pages, [page % 3 == 0 for page in range(count)]


@pytest.mark.parametrize("page_size_len", PAGE_SIZES)
def test_finds_the_one_byte(page_size_len: int) -> None:
    pages, expected = few_pages(3 * page_size_len // 37 % 500 + 40, page_size_len)
    assert zero_pages(pages).tolist() == expected


@pytest.mark.parametrize("page_size_len", [256, 4096])
def test_sees_every_byte_of_a_page(page_size_len: int) -> None:
    pages = np.zeros((page_size_len + 1, page_size_len), np.uint8)
    places = np.arange(page_size_len)
    pages[places, places] = 1 << places % 8
    assert zero_pages(pages).tolist() == [False] * page_size_len + [True]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1024])
def test_every_count(count: int) -> None:
    pages, expected = few_pages(count, 4096)
    found = zero_pages(pages)
    assert found.dtype == np.bool_
    assert found.shape == (count,)
    assert found.tolist() == expected


def test_views_of_any_kind() -> None:
    pages, expected = few_pages(600, 4096)
    read_only = np.frombuffer(pages.tobytes(), np.uint8).reshape(600, 4096)
    assert not read_only.flags.writeable
    records = np.full((600, 4104), 0xEE, np.uint8)
    records[:, 8:] = pages
    shifted = np.full(600 * 4096 + 3, 0xEE, np.uint8)
    shifted[3:] = pages.reshape(-1)
    columns = np.full((600, 8192), 0xEE, np.uint8)
    columns[:, ::2] = pages
    views = {
        "read-only": read_only,
        "with heads between": records[:, 8:],
        "not aligned": shifted[3:].reshape(600, 4096),
        "every other byte": columns[:, ::2],
        "backwards": pages[:, ::-1],
        "by columns": np.asfortranarray(pages),
    }
    for kind, view in views.items():
        assert zero_pages(view).tolist() == expected, kind
    assert zero_pages(pages[::-1]).tolist() == expected[::-1]
    assert zero_pages(np.broadcast_to(pages[0], (700, 4096))).all()
    assert not zero_pages(np.broadcast_to(pages[1], (700, 4096))).any()


def test_pages_that_are_no_words() -> None:
    pages = np.zeros((5, 257), np.uint8)
    pages[3, 256] = 1
    assert zero_pages(pages).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("wrong", [np.zeros(4096, np.uint8), np.zeros((2, 512), np.uint64)])
def test_refuses_other_arrays(wrong: Pages) -> None:
    with pytest.raises(ValueError, match="not uint8 in 2"):
        zero_pages(wrong)


def test_memory_does_not_grow_with_the_pages() -> None:
    page = np.zeros(4096, np.uint8)
    zero_pages(np.broadcast_to(page, (8, 4096)))
    tracemalloc.start()
    try:
        found = zero_pages(np.broadcast_to(page, (1 << 20, 4096)))  # 4 GiB to look at
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.all()
    assert peak - found.nbytes < 1 << 20


def test_others_run_meanwhile() -> None:
    """One step in another thread while one long search goes on: the interpreter lock is free."""
    page = np.zeros(1 << 28, np.uint8)
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.0005):
            ticks += 1

    other = threading.Thread(target=tick)
    other.start()
    try:
        before = ticks
        for _ in range(8):
            # A page of this length is one reduction: with the lock held, one tick at its end.
            zero_pages(page.reshape(1, -1))
        during = ticks - before
    finally:
        done.set()
        other.join()
    assert during > 3 * 8


@given(st.integers(8, 16), st.integers(1, 20), st.randoms(use_true_random=False))
def test_as_python_sees_it(bits: int, count: int, random: Random) -> None:
    pages = np.zeros((count, 1 << bits), np.uint8)
    for _ in range(random.randrange(count + 1)):
        pages[random.randrange(count), random.randrange(1 << bits)] = random.randrange(256)
    assert zero_pages(pages).tolist() == [not any(page.tobytes()) for page in pages]
