"""PCI configuration space and MSI-X tables inside a device's state (`qmig.wire.pci`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.devices.record_fields import add_array, add_record
from qmig.devices.tree import DERIVED, Field, Group
from qmig.wire.pci import (
    PCI_CONFIG_HEADER_SIZE,
    PCI_CONFIG_SPACE_SIZE,
    PCI_HEADER_TYPE_BRIDGE,
    PCI_HEADER_TYPE_MASK,
    PCI_MSIX_FLAGS_QSIZE,
    MsixEntry,
    PciBridgeHeader,
    PciCapability,
    PciExtendedCapability,
    PciHeader,
)
from qmig.wire.record import field_table, fixed_len

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.devices.body import Body

_TYPE_AT: Final = field_table(PciHeader)["header_type"][0]
_LIST_AT: Final = field_table(PciHeader)["capabilities"][0]
_STATUS_AT: Final = field_table(PciHeader)["status"][0]
_HAS_LIST: Final = 0x10
_FIRST_AT: Final = 0x40
_ENTRY_LEN: Final = fixed_len(MsixEntry)
REST: Final = "device_specific"


class Capability(NamedTuple):
    """A capability: where it lies in configuration space, its number and its name."""

    at: int
    number: int
    name: str


def is_bridge(config: bytes) -> bool:
    """Tell whether configuration space is that of a bridge."""
    return config[_TYPE_AT] & PCI_HEADER_TYPE_MASK == PCI_HEADER_TYPE_BRIDGE


def capabilities(config: bytes) -> Iterator[Capability]:
    """Yield the capabilities of a configuration space, the extended ones behind the others.

    A list that goes in a circle or leaves the space ends there.
    """
    if not config[_STATUS_AT] & _HAS_LIST:
        return
    seen: set[int] = set()
    at = config[_LIST_AT] & ~3
    while _FIRST_AT <= at < PCI_CONFIG_SPACE_SIZE and at not in seen:
        seen.add(at)
        yield Capability(at, config[at], _name(PciCapability, config[at]))
        at = config[at + 1] & ~3
    at = PCI_CONFIG_SPACE_SIZE
    while PCI_CONFIG_SPACE_SIZE <= at <= len(config) - 4 and at not in seen:
        seen.add(at)
        head = int.from_bytes(config[at : at + 4], "little")
        if head:
            number = head & 0xFFFF
            yield Capability(at, number, _name(PciExtendedCapability, number))
        at = head >> 20 & ~3


def _name(known: type[PciCapability | PciExtendedCapability], number: int) -> str:
    return known(number).name if number in set(known) else f"0x{number:02x}"


def msix_vectors(config: bytes) -> int:
    """Return the number of MSI-X vectors of a device; 0 where it has no such capability."""
    for at, number, _ in capabilities(config):
        if number == PciCapability.MSIX and at < PCI_CONFIG_SPACE_SIZE - 4:
            control = int.from_bytes(config[at + 2 : at + 4], "little")
            return (control & PCI_MSIX_FLAGS_QSIZE) + 1
    return 0


def decode_config(body: Body, group: Group, size: int, path: str) -> None:
    """Decode a field of the type `pci config`."""
    group.form = DERIVED
    start = body.offset
    if size >= PCI_CONFIG_HEADER_SIZE:
        head = body.peek(PCI_CONFIG_HEADER_SIZE)
        add_record(body, group, PciBridgeHeader if is_bridge(head) else PciHeader, path)
    rest, length = body.offset, start + size - body.offset
    group.children.append(Field(REST, "buffer", rest, length, body.blob(length, path)))


def decode_msix(body: Body, group: Group, size: int, path: str) -> None:
    """Decode a field of the type `msix state`: entries and, behind them, a bit for each."""
    group.form = DERIVED
    guess = 8 * size // (8 * _ENTRY_LEN + 1)
    fitting = (n for n in (guess, guess + 1) if n * _ENTRY_LEN + (n + 7) // 8 == size)
    entries = next(fitting, 0)
    start = body.offset
    if entries:
        add_array(body, group, "table", MsixEntry, entries, path)
    rest, length = body.offset, start + size - body.offset
    group.children.append(Field("pending", "buffer", rest, length, body.blob(length, path)))
