"""Whatever is damaged in a fixture: an error of qmig's own, soon, in bounded memory.

Every fixture is cut at borders of records and anywhere, and has bytes changed in lengths, counts,
offsets and flags and anywhere. What a user sees is asked for each time: the report with all its
parts, and every other time RAM. `--thorough` tries for each fixture 200 cuts at borders of records,
200 cuts anywhere and 200 changed bytes; the plain test run a tenth of that, and half as many
borders. Both try the same each time.
"""

import re
import resource
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import qmig
from qmig.capture.capture import Capture
from qmig.capture.channel import Packet
from qmig.capture.container import Role
from qmig.capture.remarks import remarks
from qmig.errors import QmigError, SourceError, StreamError, TruncatedStreamError
from qmig.memory import PageKind
from qmig.render.jsonout import json_text
from qmig.render.report import build_report
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES, each_fixture, streams
from tests.property.damage import Damage, Places
from tests.property.patience import soon

CASES = 200
READ_LEN = 64 * 1024
MEMORY_LEN = 512 << 20  # of address space, on top of what the tests hold and of the files mapped

ROW = tuple[int, int, str, int, int, int, int]


# 140,000 runs each, or large and sparse: up to two seconds a case.
SLOW = (
    "qemu-9.2-xbzrle",
    "qemu-10.1-xbzrle",
    "qemu-10.0-ppc64-mapped",
    "qemu-10.0-riscv64-live",
    "qemu-10.0-riscv64-stopped",
    "libvirt-12-sparse-partial",
)
# The slowest of them need half an hour with `--thorough`.
pytestmark = pytest.mark.timeout(3000)


@pytest.fixture
def cases(pytestconfig: pytest.Config, name: str) -> int:
    """How many cases of each sort a fixture gets."""
    if pytestconfig.getoption("--thorough"):
        return CASES
    return CASES // 50 if name in SLOW else CASES // 10


@contextmanager
def bounded_memory(files: list[Path]) -> Iterator[None]:
    """Let the process grow by `MEMORY_LEN` only; more is a MemoryError."""
    statm = Path("/proc/self/statm").read_text().split()
    now = int(statm[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    mapped = 2 * sum(path.stat().st_size for path in files)
    resource.setrlimit(resource.RLIMIT_AS, (now + mapped + MEMORY_LEN, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def look_at(capture: Capture, *, at_ram: bool = True) -> None:
    """Ask for all that a user sees of a capture."""
    json_text(build_report(capture))
    if not at_ram:
        return
    try:
        ram = capture.partial_ram
    except QmigError as error:
        assert_one_line(error)
        return
    for view in ram.values():
        for addr in (0, view.used_length // 2 & ~0xFFF):
            try:
                view.read(addr, min(READ_LEN, view.used_length - addr), missing="zero")
            except QmigError as error:
                assert_one_line(error)


def examined(files: list[Path], *, at_ram: bool = True) -> tuple[list[QmigError], list[ROW], bool]:
    """Open damaged files and look at them.

    Args:
        files: a capture.
        at_ram: read from its RAM, too.

    Returns:
        The errors, the sections that were read, and whether something stands behind the end.
    """
    trailing = False
    with soon():
        try:
            with qmig.open_capture(*files) as capture:
                look_at(capture, at_ram=at_ram)
                found: list[QmigError] = list(capture.errors)
                rows = whole_rows(capture)
                walk = capture.survey.walk
                trailing = walk is not None and walk.trailing is not None
        except QmigError as error:
            found, rows = [error], []
    for what in found:
        assert_one_line(what)
    return found, rows, trailing


def whole_rows(capture: Capture) -> list[ROW]:
    """Return the sections that were read whole, but for PARTs, which share a row."""
    walk = capture.survey.walk
    return [
        (row.kind, row.section_id, row.idstr, row.instance_id, row.version_id, row.offset,
         row.length)
        for row in (walk.sections.rows if walk else ())
        if row.complete and row.word != "PART"
    ]  # fmt: skip


LINE = re.compile(
    r"(?P<path>.+?): 0x(?P<offset>[0-9a-f]{8,}) (?P<record>.+): expected .+, found .+"
)


def assert_one_line(error: QmigError) -> None:
    """Check that an error says in one line what, where, what was wanted and what there was."""
    text = str(error)
    assert "\n" not in text
    assert text.isprintable(), repr(text)
    if isinstance(error, StreamError):
        match = LINE.match(text)
        assert match is not None, text
        assert int(match["offset"], 16) == error.offset
        assert error.path is not None
        assert match["path"] == error.path
        assert error.record
        assert error.expected
        assert error.found
    elif isinstance(error, SourceError):
        assert text.startswith(f"{error.path}: ")
        assert error.reason


@dataclass(frozen=True)
class Whole:
    """What there is to lose: the sections of a whole capture.

    Attributes:
        rows: as `whole_rows` has them.
        footers: whether sections have footers.
        resumed: whether the main stream broke off and was resumed.
    """

    rows: list[ROW]
    footers: bool
    resumed: bool

    @property
    def ram_end(self) -> int:
        """Where the last section of `ram` ends."""
        return max((row[5] + row[6] for row in self.rows if row[2] == "ram"), default=0)

    def must_be_noticed(self, places: Places, length: int) -> bool:
        """Tell whether the bytes that are left cannot be all of a file."""
        if length in places.whole or (places.role is Role.MAIN and self.resumed):
            return False
        # Without footers a section may end wherever a zero byte can be taken for EOF.
        return self.footers or places.role is not Role.MAIN or length <= self.ram_end

    def rows_before(self, places: Places, length: int, found: list[ROW]) -> list[ROW]:
        """Return the sections that must still be read from a main stream that was cut."""
        if places.compressed:
            return self.rows[: len(found)]
        rows = [row for row in self.rows if row[5] + row[6] <= length]
        if not rows and found and length == found[0][5] + found[0][6]:
            return found  # the first section without its footer: it might have none
        return rows


@each_fixture
def test_a_cut_is_named_and_what_was_before_it_is_read(
    name: str, capture_files: CaptureFiles, tmp_path: Path, cases: int
) -> None:
    damage = Damage(capture_files(name), tmp_path, f"cut {name}")
    with qmig.open_capture(*damage.copies) as capture:
        look_at(capture)
        whole = Whole(
            whole_rows(capture), capture.stream.footers is not False, bool(capture.recovery_files)
        )
    cuts = damage.border_cuts(cases if cases == CASES else cases // 2) + damage.random_cuts(cases)
    done = 0
    with bounded_memory(damage.copies):
        for index, length in damage.cut_copies(cuts):
            found, rows, trailing = examined(damage.copies, at_ram=done % 2 == 0)
            places = damage.places[index]
            where = f"{places.path.name} cut at {length}"
            # A cut amid zeros of a body can look like an end with padding; that is told, too.
            if whole.must_be_noticed(places, length) and not trailing:
                assert found, where
                assert_names_cut(found, places, length)
            if places.role is Role.MAIN and whole.footers and not trailing:
                assert rows == whole.rows_before(places, length, rows), where
            done += 1
    assert done >= min(cases, 3)


def assert_names_cut(found: list[QmigError], places: Places, length: int) -> None:
    """Check that one of the errors is about the cut: the file, a byte before it, the missing."""
    about = [e for e in found if getattr(e, "path", None) and places.path.name in str(e)]
    assert about
    for error in about:
        if isinstance(error, StreamError) and "(" not in str(error.path):
            assert error.offset <= length
        if isinstance(error, TruncatedStreamError):
            assert error.available_len < error.wanted_len


@each_fixture
def test_changed_bytes_do_no_harm(
    name: str, capture_files: CaptureFiles, tmp_path: Path, cases: int
) -> None:
    damage = Damage(capture_files(name), tmp_path, f"flip {name}")
    with qmig.open_capture(*damage.copies) as capture:
        look_at(capture)
    with bounded_memory(damage.copies):
        for number, (index, at, byte) in enumerate(damage.flips(cases)):
            with damage.flipped(index, at, byte):
                examined(damage.copies, at_ram=number % 2 == 0)
                if number % 5 == 0:
                    assert_still_tiled(damage.copies)


def assert_still_tiled(files: list[Path]) -> None:
    """Check that every byte still belongs to one record, damaged or not."""
    try:
        with qmig.open_capture(*files) as capture:
            for container, items in streams(capture):
                at = container.stream_offset
                for item in items:
                    if not isinstance(item, Packet):
                        assert item.offset == at, item
                        at += item.length
                assert at == container.source.end()
    except QmigError as error:
        assert_one_line(error)


WITH_RECORDS = [
    name for name, fixture in FIXTURES.items()
    if len(fixture.files) == 1 and fixture.files[0].role == "main" and fixture.truth
    and not any(cover.startswith("mapped-ram") for cover in fixture.covers)
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_RECORDS)
def test_pages_before_a_cut_are_still_read(
    name: str, capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """Cut amid the pages: each page read is its last version before the cut, as a dict has it."""
    damage = Damage(capture_files(name), tmp_path, f"pages {name}")
    (path,) = damage.copies
    data = path.read_bytes()
    with qmig.open_capture(path) as capture:
        size = capture.ram.page_size_len
        ends = [end for _, _, end in recorded_pages(capture)]
    middle = ends[len(ends) * 2 // 3] + 1 if len(ends) > 2 else ends[-1]
    for _ in damage.cut_copies([(0, middle)]):
        with qmig.open_capture(path) as capture:
            assert capture.errors
            model: dict[tuple[int, int], bytes | None] = {}
            for (block, page), content, end in recorded_pages(capture, data, size):
                assert end <= middle
                model[block, page] = content
            wanted: dict[int, dict[int, bytes]] = defaultdict(dict)
            for (block, page), content in model.items():
                if content is not None:  # not one that needs its decoder
                    wanted[block][page] = content
            views = list(capture.partial_ram.values())
            assert sum(map(len, wanted.values())) > 4
            for block, pages in wanted.items():
                whole = views[block].read(0, views[block].used_length, missing="zero")
                for page, content in pages.items():
                    assert whole[page * size : (page + 1) * size] == content
            missing = [view.missing_pages() for view in views]
            sent = [sum(key[0] == index for key in model) for index in range(len(views))]
            pages_of = [view.used_length // size for view in views]
            assert missing == [all_ - some for all_, some in zip(pages_of, sent, strict=True)]


def recorded_pages(
    capture: Capture, data: bytes = b"", size: int = 0
) -> Iterator[tuple[tuple[int, int], bytes | None, int]]:
    """Yield block and page, content (None: encoded), and the end of each record."""
    for _, items in streams(capture):
        for item in items:
            for run in getattr(item, "runs", ()):
                for i in range(run.count):
                    at = run.data_offset + i * run.stride_len
                    payload = data[at : at + run.payload_len]
                    content = None
                    if run.kind in (PageKind.ZERO, PageKind.FILL):
                        content = payload * size
                    elif run.kind == PageKind.PLAIN:
                        content = payload
                    yield (run.block, run.first_page + i), content, at + run.payload_len


def test_a_channel_without_its_last_sync_is_remarked(
    capture_files: CaptureFiles, tmp_path: Path
) -> None:
    """A cut between packets leaves no trace in a channel; the count of its SYNCs does."""
    name = "qemu-10.0-multifd-none"
    damage = Damage(capture_files(name), tmp_path, name)
    index = next(i for i, places in enumerate(damage.places) if places.role is Role.CHANNEL)
    cuts = [
        (index, at) for at in sorted(damage.places[index].whole) if at < damage.places[index].length
    ]
    assert len(cuts) > 5
    for _ in damage.cut_copies(cuts):
        with qmig.open_capture(*damage.copies) as capture:
            assert capture.errors == []
            assert any("SYNC" in remark.text for remark in remarks(capture))
