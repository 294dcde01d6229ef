"""The note VMCOREINFO that a Linux guest makes of itself: debuggers find its kernel by it.

The device vmcoreinfo (hw/misc/vmcoreinfo.c) tells its address, where the guest has one and told it.
Linux keeps the note at the start of a page of its own, so else it is looked for there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qmig.devices.tree import leaves
from qmig.export.image import pieces
from qmig.wire.elf import NT_VMCOREINFO, Elf64Nhdr
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from qmig.devices.devices import Devices
    from qmig.export.layout import Layout
    from qmig.memory import SavedMemory

_NAME: Final = b"VMCOREINFO\0"
_NAME_LEN: Final = 12  # padded
_HEAD_LEN: Final = fixed_len(Elf64Nhdr)
_BEGIN: Final = b"OSRELEASE="
_MOST_LEN: Final = 1 << 16
_FORMAT_ELF: Final = 1
_STEP_LEN: Final = 4096  # the smallest page of a Linux kernel


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
    return _searched(layout, ram, holes=holes)


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


def _searched(layout: Layout, ram: SavedMemory, *, holes: bool) -> Vmcoreinfo | None:
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
                    return Vmcoreinfo(found, f"found in guest memory, at 0x{at:x}")
    return None
