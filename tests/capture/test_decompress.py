"""Decompressors: every cut is told at its byte, what came before stays, and nothing explodes."""

import bz2
import gzip
import lzma
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import lzallright
import pytest
import zstandard

from qmig.capture.decompress import iter_plain
from qmig.capture.forward_source import ForwardSource
from qmig.capture.inflate import decoder_of
from qmig.errors import LimitExceededError, MalformedStreamError, StreamError
from qmig.limits import MAX_LZOP_BLOCK_LEN
from qmig.wire.multifd_flags import MultifdCompression
from tests.sources import BytesSource, forward_source

MIB = 1 << 20
LZOP_BLOCK_LEN = 256 * 1024


def lzop(data: bytes, *, flags: int = 0x03000001, block_len: int = LZOP_BLOCK_LEN) -> bytes:
    """Write the lzop tool's file format."""
    head = struct.pack(">HHHBBI", 0x1040, 0x20A0, 0x0940, 1, 5, flags)
    head += b"" if not flags & 0x800 else bytes(4)
    head += struct.pack(">III", 0o100644, 0, 0) + b"\x03vm."
    out = [bytes.fromhex("894c5a4f000d0a1a0a"), head, struct.pack(">I", zlib.adler32(head))]
    codec = lzallright.LZOCompressor()
    for at in range(0, len(data), block_len):
        block = data[at : at + block_len]
        packed = codec.compress(block)
        stored = packed if len(packed) < len(block) else block
        out.append(struct.pack(">II", len(block), len(stored)))
        sums = [(0x1, zlib.adler32), (0x100, zlib.crc32)]
        out += [struct.pack(">I", check(block)) for flag, check in sums if flags & flag]
        if stored is packed:
            stored_sums = [(0x2, zlib.adler32), (0x200, zlib.crc32)]
            out += [struct.pack(">I", check(packed)) for flag, check in stored_sums if flags & flag]
        out.append(stored)
    return b"".join(out) + bytes(4)


def zstd(data: bytes, **options: Any) -> bytes:  # noqa: ANN401  # of the library
    packed: bytes = zstandard.ZstdCompressor(level=3, **options).compress(data)
    return packed


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 6),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzop": lzop,
    "zstd": lambda data: zstd(data, write_checksum=True),
}
each_codec = pytest.mark.parametrize("codec", CODECS)

PLAIN = bytes(random.Random(1).randbytes(700)) + b"page" * 500  # noqa: S311  # the same in each run


def read_all(packed: bytes, codec: str, *, start: int = 0) -> tuple[bytes, StreamError | None]:
    """Decompress to the end; return the plain bytes, and why they end before it."""
    source = ForwardSource(iter_plain(BytesSource(packed, name="vm"), start, codec), name="plain")
    plain = source.read_at(0, len(PLAIN) * 10)
    return plain, source.failure


@each_codec
def test_data_is_decompressed(codec: str) -> None:
    packed = CODECS[codec](PLAIN)
    assert read_all(packed, codec) == (PLAIN, None)
    assert read_all(b"front" + packed, codec, start=5) == (PLAIN, None)


@each_codec
def test_data_comes_in_pieces_of_any_length(codec: str) -> None:
    packed = CODECS[codec](PLAIN)
    for piece_len in (1, 3, 100):
        plain = b"".join(iter_plain(forward_source(packed, piece_len), 0, codec))
        assert plain == PLAIN


@pytest.mark.parametrize("codec", ["gzip", "bzip2", "xz", "zstd"])
def test_members_follow_one_another_with_padding_behind(codec: str) -> None:
    one, other = CODECS[codec](PLAIN), CODECS[codec](PLAIN[::-1])
    assert read_all(one + other, codec) == (PLAIN + PLAIN[::-1], None)
    assert read_all(one + bytes(4096), codec) == (PLAIN, None)


@each_codec
def test_a_cut_at_every_byte_is_told_there(codec: str) -> None:
    packed = CODECS[codec](PLAIN)
    readable = 0
    for cut in range(9, len(packed)):
        plain, failure = read_all(packed[:cut], codec)
        assert failure is not None, cut
        assert failure.path == "vm"
        assert failure.offset <= cut
        # lzop's blocks are checked as a whole, so that the error is where the block begins.
        assert codec == "lzop" or failure.offset == cut
        assert PLAIN.startswith(plain)
        readable = max(readable, len(plain))
    assert readable == len(PLAIN), "all but the checksum at the end"


@each_codec
def test_a_cut_between_blocks_leaves_the_blocks_before(codec: str) -> None:
    data = random.Random(2).randbytes(1_500_000)  # noqa: S311  # the same in each run
    packed = CODECS[codec](data)
    plain, failure = read_long(packed[: len(packed) * 2 // 3], codec)
    assert failure is not None
    assert data.startswith(plain)
    assert len(plain) > 700_000


def read_long(packed: bytes, codec: str) -> tuple[bytes, StreamError | None]:
    source = ForwardSource(iter_plain(BytesSource(packed, name="vm"), 0, codec), name="plain")
    return source.read_at(0, 1 << 40), source.failure


@each_codec
def test_every_changed_byte_ends_in_a_stream_error_or_in_data(codec: str) -> None:
    packed = bytearray(CODECS[codec](PLAIN))
    told = 0
    for at in range(len(packed)):
        packed[at] ^= 0xFF
        try:
            plain, failure = read_all(bytes(packed), codec)
            told += failure is not None
            assert failure is not None or plain == PLAIN or codec in ("lzop", "zstd")
        finally:
            packed[at] ^= 0xFF
    assert told > len(packed) * 0.9


def bomb(codec: str, length: int) -> bytes:
    """Zeros that compress to next to nothing."""
    if codec == "zstd":  # blocks of one byte that stand for 128 KiB each
        blocks = length // (128 * 1024)
        block = (1 << 1 | 128 * 1024 << 3).to_bytes(3, "little") + b"\0"
        last = (1 | 1 << 1 | 1 << 3).to_bytes(3, "little") + b"\0"
        return bytes.fromhex("28b52ffd0058") + block * blocks + last
    return CODECS[codec](bytes(length))


@each_codec
def test_a_bomb_is_read_in_bounded_memory(codec: str) -> None:
    length = 48 * MIB
    packed = bomb(codec, length)
    assert len(packed) < length / 100
    source = ForwardSource(iter_plain(BytesSource(packed), 0, codec), name="plain")
    source.read_at(0, 1)  # what is loaded on first use is not counted
    tracemalloc.start()
    try:
        total = 0
        while piece := source.read_at(total, MIB):
            total += len(piece)
            source.release(total)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total in (length, length + 1)
    assert peak < 24 * MIB


def refused(packed: bytes, codec: str) -> StreamError:
    plain, failure = read_all(packed, codec)
    assert plain == b""
    assert failure is not None
    return failure


def test_a_zstd_window_above_the_limit_is_refused() -> None:
    huge_window = bytes.fromhex("28b52ffd00b0")  # 1 << 32 bytes
    assert "zstd" in refused(huge_window + b"\x01\x00\x00", "zstd").record


def test_an_xz_dictionary_above_the_limit_is_refused() -> None:
    filters: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    packed = bytearray(lzma.compress(PLAIN, filters=filters))
    # The block header's properties byte: 40 asks for 4 GiB; its checksum is made anew.
    at = packed.index(b"\x21\x01") + 2
    packed[at] = 40
    head_len = (packed[12] + 1) * 4
    packed[12 + head_len - 4 : 12 + head_len] = zlib.crc32(
        bytes(packed[12 : 12 + head_len - 4])
    ).to_bytes(4, "little")
    assert "emory" in refused(bytes(packed), "xz").found


@pytest.mark.parametrize(
    ("plain_len", "stored_len"),
    [(MAX_LZOP_BLOCK_LEN + 1, 10), (0xFFFFFFFF, 0xFFFFFFFF), (100, 0), (100, 101)],
)
def test_lzop_lengths_are_checked_before_they_are_believed(plain_len: int, stored_len: int) -> None:
    packed = lzop(b"")[:-4]
    lengths = struct.pack(">II", plain_len, stored_len)
    failure = refused(packed + lengths + bytes(1000), "lzop")
    assert isinstance(failure, MalformedStreamError)
    assert not isinstance(failure, LimitExceededError) or plain_len > MAX_LZOP_BLOCK_LEN
    assert failure.offset == len(packed)


@pytest.mark.parametrize("flags", [0, 0x1, 0x2, 0x3, 0x100, 0x200, 0x303, 0x801])
def test_lzop_checksums_of_every_kind(flags: int) -> None:
    packed = lzop(PLAIN, flags=flags, block_len=1000)
    assert read_all(packed, "lzop") == (PLAIN, None)
    if flags & 0x101:
        at = packed.index(PLAIN[:50])  # the first block does not get smaller: it is stored
        broken = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
        assert "checksum" in refused(broken, "lzop").found


def test_data_of_another_kind_is_refused() -> None:
    for codec in CODECS:
        refused(b"\x28\xb5\x2f\xfd" * 10 if codec != "zstd" else b"PK" * 40, codec)


def pieces_of(packed: bytes, codec: str) -> Iterable[int]:
    return (len(piece) for piece in iter_plain(BytesSource(packed), 0, codec))


@each_codec
def test_pieces_are_bounded(codec: str) -> None:
    assert max(pieces_of(bomb(codec, 32 * MIB), codec)) <= 4 * MIB


class _NoMemory:
    """A zstd decoder that is refused the memory for its window."""

    def decompressobj(self, **_: object) -> "_NoMemory":
        return self

    def decompress(self, _: bytes) -> bytes:
        raise zstandard.ZstdError("zstd decompressor error: Allocation error : not enough memory")


def test_lack_of_memory_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstandard.compress(PLAIN)
    monkeypatch.setattr(zstandard, "ZstdDecompressor", lambda **_: _NoMemory())
    with pytest.raises(MemoryError):
        read_all(packed, "zstd")
    with pytest.raises(MemoryError):
        decoder_of(MultifdCompression.ZSTD).decode(packed, len(PLAIN))
