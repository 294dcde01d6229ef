"""A wire record by hand: the bytes of each field, its value, and the length in C."""

from dataclasses import dataclass
from typing import Any

from qmig.wire.record import WireRecord


@dataclass(frozen=True)
class Triple:
    """A record: field, bytes in hex, value, in wire order; and its length where that is fixed.

    Attributes:
        record: the class.
        size: bytes of the C structure, or of what QEMU puts one by one; None with counted fields.
        fields: name, bytes, value.
    """

    record: type[WireRecord]
    size: int | None
    fields: tuple[tuple[str, str, Any], ...]

    @property
    def raw(self) -> bytes:
        """The record's bytes."""
        return bytes.fromhex("".join(data for _, data, _ in self.fields))

    @property
    def values(self) -> dict[str, Any]:
        """Field name -> value."""
        return {name: value for name, _, value in self.fields}

    @property
    def offsets(self) -> dict[str, tuple[int, int]]:
        """Field name -> offset and length."""
        table, at = {}, 0
        for name, data, _ in self.fields:
            length = len(bytes.fromhex(data))
            table[name] = (at, length)
            at += length
        return table


def u8(name: str, value: int) -> tuple[str, str, int]:
    return name, f"{value:02x}", value


def u16(name: str, value: int) -> tuple[str, str, int]:
    return name, f"{value:04x}", value


def u32(name: str, value: int) -> tuple[str, str, int]:
    return name, f"{value:08x}", value


def u64(name: str, value: int) -> tuple[str, str, int]:
    return name, f"{value:016x}", value


def raw(name: str, data: str, length: int) -> tuple[str, str, bytes]:
    """Bytes that begin with `data` and go on with 0xEE up to `length`."""
    filled = bytes.fromhex(data).ljust(length, b"\xee")
    return name, filled.hex(), filled


def text(name: str, value: str) -> tuple[str, str, bytes]:
    """A counted string."""
    encoded = value.encode()
    return name, f"{len(encoded):02x}" + encoded.hex(), encoded


def swapped16(name: str, value: int) -> tuple[str, str, int]:
    """A little-endian 16-bit integer."""
    return name, value.to_bytes(2, "little").hex(), value


def swapped32(name: str, value: int) -> tuple[str, str, int]:
    """A little-endian 32-bit integer."""
    return name, value.to_bytes(4, "little").hex(), value


def swapped64(name: str, value: int) -> tuple[str, str, int]:
    """A little-endian 64-bit integer."""
    return name, value.to_bytes(8, "little").hex(), value


def pair(name: str, low: int, high: int) -> tuple[str, str, list[int]]:
    """A 64-bit value as two big-endian words, the low one first."""
    return name, f"{low:08x}{high:08x}", [low, high]
