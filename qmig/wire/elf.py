"""ELF cores of guests: 64 bits, little-endian, with a PT_LOAD for each range of memory.

Without page tables a segment's virtual address is its guest-physical one. The notes are those of a
dump that QEMU makes itself (`dump-guest-memory` without paging): NT_PRSTATUS for each CPU under the
name CORE, on x86 then a QEMUCPUState for each under the name QEMU, and the kernel's VMCOREINFO.
Names are padded to 4 bytes. Sources: elf.h; target/i386/arch_dump.c (x86_64_elf_prstatus,
QEMUCPUState), target/arm/arch_dump.c (aarch64_elf_prstatus), dump/dump.c of QEMU 10.0.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from construct import Array, Bytes, Int16ul, Int32ul, Int64ul

from qmig.wire.record import WireRecord, constant, wire

QEMUCPUSTATE_VERSION: Final = 1
NT_PRSTATUS: Final = 1
NT_QEMU: Final = 0
NT_VMCOREINFO: Final = 0


class ElfMachine(IntEnum):
    """e_machine."""

    EM_X86_64 = 62
    EM_AARCH64 = 183


class SegmentType(IntEnum):
    """p_type."""

    PT_LOAD = 1  # memory
    PT_NOTE = 4  # notes


class Elf64Ehdr(WireRecord):
    """The head of the file."""

    e_ident: bytes = constant(
        b"\x7fELF\x02\x01\x01" + bytes(9), Bytes(16), "ELF, 64 bits, little-endian, version 1"
    )
    e_type: int = constant(4, Int16ul, "ET_CORE")
    e_machine: int = wire(Int16ul, "ElfMachine")
    e_version: int = constant(1, Int32ul, "version of the format")
    e_entry: int = wire(Int64ul, "zero")
    e_phoff: int = wire(Int64ul, "offset of the program headers")
    e_shoff: int = wire(Int64ul, "zero: there are no sections")
    e_flags: int = wire(Int32ul, "zero")
    e_ehsize: int = wire(Int16ul, "bytes of this record")
    e_phentsize: int = wire(Int16ul, "bytes of a program header")
    e_phnum: int = wire(Int16ul, "number of program headers")
    e_shentsize: int = wire(Int16ul, "zero")
    e_shnum: int = wire(Int16ul, "zero")
    e_shstrndx: int = wire(Int16ul, "zero")


class Elf64Phdr(WireRecord):
    """A program header: where notes or a range of memory stand."""

    p_type: int = wire(Int32ul, "SegmentType")
    p_flags: int = wire(Int32ul, "zero")
    p_offset: int = wire(Int64ul, "offset in the file")
    p_vaddr: int = wire(Int64ul, "the same as p_paddr")
    p_paddr: int = wire(Int64ul, "guest-physical address")
    p_filesz: int = wire(Int64ul, "bytes in the file")
    p_memsz: int = wire(Int64ul, "bytes of memory")
    p_align: int = wire(Int64ul, "zero")


class Elf64Nhdr(WireRecord):
    """In front of a note's name and content."""

    n_namesz: int = wire(Int32ul, "bytes of the name with its NUL")
    n_descsz: int = wire(Int32ul, "bytes of the content")
    n_type: int = wire(Int32ul, "kind of note, by its name")


class X8664Prstatus(WireRecord):
    """Content of NT_PRSTATUS of an x86-64 CPU; what QEMU leaves out is zero."""

    pad1: bytes = wire(Bytes(32), "zero")
    pid: int = wire(Int32ul, "number of the CPU, from 1")
    pad2: bytes = wire(Bytes(76), "zero")
    r15: int = wire(Int64ul, "register")
    r14: int = wire(Int64ul, "register")
    r13: int = wire(Int64ul, "register")
    r12: int = wire(Int64ul, "register")
    rbp: int = wire(Int64ul, "register")
    rbx: int = wire(Int64ul, "register")
    r11: int = wire(Int64ul, "register")
    r10: int = wire(Int64ul, "register")
    r9: int = wire(Int64ul, "register")
    r8: int = wire(Int64ul, "register")
    rax: int = wire(Int64ul, "register")
    rcx: int = wire(Int64ul, "register")
    rdx: int = wire(Int64ul, "register")
    rsi: int = wire(Int64ul, "register")
    rdi: int = wire(Int64ul, "register")
    orig_rax: int = wire(Int64ul, "zero")
    rip: int = wire(Int64ul, "instruction pointer")
    cs: int = wire(Int64ul, "selector")
    eflags: int = wire(Int64ul, "flags")
    rsp: int = wire(Int64ul, "stack pointer")
    ss: int = wire(Int64ul, "selector")
    fs_base: int = wire(Int64ul, "base of fs")
    gs_base: int = wire(Int64ul, "base of gs")
    ds: int = wire(Int64ul, "selector")
    es: int = wire(Int64ul, "selector")
    fs: int = wire(Int64ul, "selector")
    gs: int = wire(Int64ul, "selector")
    pad3: bytes = wire(Bytes(8), "zero")


class QemuCpuState(WireRecord):
    """Content of the note QEMU of an x86 CPU: its head; ten QemuCpuSegment and the tail follow."""

    version: int = constant(QEMUCPUSTATE_VERSION, Int32ul, "version of the note")
    size: int = wire(Int32ul, "bytes of the whole content")
    rax: int = wire(Int64ul, "register")
    rbx: int = wire(Int64ul, "register")
    rcx: int = wire(Int64ul, "register")
    rdx: int = wire(Int64ul, "register")
    rsi: int = wire(Int64ul, "register")
    rdi: int = wire(Int64ul, "register")
    rsp: int = wire(Int64ul, "register")
    rbp: int = wire(Int64ul, "register")
    r8: int = wire(Int64ul, "register")
    r9: int = wire(Int64ul, "register")
    r10: int = wire(Int64ul, "register")
    r11: int = wire(Int64ul, "register")
    r12: int = wire(Int64ul, "register")
    r13: int = wire(Int64ul, "register")
    r14: int = wire(Int64ul, "register")
    r15: int = wire(Int64ul, "register")
    rip: int = wire(Int64ul, "instruction pointer")
    rflags: int = wire(Int64ul, "flags")


class QemuCpuSegment(WireRecord):
    """A segment or table, in the order cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt."""

    selector: int = wire(Int32ul, "selector")
    limit: int = wire(Int32ul, "last byte")
    flags: int = wire(Int32ul, "attributes")
    pad: int = wire(Int32ul, "zero")
    base: int = wire(Int64ul, "address")


class QemuCpuStateTail(WireRecord):
    """Behind the segments."""

    cr: list[int] = wire(Array(5, Int64ul), "control registers")
    kernel_gs_base: int = wire(Int64ul, "base of gs behind swapgs")


class Aarch64Prstatus(WireRecord):
    """Content of NT_PRSTATUS of an AArch64 CPU."""

    pad1: bytes = wire(Bytes(32), "zero")
    pr_pid: int = wire(Int32ul, "number of the CPU, from 1")
    pad2: bytes = wire(Bytes(76), "zero")
    regs: list[int] = wire(Array(31, Int64ul), "x0 to x30")
    sp: int = wire(Int64ul, "stack pointer")
    pc: int = wire(Int64ul, "program counter")
    pstate: int = wire(Int64ul, "processor state")
    pr_fpvalid: int = wire(Int32ul, "whether there is a note of floating-point registers")
    pad3: bytes = wire(Bytes(4), "zero")
