"""The registers of a virtual CPU by their names.

Fields: target/i386/machine.c (vmstate_x86_cpu), target/arm/machine.c (vmstate_arm_cpu),
target/s390x/machine.c (vmstate_s390_cpu), target/ppc/machine.c (vmstate_ppc_cpu),
target/riscv/machine.c (vmstate_riscv_cpu), 10.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qmig.devices.tree import Group, number, numbers, resolve

if TYPE_CHECKING:
    from qmig.devices.devices import Device

Facts = dict[str, Any]

# target/i386/cpu.h: R_EAX ... and R_ES ... number them so.
_X86_64: Final = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *(f"r{at}" for at in range(8, 16)),
)
_X86_32: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs")
_TABLES: Final = ("ldt", "tr", "gdt", "idt")
_SEGMENT_PARTS: Final = ("selector", "base", "limit", "flags")
_CONTROL: Final = (0, 2, 3, 4)
_MSRS: Final = (
    *("efer", "star", "lstar", "cstar", "fmask", "kernelgsbase", "pat", "tsc", "tsc_aux"),
    *("sysenter_cs", "sysenter_esp", "sysenter_eip", "mxcsr"),
)
_HF_CPL_MASK: Final = 3
_AARCH64_REGISTERS: Final = 32
_PPC_REGISTERS: Final = 32


def facts_of(device: Device) -> tuple[str, Facts] | None:
    """Return the registers of a CPU; None for what is none."""
    tree = device.tree
    if number(tree, "env.eip") is not None:
        return _x86(tree)
    if numbers(tree, "env.xregs"):
        return _arm(tree)
    if number(tree, "env.psw.addr") is not None:
        return _s390(tree)
    if number(tree, "env.nip") is not None:
        return _ppc(tree)
    if number(tree, "env.pc") is not None and numbers(tree, "env.gpr"):
        return _riscv(tree)
    return None


def _x86(tree: Group) -> tuple[str, Facts]:
    values = numbers(tree, "env.regs")
    wide = len(values) > len(_X86_32)
    names = _X86_64 if wide else _X86_32
    facts: Facts = dict(zip(names, values, strict=False))
    facts["rip" if wide else "eip"] = number(tree, "env.eip")
    facts["rflags" if wide else "eflags"] = number(tree, "env.eflags")
    facts["cpl"] = (number(tree, "env.hflags") or 0) & _HF_CPL_MASK
    segments = {name: f"env.segs[{at}]" for at, name in enumerate(_SEGMENTS)}
    segments |= {name: f"env.{name}" for name in _TABLES}
    facts["segments"] = [
        {"name": name, **{part: number(tree, f"{path}.{part}") for part in _SEGMENT_PARTS}}
        for name, path in segments.items()
    ]
    facts |= {f"cr{at}": number(tree, f"env.cr[{at}]") for at in _CONTROL}
    facts |= {f"dr{at}": value for at, value in enumerate(numbers(tree, "env.dr"))}
    facts |= {name: value for name in _MSRS if (value := number(tree, f"env.{name}")) is not None}
    what = f"{'x86-64' if wide else 'x86'} CPU at {_hex(number(tree, 'env.eip'))}"
    return f"{what}, ring {facts['cpl']}", facts


def _arm(tree: Group) -> tuple[str, Facts]:
    registers = numbers(tree, "env.xregs")
    cpsr = number(tree, "cpsr")
    # cpsr holds what the CPU runs with (put_cpsr): bit 4 is that of AArch32, but where it is the
    # program status register of an M profile, which has a subsection of its own.
    microcontroller = resolve(tree, "cpu/m") is not None
    if microcontroller or (cpsr is not None and cpsr & 0x10):
        facts: Facts = {f"r{at}": value for at, value in enumerate(numbers(tree, "env.regs"))}
        facts["xpsr" if microcontroller else "cpsr"] = cpsr
        return f"32-bit Arm CPU at {_hex(facts.get('r15'))}", facts
    facts = {f"x{at}": value for at, value in enumerate(registers[:_AARCH64_REGISTERS])}
    facts["sp"] = facts.pop("x31", None)
    facts["pc"] = number(tree, "env.pc")
    facts["pstate"] = cpsr
    return f"AArch64 CPU at {_hex(facts['pc'])}", facts


def _s390(tree: Group) -> tuple[str, Facts]:
    facts: Facts = {f"r{at}": number(tree, f"env.regs[{at}]") for at in range(16)}
    facts["psw_mask"] = number(tree, "env.psw.mask")
    facts["psw_addr"] = number(tree, "env.psw.addr")
    facts |= {f"cr{at}": number(tree, f"env.cregs[{at}]") for at in range(16)}
    facts["prefix"] = number(tree, "env.psa")
    return f"s390x CPU at {_hex(facts['psw_addr'])}", facts


def _ppc(tree: Group) -> tuple[str, Facts]:
    facts: Facts = {f"r{at}": value for at, value in enumerate(numbers(tree, "env.gpr"))}
    facts["nip"] = number(tree, "env.nip")
    for name in ("msr", "lr", "ctr", "cfar"):
        value = number(tree, f"env.{name}")
        if value is not None:
            facts[name] = value
    return f"POWER CPU at {_hex(facts['nip'])}", facts


def _riscv(tree: Group) -> tuple[str, Facts]:
    facts: Facts = {f"x{at}": value for at, value in enumerate(numbers(tree, "env.gpr"))}
    facts["pc"] = number(tree, "env.pc")
    return f"RISC-V CPU at {_hex(facts['pc'])}", facts


def _hex(value: int | None) -> str:
    return "?" if value is None else f"0x{value:x}"
