"""The file format of lzop, which libvirt uses for one of its save images.

Grammar (big-endian)::

    file    magic LzopHead [filter be32] LzopMode [counted name] be32 checksum { block }* be32 0
    block   LzopBlockHead [checksums of the plain data] [checksums of the stored data] data

Source: the lzop tool's own files; its header fields are stable since 1.00 (1996).
"""

from __future__ import annotations

from enum import IntFlag

from construct import Bytes, Int8ub, Int16ub, Int32ub

from qmig.wire.magic import LZOP_MAGIC
from qmig.wire.record import COUNTED_STRING, WireRecord, constant, wire


class LzopFlag(IntFlag):
    """Bits of `flags`. Prefix in lzop: F_."""

    ADLER32_D = 0x0001  # of the plain data of each block
    ADLER32_C = 0x0002  # of the stored data of each block
    STDIN = 0x0004  # packed from a pipe
    STDOUT = 0x0008  # packed into a pipe
    H_EXTRA_FIELD = 0x0040
    CRC32_D = 0x0100
    CRC32_C = 0x0200
    MULTIPART = 0x0400
    H_FILTER = 0x0800
    OS_UNIX = 0x0300_0000  # the system of the writer, a number in the uppermost byte


class LzopHead(WireRecord):
    """Fixed part of the file header."""

    magic: bytes = constant(LZOP_MAGIC, Bytes(9), "lzop")
    version: int = wire(Int16ub, "of the writer")
    lib_version: int = wire(Int16ub, "of its LZO library")
    version_needed: int = wire(Int16ub, "to extract")
    method: int = wire(Int8ub, "1, 2 and 3 are all LZO1X")
    level: int = wire(Int8ub, "1 to 9")
    flags: int = wire(Int32ub, "LzopFlag")


class LzopMode(WireRecord):
    """Rest of the file header (behind a be32 filter where H_FILTER is set)."""

    mode: int = wire(Int32ub, "of the packed file")
    mtime_low: int = wire(Int32ub, "seconds")
    mtime_high: int = wire(Int32ub, "seconds >> 32")
    name: bytes = wire(COUNTED_STRING, "of the packed file, empty for a pipe")
    checksum: int = wire(Int32ub, "of the header")


class LzopBlockLen(WireRecord):
    """Opens a block; 0 ends the file."""

    dst_len: int = wire(Int32ub, "bytes of plain data")


class LzopStoredLen(WireRecord):
    """Behind a dst_len that is not 0."""

    src_len: int = wire(Int32ub, "bytes of stored data; dst_len where it is not compressed")
