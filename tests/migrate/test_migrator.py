"""The migrator: what it counts, when it ends its rounds, and how it slows a guest down."""

import hashlib
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import qmig
from qmig.memory import PageKind, RamBlock
from qmig.migrate.counters import Counters
from qmig.migrate.migrator import MigrationOptions
from qmig.migrate.skeleton import Skeleton
from qmig.migrate.synthetic import SyntheticGuest, Workload
from qmig.saving import OutputFormat, SaveOptions, save_guest
from tests.migrate.saved import ram_by_oracle, ram_by_qmig

PAGE: Final = 4096
SIZE_LEN: Final = 4 << 20
PAGES: Final = SIZE_LEN // PAGE

Flags = np.ndarray[Any, np.dtype[np.bool_]]
Pages = np.ndarray[Any, np.dtype[np.uint8]]


class ScriptedGuest:
    """A synthetic guest that makes a set number of writes whenever it is asked what is dirty.

    Args:
        writes: how many in each round; the last number goes on.
        seed: of the guest.
    """

    def __init__(self, *writes: int, seed: int = 1) -> None:
        self.inner = SyntheticGuest(seed, SIZE_LEN, workload=Workload(1.0, "hot"))
        self.throttled: list[int] = []
        self.stopped = False
        self.dirty_pages: list[int] = []
        self._writes = list(writes)
        self.page_size_len = PAGE
        self.blocks: list[RamBlock] = list(self.inner.blocks)

    def read_pages(self, block: int, first: int, count: int) -> Pages:
        return self.inner.read_pages(block, first, count)

    def sent(self, block: int, first: int, count: int) -> Flags:
        return self.inner.sent(block, first, count)

    def take_dirty(self) -> list[Flags]:
        if not self.stopped and self._writes:
            self.inner.step(self._writes[0])
            if len(self._writes) > 1:
                del self._writes[0]
        dirty = self.inner.take_dirty()
        self.dirty_pages.append(int(np.count_nonzero(dirty[0])))
        return dirty

    def throttle(self, percent: int) -> None:
        self.throttled.append(percent)

    def stop(self) -> None:
        self.stopped = True


def save(
    guest: ScriptedGuest | SyntheticGuest,
    out: Path,
    options: SaveOptions | None = None,
    **how: Any,  # noqa: ANN401  # options of several types
) -> Counters:
    options = options or SaveOptions(OutputFormat.STREAM, migration=MigrationOptions(**how))
    return save_guest(guest, Skeleton(), out, options)


def digest(guest: ScriptedGuest | SyntheticGuest) -> dict[str, str]:
    return (guest.inner if isinstance(guest, ScriptedGuest) else guest).digest()


# -- counters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", list(OutputFormat))
def test_counters_of_a_guest_that_stands_still(format_: OutputFormat, tmp_path: Path) -> None:
    guest = SyntheticGuest(3, SIZE_LEN)
    zero = sum(not guest.read_pages(0, page, 1).any() for page in range(PAGES))
    out = tmp_path / "out"
    options = SaveOptions(format_, channels=1, migration=MigrationOptions(static=True))
    counters = save(guest, out, options)
    assert counters.duplicate == zero
    assert counters.normal == PAGES - zero
    assert counters.dirty_sync_count == 1
    assert counters.throttle_percentage == 0
    if format_ is OutputFormat.MULTIFD:
        channel_len = (tmp_path / "out.ch0").stat().st_size
        assert channel_len - 64 == counters.multifd_bytes  # the initial packet is not counted
        assert counters.transferred == counters.multifd_bytes
    elif format_ is OutputFormat.STREAM:
        around_len = out.stat().st_size - counters.transferred
        assert 0 < around_len < 200, "sections, block list and EOF"
    else:
        assert counters.transferred == counters.normal * PAGE


def test_counters_of_rounds_are_those_of_the_dirty_pages(tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 400, 200, 100, 0)
    counters = save(guest, tmp_path / "out", downtime_limit_ms=0)
    assert guest.dirty_pages[0] == 0
    assert counters.normal + counters.duplicate == PAGES + sum(guest.dirty_pages)
    assert counters.dirty_sync_count == 4
    assert ram_by_qmig([tmp_path / "out"]) == digest(guest)


def test_names_are_those_of_query_migrate() -> None:
    names = set(Counters().as_dict())
    assert {
        "transferred",
        "normal",
        "duplicate",
        "dirty-sync-count",
        "dirty-pages-rate",
        "xbzrle-cache-miss",
        "multifd-bytes",
        "downtime",
        "total-time",
    } <= names


# -- the end of the rounds ------------------------------------------------------------------------


def test_rounds_end_when_the_rest_fits_the_downtime(tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 50)
    counters = save(guest, tmp_path / "out", downtime_limit_ms=60_000)
    assert counters.dirty_sync_count == 1, "the first rest is small enough"
    assert guest.stopped
    assert ram_by_qmig([tmp_path / "out"]) == digest(guest)


@pytest.mark.parametrize("most", [1, 2, 7])
def test_rounds_end_at_the_most_allowed(most: int, tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 600)
    counters = save(guest, tmp_path / "out", downtime_limit_ms=0, max_rounds=most)
    assert counters.dirty_sync_count == most
    assert guest.stopped
    assert ram_by_qmig([tmp_path / "out"]) == digest(guest)


def test_rounds_end_when_nothing_is_dirty(tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 30, 30, 0)
    counters = save(guest, tmp_path / "out", downtime_limit_ms=0)
    assert counters.dirty_sync_count == 3


def test_writes_up_to_the_stop_are_in_the_file(tmp_path: Path) -> None:
    guest = SyntheticGuest(5, SIZE_LEN, workload=Workload(20_000, "uniform"))
    guest.start()
    counters = save(guest, tmp_path / "out", max_bandwidth=16 << 20, downtime_limit_ms=50)
    assert guest.writes > 100
    assert counters.dirty_sync_count >= 1
    assert ram_by_qmig([tmp_path / "out"]) == digest(guest)


# -- convergence ----------------------------------------------------------------------------------


def test_auto_converge_goes_up_by_steps(tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 4000)  # most of the memory, again and again
    counters = save(guest, tmp_path / "out", downtime_limit_ms=0, max_rounds=9, auto_converge=True)
    # Two rounds in a row each; before the last round it is stopped.
    assert guest.throttled == [20, 30, 40, 50]
    assert counters.throttle_percentage == 50


def test_auto_converge_ends_at_99(tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 4000)
    save(guest, tmp_path / "out", downtime_limit_ms=0, max_rounds=25, auto_converge=True)
    assert guest.throttled == [20, 30, 40, 50, 60, 70, 80, 90, 99, 99, 99, 99]


def test_nobody_is_throttled_unasked(tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 4000)
    save(guest, tmp_path / "out", downtime_limit_ms=0, max_rounds=6)
    assert guest.throttled == []


def test_slow_guest_is_not_throttled(tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 20)
    save(guest, tmp_path / "out", downtime_limit_ms=0, max_rounds=8, auto_converge=True)
    assert guest.throttled == []


def test_bandwidth_is_kept(tmp_path: Path) -> None:
    bandwidth = 40 << 20
    guest = SyntheticGuest(1, 32 << 20)
    begun = time.monotonic()
    counters = save(guest, tmp_path / "out", max_bandwidth=bandwidth, static=True)
    elapsed = time.monotonic() - begun
    due = counters.transferred / bandwidth
    assert due > 0.3, "there was something to slow down"
    assert elapsed >= due * 0.95
    assert elapsed < due + 5


# -- XBZRLE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_len", [PAGE, 64 * PAGE, 64 << 20])
@pytest.mark.parametrize("seed", range(5))
def test_xbzrle_decodes_to_the_guests_memory(cache_len: int, seed: int, tmp_path: Path) -> None:
    guest = ScriptedGuest(0, 300, 300, 300, 300, 100, 0, seed=seed)
    options = SaveOptions(
        OutputFormat.STREAM,
        xbzrle_cache_len=cache_len,
        migration=MigrationOptions(downtime_limit_ms=0),
    )
    counters = save(guest, tmp_path / "out", options)
    if cache_len > PAGE * 2:
        assert counters.xbzrle_pages > 0
        assert 0 < counters.xbzrle_bytes < counters.xbzrle_pages * PAGE
    assert counters.xbzrle_cache_miss > 0
    assert ram_by_qmig([tmp_path / "out"]) == digest(guest)
    assert ram_by_oracle([tmp_path / "out"], PAGE) == digest(guest)
    with qmig.open_capture(tmp_path / "out") as capture:
        kinds = capture.statistics.block(0).pages
    assert kinds.get(PageKind.XBZRLE, 0) == counters.xbzrle_pages


def test_xbzrle_saves_bytes(tmp_path: Path) -> None:
    whole = save(ScriptedGuest(0, 400, 400, 400, 0), tmp_path / "whole", downtime_limit_ms=0)
    options = SaveOptions(
        OutputFormat.STREAM,
        xbzrle_cache_len=64 << 20,
        migration=MigrationOptions(downtime_limit_ms=0),
    )
    packed = save(ScriptedGuest(0, 400, 400, 400, 0), tmp_path / "packed", options)
    assert packed.transferred < whole.transferred


def test_same_guest_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        save(SyntheticGuest(9, SIZE_LEN), tmp_path / name, static=True)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
