"""Compressors of whole streams, as the tools of the same names work when they are given no level.

libvirt calls the tools so. The files differ from a tool's own in what does not matter to a reader:
the time in a header, where blocks are cut, which of several codings was found.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Final, Protocol

from qmig.limits import MIB
from qmig.migrate.descriptor import byte_view
from qmig.migrate.stream_output import Sink, require_position
from qmig.wire.libvirt import QemuSaveFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer


_PIECE_LEN: Final = MIB  # what a compressor is given at a time, so that its answer is bounded
_GZIP_LEVEL: Final = 6
_BZIP2_LEVEL: Final = 9
_XZ_PRESET: Final = 6
_ZSTD_LEVEL: Final = 3


class Compressor(Protocol):
    """What all compressors can do."""

    def compress(self, data: memoryview, /) -> bytes:
        """Take plain bytes; return what is complete of the compressed ones."""

    def flush(self) -> bytes:
        """Return the rest."""


def _gzip() -> Compressor:
    # wbits + 16: a gzip header and trailer; the time in it is 0, as for what the tool reads from
    # a pipe.
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)


def _bzip2() -> Compressor:
    return bz2.BZ2Compressor(_BZIP2_LEVEL)


def _xz() -> Compressor:
    return lzma.LZMACompressor(lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, preset=_XZ_PRESET)


def _lzop() -> Compressor:
    from qmig.migrate.lzop import LzopCompressor

    return LzopCompressor()


def _zstd() -> Compressor:
    import zstandard

    options = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    compressor: Compressor = options.compressobj()
    return compressor


_COMPRESSORS: Final[dict[QemuSaveFormat, Callable[[], Compressor]]] = {
    QemuSaveFormat.GZIP: _gzip,
    QemuSaveFormat.BZIP2: _bzip2,
    QemuSaveFormat.XZ: _xz,
    QemuSaveFormat.LZOP: _lzop,
    QemuSaveFormat.ZSTD: _zstd,
}

COMPRESSED_FORMATS: Final = frozenset(_COMPRESSORS)
"""The formats whose stream is compressed as a whole."""


class CompressedSink:
    """A sink whose bytes go into another one compressed, in constant memory.

    Args:
        sink: where the compressed bytes go.
        save_format: one of `COMPRESSED_FORMATS`.
    """

    def __init__(self, sink: Sink, save_format: QemuSaveFormat) -> None:
        self._sink = sink
        self._compressor = _COMPRESSORS[save_format]()
        self._position = 0

    @property
    def position(self) -> int:
        """Plain bytes taken so far: offsets in the stream count these."""
        return self._position

    def append(self, data: Buffer) -> None:
        """Compress all bytes of a buffer.

        Raises:
            OutputError: the compressed bytes cannot be written.
        """
        view = byte_view(data)
        for start in range(0, len(view), _PIECE_LEN):
            self._put(self._compressor.compress(view[start : start + _PIECE_LEN]))
        self._position += len(view)

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Do what `append` does, for a writer of a stream that says where it is.

        Raises:
            WriterError: the offset is not the position; there is no going back.
            OutputError: the compressed bytes cannot be written.
        """
        require_position(self, offset)
        self.append(data)

    def finish(self) -> None:
        """Write what the compressor still holds; nothing can follow.

        Raises:
            OutputError: the compressed bytes cannot be written.
        """
        self._put(self._compressor.flush())

    def _put(self, packed: bytes) -> None:
        if packed:
            self._sink.append(packed)
