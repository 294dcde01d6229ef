"""The `flags` of a multifd packet (migration/multifd.h)."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class MultifdFlag(IntFlag):
    """Bits of `flags` that stand alone. Prefix in QEMU: MULTIFD_FLAG_."""

    SYNC = 0x01
    DEVICE_STATE = 0x40  # 10.0 and later


COMPRESSION_MASK: Final = 0x3E  # 0x0e before 9.1


class MultifdCompression(IntEnum):
    """The number under `COMPRESSION_MASK`. Prefix in QEMU: MULTIFD_FLAG_."""

    NOCOMP = 0x00
    ZLIB = 0x02
    ZSTD = 0x04
    QPL = 0x08
    UADK = 0x10
    QATZIP = 0x20
