"""What live sections come to, however many parts they came in.

A hash table of POWER and storage attributes of s390x are sent while the guest runs: what comes
later replaces what came before, and a guest that stood still sends other parts than one that did
not. So what is there in the end is compared, as far as it has its place in memory.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from qmig.limits import MAX_LIVE_CONTENT_BLOCKS, MAX_LIVE_CONTENT_STEPS
from qmig.wire.live import (
    HASH_PTE_LEN,
    STATTR_FLAG_MASK,
    STATTR_PAGE_LEN,
    HtabChunk,
    HtabHead,
    StattribCount,
    StattribFlag,
    StattribWord,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmig.capture.records import Record

    Read = Callable[[int, int], bytes]

_BLOCK_LEN: Final = 4096


class _Image:
    """Bytes at offsets, of which those that are not zero are kept.

    Attributes:
        too_large: whether it was given up, for there was too much of it.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._steps = 0
        self.too_large = False

    def write(self, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data) and not self.too_large:
            number, start = divmod(offset + at, _BLOCK_LEN)
            piece = data[at : at + _BLOCK_LEN - start]
            block = self._blocks.get(number)
            if block is None:
                block = self._blocks[number] = bytearray(_BLOCK_LEN)
            block[start : start + len(piece)] = piece
            at += len(piece)
            self._step()

    def clear(self, offset: int, length: int) -> None:
        end = offset + length
        while offset < end and not self.too_large:
            number, start = divmod(offset, _BLOCK_LEN)
            length = min(_BLOCK_LEN - start, end - offset)
            block = self._blocks.get(number)
            if block is not None:
                block[start : start + length] = bytes(length)
            offset += length
            self._step()

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_LIVE_CONTENT_STEPS or len(self._blocks) > MAX_LIVE_CONTENT_BLOCKS:
            self.too_large = True
            self._blocks.clear()

    def digest(self) -> bytes:
        whole = sha256()
        for number in sorted(self._blocks):
            if any(self._blocks[number]):
                whole.update(number.to_bytes(8, "big") + self._blocks[number])
        return whole.digest()


class LiveContent:
    """What the records of one section come to.

    Args:
        read: gives bytes of the stream from an offset on.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._image = _Image()
        self._others = False  # records that this does not know, or that tell of an error
        self._known = False
        self._shift: int | None = None
        self._chunk: HtabChunk | None = None
        self._addr: int | None = None

    def add(self, record: Record) -> None:
        """Take the next record of the section; those of other grammars are passed over."""
        wire = record.wire
        if isinstance(wire, HtabHead):
            self._known = True
            self._shift = wire.section_hdr if self._shift is None else self._shift
        elif isinstance(wire, HtabChunk):
            self._chunk = wire if wire.n_valid else None
            invalid = (wire.index + wire.n_valid) * HASH_PTE_LEN
            self._image.clear(invalid, wire.n_invalid * HASH_PTE_LEN)
        elif isinstance(wire, StattribWord):
            self._known = True
            flags = wire.word & STATTR_FLAG_MASK
            self._others |= flags == StattribFlag.ERROR
            more = flags == StattribFlag.MORE
            self._addr = wire.word & ~STATTR_FLAG_MASK if more else None
        elif wire is None and self._chunk is not None:
            data = self._read(record.offset, record.length)
            self._image.write(self._chunk.index * HASH_PTE_LEN, data)
            self._chunk = None
        elif wire is None and self._addr is not None:
            self._attributes(self._addr, record)
        elif not isinstance(wire, StattribCount):
            self._others = True

    def _attributes(self, addr: int, record: Record) -> None:
        """Take one byte for each page from an address on, a piece at a time."""
        first = addr // STATTR_PAGE_LEN
        for at in range(0, record.length, _BLOCK_LEN):
            length = min(_BLOCK_LEN, record.length - at)
            self._image.write(first + at, self._read(record.offset + at, length))
            if self._image.too_large:
                return

    def digest(self) -> bytes | None:
        """Return a digest of it; None where it is not known, or too large to be held."""
        if not self._known or self._others or self._image.too_large:
            return None
        return repr(self._shift).encode() + self._image.digest()
