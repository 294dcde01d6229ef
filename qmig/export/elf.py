"""ELF cores: a guest's memory and registers, as debuggers open them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.errors import WriterError
from qmig.export.cpu_notes import cpu_notes
from qmig.export.image import Literal, Memory, Segment
from qmig.export.vmcoreinfo import find_vmcoreinfo
from qmig.wire.elf import Elf64Ehdr, Elf64Phdr, SegmentType
from qmig.wire.record import fixed_len

if TYPE_CHECKING:
    from qmig.devices.devices import Devices
    from qmig.export.layout import Layout
    from qmig.memory import SavedMemory

_MOST_HEADERS: Final = 0xFFFE  # 0xffff stands for more than fit
_ALIGN: Final = 4096  # so that holes of the memory become holes of the file


class Core(NamedTuple):
    """An ELF core, planned.

    Attributes:
        segments: what it is made of.
        length: its bytes.
        cpus: how many CPUs it has registers of.
        vmcoreinfo: where the kernel's note is known from; None where there is none.
    """

    segments: list[Segment]
    length: int
    cpus: int
    vmcoreinfo: str | None


def elf_core(devices: Devices, layout: Layout, ram: SavedMemory, *, holes: bool = False) -> Core:
    """Return the ELF core of a guest.

    Args:
        devices: of the guest.
        layout: where its memory stands.
        ram: its memory.
        holes: take pages that the capture does not hold for zeros.

    Raises:
        WriterError: the registers are not known, or there are too many ranges.
        MissingPagesError: the capture does not hold a page (without `holes`).
        StreamError: the payload of a page is damaged.
    """
    machine, notes, cpus = cpu_notes(devices)
    kernel = find_vmcoreinfo(devices, layout, ram, holes=holes)
    if kernel is not None:
        notes += kernel.note
    count = 1 + len(layout.ranges)
    if count > _MOST_HEADERS:
        raise WriterError(f"{count} ranges of memory are more than an ELF core has headers for")
    header_len, entry_len = fixed_len(Elf64Ehdr), fixed_len(Elf64Phdr)
    notes_offset = header_len + count * entry_len
    header = Elf64Ehdr(
        e_machine=machine,
        e_entry=0,
        e_phoff=header_len,
        e_shoff=0,
        e_flags=0,
        e_ehsize=header_len,
        e_phentsize=entry_len,
        e_phnum=count,
        e_shentsize=0,
        e_shnum=0,
        e_shstrndx=0,
    ).build()
    entries = [_entry(SegmentType.PT_NOTE, notes_offset, 0, len(notes), in_memory=False)]
    segments: list[Segment] = []
    offset = notes_offset + len(notes)
    for one in layout.ranges:
        offset += -offset % _ALIGN
        entries.append(_entry(SegmentType.PT_LOAD, offset, one.start_addr, one.length))
        segments.append(Memory(offset, one.length, one.block, one.block_addr))
        offset += one.length
    head = Literal(0, header + b"".join(entries) + notes)
    return Core([head, *segments], offset, cpus, kernel.origin if kernel else None)


def _entry(
    kind: SegmentType, offset: int, addr: int, length: int, *, in_memory: bool = True
) -> bytes:
    return Elf64Phdr(
        p_type=kind,
        p_flags=0,
        p_offset=offset,
        p_vaddr=addr,
        p_paddr=addr,
        p_filesz=length,
        p_memsz=length if in_memory else 0,
        p_align=0,
    ).build()
