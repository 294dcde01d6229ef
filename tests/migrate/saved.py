"""What saves are held against: RAM and sections of a source, read by qmig and by the oracle."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import qmig
from fixtures.catalogue import Fixture
from tests.oracle import MainWalk, Section
from tests.oracle_channel import page_size_of
from tests.oracle_live import Data
from tests.oracle_memory import read_memory
from tests.unwrap import unwrap

Digests = dict[str, str]


def page_size(fixture: Fixture) -> int:
    """Return the target page size of a fixture."""
    return page_size_of(fixture.covers)


def release(fixture: Fixture) -> str:
    """Return the release that wrote a fixture, without its last part."""
    assert fixture.qemu is not None
    return ".".join(fixture.qemu.split(".")[:2])


def in_order(fixture: Fixture, paths: Sequence[Path]) -> list[Path]:
    """Return a fixture's files with the main stream first."""
    roles = [file.role for file in fixture.files]
    return sorted(paths, key=lambda path: roles[list(paths).index(path)] == "channel")


def ram_by_qmig(paths: Sequence[Path]) -> Digests:
    """Return the sha256 of each block, as qmig reads it; pages never sent are zero."""
    found = {}
    with qmig.open_capture(*paths) as capture:
        for name, view in capture.ram.items():
            digest = hashlib.sha256()
            for piece in view.pieces(missing="zero"):
                digest.update(piece)
            found[name] = digest.hexdigest()
    return found


def ram_by_oracle(paths: Sequence[Path], page_size_len: int) -> Digests:
    """Return the same as the independent reader sees it; no page may be sent twice."""
    memory = read_memory(paths, page_size_len)
    return {name: hashlib.sha256(content).hexdigest() for name, content in memory.items()}


def devices(path: Path, page_size_len: int) -> list[tuple[bytes, int, int, bytes]]:
    """Return name, instance, version and bytes of all sections but those of RAM."""
    wrapped = unwrap(path)
    found = MainWalk(wrapped.data, page_size_len, offset=wrapped.stream_offset).walk()
    assert found.whole, path
    return [
        (s.idstr, s.instance_id, s.version_id, _body(wrapped.data, s))
        for s in found.sections
        if s.idstr != b"ram"
    ]


def _body(data: Data, section: Section) -> bytes:
    return bytes(memoryview(data)[section.offset : section.end])
