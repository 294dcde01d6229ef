"""Where reading and writing meet: RAM blocks, runs of pages, and the guest memory protocol.

Ranges are half-open. An address (`_addr`) counts bytes inside a RAM block.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from qmig.wire.mapped_ram import MappedRamHeader


class PageKind(IntEnum):
    """How a page came."""

    ZERO = 0  # ZERO with fill byte 0, or a zero page of a multifd packet: no payload
    FILL = 1  # ZERO with another fill byte; the byte stands at data_offset
    PLAIN = 2  # the page as it is
    XBZRLE = 3  # what changed against the page's content before
    COMPRESSED = 4  # a zlib stream of this page alone
    RAW_DEFLATE = 5  # a raw deflate stream of this page alone (multifd qpl)


class PageRun(NamedTuple):
    """Consecutive pages of a block that came one after another in one way.

    Attributes:
        block: index of the block in the block list.
        kind: a `PageKind`.
        first_page: index of the first page in its block.
        count: number of pages.
        data_offset: offset of the first page's payload in its source (ZERO: of the fill byte, or
            -1 where there is none).
        stride_len: bytes from one payload to the next.
        payload_len: bytes of one payload.
    """

    block: int
    kind: int
    first_page: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on a run
    data_offset: int
    stride_len: int
    payload_len: int


@dataclass
class MappedLayout:
    """Where the pages of a block stand in a mapped-ram file.

    Attributes:
        header: the header as it stands there.
        header_offset: its offset in the source.
        bitmap_len: bytes of the bitmap.
    """

    header: MappedRamHeader
    header_offset: int
    bitmap_len: int


@dataclass
class RamBlock:
    """One entry of a block list.

    Attributes:
        index: position in the list.
        name: idstr, with bytes that are not UTF-8 kept as surrogates.
        used_length: bytes.
        entry_offset: offset of the entry in its source.
        page_size: the entry's page_size field (host page size), None where it has none.
        addr: the entry's addr field (guest-physical address), None where it has none.
        mapped: layout in a mapped-ram file, None in other streams.
    """

    index: int
    name: str
    used_length: int
    entry_offset: int
    page_size: int | None = None
    addr: int | None = None
    mapped: MappedLayout | None = None

    def pages(self, page_size_len: int) -> int:
        """Return the number of target pages, a last partial one included."""
        return -(-self.used_length // page_size_len)


class BlockMemory(Protocol):
    """The memory of one block."""

    @property
    def name(self) -> str:
        """Name of the block."""

    @property
    def used_length(self) -> int:
        """Bytes of the block."""

    def read(self, addr: int, length: int) -> bytes:
        """Return `length` bytes from `addr`."""


class RunningGuest(Protocol):
    """A guest whose memory can be saved while it may go on changing.

    The migrator asks for pages, and between rounds for those that were written since it last
    asked. A write marks its page behind the write, so that a page which is read before its mark
    is cleared is never older than the mark.
    """

    @property
    def page_size_len(self) -> int:
        """Bytes of a target page."""

    @property
    def blocks(self) -> Sequence[RamBlock]:
        """The blocks, in the order of the block list."""

    def read_pages(self, block: int, first: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return pages of a block as they are now: uint8, shape (count, page_size_len).

        It may be a view of the guest's memory that changes under the reader, or a copy.
        """

    def sent(self, block: int, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which pages are to be sent at all: bool, shape (count,). Others never were."""

    def take_dirty(self) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
        """Return the pages written since the last call, a bool array for each block; clear them.

        The first call starts the logging and returns nothing dirty.
        """

    def throttle(self, percent: int) -> None:
        """Take this share of its time from the guest (auto-converge); 0: none."""

    def stop(self) -> None:
        """Stop the guest; when this returns, its last write is in memory and marked."""


class SavedBlock(Protocol):
    """A block of RAM that was saved, as it can be saved again."""

    @property
    def block(self) -> RamBlock:
        """The entry of the block list."""

    def present(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which pages were saved: bool, shape (count,)."""

    def known_zero(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell which pages are zero without reading them; others may be zero all the same."""

    def read_pages_into(
        self,
        out: np.ndarray[Any, np.dtype[np.uint8]],
        first: int,
        *,
        missing: Literal["error", "zero"],
    ) -> None:
        """Fill `out`, of shape (count, page_size_len), with whole pages."""


class SavedMemory(Protocol):
    """RAM that was saved: that of a capture."""

    @property
    def page_size_len(self) -> int:
        """Bytes of a target page."""

    @property
    def blocks(self) -> Mapping[str, SavedBlock]:
        """The blocks by name, in the order of the block list."""


class GuestMemory(Protocol):
    """The memory of a guest: what is read from a capture, and what is saved into one."""

    @property
    def page_size_len(self) -> int:
        """Bytes of a target page."""

    @property
    def blocks(self) -> Mapping[str, BlockMemory]:
        """The blocks by name, in the order of the block list."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the blocks."""
