"""Restore streams in real QEMUs, and compare the guests that come up."""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import qmig
from fixtures.catalogue import Truth, TruthRange
from fixtures.recipes.common import pc_ram
from fixtures.recorder.firmware.image import PASS_ADDR, load_image
from fixtures.recorder.machine import Machine
from fixtures.recorder.recipe import FIRMWARE_NAME
from fixtures.recorder.replay import loaded
from qmig.conversion import skeleton_of
from qmig.migrate.captured import CapturedGuest
from qmig.migrate.migrator import MigrationOptions
from qmig.saving import OutputFormat, SaveOptions, save_guest

YES: Final = "yes"
GOES_ON_SECONDS: Final = 20.0
STATIC: Final = MigrationOptions(static=True)
MAPPED: Final = {"mapped-ram": True}
MAPPED_MULTIFD: Final = {"mapped-ram": True, "multifd": True}
TWO_CHANNELS: Final = {"multifd-channels": 2}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A capture that is converted.

    Attributes:
        name: for people.
        release: who wrote it.
        machine: its machine type, as the configuration names it.
        arguments: command line of a QEMU that takes it, `-machine` with that type included.
        paths: its files.
        truth: what its RAM held.
    """

    name: str
    release: str
    machine: str
    arguments: tuple[str, ...]
    paths: Sequence[Path]
    truth: Truth


@dataclass(frozen=True, kw_only=True)
class GuestState:
    """A guest that stands still: its registers as words, and its RAM where `pmemsave` sees it."""

    registers: str
    memory: Mapping[int, bytes]


def machine_of(paths: Sequence[Path]) -> str:
    """Return the machine type that a capture names."""
    with qmig.open_capture(*paths) as capture:
        assert capture.stream.configuration is not None
        return capture.stream.configuration.machine


def with_machine(arguments: Sequence[str], machine: str) -> tuple[str, ...]:
    """Put the machine type that a stream names for the alias that its source was started by.

    Options of the machine stay.
    """
    words = list(arguments)
    at = words.index("-machine") + 1
    words[at] = ",".join([machine, *words[at].split(",")[1:]])
    return tuple(words)


@cache
def machine_types(binary: Path) -> frozenset[str]:
    """Ask a QEMU which machine types it knows."""
    command = [str(binary.absolute()), "-machine", "help"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return frozenset(line.split()[0] for line in printed.splitlines()[1:] if line.strip())


def plain_registers(printed: str) -> str:
    """Return what `info registers` prints without what releases print differently.

    From 7.2 on it begins with the processor, and XMM registers have a blank in the middle.
    """
    return "".join(printed.replace("CPU#0", "").split())


def state_of(machine: Machine) -> GuestState:
    """Read a guest that stands still."""
    assert machine.execute("query-status")["running"] is False
    registers = plain_registers(machine.monitor_line("info registers"))
    assert "EIP=" in registers
    memory = {
        item.physical_addr: machine.save_physical(item.physical_addr, item.length)
        for item in pc_ram()
    }
    return GuestState(registers=registers, memory=memory)


def differences(found: GuestState, wanted: GuestState) -> list[str]:
    """Say in what two guests differ."""
    texts = [
        f"memory from {addr:#x} on differs"
        for addr, data in wanted.memory.items()
        if found.memory[addr] != data
    ]
    if found.registers != wanted.registers:
        texts.append("registers differ")
    return texts


def truth_differences(machine: Machine, truth: Truth) -> list[str]:
    """Say in which of the ranges that were recorded with a capture a guest differs.

    Whole blocks are read from QEMU's own memory where it tells their addresses, ranges of blocks
    by pmemsave where it does not.
    """
    texts = []
    compared_len = 0
    for name, block in truth.blocks.items():
        for item in block.ranges:
            if item.length == 0:
                continue
            data = _range_at(machine, name, item)
            if hashlib.sha256(data).hexdigest() != item.sha256:
                texts.append(f"{name} differs in {item.length} bytes from {item.addr:#x} on")
            compared_len += item.length
    # A truth without ranges would agree with any guest.
    assert compared_len >= 0xA0000, truth
    return texts


def _range_at(machine: Machine, name: str, item: TruthRange) -> bytes:
    host = {block.name: block for block in machine.ram_blocks()}[name]
    if host.host_addr is not None:
        return b"".join(machine.iter_block(host))[item.addr : item.addr + item.length]
    (seen,) = [
        part
        for part in pc_ram()
        if (part.block, part.addr, part.length) == (name, item.addr, item.length)
    ]
    return machine.save_physical(seen.physical_addr, item.length)


def require_goes_on(machine: Machine) -> None:
    """Let the guest run, and wait until its program has begun another pass.

    Raises:
        RecordError: it does not get there.
    """
    before = machine.read_word(PASS_ADDR)
    machine.execute("cont")
    machine.wait_for(
        lambda: machine.read_word(PASS_ADDR) > before, "further pass of the guest", GOES_ON_SECONDS
    )
    assert machine.execute("query-status")["status"] == "running"


@contextmanager
def restored(
    binary: Path,
    arguments: Sequence[str],
    files: Sequence[Path],
    *,
    capabilities: Mapping[str, bool] | None = None,
    parameters: Mapping[str, int | str | bool] | None = None,
) -> Iterator[Machine]:
    """Load files into a destination that stays stopped.

    Raises:
        RecordError: its migration is not completed.
    """
    # Paths of UNIX sockets are short, hence a folder of its own near the root.
    with tempfile.TemporaryDirectory(prefix="qmig-") as scratch:
        directory = Path(scratch)
        (directory / FIRMWARE_NAME).write_bytes(load_image())
        with loaded(
            binary,
            arguments,
            files,
            directory,
            capabilities=capabilities,
            parameters=parameters,
        ) as machine:
            yield machine


def convert(source: Source, out: Path, options: SaveOptions) -> None:
    """Save the RAM of a capture anew, with all that stands around it."""
    with qmig.open_capture(*source.paths) as capture:
        save_guest(CapturedGuest(capture.ram), skeleton_of(capture), out, options)


def to_mapped_ram(source: Source, out: Path, channels: int) -> None:
    """Convert to mapped-ram, written by so many threads."""
    mapped = SaveOptions(OutputFormat.MAPPED_RAM, channels=channels, migration=STATIC)
    convert(source, out, mapped)


def to_stream(source: Source, out: Path) -> None:
    """Convert to the ordinary stream."""
    convert(source, out, SaveOptions(OutputFormat.STREAM, migration=STATIC))


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a QEMU says that it can do.

    Attributes:
        capabilities: of migration.
        compressions: of multifd, as it was built.
        properties: of migration, for `-global migration.NAME=VALUE`.
    """

    capabilities: frozenset[str]
    compressions: frozenset[str]
    properties: frozenset[str]


@cache
def abilities(binary: Path) -> Abilities:
    """Ask a QEMU what it can do."""
    nothing = ["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none"]
    with (
        tempfile.TemporaryDirectory(prefix="qmig-") as scratch,
        Machine(binary, nothing, Path(scratch)) as machine,
    ):
        known = machine.execute("query-migrate-capabilities")
        types = {entry["name"]: entry for entry in machine.execute("query-qmp-schema")}
        parameters = types[types["migrate-set-parameters"]["arg-type"]]["members"]
        properties = machine.execute("qom-list-properties", {"typename": "migration"})
        (compression,) = [item for item in parameters if item["name"] == "multifd-compression"]
        return Abilities(
            capabilities=frozenset(item["capability"] for item in known),
            compressions=frozenset(types[compression["type"]]["values"]),
            properties=frozenset(item["name"] for item in properties),
        )
