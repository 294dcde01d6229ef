"""An image: bytes of its own and ranges of guest memory, each at an offset.

All formats that are one file are such images; here they are written, with holes where they are
zero, or in a row where the output only goes forwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.limits import MIB
from qmig.migrate.channels import ThreadChannels
from qmig.migrate.output import AtomicFile
from qmig.pages.buffers import BufferPool
from qmig.pages.flags import true_runs
from qmig.pages.zero import zero_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qmig.memory import SavedBlock, SavedMemory
    from qmig.migrate.channels import Write
    from qmig.migrate.stream_output import StreamOutput

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]
    Progress = Callable[[int], None]

PIECE_LEN: Final = 4 * MIB
_HOLE_LEN: Final = 4096  # what file systems give holes by
_WRITERS: Final = 1
_POOL: Final = BufferPool()
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


@dataclass(frozen=True, slots=True)
class Missing:
    """A range of a block that the capture does not hold.

    Attributes:
        block: its name.
        addr: first byte in the block.
        length: bytes.
    """

    block: str
    addr: int
    length: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a block.

    Attributes:
        addr: first byte in the block.
        length: bytes.
        data: the bytes; None where all are zero.
    """

    addr: int
    length: int
    data: Bytes | None


def pieces(
    view: SavedBlock, page_size_len: int, addr: int, length: int, *, holes: bool
) -> Iterator[Piece]:
    """Yield a range of a block in pieces of at most `PIECE_LEN`, zeros unread where that is known.

    Args:
        view: the block.
        page_size_len: bytes of a target page.
        addr: first byte.
        length: bytes.
        holes: give zeros for pages that the capture does not hold.

    Raises:
        MissingPagesError: the capture does not hold a page (without `holes`).
        StreamError: the payload of a page is damaged.
    """
    end = addr + length
    while addr < end:
        behind = min(end, (addr // PIECE_LEN + 1) * PIECE_LEN)
        first, count = _pages(addr, behind, page_size_len)
        data: Bytes | None = None
        if not view.known_zero(first, count).all():
            pages = _POOL.take(count * page_size_len).reshape(count, page_size_len)
            view.read_pages_into(pages, first, missing="zero" if holes else "error")
            skip = addr - first * page_size_len
            data = pages.reshape(-1)[skip : skip + behind - addr]
        yield Piece(addr, behind - addr, data)
        addr = behind


def _pages(addr: int, end: int, page_size_len: int) -> tuple[int, int]:
    """Return the first page of a range and how many it touches."""
    first = addr // page_size_len
    return first, -(-end // page_size_len) - first


def missing_in(view: SavedBlock, page_size_len: int, addr: int, length: int) -> list[Missing]:
    """Return the ranges of a block that the capture does not hold, in order."""
    found: list[Missing] = []
    end = addr + length
    step = PIECE_LEN * 16
    for start in range(addr, end, step):
        behind = min(end, start + step)
        first, count = _pages(start, behind, page_size_len)
        for low, high in true_runs(~view.present(first, count)):
            low_addr = max(start, (first + low) * page_size_len)
            high_addr = min(behind, (first + high) * page_size_len)
            last = found[-1] if found else None
            if last is not None and last.addr + last.length == low_addr:
                found[-1] = Missing(last.block, last.addr, last.length + high_addr - low_addr)
            else:
                found.append(Missing(view.block.name, low_addr, high_addr - low_addr))
    return found


def write_image(
    segments: Sequence[Segment],
    length: int,
    ram: SavedMemory,
    out: AtomicFile | StreamOutput,
    *,
    holes: bool = False,
    progress: Progress | None = None,
) -> list[Missing]:
    """Write an image.

    Args:
        segments: in the order of their offsets; what no segment covers is zero.
        length: bytes of the image.
        ram: where memory comes from.
        out: a file, which gets holes, or a stream.
        holes: leave out pages that the capture does not hold.
        progress: told how many bytes have been dealt with.

    Returns:
        What was left out.

    Raises:
        MissingPagesError: the capture does not hold a page (without `holes`).
        StreamError: the payload of a page is damaged.
        OutputError: the output cannot be written.
    """
    missing: list[Missing] = []
    if holes:
        for segment in segments:
            if isinstance(segment, Memory):
                view = ram.blocks[segment.block]
                missing += missing_in(view, ram.page_size_len, segment.addr, segment.length)
    if isinstance(out, AtomicFile):
        _write_file(segments, length, ram, out, holes=holes, progress=progress)
    else:
        _write_stream(segments, length, ram, out, holes=holes, progress=progress)
    return missing


def _write_file(
    segments: Sequence[Segment],
    length: int,
    ram: SavedMemory,
    out: AtomicFile,
    *,
    holes: bool,
    progress: Progress | None,
) -> None:
    out.reserve(length)
    writers = ThreadChannels(_WRITERS)
    try:
        for offset, data in _content(segments, ram.blocks, ram.page_size_len, holes=holes):
            if progress is not None:
                progress(offset)
            if isinstance(data, bytes):
                out.pwrite(data, offset)
            elif data is not None:
                writers.submit(_writing(out, data, offset))
        writers.sync()
    finally:
        writers.close()


def _writing(out: AtomicFile, data: Bytes, offset: int) -> Callable[[int], Write]:
    return lambda _channel: lambda: write_with_holes(out, data, offset)


def write_with_holes(out: AtomicFile, data: Bytes, offset: int) -> None:
    """Write bytes, but not what is zero in whole units of `_HOLE_LEN` of the file."""
    head = min(-offset % _HOLE_LEN, len(data))
    whole = (len(data) - head) // _HOLE_LEN
    if head:
        _write_part(out, data[:head], offset)
    body = data[head : head + whole * _HOLE_LEN]
    if whole:
        for low, high in true_runs(~zero_pages(body.reshape(whole, _HOLE_LEN))):
            part = body[low * _HOLE_LEN : high * _HOLE_LEN]
            out.pwrite(part.data, offset + head + low * _HOLE_LEN)
    tail = head + whole * _HOLE_LEN
    if tail < len(data):
        _write_part(out, data[tail:], offset + tail)


def _write_part(out: AtomicFile, data: Bytes, offset: int) -> None:
    if data.any():
        out.pwrite(data.data, offset)


def _write_stream(
    segments: Sequence[Segment],
    length: int,
    ram: SavedMemory,
    out: StreamOutput,
    *,
    holes: bool,
    progress: Progress | None,
) -> None:
    for offset, data in _content(segments, ram.blocks, ram.page_size_len, holes=holes):
        if progress is not None:
            progress(offset)
        if data is not None:
            _fill_up(out, offset)
            out.append(data if isinstance(data, bytes) else data.data)
    _fill_up(out, length)


def _fill_up(out: StreamOutput, offset: int) -> None:
    while out.position < offset:
        out.append(_ZEROS[: offset - out.position])


def _content(
    segments: Sequence[Segment],
    views: Mapping[str, SavedBlock],
    page_size_len: int,
    *,
    holes: bool,
) -> Iterator[tuple[int, bytes | Bytes | None]]:
    """Yield (offset, bytes) in order; None stands for zeros up to the next offset."""
    for segment in segments:
        if isinstance(segment, Literal):
            yield segment.offset, segment.data
            continue
        view = views[segment.block]
        shift = segment.offset - segment.addr
        for piece in pieces(view, page_size_len, segment.addr, segment.length, holes=holes):
            yield piece.addr + shift, piece.data
