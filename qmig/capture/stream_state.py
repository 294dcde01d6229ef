"""What a walk over the main stream has built up, and how it goes on behind damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.extent import FOOTER_LEN
from qmig.capture.page_size import LEGAL_PAGE_SIZES, PageSize
from qmig.capture.ram import PageRecordReader
from qmig.capture.records import NOT_READ, Opaque, PageBatch, Record
from qmig.capture.sections import Command, Configuration, Counters, Section, SectionTable
from qmig.capture.source import Cursor
from qmig.capture.trailing import Trailing
from qmig.capture.vmdescription import VmDescriptionReader
from qmig.errors import StreamError
from qmig.limits import MAX_DAMAGED_PLACES
from qmig.wire.framing import FileHeader, FooterRecord, QemuVmSection
from qmig.wire.gate import read_record
from qmig.wire.vmdesc import VmDescription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.resync import Damaged, NextPlace
    from qmig.capture.source import Source
    from qmig.memory import RamBlock

    Item = Record | PageBatch


class StreamState:
    """What a walk over one main stream has built up.

    Args:
        source: where the stream is.
        offset: where it begins.
        page_size_len: the target page size where the user knows it.
        careful: read each page record through its schema; slow, for comparison.
        resync: go on behind damage where the format gives a safe place; what lies between comes as
            `Opaque` with the extent "damage".
        resumes: the finished walk over the connection that this one resumes, without a file
            header of its own (the recovery of a postcopy migration).
        description_end: where a search for the vmdescription ends; None: at the end of the data.

    Attributes:
        header: the file header.
        configuration: None where the stream has none.
        sections: all sections, PARTs folded.
        commands: the first `MAX_COMMANDS` commands.
        blocks: the block list.
        total_ram_len: bytes that the block list announces.
        ignore_shared: whether its entries have addr fields; None before it was read.
        page_size: target page size and where it is known from; None before it was needed.
        footers: whether sections have footers; None before the first one.
        eof_offset: of the EOF byte, None where the walk did not get there.
        end_offset: behind the last byte that belongs to the stream.
        trailing: what stands behind, None where nothing does.
        error: the first thing that the walk could not get past, None where there was none.
        errors: all such things; without `resync` one at most.
        counters: words and parts.
    """

    def __init__(
        self,
        source: Source,
        offset: int,
        *,
        page_size_len: int | None = None,
        careful: bool = False,
        resync: bool = False,
        resumes: StreamState | None = None,
        description_end: int | None = None,
    ) -> None:
        self.source = source
        self.start_offset = offset
        self.header: FileHeader | None = None
        self.configuration: Configuration | None = None
        self.sections = SectionTable()
        self.commands: list[Command] = []
        self.blocks: list[RamBlock] = []
        self.total_ram_len = 0
        self.ignore_shared: bool | None = None
        self.page_size = PageSize(page_size_len, "given by the user") if page_size_len else None
        self.footers: bool | None = None
        self.eof_offset: int | None = None
        self.end_offset = offset
        self.trailing: Trailing | None = None
        self.error: StreamError | None = None
        self.errors: list[StreamError] = []
        self.counters = Counters()
        self._careful = careful
        self._resync = resync
        self._open_section: Section | None = None
        self._without_footer: tuple[int, Section] | None = None
        self._resumes = resumes
        self._handlers: dict[int, Section] = {}
        self._description = VmDescriptionReader(source, description_end)
        self._pages: PageRecordReader | None = None
        self._in_package = False
        if resumes is not None:
            self.blocks = resumes.blocks
            self.page_size = resumes.page_size
            self.footers = resumes.footers
            self._handlers = dict(resumes.handlers)

    @property
    def vmdescription(self) -> VmDescription | None:
        """The vmdescription; None where there is none, or the walk has not come to it."""
        return self._description.description

    @property
    def known_description(self) -> VmDescription | None:
        """The vmdescription, also where the walk has not come to it, or cannot."""
        return self._description.known

    @property
    def vmdescription_error(self) -> str | None:
        """Why the vmdescription that is there cannot be understood."""
        return self._description.error

    @property
    def foreign_description(self) -> int | None:
        """Where a vmdescription was found ahead of its turn that may be another stream's."""
        own_offset = None if self.eof_offset is None else self.eof_offset + 1
        return self._description.foreign_offset(own_offset)

    @property
    def handlers(self) -> dict[int, Section]:
        """Section id -> the section that opened it."""
        return self._handlers

    @property
    def ram_ended(self) -> bool:
        """Whether the END section of `ram` was read whole."""
        return any(
            row.kind == QemuVmSection.SECTION_END and row.idstr == "ram" and row.complete
            for row in self.sections.rows
        )

    def _note(self, error: StreamError) -> None:
        self.error = self.error or error
        self.errors.append(error)

    @property
    def _passes_over_damage(self) -> bool:
        """Whether damage is passed over where the end of what is damaged is known all the same."""
        return self._resync

    def _pass_over(self, error: StreamError) -> None:
        """Note damage that is passed over."""
        self._note(error)

    def _note_page_bits(self) -> None:
        bits = self.configuration.target_page_bits if self.configuration else None
        if bits is not None:
            self._note_page_size(PageSize(1 << bits, "configuration/target-page-bits"))

    def _note_page_size(self, page_size: PageSize | None) -> None:
        if page_size is None:
            return
        if page_size.length in LEGAL_PAGE_SIZES and page_size.better_than(self.page_size):
            self.page_size = page_size

    def _look_ahead(self, offset: int) -> None:
        """Find the vmdescription before its turn, where the source can be read there."""
        self._description.look_ahead(offset)
        self._note_page_size(self._description.page_size)

    # -- going on behind damage -------------------------------------------------------------------

    def _attempt(self, cursor: Cursor, items: Iterator[Item]) -> Iterator[Item]:
        """Yield items; where an error ends them, go on behind it, if that is asked for."""
        begun = cursor.offset
        try:
            yield from items
        except StreamError as error:
            if not self._resync or len(self.errors) >= MAX_DAMAGED_PLACES:
                raise
            start = max(self.end_offset, begun)
            place = self._next_place(cursor, start)
            if place is None:
                raise
            self._note(error)
        else:
            return
        if place.offset > start:
            yield Opaque(start, place.offset - start, NOT_READ, extent="damage")
        cursor.offset = place.offset
        if place.footer:
            footer = read_record(cursor, FooterRecord, what="section footer")
            yield Record(place.offset, FOOTER_LEN, "section footer", footer)

    def _next_place(self, cursor: Cursor, start: int) -> NextPlace | None:
        from qmig.capture.resync import next_head, next_place

        if not self.sections.rows:
            return next_head(cursor, start)
        self._look_ahead(start)
        return next_place(cursor, start, self._damaged())

    def _damaged(self) -> Damaged:
        from qmig.capture.resync import Damaged

        described = self._description.found_offset
        return Damaged(
            self._open_section,
            self._handlers,
            self.footers,
            self._in_package,
            self._description.device_keys,
            None if described is None or self._in_package else described - 1,
        )

    def _follows(self, cursor: Cursor, offset: int) -> bool:
        from qmig.capture.resync import element_follows

        return element_follows(cursor, offset, self._damaged())
