"""What fuzzing begins with: small built captures, and fixtures of real QEMUs made small."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import qmig
from fixtures.catalogue import DATA, Fixture, unpack
from qmig.capture.capture import Capture
from qmig.capture.container import Container, Role
from qmig.capture.records import PageBatch
from qmig.errors import QmigError
from qmig.wire.framing import VmDescriptionHead
from qmig.wire.vmdesc import VmDescError, parse_vmdescription
from tests.corpus import FIXTURES, Item, streams
from tests.fuzz.built import built
from tests.fuzz.gapped import Files, GappedFile, gapped
from tests.fuzz.mutate import Seed
from tests.fuzz.places import places_of

MOST_SEED_LEN: Final = 64 * 1024  # all files of a seed; most have some KiB
_KEPT_BATCHES: Final = 6  # batches of page records that stay, with their first records
_KEPT_RECORDS: Final = 2
_KEPT_DEVICES: Final = 12
_PIECE_LEN: Final = 6 * 1024
_STORED_LEN: Final = 40_000  # of a fixture's files as they are stored; larger ones are left out


def built_seeds(folder: Path) -> list[Seed]:
    """Return the captures that are built.

    Args:
        folder: where files are written to be looked at.
    """
    return [Seed(name, files, places_of(files, folder)) for name, files in built()]


def fixture_seeds(folder: Path) -> Iterator[Seed]:
    """Yield fixtures: whole where they are small, and with most pages and devices taken out."""
    for name, fixture in FIXTURES.items():
        if sum(_stored_len(file.path) for file in fixture.files) > _STORED_LEN:
            continue
        with tempfile.TemporaryDirectory(dir=folder) as unpacked:
            files = _small(fixture, Path(unpacked))
        if files is not None:
            yield Seed(name, files, places_of(files, folder))


def _stored_len(path: str) -> int:
    return (DATA / path).stat().st_size


def _small(fixture: Fixture, folder: Path) -> Files | None:
    """Return a fixture made small; None where that is not possible."""
    paths = unpack(fixture, folder)
    compressed = any(path.suffix in (".gz", ".xz", ".bz2", ".zst") for path in paths)
    if not compressed:
        whole = tuple(gapped(path.read_bytes()) for path in paths)
        if _len(whole) <= MOST_SEED_LEN // 2:
            return whole
    with qmig.open_capture(*paths) as capture:
        if any(c.compressed for c in capture.files):
            return _pieces(paths)
        if any(c.libvirt is not None for c in capture.files) or _is_mapped(capture):
            return _pieces(paths)
        try:
            made = {c.path: _shortened(c, items) for c, items in streams(capture)}
        except QmigError:
            return _pieces(paths)
    small = tuple(GappedFile(made[str(path)]) for path in paths)
    return small if _len(small) <= MOST_SEED_LEN else _pieces(paths)


def _is_mapped(capture: Capture) -> bool:
    return any(block.mapped is not None for block in capture.blocks)


def _len(files: Files) -> int:
    return sum(len(file.data) for file in files)


def _pieces(paths: list[Path]) -> Files:
    """Return beginning and end of each file."""
    files = []
    for path in paths:
        data = path.read_bytes()
        if len(data) > 2 * _PIECE_LEN:
            data = data[:_PIECE_LEN] + data[-_PIECE_LEN:]
        files.append(GappedFile(data))
    return tuple(files)


def _shortened(container: Container, items: Iterator[Item]) -> bytes:
    """Return a stream with the first pages of a few parts, and with the first devices."""
    source, parts = container.source, []
    batches = devices = 0
    dropping = False
    for item in items:
        if isinstance(item, PageBatch):
            batches += 1
            if batches <= _KEPT_BATCHES:
                run = item.runs[0]
                last = min(run.count, _KEPT_RECORDS) - 1
                end = run.data_offset + last * run.stride_len + run.payload_len
                parts.append(source.read_at(item.offset, end - item.offset))
            continue
        length = getattr(item, "length", None)
        if length is None:  # a packet: its records stand for it
            continue
        data = source.read_at(item.offset, length)
        name = getattr(item, "name", "")
        if container.role is Role.MAIN and name == "section header" and data[:1] == b"\x04":
            devices += 1
            dropping = devices > _KEPT_DEVICES
        if name == "EOF":
            dropping = False
        if name == "vmdescription":  # its head: it comes with its text
            continue
        if name == "vmdescription JSON":
            data = _described(data)
        if not dropping:
            parts.append(data)
    return b"".join(parts)


def _described(text: bytes) -> bytes:
    """Return a vmdescription of the first devices alone, with its head."""
    try:
        parsed = parse_vmdescription(text)
    except VmDescError:
        parsed = None
    if parsed is not None and parsed.devices:
        listed = [text[device.start : device.end] for device in parsed.devices[:_KEPT_DEVICES]]
        text = text[: parsed.devices[0].start] + b", ".join(listed) + b"]}"
    return VmDescriptionHead(length=len(text)).build() + text
