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
    from collections.abc import Callable, Sequence

    from qmig.export.content import ContentSource
    from qmig.migrate.stream_output import StreamOutput

    Progress = Callable[[int], None]

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
    if isinstance(out, AtomicFile):
        _write_file(segments, length, content, out, progress)
    else:
        _write_stream(segments, length, content, out, progress)


def _write_file(
    segments: Sequence[Segment],
    length: int,
    content: ContentSource,
    out: AtomicFile,
    progress: Progress | None,
) -> None:
    out.reserve(length)
    for segment in segments:
        if isinstance(segment, Literal):
            out.pwrite(segment.data, segment.offset)
            continue
        shift = segment.offset - segment.addr
        for piece in content.contents(segment.block, segment.addr, segment.length):
            if progress is not None:
                progress(piece.addr + shift)
            for run in piece.runs:
                out.pwritev(run.buffers, run.addr + shift)


def _write_stream(
    segments: Sequence[Segment],
    length: int,
    content: ContentSource,
    out: StreamOutput,
    progress: Progress | None,
) -> None:
    for segment in segments:
        _fill_up(out, segment.offset)
        if isinstance(segment, Literal):
            out.append(segment.data)
            continue
        shift = segment.offset - segment.addr
        for piece in content.contents(segment.block, segment.addr, segment.length):
            if progress is not None:
                progress(piece.addr + shift)
            for run in piece.runs:
                _fill_up(out, run.addr + shift)
                out.append(run.buffers[0] if len(run.buffers) == 1 else b"".join(run.buffers))
    _fill_up(out, length)


def _fill_up(out: StreamOutput, offset: int) -> None:
    while out.position < offset:
        out.append(_ZEROS[: offset - out.position])
