"""Where the page tables of a CPU have a virtual address.

Only x86-64 in long mode: four or five levels, pages of 4 KiB, 2 MiB and 1 GiB (Intel's Software
Developer's Manual, volume 3, 4.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from qmig.devices.cpu_facts import Facts

    Read = Callable[[int, int], bytes]

_CR0_PG: Final = 1 << 31
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


def physical_addr_of(virtual_addr: int, state: Facts, read: Read) -> int | None:
    """Return the guest-physical address behind a kernel's virtual one.

    Args:
        virtual_addr: the virtual address.
        state: the registers of the CPU, as `facts_of` names them.
        read: returns guest-physical memory by address and length; less where there is none.

    Returns:
        The address; None where the CPU does not use such tables, or they do not have it.
    """
    cr0, cr3, cr4, efer = (state.get(name) or 0 for name in ("cr0", "cr3", "cr4", "efer"))
    if not cr0 & _CR0_PG or not efer & _EFER_LMA:
        return None
    levels = 5 if cr4 & _CR4_LA57 else 4
    root = cr3 & _ADDR_MASK
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
