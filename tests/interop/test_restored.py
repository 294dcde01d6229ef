"""Each kind of capture, converted, is restored by real QEMUs: the matrix of docs/interop.md.

In every cell the destination says completed, its RAM is the source's, its registers are those of
a QEMU that loaded the capture as it was, and the guest runs on.
"""

import filecmp
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.catalogue import Fixture
from fixtures.recipes import RECIPES
from fixtures.recorder.errors import RecordError
from fixtures.recorder.machine import Machine
from fixtures.recorder.recipe import Recipe
from fixtures.recorder.record import find_emulator, record
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.interop.judge import recorded
from tests.interop.restoring import (
    MAPPED,
    MAPPED_MULTIFD,
    TWO_CHANNELS,
    YES,
    GuestState,
    Source,
    differences,
    machine_of,
    machine_types,
    require_goes_on,
    restored,
    state_of,
    to_mapped_ram,
    to_stream,
    truth_differences,
    with_machine,
)
from tests.interop.tables import Table

RELEASES: Final = ("5.2", "7.2", "10.0", "11.1")
NEW: Final = ("10.0", "11.1")  # those with mapped-ram
CHANNELS: Final = (1, 4)

_ON_ALL: Final = ("ordinary", "xbzrle", "multifd-none", "multifd-zlib", "devices-q35")
STORED: Final = (
    *(f"qemu-{release}-{kind}" for release in RELEASES for kind in _ON_ALL),
    *(f"qemu-{release}-multifd-zstd" for release in RELEASES[1:]),
    *(f"qemu-{release}-compress{more}" for release in ("5.2", "7.2") for more in ("", "-xbzrle")),
    *(f"qemu-{release}-mapped-multifd-live" for release in NEW),
    *(f"qemu-{release}-background-snapshot" for release in NEW),
    *(f"qemu-{release}-dirty-bitmap" for release in RELEASES),
    *(f"qemu-{release}-multifd-old-machine" for release in NEW),
)


def _fresh() -> dict[str, Recipe]:
    """Recorded anew in each run: a live guest on each release, and one of a type of both new.

    The machine types are named: an alias means another one from release to release.
    """
    found = {}
    for release, machine, suffix in (
        *((release, release, "") for release in RELEASES),
        ("11.1", "10.0", ", pc-i440fx-10.0"),
    ):
        recipe = RECIPES[f"qemu-{release}-live"]
        arguments = with_machine(recipe.arguments, f"pc-i440fx-{machine}")
        found[f"{recipe.name}{suffix}"] = replace(recipe, arguments=arguments)
    return found


FRESH: Final = _fresh()


def _kind(name: str) -> tuple[int, str]:
    release = name.split("-")[1]
    return RELEASES.index(release), name


NAMES: Final = sorted([*STORED, *FRESH], key=_kind)
STREAM: Final = "ordinary stream"
REFUSED_ALIKE: Final = "refused, as the capture itself"
COLUMNS: Final = (
    "capture",
    *(f"mapped-ram in {release}{with_}" for release in NEW for with_ in ("", " with multifd")),
    STREAM,
)
TABLE: Final = Table(name="restored", columns=COLUMNS, rows=NAMES)


def source_of(name: str, fixture: Fixture, paths: list[Path]) -> Source:
    machine = machine_of(paths)
    assert fixture.truth is not None
    return Source(
        name=name,
        release=name.split("-")[1],
        machine=machine,
        arguments=with_machine(fixture.command[1:], machine),
        paths=paths,
        truth=fixture.truth,
    )


@pytest.fixture
def find_source(
    qemus: Path, tmp_path: Path, capture_files: CaptureFiles
) -> Callable[[str], tuple[Source, Fixture]]:
    def find(name: str) -> tuple[Source, Fixture]:
        if name not in FRESH:
            fixture = FIXTURES[name]
            return source_of(name, fixture, capture_files(name)), fixture
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        what = recorded(FRESH[name].name, record(FRESH[name], qemus, fresh), fresh)
        return source_of(name, what.fixture, list(what.paths)), what.fixture

    return find


class Row:
    """The cells of one source, and what went wrong in them."""

    def __init__(self, source: Source, fixture: Fixture, qemus: Path) -> None:
        self.cells: dict[str, str] = {}
        self.failed: list[str] = []
        self._source = source
        self._fixture = fixture
        self._original = original_state(source, fixture, qemus)
        self._qemus = qemus

    def restore(
        self,
        column: str,
        release: str,
        file: Path,
        *,
        capabilities: Mapping[str, bool] | None = None,
        parameters: Mapping[str, int | str | bool] | None = None,
    ) -> None:
        """Restore a file in a release, unless that does not know the machine."""
        binary = find_emulator(self._qemus, release)
        if self._source.machine not in machine_types(binary):
            self.cells[column] = f"no {self._source.machine}"
            return
        wrong = []
        try:
            with restored(
                binary,
                self._source.arguments,
                [file],
                capabilities=capabilities,
                parameters=parameters,
            ) as machine:
                wrong += truth_differences(machine, self._source.truth)
                wrong += differences(state_of(machine), self._original)
                require_goes_on(machine)
        except RecordError as error:
            if self._refuses_original(binary, reason_of(error)):
                self.cells[column] = REFUSED_ALIKE
                return
            wrong.append(str(error))
        self.cells[column] = YES if not wrong else "FAILED"
        self.failed += [f"{column}, {file.name}: {text}" for text in wrong]

    def _refuses_original(self, binary: Path, reason: str) -> bool:
        """Tell whether a QEMU refuses the capture as it was, and for the same reason.

        Some device states are not compatible from release to release, whoever wrote the stream.
        """
        try:
            with load_original(binary, self._source, self._fixture):
                return False
        except RecordError as error:
            return reason_of(error) == reason


def load_original(
    binary: Path, source: Source, fixture: Fixture
) -> AbstractContextManager[Machine]:
    """Load a capture as it was."""
    return restored(
        binary,
        source.arguments,
        source.paths,
        capabilities=fixture.capabilities,
        parameters=fixture.parameters,
    )


def original_state(source: Source, fixture: Fixture, qemus: Path) -> GuestState:
    """Load a capture in the release that wrote it, and read that guest."""
    with load_original(find_emulator(qemus, source.release), source, fixture) as machine:
        assert truth_differences(machine, source.truth) == []
        return state_of(machine)


def reason_of(error: RecordError) -> str:
    """Return the last line that QEMU printed: why it did not load."""
    return str(error).splitlines()[-1]


@pytest.mark.qemu
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_converted_capture_is_restored(
    name: str,
    find_source: Callable[[str], tuple[Source, Fixture]],
    qemus: Path,
    tmp_path: Path,
    update_golden: bool,
) -> None:
    source, fixture = find_source(name)
    row = Row(source, fixture, qemus)
    one, four = (tmp_path / f"mapped-{channels}.img" for channels in CHANNELS)
    for out, channels in zip((one, four), CHANNELS, strict=True):
        to_mapped_ram(source, out, channels)
    # So what is restored from the one would be from the other.
    assert filecmp.cmp(one, four, shallow=False)
    for release in NEW:
        column = f"mapped-ram in {release}"
        row.restore(column, release, one, capabilities=MAPPED)
        row.restore(
            f"{column} with multifd",
            release,
            four,
            capabilities=MAPPED_MULTIFD,
            parameters=TWO_CHANNELS,
        )
    out = tmp_path / "stream.img"
    to_stream(source, out)
    row.restore(STREAM, source.release, out)
    assert row.failed == []
    assert row.cells[STREAM] == YES  # the release that wrote it knows its machine
    if update_golden:
        TABLE.write_row(name, row.cells)
    TABLE.require_row(name, row.cells)


def test_table_has_a_row_for_each_capture() -> None:
    rows = TABLE.read()
    assert list(rows) == NAMES
    for name, cells in rows.items():
        assert set(cells) == set(COLUMNS[1:]), name
        assert all(
            text in (YES, REFUSED_ALIKE) or text.startswith("no ") for text in cells.values()
        ), name
        assert YES in cells.values(), name


@pytest.mark.qemu
def test_comparison_tells_a_byte(qemus: Path, tmp_path: Path, capture_files: CaptureFiles) -> None:
    """The same cell over a file in which one byte of one page is another one."""
    name = "qemu-10.0-ordinary"
    source = source_of(name, FIXTURES[name], capture_files(name))
    row = Row(source, FIXTURES[name], qemus)
    out = tmp_path / "mapped.img"
    to_mapped_ram(source, out, 1)
    page = page_of(out, 0x100000)
    data = out.read_bytes()
    assert data.count(page) == 1  # the page of a number of its own
    at = data.index(page)
    out.write_bytes(data[: at + 5] + bytes([data[at + 5] ^ 1]) + data[at + 6 :])
    row.restore("cell", "10.0", out, capabilities=MAPPED)
    assert row.cells == {"cell": "FAILED"}
    assert len(row.failed) == 2
    assert "pc.ram differs" in row.failed[0]
    assert "memory from 0x100000 on differs" in row.failed[1]


def page_of(path: Path, addr: int) -> bytes:
    with qmig.open_capture(path) as capture:
        return capture.ram["pc.ram"].read(addr, 4096)
