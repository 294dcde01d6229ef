"""The header that libvirt puts in front of a saved guest."""

import struct
from enum import IntEnum

MAGIC = b"LibvirtQemudSave"
PARTIAL_MAGIC = b"LibvirtQemudPart"
VERSION = 2
HEADER_LEN = 92
PADDING_LEN = 65536


class Format(IntEnum):
    """How the stream behind the header is stored."""

    RAW = 0
    GZIP = 1
    BZIP2 = 2
    XZ = 3
    LZOP = 4
    ZSTD = 5
    SPARSE = 6


def data_area(xml: str, cookie: str | None = None, *, padding_len: int = PADDING_LEN) -> bytes:
    """Build what stands between header and stream: XML, cookie, room for edits."""
    texts = [xml] if cookie is None else [xml, cookie]
    return b"".join(text.encode() + b"\0" for text in texts) + bytes(padding_len)


def header(
    data_len: int,
    *,
    fmt: int = Format.RAW,
    was_running: int = 0,
    cookie_offset: int = 0,
    version: int = VERSION,
    magic: bytes = MAGIC,
    unused: bytes = bytes(56),
    big_endian: bool = False,
) -> bytes:
    """Build the 92 bytes in front, in either host's byte order."""
    order = ">" if big_endian else "<"
    fields = struct.pack(f"{order}5I", version, data_len, was_running, fmt, cookie_offset)
    return magic + fields + unused


def image(
    xml: str,
    stream: bytes,
    *,
    cookie: str | None = None,
    fmt: int = Format.RAW,
    was_running: int = 0,
    version: int = VERSION,
    magic: bytes = MAGIC,
    padding_len: int = PADDING_LEN,
    big_endian: bool = False,
) -> bytes:
    """Build a whole image around a stream, compressed already where the format says so."""
    area = data_area(xml, cookie, padding_len=padding_len)
    cookie_offset = 0 if cookie is None else len(xml.encode()) + 1
    head = header(
        len(area),
        fmt=fmt,
        was_running=was_running,
        cookie_offset=cookie_offset,
        version=version,
        magic=magic,
        big_endian=big_endian,
    )
    return head + area + stream
