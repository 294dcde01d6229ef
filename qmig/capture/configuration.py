"""The configuration section: machine type and its three subsections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.page_size import LEGAL_PAGE_SIZES
from qmig.capture.ram_record import text_of
from qmig.capture.records import Record
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
from qmig.wire.gate import read_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.source import Cursor


class ConfigurationReader:
    """Reads the configuration section at a cursor.

    Attributes:
        configuration: what was read so far; None before the first record.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.configuration: Configuration | None = None

    def read(self) -> Iterator[Record]:
        """Yield the section's records.

        Raises:
            StreamError: it is damaged, or has a subsection that no QEMU knows.
        """
        cursor = self._cursor
        start = cursor.offset
        record = read_record(cursor, ConfigurationRecord, what="configuration")
        configuration = Configuration(text_of(record.name), start)
        self.configuration = configuration
        yield Record(start, cursor.offset - start, "configuration", record)
        while cursor.peek(1) == bytes([QemuVmSection.SUBSECTION]):
            yield from self._subsection(configuration)
        configuration.length = cursor.offset - start

    def _subsection(self, configuration: Configuration) -> Iterator[Record]:
        cursor = self._cursor
        start = cursor.offset
        head = read_record(cursor, SubsectionHead, what="configuration subsection")
        name = text_of(head.name)
        if head.name not in CONFIGURATION_SUBSECTIONS or head.version_id != 1:
            raise MalformedStreamError(
                path=cursor.name,
                offset=start,
                record="configuration subsection",
                field="name and version",
                expected="target-page-bits, capabilities or uuid, version 1",
                found=f"{name!r}, version {head.version_id}",
                hint="QEMU fails here with -2 and no further text",
                fault=(
                    Fault.SUBSECTION_VERSION
                    if head.name in CONFIGURATION_SUBSECTIONS
                    else Fault.CONFIGURATION_SUBSECTION
                ),
                values={"name": name, "version": head.version_id},
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
