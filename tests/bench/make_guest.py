"""Build the benchmark's Linux guest and take its captures with a real QEMU.

    python make_guest.py DIRECTORY --qemu qemu-system-x86_64

Makes in DIRECTORY, and leaves alone what is there already:

    linux-2g.mig       2 GiB guest, stopped, ordinary stream
    linux-2g.mapped    the same stopped guest, mapped-ram
    linux-2g-live.mig  the same guest, working while it is migrated: several rounds
    linux-8g.mig       8 GiB guest, stopped, ordinary stream

QEMU has to be 9.0 or newer (mapped-ram) and needs no hardware acceleration. Kernel and busybox
come from the packages of the Debian system this runs on.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guest_files import build_boot_files
from qemu.qmp import ConnectError, QMPClient, QMPError

from fixtures.recorder.debian_guest import BootFiles

READY = "GUEST READY"
WORKING = "GUEST WORKING"
BOOT_SECONDS = 900
MIGRATE_SECONDS = 300
UNLIMITED_BANDWIDTH = 1 << 40
# Slow enough that the working guest dirties memory behind the migration, fast enough to end; the
# allowed downtime is short, so that it takes some rounds to get there.
LIVE_BANDWIDTH = 80 << 20
DOWNTIME_MS = 50


@dataclass(frozen=True)
class Capture:
    """One file to make: how the migration is to be done."""

    file_name: str
    working: bool = False
    mapped_ram: bool = False


@dataclass(frozen=True)
class Machine:
    """One boot of the guest, and the captures to take from it, in that order."""

    memory: str
    fill_rounds: int
    captures: tuple[Capture, ...]


MACHINES = (
    Machine(
        memory="2G",
        fill_rounds=2,
        captures=(
            Capture("linux-2g.mig"),
            Capture("linux-2g.mapped", mapped_ram=True),
            Capture("linux-2g-live.mig", working=True),
        ),
    ),
    Machine(memory="8G", fill_rounds=6, captures=(Capture("linux-8g.mig"),)),
)


class GuestError(Exception):
    """The guest or its QEMU did not do what the captures need."""


class Guest:
    """A running guest: its QMP connection and its console."""

    def __init__(
        self, qmp: QMPClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take over the connections; the caller closes them."""
        self._qmp = qmp
        self._reader = reader
        self._writer = writer

    async def wait_for(self, words: str) -> None:
        """Read the console until a line holds `words`.

        Raises:
            GuestError: The console was closed first.
        """
        last = ""
        while words not in last:
            line = await self._reader.readline()
            if not line:
                raise GuestError(f"the console ended before {words!r}, after {last!r}")
            last = line.decode(errors="replace").strip()

    async def start_working(self) -> None:
        """Make the guest write memory from now on."""
        self._writer.write(b"work\n")
        await self._writer.drain()
        await self.wait_for(WORKING)

    async def take(self, capture: Capture, target: Path) -> str:
        """Migrate into `target` and say what QEMU counted.

        Raises:
            GuestError: The migration failed.
        """
        if (await self._execute("query-status"))["status"] == "postmigrate":
            # QEMU wants a migrated guest to run again before it migrates it once more.
            await self._execute("cont")
        if capture.working:
            await self.start_working()
        else:
            await self._execute("stop")
        bandwidth = LIVE_BANDWIDTH if capture.working else UNLIMITED_BANDWIDTH
        parameters: dict[str, object] = {"max-bandwidth": bandwidth, "downtime-limit": DOWNTIME_MS}
        await self._execute("migrate-set-parameters", parameters)
        capabilities = [{"capability": "mapped-ram", "state": capture.mapped_ram}]
        await self._execute("migrate-set-capabilities", {"capabilities": capabilities})
        await self._execute("migrate", {"uri": f"file:{target}"})
        while True:
            await asyncio.sleep(0.2)
            info = await self._execute("query-migrate")
            if info["status"] == "completed":
                break
            if info["status"] in ("failed", "cancelled"):
                raise GuestError(f"{capture.file_name}: migration {info}")
        ram = info["ram"]
        return f"{ram['normal']} normal, {ram['duplicate']} zero pages, " + (
            f"{ram['dirty-sync-count']} rounds"
        )

    async def _execute(
        self, command: str, arguments: dict[str, object] | None = None
    ) -> dict[str, Any]:
        reply = await self._qmp.execute(command, arguments)
        if not isinstance(reply, dict):
            raise GuestError(f"{command}: unexpected reply {reply!r}")
        return reply


def machine_arguments(machine: Machine, boot: BootFiles) -> list[str]:
    """Return QEMU's arguments for the guest, monitor and serial line left out."""
    return [
        *("-machine", "pc", "-accel", "tcg", "-m", machine.memory, "-smp", "1"),
        *("-display", "none", "-net", "none", "-monitor", "none", "-no-reboot"),
        *("-rtc", "base=2024-02-29T12:00:00,clock=vm"),
        *("-kernel", str(boot.kernel), "-initrd", str(boot.initramfs)),
        *("-append", f"console=ttyS0 nokaslr panic=-1 quiet fill={machine.fill_rounds}"),
    ]


@asynccontextmanager
async def running_guest(qemu: str, machine: Machine, boot: BootFiles) -> AsyncIterator[Guest]:
    """Start the guest, hand it out, and end it whatever happens.

    Raises:
        GuestError: QEMU cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="bench-guest-") as sockets:
        qmp_socket = f"{sockets}/qmp"
        console_socket = f"{sockets}/console"
        process = await asyncio.create_subprocess_exec(
            qemu,
            *machine_arguments(machine, boot),
            *("-qmp", f"unix:{qmp_socket},server=on,wait=off"),
            *("-serial", f"unix:{console_socket},server=on,wait=off"),
            stdin=asyncio.subprocess.DEVNULL,
        )
        qmp = QMPClient("benchmark guest")
        try:
            await _connect(qmp, qmp_socket, process)
            reader, writer = await asyncio.open_unix_connection(console_socket)
            yield Guest(qmp, reader, writer)
            writer.close()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            # The connection ends with its QEMU, whose end is no news here.
            with suppress(EOFError, OSError):
                await qmp.disconnect()


async def _connect(qmp: QMPClient, socket: str, process: asyncio.subprocess.Process) -> None:
    for _ in range(100):
        if process.returncode is not None:
            break
        try:
            await qmp.connect(socket)
        except ConnectError:
            await asyncio.sleep(0.1)
        else:
            return
    raise GuestError(f"no QMP from QEMU (exit code {process.returncode})")


async def make_captures(directory: Path, qemu: str) -> None:
    """Make every capture that `directory` lacks.

    Raises:
        GuestError: A guest or a migration failed.
        TimeoutError: One took far longer than it should.
        subprocess.CalledProcessError: The packages could not be had.
        LookupError: A package does not hold what it should.
    """
    for machine in MACHINES:
        missing = [c for c in machine.captures if not (directory / c.file_name).exists()]
        if not missing:
            say(f"{machine.memory} guest: every capture is there")
            continue
        boot = build_boot_files(directory / "guest")
        say(f"{machine.memory} guest: booting")
        start = time.monotonic()
        async with running_guest(qemu, machine, boot) as guest:
            await asyncio.wait_for(guest.wait_for(READY), BOOT_SECONDS)
            say(f"{machine.memory} guest: ready after {time.monotonic() - start:.0f} s")
            for capture in missing:
                partial = directory / f"{capture.file_name}.partial"
                counted = await asyncio.wait_for(guest.take(capture, partial), MIGRATE_SECONDS)
                target = partial.rename(directory / capture.file_name)
                say(f"{target.name}: {target.stat().st_size} bytes, {counted}")


def say(text: str) -> None:
    """Tell progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the command line; 1 when a capture could not be made."""
    parser = argparse.ArgumentParser(description="Make the benchmark's captures.")
    parser.add_argument("directory", type=Path, help="where the captures go (about 6 GB)")
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="QEMU 9.0 or newer")
    arguments = parser.parse_args()
    directory: Path = arguments.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(make_captures(directory, arguments.qemu))
    except (
        GuestError,
        QMPError,
        TimeoutError,
        LookupError,
        OSError,
        subprocess.CalledProcessError,
    ) as error:
        say(f"make_guest: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
