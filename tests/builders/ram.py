"""The RAM section: block list and page records."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from tests.builders.primitives import be16, be32, be64, counted

FULL = 0x001
ZERO = 0x002
MEM_SIZE = 0x004
PAGE = 0x008
EOS = 0x010
CONTINUE = 0x020
XBZRLE = 0x040
HOOK = 0x080
COMPRESS_PAGE = 0x100
MULTIFD_FLUSH = 0x200

ENCODING_FLAG_XBZRLE = 1


@dataclass(frozen=True)
class BlockEntry:
    """One block of the list.

    Attributes:
        name: The block's name.
        used_length: The block's length in bytes.
        page_size: Only with postcopy-ram, for blocks of an unusual page size.
        addr: Only with x-ignore-shared, the guest-physical address.
        mapped: Only with mapped-ram, everything from the block's header to its last page.
        name_len: The name's length byte in place of the true one.
    """

    name: str | bytes
    used_length: int
    page_size: int | None = None
    addr: int | None = None
    mapped: bytes = b""
    name_len: int | None = None

    def build(self) -> bytes:
        """Build the entry."""
        extra = [be64(value) for value in (self.page_size, self.addr) if value is not None]
        name = counted(self.name, length=self.name_len)
        return name + be64(self.used_length) + b"".join(extra) + self.mapped


def word(addr: int, flags: int) -> bytes:
    """Build the word that opens every record: page-aligned address and flags."""
    return be64(addr | flags)


def block_list(
    blocks: Iterable[BlockEntry], *, total: int | None = None, tail: bytes | None = None
) -> bytes:
    """Build the body of the RAM section's start.

    Args:
        blocks: The list, in wire order.
        total: The total to announce in place of the sum of lengths.
        tail: What follows the list; None writes the end-of-section word alone.
    """
    entries = list(blocks)
    size = sum(block.used_length for block in entries) if total is None else total
    body = word(size, MEM_SIZE) + b"".join(block.build() for block in entries)
    return body + (eos() if tail is None else tail)


def record(addr: int, flags: int, name: str | bytes | None, body: bytes) -> bytes:
    """Build a page record; without a name it continues the previous record's block."""
    if name is None:
        return word(addr, flags | CONTINUE) + body
    return word(addr, flags) + counted(name) + body


def zero(addr: int, name: str | bytes | None = None, *, fill: int = 0) -> bytes:
    """Build a record of a page that holds one byte throughout."""
    return record(addr, ZERO, name, bytes([fill]))


def page(addr: int, data: bytes, name: str | bytes | None = None) -> bytes:
    """Build a record of a whole page."""
    return record(addr, PAGE, name, data)


def xbzrle(
    addr: int,
    body: bytes,
    name: str | bytes | None = None,
    *,
    encoding: int = ENCODING_FLAG_XBZRLE,
    length: int | None = None,
) -> bytes:
    """Build a record of a page's delta; see the `xbzrle` module for its body."""
    announced = be16(len(body) if length is None else length)
    return record(addr, XBZRLE, name, bytes([encoding]) + announced + body)


def compress_page(
    addr: int,
    data: bytes,
    name: str | bytes | None = None,
    *,
    level: int = 1,
    length: int | None = None,
    compressed: bytes | None = None,
) -> bytes:
    """Build a record of a page as a complete zlib stream.

    Args:
        addr: The page's address inside its block.
        data: The page; it is compressed here.
        name: The block, or None to continue.
        level: zlib's level.
        length: The length to announce in place of the true one.
        compressed: The body to write in place of the compressed page.
    """
    body = zlib.compress(data, level) if compressed is None else compressed
    announced = be32(len(body) if length is None else length)
    return record(addr, COMPRESS_PAGE, name, announced + body)


def eos(addr: int = 0) -> bytes:
    """Build the word that ends a section part."""
    return word(addr, EOS)


def multifd_flush(addr: int = 0) -> bytes:
    """Build the word that asks the destination to synchronise its channels."""
    return word(addr, MULTIFD_FLUSH)


def hook(addr: int = 0) -> bytes:
    """Build the word that RDMA puts in front of each part."""
    return word(addr, HOOK)
