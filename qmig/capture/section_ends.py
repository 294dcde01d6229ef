"""Where sections end: their footers, and the bodies that no grammar is known of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qmig.capture.extent import (
    FOOTER_LEN,
    footer_bytes,
    guess_end,
    plausible_element,
    search_footer,
)
from qmig.capture.records import Opaque, Record
from qmig.capture.source import Cursor
from qmig.capture.stream_state import StreamState
from qmig.errors import MalformedStreamError
from qmig.faults import Fault
from qmig.wire.framing import FooterRecord, QemuVmSection
from qmig.wire.gate import read_record, spaced_hex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.sections import Section

_LOOK_LEN: Final = 300


class SectionEnds(StreamState):
    """Finds the end of each section of a stream; see `StreamWalk`."""

    def _footer(self, cursor: Cursor, section: Section) -> Iterator[Record]:
        expected = footer_bytes(section.section_id)
        start = cursor.offset
        found = cursor.peek(FOOTER_LEN)
        if self.footers is None:
            # Where the data ends inside what may be the first footer, it is held for one.
            # Nothing else begins with its mark; an id that is not the section's is damage.
            self.footers = found[:1] == expected[:1]
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

    def _late_footer(self, cursor: Cursor, end: int, section: Section) -> Record:
        """Take the footer of a later section, which shows that one is missing before it."""
        start = cursor.offset
        self.footers, self._without_footer = True, None
        self._note(self._no_footer(cursor, end, section, found=cursor.source.read_at(end, 5)))
        footer = read_record(cursor, FooterRecord, what="section footer")
        return Record(start, FOOTER_LEN, "section footer", footer)

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
