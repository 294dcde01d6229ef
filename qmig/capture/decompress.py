"""Decompressors as producers of bytes, bounded in memory, for whole files and libvirt images.

Each `iter_*` yields the plain bytes of compressed data that begins at an offset of a source, over
concatenated members, and raises a `StreamError` at the compressed byte where it cannot go on.
Padding of zeros behind the last member is left alone.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Any, Final, Protocol

from qmig.capture.source import Cursor, Source
from qmig.errors import MalformedStreamError, StreamError
from qmig.faults import Fault
from qmig.limits import MAX_LZOP_BLOCK_LEN, MAX_ZSTD_WINDOW_LEN, MIB
from qmig.pages.lack_of_memory import raise_lack_of_memory
from qmig.pages.zstd_blocks import ZstdBlockScanner, ZstdFrameError
from qmig.wire.gate import read_record, spaced_hex
from qmig.wire.lzop import (
    LzopBlockLen,
    LzopFlag,
    LzopHead,
    LzopMode,
    LzopStoredLen,
)
from qmig.wire.magic import CODEC_MAGICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OUT_LEN: Final = MIB  # plain bytes yielded at a time
_IN_LEN: Final = 256 * 1024
_ZSTD_BLOCKS: Final = 32  # at most 4 MiB of plain bytes at a time
_XZ_MEMORY_LEN: Final = 112 * MIB  # xz -9 asks for 65 MiB


def iter_plain(source: Source, offset: int, codec: str) -> Iterator[bytes]:
    """Yield the plain bytes of compressed data.

    Args:
        source: where the compressed data is.
        offset: where it begins.
        codec: a key of `CODEC_MAGICS`.

    Raises:
        StreamError: the compressed data is damaged or cut short.
    """
    if codec == "zstd":
        return _iter_zstd(source, offset)
    if codec == "lzop":
        return _iter_lzop(source, offset)
    return _iter_members(source, offset, codec)


class _Member(Protocol):
    """One gzip member, bzip2 or xz stream."""

    eof: bool
    unused_data: bytes

    def feed(self, data: bytes) -> bytes:
        """Return up to `_OUT_LEN` plain bytes."""

    def hungry(self) -> bool:
        """Tell whether it needs input to go on."""

    def before_damage(self, data: bytes) -> bytes:
        """Return what there is in front of the byte at which `feed` failed with this input."""


class _Zlib:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._before = self._inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> bytes:
        self._before = self._inner.copy()
        return self._inner.decompress(self._inner.unconsumed_tail + data, _OUT_LEN)

    def hungry(self) -> bool:
        return not self._inner.unconsumed_tail

    def before_damage(self, data: bytes) -> bytes:
        inner, rest = self._before, self._before.unconsumed_tail + data
        plain = bytearray()
        step = _OUT_LEN
        while step:
            sound = inner.copy()
            try:
                some = inner.decompress(rest, step)
            except zlib.error:
                inner, step = sound, step // 2
                continue
            if not some:
                break
            plain += some
            rest = inner.unconsumed_tail
        return bytes(plain)


class _Buffered:
    """bz2 and lzma decompressors keep their own input."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> bytes:
        return self._inner.decompress(data, _OUT_LEN)

    def hungry(self) -> bool:
        return self._inner.needs_input

    def before_damage(self, data: bytes) -> bytes:
        del data
        return b""  # they cannot go back


_MEMBERS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": _Zlib,
    "bzip2": lambda: _Buffered(bz2.BZ2Decompressor()),
    "xz": lambda: _Buffered(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_LEN)),
}


def _iter_members(source: Source, offset: int, codec: str) -> Iterator[bytes]:
    position = offset
    data = source.read_at(position, _IN_LEN)
    first = True
    while _another_member(data, codec, first=first):
        first = False
        member: _Member = _MEMBERS[codec]()
        while not member.eof:
            try:
                plain = member.feed(data)
            except (zlib.error, OSError, EOFError, lzma.LZMAError) as error:
                raise_lack_of_memory(error)
                rest = member.before_damage(data)
                if rest:
                    yield rest
                raise _damaged(source, codec, position, str(error), data) from error
            position += len(data)
            if plain:
                yield plain
            if member.eof:
                break
            data = b""
            if member.hungry():
                source.release(position)
                data = source.read_at(position, _IN_LEN)
                if not data:
                    raise _cut(source, codec, position)
        data = member.unused_data
        position -= len(data)
        data = data or source.read_at(position, _IN_LEN)


def _another_member(data: bytes, codec: str, *, first: bool) -> bool:
    return first or data.startswith(CODEC_MAGICS[codec])


def _iter_zstd(source: Source, offset: int) -> Iterator[bytes]:
    import zstandard

    position = offset
    scanner = ZstdBlockScanner()
    decoder: Any = None
    data = source.read_at(position, _IN_LEN)
    while data:
        if scanner.complete and not _zstd_frame_begins(data, position, offset):
            return
        if decoder is None:
            options = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_LEN)
            decoder = options.decompressobj(read_across_frames=True)
        try:
            used, _ = scanner.scan(data, max_blocks=_ZSTD_BLOCKS, one_frame=True)
            plain = decoder.decompress(data[:used])
        except (ZstdFrameError, zstandard.ZstdError) as error:
            raise_lack_of_memory(error)
            raise _damaged(source, "zstd", position, str(error), data) from error
        if plain:
            yield plain
        position += used
        data = data[used:]
        if not data:
            source.release(position)
            data = source.read_at(position, _IN_LEN)
    if not scanner.complete:
        raise _cut(source, "zstd", position)


def _zstd_frame_begins(data: bytes, position: int, start: int) -> bool:
    """Tell whether a frame begins here, or whether it is padding behind the last one."""
    return position == start or bool(data[:4].strip(b"\0"))


def _iter_lzop(source: Source, offset: int) -> Iterator[bytes]:
    import lzallright

    cursor = Cursor(source, offset)
    head = read_record(cursor, LzopHead, what="lzop header")
    flags = LzopFlag(head.flags)
    if flags & LzopFlag.H_FILTER:
        cursor.read_exact(4, what="lzop header", field="filter")
    read_record(cursor, LzopMode, what="lzop header")
    codec = lzallright.LZOCompressor()
    plain_sums = _checksums(flags, LzopFlag.ADLER32_D, LzopFlag.CRC32_D)
    stored_sums = _checksums(flags, LzopFlag.ADLER32_C, LzopFlag.CRC32_C)
    while True:
        start = cursor.offset
        plain_len = read_record(cursor, LzopBlockLen, what="lzop block").dst_len
        if plain_len == 0:
            return
        stored_len = read_record(cursor, LzopStoredLen, what="lzop block").src_len
        _check_lzop_lengths(source, start, plain_len, stored_len)
        expected = [cursor.read_exact(4, what="lzop block checksum") for _ in plain_sums]
        if stored_len < plain_len:
            for _ in stored_sums:
                cursor.read_exact(4, what="lzop block checksum")
        data = cursor.read_exact(stored_len, what="lzop block")
        if stored_len < plain_len:
            try:
                data = codec.decompress(data, output_size_hint=plain_len)
            except lzallright.LZOError as error:
                raise _damaged(source, "lzop", start, str(error), data) from error
        if len(data) != plain_len or any(
            checksum(data).to_bytes(4, "big") != value
            for checksum, value in zip(plain_sums, expected, strict=True)
        ):
            raise _damaged(source, "lzop", start, "a block that fails its checksum", data)
        yield data
        source.release(cursor.offset)


def _checksums(flags: LzopFlag, adler: LzopFlag, crc: LzopFlag) -> list[Callable[[bytes], int]]:
    checks: list[Callable[[bytes], int]] = []
    if flags & adler:
        checks.append(zlib.adler32)
    if flags & crc:
        checks.append(zlib.crc32)
    return checks


def _check_lzop_lengths(source: Source, offset: int, plain_len: int, stored_len: int) -> None:
    if plain_len > MAX_LZOP_BLOCK_LEN or not 0 < stored_len <= plain_len:
        raise MalformedStreamError(
            path=source.name,
            offset=offset,
            record="lzop block",
            expected=f"a stored length of 1 to the plain length, at most {MAX_LZOP_BLOCK_LEN}",
            found=f"stored {stored_len}, plain {plain_len}",
            fault=Fault.COMPRESSED_DATA,
        )


def _damaged(source: Source, codec: str, offset: int, reason: str, data: bytes) -> StreamError:
    return MalformedStreamError(
        path=source.name,
        offset=offset,
        record=f"{codec} data",
        expected="data that decompresses",
        found=f"{reason} (reading {spaced_hex(data, most=8)})",
        hint=f"test the file with the {codec} tool",
        fault=Fault.COMPRESSED_DATA,
    )


def _cut(source: Source, codec: str, offset: int) -> StreamError:
    return source.failure or MalformedStreamError(
        path=source.name,
        offset=offset,
        record=f"{codec} data",
        expected="more compressed data",
        found="end of file",
        hint="the file is cut short, or its save was not finished",
        fault=Fault.COMPRESSED_DATA,
        values={"cut": True},
    )
