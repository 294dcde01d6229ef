"""Walk the main stream from its header to its last byte.

The walk yields every byte under a name (`Record`, `PageBatch`), and builds up what the stream is:
configuration, sections, block list, commands. It stops at the first thing that it cannot get past;
`error` says what that was, and what came before stands. On demand it goes on at the next place
where the format allows it (`qmig.capture.resync`), and collects what it met in `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.commands import CommandReader
from qmig.capture.configuration import ConfigurationReader
from qmig.capture.extent import (
    FOOTER_LEN,
    footer_bytes,
    guess_end,
    plausible_element,
    search_footer,
)
from qmig.capture.page_size import (
    LEGAL_PAGE_SIZES,
    PageSize,
    page_size_of_machine,
)
from qmig.capture.page_size_probe import probed_page_size
from qmig.capture.ram import BlockListReader, PageRecordReader
from qmig.capture.records import NOT_READ, Opaque, PageBatch, Record
from qmig.capture.section_heads import continued_section, opened_section
from qmig.capture.sections import (
    Command,
    Configuration,
    Counters,
    Section,
    SectionTable,
)
from qmig.capture.source import Cursor
from qmig.capture.trailing import Trailing, look_at_trailing
from qmig.capture.vmdescription import VmDescriptionReader
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    StreamError,
    TruncatedStreamError,
    UnsupportedStreamError,
)
from qmig.faults import Fault
from qmig.limits import MAX_COMMANDS, MAX_DAMAGED_PLACES, MAX_SECTIONS
from qmig.wire.framing import (
    QEMU_VM_FILE_VERSION,
    QEMU_VM_FILE_VERSION_COMPAT,
    EofRecord,
    FileHeader,
    FooterRecord,
    QemuVmSection,
)
from qmig.wire.gate import read_record, spaced_hex
from qmig.wire.ram import RAM_SAVE_VERSION
from qmig.wire.record import field_table
from qmig.wire.vmdesc import VmDescription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.resync import Damaged, NextPlace
    from qmig.capture.source import Source
    from qmig.memory import RamBlock

    Item = Record | PageBatch

_OPENING: Final = (QemuVmSection.SECTION_START, QemuVmSection.SECTION_FULL)
_CONTINUING: Final = (QemuVmSection.SECTION_PART, QemuVmSection.SECTION_END)
_LOOK_LEN: Final = 300


class StreamWalk:
    """One walk over a main stream; iterate over `records()` once, then look at the rest.

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
        resumes: StreamWalk | None = None,
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

    def records(self) -> Iterator[Item]:
        """Yield every byte of the stream, in order, each under a name."""
        cursor = Cursor(self.source, self.start_offset)
        try:
            for item in self._stream(cursor):
                self.end_offset = item.offset + item.length
                yield item
        except StreamError as error:
            self._note(error)
            yield from self._unread()

    def _note(self, error: StreamError) -> None:
        self.error = self.error or error
        self.errors.append(error)

    def _unread(self) -> Iterator[Record]:
        """Yield what stands behind the place where the walk stopped, as one record."""
        end = self.source.end()
        if end is not None and end > self.end_offset:
            yield Opaque(self.end_offset, end - self.end_offset, NOT_READ, extent="damage")

    def _stream(self, cursor: Cursor) -> Iterator[Item]:
        if self._resumes is None:
            yield self._file_header(cursor)
            if cursor.peek(1) == bytes([QemuVmSection.CONFIGURATION]):
                yield from self._attempt(cursor, self._configuration(cursor))
        yield from self._elements(cursor)
        start = cursor.offset
        self.eof_offset = start
        yield Record(start, 1, "EOF", read_record(cursor, EofRecord, what="EOF"))
        yield from self._behind_eof(cursor)

    def _configuration(self, cursor: Cursor) -> Iterator[Record]:
        reader = ConfigurationReader(cursor)
        for record in reader.read():
            self.configuration = reader.configuration
            yield record
        self._note_page_bits()

    def _file_header(self, cursor: Cursor) -> Record:
        start = cursor.offset
        self.header = read_record(cursor, FileHeader, what="file header")
        if self.header.version != QEMU_VM_FILE_VERSION:
            error = UnsupportedStreamError(
                path=cursor.name,
                offset=start + field_table(FileHeader)["version"][0],
                record="file header",
                field="version",
                expected=str(QEMU_VM_FILE_VERSION),
                found=str(self.header.version),
                hint="QEMU stopped writing version 2 in 2009",
                fault=(
                    Fault.OLD_FILE_VERSION
                    if self.header.version == QEMU_VM_FILE_VERSION_COMPAT
                    else Fault.FILE_VERSION
                ),
            )
            if not self._resync:
                raise error
            self._note(error)
        return Record(start, cursor.offset - start, "file header", self.header)

    def _note_page_bits(self) -> None:
        bits = self.configuration.target_page_bits if self.configuration else None
        if bits is not None:
            self._note_page_size(PageSize(1 << bits, "configuration/target-page-bits"))

    def _note_page_size(self, page_size: PageSize | None) -> None:
        if page_size is None:
            return
        if page_size.length in LEGAL_PAGE_SIZES and page_size.better_than(self.page_size):
            self.page_size = page_size

    # -- elements ---------------------------------------------------------------------------------

    def _elements(self, cursor: Cursor) -> Iterator[Item]:
        """Yield elements up to EOF, or to the end of a package."""
        while True:
            first = cursor.peek(1)
            if not first:
                if self._in_package:
                    return
                raise cursor.truncated(1, 0, what="element")
            if first[0] == QemuVmSection.EOF:
                return
            self._open_section = None
            yield from self._attempt(cursor, self._element(cursor, first[0]))

    def _element(self, cursor: Cursor, kind: int) -> Iterator[Item]:
        if kind in _OPENING:
            yield from self._section(cursor, self._opened(cursor))
        elif kind in _CONTINUING:
            opened = continued_section(cursor, self._handlers, in_package=self._in_package)
            yield from self._section(cursor, opened)
        elif kind == QemuVmSection.COMMAND:
            yield from self._command(cursor)
        elif kind == QemuVmSection.SECTION_FOOTER and self._resync and self._without_footer:
            yield self._late_footer(cursor, *self._without_footer)
        else:
            first = not self.sections.rows and not self.commands and self.configuration is None
            raise MalformedStreamError(
                path=cursor.name,
                offset=cursor.offset,
                record="element",
                field="type",
                expected="a section (1 to 4), a command (8) or EOF (0)",
                found=f"0x{kind:02x} {self._misplaced(kind)}".rstrip(),
                hint=self._last_section_hint(),
                fault=Fault.CONFIGURATION_MISSING if first else Fault.ELEMENT_TYPE,
                values={"type": kind},
            )

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

    def _late_footer(self, cursor: Cursor, end: int, section: Section) -> Record:
        """Take the footer of a later section, which shows that one is missing before it."""
        start = cursor.offset
        self.footers, self._without_footer = True, None
        self._note(self._no_footer(cursor, end, section, found=cursor.source.read_at(end, 5)))
        footer = read_record(cursor, FooterRecord, what="section footer")
        return Record(start, FOOTER_LEN, "section footer", footer)

    def _misplaced(self, kind: int) -> str:
        if kind not in set(QemuVmSection):
            return ""
        return f"({QemuVmSection(kind).name}, which has no place here)"

    def _last_section_hint(self) -> str | None:
        rows = self.sections.rows
        return f"the section before it is {rows[-1].idstr!r}" if rows else None

    def _opened(self, cursor: Cursor) -> tuple[Record, Section]:
        if len(self.sections.rows) >= MAX_SECTIONS:
            raise LimitExceededError(
                path=cursor.name,
                offset=cursor.offset,
                record="section header",
                expected=f"at most {MAX_SECTIONS} sections",
                found="one more",
            )
        record, section = opened_section(cursor, in_package=self._in_package)
        self._handlers[section.section_id] = section
        return record, section

    def _section(self, cursor: Cursor, opened: tuple[Record, Section]) -> Iterator[Item]:
        record, section = opened
        self._open_section = section
        row = self.sections.add(section)
        before = row.length
        start = record.offset
        try:
            yield record
            yield from self._body(cursor, section)
            row.extent = section.extent
            yield from self._footer(cursor, section)
            row.complete = True
        finally:
            row.length = before + max(cursor.offset, self.end_offset) - start

    def _body(self, cursor: Cursor, section: Section) -> Iterator[Item]:
        if section.idstr == "ram" and section.kind != QemuVmSection.SECTION_FULL:
            if section.kind == QemuVmSection.SECTION_START:
                yield from self._ram_start(cursor, section)
            else:
                self.counters.ram_parts += 1
                yield from self._ram_part(cursor)
            return
        framer = None
        if section.kind != QemuVmSection.SECTION_FULL:
            from qmig.capture.live_sections import framer_of

            framer = framer_of(section.idstr)
        if framer is None:
            yield from self._opaque(cursor, section)
            return
        start = cursor.offset
        try:
            yield from framer(cursor, section.kind)
        except UnsupportedStreamError:
            # Its own grammar does not tell its end: the rest of the body is found like others'.
            cursor.offset = max(start, self.end_offset)
            yield from self._opaque(cursor, section)

    def _footer(self, cursor: Cursor, section: Section) -> Iterator[Record]:
        expected = footer_bytes(section.section_id)
        start = cursor.offset
        found = cursor.peek(FOOTER_LEN)
        if self.footers is None:
            # Where the data ends inside what may be the first footer, it is held for one.
            begun = 0 < len(found) < FOOTER_LEN and expected.startswith(found)
            self.footers = begun or found == expected
        if not self.footers:
            self._without_footer = self._without_footer or (start, section)
            return
        if found != expected:
            if len(found) < FOOTER_LEN and expected.startswith(found):
                raise cursor.truncated(FOOTER_LEN, len(found), what=f"footer of {section.idstr}")
            error = self._no_footer(cursor, start, section, found)
            marked = found[:1] == expected[:1]
            behind = start + FOOTER_LEN if marked else start
            if not self._resync or not self._follows(cursor, behind):
                raise error
            self._note(error)
            if not marked:
                return
        footer = read_record(cursor, FooterRecord, what="section footer")
        yield Record(start, FOOTER_LEN, "section footer", footer)

    def _no_footer(
        self, cursor: Cursor, start: int, section: Section, found: bytes
    ) -> MalformedStreamError:
        expected = footer_bytes(section.section_id)
        marked = found[:1] == expected[:1] and len(found) == FOOTER_LEN
        return MalformedStreamError(
            path=cursor.name,
            offset=start,
            record=f"footer of {section.word} section {section.idstr!r}",
            expected=spaced_hex(expected),
            found=spaced_hex(found),
            hint="QEMU says: Missing section footer, or Mismatched section id in footer",
            fault=Fault.FOOTER_ID if marked else Fault.FOOTER_MISSING,
            values={
                "idstr": section.idstr,
                "read": int.from_bytes(found[1:], "big"),
                "expected_id": section.section_id,
            },
        )

    def _follows(self, cursor: Cursor, offset: int) -> bool:
        from qmig.capture.resync import element_follows

        return element_follows(cursor, offset, self._damaged())

    # -- bodies without a grammar -----------------------------------------------------------------

    def _opaque(self, cursor: Cursor, section: Section) -> Iterator[Record]:
        start = cursor.offset
        end, section.extent = self._extent(cursor, section)
        cursor.skip(end - start, what=f"section {section.idstr!r}", field="body")
        if end > start:
            yield Opaque(
                start, end - start, "section body", section=section.idstr, extent=section.extent
            )

    def _extent(self, cursor: Cursor, section: Section) -> tuple[int, str]:
        start = cursor.offset
        footer = footer_bytes(section.section_id)
        described = None
        if section.kind == QemuVmSection.SECTION_FULL and not section.in_package:
            self._look_ahead(start)
            described = self._description.next_body_len(section.idstr, section.instance_id)
        if described is not None:
            behind = Cursor(cursor.source, start + described, limit=cursor.limit)
            if self.footers is not False and behind.peek(FOOTER_LEN) == footer:
                self.footers = True
                return start + described, "vmdescription"
            if not self.footers and plausible_element(
                behind.peek(_LOOK_LEN), self._handlers, in_package=self._in_package
            ):
                return start + described, "vmdescription"
        if self.footers is not False:
            found = search_footer(
                cursor, section.section_id, self._handlers, in_package=self._in_package
            )
            if found is not None:
                return found, "footer"
        else:
            guessed = guess_end(cursor)
            if guessed is not None:
                return guessed, "guess"
        if self._resync:
            damaged = self._damaged_extent(cursor, section, described)
            if damaged is not None:
                return damaged
        raise MalformedStreamError(
            path=cursor.name,
            offset=start,
            record=f"{section.word} section {section.idstr!r}",
            field="body",
            expected=(
                "a section header or EOF behind it"
                if self.footers is False
                else f"a footer {spaced_hex(footer)} with an element behind it"
            ),
            found="none up to the end of data",
            hint="the file is cut short inside this section, or damaged behind it",
        )

    def _damaged_extent(
        self, cursor: Cursor, section: Section, described: int | None
    ) -> tuple[int, str] | None:
        """Return where a body ends whose footer, or what is behind it, is not as it should be."""
        from qmig.capture.resync import search_last_footer

        if described is not None:
            end = cursor.offset + described
            marked = cursor.source.read_at(end, 1) == footer_bytes(section.section_id)[:1]
            if self._follows(cursor, end + FOOTER_LEN if marked else end):
                return end, "vmdescription"
        if self.footers is False:
            return None
        last = search_last_footer(cursor, section.section_id)
        return None if last is None else (last, "footer")

    # -- ram --------------------------------------------------------------------------------------

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
                values={"version": section.version_id},
            )
            if not self._resync:
                raise error
            self._note(error)
        capabilities = self.configuration.capabilities if self.configuration else None
        known = self.configuration is not None
        if self.page_size is None and "mapped-ram" in (capabilities or ()):
            # A header with another page size would give wrong pages: QEMU 10.0 loads it in silence.
            self._look_ahead(cursor.offset)
        reader = BlockListReader(
            cursor,
            mapped="mapped-ram" in (capabilities or ()) if known else None,
            ignore_shared="x-ignore-shared" in (capabilities or ()) if known else None,
            page_size_len=self.page_size.length if self.page_size else None,
            damage=self._note if self._resync else None,
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

    def _ram_part(self, cursor: Cursor, *, mapped: bool = False) -> Iterator[Item]:
        if self._pages is None:
            page_size = self._decided_page_size(cursor)
            self._pages = PageRecordReader(
                self.blocks,
                page_size.length,
                mapped=mapped,
                damage=self._note if self._resync else None,
            )
        try:
            yield from self._pages.read(cursor, careful=self._careful)
        finally:
            self.counters.flush_words = self._pages.flush_words
            self.counters.eos_words = self._pages.eos_words

    def _decided_page_size(self, cursor: Cursor) -> PageSize:
        """Return the target page size, looking ahead or trying where it is not known."""
        if self.page_size is None:
            self._look_ahead(cursor.offset)
        if self.page_size is None:
            guess = page_size_of_machine(self.configuration.machine if self.configuration else None)
            self.page_size = probed_page_size(cursor, self.blocks, guess)
        return self.page_size

    def _look_ahead(self, offset: int) -> None:
        """Find the vmdescription before its turn, where the source can be read there."""
        self._description.look_ahead(offset)
        self._note_page_size(self._description.page_size)

    # -- commands ---------------------------------------------------------------------------------

    def _command(self, cursor: Cursor) -> Iterator[Item]:
        reader = CommandReader(cursor)
        yield from reader.read()
        command = reader.command
        if command is None:
            return
        if command.name == "POSTCOPY_RAM_DISCARD":
            self.counters.discards += 1
        if len(self.commands) < MAX_COMMANDS:
            self.commands.append(command)
        else:
            self.counters.commands_dropped += 1
        target_page_size = command.detail.get("target_page_size")
        if isinstance(target_page_size, int):
            self._note_page_size(PageSize(target_page_size, "POSTCOPY_ADVISE"))
        if reader.packaged_len:
            yield from self._package(cursor, reader.packaged_len)

    def _package(self, cursor: Cursor, length: int) -> Iterator[Item]:
        if self._in_package:
            raise MalformedStreamError(
                path=cursor.name,
                offset=cursor.offset,
                record="package",
                expected="no package inside a package",
                found="PACKAGED",
                fault=Fault.PACKAGE_IN_PACKAGE,
            )
        start = cursor.offset
        inner = Cursor(cursor.source, start, limit=start + length)
        self._in_package = True
        try:
            yield from self._elements(inner)
        except StreamError as error:
            if not self._resync:
                raise
            self._check_package(cursor, start, length, error)
            self._note(error)
            inner.offset = max(start, self.end_offset)
        finally:
            self._in_package = False
        cursor.offset = inner.offset
        if inner.offset < start + length:  # an EOF byte, or elements that end before it does
            left = start + length - inner.offset
            self._check_package(cursor, start, length)
            cursor.skip(left, what="package")
            yield Record(inner.offset, left, "rest of package")

    def _check_package(
        self, cursor: Cursor, start: int, length: int, cause: StreamError | None = None
    ) -> None:
        """Raise the error for a package that the data ends in, where it does.

        Args:
            cursor: knows the source.
            start: of the package.
            length: of the package.
            cause: what showed it.
        """
        end = self.source.end()
        if end is not None and end < start + length:
            raise TruncatedStreamError(
                path=cursor.name,
                offset=start,
                record="package",
                wanted_len=length,
                available_len=end - start,
                fault=Fault.PACKAGE_CUT,
                values={"length": length, "available": end - start},
            ) from cause

    # -- behind EOF -------------------------------------------------------------------------------

    def _behind_eof(self, cursor: Cursor) -> Iterator[Record]:
        if cursor.peek(1) == bytes([QemuVmSection.VMDESCRIPTION]):
            yield from self._description.read(cursor)
            self._note_page_size(self._description.page_size)
        self.end_offset = cursor.offset
        if cursor.at_end():
            return
        start = cursor.offset
        trailing = look_at_trailing(self.source, start)
        self.trailing = trailing
        yield Record(start, trailing.length, "padding" if trailing.zeros else "trailing data")
