"""The return path: messages from the destination to the source, on the main connection.

Grammar (big-endian)::

    message   RpHead payload; behind RECV_BITMAP, outside its length: be64 size, bitmap, be64 end

Source: migration/migration.c (migrate_send_rp_message, source_return_path_thread) of 5.2 to 11.1;
SWITCHOVER_ACK came with 8.1.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from construct import Int16ub, Int32ub, Int64ub

from qmig.wire.record import COUNTED_STRING, WireRecord, wire

RAMBLOCK_RECV_BITMAP_ENDING: Final = 0x0123456789ABCDEF


class MigRpMsg(IntEnum):
    """Types of messages. Prefix in QEMU: MIG_RP_MSG_."""

    INVALID = 0
    SHUT = 1
    PONG = 2
    REQ_PAGES_ID = 3
    REQ_PAGES = 4
    RECV_BITMAP = 5
    RESUME_ACK = 6
    SWITCHOVER_ACK = 7


class RpHead(WireRecord):
    """Opens each message."""

    type: int = wire(Int16ub, "MigRpMsg")
    len: int = wire(Int16ub, "bytes of payload")


class RpWord(WireRecord):
    """Payload of SHUT (0: success), PONG (value of the PING) and RESUME_ACK (1)."""

    value: int = wire(Int32ub, "by type")


class RpReqPages(WireRecord):
    """Payload of REQ_PAGES: same block as the request before."""

    start_addr: int = wire(Int64ub, "offset in the block, bytes")
    len: int = wire(Int32ub, "bytes")


class RpReqPagesId(WireRecord):
    """Payload of REQ_PAGES_ID."""

    start_addr: int = wire(Int64ub, "offset in the block, bytes")
    len: int = wire(Int32ub, "bytes")
    block_name: bytes = wire(COUNTED_STRING, "RAM block")


class RpRecvBitmap(WireRecord):
    """Payload of RECV_BITMAP."""

    block_name: bytes = wire(COUNTED_STRING, "RAM block")


class RpBitmapSize(WireRecord):
    """Behind RECV_BITMAP: that many bytes of little-endian bitmap, then be64 ending."""

    size: int = wire(Int64ub, "bytes, a multiple of 8")
