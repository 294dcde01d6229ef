"""Walk page records in runs: the hot loop of reading an ordinary stream.

A run is made of consecutive pages of one kind whose records follow each other at one stride. What
QEMU writes for a run is known in advance but for its length, so its end is found by comparing
bytes that are expected with bytes that are there, thousands of records at a time:

* ZERO|CONTINUE records lie next to each other, word and fill byte: one slice, one comparison.
* PAGE|CONTINUE records have their word every 8 + page size bytes; a strided `memoryview` gathers
  the words. The stride is a multiple of 8 because a page is.
* The expected bytes come from a template for 16 MiB of addresses, in which only the last three
  bytes of a word change; the bytes above are patched in.
* Where they differ first, an exclusive-or of the two as integers tells.

Short runs never get there: a plain loop is cheaper. Whatever is not an ordinary page record stops
the walk, and the caller reads it through the schemas, which gives errors their field and offset.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from qmig.memory import PageKind, PageRun
from qmig.wire.ram import CompressPageHead, RamSaveFlag, RamWord, XbzrleHead
from qmig.wire.record import fast_struct

if TYPE_CHECKING:
    import mmap
    from collections.abc import Mapping, Sequence

    from qmig.memory import RamBlock

_SHORT: Final = 16  # records looked at one by one before comparing begins
_FIRST_GUESS: Final = 32
_SPAN_BITS: Final = 24  # a template covers 1 << _SPAN_BITS bytes of guest addresses
_WINDOW_MASK: Final = (1 << _SPAN_BITS) - 1
_WORD_LEN: Final = 8
_ZERO_STRIDE: Final = 9  # word and fill byte

# Plain integers: an IntFlag would cost more than the rest of the loop.
_ZERO: Final = int(RamSaveFlag.ZERO)
_PAGE: Final = int(RamSaveFlag.PAGE)
_ZERO_CONTINUE: Final = int(RamSaveFlag.ZERO | RamSaveFlag.CONTINUE)
_PAGE_CONTINUE: Final = int(RamSaveFlag.PAGE | RamSaveFlag.CONTINUE)
_XBZRLE_CONTINUE: Final = int(RamSaveFlag.XBZRLE | RamSaveFlag.CONTINUE)
_COMPRESS_CONTINUE: Final = int(RamSaveFlag.COMPRESS_PAGE | RamSaveFlag.CONTINUE)

_KIND_ZERO: Final = int(PageKind.ZERO)
_KIND_FILL: Final = int(PageKind.FILL)
_KIND_PLAIN: Final = int(PageKind.PLAIN)
_KIND_XBZRLE: Final = int(PageKind.XBZRLE)
_KIND_COMPRESSED: Final = int(PageKind.COMPRESSED)


_new: Final = tuple.__new__  # half the cost of calling PageRun


class _Template:
    """The expected bytes of all records of one kind in one window of addresses."""

    __slots__ = ("_high", "count", "data", "record_len")

    def __init__(self, flags: int, record_len: int, page_size_len: int) -> None:
        self.record_len = record_len  # bytes compared a record: word, or word and fill byte
        self.count = (1 << _SPAN_BITS) // page_size_len
        self.data = bytearray(self.count * record_len)
        # What the addresses of a window have in their last three bytes, the flags in the last.
        in_64k = (1 << 16) // page_size_len
        self.data[7::record_len] = bytes([flags]) * self.count
        self.data[6::record_len] = bytes(range(0, 1 << 8, page_size_len >> 8)) * (1 << 8)
        for page in range(in_64k):
            self.data[5 + page * record_len :: in_64k * record_len] = bytes(range(1 << 8))
        self._high = bytes(5)

    def turn_to(self, word: int) -> None:
        """Make it that of the window which the word's address lies in."""
        high = (word >> _SPAN_BITS).to_bytes(5, "big")
        for byte in range(5):
            if high[byte] != self._high[byte]:
                self.data[byte :: self.record_len] = high[byte : byte + 1] * self.count
        self._high = high


class PageWalk:
    """The state of a walk over page records.

    Args:
        blocks: the block list.
        page_size_len: bytes of a target page, a power of two from 256.

    Attributes:
        block: index of the block that CONTINUE stands for; -1: none yet.
    """

    def __init__(self, blocks: Sequence[RamBlock], page_size_len: int) -> None:
        self.block = -1
        self._at = 0
        self.page_size_len = page_size_len
        self._limits = [block.used_length // page_size_len for block in blocks]
        self._index = {
            block.name.encode("utf-8", "surrogateescape"): block.index for block in blocks
        }
        self._templates: dict[int, _Template] = {}  # by flags, made when first compared with
        self._unpack = fast_struct(RamWord).unpack_from
        self._unpack_xbzrle = fast_struct(XbzrleHead).unpack_from
        self._unpack_compress = fast_struct(CompressPageHead).unpack_from

    @property
    def names(self) -> Mapping[bytes, int]:
        """Block name -> index."""
        return self._index

    def walk(
        self,
        data: mmap.mmap | bytes,
        at: int,
        base_offset: int,
        runs: list[PageRun],
        *,
        max_len: int,
        max_runs: int,
    ) -> int:
        """Append runs of the ordinary page records from `data[at]` on.

        Args:
            data: bytes of the stream.
            at: where the first record begins in `data`.
            base_offset: offset of `data[0]` in the source.
            runs: gets the runs; their `data_offset` counts in the source.
            max_len: stop soon after this many bytes.
            max_runs: stop after this many runs.

        Returns:
            The index in `data` of the first byte not walked over: the start of a record that is
            not an ordinary page record, is not legal, or is not whole in `data`.
        """
        try:
            return self._hot_loop(data, at, base_offset, runs, at + max_len, max_runs)
        except struct.error:  # a word that is not whole
            return self._at

    def _hot_loop(  # noqa: C901  # a call for each run would cost more than the run
        self,
        data: mmap.mmap | bytes,
        at: int,
        base_offset: int,
        runs: list[PageRun],
        stop: int,
        max_runs: int,
    ) -> int:
        # Locals for all it needs, and no other function.
        # Before each look at a word, `_at` says how far the walk came, should the data end there.
        unpack, append = self._unpack, runs.append
        page_size_len, limits = self.page_size_len, self._limits
        mask, bits = page_size_len - 1, page_size_len.bit_length() - 1
        plain_stride = _WORD_LEN + page_size_len
        short_plain, short_zero = _SHORT * plain_stride, _SHORT * _ZERO_STRIDE
        size = len(data)
        last_word, last_zero = size - _WORD_LEN, size - _ZERO_STRIDE
        left = max_runs
        block = self.block
        limit = limits[block] if block >= 0 else 0
        while at < stop and left:
            self._at = at
            word = unpack(data, at)[0]
            flags = word & mask
            end = at
            expected = word
            if flags == _PAGE_CONTINUE:
                gallop_at = at + short_plain
                while True:
                    end += plain_stride
                    expected += page_size_len
                    if end > last_word or unpack(data, end)[0] != expected:
                        break
                    if end >= gallop_at:
                        end = self._gallop(data, end, expected, flags, plain_stride)
                        break
                if end > size:  # the last page is not whole
                    end -= plain_stride
                kind, payload_len, stride_len = _KIND_PLAIN, page_size_len, plain_stride
            elif flags == _ZERO_CONTINUE:
                if at > last_zero:
                    return at
                fill = data[at + _WORD_LEN]
                gallop_at = at + short_zero
                while True:
                    end += _ZERO_STRIDE
                    expected += page_size_len
                    if (
                        end > last_zero
                        or unpack(data, end)[0] != expected
                        or data[end + _WORD_LEN] != fill
                    ):
                        break
                    if end >= gallop_at and not fill:
                        end = self._gallop(data, end, expected, flags, _ZERO_STRIDE)
                        break
                kind, payload_len, stride_len = _KIND_ZERO, 1, _ZERO_STRIDE
                if fill:
                    kind = _KIND_FILL
            else:
                before = at
                at = self._other(data, at, word, base_offset, runs)
                if at == before:
                    return at
                left -= 1
                block = self.block
                limit = limits[block]
                continue
            first_page = word >> bits
            count = (end - at) // stride_len
            if first_page + count > limit:  # up to the end of the block
                count = limit - first_page
                end = at + count * stride_len
            if count <= 0:
                return at
            append(
                _new(
                    PageRun,
                    (
                        block,
                        kind,
                        first_page,
                        count,
                        base_offset + at + _WORD_LEN,
                        stride_len,
                        payload_len,
                    ),
                )
            )
            left -= 1
            at = end
        return at

    def _other(
        self, data: mmap.mmap | bytes, at: int, word: int, base_offset: int, runs: list[PageRun]
    ) -> int:
        """Walk over a record that does not come in runs; return `at` where there is none."""
        flags = word & (self.page_size_len - 1)
        if flags in (_PAGE, _ZERO):
            return self._named(data, at, word, base_offset, runs)
        if flags in (_XBZRLE_CONTINUE, _COMPRESS_CONTINUE):
            return self._encoded(data, at, word, base_offset, runs)
        return at

    def _gallop(self, data: mmap.mmap | bytes, at: int, word: int, flags: int, stride: int) -> int:
        """Return the index of the first record that is not the expected one."""
        page_size_len = self.page_size_len
        template = self._templates.get(flags)
        if template is None:
            record_len = _ZERO_STRIDE if flags == _ZERO_CONTINUE else _WORD_LEN
            template = self._templates[flags] = _Template(flags, record_len, page_size_len)
        record_len = template.record_len
        size = len(data)
        guess = _FIRST_GUESS
        while True:
            template.turn_to(word)
            first = (word & _WINDOW_MASK) // page_size_len
            count = min(guess, template.count - first, (size - at) // stride)
            if count <= 0:
                return at
            want = template.data[first * record_len : (first + count) * record_len]
            if record_len == stride:
                have = data[at : at + count * stride]
            else:
                with memoryview(data) as view:
                    words = view[at : at + count * stride].cast("Q")
                    have = words[:: stride // _WORD_LEN].tobytes()
            if have != want:
                differs = int.from_bytes(have, "big") ^ int.from_bytes(want, "big")
                equal = (count * record_len * 8 - differs.bit_length()) // (record_len * 8)
                return at + equal * stride
            at += count * stride
            word += count * page_size_len
            guess *= 4

    def _named(
        self, data: mmap.mmap | bytes, at: int, word: int, base_offset: int, runs: list[PageRun]
    ) -> int:
        """Walk over a record with the name of its block."""
        name_at = at + _WORD_LEN + 1
        if name_at > len(data):
            return at
        body = name_at + data[name_at - 1]
        block = self._index.get(bytes(data[name_at:body]))
        plain = word & _PAGE
        payload_len = self.page_size_len if plain else 1
        if block is None or body + payload_len > len(data):
            return at
        of_fill = _KIND_FILL if data[body] else _KIND_ZERO
        kind = _KIND_PLAIN if plain else of_fill
        before, self.block = self.block, block
        record_len = body - at + payload_len
        after = self._add(runs, kind, word, 1, base_offset + body, record_len, payload_len, at)
        if after == at:
            self.block = before
        return after

    def _encoded(
        self, data: mmap.mmap | bytes, at: int, word: int, base_offset: int, runs: list[PageRun]
    ) -> int:
        """Walk over an XBZRLE or COMPRESS_PAGE record."""
        if word & RamSaveFlag.XBZRLE:
            flag, payload_len = self._unpack_xbzrle(data, at + _WORD_LEN)
            head_len, kind = 3, _KIND_XBZRLE
            legal = flag == 1 and payload_len <= self.page_size_len
        else:
            (payload_len,) = self._unpack_compress(data, at + _WORD_LEN)
            head_len, kind = 4, _KIND_COMPRESSED
            legal = 0 < payload_len <= compress_bound(self.page_size_len)
        body = at + _WORD_LEN + head_len
        if not legal or body + payload_len > len(data):
            return at
        record_len = body - at + payload_len
        return self._add(runs, kind, word, 1, base_offset + body, record_len, payload_len, at)

    def _add(  # the fields of a run; a call costs as much as the rest
        self,
        runs: list[PageRun],
        kind: int,
        word: int,
        count: int,
        data_offset: int,
        stride_len: int,
        payload_len: int,
        at: int,
    ) -> int:
        """Append a run up to the end of its block; return the index behind it."""
        first_page = word // self.page_size_len
        if self.block < 0:
            return at
        count = min(count, self._limits[self.block] - first_page)
        if count <= 0:
            return at
        runs.append(
            PageRun(self.block, kind, first_page, count, data_offset, stride_len, payload_len)
        )
        return at + count * stride_len


def compress_bound(page_size_len: int) -> int:
    """Return the longest zlib stream of one page (zlib.h compressBound)."""
    return (
        page_size_len + (page_size_len >> 12) + (page_size_len >> 14) + (page_size_len >> 25) + 13
    )
