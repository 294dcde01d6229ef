"""Random access to the final RAM of a capture; nothing of it is held in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from qmig.errors import MissingPagesError
from qmig.limits import MIB
from qmig.pages.buffers import BufferPool

if TYPE_CHECKING:
    from qmig.memory import RamBlock

    Missing = Literal["error", "zero"]
    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

_PIECE_LEN: Final = 4 * MIB
_CHECK_PAGES: Final = 65536
_POOL: Final = BufferPool()


class RamBlockView(ABC):
    """The final memory of one block.

    Args:
        block: the entry of the block list.
        page_size_len: bytes of a target page.

    Attributes:
        block: the entry of the block list.
        page_size_len: bytes of a target page.
    """

    def __init__(self, block: RamBlock, page_size_len: int) -> None:
        self.block = block
        self.page_size_len = page_size_len

    @property
    def name(self) -> str:
        """Name of the block."""
        return self.block.name

    @property
    def used_length(self) -> int:
        """Bytes of the block."""
        return self.block.used_length

    def read(self, addr: int, length: int, *, missing: Missing = "error") -> bytes:
        """Return the final content of a range.

        Args:
            addr: first byte in the block.
            length: number of bytes.
            missing: what to do about pages that the capture does not hold: "error" raises,
                "zero" gives zeros for them, as a freshly started destination has them.

        Raises:
            MissingPagesError: pages of the range are not in the capture (with "error").
            StreamError: the payload of a page is damaged.
            SourceError: the file cannot be read.
            ValueError: the range does not lie inside the block.
        """
        if addr < 0 or length < 0 or addr + length > self.used_length:
            raise ValueError(
                f"0x{addr:x} + 0x{length:x} lies outside {self.name!r} (0x{self.used_length:x})"
            )
        if length == 0:
            return b""
        size = self.page_size_len
        first, behind = addr // size, -(-(addr + length) // size)
        pages = _POOL.take((behind - first) * size).reshape(-1, size)
        self.read_pages_into(pages, first, missing=missing)
        skip = addr - first * size
        return pages.reshape(-1)[skip : skip + length].tobytes()

    def read_pages_into(self, out: Pages, first: int, *, missing: Missing = "error") -> None:
        """Fill an array with the final content of whole pages.

        Args:
            out: contiguous, shape (count, page_size_len); what it held before is gone.
            first: the first page; `first` + count must not be beyond the block's last page.
            missing: as for `read`.

        Raises:
            MissingPagesError: as `read`.
            StreamError: as `read`.
            SourceError: as `read`.
        """
        self._check_present(first, len(out), missing)
        if len(out):
            self._fill_pages(out, first)

    def pieces(self, *, missing: Missing = "error") -> Iterator[bytes]:
        """Yield the whole block in pieces of at most 4 MiB.

        Raises:
            MissingPagesError: as `read`.
            StreamError: as `read`.
        """
        for addr in range(0, self.used_length, _PIECE_LEN):
            yield self.read(addr, min(_PIECE_LEN, self.used_length - addr), missing=missing)

    def missing_pages(self) -> int:
        """Return how many pages the capture does not hold."""
        pages = self.block.pages(self.page_size_len)
        return sum(
            int(np.count_nonzero(~self.present(first, min(_CHECK_PAGES, pages - first))))
            for first in range(0, pages, _CHECK_PAGES)
        )

    @abstractmethod
    def present(self, first: int, count: int) -> Flags:
        """Tell which pages the capture holds: bool, shape (count,)."""

    @abstractmethod
    def known_zero(self, first: int, count: int) -> Flags:
        """Tell which pages are zero by what the capture says of them, unread.

        Others may hold zeros all the same. A page that the capture does not hold is not zero.
        """

    @abstractmethod
    def _fill_pages(self, out: Pages, first: int) -> None:
        """Write all of `out`; pages that are missing become zero."""

    def _check_present(self, first: int, count: int, missing: Missing) -> None:
        """Raise for the first page that is missing, unless zeros are wanted for them."""
        if missing == "zero":
            return
        for start in range(first, first + count, _CHECK_PAGES):
            present = self.present(start, min(_CHECK_PAGES, first + count - start))
            if present.all():
                continue
            at = int(np.argmin(present))
            run = int(np.argmax(present[at:])) or len(present) - at
            raise MissingPagesError(
                block=self.name,
                addr=(start + at) * self.page_size_len,
                length=run * self.page_size_len,
                reason=self._reason(),
            )

    def _reason(self) -> str:
        return "they were never sent"


class Ram(Mapping[str, RamBlockView]):
    """The final RAM of a capture: block name -> its memory; a `qmig.memory.GuestMemory`."""

    def __init__(self, blocks: Mapping[str, RamBlockView], page_size_len: int) -> None:
        self._blocks = dict(blocks)
        self._page_size_len = page_size_len

    @property
    def page_size_len(self) -> int:
        """Bytes of a target page."""
        return self._page_size_len

    @property
    def blocks(self) -> Mapping[str, RamBlockView]:
        """The blocks by name, in the order of the block list."""
        return self._blocks

    def __getitem__(self, name: str) -> RamBlockView:
        return self._blocks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)
