"""Names that nothing in a QEMU has: of the machine, of sections and of RAM blocks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from qmig.capture.ram_record import text_of
from qmig.checks.check import Check
from qmig.wire.framing import ConfigurationRecord, SectionHead
from qmig.wire.ram import RamBlockRecord

if TYPE_CHECKING:
    from qmig.capture.container import Container
    from qmig.capture.records import Record

# Machine types are written down in QEMU's sources, hw/*: DEFINE_MACHINE, MACHINE_TYPE_NAME.
# QEMU takes the beginning of its own name for it, the empty one as well.
_MACHINE: Final = re.compile(rb"[A-Za-z0-9._+-]*")
# Names of devices and blocks are made of those of types, addresses on a bus, ids that users give
# (util/id.c: id_wellformed) and, for option ROMs, of files' names (hw/core/loader.c), any UTF-8.
_CONTROL: Final = re.compile("[\0-\x1f\x7f]")
_MOST_INSTANCE: Final = 1 << 16
_EXPECTED: Final = "text in UTF-8 without control characters"


class NameCheck(Check):
    """The names themselves; whether the loading QEMU has what they name, only it can tell."""

    RECORDS: ClassVar[frozenset[str]] = frozenset({"configuration", "section header", "RAM block"})

    def record(self, container: Container, record: Record) -> None:
        """Look at the name in a record."""
        wire = record.wire
        if isinstance(wire, ConfigurationRecord) and not _MACHINE.fullmatch(wire.name):
            self._report("QM014", container, record, wire.name, "letters, digits and . _ + -")
        elif isinstance(wire, SectionHead) and wire.idstr and not _is_text(wire.idstr):
            self._report(
                "QM012", container, record, wire.idstr, _EXPECTED, instance_id=wire.instance_id
            )
        elif isinstance(wire, RamBlockRecord) and not _is_text(wire.idstr):
            self._report("QM107", container, record, wire.idstr, _EXPECTED)

    def _report(
        self,
        rule_id: str,
        container: Container,
        record: Record,
        name: bytes,
        expected: str,
        **values: int,
    ) -> None:
        field = "name" if rule_id == "QM014" else "idstr"
        self.context.report(
            rule_id,
            container,
            offset=record.offset,
            length=record.length,
            record=record.name,
            field=field,
            expected=expected,
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
