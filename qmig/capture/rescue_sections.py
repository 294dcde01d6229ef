"""The sections and commands of a damaged stream, one by one, each whole or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qmig.capture.ram_record import text_of
from qmig.errors import LimitExceededError
from qmig.limits import MAX_SALVAGED_SECTIONS
from qmig.wire.framing import PartHead, QemuVmSection, SectionHead

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmig.capture.records import PageBatch, Record
    from qmig.capture.sections import Section

_BEGINS = ("section header", "command", "EOF", "rest of package")


@dataclass(slots=True)
class FoundElement:
    """A section, or a command that a file can carry.

    Attributes:
        kind: START, PART, END, FULL; or COMMAND.
        name: of the handler, or of the command.
        instance_id: instance of the handler.
        section_id: id in this stream; -1 for a command.
        offset: first byte.
        end: behind its footer.
        body_len: bytes of the body, without header and footer.
        body_end: behind the body.
        extent: how the end of the body was found; see `qmig.capture.sections.Section`.
        behind_damage: whether something in front of it is damaged.
        complete: whether it was read to its end, and is as a QEMU may write it.
    """

    kind: QemuVmSection
    name: str
    instance_id: int
    section_id: int
    offset: int
    end: int
    body_len: int = 0
    body_end: int = 0
    extent: str = "grammar"
    behind_damage: bool = False
    complete: bool = False

    @property
    def is_ram(self) -> bool:
        """Whether it is a section of page records, which are written anew."""
        return self.name == "ram" and self.kind in (
            QemuVmSection.SECTION_START,
            QemuVmSection.SECTION_PART,
            QemuVmSection.SECTION_END,
        )

    @property
    def continues_ram(self) -> bool:
        """Whether it is a whole PART section of page records."""
        return self.complete and self.is_ram and self.kind is QemuVmSection.SECTION_PART


class ElementCollector:
    """Cuts the records of a stream into its elements.

    Args:
        path: of its file, for errors.

    Attributes:
        found: the elements in their order, those that are not whole as well. Whole PARTs of RAM
            that follow one another are one.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.found: list[FoundElement] = []
        self.open: FoundElement | None = None
        self._head_len = 0
        self._footer_len = 0

    def add(
        self,
        item: Record | PageBatch,
        name: str,
        handlers: Mapping[int, Section],
        *,
        behind_damage: bool,
    ) -> None:
        """Take the next record.

        Args:
            item: the record.
            name: its name; "" for page records.
            handlers: section id -> the section that opened it.
            behind_damage: whether something in front of it is damaged.

        Raises:
            LimitExceededError: there are more than can be kept.
        """
        if name in _BEGINS:
            self.close(complete=True)
            self._begin(item, name, handlers)  # type: ignore[arg-type]  # a batch has no name
            if self.open is not None:
                self.open.behind_damage = behind_damage
        elif self.open is not None:
            if name == "section body":
                self.open.extent = item.detail["extent"]  # type: ignore[union-attr]  # nor has it this
            self._footer_len = item.length if name == "section footer" else 0
            self.open.end = item.offset + item.length

    def _begin(self, item: Record, name: str, handlers: Mapping[int, Section]) -> None:
        self._head_len, self._footer_len = item.length, 0
        end = item.offset + item.length
        wire = item.wire
        if name == "command":
            words = item.detail["command"]
            self.open = FoundElement(QemuVmSection.COMMAND, words, 0, -1, item.offset, end)
        elif isinstance(wire, SectionHead):
            self.open = FoundElement(
                QemuVmSection(wire.type),
                text_of(wire.idstr),
                wire.instance_id,
                wire.section_id,
                item.offset,
                end,
            )
        elif isinstance(wire, PartHead):
            opened = handlers[wire.section_id]
            self.open = FoundElement(
                QemuVmSection(wire.type),
                opened.idstr,
                opened.instance_id,
                wire.section_id,
                item.offset,
                end,
            )

    def close(self, *, complete: bool) -> None:
        """End the element that is open."""
        element, self.open = self.open, None
        if element is None:
            return
        element.complete = complete
        element.body_end = element.end - self._footer_len
        element.body_len = element.body_end - element.offset - self._head_len
        if self.found and element.continues_ram and self.found[-1].continues_ram:
            self.found[-1].end = element.end
            return
        if len(self.found) >= MAX_SALVAGED_SECTIONS:
            raise LimitExceededError(
                path=self._path,
                offset=element.offset,
                record="section header",
                expected=f"at most {MAX_SALVAGED_SECTIONS} sections and commands",
                found="one more",
            )
        self.found.append(element)

    def stopped(self, error_offset: int, *, footers: bool | None) -> None:
        """End the element in which, or behind which, the walk was stopped.

        Args:
            error_offset: where it was.
            footers: whether sections have footers.
        """
        element = self.open
        if element is None:
            return
        if element.kind is QemuVmSection.COMMAND or footers is False:
            complete = error_offset == element.end
        else:
            complete = self._footer_len > 0
        self.close(complete=complete)
