"""The sections of `ram`: the block list, and page records up to EOS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.block_list import BlockListReader
from qmig.capture.page_size import SMALLEST_PAGE_SIZE_LEN, PageSize, page_size_of_machine
from qmig.capture.page_size_probe import probed_page_size
from qmig.capture.ram import PageRecordReader
from qmig.capture.records import PageBatch, Record
from qmig.capture.section_ends import SectionEnds
from qmig.errors import MalformedStreamError, UnsupportedStreamError, printed_int
from qmig.faults import Fault
from qmig.wire.ram import RAM_SAVE_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.sections import Section
    from qmig.capture.source import Cursor

    Item = Record | PageBatch


class RamSections(SectionEnds):
    """Reads the `ram` sections of a stream; see `StreamWalk`."""

    _exact = False  # see `PageRecordReader`

    def _ram_start(self, cursor: Cursor, section: Section) -> Iterator[Item]:
        if self.blocks:
            raise MalformedStreamError(
                path=cursor.name,
                offset=section.offset,
                record="section header of ram",
                expected="one START section of ram",
                found="a second one",
                fault=Fault.RAM_BLOCKS_AGAIN,
            )
        if section.version_id != RAM_SAVE_VERSION:
            error = UnsupportedStreamError(
                path=cursor.name,
                offset=cursor.offset - 4,
                record="section header of ram",
                field="version_id",
                expected=str(RAM_SAVE_VERSION),
                found=str(section.version_id),
                fault=Fault.RAM_VERSION,
                values={"version": printed_int(section.version_id)},
            )
            if not self._resync:
                raise error
            self._note(error)
        capabilities = self.configuration.capabilities if self.configuration else None
        known = self.configuration is not None
        if self.page_size is None and "mapped-ram" in (capabilities or ()):
            # A header with another page size would give wrong pages: QEMU 10.0 loads it in silence.
            self._look_ahead(cursor.offset)
        reader = self._block_list(
            cursor,
            section,
            mapped="mapped-ram" in (capabilities or ()) if known else None,
            ignore_shared="x-ignore-shared" in (capabilities or ()) if known else None,
        )
        self.blocks = reader.blocks
        for record in reader.read():
            self.total_ram_len = reader.total_len
            yield record
        self.ignore_shared = reader.ignore_shared
        mapped = next((block.mapped for block in self.blocks if block.mapped), None)
        if mapped is not None:
            self._note_page_size(PageSize(mapped.header.page_size, "mapped-ram header"))
        yield from self._ram_part(cursor, mapped=bool(reader.mapped))

    def _block_list(
        self, cursor: Cursor, section: Section, *, mapped: bool | None, ignore_shared: bool | None
    ) -> BlockListReader:
        del section
        return BlockListReader(
            cursor,
            mapped=mapped,
            ignore_shared=ignore_shared,
            page_size_len=self.page_size.length if self.page_size else None,
            likely_page_size_len=self._likely_page_size_len(),
            damage=self._note if self._resync else None,
        )

    def _ram_part(self, cursor: Cursor, *, mapped: bool = False) -> Iterator[Item]:
        if self._pages is None:
            page_size = self._decided_page_size(cursor)
            self._pages = PageRecordReader(
                self.blocks,
                page_size.length,
                mapped=mapped,
                damage=self._note if self._resync else None,
                exact=self._exact,
            )
        try:
            yield from self._pages.read(cursor, careful=self._careful)
        finally:
            self.counters.flush_words = self._pages.flush_words
            self.counters.eos_words = self._pages.eos_words

    def _likely_page_size_len(self) -> int:
        """Return what tells flags from the total in the first word, however that is damaged."""
        if self.page_size is None and self.configuration is None:
            return SMALLEST_PAGE_SIZE_LEN
        machine = self.configuration.machine if self.configuration else None
        return (self.page_size or page_size_of_machine(machine)).length

    def _decided_page_size(self, cursor: Cursor) -> PageSize:
        """Return the target page size, looking ahead or trying where it is not known."""
        if self.page_size is None:
            self._look_ahead(cursor.offset)
        if self.page_size is None:
            guess = page_size_of_machine(self.configuration.machine if self.configuration else None)
            self.page_size = probed_page_size(cursor, self.blocks, guess)
        return self.page_size
