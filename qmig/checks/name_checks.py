"""Names that nothing in a QEMU has: of sections and of RAM blocks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.ram_record import text_of
from qmig.checks.check import Check
from qmig.wire.framing import SectionHead
from qmig.wire.ram import RamBlockRecord

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import Record

# Names of devices and blocks are made of those of types, addresses on a bus, ids that users give
# (util/id.c: id_wellformed) and, for option ROMs, of files' names (hw/core/loader.c), any UTF-8.
_CONTROL: Final = re.compile("[\0-\x1f\x7f]")
_MOST_INSTANCE: Final = 1 << 16


class NameCheck(Check):
    """The names themselves; whether the loading QEMU has what they name, only it can tell."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"section header", "RAM block"})

    def record(self, container: Container, record: Record) -> None:
        """Look at the name in a record."""
        wire = record.wire
        if isinstance(wire, SectionHead) and wire.idstr and not _is_text(wire.idstr):
            self._report("QM012", container, record, wire.idstr, instance_id=wire.instance_id)
        elif isinstance(wire, RamBlockRecord) and not _is_text(wire.idstr):
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


def _is_text(name: bytes) -> bool:
    try:
        return _CONTROL.search(name.decode("utf-8")) is None
    except UnicodeDecodeError:
        return False
