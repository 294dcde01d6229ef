"""Where sections end: their footers, and the bodies that no grammar is known of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmig.capture.extent import (
    FOOTER_LEN,
    LOOK_LEN,
    Plausible,
    footer_bytes,
    guess_end,
    plausible_element,
    search_footer,
)
from qmig.capture.records import NOT_READ, Opaque, Record
from qmig.capture.source import Cursor
from qmig.capture.stream_state import StreamState
from qmig.errors import MalformedStreamError
from qmig.faults import Fault
from qmig.wire.framing import FooterRecord, QemuVmSection
from qmig.wire.gate import read_record, spaced_hex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qmig.capture.sections import Section


class SectionEnds(StreamState):
    """Finds the end of each section of a stream; see `StreamWalk`."""

    def _footer(self, cursor: Cursor, section: Section) -> Iterator[Record]:
        expected = footer_bytes(section.section_id)
        start = cursor.offset
        found = cursor.peek(FOOTER_LEN)
        if self.footers is None:
            # Where the data ends inside what may be the first footer, it is held for one.
            # Nothing else begins with its mark; an id that is not the section's is damage.
            self.footers = found[:1] == expected[:1] or self._unmarked_footer(
                cursor, start, expected
            )
        if not self.footers:
            self._without_footer = self._without_footer or (start, section)
            return
        if found != expected:
            if len(found) < FOOTER_LEN and expected.startswith(found):
                raise cursor.truncated(FOOTER_LEN, len(found), what=f"footer of {section.idstr}")
            error = self._no_footer(cursor, start, section, found)
            if not self._passes_over_damage:
                raise error
            behind = start + FOOTER_LEN
            if found[:1] == expected[:1] and section.kind == QemuVmSection.SECTION_START:
                # Its parts have one of the two ids: that of the header may be the damaged one.
                self._handlers.setdefault(int.from_bytes(found[1:], "big"), section)
            marked, footer_there = found[:1] == expected[:1], self._follows(cursor, behind)
            if not footer_there and (marked or not self._follows(cursor, start)):
                raise error
            self._pass_over(error)
            if not marked:
                if footer_there:
                    yield Opaque(start, FOOTER_LEN, NOT_READ, extent="damage")
                    cursor.skip(FOOTER_LEN, what="section footer")
                return
        footer = read_record(cursor, FooterRecord, what="section footer")
        yield Record(start, FOOTER_LEN, "section footer", footer)

    def _unmarked_footer(self, cursor: Cursor, at: int, footer: bytes) -> bool:
        """Tell whether a footer stands there of which the mark alone is damaged.

        Without footers the PART of the same section looks like that, but no element can begin with
        its body.
        """
        found = cursor.source.read_at(at, FOOTER_LEN)
        return found[1:] == footer[1:] and self._follows(cursor, at + FOOTER_LEN)

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
        described = self._described_end(cursor, section)
        if described is not None and self._ends_there(cursor, described, footer):
            return described, "vmdescription"
        if self.footers is False:
            guessed = guess_end(cursor)
            if guessed is not None:
                return guessed, "guess"
        else:
            found = search_footer(
                cursor, section.section_id, self._handlers, in_package=self._in_package
            )
            if found is not None:
                return found, "footer"
            if described is not None and self._element_at(cursor, described + FOOTER_LEN):
                return described, "vmdescription"  # the footer's mark is damaged
        if self._resync:
            damaged = self._damaged_extent(cursor, section, described)
            if damaged is not None:
                return damaged
        cut = not self._goes_on(cursor, start)
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
            hint=f"the file is {'cut short in' if cut else 'damaged in or behind'} this section",
            fault=Fault.DATA_END if cut else Fault.FOOTER_MISSING,
            values={"idstr": section.idstr},
        )

    def _goes_on(self, cursor: Cursor, start: int) -> bool:
        """Tell whether anything of the stream stands behind a body whose end is not found."""
        from qmig.capture.resync import next_place

        return next_place(cursor, start, self._damaged()) is not None

    def _described_end(self, cursor: Cursor, section: Section) -> int | None:
        """Return where a body ends by the vmdescription; None where it does not tell."""
        if section.kind != QemuVmSection.SECTION_FULL or section.in_package:
            return None
        self._look_ahead(cursor.offset)
        length = self._description.next_body_len(section.idstr, section.instance_id)
        return None if length is None else cursor.offset + length

    def _ends_there(self, cursor: Cursor, end: int, footer: bytes) -> bool:
        """Tell whether a footer stands at the described end of a body, or an element without."""
        found = Cursor(cursor.source, end, limit=cursor.limit).peek(FOOTER_LEN)
        if self.footers is not False and found == footer:
            self.footers = True
            return True
        if self.footers:
            # The mark or one of the two ids is damaged: a search would run into the next section's
            # footer.
            near = found[:1] == footer[:1] or found[1:] == footer[1:]
            return near and self._element_at(cursor, end + FOOTER_LEN)
        return self._element_at(cursor, end, or_weakly=True)

    def _element_at(self, cursor: Cursor, offset: int, *, or_weakly: bool = False) -> bool:
        ahead = Cursor(cursor.source, offset, limit=cursor.limit).peek(LOOK_LEN)
        if not ahead:
            return or_weakly
        look = plausible_element(ahead, self._handlers, in_package=self._in_package)
        return look is Plausible.YES or (or_weakly and look is Plausible.WEAKLY)

    def _damaged_extent(
        self, cursor: Cursor, section: Section, described: int | None
    ) -> tuple[int, str] | None:
        """Return where a body ends whose footer, or what is behind it, is not as it should be."""
        from qmig.capture.resync import search_last_footer

        if described is not None:
            marked = cursor.source.read_at(described, 1) == footer_bytes(section.section_id)[:1]
            if self._follows(cursor, described + FOOTER_LEN if marked else described):
                return described, "vmdescription"
        if self.footers is False:
            return None
        last = search_last_footer(cursor, section.section_id)
        return None if last is None else (last, "footer")
