"""The configuration section: machine type and its three subsections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.capture.ram_record import text_of
from qmig.capture.records import NOT_READ, Opaque, Record
from qmig.capture.sections import Configuration
from qmig.errors import LimitExceededError, MalformedStreamError
from qmig.faults import Fault
from qmig.limits import MAX_CAPABILITIES
from qmig.wire.framing import (
    CONFIGURATION_SUBSECTIONS,
    CapabilitiesHead,
    CapabilityName,
    ConfigurationRecord,
    ConfigurationUuid,
    QemuVmSection,
    SubsectionHead,
    TargetPageBits,
)
from qmig.wire.gate import read_record, spaced_hex
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qmig.capture.source import Cursor
    from qmig.errors import StreamError


_TYPE: Final = bytes([QemuVmSection.CONFIGURATION])
_NAME_AT: Final = 5  # behind the type and the name's length
_MOST_NAME_LEN: Final = 127  # of a name that is believed without the type; QEMU's have up to 30
_MOST_SHOWN_LEN: Final = 40  # of a name that is none
# Machine types are written down in QEMU's sources, hw/*: DEFINE_MACHINE, MACHINE_TYPE_NAME.
# QEMU takes the beginning of its own name for it, the empty one as well.
_NAME_LOOK: Final = re.compile(rb"[A-Za-z0-9._+-]*")
_LEAST_NAME_LEN: Final = 3  # of a name that is believed without the type
_BEHIND: Final = bytes(
    (
        QemuVmSection.SUBSECTION,
        QemuVmSection.SECTION_START,
        QemuVmSection.SECTION_FULL,
        QemuVmSection.COMMAND,
    )
)


def begins_configuration(cursor: Cursor) -> bool:
    """Tell whether a configuration section stands at a cursor, be its type damaged or not.

    Without its type it is known by the name of a machine type, with what can stand behind it.
    """
    head = cursor.peek(_NAME_AT)
    if head[:1] == _TYPE or len(head) < _NAME_AT:
        return head[:1] == _TYPE
    length = _name_len(head)
    if not _LEAST_NAME_LEN <= length <= _MOST_NAME_LEN:
        return False
    data = cursor.peek(_NAME_AT + length + 1)
    name, behind = data[_NAME_AT : _NAME_AT + length], data[_NAME_AT + length :]
    return _NAME_LOOK.fullmatch(name) is not None and behind != b"" and behind in _BEHIND


def _name_len(head: bytes) -> int:
    return int.from_bytes(head[1:_NAME_AT], "big")


_OWN_NAME: Final = b"configuration"
# What QEMU says a version is: below its least one, or above its own.
_THAN: Final = ("old for local minimum version_id  1", "new for local version_id 1")


class ConfigurationReader:
    """Reads the configuration section at a cursor.

    Args:
        cursor: where `begins_configuration` sees one.
        damage: takes an error behind which reading goes on; None: it is raised.

    Attributes:
        configuration: what was read so far; None before the first record.
    """

    def __init__(self, cursor: Cursor, damage: Callable[[StreamError], None] | None = None) -> None:
        self._cursor = cursor
        self._damage = damage
        self.configuration: Configuration | None = None

    def read(self) -> Iterator[Record]:
        """Yield the section's records.

        Raises:
            StreamError: it is damaged, or has a subsection that no QEMU knows.
        """
        cursor = self._cursor
        start = cursor.offset
        if cursor.peek(1) != _TYPE:
            yield from self._behind_damaged_type()
            return
        record = read_record(cursor, ConfigurationRecord, what="configuration")
        if not _NAME_LOOK.fullmatch(record.name):
            raise MalformedStreamError(
                path=cursor.name,
                offset=start + field_table(ConfigurationRecord)["type"][1],
                record="configuration",
                field="name",
                expected="letters, digits and . _ + -",
                found=repr(text_of(record.name[:_MOST_SHOWN_LEN])),
                hint="or its length is damaged",
                fault=Fault.MACHINE_NAME,
            )
        configuration = Configuration(text_of(record.name), start)
        self.configuration = configuration
        yield Record(start, cursor.offset - start, "configuration", record)
        yield from self._subsections(configuration)

    def _behind_damaged_type(self) -> Iterator[Record]:
        cursor = self._cursor
        start = cursor.offset
        error = MalformedStreamError(
            path=cursor.name,
            offset=start,
            record="configuration",
            field="type",
            expected=spaced_hex(_TYPE),
            found=spaced_hex(cursor.peek(1)),
            hint="the name of a machine type stands behind it",
            fault=Fault.CONFIGURATION_MISSING,
        )
        if self._damage is None:
            raise error
        self._damage(error)
        length = _name_len(cursor.peek(_NAME_AT))
        name = cursor.peek(_NAME_AT + length)[_NAME_AT:]
        configuration = Configuration(text_of(name), start)
        self.configuration = configuration
        yield Opaque(start, 1, NOT_READ, extent="damage")
        yield Record(start + 1, _NAME_AT - 1 + length, "configuration name")
        cursor.skip(_NAME_AT + length, what="configuration")
        yield from self._subsections(configuration)

    def _subsections(self, configuration: Configuration) -> Iterator[Record]:
        cursor, start = self._cursor, configuration.offset
        while cursor.peek(1) == bytes([QemuVmSection.SUBSECTION]):
            yield from self._subsection(configuration)
        configuration.length = cursor.offset - start

    def _subsection(self, configuration: Configuration) -> Iterator[Record]:
        cursor = self._cursor
        start = cursor.offset
        head = read_record(cursor, SubsectionHead, what="configuration subsection")
        name = text_of(head.name)
        version = head.version_id & 0xFF  # migration/vmstate.c: vmstate_subsection_load, uint8_t
        known = head.name in CONFIGURATION_SUBSECTIONS
        if not known or version != 1:
            silent = not known and head.name.startswith(_OWN_NAME)
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record="configuration subsection",
                field="name and version",
                expected="target-page-bits, capabilities or uuid, version 1",
                found=f"{name!r}, version {head.version_id}",
                hint="QEMU fails here with -2 and no further text" if silent else None,
                fault=Fault.SUBSECTION_VERSION if known else Fault.CONFIGURATION_SUBSECTION,
                values={
                    "name": name,
                    "version": version,
                    "than": _THAN[version > 0],
                    "untold": silent,
                },
            )
        yield Record(start, cursor.offset - start, "configuration subsection", head)
        if name.endswith("capabilities"):
            yield from self._capabilities(configuration)
            return
        at = cursor.offset
        if name.endswith("uuid"):
            uuid = read_record(cursor, ConfigurationUuid, what=name)
            from uuid import UUID

            configuration.uuid = UUID(bytes=uuid.uuid)
            yield Record(at, cursor.offset - at, name, uuid)
            return
        bits = read_record(cursor, TargetPageBits, what=name)
        if bits.target_page_bits.bit_length() > 5 or (
            1 << bits.target_page_bits not in LEGAL_PAGE_SIZES
        ):
            raise MalformedStreamError(
                path=cursor.name,
                offset=at,
                record=name,
                field="target_page_bits",
                expected="8 to 16",
                found=str(bits.target_page_bits),
                fault=Fault.TARGET_PAGE_BITS,
                values={"bits": bits.target_page_bits},
            )
        configuration.target_page_bits = bits.target_page_bits
        yield Record(at, cursor.offset - at, name, bits)

    def _capabilities(self, configuration: Configuration) -> Iterator[Record]:
        cursor = self._cursor
        start = cursor.offset
        head = read_record(cursor, CapabilitiesHead, what="configuration/capabilities")
        if head.caps_count > MAX_CAPABILITIES:
            raise LimitExceededError(
                path=cursor.name,
                offset=start,
                record="configuration/capabilities",
                field="caps_count",
                expected=f"at most {MAX_CAPABILITIES}",
                found=str(head.caps_count),
            )
        yield Record(start, cursor.offset - start, "configuration/capabilities", head)
        names: list[str] = []
        for _ in range(head.caps_count):
            at = cursor.offset
            record = read_record(cursor, CapabilityName, what="configuration/capabilities")
            names.append(text_of(record.name))
            configuration.capabilities = tuple(names)
            yield Record(at, cursor.offset - at, "configuration/capabilities", record)
