"""What of a fixture's RAM is in its first bytes: by the independent reader, not by qmig.

Every version of every page is listed with the place where its last byte stands. Of a file that is
cut, the versions that end before the cut are replayed in the order in which a destination sees
them; what that leaves is what salvage must find, no less and no more.
"""

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import lzallright
import zstandard

from fixtures.catalogue import Fixture
from tests.oracle import COMPRESSED, END, FILL, PLAIN, XBZRLE, ZERO, Block, MainWalk, Walked
from tests.oracle_channel import Packet, page_size_of, walk_channel
from tests.oracle_live import Data
from tests.oracle_memory import changed
from tests.unwrap import unwrap

_EOS: Final = 0x10
_FLUSH: Final = 0x200
_SYNC: Final = 0x1
_METHOD_MASK: Final = 0x3E
_ZLIB, _ZSTD, _QPL, _UADK, _QATZIP = 0x2, 0x4, 0x8, 0x10, 0x20
_NAME_LEN: Final = 256
_MOST_HEAD_LEN: Final = 8 + 256 + 4  # of a page record: word, name, length
_BEHIND_ALL: Final = 1 << 60

Pages = dict[tuple[bytes, int], bytes]


@dataclass(frozen=True)
class Version:
    """One version of one page.

    Attributes:
        order: place among all versions.
        file: index of its file.
        begin: where its first byte stands, in the data of that file's stream.
        end: behind its last byte, in the data of that file's stream.
        block: name of the block.
        page: index in the block.
        kind: as in `tests.oracle`.
        payload: as it stands there, or the page itself where it was compressed with others.
    """

    order: tuple[int, int, int, int]
    file: int
    begin: int
    end: int
    block: bytes
    page: int
    kind: int
    payload: bytes


@dataclass
class Truth:
    """All that a fixture's files hold.

    Attributes:
        page_size: bytes of a target page.
        lengths: length of the data of each file's stream.
        versions: in their order.
        entry_ends: block name -> behind its entry of the block list.
        mapped: the blocks of a mapped-ram file, the file's data, and where its RAM ends.
    """

    page_size: int
    lengths: list[int] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    entry_ends: dict[bytes, int] = field(default_factory=dict)
    mapped: tuple[list[Block], Data, int] | None = None
    codec: str | None = None
    wrapper_len: int = 0

    def pages(self, limits: Sequence[int]) -> Pages:
        """Return the pages that are in the first bytes of the files.

        Args:
            limits: how much there is of the data of each file's stream.
        """
        known: Pages = {}
        for version in self.versions:
            listed = self.entry_ends[version.block] <= limits[0]
            if version.end > limits[version.file] or not listed:
                continue
            place = (version.block, version.page)
            content = _content(version, known.get(place), self.page_size)
            if content is not None:
                known[place] = content
        if self.mapped is not None:
            known.update(self._mapped_pages(*self.mapped, limits[0]))
        return known

    def _mapped_pages(
        self, blocks: list[Block], data: Data, ram_end: int, limit: int
    ) -> Iterator[tuple[tuple[bytes, int], bytes]]:
        size = self.page_size
        there = [block for block in blocks if self.entry_ends[block.name] <= limit]
        bits = [_bits(block, data, size, limit) for block in there]
        written = [at for at, found in enumerate(bits) if any(found)]
        last_written = len(there) if ram_end <= limit else written[-1] if written else -1
        for at, block in enumerate(there):
            for page, is_set in enumerate(bits[at]):
                start = block.pages_offset + page * size
                if is_set and start + size <= limit:
                    yield (block.name, page), bytes(data[start : start + size])
                elif not is_set and at <= last_written:
                    yield (block.name, page), bytes(size)


def _bits(block: Block, data: Data, size: int, limit: int) -> list[bool]:
    if not block.pages_offset:
        return []
    pages = block.used_length // size
    there = max(0, min(limit - block.bitmap_offset, -(-pages // 8)))
    read = bytes(data[block.bitmap_offset : block.bitmap_offset + there])
    return [bool(read[at // 8] >> at % 8 & 1) for at in range(min(pages, 8 * there))]


def _content(version: Version, before: bytes | None, size: int) -> bytes | None:
    if version.kind == PLAIN:
        return version.payload
    if version.kind == COMPRESSED:
        return zlib.decompress(version.payload)
    if version.kind == XBZRLE:
        return None if before is None else changed(before, version.payload)
    return (version.payload if version.kind == FILL else b"\0") * size


def contents(truth: Truth) -> dict[tuple[bytes, int], set[bytes]]:
    """Return all that each page ever was."""
    found: dict[tuple[bytes, int], set[bytes]] = {}
    now: Pages = {}
    for version in truth.versions:
        place = (version.block, version.page)
        content = _content(version, now.get(place), truth.page_size)
        if content is not None:
            now[place] = content
            found.setdefault(place, set()).add(content)
    for place, content in truth.pages(truth.lengths).items():
        found.setdefault(place, set()).add(content)
    return found


def truth_of(fixture: Fixture, paths: Sequence[Path]) -> Truth:
    """Read the files of a fixture."""
    truth = Truth(page_size_of(fixture.covers))
    roles = [file.role for file in fixture.files]
    assert roles[0] in ("main", "container")
    main = _take_main(truth, paths[0])
    connections = channels = 0
    walk = main
    for index, (path, role) in enumerate(zip(paths, roles, strict=True)):
        if role == "channel":
            channels += 1
            _take_channel(truth, index, path.read_bytes(), channels)
        elif role == "recovery":
            connections += 1
            data = path.read_bytes()
            walk = MainWalk(data, truth.page_size, resumes=walk)
            _take_later(truth, index, walk.walk(), data, connections)
        elif role == "preempt":
            data = path.read_bytes()
            found = MainWalk(data, truth.page_size, resumes=main).walk_bare()
            _take_later(truth, index, found, data, 1 << 30)
    truth.versions.sort(key=lambda version: version.order)
    return truth


def _take_main(truth: Truth, path: Path) -> MainWalk:
    wrapped = unwrap(path)
    truth.codec, truth.wrapper_len = wrapped.codec, wrapped.wrapper_len
    data = wrapped.data
    truth.lengths.append(len(data))
    walk = MainWalk(data, truth.page_size, offset=wrapped.stream_offset)
    found = walk.walk()
    entries = [frame for frame in found.frames if frame.name == "RAM block"]
    for block, frame in zip(found.blocks, entries, strict=True):
        truth.entry_ends[block.name] = frame.end
    if any(block.pages_offset for block in found.blocks):
        ends = [s.end for s in found.sections if s.idstr == b"ram" and s.kind == END]
        eof = [frame.end for frame in found.frames if frame.name == "EOF"]
        truth.mapped = (found.blocks, data, min([*ends, *eof, _BEHIND_ALL]))
    marker = _FLUSH if found.flush_words else _EOS
    places = [
        (frame.offset, None)
        for frame in found.frames
        if frame.name == "RAM word" and _word(data, frame.offset) == marker
    ]
    epoch = 0
    everything = [*places, *((page[3], page) for page in found.pages)]
    for number, (_, page) in enumerate(sorted(everything, key=lambda item: item[0])):
        if page is None:
            epoch += 1
        else:
            truth.versions.append(_version(found, data, page, 0, (epoch, 0, 0, number)))
    return walk


def _word(data: Data, at: int) -> int:
    (word,) = struct.unpack_from(">Q", data, at)
    return int(word)


def _take_later(truth: Truth, index: int, found: Walked, data: Data, connection: int) -> None:
    truth.lengths.append(len(data))
    for number, page in enumerate(found.pages):
        order = (_BEHIND_ALL, connection, 0, number)
        truth.versions.append(_version(found, data, page, index, order))


def _version(
    found: Walked,
    data: Data,
    page: tuple[int, int, int, int, int],
    file: int,
    order: tuple[int, int, int, int],
) -> Version:
    block, kind, number, at, length = page
    name = found.blocks[block].name
    begin = at - _MOST_HEAD_LEN
    payload = bytes(data[at : at + length])
    return Version(order, file, begin, at + length, name, number, kind, payload)


# -- channels -------------------------------------------------------------------------------------


def _take_channel(truth: Truth, index: int, data: bytes, channel: int) -> None:
    truth.lengths.append(len(data))
    first, packets, _ = walk_channel(data, truth.page_size)
    old = first == 25
    decoders: dict[int, Any] = {
        _ZLIB: zlib.decompressobj(),
        _ZSTD: zstandard.ZstdDecompressor().decompressobj(),
    }
    epoch = 0
    for number, packet in enumerate(packets):
        name_at = packet.offset + packet.header_len - _NAME_LEN
        name = data[name_at : name_at + _NAME_LEN].split(b"\0")[0]
        # packet_num, behind the fields of the generation
        (packet_num,) = struct.unpack_from(">Q", data, packet.offset + (20 if old else 24))
        count = packet.normal + packet.zero
        offsets_at = packet.offset + packet.header_len
        addrs = struct.unpack_from(f">{count}Q", data, offsets_at)
        end = offsets_at + packet.offsets_len + packet.payload_len
        pages = _payload_pages(truth, packet, data, decoders, old=old)
        for at, addr in enumerate(addrs):
            kind = PLAIN if at < packet.normal else ZERO
            payload = pages[at] if kind == PLAIN else b"\0"
            order = (epoch, 1 + packet_num, channel, number)
            page = addr // truth.page_size
            truth.versions.append(
                Version(order, index, packet.offset, end, name, page, kind, payload)
            )
        epoch += packet.flags & _SYNC


def _payload_pages(
    truth: Truth, packet: Packet, data: bytes, decoders: dict[int, Any], *, old: bool
) -> list[bytes]:
    size = truth.page_size
    at = packet.offset + packet.header_len + packet.offsets_len
    payload = data[at : at + packet.payload_len]
    method = 0 if old else packet.flags & _METHOD_MASK
    if not packet.normal:
        return []
    if method in (_QPL, _UADK):
        return _single_pages(payload, packet.normal, size, raw=method == _QPL)
    if method == _QATZIP:
        payload = _gzip_members(payload)
    elif method:
        payload = decoders[method].decompress(payload)
    assert len(payload) == packet.normal * size
    return [payload[low : low + size] for low in range(0, len(payload), size)]


def _single_pages(payload: bytes, count: int, size: int, *, raw: bool) -> list[bytes]:
    lengths = struct.unpack_from(f">{count}I", payload)
    at = 4 * count
    pages: list[bytes] = []
    for length in lengths:
        stored = payload[at : at + length]
        window = -zlib.MAX_WBITS if raw else zlib.MAX_WBITS
        pages.append(stored if length == size else zlib.decompress(stored, window))
        at += length
    return pages


def _gzip_members(payload: bytes) -> bytes:
    plain = b""
    while payload:
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        plain += member.decompress(payload)
        payload = member.unused_data
    return plain


# -- what is left of a compressed file ------------------------------------------------------------


def plain_len(codec: str, data: bytes) -> int:
    """Return how many bytes a tool gets out of the beginning of a compressed stream."""
    if codec == "lzop":
        return _lzop_len(data)
    decoders: dict[str, Any] = {
        "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
    }
    return len(decoders[codec]().decompress(data))


def _lzop_len(data: bytes) -> int:
    """Count what the blocks hold that are whole; see `tests.unwrap`."""
    if len(data) < 38:
        return 0
    (flags,) = struct.unpack_from(">I", data, 17)
    at = 21 + 4 * bool(flags & 0x800) + 12
    if at >= len(data):
        return 0
    at += 1 + data[at] + 4
    plain_sums = bool(flags & 0x1) + bool(flags & 0x100)
    stored_sums = bool(flags & 0x2) + bool(flags & 0x200)
    codec = lzallright.LZOCompressor()
    total = 0
    while at + 8 <= len(data):
        block_len, stored_len = struct.unpack_from(">II", data, at)
        stored = stored_len == block_len
        at += 8 + 4 * (plain_sums + (0 if stored else stored_sums))
        if not block_len or at + stored_len > len(data):
            break
        if not stored:
            codec.decompress(data[at : at + stored_len], output_size_hint=block_len)
        total += block_len
        at += stored_len
    return total
