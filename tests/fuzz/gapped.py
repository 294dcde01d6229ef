"""The files of a capture as a fuzzer holds them: small, with long runs of zeros left out.

A mapped-ram file has its pages at multiples of 1 MiB. Here such a file is its data and the gaps in
it, so that all of it can be changed, and it is written with holes. One string of bytes holds all
files of a capture (`packed`), and every string of bytes is such a capture (`unpacked`).
"""

import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

MIB: Final = 1 << 20
MOST_FILES: Final = 8
MOST_GAPS: Final = 15
MOST_GAP_LEN: Final = 8 * MIB
_GAP_MIN_LEN: Final = 64 * 1024  # shorter runs of zeros are data
_HEAD: Final = struct.Struct(">LB")
_GAP: Final = struct.Struct(">LL")
_MAGIC: Final = b"qmfz"


class Gap(NamedTuple):
    """Zeros that are not kept.

    Attributes:
        at: how much of the data stands in front.
        length: how many bytes they are.
    """

    at: int
    length: int


class GappedFile(NamedTuple):
    """One file.

    Attributes:
        data: its bytes without the gaps.
        gaps: in the order of the file.
    """

    data: bytes
    gaps: tuple[Gap, ...] = ()

    def kept_offset(self, offset: int) -> int | None:
        """Return where a byte of the file is in `data`; None in a gap."""
        for gap in self.gaps:
            if offset < gap.at:
                break
            if offset < gap.at + gap.length:
                return None
            offset -= gap.length
        return offset

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield offset in the file and bytes of what is no gap."""
        shift = start = 0
        for gap in sorted(self.gaps):
            at = min(gap.at, len(self.data))
            if at > start:
                yield start + shift, self.data[start:at]
                start = at
            shift += gap.length
        yield start + shift, self.data[start:]

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return len(self.data) + sum(gap.length for gap in self.gaps)


Files = tuple[GappedFile, ...]


def gapped(data: bytes) -> GappedFile:
    """Leave the long runs of zeros out of a file; offsets of gaps stay those of the file."""
    kept: list[bytes] = []
    gaps: list[Gap] = []
    start = kept_len = 0
    zeros = bytes(_GAP_MIN_LEN)
    while len(gaps) < MOST_GAPS and (at := data.find(zeros, start)) >= 0:
        end = at + _GAP_MIN_LEN
        while data[end : end + 4096] == zeros[: len(data[end : end + 4096])] and end < len(data):
            end = min(end + 4096, len(data))
        kept.append(data[start:at])
        kept_len += at - start
        gaps.append(Gap(kept_len, end - at))
        start = end
    kept.append(data[start:])
    return GappedFile(b"".join(kept), tuple(gaps))


def write_files(files: Iterable[GappedFile], folder: Path) -> list[Path]:
    """Write the files of a capture as 0.bin, 1.bin, ... and return their paths."""
    paths = []
    for index, file in enumerate(files):
        path = folder / f"{index}.bin"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if file.gaps:
                os.ftruncate(handle, file.length)
            for offset, piece in file.pieces():
                os.pwrite(handle, piece, offset)
        finally:
            os.close(handle)
        paths.append(path)
    return paths


def packed(files: Files) -> bytes:
    """Return all files of a capture as one string of bytes."""
    parts = [_MAGIC, bytes([len(files)])]
    for data, gaps in files:
        parts.append(_HEAD.pack(len(data), len(gaps)))
        parts += [_GAP.pack(*gap) for gap in gaps]
        parts.append(data)
    return b"".join(parts)


def unpacked(data: bytes) -> Files:
    """Return the capture that a string of bytes is; without the magic, a file as it stands."""
    if not data.startswith(_MAGIC):
        return (GappedFile(data),)
    count = min(data[len(_MAGIC)] if len(data) > len(_MAGIC) else 0, MOST_FILES)
    at = len(_MAGIC) + 1
    files = []
    for _ in range(count):
        if at + _HEAD.size > len(data):
            break
        length, number = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        gaps = []
        for _ in range(min(number, MOST_GAPS)):
            if at + _GAP.size > len(data):
                break
            place, gap_len = _GAP.unpack_from(data, at)
            at += _GAP.size
            gaps.append(Gap(place, min(gap_len, MOST_GAP_LEN)))
        files.append(GappedFile(data[at : at + length], tuple(sorted(gaps))))
        at += length
    return tuple(files) or (GappedFile(b""),)
