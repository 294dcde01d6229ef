"""Records inside of device state, and of what is written beside streams; see `triples`."""

from typing import Any, Final

from qmig.wire import elf, lime, pci, virtio
from tests.wire.triple import (
    Triple,
    pair,
    raw,
    swapped16,
    swapped32,
    swapped64,
    u8,
    u16,
    u32,
    u64,
)

_BARS: Final = [0x0102E304 + 0x1000 * number for number in range(6)]


def bars(count: int) -> tuple[str, str, list[int]]:
    """The first base address registers, little-endian."""
    chosen = _BARS[:count]
    return "base_address", "".join(bar.to_bytes(4, "little").hex() for bar in chosen), chosen


_PCI_COMMON: Final[tuple[tuple[str, str, Any], ...]] = (
    swapped16("vendor_id", 0x1AF4), swapped16("device_id", 0x1041), swapped16("command", 0x0507),
    swapped16("status", 0x0010), u8("revision", 1), u8("class_prog", 2),
    swapped16("class_device", 0x0200), u8("cache_line_size", 3), u8("latency_timer", 4),
)  # fmt: skip

PCI: Final = (
    Triple(pci.PciHeaderStart, 16, (*_PCI_COMMON, u8("header_type", 0x81), u8("bist", 5))),
    Triple(pci.PciHeader, 64, (
        *_PCI_COMMON, u8("header_type", 0x80), u8("bist", 5), bars(6),
        swapped32("cardbus_cis", 0x0A0B0C0D), swapped16("subsystem_vendor_id", 0x1AF5),
        swapped16("subsystem_id", 0x1100), swapped32("rom_address", 0xFEB80001),
        u8("capabilities", 0x98), raw("reserved", "01020304050607", 7), u8("interrupt_line", 11),
        u8("interrupt_pin", 2), u8("min_gnt", 6), u8("max_lat", 7))),
    Triple(pci.PciBridgeHeader, 64, (
        *_PCI_COMMON, u8("header_type", 0x81), u8("bist", 5), bars(2), u8("primary_bus", 1),
        u8("secondary_bus", 2), u8("subordinate_bus", 3), u8("secondary_latency_timer", 4),
        u8("io_base", 0xF1), u8("io_limit", 0xE1), swapped16("secondary_status", 0x2233),
        swapped16("memory_base", 0xFE10), swapped16("memory_limit", 0xFE20),
        swapped16("pref_memory_base", 0xFD11), swapped16("pref_memory_limit", 0xFD21),
        swapped32("pref_base_upper32", 0x11), swapped32("pref_limit_upper32", 0x12),
        swapped16("io_base_upper16", 0x13), swapped16("io_limit_upper16", 0x14),
        u8("capabilities", 0x40), raw("reserved", "010203", 3),
        swapped32("rom_address", 0xFEB90001), u8("interrupt_line", 10), u8("interrupt_pin", 1),
        swapped16("bridge_control", 0x0304))),
    Triple(pci.MsixEntry, 16, (
        swapped64("message_addr", 0x00000001FEE01004), swapped32("message_data", 0x4023),
        swapped32("vector_control", 1))),
)  # fmt: skip

VIRTIO: Final = (
    Triple(virtio.VirtioMmioTransport, 12, (
        u32("host_features_sel", 1), u32("guest_features_sel", 2), u32("guest_page_shift", 12))),
    Triple(virtio.VirtioCcwOrb, 12, (
        u32("intparm", 0x11223344), u16("ctrl0", 0x0180), u8("lpm", 0x80), u8("ctrl1", 1),
        u32("cpa", 0x7FFF0010))),
    Triple(virtio.VirtioCcwIndicator, 12, (u32("len", 8), u64("addr", 0x1_0000_2000))),
    Triple(virtio.VirtioCcwVector, 10, (u16("config_vector", 0xFFFE), u64("ind_offset", 0x40))),
    Triple(virtio.VirtioCcwSummary, 4, (u32("summary_offset", 0x0102),)),
    Triple(virtio.VirtioCcwTail, 5, (u8("thinint_isc", 3), u32("revision", 0xFFFFFFFE))),
    Triple(virtio.VirtioVersion, 4, (u32("version_id", 2),)),
    Triple(virtio.VirtioVector, 2, (u16("config_vector", 0x0102),)),
    Triple(virtio.VirtioHead, 12, (
        u8("status", 0x0F), u8("isr", 1), u16("queue_sel", 2), u32("guest_features_lo", 0x30002EA4),
        u32("config_len", 60))),
    Triple(virtio.VirtioQueueCount, 4, (u32("queues", 3),)),
    Triple(virtio.VirtioQueue, 14, (
        u32("num", 256), u64("desc", 0x1_2345_6000), u16("last_avail_idx", 0xFFFE))),
    Triple(virtio.VirtioQueueVector, 16, (
        u32("num", 256), u64("desc", 0x1_2345_6000), u16("last_avail_idx", 0xFFFE),
        u16("vector", 3))),
    Triple(virtio.VirtioQueueAligned, 18, (
        u32("num", 256), u32("align", 4096), u64("desc", 0x1_2345_6000),
        u16("last_avail_idx", 0xFFFE))),
    Triple(virtio.VirtioQueueRings, 16, (
        u64("avail", 0x1_2345_7000), u64("used", 0x1_2345_8000))),
    Triple(virtio.VirtioRingSize, 4, (u32("num_default", 1024),)),
    Triple(virtio.VirtioPackedQueue, 10, (
        u16("last_avail_idx", 0x0102), u8("last_avail_wrap_counter", 1), u16("used_idx", 0x0304),
        u8("used_wrap_counter", 0), u32("inuse", 5))),
    Triple(virtio.VirtioFlag, 1, (u8("value", 2),)),
    Triple(virtio.VirtioFeatures, 8, (u64("guest_features", 0x1_3000_2EA4),)),
    Triple(virtio.VirtioExtendedFeatures, 8, (u64("guest_features_ex", 0x1E),)),
    Triple(virtio.VirtioPciExtendedFeatures, 8, (pair("guest_features", 0x1E, 2),)),
    Triple(virtio.VirtioPciState, 16, (
        u32("dfselect", 1), u32("gfselect", 2), pair("guest_features", 0x30002EA4, 1))),
    Triple(virtio.VirtioPciQueue, 28, (
        u16("num", 256), u8("unused", 0xEE), u8("enabled", 1), pair("desc", 0x23456000, 1),
        pair("avail", 0x23457000, 2), pair("used", 0x23458000, 3))),
    Triple(virtio.VirtioMmioState, 8, (pair("guest_features", 0x30002EA4, 1),)),
    Triple(virtio.VirtioMmioQueue, 27, (
        u16("num", 256), u8("enabled", 1), pair("desc", 0x23456000, 1),
        pair("avail", 0x23457000, 2), pair("used", 0x23458000, 3))),
)  # fmt: skip

DEVICES: Final = (*PCI, *VIRTIO)


def registers(names: str) -> tuple[tuple[str, str, int], ...]:
    """Little-endian 64-bit registers, each with another value."""
    first = 0x0102030405060700
    return tuple(swapped64(name, first + number) for number, name in enumerate(names.split()))


def register_array(name: str, count: int) -> tuple[str, str, list[int]]:
    """The same as an array."""
    values = [0x1112131415161700 + number for number in range(count)]
    return name, "".join(value.to_bytes(8, "little").hex() for value in values), values


_IDENT: Final = bytes((0x7F, 0x45, 0x4C, 0x46, 2, 1, 1)) + bytes(9)

ELF: Final = (
    Triple(elf.Elf64Ehdr, 64, (
        ("e_ident", _IDENT.hex(), _IDENT), swapped16("e_type", 4), swapped16("e_machine", 62),
        swapped32("e_version", 1), swapped64("e_entry", 2), swapped64("e_phoff", 64),
        swapped64("e_shoff", 3), swapped32("e_flags", 4), swapped16("e_ehsize", 64),
        swapped16("e_phentsize", 56), swapped16("e_phnum", 7), swapped16("e_shentsize", 8),
        swapped16("e_shnum", 9), swapped16("e_shstrndx", 10))),
    Triple(elf.Elf64Phdr, 56, (
        swapped32("p_type", 1), swapped32("p_flags", 7), swapped64("p_offset", 0x1000),
        swapped64("p_vaddr", 0x2000), swapped64("p_paddr", 0x1_0000_0000),
        swapped64("p_filesz", 0x3000), swapped64("p_memsz", 0x4000), swapped64("p_align", 5))),
    Triple(elf.Elf64Nhdr, 12, (
        swapped32("n_namesz", 5), swapped32("n_descsz", 336), swapped32("n_type", 1))),
    Triple(elf.X8664Prstatus, 336, (
        raw("pad1", "01", 32), swapped32("pid", 2), raw("pad2", "03", 76),
        *registers(
            "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags "
            "rsp ss fs_base gs_base ds es fs gs"
        ),
        raw("pad3", "04", 8))),
    Triple(elf.QemuCpuState, 152, (
        swapped32("version", 1), swapped32("size", 440),
        *registers(
            "rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags"
        ))),
    Triple(elf.QemuCpuSegment, 24, (
        swapped32("selector", 0x10), swapped32("limit", 0xFFFFFFFF), swapped32("flags", 0xCF9300),
        swapped32("pad", 7), swapped64("base", 0xFFFF888000000000))),
    Triple(elf.QemuCpuStateTail, 48, (
        register_array("cr", 5), swapped64("kernel_gs_base", 0x0908070605040302))),
    Triple(elf.Aarch64Prstatus, 392, (
        raw("pad1", "01", 32), swapped32("pr_pid", 2), raw("pad2", "03", 76),
        register_array("regs", 31), *registers("sp pc pstate"), swapped32("pr_fpvalid", 1),
        raw("pad3", "04", 4))),
)  # fmt: skip

EXPORT: Final = (
    *ELF,
    Triple(lime.LimeHeader, 32, (
        swapped32("magic", 0x4C694D45), swapped32("version", 1), swapped64("s_addr", 0x100000),
        swapped64("e_addr", 0x1_BFFF_FFFF), swapped64("reserved", 7))),
)  # fmt: skip
