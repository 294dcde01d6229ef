"""Guests with devices: what a real QEMU says of them, and the stream that it then writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fixtures.recorder.errors import RecordError
from fixtures.recorder.machine import Machine
from tests.interop.printed_registers import registers_in, segments_in
from tests.interop.register_programs import PROGRAM, Program
from tests.interop.software_tpm import tpm_of

_PLAIN: Final = (
    *("-nodefaults", "-display", "none", "-accel", "tcg", "-S", "-no-user-config"),
    *("-rtc", "base=2024-02-29T12:00:00,clock=vm"),  # a host's clock goes on while it is asked
)
SETTLE_SECONDS: Final = 90.0
BOOT_SECONDS: Final = 300.0
CONSOLE: Final = "console"
_MOST_QUEUES: Final = 1024


@dataclass(frozen=True, kw_only=True)
class DeviceGuest:
    """A machine with devices.

    Attributes:
        arguments: its command line.
        target: the emulator's target.
        qemu: the release.
        run_until: a virtio device, by its id, whose first queue has been used when the guest is
            stopped; None: it never runs, unless it says something.
        program: runs until it stays where it ends.
        says: what the guest has written to its serial line, CONSOLE, when it is stopped.
        tells_status: whether `x-query-virtio-status` can be asked: 11.1.3 dies of an assertion in
            `visit_start_struct` when it is.
    """

    arguments: tuple[str, ...]
    target: str = "x86_64"
    qemu: str = "10.0"
    run_until: str | None = None
    program: Program | None = None
    says: str | None = None
    tells_status: bool = True


@dataclass
class Told:
    """What QEMU told of a guest that stands still.

    Attributes:
        registers: by CPU, names in small letters as `info registers` prints them.
        segments: by CPU and name: selector, base, limit and flags (x86).
        apics: by CPU, vectors in service and requested (x86).
        rtc: the time of the real-time clock, as a struct tm.
        pci: by address, with the way through bridges in it, `query-pci`.
        virtio: by qdev id, `x-query-virtio-status`, with its queues under `queues`.
    """

    registers: list[dict[str, int]] = field(default_factory=list)
    segments: list[dict[str, tuple[int, ...]]] = field(default_factory=list)
    apics: list[dict[str, list[int]]] = field(default_factory=list)
    rtc: Mapping[str, int] | None = None
    pci: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    virtio: dict[str, dict[str, Any]] = field(default_factory=dict)


def disk(directory: Path) -> Path:
    """Write a disk whose boot sector does nothing, for ever."""
    path = directory / "disk.img"
    sector = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt; jmp to the hlt
    path.write_bytes(sector.ljust(1 << 20, b"\0"))
    return path


def command_line(guest: DeviceGuest) -> tuple[str, ...]:
    """Return the arguments of the guest's QEMU."""
    return (*_PLAIN, *guest.arguments, *(guest.program.arguments if guest.program else ()))


def recorded(guest: DeviceGuest, binary: Path, directory: Path) -> tuple[Told, Path]:
    """Start a guest, run it where it should, stop it, ask QEMU of it, and save it."""
    disk(directory)
    if guest.program is not None:
        (directory / PROGRAM).write_bytes(guest.program.code)
    stream = directory / "stream"
    with (
        tpm_of(guest.arguments, directory),
        Machine(binary, command_line(guest), directory) as machine,
    ):
        _run(machine, guest)
        printed = machine.monitor_line("info registers -a")
        told = Told(
            registers=registers_in(printed),
            segments=segments_in(printed),
            apics=_apics(machine) if guest.target == "x86_64" else [],
            rtc=_rtc(machine),
            pci=_pci(machine),
            virtio=_virtio(machine, guest),
        )
        machine.execute("migrate", {"uri": f"exec:cat > {stream.name}"})
        machine.wait_migrated()
    return told, stream


def _run(machine: Machine, guest: DeviceGuest) -> None:
    """Let a guest run until it is where it should be stopped."""
    if guest.says is not None:
        console, says = machine.directory / CONSOLE, guest.says
        machine.execute("cont")
        machine.wait_for(lambda: says in console.read_text(), f"{says!r}", BOOT_SECONDS)
        machine.execute("stop")
    elif guest.program is not None:
        end_addr = guest.program.end_addr

        def ended() -> bool:
            first = registers_in(machine.monitor_line("info registers -a"))[0]
            return end_addr in (first.get("pc"), first.get("r15"))

        machine.execute("cont")
        machine.wait_for(ended, "end of the program", SETTLE_SECONDS)
        machine.execute("stop")
    elif guest.run_until is not None:
        (path,) = (one for one in _virtio_paths(machine) if _id_of(one) == guest.run_until)
        machine.execute("cont")

        def used() -> bool:
            queue = _queue(machine, path, 0)
            return bool(queue["vring-desc"] and queue["last-avail-idx"])

        machine.wait_for(used, "queue that was used", SETTLE_SECONDS)
        machine.execute("stop")


def _apics(machine: Machine) -> list[dict[str, list[int]]]:
    found = []
    for at in range(len(machine.execute("query-cpus-fast"))):
        printed = machine.monitor_line(f"info lapic {at}")
        if "ISR" not in printed:  # isapc has none
            continue
        found.append(
            {
                name: [int(word) for word in re.findall(r"\d+", re.sub(r"\(\w*\)", "", words))]
                for name, words in re.findall(r"^(ISR|IRR)\s+(.*?)\s*$", printed, re.MULTILINE)
            }
        )
    return found


def _rtc(machine: Machine) -> Mapping[str, int] | None:
    known = {item["name"] for item in machine.execute("qom-list", {"path": "/machine"})}
    if "rtc-time" not in known:
        return None
    found: Mapping[str, int] = machine.execute(
        "qom-get", {"path": "/machine", "property": "rtc-time"}
    )
    return found


def _commands(machine: Machine) -> set[str]:
    return {item["name"] for item in machine.execute("query-commands")}


def _pci(machine: Machine) -> dict[str, Mapping[str, Any]]:
    if "query-pci" not in _commands(machine):
        return {}
    buses = machine.execute("query-pci")
    found: dict[str, Mapping[str, Any]] = {}
    for bus in buses:
        found |= _pci_devices(bus["devices"], f"0000:{bus['bus']:02x}")
    return found


def _pci_devices(devices: list[dict[str, Any]], prefix: str) -> dict[str, Mapping[str, Any]]:
    """Return devices by the addresses that sections are called by: the way through the bridges."""
    found: dict[str, Mapping[str, Any]] = {}
    for device in devices:
        address = f"{prefix}:{device['slot']:02x}.{device['function']:x}"
        found[address] = device
        behind = device.get("pci_bridge", {}).get("devices", [])
        found |= _pci_devices(behind, address)
    return found


def _virtio_paths(machine: Machine) -> list[str]:
    if "x-query-virtio" not in _commands(machine):
        return []
    try:
        return [item["path"] for item in machine.execute("x-query-virtio")]
    except RecordError as error:
        if "No virtio devices found" not in str(error):
            raise
        return []


def _id_of(path: str) -> str:
    return path.removeprefix("/machine/peripheral/").removesuffix("/virtio-backend")


def _status(machine: Machine, path: str) -> dict[str, Any]:
    return dict(machine.execute("x-query-virtio-status", {"path": path}))


def _queue(machine: Machine, path: str, at: int) -> dict[str, Any]:
    return dict(machine.execute("x-query-virtio-queue-status", {"path": path, "queue": at}))


def _virtio(machine: Machine, guest: DeviceGuest) -> dict[str, dict[str, Any]]:
    found = {}
    for path in _virtio_paths(machine):
        queues = list(_queues(machine, path))
        status = {"name": queues[0]["name"]}
        if guest.tells_status:
            status = _status(machine, path)
        found[_id_of(path)] = {**status, "queues": queues}
    return found


def _queues(machine: Machine, path: str) -> Iterator[dict[str, Any]]:
    """Yield the queues of a virtio device up to the first one that has no entries."""
    for at in range(_MOST_QUEUES):
        try:
            yield _queue(machine, path, at)
        except RecordError as error:
            if "Invalid virtqueue number" not in str(error):
                raise
            return
