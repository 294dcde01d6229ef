"""The ordinary stream: page records one after another in the main stream."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmig.pages.flags import equal_runs
from qmig.pages.zero import zero_pages
from qmig.wire.ram import (
    ENCODING_FLAG_XBZRLE,
    CompressPageHead,
    RamBlockAddr,
    RamBlockRecord,
    RamPageName,
    RamSaveFlag,
    XbzrleHead,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.memory import RamBlock, RunningGuest
    from qmig.migrate.counters import Counters
    from qmig.migrate.main_stream import MainStream
    from qmig.migrate.xbzrle_sender import XbzrleSender

    Pages = np.ndarray[Any, np.dtype[np.uint8]]
    Numbers = np.ndarray[Any, np.dtype[np.int64]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

_WORD_LEN: Final = 8
_COMPRESS_LEVEL: Final = 1  # QEMU's default of compress-level


def write_block_list(stream: MainStream, blocks: Sequence[RamBlock]) -> None:
    """Write the block list of a stream that is not mapped-ram, without its EOS word.

    The page_size field of a source with postcopy-ram is left out: a destination reads it only
    behind a POSTCOPY_ADVISE (migration/ram.c, parse_ramblock), and no file can be loaded with one.
    """
    stream.word(sum(block.used_length for block in blocks) | RamSaveFlag.MEM_SIZE)
    for block in blocks:
        name = name_bytes(block)
        stream.write(RamBlockRecord(idstr=name, used_length=block.used_length).build())
        if block.addr is not None:
            stream.write(RamBlockAddr(addr=block.addr).build())


def name_bytes(block: RamBlock) -> bytes:
    """Return a block's name as it goes on the wire."""
    return block.name.encode("utf-8", "surrogateescape")


class RecordWriter:
    """Writes page records; remembers which block CONTINUE stands for.

    Args:
        stream: the main stream.
        page_size_len: bytes of a target page.
    """

    def __init__(self, stream: MainStream, page_size_len: int) -> None:
        self._stream = stream
        self._size = page_size_len
        self._block: int | None = None

    def head(self, block: RamBlock, page: int, kind: RamSaveFlag) -> bytes:
        """Return word and name of a record."""
        word = page * self._size | kind
        if block.index == self._block:
            return (word | RamSaveFlag.CONTINUE).to_bytes(_WORD_LEN, "big")
        self._block = block.index
        return word.to_bytes(_WORD_LEN, "big") + RamPageName(idstr=name_bytes(block)).build()

    def zeros(self, block: RamBlock, first: int, count: int) -> int:
        """Write ZERO records; return their bytes."""
        return self.zeros_at(block, np.arange(first, first + count))

    def zeros_at(self, block: RamBlock, pages: Numbers) -> int:
        """Write ZERO records of pages by their numbers, of which there is one; see `zeros`."""
        begun = self._stream.offset
        if block.index != self._block:
            self._stream.write(self.head(block, int(pages[0]), RamSaveFlag.ZERO) + b"\0")
            pages = pages[1:]
        records = np.zeros((len(pages), _WORD_LEN + 1), np.uint8)
        records[:, :_WORD_LEN] = self._words(pages, RamSaveFlag.ZERO)
        self._stream.write(records.data)
        return self._stream.offset - begun

    def plain(self, block: RamBlock, first: int, pages: Pages) -> int:
        """Write PAGE records; return their bytes."""
        return self.plain_at(block, np.arange(first, first + len(pages)), pages)

    def plain_at(self, block: RamBlock, numbers: Numbers, pages: Pages) -> int:
        """Write PAGE records of pages by their numbers, of which there is one; see `plain`."""
        begun = self._stream.offset
        if block.index != self._block:
            self._stream.write(self.head(block, int(numbers[0]), RamSaveFlag.PAGE))
            self._stream.write(pages[0].tobytes())
            numbers, pages = numbers[1:], pages[1:]
        records = np.empty((len(pages), _WORD_LEN + self._size), np.uint8)
        records[:, :_WORD_LEN] = self._words(numbers, RamSaveFlag.PAGE)
        records[:, _WORD_LEN:] = pages
        self._stream.write(records.data)
        return self._stream.offset - begun

    def _words(self, pages: Numbers, kind: RamSaveFlag) -> Pages:
        flags = int(kind | RamSaveFlag.CONTINUE)
        words = pages * self._size | flags
        return words.astype(">u8").view(np.uint8).reshape(len(pages), _WORD_LEN)


class SequentialLayout:
    """Writes an ordinary stream.

    Args:
        stream: the main stream.
        guest: where the pages come from.
        counters: what is counted.
        compress: write pages as COMPRESS_PAGE, as compress threads did up to 9.0.
        xbzrle: encodes pages of later rounds; None: they are sent whole.
    """

    def __init__(
        self,
        stream: MainStream,
        guest: RunningGuest,
        counters: Counters,
        *,
        compress: bool = False,
        xbzrle: XbzrleSender | None = None,
    ) -> None:
        self._stream = stream
        self._guest = guest
        self._counters = counters
        self._compress = compress
        self._xbzrle = xbzrle
        self._records = RecordWriter(stream, guest.page_size_len)
        self._compressed: set[int] = set()

    def setup(self, blocks: Sequence[RamBlock]) -> None:
        """Write the block list."""
        write_block_list(self._stream, blocks)
        self._stream.eos()

    def send(self, block: int, first: int, count: int, *, first_round: bool) -> None:
        """Write pages as they are now."""
        entry = self._guest.blocks[block]
        pages = self._guest.read_pages(block, first, count)
        zero = zero_pages(pages)
        for begin, end, is_zero in equal_runs(zero):
            if is_zero:
                written = self._zeros(entry, first + begin, end - begin, first_round=first_round)
            else:
                written = self._normal(
                    entry, first + begin, pages[begin:end], first_round=first_round
                )
            self._counters.add(transferred=written)

    def send_some(self, block: int, first: int, wanted: Flags) -> None:
        """Write some pages of a range of a guest that stands still, whole and in their order.

        For ranges of few pages each, which would cost more than the pages do one by one.

        Args:
            block: index of the block.
            first: first page of the range.
            wanted: bool, shape (count,): which pages to write; the others are read and left out.
        """
        entry = self._guest.blocks[block]
        pages = self._guest.read_pages(block, first, len(wanted))
        numbers = np.flatnonzero(wanted)
        written = 0
        for begin, end, is_zero in equal_runs(zero_pages(pages)[numbers]):
            some = numbers[begin:end]
            if is_zero:
                self._counters.add(duplicate=len(some))
                written += self._records.zeros_at(entry, first + some)
            else:
                self._counters.add(normal=len(some))
                written += self._records.plain_at(entry, first + some, pages[some])
        self._counters.add(transferred=written)

    def _zeros(self, block: RamBlock, first: int, count: int, *, first_round: bool) -> int:
        if self._xbzrle is not None and not first_round:
            self._xbzrle.became_zero(block.index, first, count)
        self._counters.add(duplicate=count)
        return self._records.zeros(block, first, count)

    def _normal(self, block: RamBlock, first: int, pages: Pages, *, first_round: bool) -> int:
        if self._xbzrle is not None and not first_round:
            return self._deltas(block, first, pages, self._xbzrle)
        if self._compress:
            return self._compressed_pages(block, first, pages)
        self._counters.add(normal=len(pages))
        return self._records.plain(block, first, pages)

    def _deltas(self, block: RamBlock, first: int, pages: Pages, sender: XbzrleSender) -> int:
        written = 0
        for page, content in enumerate(pages, first):
            whole, encoding = sender.encode(block.index, page, content)
            if encoding is None:
                self._counters.add(normal=1)
                written += self._records.plain(block, page, whole[np.newaxis])
            elif encoding:
                head = self._records.head(block, page, RamSaveFlag.XBZRLE)
                body = XbzrleHead(flag=ENCODING_FLAG_XBZRLE, encoded_len=len(encoding)).build()
                self._stream.write(head + body + encoding)
                written += len(head) + len(body) + len(encoding)
        return written

    def _compressed_pages(self, block: RamBlock, first: int, pages: Pages) -> int:
        """Write COMPRESS_PAGE records; the first page of a block goes whole, as 3.1 to 8.2 do."""
        written = 0
        for page, content in enumerate(pages, first):
            if block.index not in self._compressed:
                self._compressed.add(block.index)
                self._counters.add(normal=1)
                written += self._records.plain(block, page, content[np.newaxis])
                continue
            data = zlib.compress(content.tobytes(), _COMPRESS_LEVEL)
            head = self._records.head(block, page, RamSaveFlag.COMPRESS_PAGE)
            head += CompressPageHead(compressed_len=len(data)).build()
            self._stream.write(head + data)
            self._counters.add(compressed_pages=1)
            written += len(head) + len(data)
        return written

    def round_end(self) -> None:
        """Note it for the page cache; nothing can be overtaken in one stream."""
        if self._xbzrle is not None:
            self._xbzrle.next_round()

    def part_end(self) -> None:
        """Write the EOS word."""
        self._stream.eos()
        self._stream.flush()

    def complete(self) -> None:
        """Write the EOS word."""
        self._stream.eos()
