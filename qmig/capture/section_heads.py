"""The headers that open sections: START and FULL with a name, PART and END with an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.extent import LOOK_LEN, hidden_element
from qmig.capture.ram_record import text_of
from qmig.capture.records import Record
from qmig.capture.sections import Section
from qmig.errors import MalformedStreamError, printed_int
from qmig.faults import Fault
from qmig.wire.framing import PartHead, QemuVmSection, SectionHead
from qmig.wire.gate import read_record
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qmig.capture.source import Cursor

_IDSTR_AT = 5  # behind type and section_id


def opened_section(cursor: Cursor, *, in_package: bool) -> tuple[Record, Section]:
    """Read the header of a START or FULL section; return its record and the section.

    Raises:
        StreamError: it is cut short, or has no name.
    """
    start = cursor.offset
    head = read_record(cursor, SectionHead, what="section header")
    if not head.idstr:
        raise MalformedStreamError(
            path=cursor.name,
            offset=start + _IDSTR_AT,
            record="section header",
            field="idstr",
            expected="a name",
            found="an empty one",
            fault=Fault.SECTION_NAME,
            values={"section_id": head.section_id},
        )
    section = Section(
        QemuVmSection(head.type),
        head.section_id,
        text_of(head.idstr),
        head.instance_id,
        head.version_id,
        start,
        in_package=in_package,
    )
    return Record(start, cursor.offset - start, "section header", head), section


def continued_section(
    cursor: Cursor, handlers: Mapping[int, Section], *, in_package: bool
) -> tuple[Record, Section]:
    """Read the header of a PART or END section; return its record and the section.

    Args:
        cursor: at the header.
        handlers: section id -> the section that opened it.
        in_package: whether it lies in a postcopy package.

    Raises:
        StreamError: it is cut short, or no earlier section has its id.
    """
    start = cursor.offset
    head = read_record(cursor, PartHead, what="section header")
    opened = handlers.get(head.section_id)
    if opened is None:
        known = f" ({', '.join(map(str, sorted(handlers)))})" if handlers else ""
        raise MalformedStreamError(
            path=cursor.name,
            offset=start + field_table(PartHead)["section_id"][0],
            record="section header",
            field="section_id",
            expected=f"the id of an earlier START section{known}",
            found=str(head.section_id),
            fault=Fault.SECTION_ID,
            values={
                "section_id": printed_int(head.section_id),
                "untold": not head.section_id,
            },
        )
    section = Section(
        QemuVmSection(head.type),
        head.section_id,
        opened.idstr,
        opened.instance_id,
        opened.version_id,
        start,
        in_package=in_package,
    )
    return Record(start, cursor.offset - start, "section header", head), section


def early_eof(cursor: Cursor, rows: Iterable[Section]) -> MalformedStreamError | None:
    """Tell whether an EOF byte stands where the type of a header should be; None: it does not.

    QEMU takes it for the end, and loads a guest without all that follows, RAM as well.

    Args:
        cursor: at the byte.
        rows: the sections before it.
    """
    kinds = {kind: {row.section_id for row in rows if row.kind == kind} for kind in QemuVmSection}
    open_ids = kinds[QemuVmSection.SECTION_START] - kinds[QemuVmSection.SECTION_END]
    hidden = hidden_element(cursor.peek(1 + LOOK_LEN)[1:], open_ids)
    if hidden is None:
        return None
    return MalformedStreamError(
        path=cursor.name,
        offset=cursor.offset,
        record="element",
        field="type",
        expected=f"0x{hidden:02x} ({hidden.name}), whose header stands behind it",
        found="0x00 (EOF)",
        hint="QEMU takes it for the end: all that follows would be missing",
        fault=Fault.EOF_EARLY,
        values={"type": cursor.peek(2)[1]},
    )
