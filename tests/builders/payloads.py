"""What stands behind a multifd packet header, per compression method."""

import struct
import zlib
from collections.abc import Sequence
from typing import Protocol

import zstandard

from tests.builders import multifd
from tests.builders.primitives import be32

QATZIP_MEMBER_LEN = 64 * 1024  # input that the library takes at a time


class Encoder(Protocol):
    """One channel's way of packing pages; it may remember what it has sent."""

    method: int

    def encode(self, pages: Sequence[bytes]) -> bytes:
        """Pack one packet's normal pages."""
        ...


class PlainEncoder:
    """Pages as they are."""

    method = multifd.NOCOMP

    def encode(self, pages: Sequence[bytes]) -> bytes:
        """Join the pages."""
        return b"".join(pages)


class ZlibEncoder:
    """One deflate stream for the whole channel, flushed at the end of each packet."""

    method = multifd.ZLIB

    def __init__(self, level: int = 1) -> None:
        self._stream = zlib.compressobj(level)

    def encode(self, pages: Sequence[bytes]) -> bytes:
        """Feed the pages one by one and flush behind the last."""
        packed = b"".join(self._stream.compress(page) for page in pages)
        return packed + self._stream.flush(zlib.Z_SYNC_FLUSH)


class ZstdEncoder:
    """One zstd frame for the whole channel, flushed at the end of each packet."""

    method = multifd.ZSTD

    def __init__(self, level: int = 1) -> None:
        self._stream = zstandard.ZstdCompressor(level=level, write_content_size=False).compressobj()

    def encode(self, pages: Sequence[bytes]) -> bytes:
        """Feed the pages one by one and flush behind the last."""
        packed = b"".join(self._stream.compress(page) for page in pages)
        return packed + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def _lengths_then_pages(packed: Sequence[bytes]) -> bytes:
    """Join independent pages behind the list of their lengths."""
    return b"".join(be32(len(piece)) for piece in packed) + b"".join(packed)


class QplEncoder:
    """Each page on its own as raw deflate, or as it is where that is not smaller."""

    method = multifd.QPL

    def encode(self, pages: Sequence[bytes]) -> bytes:
        """Pack the pages behind their lengths."""
        return _lengths_then_pages([self._pack(page) for page in pages])

    @staticmethod
    def _pack(page: bytes) -> bytes:
        stream = zlib.compressobj(1, zlib.DEFLATED, -15)
        packed = stream.compress(page) + stream.flush()
        return packed if len(packed) < len(page) else page


class UadkEncoder:
    """Each page on its own as a zlib stream, or as it is where that is not smaller."""

    method = multifd.UADK

    def encode(self, pages: Sequence[bytes]) -> bytes:
        """Pack the pages behind their lengths."""
        packed = [zlib.compress(page, 1) for page in pages]
        return _lengths_then_pages(
            [
                piece if len(piece) < len(page) else page
                for piece, page in zip(packed, pages, strict=True)
            ]
        )


def qatzip_member(data: bytes) -> bytes:
    """Build one gzip member with the library's extra field: both lengths, little-endian."""
    stream = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = stream.compress(data) + stream.flush()
    # 0x04: an extra field follows; 0xff: of no known system
    head = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, 0x04, 0, 0, 0xFF)
    extra = struct.pack("<2sHII", b"QZ", 8, len(data), len(packed))
    tail = struct.pack("<II", zlib.crc32(data), len(data))
    return head + struct.pack("<H", len(extra)) + extra + packed + tail


class QatzipEncoder:
    """All pages of a packet in one buffer, which the library cuts into gzip members."""

    method = multifd.QATZIP

    def encode(self, pages: Sequence[bytes]) -> bytes:
        """Pack the joined pages."""
        data = b"".join(pages)
        starts = range(0, len(data), QATZIP_MEMBER_LEN)
        return b"".join(qatzip_member(data[at : at + QATZIP_MEMBER_LEN]) for at in starts)


ENCODERS: dict[int, type[Encoder]] = {
    multifd.NOCOMP: PlainEncoder,
    multifd.ZLIB: ZlibEncoder,
    multifd.ZSTD: ZstdEncoder,
    multifd.QPL: QplEncoder,
    multifd.UADK: UadkEncoder,
    multifd.QATZIP: QatzipEncoder,
}


def encoder(method: int) -> Encoder:
    """Make a channel's encoder for a method, a number of `multifd`'s flags."""
    return ENCODERS[method]()
