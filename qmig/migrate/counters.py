"""What a migration counts, under the names that QEMU's query-migrate gives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Counts of one migration; safe to add to from channels.

    Attributes:
        transferred: bytes written.
        normal: pages sent with their content.
        duplicate: zero pages.
        dirty_sync_count: how often the dirty pages were asked for: rounds.
        dirty_pages_rate: pages a second that the guest dirtied in the last round.
        xbzrle_pages: pages sent as XBZRLE.
        xbzrle_bytes: bytes of them.
        xbzrle_cache_miss: pages that were not in the cache.
        xbzrle_overflow: pages whose encoding was longer than the page.
        compressed_pages: pages sent as COMPRESS_PAGE.
        multifd_bytes: bytes written to channels.
        throttle_percentage: what auto-converge took from the guest at last.
        downtime: milliseconds from the stop of the guest to the end.
        total_time: milliseconds in all.
    """

    transferred: int = 0
    normal: int = 0
    duplicate: int = 0
    dirty_sync_count: int = 0
    dirty_pages_rate: int = 0
    xbzrle_pages: int = 0
    xbzrle_bytes: int = 0
    xbzrle_cache_miss: int = 0
    xbzrle_overflow: int = 0
    compressed_pages: int = 0
    multifd_bytes: int = 0
    throttle_percentage: int = 0
    downtime: int = 0
    total_time: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **amounts: int) -> None:
        """Add to some counters at once."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def as_dict(self) -> dict[str, int]:
        """Return QEMU's names (with hyphens) -> values."""
        return {
            name.replace("_", "-"): getattr(self, name)
            for name in self.__dataclass_fields__
            if not name.startswith("_")
        }
