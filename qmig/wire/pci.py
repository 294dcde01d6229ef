"""PCI configuration space, as devices put it into their state.

Little-endian, as on the bus: QEMU writes its bytes as they are. A device has 256 bytes, one with a
PCI Express capability 4096. The first 64 are one of two headers, by the low bits of `header_type`;
capabilities are a list that begins at the `capabilities` byte, extended ones at byte 256.

Sources: hw/pci/pci.c (vmstate_pci_device, get_pci_config_device), hw/pci/msix.c (msix_save),
include/standard-headers/linux/pci_regs.h (10.0).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from construct import Array, Bytes, Int8ul, Int16ul, Int32ul, Int64ul

from qmig.wire.record import WireRecord, wire

PCI_DEVICE_VERSION: Final = 2
PCI_CONFIG_SPACE_SIZE: Final = 256
PCIE_CONFIG_SPACE_SIZE: Final = 4096
PCI_CONFIG_HEADER_SIZE: Final = 64
PCI_HEADER_TYPE_MASK: Final = 0x7F
PCI_HEADER_TYPE_BRIDGE: Final = 1
PCI_IRQ_STATE_LEN: Final = 16


class PciHeaderStart(WireRecord):
    """What the headers of all types begin with."""

    vendor_id: int = wire(Int16ul, "who made it")
    device_id: int = wire(Int16ul, "what it is, by its maker")
    command: int = wire(Int16ul, "PciCommand")
    status: int = wire(Int16ul, "PCI_STATUS_ bits; 0x10: it has capabilities")
    revision: int = wire(Int8ul, "revision")
    class_prog: int = wire(Int8ul, "programming interface")
    class_device: int = wire(Int16ul, "class, with the subclass in its low byte")
    cache_line_size: int = wire(Int8ul, "in units of 4 bytes")
    latency_timer: int = wire(Int8ul, "latency timer")
    header_type: int = wire(Int8ul, "0: device, 1: bridge; 0x80: it has several functions")
    bist: int = wire(Int8ul, "self test")


class PciHeader(PciHeaderStart):
    """The header of a device, type 0."""

    base_address: list[int] = wire(
        Array(6, Int32ul), "BARs: address, with its kind in the low bits"
    )
    cardbus_cis: int = wire(Int32ul, "CardBus CIS pointer")
    subsystem_vendor_id: int = wire(Int16ul, "who made the board")
    subsystem_id: int = wire(Int16ul, "what the board is; of a legacy virtio device its type")
    rom_address: int = wire(Int32ul, "BAR of the ROM; bit 0: enabled")
    capabilities: int = wire(Int8ul, "byte at which the first capability lies; 0: none")
    reserved: bytes = wire(Bytes(7), "0")
    interrupt_line: int = wire(Int8ul, "what the firmware chose")
    interrupt_pin: int = wire(Int8ul, "1 to 4 for A to D; 0: none")
    min_gnt: int = wire(Int8ul, "in units of 250 ns")
    max_lat: int = wire(Int8ul, "in units of 250 ns")


class PciBridgeHeader(PciHeaderStart):
    """The header of a bridge, type 1."""

    base_address: list[int] = wire(
        Array(2, Int32ul), "BARs: address, with its kind in the low bits"
    )
    primary_bus: int = wire(Int8ul, "bus on the side of the processor")
    secondary_bus: int = wire(Int8ul, "bus on the other side")
    subordinate_bus: int = wire(Int8ul, "the highest bus behind it")
    secondary_latency_timer: int = wire(Int8ul, "latency timer of the other side")
    io_base: int = wire(Int8ul, "bits 15 to 12 of the first port behind it")
    io_limit: int = wire(Int8ul, "bits 15 to 12 of the last port behind it")
    secondary_status: int = wire(Int16ul, "PCI_STATUS_ bits of the other side")
    memory_base: int = wire(Int16ul, "bits 31 to 20 of the first address behind it")
    memory_limit: int = wire(Int16ul, "bits 31 to 20 of the last address behind it")
    pref_memory_base: int = wire(Int16ul, "the same for prefetchable memory")
    pref_memory_limit: int = wire(Int16ul, "the same for prefetchable memory")
    pref_base_upper32: int = wire(Int32ul, "its bits 63 to 32")
    pref_limit_upper32: int = wire(Int32ul, "its bits 63 to 32")
    io_base_upper16: int = wire(Int16ul, "bits 31 to 16 of the first port")
    io_limit_upper16: int = wire(Int16ul, "bits 31 to 16 of the last port")
    capabilities: int = wire(Int8ul, "byte at which the first capability lies; 0: none")
    reserved: bytes = wire(Bytes(3), "0")
    rom_address: int = wire(Int32ul, "BAR of the ROM; bit 0: enabled")
    interrupt_line: int = wire(Int8ul, "what the firmware chose")
    interrupt_pin: int = wire(Int8ul, "1 to 4 for A to D; 0: none")
    bridge_control: int = wire(Int16ul, "PCI_BRIDGE_CTL_ bits")


class PciCommand(IntFlag):
    """Bits of `command`. Prefix in QEMU: PCI_COMMAND_."""

    IO = 0x1
    MEMORY = 0x2
    MASTER = 0x4
    SPECIAL = 0x8
    INVALIDATE = 0x10
    VGA_PALETTE = 0x20
    PARITY = 0x40
    WAIT = 0x80
    SERR = 0x100
    FAST_BACK = 0x200
    INTX_DISABLE = 0x400


class PciCapability(IntEnum):
    """First byte of a capability; the second one says where the next lies. Prefix: PCI_CAP_ID_."""

    PM = 0x01
    AGP = 0x02
    VPD = 0x03
    SLOTID = 0x04
    MSI = 0x05
    CHSWP = 0x06
    PCIX = 0x07
    HT = 0x08
    VNDR = 0x09
    DBG = 0x0A
    CCRC = 0x0B
    SHPC = 0x0C
    SSVID = 0x0D
    AGP3 = 0x0E
    SECDEV = 0x0F
    EXP = 0x10
    MSIX = 0x11
    SATA = 0x12
    AF = 0x13
    EA = 0x14


class PciExtendedCapability(IntEnum):
    """Low 16 bits of an extended one; the high 12 point to the next. Prefix: PCI_EXT_CAP_ID_."""

    ERR = 0x01
    VC = 0x02
    DSN = 0x03
    PWR = 0x04
    RCLD = 0x05
    RCILC = 0x06
    RCEC = 0x07
    MFVC = 0x08
    VC9 = 0x09
    RCRB = 0x0A
    VNDR = 0x0B
    CAC = 0x0C
    ACS = 0x0D
    ARI = 0x0E
    ATS = 0x0F
    SRIOV = 0x10
    MRIOV = 0x11
    MCAST = 0x12
    PRI = 0x13
    REBAR = 0x15
    DPA = 0x16
    TPH = 0x17
    LTR = 0x18
    SECPCI = 0x19
    PMUX = 0x1A
    PASID = 0x1B
    DPC = 0x1D
    L1SS = 0x1E
    PTM = 0x1F
    DVSEC = 0x23
    DLF = 0x25
    PL_16GT = 0x26
    NPEM = 0x29
    PL_32GT = 0x2A
    DOE = 0x2E


class MsixEntry(WireRecord):
    """One vector of `msix state`; behind the last one lies a bit for each that is pending."""

    message_addr: int = wire(Int64ul, "where the device writes")
    message_data: int = wire(Int32ul, "what it writes")
    vector_control: int = wire(Int32ul, "bit 0: masked")


PCI_MSIX_FLAGS_QSIZE: Final = 0x7FF
"""Bits of the 16 behind the head of capability MSIX: number of vectors, less one."""
