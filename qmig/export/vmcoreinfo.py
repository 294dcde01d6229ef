"""The note VMCOREINFO that a Linux guest makes of itself: debuggers find its kernel by it.

The device vmcoreinfo (hw/misc/vmcoreinfo.c) tells its address, where the guest has one and told it.
Linux keeps the note at the start of a page of its own, so else it is looked for there. Notes of
other kernels may stand in memory as well: of a guest's own guests, or of a kernel that ran before.
So a note counts only if no CPU's page tables have something else where it says its kernel is, and
one whose kernel they have is preferred.
"""

from __future__ import annotations

import re
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qmig.devices.cpu_facts import facts_of
from qmig.devices.tree import leaves
from qmig.export.page_tables import physical_addr_of
from qmig.export.read_content import pieces
from qmig.wire.elf import NT_VMCOREINFO, Elf64Nhdr
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.devices.cpu_facts import Facts
    from qmig.devices.devices import Devices
    from qmig.export.layout import Layout
    from qmig.export.page_tables import Read
    from qmig.memory import SavedMemory

_NAME: Final = b"VMCOREINFO\0"
_NAME_LEN: Final = 12  # padded
_HEAD_LEN: Final = fixed_len(Elf64Nhdr)
_BEGIN: Final = b"OSRELEASE="
_MOST_LEN: Final = 1 << 16
_MOST_NOTES: Final = 256  # far more than kernels a guest has seen; each costs a walk
_FORMAT_ELF: Final = 1
_STEP_LEN: Final = 4096  # the smallest page of a Linux kernel
# Written by arch/x86/kernel/machine_kexec_64.c and kernel/crash_core.c of Linux.
_TEXT: Final = re.compile(rb"^SYMBOL\(_stext\)=([0-9a-f]{1,16})$", re.MULTILINE)
_PHYS_BASE: Final = re.compile(rb"^NUMBER\(phys_base\)=(-?[0-9]{1,20})$", re.MULTILINE)
_START_KERNEL_MAP: Final = 0xFFFF_FFFF_8000_0000  # arch/x86/include/asm/page_64_types.h


class Vmcoreinfo(NamedTuple):
    """A note that was found.

    Attributes:
        note: its bytes, as they go into the core.
        origin: where it is known from.
    """

    note: bytes
    origin: str


def find_vmcoreinfo(
    devices: Devices, layout: Layout, ram: SavedMemory, *, holes: bool
) -> Vmcoreinfo | None:
    """Return the note of the guest's kernel; None where there is none.

    Args:
        devices: of the guest.
        layout: where its memory stands.
        ram: its memory.
        holes: take pages that the capture does not hold for zeros.

    Raises:
        MissingPagesError: the capture does not hold a page (without `holes`).
        StreamError: the payload of a page is damaged.
    """
    for device in devices.named("vmcoreinfo"):
        values = {
            leaf.name.rpartition(".")[2]: value
            for leaf in leaves(device.tree)
            if isinstance(value := getattr(leaf, "value", None), int)
        }
        if values.get("guest_format") == _FORMAT_ELF and values.get("paddr"):
            paddr, size = values["paddr"], min(values.get("size", 0), _MOST_LEN)
            found = _whole(_read(layout, ram, paddr, size, holes=holes))
            if found is not None:
                return Vmcoreinfo(found, f"the device vmcoreinfo, at 0x{paddr:x}")
    states = [facts[1] for cpu in devices.named("cpu") if (facts := facts_of(cpu)) is not None]
    unconfirmed: Vmcoreinfo | None = None
    for addr, found in islice(_searched(layout, ram, holes=holes), _MOST_NOTES):
        confirmed = _confirmed(found, states, partial(_read, layout, ram, holes=holes))
        origin = f"found in guest memory, at 0x{addr:x}"
        if confirmed:
            return Vmcoreinfo(found, f"{origin}; a CPU's page tables have its kernel")
        if confirmed is None and unconfirmed is None:
            unconfirmed = Vmcoreinfo(found, origin)
    return unconfirmed


def _confirmed(note: bytes, states: list[Facts], read: Read) -> bool | None:
    """Say whether page tables of CPUs have a note's kernel where it says; None: they do not tell.

    Only for x86-64: the note of such a kernel tells both addresses of it.
    """
    text, phys_base = _TEXT.search(note), _PHYS_BASE.search(note)
    if text is None or phys_base is None:
        return None
    addr = int(text[1], 16)
    wanted = addr - _START_KERNEL_MAP + int(phys_base[1])
    found = [physical_addr_of(addr, state, read) for state in states]
    if wanted in found:
        return True
    return None if all(one is None for one in found) else False


def _read(layout: Layout, ram: SavedMemory, addr: int, length: int, *, holes: bool) -> bytes:
    """Return guest-physical memory, up to the end of its range."""
    for one in layout.ranges:
        if one.start_addr <= addr < one.end_addr:
            length = min(length, one.end_addr - addr)
            start = one.block_addr + addr - one.start_addr
            view, size = ram.blocks[one.block], ram.page_size_len
            return b"".join(
                bytes(piece.length) if piece.data is None else piece.data.tobytes()
                for piece in pieces(view, size, start, length, holes=holes)
            )
    return b""


def _whole(data: bytes) -> bytes | None:
    """Return the note that data begins with; None where it is none."""
    if len(data) < _HEAD_LEN + _NAME_LEN:
        return None
    head = Elf64Nhdr.parse(data[:_HEAD_LEN])
    end = _HEAD_LEN + _NAME_LEN + head.n_descsz
    named = data[_HEAD_LEN : _HEAD_LEN + len(_NAME)] == _NAME
    if not named or (head.n_namesz, head.n_type) != (len(_NAME), NT_VMCOREINFO) or end > len(data):
        return None
    if not data[_HEAD_LEN + _NAME_LEN :].startswith(_BEGIN):
        return None
    return data[:end] + bytes(-end % 4)


def _searched(layout: Layout, ram: SavedMemory, *, holes: bool) -> Iterator[tuple[int, bytes]]:
    """Yield guest-physical address and bytes of each note that stands at the start of a page."""
    name_words = np.frombuffer(_NAME[:8], np.uint64)[0]
    size = ram.page_size_len
    for one in layout.ranges:
        view = ram.blocks[one.block]
        for piece in pieces(view, size, one.block_addr, one.length, holes=holes):
            if piece.data is None:
                continue
            skip = -piece.addr % _STEP_LEN
            count = (len(piece.data) - skip) // _STEP_LEN
            if count <= 0:
                continue
            rows = piece.data[skip : skip + count * _STEP_LEN].reshape(count, _STEP_LEN)
            names = np.ascontiguousarray(rows[:, _HEAD_LEN : _HEAD_LEN + 8]).view(np.uint64)[:, 0]
            for row in np.flatnonzero(names == name_words).tolist():
                at = one.start_addr + piece.addr + skip + row * _STEP_LEN - one.block_addr
                found = _whole(_read(layout, ram, at, _MOST_LEN, holes=holes))
                if found is not None:
                    yield at, found
