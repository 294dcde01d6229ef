"""The guest-physical layout of x86 machines: pc, q35, isapc, microvm.

How much RAM stands below 4 GiB is in the memory of the real-time clock, where the machine puts it
for its firmware (hw/i386/pc.c pc_cmos_init, hw/i386/microvm.c microvm_set_rtc, QEMU 10.0). The
bytes can be written by the guest, so all of them must agree with one split of the RAM that is
there. What the first MiB shows is told by the registers of the host bridge (hw/pci-host/i440fx.c
i440fx_update_memory_mappings, hw/pci-host/q35.c mch_update_pam, mch_update_smram, pam.c).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qmig.errors import WriterError
from qmig.export.layout import (
    FOUR_GIB,
    GIB,
    Given,
    Hidden,
    Layout,
    PhysicalRange,
    cut,
    finished,
    in_a_row,
    main_blocks,
)
from qmig.export.virtio_mem_layout import virtio_mem_ranges
from qmig.limits import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qmig.devices.devices import Device, Devices
    from qmig.memory import RamBlock

_KIB: Final = 1024
_UNIT_LEN: Final = 64 * _KIB
_CMOS_LEN: Final = 128
_BASE_KIB: Final = 640
_MICROVM_BELOW_4G_LEN: Final = 3 * GIB
_VIDEO: Final = (0xA0000, 0xC0000)
_ROM_ADDR: Final = 0xC0000
_ISA_BIOS_MOST_LEN: Final = 128 * _KIB
# Above this, RAM may begin at 1 TiB instead of 4 GiB (pc_memory_init, AMD_HT_START): 1012 GiB, less
# what the machine puts behind RAM.
_SURE_LEN: Final = 900 * GIB
# Host bridges: device id, first PAM register, SMRAM register.
_I440FX: Final = (0x1237, 0x59, 0x72)
_MCH: Final = (0x29C0, 0x90, 0x9D)
_INTEL: Final = 0x8086
_PCI_VERSION_LEN: Final = 4  # PCIDevice begins with its version, in front of the config space
_CONFIG_LEN: Final = 256
_SMRAM_D_OPEN: Final = 0x40
_CLASS: Final = 0x0A
_CLASS_VGA: Final = 0x0300
_VGA_NAME: Final = re.compile(r"(^|/)(vga|cirrus_vga)$")
_PCI_NAME: Final = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]/")
_PAM_REGIONS: Final = 13
_PAM_BIOS: Final = (0xF0000, 0x10000)
_PAM_LEN: Final = 0x4000
_MCH_ESMRAMC: Final = 0x9E
_T_EN: Final = 1
_MCH_EXT_TSEG_MBYTES: Final = 0x50
_MCH_F_SMBASE: Final = 0x9C
_SMBASE_LOCKED: Final = 2
_SMBASE: Final = (0x30000, 0x20000)


def pc_layout(machine: str, blocks: Sequence[RamBlock], devices: Devices, given: Given) -> Layout:
    """Return the layout of an x86 machine.

    Args:
        machine: its type.
        blocks: the guest's RAM blocks.
        devices: the guest's devices.
        given: what the user knows.

    Raises:
        WriterError: it cannot be known, or what is given does not fit.
    """
    microvm = machine.startswith("microvm")
    cmos = _cmos(devices)
    default = "microvm.ram" if microvm else "pc.ram"
    told = _told_len(cmos) if cmos is not None else None
    main = main_blocks(blocks, default, given, told)
    total = sum(block.used_length for block in main)
    below, origin = _below(total, cmos, given, microvm=microvm)
    if total - below and total > _SURE_LEN and not given.placed:
        raise WriterError(
            "with so much RAM, a machine may put what lies above 4 GiB at 1 TiB, and nothing in "
            "the stream tells; place the blocks with --place BLOCK=ADDRESS"
        )
    ranges = in_a_row(main, 0, below, FOUR_GIB, origin)
    bios = next((block for block in blocks if block.name == "pc.bios"), None)
    names = {block.name: block.used_length for block in blocks}
    hidden: list[Hidden] = []
    bridge = None if microvm else _bridge(devices)
    if bridge is not None:
        if not bridge[0][bridge[1][2]] & _SMRAM_D_OPEN and _has_vga(devices):
            ranges = _hide(ranges, hidden, *_VIDEO, "video memory")
        ranges = _behind_bridge(ranges, hidden, bridge, names, below)
    elif not microvm:
        ranges = cut(ranges, _VIDEO[0], MIB)
        why = "video memory and firmware: the state of the host bridge is not known"
        hidden.append(Hidden(_VIDEO[0], MIB - _VIDEO[0], why))
    else:
        ranges = _show_isa_bios(ranges, names, "microvm shows its firmware there")
    if bios is not None and bios.used_length:
        origin = "the end of an x86 machine's firmware is at 4 GiB"
        addr = FOUR_GIB - bios.used_length
        ranges.append(PhysicalRange(addr, bios.used_length, bios.name, 0, origin))
    return finished(ranges, hidden, blocks, given, virtio_mem_ranges(devices, blocks))


def _cmos(devices: Devices) -> bytes | None:
    """Return the memory of the real-time clock; it stands first in each version of its section."""
    for device in devices.named("mc146818rtc"):
        data = device.read()[:_CMOS_LEN]
        if len(data) == _CMOS_LEN:
            return data
    return None


def _word(cmos: bytes, at: int, length: int = 2) -> int:
    return int.from_bytes(cmos[at : at + length], "little")


def _told_len(cmos: bytes) -> int | None:
    """Return the bytes of RAM that the clock's memory tells, where it is whole units."""
    below = _word(cmos, 0x34) * _UNIT_LEN + 16 * MIB
    if _word(cmos, 0x34) == 0:
        below = _word(cmos, 0x17) * _KIB + MIB
    return below + _word(cmos, 0x5B, 3) * _UNIT_LEN


def _expected_cmos(below: int, above: int) -> dict[int, int]:
    """Return the bytes that the machine writes for a split."""
    low = min(below // _KIB, _BASE_KIB)
    extended = min(max(0, below - MIB) // _KIB, 0xFFFF)
    units = min(max(0, below - 16 * MIB) // _UNIT_LEN, 0xFFFF)
    high = above // _UNIT_LEN
    return {
        0x15: low & 0xFF,
        0x16: low >> 8,
        0x17: extended & 0xFF,
        0x18: extended >> 8,
        0x34: units & 0xFF,
        0x35: units >> 8,
        0x5B: high & 0xFF,
        0x5C: high >> 8 & 0xFF,
        0x5D: high >> 16 & 0xFF,
    }


def _below(total: int, cmos: bytes | None, given: Given, *, microvm: bool) -> tuple[int, str]:
    """Return how much RAM is below 4 GiB, and where that is known from."""
    if given.below_4g_len is not None:
        if given.below_4g_len > min(total, FOUR_GIB):
            raise WriterError(
                f"--below-4g {given.below_4g_len} is more than the RAM that there is, or than 4 GiB"
            )
        return given.below_4g_len, "given with --below-4g"
    if cmos is None:
        if microvm:
            return min(total, _MICROVM_BELOW_4G_LEN), "a microvm has up to 3 GiB below 4 GiB"
        raise WriterError(
            "the stream has no state of a real-time clock (mc146818rtc), which tells how much RAM "
            "stands below 4 GiB; give it with --below-4g BYTES"
        )
    above = _word(cmos, 0x5B, 3) * _UNIT_LEN
    below = total - above
    expected = _expected_cmos(below, above) if 0 <= below <= FOUR_GIB else {}
    wrong = [at for at, value in expected.items() if cmos[at] != value]
    # RAM below and above 4 GiB whose last units are both not whole cannot be told apart.
    if wrong or not expected or (above and below % _UNIT_LEN):
        raise WriterError(
            f"the clock's memory (CMOS 0x34, 0x35, 0x5b to 0x5d) tells of "
            f"{_told_len(cmos)} bytes of RAM, of which {above} are above 4 GiB, and the main RAM "
            f"has {total}; give what is below 4 GiB with --below-4g BYTES"
        )
    return below, "CMOS 0x15 to 0x18, 0x34, 0x35, 0x5b to 0x5d, and the length of the RAM"


def _bridge(devices: Devices) -> tuple[bytes, tuple[int, int, int]] | None:
    """Return the configuration space of the host bridge, and which one it is."""
    for device in devices:
        name = device.name.rpartition("/")[2]
        if name not in ("I440FX", "mch"):
            continue
        kind = _I440FX if name == "I440FX" else _MCH
        config = _config(device)
        vendor, number = _word(config, 0), _word(config, 2)
        if len(config) == _CONFIG_LEN and (vendor, number) == (_INTEL, kind[0]):
            return config, kind
    return None


def _config(device: Device) -> bytes:
    """Return the configuration space: it stands first in the section, behind its version."""
    return device.read()[_PCI_VERSION_LEN : _PCI_VERSION_LEN + _CONFIG_LEN]


def _has_vga(devices: Devices) -> bool:
    """Tell whether there is a VGA device: it alone hides RAM at the addresses of VGA memory."""
    for device in devices:
        if _VGA_NAME.search(device.name):
            return True
        if _PCI_NAME.match(device.name) and _word(_config(device), _CLASS) == _CLASS_VGA:
            return True
    return False


def _behind_bridge(
    ranges: list[PhysicalRange],
    hidden: list[Hidden],
    bridge: tuple[bytes, tuple[int, int, int]],
    names: dict[str, int],
    below: int,
) -> list[PhysicalRange]:
    """Take out of the RAM what the registers of the host bridge hide."""
    config, (number, pam, _) = bridge
    for at in range(_PAM_REGIONS):
        start = _PAM_BIOS[0] if at == 0 else _ROM_ADDR + (at - 1) * _PAM_LEN
        length = _PAM_BIOS[1] if at == 0 else _PAM_LEN
        register = config[pam + (at + 1) // 2]
        attributes = register >> (0 if at % 2 else 4) & 3
        if attributes == 0:  # the other three show RAM, as QEMU has it
            ranges = _show_rom(ranges, start, start + length, names)
    if number == _MCH[0]:
        ranges = _hide_smm(ranges, hidden, config, below)
    return ranges


def _hide(
    ranges: list[PhysicalRange], hidden: list[Hidden], start: int, end: int, why: str
) -> list[PhysicalRange]:
    if any(one.start_addr < end and start < one.end_addr for one in ranges):
        hidden.append(Hidden(start, end - start, why))
    return cut(ranges, start, end)


def _hide_smm(
    ranges: list[PhysicalRange], hidden: list[Hidden], config: bytes, below: int
) -> list[PhysicalRange]:
    """Take away what a q35 shows to system management mode alone."""
    esmramc = config[_MCH_ESMRAMC]
    if esmramc & _T_EN:
        sizes = (1, 2, 8, _word(config, _MCH_EXT_TSEG_MBYTES))
        tseg_len = sizes[esmramc >> 1 & 3] * MIB
        ranges = _hide(ranges, hidden, below - tseg_len, below, "TSEG, for SMM alone")
    if config[_MCH_F_SMBASE] == _SMBASE_LOCKED:
        start, length = _SMBASE
        ranges = _hide(ranges, hidden, start, start + length, "SMRAM at SMBASE, for SMM alone")
    return ranges


def _show_rom(
    ranges: list[PhysicalRange], start: int, end: int, names: dict[str, int]
) -> list[PhysicalRange]:
    """Show firmware in place of RAM, where there is some: elsewhere the RAM shows through."""
    origin = "the host bridge's PAM registers show firmware there"
    for one in _roms(names):
        low, high = max(one.start_addr, start), min(one.end_addr, end)
        if low < high:
            skip = low - one.start_addr
            ranges = cut(ranges, low, high)
            ranges.append(PhysicalRange(low, high - low, one.block, one.block_addr + skip, origin))
    return ranges


def _roms(names: dict[str, int]) -> list[PhysicalRange]:
    """Return where the PCI address space has firmware below 1 MiB."""
    roms = []
    if names.get("pc.rom"):
        roms.append(PhysicalRange(_ROM_ADDR, names["pc.rom"], "pc.rom", 0, ""))
    return [*roms, *_isa_bios(names)]


def _isa_bios(names: dict[str, int]) -> list[PhysicalRange]:
    """Return the copy of the firmware's end that stands in front of 1 MiB."""
    for name in ("isa-bios", "pc.bios"):  # a block of its own where it is no alias
        if names.get(name):
            length = min(names[name], _ISA_BIOS_MOST_LEN)
            return [PhysicalRange(MIB - length, length, name, names[name] - length, "")]
    return []


def _show_isa_bios(
    ranges: list[PhysicalRange], names: dict[str, int], origin: str
) -> list[PhysicalRange]:
    for one in _isa_bios(names):
        ranges = cut(ranges, one.start_addr, one.end_addr)
        ranges.append(PhysicalRange(one.start_addr, one.length, one.block, one.block_addr, origin))
    return ranges
