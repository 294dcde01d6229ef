"""Takes a capture out in every format, and holds each against what QEMU said of its memory."""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import qmig
from fixtures.catalogue import TruthBlock
from qmig.export.extract import ExtractFormat, ExtractOptions, extract
from qmig.export.layout import Layout
from tests.interop.core_reader import CoreFile

_LIME: Final = struct.Struct("<4sIQQ8x")
Read = Callable[[int, int], bytes]


def compared_formats(
    paths: Sequence[Path], truth: Mapping[str, TruthBlock], folder: Path
) -> dict[ExtractFormat, int]:
    """Take a capture out in every format that can have it.

    Args:
        paths: the files of the capture.
        truth: what its memory must be, block by block.
        folder: an empty folder.

    Returns:
        The formats that were written: how many ranges were compared of each.
    """
    found: dict[ExtractFormat, int] = {}
    for kind in ExtractFormat:
        out = folder / kind.value
        with qmig.open_capture(*paths) as capture:
            try:
                done = extract(capture, out, ExtractOptions(kind, holes=True))
            except qmig.WriterError:  # no layout, or no CPU that cores are known for
                assert kind is not ExtractFormat.BLOCKS
                continue
        missing = {one.block for one in done.missing}
        there = {name: block for name, block in truth.items() if name not in missing}
        if kind is ExtractFormat.BLOCKS:
            found[kind] = _in_blocks(out, there)
        else:
            assert done.layout is not None
            found[kind] = _in_image(_readers()[kind](out), done.layout, there)
        assert found[kind] or missing
    return found


def _in_blocks(out: Path, truth: Mapping[str, TruthBlock]) -> int:
    manifest = json.loads((out / "manifest.json").read_text())
    files = {entry["block"]: out / entry["file"] for entry in manifest["files"]}
    compared = 0
    for name, block in truth.items():
        data = files[name].read_bytes()
        assert len(data) == block.used_length
        for item in block.ranges:
            part = data[item.addr : item.addr + item.length]
            assert hashlib.sha256(part).hexdigest() == item.sha256, (name, item.addr)
            compared += 1
    return compared


def _in_image(read: Read, layout: Layout, truth: Mapping[str, TruthBlock]) -> int:
    compared = 0
    for one in layout.ranges:
        block = truth.get(one.block)
        for item in block.ranges if block else ():
            at = item.addr - one.block_addr
            if at >= 0 and at + item.length <= one.length:
                data = read(one.start_addr + at, item.length)
                assert hashlib.sha256(data).hexdigest() == item.sha256, (one.block, item.addr)
                compared += 1
    return compared


def _readers() -> dict[ExtractFormat, Callable[[Path], Read]]:
    return {
        ExtractFormat.RAW: _raw_reader,
        ExtractFormat.LIME: _lime_reader,
        ExtractFormat.ELF: _core_reader,
    }


def _raw_reader(path: Path) -> Read:
    def read(addr: int, length: int) -> bytes:
        with path.open("rb") as file:
            file.seek(addr)
            return file.read(length)

    return read


def _core_reader(path: Path) -> Read:
    def read(addr: int, length: int) -> bytes:
        core = CoreFile(path)
        try:
            return core.read(addr, length)
        finally:
            core.close()

    return read


def _lime_reader(path: Path) -> Read:
    places: list[tuple[int, int, int]] = []  # first address, last, offset
    end = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < end:
            magic, version, first, last = _LIME.unpack(file.read(_LIME.size))
            assert (magic, version) == (b"EMiL", 1)
            places.append((first, last, file.tell()))
            file.seek(last - first + 1, 1)

    def read(addr: int, length: int) -> bytes:
        ((first, _, offset),) = (p for p in places if p[0] <= addr and addr + length - 1 <= p[1])
        return _raw_reader(path)(offset + addr - first, length)

    return read
