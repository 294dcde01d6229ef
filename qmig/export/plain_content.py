"""Guest memory that is written from where it stands in a file, without a copy in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.export.content import Content, Run
from qmig.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.plain_ram import PlainRam, PlainRun

_PIECE_LEN: Final = 16 * MIB
# What was looked at of a mapped file counts as memory of ours, until it is given back.
_FORGET_LEN: Final = 64 * MIB
_PROBE: Final = bytes(8)


class PlainContent:
    """The content of blocks as views of a mapped file; a `ContentSource`.

    Args:
        ram: where their pages stand.
    """

    def __init__(self, ram: PlainRam) -> None:
        self._ram = ram
        self._zero_page = bytes(ram.page_size_len)
        self._seen_len = 0

    def contents(self, block: str, addr: int, length: int) -> Iterator[Content]:
        """See `ContentSource.contents`; no page is missing, and no payload can be damaged."""
        size, sparse = self._ram.page_size_len, self._ram.knows_zeros(block)
        end = addr + length
        while addr < end:
            behind = min(end, (addr // _PIECE_LEN + 1) * _PIECE_LEN)
            runs: list[Run] = []
            for plain in self._ram.runs(block, addr // size, -(-behind // size)):
                self._forget(plain.page_count * size)
                for low, high in [(0, plain.page_count)] if sparse else self._nonzero(plain):
                    runs.append(self._run(plain, low, high, addr, behind))
            yield Content(addr, behind - addr, runs)
            addr = behind

    def _nonzero(self, plain: PlainRun) -> Iterator[tuple[int, int]]:
        """Yield [low, high) of pages of a run that are not zero and follow one another."""
        memory, size, zero_page = self._ram.file.memory, self._ram.page_size_len, self._zero_page
        low = 0
        for index in range(plain.page_count):
            at = plain.offset + index * plain.stride_len
            if memory[at : at + len(_PROBE)] == _PROBE and memory[at : at + size] == zero_page:
                if low < index:
                    yield low, index
                low = index + 1
        if low < plain.page_count:
            yield low, plain.page_count

    def _run(self, plain: PlainRun, low: int, high: int, addr: int, end: int) -> Run:
        """Return pages [low, high) of a run, without what lies outside [addr, end) of a page."""
        size, stride, view = self._ram.page_size_len, plain.stride_len, self._ram.file.view
        start = plain.offset + low * stride
        if stride == size:
            buffers = [view[start : start + (high - low) * size]]
        else:
            places = range(start, plain.offset + high * stride, stride)
            buffers = [view[at : at + size] for at in places]
        first_addr = (plain.first_page + low) * size
        surplus = (plain.first_page + high) * size - end
        if surplus > 0:
            buffers[-1] = buffers[-1][:-surplus]
        if first_addr < addr:
            buffers[0] = buffers[0][addr - first_addr :]
        return Run(max(addr, first_addr), buffers)

    def _forget(self, length: int) -> None:
        self._seen_len += length
        if self._seen_len >= _FORGET_LEN:
            self._seen_len = 0
            self._ram.file.forget()
