"""libvirt's save image: the header before the stream.

Grammar::

    image   LibvirtSaveHeader XML NUL [cookie NUL] zero padding, data_len bytes in total; stream

Integers are in the byte order of the host that wrote it: a reader that finds a version above 2
swaps and looks again. Source: src/qemu/qemu_saveimage.h (virQEMUSaveHeader) of libvirt 9.0 to 12.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from construct import Array, Bytes, Int32ul

from qmig.wire.record import WireRecord, byte_swapped, wire

QEMU_SAVE_VERSION: Final = 2


class QemuSaveFormat(IntEnum):
    """How the stream behind the header is stored. Prefix in libvirt: QEMU_SAVE_FORMAT_."""

    RAW = 0
    GZIP = 1
    BZIP2 = 2
    XZ = 3
    LZOP = 4
    ZSTD = 5
    SPARSE = 6


class LibvirtSaveHeader(WireRecord):
    """The header as a little-endian host writes it."""

    magic: bytes = wire(Bytes(16), "LibvirtQemudSave; LibvirtQemudPart while unfinished")
    version: int = wire(Int32ul, "2; 1 has no format field")
    data_len: int = wire(Int32ul, "bytes between this header and the stream")
    was_running: int = wire(Int32ul, "1: the guest is to run after the restore")
    format: int = wire(Int32ul, "QemuSaveFormat")
    cookieOffset: int = wire(Int32ul, "of the cookie from the start of the XML; 0: none")  # noqa: N815  # libvirt's name
    unused: list[int] = wire(Array(14, Int32ul), "zeros")


LIBVIRT_SAVE_HEADER_SWAPPED: Final = byte_swapped(LibvirtSaveHeader)
