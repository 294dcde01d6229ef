"""A guest whose pages tell who they are, and what must come of its migration."""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

_STAMP = struct.Struct(">2sHIIHH")
_TAG = b"qp"
_GROUP_LEN = 128  # bytes with the same stamp; the next group counts one further


def stamped_page(block_index: int, page_index: int, version: int, page_size: int) -> bytes:
    """Make a page that repeats which page of which block, and which version, it is."""
    groups = [
        _STAMP.pack(_TAG, block_index, page_index, version, group, ~group & 0xFFFF)
        * (_GROUP_LEN // _STAMP.size)
        for group in range(-(-page_size // _GROUP_LEN))
    ]
    return b"".join(groups)[:page_size]


def describe_page(data: bytes) -> str:
    """Tell which page it is that stands where another should."""
    if data == bytes([data[0]]) * len(data):
        return f"a page full of 0x{data[0]:02x}"
    tag, block_index, page_index, version, group, _ = _STAMP.unpack(data[: _STAMP.size])
    if tag != _TAG:
        return f"a page that begins with {data[: _STAMP.size].hex(' ')}"
    return f"block {block_index} page {page_index} version {version} (from group {group})"


class Guest:
    """RAM blocks, written to page by page, with a log of what was touched.

    Args:
        blocks: Lengths in bytes by name, in wire order.
        page_size: The target's page size.
    """

    def __init__(self, blocks: Mapping[str, int], page_size: int = 4096) -> None:
        self.page_size = page_size
        self.memory = {name: bytearray(length) for name, length in blocks.items()}
        self._order = {name: index for index, name in enumerate(blocks)}
        self._dirty = {
            (name, index) for name in blocks for index in range(blocks[name] // page_size)
        }

    @property
    def lengths(self) -> dict[str, int]:
        """Each block's length in bytes."""
        return {name: len(memory) for name, memory in self.memory.items()}

    def page(self, block: str, index: int) -> bytes:
        """Read a page."""
        start = index * self.page_size
        return bytes(self.memory[block][start : start + self.page_size])

    def store(self, block: str, index: int, data: bytes) -> None:
        """Write a whole page."""
        if len(data) != self.page_size:
            raise ValueError(f"a page of {self.page_size} bytes is not {len(data)} long")
        start = index * self.page_size
        self.memory[block][start : start + self.page_size] = data
        self._dirty.add((block, index))

    def stamp(self, block: str, indexes: Iterable[int], version: int = 0) -> None:
        """Write pages that tell who they are."""
        for index in indexes:
            stamped = stamped_page(self._order[block], index, version, self.page_size)
            self.store(block, index, stamped)

    def fill(self, block: str, indexes: Iterable[int], byte: int = 0) -> None:
        """Write pages of one byte; zero pages by default."""
        for index in indexes:
            self.store(block, index, bytes([byte]) * self.page_size)

    def scramble(self, block: str, indexes: Iterable[int]) -> None:
        """Write pages that no compression makes smaller."""
        for index in indexes:
            seed = f"{block}:{index}".encode()
            hashes = (
                hashlib.sha256(seed + bytes([at & 0xFF, at >> 8])).digest()
                for at in range(-(-self.page_size // 32))
            )
            self.store(block, index, b"".join(hashes)[: self.page_size])

    def poke(self, block: str, addr: int, data: bytes) -> None:
        """Write a few bytes."""
        self.memory[block][addr : addr + len(data)] = data
        last = addr + max(len(data), 1) - 1
        for index in range(addr // self.page_size, last // self.page_size + 1):
            self._dirty.add((block, index))

    def take_dirty(self) -> list[tuple[str, int]]:
        """Give the pages written since the last call, in the order of a RAM scan."""
        taken = sorted(self._dirty, key=lambda page: (self._order[page[0]], page[1]))
        self._dirty.clear()
        return taken

    def contents(self) -> dict[str, bytes]:
        """Give a copy of all blocks."""
        return {name: bytes(memory) for name, memory in self.memory.items()}


def truth(blocks: Mapping[str, bytes]) -> dict[str, Any]:
    """Give the manifest's form of what RAM must be: one whole range a block."""
    return {
        name: {
            "used_length": len(data),
            "ranges": [
                {"addr": 0, "length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            ],
        }
        for name, data in blocks.items()
    }


def first_difference(
    expected: Mapping[str, bytes], found: Mapping[str, bytes], page_size: int = 4096
) -> str | None:
    """Tell the first page that differs, and whose page stands there instead."""
    if list(expected) != list(found):
        return f"blocks {list(found)} instead of {list(expected)}"
    for name, data in expected.items():
        if len(data) != len(found[name]):
            return f"{name}: {len(found[name])} bytes instead of {len(data)}"
        for start in range(0, len(data), page_size):
            want, have = (part[start : start + page_size] for part in (data, found[name]))
            if want != have:
                return (
                    f"{name} page {start // page_size}: {describe_page(have)} "
                    f"instead of {describe_page(want)}"
                )
    return None
