"""The notes of an ELF core that tell what its CPUs hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.devices.cpu_facts import facts_of
from qmig.errors import WriterError
from qmig.wire.elf import (
    NT_PRSTATUS,
    NT_QEMU,
    Aarch64Prstatus,
    Elf64Nhdr,
    ElfMachine,
    QemuCpuSegment,
    QemuCpuState,
    QemuCpuStateTail,
    X8664Prstatus,
)
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from qmig.devices.devices import Devices
    from qmig.wire.record import WireRecord

    Facts = dict[str, Any]

_SEGMENTS: Final = ("cs", "ds", "es", "fs", "gs", "ss", "ldt", "tr", "gdt", "idt")
_ALIGN: Final = 4


def note(name: bytes, kind: int, content: bytes) -> bytes:
    """Return a note, its name and content padded to 4 bytes."""
    head = Elf64Nhdr(n_namesz=len(name) + 1, n_descsz=len(content), n_type=kind).build()
    return head + _padded(name + b"\0") + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)


def cpu_notes(devices: Devices) -> tuple[ElfMachine, bytes, int]:
    """Return the machine, the notes of all CPUs, and how many CPUs there are.

    Raises:
        WriterError: the capture has no CPU whose registers are known, of x86-64 or AArch64.
    """
    cpus = sorted(devices.named("cpu"), key=lambda device: device.instance_id)
    found = [(cpu, facts) for cpu in cpus if (facts := facts_of(cpu)) is not None]
    states = [facts for _, (_, facts) in found]
    if not states or len(states) != len(cpus):
        undecoded = next((cpu for cpu in cpus if facts_of(cpu) is None), None)
        why = "there is no cpu section" if undecoded is None else f"{undecoded.path} is not decoded"
        raise WriterError(
            f"an ELF core needs the registers of the CPUs, and {why}; --format lime or raw do not"
        )
    numbers = [cpu.instance_id + 1 for cpu, _ in found]  # QEMU counts CPUs so, from 1
    if all("rip" in state for state in states):
        notes = [_x86_prstatus(*pair) for pair in zip(states, numbers, strict=True)]
        notes += [_qemu_state(state) for state in states]
        return ElfMachine.EM_X86_64, b"".join(notes), len(states)
    if all("pstate" in state for state in states):
        notes = [_aarch64_prstatus(*pair) for pair in zip(states, numbers, strict=True)]
        return ElfMachine.EM_AARCH64, b"".join(notes), len(states)
    kinds = ", ".join(sorted({what.partition(" at ")[0] for _, (what, _) in found}))
    raise WriterError(
        f"an ELF core is written for x86-64 and AArch64 CPUs, and this guest has: {kinds}; "
        "--format lime or raw takes its memory"
    )


def _of(record: type[WireRecord], state: Facts) -> dict[str, int]:
    """Return the registers of a record that the facts have under the same names."""
    return {name: _number(state[name]) for name in record.DOCS if isinstance(state.get(name), int)}


def _number(value: int | None) -> int:
    if value is None:
        raise WriterError("an ELF core needs all registers of the CPUs, and one is not described")
    return value


def _segments(state: Facts) -> dict[str, Facts]:
    return {segment["name"]: segment for segment in state["segments"]}


def _x86_prstatus(state: Facts, number: int) -> bytes:
    segments = _segments(state)
    values = _of(X8664Prstatus, state) | {
        name: _number(segments[name]["selector"]) for name in ("cs", "ss", "ds", "es", "fs", "gs")
    }
    status = X8664Prstatus(
        **values,
        pad1=bytes(32),
        pid=number,
        pad2=bytes(76),
        orig_rax=0,
        eflags=_number(state["rflags"]),
        fs_base=_number(segments["fs"]["base"]),
        gs_base=_number(segments["gs"]["base"]),
        pad3=bytes(8),
    )
    return note(b"CORE", NT_PRSTATUS, status.build())


def _qemu_state(state: Facts) -> bytes:
    segments = _segments(state)
    parts = ("selector", "limit", "flags", "base")
    built = [
        QemuCpuSegment(pad=0, **{part: _number(segments[name][part]) for part in parts}).build()
        for name in _SEGMENTS
    ]
    control = [_number(state.get(f"cr{at}", 0)) for at in range(5)]
    tail = QemuCpuStateTail(cr=control, kernel_gs_base=state.get("kernelgsbase") or 0).build()
    size = fixed_len(QemuCpuState) + sum(map(len, built)) + len(tail)
    head = QemuCpuState(size=size, **_of(QemuCpuState, state)).build()
    return note(b"QEMU", NT_QEMU, head + b"".join(built) + tail)


def _aarch64_prstatus(state: Facts, number: int) -> bytes:
    status = Aarch64Prstatus(
        pad1=bytes(32),
        pr_pid=number,
        pad2=bytes(76),
        regs=[_number(state[f"x{at}"]) for at in range(31)],
        sp=_number(state["sp"]),
        pc=_number(state["pc"]),
        pstate=_number(state["pstate"]),
        pr_fpvalid=0,
        pad3=bytes(4),
    )
    return note(b"CORE", NT_PRSTATUS, status.build())
