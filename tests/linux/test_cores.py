"""The ELF core of a real Linux guest: as QEMU's own, and as gdb shows it."""

from __future__ import annotations

from typing import Final

from tests.interop.core_reader import CoreFile, memory, read_head
from tests.interop.printed_registers import registers_in, segments_in
from tests.linux.conftest import Core
from tests.linux.debuggers import gdb_registers

_GENERAL: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *(f"r{at}" for at in range(8, 16)),
    "rip",
)
_SELECTORS: Final = ("cs", "ss", "ds", "es", "fs", "gs")


def test_gdb_shows_the_registers_that_qemu_showed(core: Core) -> None:
    said = core.recorded.registers
    wanted = [
        {name: one[name] for name in _GENERAL}
        | {"eflags": one["rfl"]}
        | {name: segments[name][0] for name in _SELECTORS}
        for one, segments in zip(registers_in(said), segments_in(said), strict=True)
    ]
    assert len(wanted) == 2
    assert gdb_registers(core.path) == wanted


def test_memory_and_notes_are_those_of_qemus_dump(core: Core) -> None:
    ours = CoreFile(core.path)
    with core.recorded.dump.open("rb") as file:
        theirs = read_head(file)
        differing = [
            hex(addr) for addr, data in memory(file, theirs) if ours.read(addr, len(data)) != data
        ]
    ours.close()
    assert differing == []
    assert ours.head.shown() == theirs.shown()
    assert ours.head.machine == theirs.machine
    for name in (b"CORE", b"QEMU"):
        assert ours.head.named(name) == theirs.named(name)
        assert len(ours.head.named(name)) == 2
    # QEMU knows the kernel's note only where there is the device for it.
    has_device = core.recorded.capture.name == "q35-stopped"
    assert theirs.named(b"VMCOREINFO") == (ours.head.named(b"VMCOREINFO") if has_device else [])
    assert core.vmcoreinfo is not None
    if has_device:
        assert core.vmcoreinfo.startswith("the device vmcoreinfo")
    else:
        assert core.vmcoreinfo.endswith("a CPU's page tables have its kernel")


def test_the_kernel_is_not_where_it_was_linked(core: Core) -> None:
    with core.path.open("rb") as file:
        (note,) = read_head(file).named(b"VMCOREINFO")
    told = dict(line.split("=", 1) for line in note.decode().splitlines())
    assert int(told["KERNELOFFSET"], 16) > 0
    assert told["OSRELEASE"].endswith("-cloud-amd64")
