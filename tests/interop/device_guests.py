"""Guests with devices: what a real QEMU says of them, and the stream that it then writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fixtures.recorder.machine import Machine
from tests.interop.printed_registers import registers_in, segments_in

_PLAIN: Final = ("-nodefaults", "-display", "none", "-accel", "tcg", "-S", "-no-user-config")
SETTLE_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class DeviceGuest:
    """A machine with devices.

    Attributes:
        arguments: its command line.
        target: the emulator's target.
        qemu: the release.
        run_until: a virtio device, by its id, whose first queue has been used when the guest is
            stopped; None: it never runs.
        tells_status: whether `x-query-virtio-status` can be asked: 11.1.3 dies of an assertion in
            `visit_start_struct` when it is.
    """

    arguments: tuple[str, ...]
    target: str = "x86_64"
    qemu: str = "10.0"
    run_until: str | None = None
    tells_status: bool = True


@dataclass
class Told:
    """What QEMU told of a guest that stands still.

    Attributes:
        registers: by CPU, names in small letters as `info registers` prints them.
        segments: by CPU and name: selector, base, limit and flags (x86).
        apics: by CPU, vectors in service and requested (x86).
        rtc: the time of the real-time clock, as a struct tm.
        pci: by address on bus 0, `query-pci`.
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


def recorded(guest: DeviceGuest, binary: Path, directory: Path) -> tuple[Told, Path]:
    """Start a guest, run it where it should, stop it, ask QEMU of it, and save it."""
    disk(directory)
    stream = directory / "stream"
    with Machine(binary, (*_PLAIN, *guest.arguments), directory) as machine:
        if guest.run_until is not None:
            (path,) = (one for one in _virtio_paths(machine) if _id_of(one) == guest.run_until)
            machine.execute("cont")

            def used() -> bool:
                queue = _queue(machine, path, 0)
                return bool(queue["vring-desc"] and queue["last-avail-idx"])

            machine.wait_for(used, "queue that was used", SETTLE_SECONDS)
            machine.execute("stop")
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


def _apics(machine: Machine) -> list[dict[str, list[int]]]:
    found = []
    for at in range(len(machine.execute("query-cpus-fast"))):
        printed = machine.monitor_line(f"info lapic {at}")
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
    return {
        f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']:x}": device
        for bus in buses
        for device in bus["devices"]
    }


def _virtio_paths(machine: Machine) -> list[str]:
    return [item["path"] for item in machine.execute("x-query-virtio")]


def _id_of(path: str) -> str:
    return path.removeprefix("/machine/peripheral/").removesuffix("/virtio-backend")


def _queue(machine: Machine, path: str, at: int) -> dict[str, Any]:
    return dict(machine.execute("x-query-virtio-queue-status", {"path": path, "queue": at}))


def _virtio(machine: Machine, guest: DeviceGuest) -> dict[str, dict[str, Any]]:
    if "x-query-virtio" not in _commands(machine):
        return {}
    found = {}
    for path in _virtio_paths(machine):
        if guest.tells_status:
            status = dict(machine.execute("x-query-virtio-status", {"path": path}))
            status["queues"] = [_queue(machine, path, at) for at in range(status["num-vqs"])]
        else:
            first = _queue(machine, path, 0)
            status = {"name": first["name"], "queues": [first]}
        found[_id_of(path)] = status
    return found
