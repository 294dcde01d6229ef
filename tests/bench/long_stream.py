"""Make a stream ten times as long, for showing that memory does not grow with the file.

    python long_stream.py CAPTURE TARGET

An ordinary stream sends RAM in PART sections. All of them, one behind the other as they stand in a
capture, are written again and again into the copy, as a migration of ten rounds would do in which
every page is dirty again in every round; what is before (configuration, block list) and behind
(the last pages, devices, description) stays as it is. The first of the PARTs starts with the name
of its block, so that every repetition reads as the first one does, and a real QEMU loads the
result: every page ten times, the last copy counts.
"""

from __future__ import annotations

import argparse
import mmap
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

TIMES = 10
PAGE_LEN = 4096

_SECTION_START, _SECTION_PART, _CONFIGURATION, _COMMAND = 1, 2, 7, 8
_ZERO, _MEM_SIZE, _PAGE, _EOS, _CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
_PART_HEADER_LEN = 5
_FOOTER_LEN = 5
_COPY_LEN = 64 << 20

_WORD = struct.Struct(">Q")


class UnsuitableStreamError(Exception):
    """The capture is not the kind of stream that can be lengthened this way."""


@dataclass(frozen=True)
class Parts:
    """Where the PART sections of a stream lie, and how many pages they send."""

    start_offset: int
    end_offset: int
    pages: int


def find_parts(path: Path) -> Parts:
    """Walk a capture record by record up to the end of its last PART section.

    Raises:
        UnsuitableStreamError: Something other than plain page records of one RAM section.
    """
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    with data:
        offset = 8
        if data[offset] == _CONFIGURATION:
            offset += 5 + int.from_bytes(data[offset + 1 : offset + 5], "big")
        if data[offset] != _SECTION_START or data[offset + 5 : offset + 9] != b"\x03ram":
            raise UnsuitableStreamError(f"{path}: no RAM section at {offset:#x}")
        _, offset = _skip_records(data, offset + 17)
        start_offset, pages = offset, 0
        while data[offset] == _SECTION_PART:
            sent, offset = _skip_records(data, offset + _PART_HEADER_LEN)
            pages += sent
    if not pages:
        raise UnsuitableStreamError(f"{path}: no PART section sends a page")
    return Parts(start_offset, offset, pages)


def write_long_stream(path: Path, target: Path) -> Parts:
    """Write `path` with its PART sections `TIMES` times to `target`.

    Returns:
        The PART sections of `target`.

    Raises:
        UnsuitableStreamError: The capture cannot be lengthened, or the copy is not as it should be.
    """
    parts = find_parts(path)
    with path.open("rb", buffering=0) as source, target.open("wb", buffering=0) as copy:
        _copy_range(source.fileno(), copy.fileno(), 0, parts.start_offset)
        for _ in range(TIMES):
            _copy_range(source.fileno(), copy.fileno(), parts.start_offset, parts.end_offset)
        _copy_range(source.fileno(), copy.fileno(), parts.end_offset, path.stat().st_size)
    written = find_parts(target)
    if written.pages != TIMES * parts.pages:
        raise UnsuitableStreamError(f"{target}: {written.pages} pages, not {TIMES} times as many")
    return written


def _skip_records(data: mmap.mmap, offset: int) -> tuple[int, int]:
    """Pages sent from `offset` to the end of the section, and the offset behind its footer."""
    pages = 0
    while True:
        word = _WORD.unpack_from(data, offset)[0]
        flags = word % PAGE_LEN
        offset += _WORD.size
        if flags == _EOS:
            return pages, offset + _FOOTER_LEN
        if flags == _MEM_SIZE:
            offset = _skip_block_list(data, offset, word - flags)
            continue
        if not flags & _CONTINUE:
            offset += 1 + data[offset]
        if flags & ~_CONTINUE == _PAGE:
            offset += PAGE_LEN
        elif flags & ~_CONTINUE == _ZERO:
            offset += 1
        else:
            raise UnsuitableStreamError(f"record {word:#x} before {offset:#x}")
        pages += 1


def _skip_block_list(data: mmap.mmap, offset: int, total_len: int) -> int:
    while total_len > 0:
        offset += 1 + data[offset]
        total_len -= _WORD.unpack_from(data, offset)[0]
        offset += _WORD.size
    return offset


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        start += os.sendfile(target, source, start, min(_COPY_LEN, end - start))


def main() -> int:
    """Run the command line; 1 when the capture cannot be lengthened."""
    parser = argparse.ArgumentParser(description="Lengthen an ordinary stream.")
    parser.add_argument("capture", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    try:
        parts = write_long_stream(arguments.capture, arguments.target)
    except UnsuitableStreamError as error:
        print(f"long_stream: {error}", file=sys.stderr)
        return 1
    name = arguments.target.name
    print(f"{name}: PART sections {TIMES} times, {parts.pages} pages sent in them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
