"""The parts of a main stream as the walk finds them: sections, commands, configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qmig.wire.framing import MigCmd, QemuVmSection
from qmig.wire.magic import SALVAGED_SECTION

if TYPE_CHECKING:
    from uuid import UUID

    from qmig.capture.stream import StreamWalk

SECTION_WORDS: Final = {
    QemuVmSection.SECTION_START: "START",
    QemuVmSection.SECTION_PART: "PART",
    QemuVmSection.SECTION_END: "END",
    QemuVmSection.SECTION_FULL: "FULL",
}


@dataclass
class Section:
    """A section, or all PART sections of one handler folded into one row.

    Attributes:
        kind: START, PART, END or FULL.
        section_id: id in this stream.
        idstr: name of the handler.
        instance_id: instance of the handler.
        version_id: version of its format.
        offset: first byte (of the first one, where several are folded).
        length: bytes with header and footer, of all of them.
        count: how many sections this is.
        extent: how the end of the body was found: "grammar", "vmdescription", "footer", "guess".
        complete: whether the section was read to its end.
        in_package: whether it lies in a postcopy package.
    """

    kind: QemuVmSection
    section_id: int
    idstr: str
    instance_id: int
    version_id: int
    offset: int
    length: int = 0
    count: int = 1
    extent: str = "grammar"
    complete: bool = False
    in_package: bool = False

    @property
    def word(self) -> str:
        """START, PART, END or FULL."""
        return SECTION_WORDS[self.kind]


@dataclass
class Command:
    """A command in the main stream.

    Attributes:
        number: as it stands there.
        name: under QEMU's name since 3.1, or as 3.0 numbered them where only that fits.
        offset: first byte.
        length: bytes with payload (without the blob behind PACKAGED).
        detail: what the payload says.
    """

    number: int
    name: str
    offset: int
    length: int
    detail: dict[str, Any]


@dataclass
class Configuration:
    """The configuration section.

    Attributes:
        machine: machine type.
        offset: first byte.
        length: bytes with subsections.
        target_page_bits: from its subsection, None where it is not there.
        capabilities: names from the subsection, None where it is not there.
        uuid: from its subsection, None where it is not there.
    """

    machine: str
    offset: int
    length: int = 0
    target_page_bits: int | None = None
    capabilities: tuple[str, ...] | None = None
    uuid: UUID | None = None


@dataclass
class Counters:
    """What the walk counts for the whole stream."""

    flush_words: int = 0
    eos_words: int = 0
    ram_parts: int = 0
    commands_dropped: int = 0


# 3.0 numbered two commands one lower (migration/savevm.c of 3.0 and 3.1).
COMMANDS_OF_3_0: Final = {8: "POSTCOPY_RESUME", 9: "RECV_BITMAP"}


@dataclass
class SectionTable:
    """All sections, PARTs folded by handler.

    Attributes:
        rows: in the order in which they begin.
    """

    rows: list[Section] = field(default_factory=list)
    _parts: dict[int, Section] = field(default_factory=dict)

    def add(self, section: Section) -> Section:
        """Add a section; return the row that stands for it."""
        if section.kind == QemuVmSection.SECTION_PART:
            row = self._parts.get(section.section_id)
            if row is not None:
                row.count += 1
                row.complete = False
                return row
            self._parts[section.section_id] = section
        self.rows.append(section)
        return section


def is_salvaged(walk: StreamWalk) -> bool:
    """Tell whether a stream is what `qmig salvage` made of a damaged one."""
    return any(row.idstr == SALVAGED_SECTION for row in walk.sections.rows)


def command_name(number: int) -> str:
    """Return QEMU's name of a command since 3.1, or its number."""
    return MigCmd(number).name if number in set(MigCmd) else f"0x{number:x}"
