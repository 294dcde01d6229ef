"""Measure how fast zero pages are found, and judge it by a fixed bar.

    python zero_speed.py [--megabytes N]

Each row is one thread that looks at all of an array, the best of several runs, by the time that
its core worked on it, so that other programs count as little as they can; the last row is two
threads, by the clock. Exit code 1 when a row of one thread is below the bar.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from qmig.pages.zero import zero_pages

Pages = np.ndarray[Any, np.dtype[np.uint8]]

BAR_GB_S: Final = 5.0
RUNS: Final = 7
PAGE_SIZES: Final = (256, 1024, 4096, 65536)
CALL_LEN: Final = 1 << 20  # what the migrator looks at in one call


def seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    """Return the shortest time of several runs."""
    times = []
    for _ in range(RUNS):
        begun = clock()
        work()
        times.append(clock() - begun)
    return min(times)


def look(pages: Pages) -> None:
    """Look at all pages as the migrator does: a piece at a time."""
    step = max(1, CALL_LEN // pages.shape[1])
    for first in range(0, len(pages), step):
        zero_pages(pages[first : first + step])


def in_two_threads(pages: Pages) -> None:
    """Look at each half in a thread of its own."""
    half = len(pages) // 2
    threads = [threading.Thread(target=look, args=(p,)) for p in (pages[:half], pages[half:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def contents(total_len: int) -> dict[str, Pages]:
    """Return memory of each kind, flat."""
    zero = np.zeros(total_len, np.uint8)
    zero[:] = 0  # so that it is memory, not the kernel's one zero page
    full = zero.copy()
    full[:] = 0xA5
    last = zero.copy()
    last[255::256] = 1
    return {"all zero": zero, "none zero": full, "zero up to the last byte": last}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=512, help="memory to look at (512)")
    total_len = parser.parse_args().megabytes << 20
    missed = False
    print(f"{'pages':26} {'page size':>9} {'GB/s':>7}")
    for name, memory in contents(total_len).items():
        for page_size_len in PAGE_SIZES:
            pages = memory.reshape(-1, page_size_len)
            rate = total_len / seconds(partial(look, pages), time.thread_time) / 1e9
            missed |= rate < BAR_GB_S
            print(
                f"{name:26} {page_size_len:9} {rate:7.1f}{'' if rate >= BAR_GB_S else '  MISSED'}"
            )
    rate = total_len / seconds(partial(in_two_threads, pages), time.perf_counter) / 1e9
    print(f"{'two threads':26} {PAGE_SIZES[-1]:9} {rate:7.1f}")
    print(f"the bar is {BAR_GB_S} GB/s for each row of one thread: {'MISSED' if missed else 'met'}")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
