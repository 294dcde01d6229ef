"""The frame of the main stream's RAM: where it has markers for the channels' SYNCs."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from qmig.wire.framing import PartHead, QemuVmSection, SectionHead
from qmig.wire.ram import RamSaveFlag, RamWord

if TYPE_CHECKING:
    from qmig.capture.records import Record


class Markers:
    """Collects MULTIFD_FLUSH and EOS words as they come.

    Attributes:
        flush_offsets: of the MULTIFD_FLUSH words.
        eos_offsets: of the EOS words that end the RAM sections.
        start_flushes: MULTIFD_FLUSH words in the START section.
        start_eos_offset: of its EOS word; None where it has none.
        end_flushes: MULTIFD_FLUSH words in the END section.
        end_eos_offset: of its EOS word; None where there is no END section.
        end_pages_offset: of page records behind the last MULTIFD_FLUSH word in the END section.
    """

    def __init__(self) -> None:
        self.flush_offsets = array("Q")
        self.eos_offsets = array("Q")
        self.start_flushes = 0
        self.start_eos_offset: int | None = None
        self.end_flushes = 0
        self.end_eos_offset: int | None = None
        self.end_pages_offset: int | None = None
        self._section: int | None = None
        self._ram_id: int | None = None

    @property
    def by_flush(self) -> bool:
        """Whether MULTIFD_FLUSH words are the markers; else EOS words are."""
        return bool(self.flush_offsets)

    @property
    def offsets(self) -> array[int]:
        """Offsets of the markers."""
        return self.flush_offsets if self.by_flush else self.eos_offsets

    @property
    def epoch(self) -> int:
        """Markers so far."""
        return len(self.offsets)

    def add(self, record: Record) -> None:
        """Look at a section header or a RAM word."""
        wire = record.wire
        if isinstance(wire, SectionHead):
            ram = wire.idstr == b"ram" and wire.type == QemuVmSection.SECTION_START
            self._ram_id = wire.section_id if ram else self._ram_id
            self._section = wire.type if ram else None
        elif isinstance(wire, PartHead):
            self._section = wire.type if wire.section_id == self._ram_id else None
        elif isinstance(wire, RamWord) and self._section is not None:
            self._word(record.offset, wire.word)

    def add_pages(self, offset: int) -> None:
        """Look at page records."""
        if self._section == QemuVmSection.SECTION_END:
            self.end_pages_offset = offset

    def _word(self, offset: int, word: int) -> None:
        start = self._section == QemuVmSection.SECTION_START
        end = self._section == QemuVmSection.SECTION_END
        if word & RamSaveFlag.MEM_SIZE:
            return
        if word & RamSaveFlag.MULTIFD_FLUSH:
            self.flush_offsets.append(offset)
            self.start_flushes += start
            if end:
                self.end_flushes += 1
                self.end_pages_offset = None
        elif word & RamSaveFlag.EOS:
            self.eos_offsets.append(offset)
            self.start_eos_offset = offset if start else self.start_eos_offset
            self.end_eos_offset = offset if end else self.end_eos_offset
