"""What gdb, drgn and crash say of a core, read from what they print."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 250.0
_THREAD: Final = re.compile(r"^Thread (\d+) ", re.MULTILINE)
_GDB_REGISTER: Final = re.compile(r"^([a-z]\w*) +(0x[0-9a-f]+) ", re.MULTILINE)
_CRASH_INPUT: Final = "sys\nps\nbt -a\nquit\n"


@dataclass(frozen=True)
class Frame:
    """A frame of a stack: its program counter, and a name for it, in hex where there is none."""

    pc: int
    name: str


@dataclass(frozen=True)
class Current:
    """What a CPU does.

    Attributes:
        name: of the task.
        symbol: the function that it is in, inlined ones not counted; None outside of the kernel.
        stack: its stack, the innermost frame first.
    """

    name: str
    symbol: str | None
    stack: list[Frame]


@dataclass(frozen=True)
class LinuxSeen:
    """What drgn finds in a core.

    Attributes:
        release: of the kernel.
        tasks: name by id.
        current: by CPU.
        stacks: by name of a task that was asked for, the innermost frame first.
    """

    release: str
    tasks: dict[int, str]
    current: list[Current]
    stacks: dict[str, list[Frame]]


def gdb(core: Path, *commands: str) -> str:
    """Open a core in gdb, without files of the user, and return what it prints."""
    words = [word for command in commands for word in ("-ex", command)]
    return _run(["gdb", "-nx", "-batch", "-c", str(core), *words])


def gdb_registers(core: Path) -> list[dict[str, int]]:
    """Return the registers of each thread, the first one first."""
    parts = _THREAD.split(gdb(core, "thread apply all info registers"))[1:]
    found = {
        int(number): {name: int(value, 16) for name, value in _GDB_REGISTER.findall(text)}
        for number, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return [found[number] for number in sorted(found)]


def drgn(core: Path, vmlinux: Path, stacks: Sequence[str]) -> LinuxSeen:
    """Open a core in drgn and return what it finds.

    Args:
        core: the core.
        vmlinux: the kernel with its debug symbols.
        stacks: names of tasks whose stacks are wanted.
    """
    program = Path(sys.executable).with_name("drgn")
    script = Path(__file__).with_name("ask_drgn.py")
    words = ["-q", "-c", core, "--no-default-symbols", "-s", vmlinux, script, *stacks]
    found: dict[str, Any] = json.loads(_run([str(program), *map(str, words)]))
    return LinuxSeen(
        release=found["release"],
        tasks={int(pid): name for pid, name in found["tasks"].items()},
        current=[
            Current(one["name"], one["symbol"], _frames(one["stack"])) for one in found["current"]
        ],
        stacks={name: _frames(stack) for name, stack in found["stacks"].items()},
    )


def crash(core: Path, vmlinux: Path) -> str:
    """Open a core in crash and return what it says of system, processes and CPUs."""
    return _run(["crash", "-s", str(vmlinux), str(core)], _CRASH_INPUT)


def _frames(stack: list[dict[str, Any]]) -> list[Frame]:
    return [Frame(frame["pc"], frame["name"]) for frame in stack]


def _run(command: list[str], given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
