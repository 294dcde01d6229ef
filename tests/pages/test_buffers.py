"""Buffers come back when, and only when, nobody looks at them any more."""

import gc
import mmap
import threading

import numpy as np
import pytest

from qmig.pages.buffers import BufferPool


def test_memory_is_used_again() -> None:
    pool = BufferPool()
    first = pool.take(5000)
    place = first.ctypes.data
    del first
    assert pool.take(4000).ctypes.data == place


@pytest.mark.parametrize("length", [1, 4096, 1 << 20, (1 << 20) + 1, 3 << 20, 16 << 20, 17 << 20])
def test_lengths(length: int) -> None:
    pool = BufferPool()
    array = pool.take(length)
    assert array.shape == (length,)
    assert array.dtype == np.uint8
    array[:] = 1
    if length <= 16 << 20:
        assert array.ctypes.data % mmap.PAGESIZE == 0


def test_a_view_keeps_the_memory() -> None:
    pool = BufferPool()
    array = pool.take(8192)
    array[:] = 7
    part = array.reshape(2, 4096)[1:].reshape(-1)[5:]
    raw = array.data[100:200]
    words = array.view(np.uint64)
    del array
    gc.collect()
    for other in [pool.take(8192) for _ in range(10)]:
        other[:] = 9
    assert part.tobytes() == b"\7" * 4091
    assert bytes(raw) == b"\7" * 100
    assert (words.view(np.uint8) == 7).all()


def test_arrays_alive_at_once_are_apart() -> None:
    pool = BufferPool()
    arrays = [pool.take(1 << 20) for _ in range(8)]
    for number, array in enumerate(arrays):
        array[:] = number
    assert [array[[0, -1]].tolist() for array in arrays] == [[n, n] for n in range(8)]


def test_threads_never_share_memory() -> None:
    pool = BufferPool()
    wrong: list[int] = []

    def work(value: int) -> None:
        for turn in range(300):
            array = pool.take(4096 + turn)
            array[:] = value
            half = array[2048:]
            del array
            if not (half == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
