"""Judge a fresh capture: every byte named, no error, and RAM that is the guest's own."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import qmig
from fixtures.catalogue import Fixture, load_manifest, unpack
from fixtures.store import add_entries
from qmig.capture.channel import ChannelWalk
from qmig.capture.container import Container, Role
from qmig.capture.multifd import ChannelPages
from qmig.capture.preempt import PreemptWalk
from qmig.capture.records import PageBatch, Record
from qmig.capture.releases import RELEASES
from qmig.capture.survey import resumed_walk
from qmig.memory import PageKind, PageRun
from tests.extracts import compared_formats

PIECE_LEN: Final = 1 << 20

# Only these leave out pages of a block that the truth holds: their content is then zero.
_NEVER_SENT: Final = frozenset({"ram:never-sent", "ram:ignored-block"})


@dataclass(frozen=True)
class Recorded:
    """A capture that was just made: its entry, as the manifest has them, and its files."""

    fixture: Fixture
    paths: Sequence[Path]


def recorded(name: str, entry: dict[str, Any], directory: Path) -> Recorded:
    """Unpack what the recorder stored in `directory`; this compares the files' sha256."""
    manifest = directory / "manifest.json"
    add_entries({name: entry}, manifest)
    fixture = load_manifest(manifest)[name]
    return Recorded(fixture, unpack(fixture, directory / "files", data=directory))


@dataclass
class Seen:
    """What is in a capture, as far as claims about it ask."""

    capture: qmig.Capture
    fixture: Fixture
    kinds: Counter[PageKind] = field(default_factory=Counter)
    sent: Counter[tuple[int, int]] = field(default_factory=Counter)
    with_payload: set[tuple[int, int]] = field(default_factory=set)

    def note(self, runs: Sequence[PageRun]) -> None:
        """Count the pages of runs."""
        for run in runs:
            self.kinds[PageKind(run.kind)] += run.count
            pages = [(run.block, run.first_page + index) for index in range(run.count)]
            self.sent.update(pages)
            if run.kind != PageKind.ZERO:
                self.with_payload.update(pages)

    @property
    def page_size_len(self) -> int:
        """The target page size."""
        assert self.capture.page_size is not None
        return self.capture.page_size.length

    @cached_property
    def resent(self) -> set[tuple[int, int]]:
        """Pages that were sent more than once: block, page."""
        return {page for page, times in self.sent.items() if times > 1}

    def is_finally_zero(self, block: int, page: int) -> bool:
        """Tell whether a page ends up as zeros."""
        size = self.page_size_len
        view = self.capture.ram[self.capture.blocks[block].name]
        return not any(view.read(page * size, size))

    def commands(self) -> set[str]:
        """Names of the commands."""
        return {command.name for command in self.capture.stream.commands}

    def section_names(self) -> set[str]:
        """Names of the sections' handlers."""
        return {row.idstr for row in self.capture.stream.sections.rows}


@contextmanager
def opened(what: Recorded) -> Iterator[Seen]:
    """Open a capture, hold that records tile its files, and note its pages on the way."""
    with qmig.open_capture(*what.paths) as capture:
        seen = Seen(capture, what.fixture)
        # Opened once more, because a compressed file is read only once from its beginning.
        with qmig.open_capture(*what.paths) as again:
            _walk_all(again, seen)
        yield seen


def _walk_all(capture: qmig.Capture, seen: Seen) -> None:
    for container in capture.files:
        position = 0
        for span in container.spans:
            assert span.offset == position, (container.path, span)
            position += span.length
        if container.compressed:
            position = 0  # offsets count in the decompressed data from here on
        assert position == container.stream_offset, container.path
        for record in _records_of(container, capture, seen):
            assert record.offset == position, (container.path, record)
            assert record.length >= 0, (container.path, record)  # a device may have no state
            position += record.length
            if isinstance(record, PageBatch):
                seen.note(record.runs)
        end = container.source.end()
        assert position == end, f"{container.path}: records end at {position} of {end} bytes"
        if not container.compressed:
            assert end == Path(container.path).stat().st_size
        if container.role is Role.CHANNEL:
            walk = _channel_walk(container, seen)
            for *_, runs in ChannelPages(walk, seen.capture.blocks).runs():
                seen.note(runs)


def _channel_walk(container: Container, seen: Seen) -> ChannelWalk:
    return ChannelWalk(container.source, container.stream_offset, page_size_len=seen.page_size_len)


def _records_of(
    container: Container, capture: qmig.Capture, seen: Seen
) -> Iterator[Record | PageBatch]:
    main = seen.capture.stream
    match container.role:
        case Role.MAIN:
            yield from capture.records()
        case Role.CHANNEL:
            for item in _channel_walk(container, seen).items():
                if isinstance(item, Record | PageBatch):
                    yield item
        case Role.RECOVERY:
            yield from resumed_walk(container, main).records()
        case Role.PREEMPT:
            yield from PreemptWalk(container.source, container.stream_offset, main).records()


def assert_ram_is_the_guests(seen: Seen) -> None:
    """Hold that each range of RAM that QEMU told about is what qmig reads."""
    truth = seen.fixture.truth
    assert truth is not None, "nothing to compare with"
    missing: Literal["zero", "error"] = "error"
    if _NEVER_SENT & set(seen.fixture.covers):
        missing = "zero"
    known_len = 0
    for name, block in truth.blocks.items():
        view = seen.capture.ram[name]
        assert view.used_length == block.used_length, name
        for item in block.ranges:
            digest = hashlib.sha256()
            for addr in range(item.addr, item.addr + item.length, PIECE_LEN):
                piece_len = min(PIECE_LEN, item.addr + item.length - addr)
                digest.update(view.read(addr, piece_len, missing=missing))
            assert digest.hexdigest() == item.sha256, (name, hex(item.addr), hex(item.length))
            if item.sha256 != hashlib.sha256(bytes(item.length)).hexdigest():
                known_len += item.length
    # A guest of zeros would prove nothing; the smallest one has 4 KiB of filled pages.
    assert known_len >= 4096, truth.blocks.keys()


def assert_formats_are_the_guests(what: Recorded, folder: Path) -> None:
    """Hold that what is taken out in each format has what QEMU told about."""
    assert what.fixture.truth is not None
    folder.mkdir()
    assert compared_formats(what.paths, what.fixture.truth.blocks, folder)


def assert_complete(seen: Seen) -> None:
    """Hold that the capture was read to its end, without a guess where none is needed."""
    capture = seen.capture
    assert capture.errors == []
    walks = [capture.stream, *capture.survey.resumed]
    rows = [row for walk in walks for row in walk.sections.rows]
    assert rows
    incomplete = {row.idstr for row in rows if not row.complete}
    # The connection that broke may end anywhere in a record of its pages.
    assert incomplete <= ({"ram"} if capture.survey.resumed else set())
    if not {"framing:no-footers", "framing:no-vmdesc"} <= set(seen.fixture.covers):
        assert [row.idstr for row in rows if row.extent == "guess"] == []
    assert walks[-1].eof_offset is not None


def assert_release_is_possible(seen: Seen) -> None:
    """Hold that the release that wrote the capture is among those that qmig names."""
    version = seen.fixture.qemu
    assert version is not None
    release = ".".join(version.split(".")[:2])
    if release not in RELEASES:  # newer than this project: what it knows last stands for it
        known = [tuple(map(int, name.split("."))) for name in RELEASES]
        assert tuple(map(int, release.split("."))) > known[-1]
        release = RELEASES[-1]
    assert release in seen.capture.releases, [piece.what for piece in seen.capture.evidence]
