"""Big-endian integers and counted strings, the atoms of every record."""

import struct


def be16(value: int) -> bytes:
    """Encode an unsigned 16-bit integer."""
    return struct.pack(">H", value)


def be32(value: int) -> bytes:
    """Encode an unsigned 32-bit integer."""
    return struct.pack(">I", value)


def be64(value: int) -> bytes:
    """Encode an unsigned 64-bit integer."""
    return struct.pack(">Q", value)


def encoded(text: str | bytes) -> bytes:
    """Encode text as the stream does; bytes pass as they are."""
    return text if isinstance(text, bytes) else text.encode("utf-8")


def counted(text: str | bytes, *, length: int | None = None) -> bytes:
    """Encode a counted string: one unsigned length byte, the bytes, no NUL.

    Args:
        text: The string.
        length: The length byte to write in place of the true one.
    """
    raw = encoded(text)
    return struct.pack(">B", len(raw) if length is None else length) + raw


def u16(data: bytes, at: int) -> int:
    """Read a 16-bit integer."""
    return int(struct.unpack_from(">H", data, at)[0])


def u32(data: bytes, at: int) -> int:
    """Read a 32-bit integer."""
    return int(struct.unpack_from(">I", data, at)[0])


def u64(data: bytes, at: int) -> int:
    """Read a 64-bit integer."""
    return int(struct.unpack_from(">Q", data, at)[0])


def read_counted(data: bytes, at: int) -> tuple[str, int]:
    """Read a counted string and give the offset behind it."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end
