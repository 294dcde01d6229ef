"""mapped-ram: every page of a block at a fixed offset of the file."""

import io
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.builders.primitives import be32, be64
from tests.builders.ram import MEM_SIZE, BlockEntry, eos, word

HEADER_LEN = 28
VERSION = 1
PAGES_ALIGNMENT = 0x100000


def header(
    page_size: int, bitmap_offset: int, pages_offset: int, *, version: int = VERSION
) -> bytes:
    """Build a block's header; both offsets count from the file's first byte."""
    return be32(version) + be64(page_size) + be64(bitmap_offset) + be64(pages_offset)


def bitmap_len(pages: int) -> int:
    """Give the bitmap's length: whole longs of eight bytes."""
    return -(-pages // 64) * 8


def bitmap(set_pages: Iterable[int], pages: int, *, big_endian: bool = False) -> bytes:
    """Build a block's bitmap.

    Args:
        set_pages: The pages whose data counts.
        pages: How many pages the block has.
        big_endian: As a big-endian host stores its longs.
    """
    longs = [0] * (bitmap_len(pages) // 8)
    for index in set_pages:
        longs[index // 64] |= 1 << index % 64
    return struct.pack(f"{'>' if big_endian else '<'}{len(longs)}Q", *longs)


def align_up(offset: int, alignment: int = PAGES_ALIGNMENT) -> int:
    """Round an offset up to a multiple of the alignment."""
    return -(-offset // alignment) * alignment


@dataclass(frozen=True)
class MappedBlock:
    """What a mapped-ram file holds of one block.

    Attributes:
        name: The block's name.
        used_length: The block's length in bytes.
        pages: The bytes written for each page, also for pages whose bit is clear.
        set_pages: The pages whose bit is set; None for exactly those with bytes.
        addr: The guest-physical address that x-ignore-shared adds.
        page_size: The header's page size field in place of the true one.
        version: The header's version.
        bitmap_offset: The header's field in place of the true one.
        pages_offset: The header's field in place of the true one.
        big_endian: The bitmap as a big-endian host writes it.
    """

    name: str
    used_length: int
    pages: Mapping[int, bytes]
    set_pages: frozenset[int] | None = None
    addr: int | None = None
    page_size: int | None = None
    version: int = VERSION
    bitmap_offset: int | None = None
    pages_offset: int | None = None
    big_endian: bool = False


def _pad_to(file: BinaryIO, offset: int) -> None:
    """Move to an offset and leave a hole; the next write makes the file long enough."""
    file.seek(offset)


def _write_block(file: BinaryIO, block: MappedBlock, page_size: int) -> None:
    """Write one block's entry, header, bitmap and pages at the file's position."""
    file.write(BlockEntry(block.name, block.used_length, addr=block.addr).build())
    count = block.used_length // page_size
    bitmap_offset = file.tell() + HEADER_LEN
    pages_offset = align_up(bitmap_offset + bitmap_len(count))
    file.write(
        header(
            page_size if block.page_size is None else block.page_size,
            bitmap_offset if block.bitmap_offset is None else block.bitmap_offset,
            pages_offset if block.pages_offset is None else block.pages_offset,
            version=block.version,
        )
    )
    present = block.pages.keys() if block.set_pages is None else block.set_pages
    file.write(bitmap(present, count, big_endian=block.big_endian))
    for index, data in sorted(block.pages.items()):
        file.seek(pages_offset + index * page_size)
        file.write(data)
    _pad_to(file, pages_offset + block.used_length)


def write_start(
    file: BinaryIO,
    blocks: Iterable[MappedBlock],
    *,
    page_size: int = 4096,
    total: int | None = None,
    tail: bytes | None = None,
) -> None:
    """Write the body of the RAM section's start at the file's position.

    Args:
        file: A seekable binary file; offsets count from its byte 0.
        blocks: The blocks, in wire order.
        page_size: The target's page size.
        total: The total to announce in place of the sum of lengths.
        tail: What follows the last block; None writes the end-of-section word.
    """
    listed = list(blocks)
    size = sum(block.used_length for block in listed) if total is None else total
    file.write(word(size, MEM_SIZE))
    for block in listed:
        _write_block(file, block, page_size)
    file.write(eos() if tail is None else tail)


def write_capture(
    path: Path,
    head: bytes,
    blocks: Iterable[MappedBlock],
    rest: bytes,
    *,
    page_size: int = 4096,
    file_offset: int = 0,
) -> None:
    """Write a whole capture as a sparse file.

    Args:
        path: The file to create.
        head: The stream up to the body of the RAM section's start.
        blocks: The blocks, in wire order.
        rest: The stream behind that body, beginning with its footer.
        page_size: The target's page size.
        file_offset: Where in the file the stream begins.
    """
    with path.open("wb") as file:
        _pad_to(file, file_offset)
        file.write(head)
        write_start(file, blocks, page_size=page_size)
        file.write(rest)


def capture_bytes(
    head: bytes,
    blocks: Iterable[MappedBlock],
    rest: bytes,
    *,
    page_size: int = 4096,
    file_offset: int = 0,
    tail: bytes | None = None,
) -> bytes:
    """Give a whole capture, as `write_capture` writes it.

    Args:
        head: The stream up to the body of the RAM section's start.
        blocks: The blocks, in wire order.
        rest: The stream behind that body, beginning with its footer.
        page_size: The target's page size.
        file_offset: Where the stream begins; what its offsets count from stands so far in front.
        tail: What follows the last block; None: the end-of-section word.
    """
    with io.BytesIO() as file:
        _pad_to(file, file_offset)
        file.write(head)
        write_start(file, blocks, page_size=page_size, tail=tail)
        file.write(rest)
        return file.getvalue()
