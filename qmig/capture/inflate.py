"""The pages of a compressed multifd channel: one stream that runs on across its packets."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from qmig.errors import MalformedStreamError
from qmig.faults import Fault
from qmig.limits import MAX_ZSTD_WINDOW_LEN, MIB
from qmig.pages.lack_of_memory import raise_lack_of_memory
from qmig.pages.zstd_blocks import BLOCK_MAX_LEN, ZstdBlockScanner, ZstdFrameError
from qmig.wire.multifd import MULTIFD_PACKET_SIZE
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


class Decoder(Protocol):
    """Turns the payloads of one channel into pages, in their order."""

    def decode(self, data: bytes, plain_len: int) -> bytes:
        """Return the plain bytes of one packet; more than `plain_len` is cut soon after.

        Raises:
            PayloadError: they do not decompress.
        """


class PayloadError(ValueError):
    """A payload does not decompress.

    Attributes:
        says: how QEMU puts it (migration/multifd-zlib.c, multifd-zstd.c), behind the channel's
            number; empty where it does not tell.
    """

    def __init__(self, text: str, *, says: str = "") -> None:
        super().__init__(text)
        self.says = says


class _ZlibStream:
    """One deflate stream, flushed behind each packet and never ended."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj()

    def decode(self, data: bytes, plain_len: int) -> bytes:
        try:
            plain = self._inner.decompress(data, plain_len + 1)
        except zlib.error as error:
            raise_lack_of_memory(error)
            raise _broken_zlib(error) from error
        if self._inner.unconsumed_tail or self._inner.unused_data:
            raise PayloadError("compressed bytes are left over")
        return plain


class _GzipMembers:
    """gzip members, a packet at a time (QATzip)."""

    def decode(self, data: bytes, plain_len: int) -> bytes:
        plain = b""
        while data and len(plain) <= plain_len:
            inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                plain += inner.decompress(data, plain_len + 1 - len(plain))
            except zlib.error as error:
                raise_lack_of_memory(error)
                raise PayloadError(str(error)) from error
            if not inner.eof:
                raise PayloadError("the gzip member does not end in its packet")
            data = inner.unused_data
        return plain


class _ZstdStream:
    """One zstd frame, flushed behind each packet and never ended."""

    def __init__(self) -> None:
        import zstandard

        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_LEN)
        # A packet in one piece: each piece costs Python's lock, which a walk may hold.
        self._inner: Any = decompressor.decompressobj(
            write_size=MULTIFD_PACKET_SIZE, read_across_frames=True
        )
        self._error = zstandard.ZstdError
        self._scanner = ZstdBlockScanner()

    def decode(self, data: bytes, plain_len: int) -> bytes:
        del plain_len  # bounded by the number of blocks
        try:
            used, _ = self._scanner.scan(data, max_blocks=_MAX_BLOCKS)
            if used < len(data):
                raise PayloadError(f"more than {_MAX_BLOCKS} zstd blocks in one packet")
            plain: bytes = self._inner.decompress(data)
        except ZstdFrameError as error:
            raise PayloadError(str(error)) from error
        except self._error as error:
            raise_lack_of_memory(error)
            reason = str(error).rpartition(": ")[2]
            raise PayloadError(str(error), says=f"decompressStream returned {reason}") from error
        return plain


def _broken_zlib(error: zlib.error) -> PayloadError:
    code = re.match(r"Error (-?\d+)", str(error))
    says = f"inflate returned {code[1]} instead of Z_OK" if code else ""
    return PayloadError(str(error), says=says)


# How QEMU puts it that a payload gives too few pages (multifd-zlib.c, multifd-zstd.c).
SAYS_TOO_FEW: Final[dict[int, str]] = {
    MultifdCompression.ZLIB: "inflate generated too few output",
    MultifdCompression.ZSTD: "decompressStream buffer too small",
}


def iter_inflated(
    source: Source, payloads: Sequence[CompressedPayload], *, channel: int = 0
) -> Iterator[bytes]:
    """Yield the plain pages of a channel, a packet at a time.

    Args:
        source: where the channel is.
        payloads: its payloads, in their order.
        channel: its id, for errors.

    Raises:
        MalformedStreamError: a payload does not give exactly its pages.
    """
    decoders: dict[int, Decoder] = {}
    for payload in payloads:
        if payload.method not in decoders:
            decoders[payload.method] = decoder_of(payload.method)
        data = source.read_at(payload.offset, payload.length)
        try:
            plain = decoders[payload.method].decode(data, payload.plain_len)
            found = f"{len(plain)} bytes"
            fault, says = Fault.PAYLOAD_LEN, SAYS_TOO_FEW.get(payload.method, "")
        except PayloadError as error:
            plain, found = b"", str(error)
            fault, says = Fault.PAYLOAD_BROKEN, error.says
        if len(plain) != payload.plain_len:
            raise MalformedStreamError(
                path=source.name,
                offset=payload.offset,
                record=f"multifd packet {payload.packet_index}",
                field=f"{MultifdCompression(payload.method).name.lower()} payload",
                expected=f"{payload.plain_len} bytes of pages",
                found=found,
                fault=fault,
                values={"channel": channel, "says": says},
            )
        yield plain


def decoder_of(method: int) -> Decoder:
    """Return a new decoder for a method of `WHOLE_PACKET`."""
    if method == MultifdCompression.ZLIB:
        return _ZlibStream()
    if method == MultifdCompression.ZSTD:
        return _ZstdStream()
    return _GzipMembers()
