"""What a walk over a stream yields: every byte of it, in order, under a name.

`Record` and `PageBatch` tile the stream: each begins where the one before ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import PageRun
    from qmig.wire.record import WireRecord

NOT_READ: Final = "not read"


class Record:
    """A record, or bytes that are known only as a whole.

    Attributes:
        offset: first byte in its source.
        length: number of bytes.
        name: what it is, in words ("section head", "RAM block list entry").
        wire: the wire record, where there is one for exactly these bytes.
        detail: what else is known of it, for people and programs.
    """

    __slots__ = ("detail", "length", "name", "offset", "wire")

    def __init__(
        self,
        offset: int,
        length: int,
        name: str,
        wire: WireRecord | None = None,
        /,
        **detail: Any,  # noqa: ANN401  # each name has a type of its own
    ) -> None:
        self.offset = offset
        self.length = length
        self.name = name
        self.wire = wire
        self.detail = detail

    def __repr__(self) -> str:
        return (
            f"Record(0x{self.offset:x}, {self.length}, {self.name!r}, {self.wire}, {self.detail})"
        )


class PageBatch:
    """Page records that follow one another without a gap.

    Attributes:
        offset: first byte in the source.
        length: bytes of all records.
        runs: the pages, in the order in which they came.
    """

    __slots__ = ("length", "offset", "runs")

    def __init__(self, offset: int, length: int, runs: Sequence[PageRun]) -> None:
        self.offset = offset
        self.length = length
        self.runs = runs

    def __repr__(self) -> str:
        return f"PageBatch(0x{self.offset:x}, {self.length}, {len(self.runs)} runs)"


class Opaque(Record):
    """A body that is carried as it is.

    `detail["extent"]` tells how its end was found: "vmdescription", "footer" or "guess"; or it is
    "damage", for what could not be read and has the name `NOT_READ`.
    """

    __slots__ = ()
