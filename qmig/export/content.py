"""What of guest memory is written: its bytes, without what is zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNIT_LEN: Final = 4096
"""What file systems give holes by."""


class Run(NamedTuple):
    """Bytes that follow one another in a block.

    Attributes:
        addr: first byte in the block.
        buffers: the bytes, in pieces.
    """

    addr: int
    buffers: Sequence[bytes | memoryview]


class Content(NamedTuple):
    """A range of a block.

    Attributes:
        addr: first byte in the block.
        length: bytes.
        runs: what is not zero, by address. Units that are zero are in none of them, but for those
            that a capture holds as others though it knows of zero pages.
    """

    addr: int
    length: int
    runs: list[Run]


class ContentSource(Protocol):
    """Where the bytes of blocks come from."""

    def contents(self, block: str, addr: int, length: int) -> Iterator[Content]:
        """Yield a range of a block in pieces of some MiB, in order.

        Buffers stay as they are while somebody has them.

        Raises:
            MissingPagesError: the capture does not hold a page, and zeros were not asked for.
            StreamError: the payload of a page is damaged.
        """
