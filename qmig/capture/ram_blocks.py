"""Blocks of a capture's RAM: one way to their pages for each way they can be stored."""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.capture.page_index import CHUNK_BITS, CHUNK_PAGES, Chunk, PageIndex, Placement
from qmig.capture.ram_view import RamBlockView
from qmig.errors import MalformedStreamError, StreamError, TruncatedStreamError
from qmig.limits import MIB
from qmig.memory import PageKind
from qmig.pages.xbzrle import XbzrleError, decode_into

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.capture.ram_view import Flags, Pages
    from qmig.capture.source import Source
    from qmig.memory import RamBlock

    Owners = np.ndarray[Any, np.dtype[np.int64]]

_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_STEP_LEN: Final = MIB // 4  # records read at a time to take their pages out; fits the L2 cache


class RecordedBlock(RamBlockView):
    """A block whose pages came as records or in packets.

    Args:
        block: the entry of the block list.
        page_size_len: bytes of a target page.
        index: the runs of all blocks.
        sources: what the runs' `source` counts.
        reason: why pages that were not sent are not there.
    """

    def __init__(
        self,
        block: RamBlock,
        page_size_len: int,
        *,
        index: PageIndex,
        sources: Sequence[Source],
        reason: str,
    ) -> None:
        super().__init__(block, page_size_len)
        self._index = index
        self._sources = sources
        self._why = reason

    def _reason(self) -> str:
        return self._why

    def present(self, first: int, count: int) -> Flags:
        """See `RamBlockView.present`."""
        present = np.empty(count, dtype=np.bool_)
        at = 0
        for chunk, low, high, _ in self._chunks(first, count):
            present[at : at + high - low] = chunk.owner[low:high] >= 0
            at += high - low
        return present

    def known_zero(self, first: int, count: int) -> Flags:
        """See `RamBlockView.known_zero`."""
        zero = np.empty(count, dtype=np.bool_)
        at = 0
        for chunk, low, high, _ in self._chunks(first, count):
            owner = chunk.owner[low:high]
            part = zero[at : at + len(owner)]
            part[:] = self._shows_zero(owner)
            begin, end = np.searchsorted(chunk.delta_pages, [low, high])
            part[chunk.delta_pages[begin:end] - low] = False
            at += len(owner)
        return zero

    def _shows_zero(self, owner: Owners) -> Flags:
        """Tell which pages have a ZERO record for their last whole version."""
        kinds = self._index.columns["kind"]
        if not len(kinds):
            return np.zeros(len(owner), dtype=np.bool_)
        zero: Flags = kinds[owner] == PageKind.ZERO
        zero &= owner >= 0
        return zero

    def _chunks(self, first: int, count: int) -> Iterator[tuple[Chunk, int, int, int]]:
        """Yield chunk, range of pages in it, and the block's page that its page 0 is."""
        behind = first + count
        while first < behind:
            number = first >> CHUNK_BITS
            base = number << CHUNK_BITS
            high = min(CHUNK_PAGES, behind - base)
            yield self._index.chunk(self.block.index, number), first - base, high, base
            first = base + high

    def _fill_pages(self, out: Pages, first: int) -> None:
        at = 0
        for chunk, low, high, base in self._chunks(first, len(out)):
            owner = chunk.owner[low:high]
            part = out[at : at + len(owner)]
            shown = self._shown(owner)
            edges = [0, *(np.flatnonzero(shown[1:] != shown[:-1]) + 1).tolist(), len(shown)]
            for begin, end in pairwise(edges):
                run = int(shown[begin])
                if run >= 0:
                    placement = self._index.placement(run, base + low + begin)
                    self._fill(part[begin:end], placement)
                else:
                    part[begin:end] = 0
            self._apply_deltas(part, chunk, low, high)
            at += len(owner)

    def _shown(self, owner: Owners) -> Owners:
        """Return the run that gives each page its content, -1 for zeros."""
        return np.where(self._shows_zero(owner), -1, owner)

    def _fill(self, out: Pages, place: Placement) -> None:
        """Write pages of one run into `out`."""
        source = self._sources[place.source]
        if place.kind == PageKind.ZERO:
            out[:] = 0
        elif place.kind == PageKind.FILL:
            out[:] = self._payload(source, place.data_offset, 1)[0]
        elif place.kind == PageKind.PLAIN:
            self._fill_plain(out, source, place)
        else:
            out[0] = np.frombuffer(self._inflated(source, place), dtype=np.uint8)

    def _fill_plain(self, out: Pages, source: Source, place: Placement) -> None:
        what = f"page data of {self.name}"
        size = self.page_size_len
        if place.stride_len == size or len(out) == 1:
            _read_exactly(source, place.data_offset, out, what)
            return
        step = max(1, _STEP_LEN // place.stride_len)
        for first in range(0, len(out), step):
            rows = out[first : first + step]
            data = np.empty(len(rows) * place.stride_len, dtype=np.uint8)
            # The last payload ends where no further record need begin.
            span = data[: (len(rows) - 1) * place.stride_len + size]
            _read_exactly(source, place.data_offset + first * place.stride_len, span, what)
            rows[:] = data.reshape(len(rows), place.stride_len)[:, :size]

    def _inflated(self, source: Source, place: Placement) -> bytes:
        data = self._payload(source, place.data_offset, place.payload_len)
        window = zlib.MAX_WBITS if place.kind == PageKind.COMPRESSED else _RAW_DEFLATE
        inflate = zlib.decompressobj(window)
        try:
            page = inflate.decompress(data, self.page_size_len + 1)
        except zlib.error as error:
            raise self._bad_payload(source, place, str(error)) from error
        if len(page) != self.page_size_len or not inflate.eof:
            raise self._bad_payload(source, place, f"{len(page)} bytes or more")
        return page

    def _bad_payload(self, source: Source, place: Placement, found: str) -> StreamError:
        return MalformedStreamError(
            path=source.name,
            offset=place.data_offset,
            record=f"compressed page of {self.name}",
            expected=f"a whole stream that gives {self.page_size_len} bytes",
            found=found,
        )

    def _apply_deltas(self, out: Pages, chunk: Chunk, low: int, high: int) -> None:
        begin, end = np.searchsorted(chunk.delta_pages, [low, high])
        for page, run in zip(
            chunk.delta_pages[begin:end].tolist(),
            chunk.delta_runs[begin:end].tolist(),
            strict=True,
        ):
            delta = self._index.delta(run)
            source = self._sources[delta.source]
            encoding = self._payload(source, delta.data_offset, delta.payload_len)
            content = bytearray(out[page - low])
            try:
                decode_into(content, encoding)
            except XbzrleError as error:
                raise MalformedStreamError(
                    path=source.name,
                    offset=delta.data_offset + error.position,
                    record=f"XBZRLE record of {self.name}",
                    expected="a legal encoding",
                    found=str(error),
                ) from error
            out[page - low] = np.frombuffer(content, dtype=np.uint8)

    def _payload(self, source: Source, offset: int, length: int) -> bytes:
        return _exactly(source, offset, length, f"page data of {self.name}")


class MappedBlock(RamBlockView):
    """A block of a mapped-ram file.

    Args:
        block: the entry of the block list, with its layout.
        page_size_len: bytes of a target page.
        source: the file.
        finished: whether the save got to its end, so that its bitmaps are written. Without that a
            clear bit does not stand for a zero page but for nothing.
    """

    def __init__(
        self, block: RamBlock, page_size_len: int, *, source: Source, finished: bool
    ) -> None:
        super().__init__(block, page_size_len)
        self._source = source
        self._finished = finished

    def _reason(self) -> str:
        if self.block.mapped is None:
            return "the block is shared memory that was not saved (x-ignore-shared)"
        return "the save was not finished, and the bitmap of its pages is written last"

    def _bits(self, first: int, count: int) -> Flags:
        layout = self.block.mapped
        if layout is None:
            return np.zeros(count, dtype=np.bool_)
        low, behind = first // 8, -(-(first + count) // 8)
        data = _exactly(
            self._source,
            layout.header.bitmap_offset + low,
            behind - low,
            f"mapped-ram bitmap of {self.name}",
        )
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[first - low * 8 :][:count].astype(np.bool_)

    def present(self, first: int, count: int) -> Flags:
        """See `RamBlockView.present`."""
        if self._finished and self.block.mapped is not None:
            return np.ones(count, dtype=np.bool_)
        return self._bits(first, count)

    def known_zero(self, first: int, count: int) -> Flags:
        """See `RamBlockView.known_zero`."""
        if self._finished and self.block.mapped is not None:
            return ~self._bits(first, count)
        return np.zeros(count, dtype=np.bool_)

    def _fill_pages(self, out: Pages, first: int) -> None:
        layout = self.block.mapped
        if layout is None:
            out[:] = 0
            return
        bits = self._bits(first, len(out))
        what = f"mapped-ram pages of {self.name}"
        edges = [0, *(np.flatnonzero(bits[1:] != bits[:-1]) + 1).tolist(), len(out)]
        for begin, end in pairwise(edges):
            if bits[begin]:
                offset = layout.header.pages_offset + (first + begin) * self.page_size_len
                _read_exactly(self._source, offset, out[begin:end], what)
            else:
                out[begin:end] = 0


def _exactly(source: Source, offset: int, length: int, what: str) -> bytes:
    data = source.read_at(offset, length)
    if len(data) < length:
        raise _cut_short(source, offset, length, len(data), what)
    return data


def _read_exactly(source: Source, offset: int, out: np.ndarray[Any, Any], what: str) -> None:
    """Fill a contiguous array."""
    length = source.read_into(offset, out.reshape(-1).data)
    if length < out.size:
        raise _cut_short(source, offset, out.size, length, what)


def _cut_short(
    source: Source, offset: int, wanted_len: int, available_len: int, what: str
) -> StreamError:
    if source.failure is not None:
        return source.failure
    return TruncatedStreamError(
        path=source.name,
        offset=offset,
        record=what,
        wanted_len=wanted_len,
        available_len=available_len,
        hint="the file is cut short, or changed while it was read",
    )
