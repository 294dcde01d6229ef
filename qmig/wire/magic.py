"""The magic numbers that tell files apart, alone, so that to look at a file loads no schema."""

from __future__ import annotations

from typing import Final

QEMU_VM_FILE_MAGIC: Final = 0x5145564D  # migration/qemu-file.h
MULTIFD_MAGIC: Final = 0x11223344  # migration/multifd.h
MULTIFD_MAGIC_BYTES: Final = MULTIFD_MAGIC.to_bytes(4, "big")
QEMU_SAVE_MAGIC: Final = b"LibvirtQemudSave"  # libvirt, src/qemu/qemu_saveimage.h
QEMU_SAVE_PARTIAL: Final = b"LibvirtQemudPart"
LZOP_MAGIC: Final = bytes.fromhex("894c5a4f000d0a1a0a")

# The section that only `qmig salvage` writes, and that no QEMU knows.
SALVAGED_SECTION: Final = "qmig/salvaged"

# What compressed data begins with, by the name of its codec.
CODEC_MAGICS: Final[dict[str, bytes]] = {
    "gzip": b"\x1f\x8b\x08",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "lzop": LZOP_MAGIC,
    "zstd": b"\x28\xb5\x2f\xfd",
}


def codec_of(head: bytes) -> str | None:
    """Return the name of the codec whose magic number `head` begins with."""
    return next((name for name, magic in CODEC_MAGICS.items() if head.startswith(magic)), None)
