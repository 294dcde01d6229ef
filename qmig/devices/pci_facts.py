"""What the configuration space of a PCI device says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from qmig.devices.pci_config import capabilities, is_bridge
from qmig.devices.tree import Group, Node
from qmig.wire.pci import PCI_CONFIG_HEADER_SIZE, PciBridgeHeader, PciCommand, PciHeader

if TYPE_CHECKING:
    from qmig.devices.devices import Device

Facts = dict[str, Any]

# hw/pci/pci.c, pcibus_get_dev_path (10.0): domain and bus, or the name of the root bus (that of a
# POWER host bridge, `pci` on Malta); slot and function of each bridge on the way; slot and function
# of the device.
_ADDRESS: Final = re.compile(
    r"(?P<address>(?:[0-9a-f]{4}:[0-9a-f]{2}|[A-Za-z][\w@.-]*)(?::[0-9a-f]{2}\.[0-9a-f])+)/"
)
# Classes of the PCI specification that a machine is likely to have, with the subclass.
_CLASSES: Final = {
    0x0100: "SCSI storage",
    0x0101: "IDE storage",
    0x0104: "RAID storage",
    0x0105: "ATA storage",
    0x0106: "SATA storage",
    0x0107: "SAS storage",
    0x0108: "NVMe storage",
    0x0180: "storage",
    0x0200: "Ethernet",
    0x0280: "network",
    0x0300: "VGA",
    0x0301: "XGA",
    0x0302: "3D display",
    0x0380: "display",
    0x0400: "video",
    0x0401: "audio",
    0x0403: "HD audio",
    0x0480: "multimedia",
    0x0500: "RAM",
    0x0502: "CXL memory",
    0x0580: "memory",
    0x0600: "host bridge",
    0x0601: "ISA bridge",
    0x0602: "EISA bridge",
    0x0604: "PCI bridge",
    0x0680: "bridge",
    0x0700: "serial port",
    0x0780: "communication",
    0x0805: "SD host",
    0x0880: "system peripheral",
    0x0900: "keyboard",
    0x0C03: "USB host",
    0x0C05: "SMBus",
    0x0D00: "IRDA",
    0x1000: "network encryption",
    0x1180: "signal processing",
    0x00FF: "legacy",
    0x0B40: "co-processor",
    0x1200: "accelerator",
    0xFFFF: "unassigned",
}
_IO: Final = 1
_MEMORY_64: Final = 4
_PREFETCHABLE: Final = 8


def config_of(node: Node) -> Group | None:
    """Return the first PCI configuration space below a node."""
    if not isinstance(node, Group):
        return None
    if node.kind == "pci config":
        return node
    return next((found for child in node.children if (found := config_of(child))), None)


def class_name(number: int) -> str:
    """Return the words for a class of PCI devices."""
    return _CLASSES.get(number, f"class {number:04x}")


def address_of(name: str) -> str | None:
    """Return the PCI address that a section's name begins with, as `0000:00:03.0`.

    Behind bridges a name has slot and function of all of them: `0000:00:01.0:00.0`.
    """
    found = _ADDRESS.match(name)
    return found["address"] if found else None


def facts_of(device: Device) -> tuple[str, Facts] | None:
    """Return what a PCI device is; None for others."""
    space = config_of(device.tree)
    if space is None or space.length < PCI_CONFIG_HEADER_SIZE:
        return None
    return config_facts(device, space)


def config_facts(device: Device, space: Group) -> tuple[str, Facts]:
    """Return what a configuration space says."""
    config = device.bytes_of(space)
    bridge = is_bridge(config)
    record = PciBridgeHeader if bridge else PciHeader
    header: Any = record.parse(config[:PCI_CONFIG_HEADER_SIZE])
    facts: Facts = {
        "address": address_of(device.name),
        "vendor_id": header.vendor_id,
        "device_id": header.device_id,
        "class": header.class_device,
        "class_name": class_name(header.class_device),
        "prog_if": header.class_prog,
        "revision": header.revision,
    }
    if bridge:
        facts |= _bridge_facts(header)
    else:
        facts |= {
            "subsystem_vendor_id": header.subsystem_vendor_id,
            "subsystem_id": header.subsystem_id,
        }
    facts |= {
        "command": _flags(header.command),
        "interrupt_pin": "ABCD"[header.interrupt_pin - 1]
        if 1 <= header.interrupt_pin <= 4
        else None,
        "interrupt_line": header.interrupt_line,
        "bars": _bars(header.base_address, header.rom_address, header.command),
        "capabilities": [
            {"offset": found.at, "id": found.number, "name": found.name}
            for found in capabilities(config)
        ],
    }
    if facts["address"] is None:
        del facts["address"]
    what = f"PCI {header.vendor_id:04x}:{header.device_id:04x}, {facts['class_name']}"
    return what, facts


def _bridge_facts(header: PciBridgeHeader) -> Facts:
    return {
        "primary_bus": header.primary_bus,
        "secondary_bus": header.secondary_bus,
        "subordinate_bus": header.subordinate_bus,
        "io_base_addr": (header.io_base & 0xF0) << 8 | header.io_base_upper16 << 16,
        "io_limit_addr": (header.io_limit & 0xF0) << 8 | header.io_limit_upper16 << 16 | 0xFFF,
        "memory_base_addr": (header.memory_base & 0xFFF0) << 16,
        "memory_limit_addr": (header.memory_limit & 0xFFF0) << 16 | 0xFFFFF,
        "pref_memory_base_addr": (header.pref_memory_base & 0xFFF0) << 16
        | header.pref_base_upper32 << 32,
        "pref_memory_limit_addr": (header.pref_memory_limit & 0xFFF0) << 16
        | header.pref_limit_upper32 << 32
        | 0xFFFFF,
    }


def _flags(command: int) -> list[str]:
    return [str(flag.name) for flag in PciCommand if command & flag]


def _bars(words: list[int], rom: int, command: int) -> list[Facts]:
    """Return the BARs that are not all zero, or that have a kind."""
    bars: list[Facts] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word & _IO:
            kind, address, words_used = "I/O", word & ~3, 1
            enabled = bool(command & PciCommand.IO)
        else:
            wide = bool(word & _MEMORY_64) and at + 1 < len(words)
            kind, words_used = ("64-bit memory", 2) if wide else ("32-bit memory", 1)
            address = word & ~15 | (words[at + 1] << 32 if wide else 0)
            enabled = bool(command & PciCommand.MEMORY)
        if word or address:
            bars.append(
                {
                    "bar": at,
                    "kind": kind,
                    "addr": address,
                    "prefetchable": bool(not word & _IO and word & _PREFETCHABLE),
                    "enabled": enabled,
                }
            )
        at += words_used
    if rom:
        bars.append(
            {
                "bar": 6,
                "kind": "ROM",
                "addr": rom & ~0x7FF,
                "prefetchable": False,
                "enabled": bool(rom & 1) and bool(command & PciCommand.MEMORY),
            }
        )
    return bars
