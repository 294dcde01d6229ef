"""What wraps a fixture's stream, taken off without qmig."""

import bz2
import gzip
import lzma
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lzallright
import zstandard

from tests.oracle_live import Data

_CODEC_OF_FORMAT = {1: "gzip", 2: "bzip2", 3: "xz", 4: "lzop", 5: "zstd"}
_CODEC_OF_SUFFIX = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
_LIBVIRT_HEADER_LEN = 92


@dataclass(frozen=True)
class Unwrapped:
    """A stream without its wrapping.

    Attributes:
        data: what the stream's offsets count in: the file, or what a decompressor gave.
        stream_offset: where the stream begins in it.
        wrapper_len: bytes of the file in front of the stream, or of its compressed form.
        codec: the compression, None where there is none.
    """

    data: Data
    stream_offset: int
    wrapper_len: int
    codec: str | None


def unwrap(path: Path) -> Unwrapped:
    """Take the wrapping off a file."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    start, codec = 0, _CODEC_OF_SUFFIX.get(path.suffix)
    if data[:12] == b"LibvirtQemud":
        start, codec = _libvirt(data)
    elif codec is None and data[:4] not in (b"QEVM", b"\x11\x22\x33\x44"):
        start = max(0, data.find(b"QEVM\0\0\0\x03\x07"))  # file:PATH,offset=N
    if codec is None:
        return Unwrapped(data, start, start, None)
    return Unwrapped(_decompress(codec, data[start:]), 0, start, codec)


def _libvirt(data: Data) -> tuple[int, str | None]:
    version, data_len, _, fmt, _ = struct.unpack_from("<5I", data, 16)
    if version > 2:
        version, data_len, _, fmt, _ = struct.unpack_from(">5I", data, 16)
    return _LIBVIRT_HEADER_LEN + data_len, _CODEC_OF_FORMAT.get(fmt) if version == 2 else None


def _decompress(codec: str, data: bytes) -> bytes:
    if codec == "lzop":
        return _lzop(data)
    if codec == "zstd":
        reader: Any = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        return bytes(reader.read())
    plain: Any = {"gzip": gzip, "bzip2": bz2, "xz": lzma}[codec]
    return bytes(plain.decompress(data))


def _lzop(data: bytes) -> bytes:
    """Read the tool's file format: a header with a counted name, then blocks."""
    (flags,) = struct.unpack_from(">I", data, 17)
    at = 21 + 4 * bool(flags & 0x800) + 12
    at += 1 + data[at] + 4
    plain_sums = bool(flags & 0x1) + bool(flags & 0x100)
    stored_sums = bool(flags & 0x2) + bool(flags & 0x200)
    codec = lzallright.LZOCompressor()
    blocks: list[bytes] = []
    while True:
        (plain_len,) = struct.unpack_from(">I", data, at)
        if plain_len == 0:
            return b"".join(blocks)
        (stored_len,) = struct.unpack_from(">I", data, at + 4)
        stored = stored_len == plain_len
        at += 8 + 4 * (plain_sums + (0 if stored else stored_sums))
        block = data[at : at + stored_len]
        blocks.append(block if stored else codec.decompress(block, output_size_hint=plain_len))
        at += stored_len
