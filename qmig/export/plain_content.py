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
        size = self._ram.page_size_len
        end = addr + length
        while addr < end:
            behind = min(end, (addr // _PIECE_LEN + 1) * _PIECE_LEN)
            runs: list[Run] = []
            for plain in self._ram.runs(block, addr // size, -(-behind // size)):
                self._forget(plain.page_count * size)
                for first_addr, buffers in self._nonzero(plain):
                    runs.append(_within(first_addr, buffers, addr, behind))
            yield Content(addr, behind - addr, runs)
            addr = behind

    def _nonzero(self, plain: PlainRun) -> Iterator[tuple[int, list[memoryview]]]:
        """Yield pages that are not zero: the address of the first, and all that follow it."""
        size, stride = self._ram.page_size_len, plain.stride_len
        memory, view, zero = self._ram.file.memory, self._ram.file.view, self._zero_page
        places = range(plain.offset, plain.offset + plain.page_count * stride, stride)
        zeros = [
            index
            for index, at in enumerate(places)
            if memory[at : at + len(_PROBE)] == _PROBE and memory[at : at + size] == zero
        ]
        begin = 0
        for end in (*zeros, plain.page_count):
            if begin < end:
                start = places[begin]
                yield (
                    (plain.first_page + begin) * size,
                    [view[start : start + (end - begin) * size]]
                    if stride == size
                    else [view[at : at + size] for at in places[begin:end]],
                )
            begin = end + 1

    def _forget(self, length: int) -> None:
        self._seen_len += length
        if self._seen_len >= _FORGET_LEN:
            self._seen_len = 0
            self._ram.file.forget()


def _within(addr: int, buffers: list[memoryview], low: int, high: int) -> Run:
    """Return whole pages as a run, without what lies outside [low, high): parts of a page."""
    surplus = addr + sum(len(buffer) for buffer in buffers) - high
    if surplus > 0:
        buffers[-1] = buffers[-1][:-surplus]
    if addr < low:
        buffers[0] = buffers[0][low - addr :]
    return Run(max(addr, low), buffers)
