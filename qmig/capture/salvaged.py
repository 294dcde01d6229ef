"""What an earlier `qmig salvage` says of a stream: the body of its section `qmig/salvaged`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qmig.capture.extent import FOOTER_LEN
from qmig.capture.source import Cursor
from qmig.errors import SourceError, StreamError
from qmig.limits import MAX_RAM_BLOCKS, MAX_SALVAGED_RANGES, MAX_SECTIONS, MIB
from qmig.wire.gate import read_record
from qmig.wire.record import fixed_len
from qmig.wire.salvaged import (
    SALVAGED_VERSION,
    SalvagedBlock,
    SalvagedDevice,
    SalvagedFlag,
    SalvagedHead,
    SalvagedRange,
)

if TYPE_CHECKING:
    from qmig.capture.sections import Section
    from qmig.capture.source import Source

__all__ = ["SALVAGED_VERSION", "Salvaged", "SalvagedPages", "read_salvaged"]

_MAX_BODY_LEN: Final = 64 * MIB  # all ranges and the longest names of all blocks and devices


@dataclass(frozen=True)
class SalvagedPages:
    """What is said of one block.

    Attributes:
        name: of the block.
        known_pages: pages that are in the stream.
        unknown_pages: pages that are not.
    """

    name: str
    known_pages: int
    unknown_pages: int


@dataclass(frozen=True)
class Salvaged:
    """What an earlier salvage found missing.

    Attributes:
        blocks: the blocks.
        devices: names and instances of the sections that are missing.
        devices_listed: whether those are all.
        versions_may_be_old: whether later versions of pages may be missing.
        lost_ram_len: bytes of RAM in blocks that are missing as a whole.
        origin: the files that it was made from.
        error: the first thing that was wrong with them.
    """

    blocks: tuple[SalvagedPages, ...]
    devices: tuple[tuple[str, int], ...]
    devices_listed: bool
    versions_may_be_old: bool
    lost_ram_len: int
    origin: str
    error: str


def read_salvaged(source: Source, offset: int, length: int) -> Salvaged | None:
    """Read the body of a section.

    Args:
        source: where it is.
        offset: of its first byte.
        length: its bytes.

    Returns:
        What it says; None where it cannot be understood.
    """
    if length > _MAX_BODY_LEN:
        return None
    cursor = Cursor(source, offset, limit=offset + length)
    try:
        return _read(cursor)
    except StreamError:
        return None


def read_section(source: Source, row: Section, *, footers: bool) -> Salvaged | None:
    """Read a whole section, as `read_salvaged` reads its body."""
    head_len = 1 + 4 + 1 + len(row.idstr.encode("utf-8", "surrogateescape")) + 8
    body_len = row.length - head_len - (FOOTER_LEN if footers else 0)
    try:
        return read_salvaged(source, row.offset + head_len, body_len)
    except SourceError:  # a pipe, and it has gone by
        return None


def _read(cursor: Cursor) -> Salvaged | None:
    head = read_record(cursor, SalvagedHead, what="qmig/salvaged")
    if head.blocks > MAX_RAM_BLOCKS or head.devices > MAX_SECTIONS:
        return None
    blocks: list[SalvagedPages] = []
    for _ in range(head.blocks):
        block = read_record(cursor, SalvagedBlock, what="qmig/salvaged block")
        if block.ranges > MAX_SALVAGED_RANGES:
            return None
        cursor.skip(block.ranges * fixed_len(SalvagedRange), what="qmig/salvaged ranges")
        blocks.append(SalvagedPages(_text(block.idstr), block.known_pages, block.unknown_pages))
    devices: list[tuple[str, int]] = []
    for _ in range(head.devices):
        device = read_record(cursor, SalvagedDevice, what="qmig/salvaged device")
        devices.append((_text(device.idstr), device.instance_id))
    return Salvaged(
        tuple(blocks),
        tuple(devices),
        not head.flags & SalvagedFlag.DEVICES_NOT_LISTED,
        bool(head.flags & SalvagedFlag.VERSIONS_MAY_BE_OLD),
        head.lost_ram_len,
        _text(head.origin),
        _text(head.error),
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
