"""Each form that qmig writes, of a guest that runs, is restored by each release that has it.

The guest is a `RestlessGuest`: its pages change from round to round, and at the end it is a guest
that the release itself has saved.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.recorder.record import find_emulator
from qmig.capture.records import PageBatch
from qmig.conversion import skeleton_of
from qmig.limits import MIB
from qmig.memory import PageKind
from qmig.migrate.counters import Counters
from qmig.migrate.migrator import MigrationOptions
from qmig.saving import OutputFormat, SaveOptions, channel_path, save_guest
from qmig.wire.multifd_flags import MultifdCompression
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.interop.restless import RestlessGuest
from tests.interop.restoring import (
    MAPPED,
    MAPPED_MULTIFD,
    YES,
    Source,
    abilities,
    differences,
    machine_types,
    require_goes_on,
    restored,
    state_of,
    truth_differences,
)
from tests.interop.tables import Table
from tests.interop.test_restored import RELEASES, original_state, source_of

ROUNDS: Final = 4
# No downtime is short enough, so there are as many rounds as are allowed.
LIVE: Final = MigrationOptions(max_rounds=ROUNDS, downtime_limit_ms=0)
CHANNELS: Final = 3
CACHE_LEN: Final = 8 * MIB
FLUSH_PROPERTY: Final = "multifd-flush-after-each-section"
EACH_SECTION: Final = ("-global", f"migration.{FLUSH_PROPERTY}=on")


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of output.

    Attributes:
        options: what is written for a release.
        capabilities: what its destination sets.
        compression: of multifd.
        source_release: who recorded the guest; None: the release that restores it.
        arguments: what its destination needs besides.
        kinds: pages that must have been written for the form to be tested.
    """

    options: Callable[[str], SaveOptions]
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    compression: str = "none"
    source_release: str | None = None
    arguments: tuple[str, ...] = ()
    kinds: frozenset[PageKind] = frozenset()


def _stream(*, xbzrle: bool = False, compress: bool = False) -> SaveOptions:
    return SaveOptions(
        OutputFormat.STREAM,
        xbzrle_cache_len=CACHE_LEN if xbzrle else 0,
        compress=compress,
        migration=LIVE,
    )


def _multifd(
    generation: str,
    compression: MultifdCompression = MultifdCompression.NOCOMP,
    *,
    each_section: bool = False,
) -> SaveOptions:
    return SaveOptions(
        OutputFormat.MULTIFD,
        channels=CHANNELS,
        generation=generation,
        compression=compression,
        flush_after_each_section=each_section,
        migration=LIVE,
    )


def _mapped(channels: int) -> SaveOptions:
    return SaveOptions(OutputFormat.MAPPED_RAM, channels=channels, migration=LIVE)


MULTIFD: Final = {"multifd": True}
FORMS: Final = {
    "ordinary stream": Form(options=lambda _: _stream()),
    "XBZRLE": Form(
        options=lambda _: _stream(xbzrle=True),
        capabilities={"xbzrle": True},
        kinds=frozenset({PageKind.XBZRLE}),
    ),
    "compress threads": Form(
        options=lambda _: _stream(compress=True),
        capabilities={"compress": True},
        kinds=frozenset({PageKind.COMPRESSED}),
    ),
    "compress threads, XBZRLE": Form(
        options=lambda _: _stream(xbzrle=True, compress=True),
        capabilities={"compress": True, "xbzrle": True},
        kinds=frozenset({PageKind.COMPRESSED, PageKind.XBZRLE}),
    ),
    "multifd, none": Form(options=_multifd, capabilities=MULTIFD),
    "multifd, zlib": Form(
        options=lambda release: _multifd(release, MultifdCompression.ZLIB),
        capabilities=MULTIFD,
        compression="zlib",
    ),
    "multifd, zstd": Form(
        options=lambda release: _multifd(release, MultifdCompression.ZSTD),
        capabilities=MULTIFD,
        compression="zstd",
    ),
    "multifd of 7.2, for pc-i440fx-7.2": Form(
        options=lambda _: _multifd("7.2"), capabilities=MULTIFD, source_release="7.2"
    ),
    "multifd, flush after each section": Form(
        options=lambda release: _multifd(release, each_section=True),
        capabilities=MULTIFD,
        arguments=EACH_SECTION,
    ),
    "mapped-ram by one thread": Form(options=lambda _: _mapped(1), capabilities=MAPPED),
    "mapped-ram by three threads": Form(
        options=lambda _: _mapped(CHANNELS), capabilities=MAPPED_MULTIFD
    ),
}
TABLE: Final = Table(name="forms", columns=("written live", *RELEASES), rows=list(FORMS))


def write(form: Form, release: str, source: Source, out: Path) -> tuple[list[Path], Counters]:
    """Save a restless guest; return the files, the main one first."""
    options = form.options(release)
    with qmig.open_capture(*source.paths) as capture:
        counters = save_guest(RestlessGuest(capture.ram), skeleton_of(capture), out, options)
    if options.format is not OutputFormat.MULTIFD:
        return [out], counters
    return [out, *(Path(channel_path(out, index)) for index in range(CHANNELS))], counters


def kinds_in(path: Path) -> set[PageKind]:
    """Return the kinds of page records in an ordinary stream."""
    with qmig.open_capture(path) as capture:
        return {
            PageKind(run.kind)
            for item in capture.records()
            if isinstance(item, PageBatch)
            for run in item.runs
        }


def why_not(form: Form, binary: Path, source: Source) -> str | None:
    """Return what a QEMU lacks for a form, as it says itself."""
    able = abilities(binary)
    lacking = sorted(set(form.capabilities) - able.capabilities)
    if lacking:
        return f"no {', '.join(lacking)}"
    if form.compression not in able.compressions:
        return f"no {form.compression}"
    if source.machine not in machine_types(binary):
        return f"no {source.machine}"
    if form.arguments and FLUSH_PROPERTY not in able.properties:
        return "no such property"
    return None


@pytest.mark.qemu
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", FORMS)
def test_form_is_restored(
    name: str, qemus: Path, tmp_path: Path, capture_files: CaptureFiles, update_golden: bool
) -> None:
    form = FORMS[name]
    cells = {}
    for release in RELEASES:
        # A stopped guest: what its own QEMU loaded is what it was.
        fixture = FIXTURES[f"qemu-{form.source_release or release}-ordinary"]
        source = source_of(fixture.name, fixture, capture_files(fixture.name))
        binary = find_emulator(qemus, release)
        lacking = why_not(form, binary, source)
        if lacking is not None:
            cells[release] = lacking
            continue
        files, counters = write(form, release, source, tmp_path / f"{release}.img")
        assert counters.dirty_sync_count >= ROUNDS
        pages = sum(block.used_length for block in source.truth.blocks.values()) // 4096
        assert counters.normal + counters.duplicate + counters.xbzrle_pages > pages, "no rounds"
        assert form.kinds <= (kinds_in(files[0]) if form.kinds else set())
        original = original_state(source, fixture, qemus)
        with restored(
            binary,
            [*source.arguments, *form.arguments],
            files,
            capabilities=form.capabilities,
            parameters=_parameters(form),
        ) as machine:
            assert truth_differences(machine, source.truth) == []
            assert differences(state_of(machine), original) == []
            require_goes_on(machine)
        cells[release] = YES
    assert YES in cells.values()
    if update_golden:
        TABLE.write_row(name, cells)
    TABLE.require_row(name, cells)


def _parameters(form: Form) -> dict[str, int | str | bool]:
    if "multifd" not in form.capabilities:
        return {}
    compression = {} if form.compression == "none" else {"multifd-compression": form.compression}
    return {"multifd-channels": CHANNELS, **compression}


def test_table_has_a_row_for_each_form() -> None:
    rows = TABLE.read()
    assert list(rows) == list(FORMS)
    for name, cells in rows.items():
        assert YES in cells.values(), name
