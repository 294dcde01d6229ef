"""Names that nothing in a QEMU has: of sections and of RAM blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.ram_record import is_plain_text, text_of
from qmig.checks.check import Check
from qmig.wire.framing import SectionHead
from qmig.wire.ram import RamBlockRecord

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import Record

_MOST_INSTANCE: Final = 1 << 16


class NameCheck(Check):
    """The names themselves; whether the loading QEMU has what they name, only it can tell."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"section header", "RAM block"})

    def record(self, container: Container, record: Record) -> None:
        """Look at the name in a record."""
        wire = record.wire
        if isinstance(wire, SectionHead) and wire.idstr and not is_plain_text(wire.idstr):
            self._report("QM012", container, record, wire.idstr, instance_id=wire.instance_id)
        elif isinstance(wire, RamBlockRecord) and not is_plain_text(wire.idstr):
            self._report("QM107", container, record, wire.idstr)

    def _report(
        self,
        rule_id: str,
        container: Container,
        record: Record,
        name: bytes,
        **values: int,
    ) -> None:
        self.context.report(
            rule_id,
            container,
            offset=record.offset,
            length=record.length,
            record=record.name,
            field="idstr",
            expected="text in UTF-8 without control characters",
            found=repr(text_of(name)),
            name=text_of(name).partition("\0")[0],
            # QEMU reads a name up to a NUL, and may have what is in front of it.
            untold=b"\0" in name and values.get("instance_id", 0) < _MOST_INSTANCE,
            **values,
        )
