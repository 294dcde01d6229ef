"""What `qmig salvage` puts behind a stream that is not whole: the section `qmig/salvaged`.

It is a FULL section of qmig's own, which no QEMU knows and each refuses, so that nobody restores a
guest of which parts are missing. Grammar of version 1, big-endian::

    body  SalvagedHead { SalvagedBlock { SalvagedRange }* }* { SalvagedDevice }*

What is known of the RAM is what has page records in front of it; the ranges here say what is not.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from construct import Int32ub, Int64ub

from qmig.wire.record import COUNTED_STRING, WireRecord, counted32, wire

SALVAGED_VERSION: Final = 1
_MAX_TEXT_LEN: Final = 4096


class SalvagedFlag(IntFlag):
    """What else is to be known of the output."""

    VERSIONS_MAY_BE_OLD = 0x1  # later versions of pages may be lost
    DEVICES_NOT_LISTED = 0x2  # which devices are missing is not known
    RANGES_NOT_LISTED = 0x4  # there are more ranges than are listed
    NO_END = 0x8  # the source was not read to its EOF


class SalvagedHead(WireRecord):
    """Opens the body."""

    flags: int = wire(Int32ub, "SalvagedFlag")
    lost_ram_len: int = wire(Int64ub, "bytes of RAM in blocks whose entries are lost")
    blocks: int = wire(Int32ub, "number of blocks that follow")
    devices: int = wire(Int32ub, "number of missing devices behind them")
    origin: bytes = wire(counted32(max_len=_MAX_TEXT_LEN), "names of the files, with line feeds")
    error: bytes = wire(counted32(max_len=_MAX_TEXT_LEN), "the first thing that was wrong")


class SalvagedBlock(WireRecord):
    """One block of the block list."""

    idstr: bytes = wire(COUNTED_STRING, "name of the block")
    known_pages: int = wire(Int64ub, "pages that are in the stream")
    unknown_pages: int = wire(Int64ub, "pages that are not")
    ranges: int = wire(Int32ub, "number of ranges that follow, the first ones of the block")


class SalvagedRange(WireRecord):
    """Pages that are not known."""

    first_page: int = wire(Int64ub, "index of the first page in its block")
    pages: int = wire(Int64ub, "number of pages")


class SalvagedDevice(WireRecord):
    """A section that the vmdescription lists and the source does not hold whole."""

    idstr: bytes = wire(COUNTED_STRING, "name of the handler")
    instance_id: int = wire(Int32ub, "its instance")
