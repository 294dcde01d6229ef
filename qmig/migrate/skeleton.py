"""What stands around the RAM of a stream: configuration, other sections, commands, vmdescription.

A skeleton is taken from a capture, or is bare: RAM alone. The writer goes through its elements in
their order, copies what is carried over and puts its own RAM sections where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qmig.wire.framing import (
    CapabilitiesHead,
    CapabilityName,
    ConfigurationRecord,
    ConfigurationUuid,
    SubsectionHead,
    TargetPageBits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

MAPPED_RAM: Final = "mapped-ram"
IGNORE_SHARED: Final = "x-ignore-shared"
# Those that are recorded in a stream, in the order of QEMU's enum (migration/options.c).
VALIDATED_CAPABILITIES: Final = (IGNORE_SHARED, MAPPED_RAM)


@dataclass(frozen=True, slots=True)
class Carried:
    """An element that is copied as it is.

    Attributes:
        what: for errors ("FULL section 'timer'").
        chunks: gives its bytes, header and footer included.
    """

    what: str
    chunks: Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class RamStart:
    """Here the START section of `ram` goes."""


@dataclass(frozen=True, slots=True)
class RamPart:
    """Here a PART section of `ram` stood.

    Attributes:
        pages: how many pages came with it.
        rounds: how often the scan over dirty pages began anew in it (MULTIFD_FLUSH words).
    """

    pages: int
    rounds: int


@dataclass(frozen=True, slots=True)
class RamEnd:
    """Here the END section of `ram` goes."""


Element = Carried | RamStart | RamPart | RamEnd


@dataclass(slots=True)
class Skeleton:
    """A stream without its RAM.

    Attributes:
        machine: machine type; None: the stream has no configuration section.
        target_page_bits: for its subsection; None: it has none.
        capabilities: those that the source recorded.
        uuid: for its subsection; None: it has none.
        channel_uuid: for the initial packets of multifd channels; zeros if the guest has none.
        footers: whether sections have footers.
        ram_section_id: id of the `ram` section.
        elements: everything between configuration and EOF, in order.
        vmdescription: the JSON behind EOF; None: there is none.
        origin: in words, for remarks ("RAM alone", the name of a file).
    """

    machine: str | None = None
    target_page_bits: int | None = None
    capabilities: tuple[str, ...] | None = None
    uuid: UUID | None = None
    channel_uuid: bytes = bytes(16)
    footers: bool = True
    ram_section_id: int = 1
    elements: list[Element] = field(default_factory=lambda: [RamStart(), RamPart(0, 0), RamEnd()])
    vmdescription: bytes | None = None
    origin: str = "RAM alone"

    def recorded(self, *, mapped: bool, ignore_shared: bool) -> tuple[str, ...]:
        """Return the capabilities that an output of this kind must record."""
        wanted = {MAPPED_RAM: mapped, IGNORE_SHARED: ignore_shared}
        return tuple(name for name in VALIDATED_CAPABILITIES if wanted[name])

    def configuration(self, capabilities: Sequence[str]) -> bytes:
        """Return the configuration section that records these capabilities."""
        if self.machine is None:
            return b""
        parts = [ConfigurationRecord(name=_bytes(self.machine)).build()]
        if self.target_page_bits is not None:
            parts += [
                _subsection("target-page-bits"),
                TargetPageBits(target_page_bits=self.target_page_bits).build(),
            ]
        if capabilities:
            parts += [
                _subsection("capabilities"),
                CapabilitiesHead(caps_count=len(capabilities)).build(),
                *(CapabilityName(name=_bytes(name)).build() for name in capabilities),
            ]
        if self.uuid is not None:
            parts += [_subsection("uuid"), ConfigurationUuid(uuid=self.uuid.bytes).build()]
        return b"".join(parts)

    def described(self, capabilities: Sequence[str]) -> bytes | None:
        """Return the vmdescription with its description of the capabilities made to fit."""
        if self.vmdescription is None or tuple(self.capabilities or ()) == tuple(capabilities):
            return self.vmdescription
        return describe_capabilities(self.vmdescription, capabilities)


def describe_capabilities(vmdescription: bytes, capabilities: Sequence[str]) -> bytes:
    """Return a vmdescription whose description of the configuration names these capabilities.

    The text is QEMU's in all else, byte for byte. A description without configuration (up to 8.1)
    stays as it is, and so does one that no QEMU has written. QEMU gives the field the size of its
    first element, length byte included (migration/vmstate.c, vmstate_save_state_v of 9.0 to 11.1).
    """
    start = b'{"configuration": {"vmsd_name": "configuration"'
    end = vmdescription.find(b', "page_size"')
    if not vmdescription.startswith(start) or end < 0:
        return vmdescription
    head, rest = vmdescription[:end], vmdescription[end:]
    subsections = head.find(b', "subsections": [')
    body = head[: subsections if subsections >= 0 else len(head) - 1]
    others = _subsection_texts(head[subsections:]) if subsections >= 0 else []
    kept = [text for text in others if b'"configuration/capabilities"' not in text]
    if capabilities:
        at = sum(b'"configuration/target-page-bits"' in text for text in kept)
        kept.insert(at, _described_capabilities(capabilities))
    listed = b', "subsections": [' + b", ".join(kept) + b"]" if kept else b""
    return body + listed + b"}" + rest


def _described_capabilities(capabilities: Sequence[str]) -> bytes:
    several = f'"array_len": {len(capabilities)}, ' if len(capabilities) > 1 else ""
    size = 1 + len(capabilities[0])
    return (
        '{"vmsd_name": "configuration/capabilities", "version": 1, "fields": ['
        '{"name": "caps_count", "type": "uint32", "size": 4}, '
        f'{{"name": "capabilities", {several}"type": "capability", "size": {size}}}]}}'
    ).encode()


def _subsection_texts(text: bytes) -> list[bytes]:
    """Cut the list of subsections into its objects."""
    objects: list[bytes] = []
    depth = start = 0
    for at, byte in enumerate(text):
        if byte == ord("{"):
            start = at if depth == 0 else start
            depth += 1
        elif byte == ord("}") and depth:
            depth -= 1
            if depth == 0:
                objects.append(text[start : at + 1])
    return objects


def _subsection(name: str) -> bytes:
    return SubsectionHead(name=_bytes(f"configuration/{name}"), version_id=1).build()


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
