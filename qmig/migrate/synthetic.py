"""A guest of qmig's own: memory that is a function of a seed, and a workload that changes it.

Everything but time is determined by the seed: what the memory holds, which page the n-th write
goes to and what it puts there. Where the workload runs in its own thread, only the number of
writes at a moment depends on the machine; `step` makes the very same writes in the caller's
thread, so that a test can put them wherever they hurt most.
"""

from __future__ import annotations

import hashlib
import mmap
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from qmig.errors import WriterError
from qmig.memory import RamBlock
from qmig.migrate.guest import NO_ENTRY_OFFSET
from qmig.migrate.synthetic_content import Shares, WriteSequence, fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

_BLOCK_NAME: Final = "pc.ram"
_SLICE_S: Final = 0.01  # the thread works and rests in slices of this length
_BATCH_WRITES: Final = 64  # so many writes are marked together
_DIGEST_LEN: Final = 8 << 20
_MOST_THROTTLE: Final = 99


@dataclass(frozen=True, slots=True)
class Workload:
    """What the guest does while it is saved.

    Attributes:
        dirty_pages_per_s: writes a second, each to one page; 0: none.
        pattern: "uniform": to all pages alike; "hot": nine of ten to a part of them.
        hot_share: that part of the pages.
    """

    dirty_pages_per_s: float = 0.0
    pattern: Literal["uniform", "hot"] = "uniform"
    hot_share: float = 0.05


@dataclass(slots=True)
class _Log:
    """Which pages were written; shared between the workload and the migrator."""

    dirty: Flags | None = None  # None until logging starts
    lock: threading.Lock = field(default_factory=threading.Lock)


class SyntheticGuest:
    """A guest with one block, `pc.ram`.

    Args:
        seed: what everything is a function of.
        size_len: bytes of memory.
        shares: how much of it is zero, constant and random.
        workload: what it does once it is started.
        page_size_len: bytes of a target page.

    Raises:
        WriterError: the size is no multiple of the page, or a share or rate makes no sense.
    """

    def __init__(
        self,
        seed: int,
        size_len: int,
        *,
        shares: Shares | None = None,
        workload: Workload | None = None,
        page_size_len: int = 4096,
    ) -> None:
        self._workload = workload or Workload()
        shares = shares or Shares()
        _check(seed, size_len, shares, self._workload, page_size_len)
        self._page_size_len = page_size_len
        self._blocks = [RamBlock(0, _BLOCK_NAME, size_len, NO_ENTRY_OFFSET)]
        # Private: what is never written takes no memory, also when it is read.
        memory = mmap.mmap(-1, size_len, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._pages: Pages = np.frombuffer(memory, dtype=np.uint8).reshape(-1, page_size_len)
        fill(self._pages, seed, shares)
        hot_share = self._workload.hot_share if self._workload.pattern == "hot" else None
        self._writes = WriteSequence(seed, self._pages, hot_share=hot_share)
        self._unmarked: list[int] = []
        self._log = _Log()
        self._throttle = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def page_size_len(self) -> int:
        """Bytes of a target page."""
        return self._page_size_len

    @property
    def blocks(self) -> Sequence[RamBlock]:
        """The one block."""
        return self._blocks

    @property
    def writes(self) -> int:
        """How many writes were made so far."""
        return self._writes.made

    @property
    def throttle_percent(self) -> int:
        """The share of its time that is taken from the guest."""
        return self._throttle

    def read_pages(self, block: int, first: int, count: int) -> Pages:
        """Return pages as a view of the memory, which goes on changing; read-only."""
        self._check_range(block, first, count)
        pages = self._pages[first : first + count]
        pages.flags.writeable = False
        return pages

    def sent(self, block: int, first: int, count: int) -> Flags:
        """All pages are sent; see `qmig.memory.RunningGuest`."""
        self._check_range(block, first, count)
        return np.ones(count, dtype=np.bool_)

    def take_dirty(self) -> list[Flags]:
        """Return the pages written since the last call; see `qmig.memory.RunningGuest`."""
        clean = np.zeros(len(self._pages), dtype=np.bool_)
        with self._log.lock:
            dirty, self._log.dirty = self._log.dirty, clean
        return [np.zeros(len(self._pages), dtype=np.bool_) if dirty is None else dirty]

    def throttle(self, percent: int) -> None:
        """Take this share of its time from the guest, at most 99 %; 0: none."""
        self._throttle = min(max(percent, 0), _MOST_THROTTLE)

    # -- the workload -----------------------------------------------------------------------------

    def start(self) -> None:
        """Let the workload run in a thread of its own until `stop`.

        Raises:
            RuntimeError: it runs already, or was stopped.
        """
        if self._thread is not None or self._stop.is_set():
            raise RuntimeError("a guest can be started once")
        self._thread = threading.Thread(target=self._run, name="synthetic-guest", daemon=True)
        self._thread.start()

    def step(self, writes: int, *, mark: bool = True) -> None:
        """Make exactly so many writes in the caller's thread; for a guest that was not started.

        Args:
            writes: how many.
            mark: mark the pages dirty behind the writes; else `mark`, `stop` or a later step
                does, and a reader can come between a write and its mark.

        Raises:
            RuntimeError: the guest was started or stopped.
        """
        if self._thread is not None or self._stop.is_set():
            raise RuntimeError("the guest runs by itself, or was stopped")
        self._unmarked += self._writes.make(writes)
        if mark:
            self.mark()

    def mark(self) -> None:
        """Mark the pages dirty whose writes were not marked yet."""
        pages, self._unmarked = self._unmarked, []
        with self._log.lock:
            if self._log.dirty is not None and pages:
                self._log.dirty[pages] = True

    def stop(self) -> None:
        """Stop the workload; when this returns, its last write is in memory and marked."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.mark()

    def _run(self) -> None:
        due = 0.0
        begun = time.monotonic()
        while not self._stop.is_set():
            awake = 1 - self._throttle / 100
            # What the machine could not do in time is not made up for: a real guest is slow then.
            due = due % 1 + self._workload.dirty_pages_per_s * _SLICE_S * awake
            self._make(int(due), until=begun + _SLICE_S * awake)
            begun += _SLICE_S
            rest = begun - time.monotonic()
            if rest > 0:
                self._stop.wait(rest)
            else:
                begun = time.monotonic()

    def _make(self, writes: int, *, until: float) -> None:
        """Make writes, at most so many, until a time."""
        while writes > 0 and not self._stop.is_set() and time.monotonic() < until:
            some = min(writes, _BATCH_WRITES)
            self._unmarked += self._writes.make(some)
            self.mark()
            writes -= some

    # -- what it holds ----------------------------------------------------------------------------

    def digest(self) -> dict[str, str]:
        """Return the sha256 of each block as it is now, in hex, by the block's name."""
        digest = hashlib.sha256()
        memory = self._pages.reshape(-1)
        for addr in range(0, len(memory), _DIGEST_LEN):
            digest.update(memory[addr : addr + _DIGEST_LEN].data)
        return {_BLOCK_NAME: digest.hexdigest()}

    def _check_range(self, block: int, first: int, count: int) -> None:
        if block != 0 or first < 0 or count < 0 or first + count > len(self._pages):
            raise ValueError(
                f"block {block} has no pages {first} to {first + count}; block 0 has "
                f"{len(self._pages)} pages"
            )


def _check(
    seed: int, size_len: int, shares: Shares, workload: Workload, page_size_len: int
) -> None:
    if seed < 0:
        raise WriterError(f"seed {seed}: a seed is 0 or more")
    if size_len <= 0 or size_len % page_size_len:
        raise WriterError(
            f"a guest of {size_len} bytes is no multiple of the page ({page_size_len} bytes)"
        )
    parts = (shares.zero, shares.constant, shares.random)
    if min(parts) < 0 or abs(sum(parts) - 1) > 1e-6:
        raise WriterError(
            f"zero {shares.zero}, constant {shares.constant} and random {shares.random} pages "
            "are not together all pages (1)"
        )
    if workload.dirty_pages_per_s < 0:
        raise WriterError(f"{workload.dirty_pages_per_s} writes a second cannot be made")
    if not 0 < workload.hot_share <= 1:
        raise WriterError(f"a hot share of {workload.hot_share} is not above 0 and at most 1")
