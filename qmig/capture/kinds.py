"""What a file seems to be, from its first bytes: the one table of magic numbers."""

from __future__ import annotations

from typing import Final

from qmig.wire.framing import QEMU_VM_FILE_VERSION, FileHeader, MigCmd, QemuVmSection
from qmig.wire.magic import (
    MULTIFD_MAGIC_BYTES,
    QEMU_SAVE_MAGIC,
    QEMU_SAVE_PARTIAL,
    QEMU_VM_FILE_MAGIC,
)
from qmig.wire.ram import RamSaveFlag

STREAM_MAGIC: Final = QEMU_VM_FILE_MAGIC.to_bytes(4, "big")
CHANNEL_MAGIC: Final = MULTIFD_MAGIC_BYTES
LIBVIRT_MAGICS: Final = (QEMU_SAVE_MAGIC, QEMU_SAVE_PARTIAL)

# What a stream can begin with where it does not begin the file: its header and what may follow.
STREAM_STARTS: Final = (
    *(
        FileHeader(version=QEMU_VM_FILE_VERSION).build() + bytes([kind])
        for kind in (
            QemuVmSection.CONFIGURATION,
            QemuVmSection.SECTION_START,
            QemuVmSection.COMMAND,
        )
    ),
    *LIBVIRT_MAGICS,
)

# Kinds of file that people hold for a migration stream, with what can be done.
_FOREIGN: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\x7fELF", "an ELF file (a program, or a memory dump by dump-guest-memory)", ""),
    (
        b"QFI\xfb",
        "a qcow2 disk image",
        "a snapshot made by savevm lies inside it and must be taken out first",
    ),
    (b"KDUMP   ", "a kdump memory dump", ""),
    (b"PAGEDU", "a Windows crash dump", ""),
    (b"EMiL", "a LiME memory dump", ""),
    (b"QCPR", "QEMU's own state of a CPR transfer, without RAM or devices", ""),
    (b"VMDK", "a VMDK disk image", ""),
    (b"KDMV", "a VMDK disk image", ""),
    (b"conectix", "a VHD disk image", ""),
    (b"vhdxfile", "a VHDX disk image", ""),
    (b"QED\0", "a QED disk image", ""),
    (b"<domain", "a libvirt domain XML", ""),
    (b"<?xml", "an XML file", ""),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"\x04\x22\x4d\x18", "lz4 data", "decompress it first"),
    (b"\xd4\xc3\xb2\xa1", "a packet capture (pcap)", "extract the TCP streams first"),
    (b"\xa1\xb2\xc3\xd4", "a packet capture (pcap)", "extract the TCP streams first"),
    (b"\x0a\x0d\x0d\x0a", "a packet capture (pcapng)", "extract the TCP streams first"),
    (b"MDMP", "a Windows minidump", ""),
    (b"VMA\0", "a Proxmox VMA archive", "extract it with vma first"),
    (b"%PDF", "a PDF", ""),
    (b"\x89PNG", "a PNG picture", ""),
    (b"\x16\x03", "a TLS connection", "only its end points can decrypt it"),
)
_TAR_MAGIC_AT: Final = 257
_WORD_LEN: Final = 8
_PAGE_FLAGS: Final = (int(RamSaveFlag.ZERO), int(RamSaveFlag.PAGE))
_RECOVERY_COMMANDS: Final = tuple(
    bytes([QemuVmSection.COMMAND]) + command.to_bytes(2, "big")
    for command in (MigCmd.POSTCOPY_RESUME, MigCmd.RECV_BITMAP)
)


def describe_foreign(head: bytes) -> tuple[str, str]:
    """Say what a file that is no stream seems to be.

    Args:
        head: its first bytes (some hundreds).

    Returns:
        What it seems to be ("an ELF file ..."), and what can be done, or "".
    """
    if not head:
        return "an empty file", ""
    for magic, words, hint in _FOREIGN:
        if head.startswith(magic):
            return words, hint
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "a tar archive", "unpack it first"
    if STREAM_MAGIC.startswith(head) or CHANNEL_MAGIC.startswith(head):
        return f"the first {len(head)} bytes of a migration stream, cut short", ""
    if any(magic.startswith(head) for magic in LIBVIRT_MAGICS):
        return f"the first {len(head)} bytes of a libvirt save image, cut short", ""
    if not head.strip(b"\0"):
        return "zeros", ""
    if all(byte in b"\t\n\r\f\x1b" or 0x20 <= byte < 0x7F for byte in head):
        return "text", ""
    return f"unknown data ({head[:8].hex(' ')} ...)", ""


def may_hide_stream(head: bytes) -> bool:
    """Tell whether a stream may begin further back: not in a file whose kind is known."""
    return bool(head) and not any(head.startswith(magic) for magic, _, _ in _FOREIGN)


def looks_like_stream(head: bytes) -> bool:
    """Tell whether this is a stream but for its magic number."""
    magic_len = len(STREAM_MAGIC)
    return any(
        start.startswith(STREAM_MAGIC) and head[magic_len:].startswith(start[magic_len:])
        for start in STREAM_STARTS
    )


def looks_like_recovery(head: bytes) -> bool:
    """Tell whether this is the second connection of a postcopy migration that was resumed.

    It has no header: it begins with RECV_BITMAP, command 10 (9 in 3.0), or POSTCOPY_RESUME.
    """
    if not head.startswith(_RECOVERY_COMMANDS):
        return False
    payload_len = int.from_bytes(head[3:5], "big")
    return payload_len == 0 or (head[5:6] != b"" and head[5] + 1 == payload_len)


def looks_like_preempt(head: bytes) -> bool:
    """Tell whether this is the channel for requested pages of a postcopy migration (7.1).

    It has no header either: it begins with a page record, which names its block.
    """
    if len(head) <= _WORD_LEN or head[0] != 0:
        return False
    name = head[_WORD_LEN + 1 : _WORD_LEN + 1 + head[_WORD_LEN]]
    return (
        head[_WORD_LEN - 1] in _PAGE_FLAGS
        and len(name) == head[_WORD_LEN] > 0
        and all(0x20 < byte < 0x7F for byte in name)  # printable ASCII
    )
