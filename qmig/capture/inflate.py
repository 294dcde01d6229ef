"""The pages of a compressed multifd channel: one stream that runs on across its packets."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from qmig.errors import MalformedStreamError
from qmig.limits import MAX_ZSTD_WINDOW_LEN, MIB
from qmig.pages.zstd_blocks import BLOCK_MAX_LEN, ZstdBlockScanner, ZstdFrameError
from qmig.wire.multifd_flags import MultifdCompression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qmig.capture.source import Source

# Compression whose payload is one piece for all pages of the packet.
WHOLE_PACKET: Final = (
    MultifdCompression.ZLIB,
    MultifdCompression.ZSTD,
    MultifdCompression.QATZIP,
)
_MAX_BLOCKS: Final = 64 * MIB // BLOCK_MAX_LEN


@dataclass(frozen=True, slots=True)
class CompressedPayload:
    """One packet's payload.

    Attributes:
        packet_index: number of the packet in its channel.
        method: a `MultifdCompression`.
        offset: of the payload.
        length: its bytes.
        plain_len: bytes that it must give.
    """

    packet_index: int
    method: int
    offset: int
    length: int
    plain_len: int


class _Decoder(Protocol):
    def decode(self, data: bytes, plain_len: int) -> bytes:
        """Return the plain bytes of one packet; more than `plain_len` is cut soon after."""


class _PayloadError(ValueError):
    """A payload does not decompress."""


class _ZlibStream:
    """One deflate stream, flushed behind each packet and never ended."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj()

    def decode(self, data: bytes, plain_len: int) -> bytes:
        plain = self._inner.decompress(data, plain_len + 1)
        if self._inner.unconsumed_tail or self._inner.unused_data:
            raise _PayloadError("compressed bytes are left over")
        return plain


class _GzipMembers:
    """gzip members, a packet at a time (QATzip)."""

    def decode(self, data: bytes, plain_len: int) -> bytes:
        plain = b""
        while data and len(plain) <= plain_len:
            inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            plain += inner.decompress(data, plain_len + 1 - len(plain))
            if not inner.eof:
                raise _PayloadError("the gzip member does not end in its packet")
            data = inner.unused_data
        return plain


class _ZstdStream:
    """One zstd frame, flushed behind each packet and never ended."""

    def __init__(self) -> None:
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_LEN)
        self._inner: Any = decompressor.decompressobj(read_across_frames=True)
        self._error = zstandard.ZstdError
        self._scanner = ZstdBlockScanner()

    def decode(self, data: bytes, plain_len: int) -> bytes:
        del plain_len  # bounded by the number of blocks
        try:
            used, _ = self._scanner.scan(data, max_blocks=_MAX_BLOCKS)
            if used < len(data):
                raise _PayloadError(f"more than {_MAX_BLOCKS} zstd blocks in one packet")
            plain: bytes = self._inner.decompress(data)
        except (ZstdFrameError, self._error) as error:
            raise _PayloadError(str(error)) from error
        return plain


def iter_inflated(source: Source, payloads: Sequence[CompressedPayload]) -> Iterator[bytes]:
    """Yield the plain pages of a channel, a packet at a time.

    Raises:
        MalformedStreamError: a payload does not give exactly its pages.
    """
    decoders: dict[int, _Decoder] = {}
    for payload in payloads:
        if payload.method not in decoders:
            decoders[payload.method] = _decoder(payload.method)
        data = source.read_at(payload.offset, payload.length)
        try:
            plain = decoders[payload.method].decode(data, payload.plain_len)
            found = f"{len(plain)} bytes"
        except (_PayloadError, zlib.error) as error:
            plain, found = b"", str(error)
        if len(plain) != payload.plain_len:
            raise MalformedStreamError(
                path=source.name,
                offset=payload.offset,
                record=f"multifd packet {payload.packet_index}",
                field=f"{MultifdCompression(payload.method).name.lower()} payload",
                expected=f"{payload.plain_len} bytes of pages",
                found=found,
            )
        yield plain


def _decoder(method: int) -> _Decoder:
    if method == MultifdCompression.ZLIB:
        return _ZlibStream()
    if method == MultifdCompression.ZSTD:
        return _ZstdStream()
    return _GzipMembers()
