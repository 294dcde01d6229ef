"""Captures that libvirt made, converted: restored by libvirt itself and by a bare QEMU."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.recipes.common import pc
from fixtures.recorder import libvirt
from fixtures.recorder.firmware.image import PASS_ADDR, load_image
from fixtures.recorder.libvirt import DOMAIN, READY_SECONDS
from fixtures.recorder.libvirt_daemon import SHARED, LibvirtDaemon
from fixtures.recorder.recipe import FIRMWARE_NAME, mapped_ram_block
from fixtures.recorder.record import find_emulator
from qmig.conversion import skeleton_of
from qmig.migrate.captured import CapturedGuest
from qmig.saving import LibvirtOptions, OutputFormat, SaveOptions, save_guest
from qmig.wire.libvirt import QemuSaveFormat
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.interop.judge import Recorded, recorded
from tests.interop.restoring import (
    MAPPED,
    MAPPED_MULTIFD,
    STATIC,
    TWO_CHANNELS,
    YES,
    Source,
    machine_of,
    machine_types,
    plain_registers,
    require_goes_on,
    restored,
    state_of,
    to_mapped_ram,
    to_stream,
    truth_differences,
    with_machine,
)
from tests.interop.tables import Table
from tests.interop.test_restored import NEW, STREAM

# The domain has no ACPI, as libvirt starts it, and nothing else that a bare PC lacks.
ARGUMENTS: Final = pc(machine="pc,acpi=off")
STORED: Final = ("libvirt-12-raw", "libvirt-12-zstd", "libvirt-12-sparse")
# Recorded anew in each run, with a machine type that 10.0 knows as well.
OLDER_MACHINE: Final = "pc-i440fx-10.0"
FRESH: Final = {f"{name}, {OLDER_MACHINE}": name for name in STORED}
NAMES: Final = (*STORED, *FRESH)
INTO: Final = {  # an image is converted to each
    "libvirt raw": QemuSaveFormat.RAW,
    "libvirt zstd": QemuSaveFormat.ZSTD,
    "libvirt sparse": QemuSaveFormat.SPARSE,
}
COLUMNS: Final = (
    "capture",
    *(f"mapped-ram in {release}{with_}" for release in NEW for with_ in ("", " with multifd")),
    f"{STREAM} in 11.1",
    *INTO,
)
TABLE: Final = Table(name="restored from libvirt", columns=COLUMNS, rows=NAMES)
RAM: Final = {item.addr: item for item in mapped_ram_block("pc.ram", 4 << 20)}


@dataclass(frozen=True)
class Seen:
    """A guest of libvirt that stands still."""

    registers: str
    memory: dict[int, bytes]


@pytest.fixture(scope="module")
def fresh(qemus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recorded]:
    """Images of a domain of the older machine type."""
    found = {}
    for row, name in FRESH.items():
        directory = tmp_path_factory.mktemp("fresh")
        recipe = replace(libvirt.RECIPES[name], machine=OLDER_MACHINE)
        found[row] = recorded(name, libvirt.record(recipe, qemus, directory), directory)
    return found


@pytest.fixture(scope="module")
def daemon(
    qemus: Path,
    tmp_path_factory: pytest.TempPathFactory,
    fresh: dict[str, Recorded],  # they have a daemon of their own, and there is one at a time
) -> Iterator[LibvirtDaemon]:
    root = qemus / "libvirt"
    assert root.is_dir(), f"{root} is missing: get-libvirt {qemus} puts it in place"
    directory = tmp_path_factory.mktemp("libvirt")
    (directory / FIRMWARE_NAME).write_bytes(load_image())
    with LibvirtDaemon(root, directory) as daemon:
        yield daemon


@contextmanager
def restored_by_libvirt(daemon: LibvirtDaemon, image: Path) -> Iterator[Seen]:
    """Restore an image paused, and destroy the guest in the end."""
    inside = daemon.directory / f"restored-{image.name}"
    shutil.copyfile(image, inside)
    daemon.virsh("restore", f"{SHARED}/{inside.name}", "--paused")
    try:
        assert daemon.virsh("domstate", DOMAIN) == "paused"
        shown = daemon.virsh("qemu-monitor-command", DOMAIN, "--hmp", "info registers")
        memory = {
            item.physical_addr: daemon.save_physical(DOMAIN, item.physical_addr, item.length)
            for item in RAM.values()
        }
        yield Seen(plain_registers(shown), memory)
    finally:
        daemon.virsh("destroy", DOMAIN)
        inside.unlink()


def require_domain_goes_on(daemon: LibvirtDaemon) -> None:
    before = daemon.read_word(DOMAIN, PASS_ADDR)
    daemon.virsh("resume", DOMAIN)
    daemon.wait_for(
        lambda: daemon.read_word(DOMAIN, PASS_ADDR) > before, "further pass", READY_SECONDS
    )


def to_libvirt(source: Source, out: Path, save_format: QemuSaveFormat) -> None:
    """Convert to an image, with the XML and cookie of the image that it was."""
    sparse = save_format is QemuSaveFormat.SPARSE
    (path,) = source.paths
    with qmig.open_capture(path) as capture:
        assert capture.main is not None
        assert capture.main.libvirt is not None
        options = SaveOptions(
            OutputFormat.MAPPED_RAM if sparse else OutputFormat.STREAM,
            channels=4 if sparse else 1,
            libvirt=LibvirtOptions(
                xml=capture.main.libvirt.xml,
                cookie=capture.main.libvirt.cookie,
                save_format=save_format,
            ),
            migration=STATIC,
        )
        save_guest(CapturedGuest(capture.ram), skeleton_of(capture), out, options)


@pytest.mark.qemu
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", NAMES)
def test_converted_image_is_restored(
    name: str,
    daemon: LibvirtDaemon,
    qemus: Path,
    tmp_path: Path,
    capture_files: CaptureFiles,
    fresh: dict[str, Recorded],
    update_golden: bool,
) -> None:
    if name in FRESH:
        paths, truth = list(fresh[name].paths), fresh[name].fixture.truth
    else:
        paths, truth = capture_files(name), FIXTURES[name].truth
    assert truth is not None
    machine = machine_of(paths)
    source = Source(
        name=name,
        release="11.1",
        machine=machine,
        arguments=with_machine(ARGUMENTS, machine),
        paths=paths,
        truth=truth,
    )
    with restored_by_libvirt(daemon, paths[0]) as original:
        pass
    cells = by_bare_qemus(source, original, qemus, tmp_path)
    for column, save_format in INTO.items():
        image = tmp_path / f"{save_format.name}.save"
        to_libvirt(source, image, save_format)
        with restored_by_libvirt(daemon, image) as seen:
            assert seen == original
            require_domain_goes_on(daemon)
        cells[column] = YES
    if update_golden:
        TABLE.write_row(name, cells)
    TABLE.require_row(name, cells)


def by_bare_qemus(source: Source, original: Seen, qemus: Path, folder: Path) -> dict[str, str]:
    """Restore a converted image where no libvirt is."""
    mapped, stream = folder / "mapped.img", folder / "stream.img"
    to_mapped_ram(source, mapped, 4)
    to_stream(source, stream)
    cells = {}
    for column in COLUMNS[1 : -len(INTO)]:
        how, _, release = column.removesuffix(" with multifd").partition(" in ")
        binary = find_emulator(qemus, release)
        if source.machine not in machine_types(binary):
            cells[column] = f"no {source.machine}"
            continue
        multifd = column.endswith(" with multifd")
        capabilities = MAPPED_MULTIFD if multifd else MAPPED if how == "mapped-ram" else {}
        with restored(
            binary,
            source.arguments,
            [mapped if how == "mapped-ram" else stream],
            capabilities=capabilities,
            parameters=TWO_CHANNELS if multifd else {},
        ) as guest:
            assert truth_differences(guest, source.truth) == []
            state = state_of(guest)
            assert state.registers == original.registers
            assert {addr: state.memory[addr] for addr in original.memory} == original.memory
            require_goes_on(guest)
        cells[column] = YES
    return cells


def test_table_has_a_row_for_each_image() -> None:
    rows = TABLE.read()
    assert list(rows) == list(NAMES)
    for cells in rows.values():
        assert [cells[column] for column in INTO] == [YES] * len(INTO)
