"""RAM and device state from different places, and RAM alone, in real QEMUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

import qmig
from fixtures.recorder.errors import RecordError
from fixtures.recorder.firmware.image import PASS_ADDR
from fixtures.recorder.machine import Machine
from fixtures.recorder.record import find_emulator
from qmig.conversion import skeleton_of
from qmig.migrate.captured import CapturedGuest
from qmig.migrate.dumps import DumpGuest
from qmig.migrate.overlaid import OverlaidGuest
from qmig.migrate.skeleton import Skeleton
from qmig.saving import OutputFormat, SaveOptions, channel_path, save_guest
from tests.conftest import CaptureFiles
from tests.corpus import FIXTURES
from tests.interop.restoring import (
    MAPPED,
    STATIC,
    Source,
    require_goes_on,
    restored,
    state_of,
)
from tests.interop.test_restored import NEW, RELEASES, original_state, source_of

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(60)]

PASSES: Final = 3
RAM_LEN: Final = 4 << 20
CHANNELS: Final = 2
# Without it a destination insists on a configuration section.
NO_CONFIGURATION: Final = ("-global", "migration.send-configuration=off")
CAPABILITIES: Final = {
    OutputFormat.STREAM: {},
    OutputFormat.MULTIFD: {"multifd": True},
    OutputFormat.MAPPED_RAM: MAPPED,
}

each_release = pytest.mark.parametrize("release", RELEASES)
each_format = pytest.mark.parametrize(
    ("release", "form"),
    [
        pytest.param(release, form, id=f"{release}-{form.value}")
        for release in RELEASES
        for form in CAPABILITIES
        if form is not OutputFormat.MAPPED_RAM or release in NEW
    ],
)


@dataclass(frozen=True)
class Saved:
    """What was saved, and where it can be restored."""

    source: Source
    binary: Path
    form: OutputFormat
    files: list[Path]

    @contextmanager
    def restored(self, *arguments: str) -> Iterator[Machine]:
        with restored(
            self.binary,
            [*self.source.arguments, *arguments],
            self.files,
            capabilities=CAPABILITIES[self.form],
            parameters={"multifd-channels": CHANNELS} if self.form is OutputFormat.MULTIFD else {},
        ) as machine:
            yield machine


def capture_of(release: str, capture_files: CaptureFiles) -> Source:
    name = f"qemu-{release}-ordinary"
    return source_of(name, FIXTURES[name], capture_files(name))


def dump_later(source: Source, binary: Path, folder: Path) -> dict[str, Path]:
    """Let the captured guest run on, and dump its memory as `pmemsave` gives it.

    Where a PC sees something else than its RAM, between 640 KiB and 1 MiB, that is in the dump.
    """
    with restored(binary, source.arguments, source.paths) as machine:
        for _ in range(PASSES):
            require_goes_on(machine)
        machine.execute("stop")
        dumps = {"pc.ram": folder / "ram.dump", "pc.bios": folder / "bios.dump"}
        dumps["pc.ram"].write_bytes(machine.save_physical(0, RAM_LEN))
        dumps["pc.bios"].write_bytes(machine.save_physical(0xFFFF0000, 0x10000))
    return dumps


def written(form: OutputFormat, out: Path) -> list[Path]:
    channels = CHANNELS if form is OutputFormat.MULTIFD else 0
    return [out, *(Path(channel_path(out, index)) for index in range(channels))]


def options(form: OutputFormat, release: str) -> SaveOptions:
    multifd = form is OutputFormat.MULTIFD
    return SaveOptions(
        form,
        channels=1 if form is OutputFormat.STREAM else CHANNELS,
        generation=release if multifd else None,
        migration=STATIC,
    )


def require_memory(machine: Machine, dumps: dict[str, Path]) -> None:
    """Hold that the RAM that is seen is that of the dumps."""
    ram, bios = dumps["pc.ram"].read_bytes(), dumps["pc.bios"].read_bytes()
    seen = state_of(machine).memory
    for addr, data in seen.items():
        assert data == (bios if addr >= RAM_LEN else ram[addr : addr + len(data)]), hex(addr)
    assert any(ram[0x100000:0x200000])


@each_format
def test_dumps_with_the_devices_of_a_capture(
    release: str, form: OutputFormat, qemus: Path, tmp_path: Path, capture_files: CaptureFiles
) -> None:
    source, binary = capture_of(release, capture_files), find_emulator(qemus, release)
    out = tmp_path / "out.img"
    dumps = dump_later(source, binary, tmp_path)
    with (
        qmig.open_capture(*source.paths) as capture,
        OverlaidGuest(CapturedGuest(capture.ram), dumps) as guest,
    ):
        before = capture.ram["pc.ram"].read(PASS_ADDR, 4)
        save_guest(guest, skeleton_of(capture), out, options(form, release))
    assert dumps["pc.ram"].read_bytes()[PASS_ADDR : PASS_ADDR + 4] != before
    original = original_state(source, FIXTURES[source.name], qemus)
    with Saved(source, binary, form, written(form, out)).restored() as machine:
        require_memory(machine, dumps)
        assert state_of(machine).registers == original.registers
        require_goes_on(machine)


@pytest.fixture
def ram_alone(
    release: str, form: OutputFormat, qemus: Path, tmp_path: Path, capture_files: CaptureFiles
) -> tuple[Saved, dict[str, Path]]:
    """Dumps of a real guest, saved with nothing around them."""
    source, binary = capture_of(release, capture_files), find_emulator(qemus, release)
    dumps = dump_later(source, binary, tmp_path)
    out = tmp_path / "out.img"
    with DumpGuest(dumps) as guest:
        save_guest(guest, Skeleton(), out, options(form, release))
    return Saved(source, binary, form, written(form, out)), dumps


@each_format
def test_ram_alone_is_taken_by_a_machine_that_waits_for_no_configuration(
    ram_alone: tuple[Saved, dict[str, Path]],
) -> None:
    saved, dumps = ram_alone
    with pytest.raises(RecordError, match="Configuration section missing"), saved.restored():
        pass
    with saved.restored(*NO_CONFIGURATION) as machine:
        require_memory(machine, dumps)
        # No device state came: the processor stands where it does after a reset.
        assert "EIP=0000fff0" in state_of(machine).registers
        machine.execute("cont")
        assert machine.execute("query-status")["status"] == "running"


@each_release
def test_ram_with_the_name_of_a_machine_is_taken_as_it_is(
    release: str, qemus: Path, tmp_path: Path, capture_files: CaptureFiles
) -> None:
    source, binary = capture_of(release, capture_files), find_emulator(qemus, release)
    dumps = dump_later(source, binary, tmp_path)
    out = tmp_path / "out.img"
    with DumpGuest(dumps) as guest:
        save_guest(
            guest, Skeleton(machine=source.machine), out, options(OutputFormat.STREAM, release)
        )
    with Saved(source, binary, OutputFormat.STREAM, [out]).restored() as machine:
        require_memory(machine, dumps)


@each_release
def test_block_that_a_stream_lacks_is_zero(
    release: str, qemus: Path, tmp_path: Path, capture_files: CaptureFiles
) -> None:
    """The firmware too: an incoming machine does not load it."""
    source, binary = capture_of(release, capture_files), find_emulator(qemus, release)
    dumps = dump_later(source, binary, tmp_path)
    out = tmp_path / "out.img"
    with DumpGuest({"pc.ram": dumps["pc.ram"]}) as guest:
        save_guest(guest, Skeleton(), out, options(OutputFormat.STREAM, release))
    saved = Saved(source, binary, OutputFormat.STREAM, [out])
    assert any(dumps["pc.bios"].read_bytes())
    dumps["pc.bios"].write_bytes(bytes(0x10000))
    with saved.restored(*NO_CONFIGURATION) as machine:
        require_memory(machine, dumps)
