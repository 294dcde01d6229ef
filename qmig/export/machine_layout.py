"""The guest-physical layout of a capture, by its machine type and the state of its devices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qmig.devices.devices import open_devices
from qmig.errors import WriterError
from qmig.export.layout import Given, Layout, finished, in_a_row, main_blocks
from qmig.export.pc_layout import pc_layout
from qmig.export.virtio_mem_layout import virtio_mem_ranges

if TYPE_CHECKING:
    from qmig.capture.capture import Capture
    from qmig.devices.devices import Devices

_X86: Final = re.compile(r"(pc|isapc|microvm)(-|$)")
# Machines whose RAM begins at one address and has no gap: the block's name tells machines of one
# name apart (`virt` is of several targets). Sources, QEMU 10.0: hw/arm/virt.c (VIRT_MEM),
# hw/riscv/virt.c (VIRT_DRAM), hw/m68k/virt.c, hw/ppc/spapr.c, hw/s390x/s390-virtio-ccw.c,
# hw/alpha/dp264.c, hw/openrisc/openrisc_sim.c, hw/sparc64/sun4u.c.
_FLAT: Final = (
    (re.compile(r"virt(-[\d.]+)?$"), "mach-virt.ram", 0x4000_0000),
    (re.compile(r"virt(-[\d.]+)?$"), "riscv_virt_board.ram", 0x8000_0000),
    (re.compile(r"virt(-[\d.]+)?$"), "m68k_virt.ram", 0),
    (re.compile(r"pseries-"), "ppc_spapr.ram", 0),
    (re.compile(r"s390-ccw-virtio-"), "s390.ram", 0),
    (re.compile(r"clipper$"), "ram", 0),
    (re.compile(r"or1k-sim$"), "openrisc.ram", 0),
    (re.compile(r"sun4u$"), "sun4u.ram", 0),
)


def guest_layout(capture: Capture, given: Given | None = None) -> Layout:
    """Return where a capture's RAM stands at guest-physical addresses.

    Args:
        capture: a capture whose main stream can be read.
        given: what the user knows.

    Raises:
        WriterError: it cannot be known; the text says what to give.
        SourceError: the main stream cannot be read.
    """
    given = given or Given()
    blocks = [block for block in capture.blocks if block.used_length]
    devices = open_devices(capture)
    machine = _machine(capture, devices)
    if machine is not None and _X86.match(machine):
        return pc_layout(machine, blocks, devices, given)
    names = {block.name for block in blocks}
    fitting = [row for row in _FLAT if machine is not None and row[0].match(machine)]
    # One row is certain without its block, for the RAM of a memory backend has another name.
    rows = [row for row in fitting if row[1] in names] or fitting[: 1 if len(fitting) == 1 else 0]
    if len(rows) == 1:
        _, default, start = rows[0]
        main = main_blocks(blocks, default, given, None)
        total = sum(block.used_length for block in main)
        origin = f"RAM of machine type {machine} begins at 0x{start:x}"
        ranges = in_a_row(main, start, total, start + total, origin)
        return finished(ranges, (), blocks, given, virtio_mem_ranges(devices, blocks))
    if given.below_4g_len is not None:
        return pc_layout(machine or "pc", blocks, devices, given)
    if given.placed:
        return finished((), (), blocks, given, virtio_mem_ranges(devices, blocks))
    raise WriterError(
        f"where the RAM of machine type {machine or 'unknown'} stands is not known; for an x86 "
        "machine give --below-4g BYTES, for others place its blocks with --place BLOCK=ADDRESS"
    )


def _machine(capture: Capture, devices: Devices) -> str | None:
    """Return the machine type; without one in the stream, pc where there is its host bridge."""
    configuration = capture.stream.configuration
    if configuration is not None and configuration.machine:
        return configuration.machine
    bridges = {device.name.rpartition("/")[2] for device in devices}
    return "pc" if bridges & {"I440FX", "mch"} else None
