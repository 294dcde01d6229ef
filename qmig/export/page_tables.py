"""The page tables of an x86 CPU: of what kind they are, and where they have a virtual address.

They are walked in long mode alone: four or five levels, pages of 4 KiB, 2 MiB and 1 GiB (Intel's
Software Developer's Manual, volume 3, 4.5).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmig.devices.cpu_facts import Facts

    Read = Callable[[int, int], bytes]

# Bits of registers: target/i386/cpu.h (CR0_PG_MASK, CR4_PAE_MASK ...), QEMU 10.0.
_CR0_PG: Final = 1 << 31
_CR4_PAE: Final = 1 << 5
_CR4_LA57: Final = 1 << 12
_EFER_LMA: Final = 1 << 10
_PRESENT: Final = 1 << 0
_LARGE: Final = 1 << 7
_ADDR_MASK: Final = 0x000F_FFFF_FFFF_F000
_PAGE_BITS: Final = 12
_LEVEL_BITS: Final = 9
_ENTRY_LEN: Final = 8
_LARGE_LEVELS: Final = (1, 2)
# Linux keeps two roots side by side and runs programs with the upper one, which lacks most of the
# kernel (arch/x86/entry/calling.h, PTI_USER_PGTABLE_BIT).
_USER_ROOT: Final = 1 << _PAGE_BITS


class Paging(Enum):
    """How an x86 CPU translates addresses."""

    TWO_LEVEL = "32-bit"
    PAE = "PAE"
    FOUR_LEVEL = "4-level"
    FIVE_LEVEL = "5-level"


_ROOT_MASKS: Final = {Paging.TWO_LEVEL: 0xFFFF_F000, Paging.PAE: 0xFFFF_FFE0}
_LEVELS: Final = {Paging.FOUR_LEVEL: 4, Paging.FIVE_LEVEL: 5}


def paging_of(state: Facts) -> Paging | None:
    """Return how an x86 CPU translates; None where it does not, or that is not known.

    Args:
        state: the registers of the CPU, as `facts_of` names them.
    """
    cr0, cr3, cr4 = (state.get(name) for name in ("cr0", "cr3", "cr4"))
    if cr0 is None or cr3 is None or cr4 is None or not cr0 & _CR0_PG:
        return None
    if (state.get("efer") or 0) & _EFER_LMA:
        return Paging.FIVE_LEVEL if cr4 & _CR4_LA57 else Paging.FOUR_LEVEL
    return Paging.PAE if cr4 & _CR4_PAE else Paging.TWO_LEVEL


def root_addr_of(state: Facts, paging: Paging) -> int:
    """Return the guest-physical address of the root of a CPU's page tables, from its CR3."""
    return int(state["cr3"]) & _ROOT_MASKS.get(paging, _ADDR_MASK)


def physical_addr_of(virtual_addr: int, state: Facts, read: Read) -> int | None:
    """Return the guest-physical address behind a kernel's virtual one.

    Args:
        virtual_addr: the virtual address.
        state: the registers of the CPU, as `facts_of` names them.
        read: returns guest-physical memory by address and length; less where there is none.

    Returns:
        The address; None where the CPU does not use such tables, or they do not have it.
    """
    paging = paging_of(state)
    if paging not in _LEVELS:
        return None
    levels, root = _LEVELS[paging], root_addr_of(state, paging)
    found = _walk(root, levels, virtual_addr, read)
    if found is None and root & _USER_ROOT:
        found = _walk(root & ~_USER_ROOT, levels, virtual_addr, read)
    return found


def _walk(table: int, levels: int, virtual_addr: int, read: Read) -> int | None:
    for level in reversed(range(levels)):
        shift = _PAGE_BITS + _LEVEL_BITS * level
        index = virtual_addr >> shift & ((1 << _LEVEL_BITS) - 1)
        data = read(table + index * _ENTRY_LEN, _ENTRY_LEN)
        entry = int.from_bytes(data, "little")
        if len(data) < _ENTRY_LEN or not entry & _PRESENT:
            return None
        table = entry & _ADDR_MASK
        inside = (1 << shift) - 1
        if level == 0 or (level in _LARGE_LEVELS and entry & _LARGE):
            return table & ~inside | virtual_addr & inside
    return None
