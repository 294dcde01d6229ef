"""Write lzop's file format: what the lzop tool makes of a pipe, but for the time of day."""

from __future__ import annotations

import zlib
from typing import Final

import lzallright

from qmig.limits import MAX_LZOP_BLOCK_LEN
from qmig.wire.lzop import LzopBlockLen, LzopFlag, LzopHead, LzopMode, LzopStoredLen
from qmig.wire.magic import LZOP_MAGIC

# What the tool itself puts there for `lzop -c`: its release 1.04, which readers do not look at, and
# the oldest release that can unpack it, which they do.
_WRITER_VERSION: Final = 0x1040
_LIBRARY_VERSION: Final = 0x20A0
_VERSION_NEEDED: Final = 0x0940
_METHOD_LZO1X_1: Final = 1
_LEVEL: Final = 5
_FLAGS: Final = LzopFlag.ADLER32_D | LzopFlag.STDIN | LzopFlag.STDOUT | LzopFlag.OS_UNIX
_CHECKSUM_LEN: Final = 4


class LzopCompressor:
    """Compress a stream block by block; the same calls as the compressors of the library."""

    def __init__(self) -> None:
        self._codec = lzallright.LZOCompressor()
        self._pending = bytearray()
        self._begun = False

    def compress(self, data: bytes | memoryview) -> bytes:
        """Take plain bytes; return what is complete of the file."""
        self._pending += data
        pieces = [self._begin()]
        whole_len = len(self._pending) // MAX_LZOP_BLOCK_LEN * MAX_LZOP_BLOCK_LEN
        for start in range(0, whole_len, MAX_LZOP_BLOCK_LEN):
            pieces.append(self._block(bytes(self._pending[start : start + MAX_LZOP_BLOCK_LEN])))
        del self._pending[:whole_len]
        return b"".join(pieces)

    def flush(self) -> bytes:
        """Return the rest of the file."""
        pieces = [self._begin()]
        if self._pending:
            pieces.append(self._block(bytes(self._pending)))
            self._pending.clear()
        pieces.append(LzopBlockLen(dst_len=0).build())
        return b"".join(pieces)

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        head = LzopHead(
            version=_WRITER_VERSION,
            lib_version=_LIBRARY_VERSION,
            version_needed=_VERSION_NEEDED,
            method=_METHOD_LZO1X_1,
            level=_LEVEL,
            flags=int(_FLAGS),
        ).build()
        mode = LzopMode(mode=0, mtime_low=0, mtime_high=0, name=b"", checksum=0).build()
        summed = (head + mode)[len(LZOP_MAGIC) : -_CHECKSUM_LEN]
        return head + mode[:-_CHECKSUM_LEN] + _adler32(summed)

    def _block(self, plain: bytes) -> bytes:
        packed: bytes = self._codec.compress(plain)
        stored = packed if len(packed) < len(plain) else plain
        lengths = (
            LzopBlockLen(dst_len=len(plain)).build() + LzopStoredLen(src_len=len(stored)).build()
        )
        return lengths + _adler32(plain) + stored


def _adler32(data: bytes) -> bytes:
    return zlib.adler32(data).to_bytes(_CHECKSUM_LEN, "big")
