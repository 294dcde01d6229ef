"""Walk the main stream from its header to its last byte.

The walk yields every byte under a name (`Record`, `PageBatch`), and builds up what the stream is:
configuration, sections, block list, commands. It stops at the first thing that it cannot get past;
`error` says what that was, and what came before stands. On demand it goes on at the next place
where the format allows it (`qmig.capture.resync`), and collects what it met in `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.commands import CommandReader
from qmig.capture.configuration import ConfigurationReader, begins_configuration
from qmig.capture.page_size import (
    PageSize,
)
from qmig.capture.ram_sections import RamSections
from qmig.capture.records import NOT_READ, Opaque, PageBatch, Record
from qmig.capture.section_heads import continued_section, early_eof, opened_section
from qmig.capture.sections import (
    Section,
)
from qmig.capture.source import Cursor
from qmig.capture.trailing import look_at_trailing
from qmig.errors import (
    LimitExceededError,
    MalformedStreamError,
    StreamError,
    TruncatedStreamError,
    UnsupportedStreamError,
)
from qmig.faults import Fault
from qmig.limits import MAX_COMMANDS, MAX_SECTIONS
from qmig.wire.framing import (
    QEMU_VM_FILE_VERSION,
    QEMU_VM_FILE_VERSION_COMPAT,
    EofRecord,
    FileHeader,
    MigCmd,
    QemuVmSection,
)
from qmig.wire.gate import read_record
from qmig.wire.record import field_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    Item = Record | PageBatch

_OPENING: Final = (QemuVmSection.SECTION_START, QemuVmSection.SECTION_FULL)
_CONTINUING: Final = (QemuVmSection.SECTION_PART, QemuVmSection.SECTION_END)


class StreamWalk(RamSections):
    """One walk over a main stream; iterate over `records()` once, then look at the rest.

    Its arguments and attributes are those of `StreamState`.
    """

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

    def _unread(self) -> Iterator[Record]:
        """Yield what stands behind the place where the walk stopped, as one record."""
        end = self.source.end()
        if end is not None and end > self.end_offset:
            yield Opaque(self.end_offset, end - self.end_offset, NOT_READ, extent="damage")

    def _stream(self, cursor: Cursor) -> Iterator[Item]:
        if self._resumes is None:
            yield self._file_header(cursor)
            if begins_configuration(cursor):
                yield from self._attempt(cursor, self._configuration(cursor))
        yield from self._elements(cursor)
        start = cursor.offset
        self.eof_offset = start
        if cursor.peek(1) == bytes([QemuVmSection.EOF]):
            yield Record(start, 1, "EOF", read_record(cursor, EofRecord, what="EOF"))
        else:
            cursor.skip(1, what="EOF")
            yield Opaque(start, 1, NOT_READ, extent="damage")
        yield from self._behind_eof(cursor)

    def _configuration(self, cursor: Cursor) -> Iterator[Record]:
        reader = ConfigurationReader(cursor, self._pass_over if self._passes_over_damage else None)
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

    # -- elements ---------------------------------------------------------------------------------

    def _elements(self, cursor: Cursor) -> Iterator[Item]:
        """Yield elements up to EOF, or to the end of a package."""
        while True:
            first = cursor.peek(1)
            if self._in_package and self._runs:
                return  # a destination reads no farther
            if not first:
                if self._in_package:
                    return
                raise cursor.truncated(1, 0, what="element")
            if first[0] == QemuVmSection.EOF and self._early_eof(cursor) is None:
                return
            self._open_section = None
            begun = cursor.offset
            yield from self._attempt(cursor, self._element(cursor, first[0]))
            if cursor.offset == begun:
                return  # reading goes on where it stopped: at EOF, whose byte is damaged

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
        elif kind == QemuVmSection.EOF and (error := self._early_eof(cursor)) is not None:
            raise error
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

    def _early_eof(self, cursor: Cursor) -> MalformedStreamError | None:
        if self._in_package or any(command.name == "ENABLE_COLO" for command in self.commands):
            return None  # behind the EOF of COLO its checkpoints follow
        return early_eof(cursor, self.sections.rows)

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
        self._register(cursor, section)
        return record, section

    def _register(self, cursor: Cursor, section: Section) -> None:
        """Note a section that was opened, for the parts that name its id alone."""
        del cursor
        self._handlers[section.section_id] = section

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

    # -- commands ---------------------------------------------------------------------------------

    def _command(self, cursor: Cursor) -> Iterator[Item]:
        reader = CommandReader(cursor)
        yield from reader.read()
        command = reader.command
        if command is None:
            return
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
        else:
            if self._resync and not self._runs:
                self._check_package(cursor, start, length)
                self._note(self._package_without_run(inner))
        finally:
            self._in_package = False
        cursor.offset = inner.offset
        if inner.offset < start + length:  # an EOF byte, or elements that end before it does
            left = start + length - inner.offset
            self._check_package(cursor, start, length)
            cursor.skip(left, what="package")
            yield Record(inner.offset, left, "rest of package")

    @property
    def _runs(self) -> bool:
        """Whether the last command is POSTCOPY_RUN."""
        return bool(self.commands) and self.commands[-1].name == MigCmd.POSTCOPY_RUN.name

    def _package_without_run(self, inner: Cursor) -> MalformedStreamError:
        return MalformedStreamError(
            path=inner.name,
            offset=inner.offset,
            record="package",
            expected="POSTCOPY_RUN, which ends each package",
            found="the end of the package" if inner.at_end() else "EOF",
            fault=Fault.DATA_END,
        )

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
