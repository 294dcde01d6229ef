"""Record a real Linux guest: `python -m tests.linux.record DEST --qemus DIR`.

DIR is the folder that `fixtures/recorder/get-qemus` and `get-libvirt` were given: its QEMU 10.0
writes the captures, and libvirt's own QEMU the one of libvirt. DEST gets the captures, with each
what QEMU said of the guest that stood still for it, and the kernel with its debug symbols. What is
there already is kept.

The guest boots once for each machine. Of the stopped PC there are several captures: its ordinary
stream is loaded again, and that QEMU, whose guest never ran, writes the next form.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from fixtures.recorder.debian_guest import BootFiles
from fixtures.recorder.errors import RecordError
from fixtures.recorder.libvirt_daemon import SHARED, LibvirtDaemon
from fixtures.recorder.machine import Machine
from fixtures.recorder.recipe import Pace, Recipe, ToFile, ToSocket, Transport
from fixtures.recorder.record import find_emulator
from fixtures.recorder.replay import loaded
from fixtures.recorder.transport import run_migration
from tests.linux.captured import (
    BOOT_FOLDER,
    BOOTS,
    DEBUG_FOLDER,
    LIST_NAME,
    LinuxCapture,
    read_list,
    write_list,
)
from tests.linux.guest import (
    COMMAND_LINE,
    PC,
    Q35,
    READY,
    LinuxMachine,
    boot_files,
    debug_kernel,
)

RELEASE: Final = "10.0"
BOOT_SECONDS: Final = 600.0
COMMAND_SECONDS: Final = 120.0
_REGISTERS: Final = "info registers -a"
_CONSOLE: Final = "console"
_DUMP: Final = "core.dump"
_DOMAIN: Final = "linux"
_PACE: Final = Pace(rounds=4, bytes_per_second=100_000_000)
# Of a guest that never ran again: name, capabilities, parameters, where to, and what it is.
_FORMS: Final[
    tuple[tuple[str, dict[str, bool], dict[str, int | str | bool], Transport, str], ...]
] = (
    ("pc-mapped-ram", {"mapped-ram": True}, {}, ToFile(), "the same guest, mapped-ram"),
    (
        "pc-multifd",
        {"multifd": True},
        {"multifd-channels": 2, "multifd-compression": "zstd"},
        ToSocket(),
        "the same guest, multifd with zstd",
    ),
)
_DOMAIN_XML: Final = """\
<domain type='qemu'>
  <name>{domain}</name>
  <memory unit='MiB'>512</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{shared}/{kernel}</kernel>
    <initrd>{shared}/{initrd}</initrd>
    <cmdline>{command_line}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path='{shared}/{console}'/></serial>
  </devices>
</domain>
"""


class Recorder:
    """Makes the captures of one recording.

    Args:
        dest: where they go.
        qemus: the folder of QEMUs and libvirt.
        boot: what the guest boots from.
    """

    def __init__(self, dest: Path, qemus: Path, boot: BootFiles) -> None:
        self.captures: list[LinuxCapture] = []
        self._dest = dest
        self._qemus = qemus
        self._binary = find_emulator(qemus, RELEASE)
        self._boot = boot

    def record_pc(self) -> None:
        """Record the stopped PC in each form, and then while its guest runs."""
        with self._booted(PC) as machine:
            machine.execute("stop")
            said = machine.monitor_line(_REGISTERS)
            ordinary = self._recipe(PC, "pc-stopped")
            first = self._take(machine, ordinary, PC, "stopped, an ordinary stream")
            for name, capabilities, parameters, transport, text in _FORMS:
                recipe = replace(
                    self._recipe(PC, name),
                    capabilities=capabilities,
                    parameters=parameters,
                    transport=transport,
                )
                self._take_again(first, said, recipe, text)
            machine.execute("cont")
            live = replace(self._recipe(PC, "pc-live"), live=True, pace=_PACE)
            self._take(machine, live, PC, f"running meanwhile, {_PACE.rounds} rounds or more")

    def record_q35(self) -> None:
        """Record the stopped Q35."""
        with self._booted(Q35) as machine:
            machine.execute("stop")
            text = "stopped; RAM in two ranges, an Intel CPU, device vmcoreinfo"
            self._take(machine, self._recipe(Q35, "q35-stopped"), Q35, text)

    def record_libvirt(self) -> None:
        """Record libvirt's image of a stopped guest, compressed with zstd."""
        name = "libvirt-zstd"
        with tempfile.TemporaryDirectory(prefix="qmig-") as scratch:
            directory = Path(scratch)
            for file in (self._boot.kernel, self._boot.initramfs):
                shutil.copy(file, directory / file.name)
            (directory / "domain.xml").write_text(
                _DOMAIN_XML.format(
                    domain=_DOMAIN,
                    shared=SHARED,
                    kernel=self._boot.kernel.name,
                    initrd=self._boot.initramfs.name,
                    command_line=COMMAND_LINE,
                    console=_CONSOLE,
                )
            )
            with LibvirtDaemon(self._qemus.absolute() / "libvirt", directory) as daemon:
                daemon.virsh("create", f"{SHARED}/domain.xml")
                daemon.wait_for(lambda: _ready(directory), "ready guest", BOOT_SECONDS)
                daemon.virsh("suspend", _DOMAIN)
                said = daemon.virsh("qemu-monitor-command", _DOMAIN, "--hmp", _REGISTERS)
                dump = {"paging": False, "protocol": f"file:{SHARED}/{_DUMP}"}
                daemon.monitor(_DOMAIN, "dump-guest-memory", **dump)
                versions = daemon.virsh("version").splitlines()
                image = f"{name}.save"
                daemon.virsh("save", _DOMAIN, f"{SHARED}/{image}", "--image-format", "zstd")
            (qemu,) = (line.split()[-1] for line in versions if "Running hypervisor" in line)
            self._keep_console(directory, name)
            text = "stopped, libvirt's image, zstd"
            self._keep(
                _capture(name, (image,), name, qemu, text), [directory / image], directory, said
            )

    def _recipe(self, kind: LinuxMachine, name: str) -> Recipe:
        """Return how an ordinary stream of a machine is recorded."""
        return Recipe(
            name=name,
            qemu=RELEASE,
            covers=(),
            arguments=kind.command_line(self._boot, _CONSOLE),
            transport=ToFile(),
        )

    @contextmanager
    def _booted(self, kind: LinuxMachine) -> Iterator[Machine]:
        """Start a machine and wait until the guest says that it is ready."""
        with tempfile.TemporaryDirectory(prefix="qmig-") as scratch:
            directory = Path(scratch)
            arguments = kind.command_line(self._boot, _CONSOLE)
            with Machine(
                self._binary, arguments, directory, label=kind.name, command_seconds=COMMAND_SECONDS
            ) as machine:
                machine.wait_for(lambda: _ready(directory), "ready guest", BOOT_SECONDS)
                self._keep_console(directory, kind.name)
                yield machine

    def _take(
        self, machine: Machine, recipe: Recipe, kind: LinuxMachine, text: str
    ) -> LinuxCapture:
        """Migrate into files, and ask of the guest that stands still since then or before."""
        machine.set_migration(recipe.capabilities, recipe.parameters)
        recording = run_migration(machine, recipe, self._binary)
        rounds = machine.migration()["ram"]["dirty-sync-count"]
        if recipe.live and rounds < recipe.pace.rounds:
            raise machine.error(f"{recipe.name}: only {rounds} rounds")
        said = machine.monitor_line(_REGISTERS)
        machine.execute("dump-guest-memory", {"paging": False, "protocol": f"file:{_DUMP}"})
        version = "{major}.{minor}.{micro}".format(**machine.execute("query-version")["qemu"])
        found = sorted(recording.files, key=lambda file: file.role != "main")
        names = [f"{recipe.name}.mig"]
        names += [f"{recipe.name}.channel-{at}" for at in range(1, len(found))]
        capture = _capture(recipe.name, tuple(names), kind.name, version, text)
        return self._keep(capture, [file.path for file in found], machine.directory, said)

    def _take_again(self, first: LinuxCapture, said: str, recipe: Recipe, text: str) -> None:
        """Load a capture of the stopped guest, and save it in another form."""
        paths = [self._dest / file for file in first.files]
        with (
            tempfile.TemporaryDirectory(prefix="qmig-") as scratch,
            loaded(self._binary, recipe.arguments, paths, Path(scratch)) as machine,
        ):
            found = machine.monitor_line(_REGISTERS)
            if found != said:
                raise machine.error(f"another guest was loaded: {found}\ninstead of {said}")
            self._take(machine, recipe, PC, text)

    def _keep(
        self, capture: LinuxCapture, paths: Sequence[Path], directory: Path, said: str
    ) -> LinuxCapture:
        """Move the files of a capture, and QEMU's dump, from a directory to where they stay."""
        for file, path in zip(capture.files, paths, strict=True):
            shutil.move(path, self._dest / file)
        (self._dest / capture.registers).write_text(said)
        shutil.move(directory / _DUMP, self._dest / capture.dump)
        self.captures.append(capture)
        return capture

    def _keep_console(self, directory: Path, boot: str) -> None:
        shutil.copy(directory / _CONSOLE, self._dest / f"{boot}.console")


def _capture(name: str, files: tuple[str, ...], boot: str, qemu: str, text: str) -> LinuxCapture:
    return LinuxCapture(
        name=name,
        files=files,
        registers=f"{name}.registers",
        dump=f"{name}.dump",
        console=f"{boot}.console",
        qemu=qemu,
        text=text,
    )


def _ready(directory: Path) -> bool:
    console = directory / _CONSOLE
    return console.exists() and READY in console.read_text(errors="replace")


def record(dest: Path, qemus: Path, boots: Sequence[str]) -> None:
    """Record the captures of some boots of the guest, unless they are there.

    Args:
        dest: where they go.
        qemus: the folder of QEMUs and libvirt.
        boots: which boots, as in `BOOTS`.

    Raises:
        RecordError: a QEMU or libvirt did not do what is needed.
        LookupError: a package does not hold what the guest needs.
        subprocess.CalledProcessError: apt or dpkg failed.
        OSError: a file cannot be written.
    """
    dest.mkdir(parents=True, exist_ok=True)
    there = read_list(dest) if (dest / LIST_NAME).exists() else []
    for boot in boots:
        if {capture.name for capture in there}.issuperset(BOOTS[boot]):
            print(f"{boot}: is there")
            continue
        recorder = Recorder(dest, qemus, boot_files(dest / BOOT_FOLDER))
        make = {
            "pc": recorder.record_pc,
            "q35": recorder.record_q35,
            "libvirt": recorder.record_libvirt,
        }
        _timed(boot, make[boot])
        there += recorder.captures
        write_list(dest, there)


def _timed(what: str, make: Callable[[], object]) -> None:
    start = time.monotonic()
    make()
    print(f"{what}: {time.monotonic() - start:.0f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 1 when something could not be recorded.

    Args:
        arguments: the command line; by default the process's.
    """
    parser = argparse.ArgumentParser(prog="tests.linux.record", description=__doc__)
    parser.add_argument("dest", type=Path, help="where the captures go (about 6 GB)")
    parser.add_argument("--qemus", type=Path, required=True, help="the folder of get-qemus")
    parser.add_argument("--only", nargs="+", choices=BOOTS, default=list(BOOTS), help="these boots")
    parser.add_argument(
        "--without-debug-symbols", action="store_true", help="do without the kernel's (800 MB)"
    )
    options = parser.parse_args(arguments)
    dest: Path = options.dest.absolute()
    try:
        record(dest, options.qemus, options.only)
        if not options.without_debug_symbols:
            _timed("debug symbols", lambda: debug_kernel(dest / DEBUG_FOLDER))
    except (RecordError, LookupError, OSError, subprocess.CalledProcessError) as err:
        print(f"tests.linux.record: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
