"""An image: bytes of its own and ranges of guest memory, each at an offset.

All formats that are one file are such images; here they are written, with holes where they are
zero, or in a row where the output only goes forwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qmig.limits import MIB
from qmig.migrate.output import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qmig.export.content import ContentSource
    from qmig.migrate.stream_output import StreamOutput

    Progress = Callable[[int], None]
    Pieces = Iterator[tuple[int, Sequence[bytes | memoryview]]]

_ZEROS: Final = bytes(MIB)


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes of the format.

    Attributes:
        offset: in the image.
        data: the bytes.
    """

    offset: int
    data: bytes

    @property
    def length(self) -> int:
        """Their number."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Memory:
    """A range of a RAM block.

    Attributes:
        offset: in the image.
        length: bytes.
        block: name of the block.
        addr: first byte in the block.
    """

    offset: int
    length: int
    block: str
    addr: int


Segment = Literal | Memory


def write_image(
    segments: Sequence[Segment],
    length: int,
    content: ContentSource,
    out: AtomicFile | StreamOutput,
    *,
    progress: Progress | None = None,
) -> None:
    """Write an image.

    Args:
        segments: in the order of their offsets; what no segment covers is zero.
        length: bytes of the image.
        content: where memory comes from.
        out: a file, which gets holes, or a stream.
        progress: told how many bytes have been dealt with.

    Raises:
        MissingPagesError: the capture does not hold a page, and zeros were not asked for.
        StreamError: the payload of a page is damaged.
        OutputError: the output cannot be written.
    """
    pieces = _pieces(segments, content, progress)
    if isinstance(out, AtomicFile):
        _write_file(pieces, length, out)
    else:
        _write_stream(pieces, length, out)


def _write_file(pieces: Pieces, length: int, out: AtomicFile) -> None:
    out.reserve(length)
    for offset, buffers in pieces:
        out.pwritev(buffers, offset)


def _write_stream(pieces: Pieces, length: int, out: StreamOutput) -> None:
    for offset, buffers in pieces:
        _fill_up(out, offset)
        out.append(buffers[0] if len(buffers) == 1 else b"".join(buffers))
    _fill_up(out, length)


def _pieces(
    segments: Sequence[Segment], content: ContentSource, progress: Progress | None
) -> Pieces:
    """Yield what of an image is not zero: the offset in it, and the bytes."""
    for segment in segments:
        if isinstance(segment, Literal):
            yield segment.offset, (segment.data,)
            continue
        shift = segment.offset - segment.addr
        for piece in content.contents(segment.block, segment.addr, segment.length):
            if progress is not None:
                progress(piece.addr + shift)
            for run in piece.runs:
                yield run.addr + shift, run.buffers


def _fill_up(out: StreamOutput, offset: int) -> None:
    while out.position < offset:
        out.append(_ZEROS[: offset - out.position])
