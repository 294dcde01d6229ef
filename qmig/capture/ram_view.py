"""Random access to the final RAM of a capture; nothing of it is held in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from qmig.capture.page_index import CHUNK_BITS, CHUNK_PAGES, Chunk, PageIndex, Placement
from qmig.errors import MalformedStreamError, MissingPagesError, StreamError, TruncatedStreamError
from qmig.limits import MIB
from qmig.memory import PageKind
from qmig.pages.xbzrle import XbzrleError, decode_into

if TYPE_CHECKING:
    from qmig.capture.source import Source
    from qmig.memory import RamBlock

    Missing = Literal["error", "zero"]

_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_PIECE_LEN: Final = 4 * MIB


class RamBlockView:
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
        pages = self._read_pages(first, behind - first, missing)
        skip = addr - first * size
        return bytes(pages[skip : skip + length])

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
            int(np.count_nonzero(~self._present(first, min(CHUNK_PAGES, pages - first))))
            for first in range(0, pages, CHUNK_PAGES)
        )

    def _present(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        raise NotImplementedError

    def _read_pages(self, first: int, count: int, missing: Missing) -> bytearray:
        raise NotImplementedError

    def _check_present(self, first: int, count: int, missing: Missing) -> None:
        """Raise for the first page that is missing, unless zeros are wanted for them."""
        if missing == "zero":
            return
        for start in range(first, first + count, CHUNK_PAGES):
            present = self._present(start, min(CHUNK_PAGES, first + count - start))
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

    def _present(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        parts = []
        for chunk, low, high, _ in self._chunks(first, count):
            present = chunk.owner[low:high] >= 0
            if len(chunk.delta_pages):
                inside = (chunk.delta_pages >= low) & (chunk.delta_pages < high)
                present[chunk.delta_pages[inside] - low] &= True
            parts.append(present)
        return np.concatenate(parts)

    def _chunks(self, first: int, count: int) -> Iterator[tuple[Chunk, int, int, int]]:
        """Yield chunk, range of pages in it, and the block's page that its page 0 is."""
        behind = first + count
        while first < behind:
            number = first >> CHUNK_BITS
            base = number << CHUNK_BITS
            high = min(CHUNK_PAGES, behind - base)
            yield self._index.chunk(self.block.index, number), first - base, high, base
            first = base + high

    def _read_pages(self, first: int, count: int, missing: Missing) -> bytearray:
        self._check_present(first, count, missing)
        size = self.page_size_len
        out = bytearray(count * size)
        at = 0
        for chunk, low, high, base in self._chunks(first, count):
            owner = chunk.owner[low:high]
            edges = [0, *(np.flatnonzero(owner[1:] != owner[:-1]) + 1).tolist(), len(owner)]
            for begin, end in pairwise(edges):
                run = int(owner[begin])
                if run >= 0:
                    placement = self._index.placement(run, base + low + begin)
                    start = at + begin * size
                    self._fill(out, start, placement, end - begin)
            self._apply_deltas(out, at, chunk, low, high)
            at += len(owner) * size
        return out

    def _fill(self, out: bytearray, start: int, place: Placement, count: int) -> None:
        """Write pages of one run into `out`."""
        size = self.page_size_len
        source = self._sources[place.source]
        if place.kind == PageKind.ZERO:
            return
        if place.kind == PageKind.FILL:
            fill = self._payload(source, place.data_offset, 1)
            out[start : start + count * size] = fill * (count * size)
        elif place.kind == PageKind.PLAIN:
            # The last payload ends where no further record need begin.
            span = (count - 1) * place.stride_len + size
            data = self._payload(source, place.data_offset, span)
            if place.stride_len != size:
                rows = np.lib.stride_tricks.as_strided(
                    np.frombuffer(data, np.uint8), (count, size), (place.stride_len, 1)
                )
                data = rows.tobytes()
            out[start : start + count * size] = data
        else:
            out[start : start + size] = self._inflated(source, place)

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

    def _apply_deltas(self, out: bytearray, at: int, chunk: Chunk, low: int, high: int) -> None:
        size = self.page_size_len
        begin, end = np.searchsorted(chunk.delta_pages, [low, high])
        for page, run in zip(
            chunk.delta_pages[begin:end].tolist(),
            chunk.delta_runs[begin:end].tolist(),
            strict=True,
        ):
            delta = self._index.delta(run)
            source = self._sources[delta.source]
            encoding = self._payload(source, delta.data_offset, delta.payload_len)
            start = at + (page - low) * size
            content = out[start : start + size]
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
            out[start : start + size] = content

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

    def _bits(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
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

    def _present(self, first: int, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        if self._finished and self.block.mapped is not None:
            return np.ones(count, dtype=np.bool_)
        return self._bits(first, count)

    def _read_pages(self, first: int, count: int, missing: Missing) -> bytearray:
        self._check_present(first, count, missing)
        size = self.page_size_len
        out = bytearray(count * size)
        layout = self.block.mapped
        if layout is None:
            return out
        bits = self._bits(first, count)
        edges = [0, *(np.flatnonzero(bits[1:] != bits[:-1]) + 1).tolist(), count]
        for begin, end in pairwise(edges):
            if bits[begin]:
                offset = layout.header.pages_offset + (first + begin) * size
                length = (end - begin) * size
                out[begin * size : end * size] = _exactly(
                    self._source, offset, length, f"mapped-ram pages of {self.name}"
                )
        return out


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


def _exactly(source: Source, offset: int, length: int, what: str) -> bytes:
    data = source.read_at(offset, length)
    if len(data) < length:
        if source.failure is not None:
            raise source.failure
        raise TruncatedStreamError(
            path=source.name,
            offset=offset,
            record=what,
            wanted_len=length,
            available_len=len(data),
            hint="the file is cut short, or changed while it was read",
        )
    return data
