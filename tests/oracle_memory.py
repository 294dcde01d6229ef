"""The independent reader's part for RAM: what a destination's memory would be; see `tests.oracle`.

It puts the main stream's pages first and the channels' behind them, so it is for sets in which no
page is sent twice.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import zstandard

from tests.oracle import COMPRESSED, FILL, PLAIN, XBZRLE, MainWalk, Walked
from tests.oracle_channel import walk_channel
from tests.oracle_live import Data
from tests.unwrap import unwrap

_ZLIB: Final = 0x2
_ZSTD: Final = 0x4
_METHOD_MASK: Final = 0x3E
_NAME_LEN: Final = 256

Memory = dict[str, bytes]


def read_memory(paths: Sequence[Path], page_size: int) -> Memory:
    """Return the RAM of a main stream and its channels: block name -> bytes, zeros if never sent.

    Args:
        paths: the file with the main stream, bare or wrapped, then those of the channels.
        page_size: bytes of a target page.
    """
    wrapped = unwrap(paths[0])
    found = MainWalk(wrapped.data, page_size, offset=wrapped.stream_offset).walk()
    if not found.whole:
        raise AssertionError(f"{paths[0]} was not understood behind {found.end:#x}")
    memory = {block.name: bytearray(block.used_length) for block in found.blocks}
    _take_mapped(found, wrapped.data, memory, page_size)
    _take_records(found, wrapped.data, memory, page_size)
    for path in paths[1:]:
        _take_channel(path.read_bytes(), memory, page_size)
    return {name.decode(): bytes(content) for name, content in memory.items()}


def _take_mapped(found: Walked, data: Data, memory: dict[bytes, bytearray], page_size: int) -> None:
    for block in found.blocks:
        if not block.pages_offset:
            continue
        for page in range(block.used_length // page_size):
            if data[block.bitmap_offset + page // 8] >> page % 8 & 1:
                at = block.pages_offset + page * page_size
                content = data[at : at + page_size]
                memory[block.name][page * page_size : (page + 1) * page_size] = content


def _take_records(
    found: Walked, data: Data, memory: dict[bytes, bytearray], page_size: int
) -> None:
    for index, kind, page, at, length in found.pages:
        content = memory[found.blocks[index].name]
        low, high = page * page_size, (page + 1) * page_size
        payload = bytes(data[at : at + length])
        if kind == PLAIN:
            content[low:high] = payload
        elif kind == COMPRESSED:
            content[low:high] = zlib.decompress(payload)
        elif kind == XBZRLE:
            content[low:high] = changed(bytes(content[low:high]), payload)
        else:
            content[low:high] = bytes(payload if kind == FILL else 1) * page_size


def changed(page: bytes, encoding: bytes) -> bytes:
    """Apply XBZRLE to a page: a run of bytes that stay, a run of new ones, and so on."""
    new = bytearray(page)
    at = place = 0
    while at < len(encoding):
        same, at = _uleb128(encoding, at)
        length, at = _uleb128(encoding, at)
        place += same
        new[place : place + length] = encoding[at : at + length]
        place, at = place + length, at + length
    if len(new) != len(page):
        raise AssertionError("the encoding leaves the page")
    return bytes(new)


def _uleb128(data: bytes, at: int) -> tuple[int, int]:
    if data[at] < 0x80:
        return data[at], at + 1
    return data[at] & 0x7F | data[at + 1] << 7, at + 2


def _take_channel(data: bytes, memory: dict[bytes, bytearray], page_size: int) -> None:
    first, packets, end = walk_channel(data, page_size)
    if end != len(data):
        raise AssertionError("the last packet of a channel is cut short")
    old = first == 25
    decoders: dict[int, Any] = {
        _ZLIB: zlib.decompressobj(),
        _ZSTD: zstandard.ZstdDecompressor().decompressobj(),
    }
    for packet in packets:
        name_at = packet.offset + packet.header_len - _NAME_LEN
        name = data[name_at : name_at + _NAME_LEN].rstrip(b"\0")
        count = packet.normal + packet.zero
        if not count:
            continue
        offsets_at = packet.offset + packet.header_len
        offsets = struct.unpack_from(f">{count}Q", data, offsets_at)
        at = offsets_at + packet.offsets_len
        payload = data[at : at + packet.payload_len]
        method = 0 if old else packet.flags & _METHOD_MASK
        if method and packet.normal:
            payload = decoders[method].decompress(payload)
        if len(payload) != packet.normal * page_size:
            raise AssertionError(f"packet at {packet.offset:#x}: {len(payload)} bytes of pages")
        for number, addr in enumerate(offsets):
            low = number * page_size
            page = payload[low : low + page_size] if number < packet.normal else bytes(page_size)
            memory[name][addr : addr + page_size] = page
