"""A disk whose boot sector fills the registers of the first CPU in 64-bit mode and stands still."""

from pathlib import Path
from typing import Final

# Assembled from, in this order: cli; segments and stack to 0; three zeroed pages at 0x9000 that map
# the first 2 MiB one to one (PML4 0x9000, PDPT 0xa000, PD 0xb000); CR4.PAE, CR3, EFER.LME, lgdt,
# CR0.PE and PG, ljmp to 64-bit code; FS, GS and kernel GS base by wrmsr; a pattern of its own in
# each register; the mark; stc; hlt for ever; behind it the GDT.
_CODE: Final = bytes.fromhex(
    "fa31c08ed88ec08ed0bc0070bf0090b9000c6631c0fc66f3ab66c706009003a0"
    "000066c70600a003b0000066c70600b0830000000f20e06683c8200f22e066b8"
    "009000000f22d866b9800000c00f32660d000100000f300f0116007d0f20c066"
    "0d010000800f22c0ea6d7c0800b9000100c0b844332211ba550000000f30ffc1"
    "0f30ffc1f7d00f3048b8efcdab89674523014889c348c1c3084889d948c1c104"
    "4889ca48f7d2488d7001488d7802488d68034c8d40044c8d48054c8d50064c8d"
    "58074c8d60084c8d68094c8d700a4c8d780bc70425008000000d600d60f9f4eb"
    "fd0f1f80000000000000000000000000ffff0000009baf00ffff00000093cf00"
    "1700e87c0000"
)
MARK_ADDR: Final = 0x8000
MARK: Final = 0x600D600D
RAX: Final = 0x0123456789ABCDEF
_SECTOR_LEN: Final = 512


def write_disk(path: Path) -> None:
    """Write the disk."""
    sector = _CODE.ljust(_SECTOR_LEN - 2, b"\0") + b"\x55\xaa"
    path.write_bytes(sector.ljust(1 << 20, b"\0"))
