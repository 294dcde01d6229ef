"""Where a walk over the main stream can go on behind damage.

No section has a length, so only what cannot be mistaken counts: a section's footer with the start
of an element behind it, or EOF with the vmdescription behind it. RAM holds anything, a stream's
bytes as well: the footer of a `ram` section counts only behind the EOS word that ends its body.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.capture.extent import (
    FOOTER_LEN,
    Plausible,
    footer_bytes,
    plausible_element,
    plausible_section_head,
)
from qmig.limits import MIB
from qmig.wire.framing import QemuVmSection
from qmig.wire.ram import RamSaveFlag, RamWord

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from qmig.capture.sections import Section
    from qmig.capture.source import Cursor

_SEARCH_LEN: Final = MIB
_LOOK_LEN: Final = 320  # a footer, and a section header with the longest name
_EOS: Final = RamWord(word=int(RamSaveFlag.EOS)).build()
# A footer with an id below 65536, and the first byte of an element (or the end of the data).
_FOOTER_LOOK: Final = rb"(?s)\x7e\x00\x00..(?=[\x00-\x04\x08]|\Z)"
_NAME_AT: Final = 6  # behind type, section_id and the name's length
# 0x01 or 0x04, an id below 65536, a name that starts with a printable byte
_HEAD_LOOK: Final = re.compile(rb"(?s)(?=[\x01\x04]\x00\x00..[\x01-\xff][\x21-\x7e])")
# The byte that a footer or header begins with: to look for one byte alone costs next to nothing, so
# that long stretches of zeros, or of one pattern, are passed over fast.
_FOOTER_MARK: Final = b"\x7e"
_HEAD_MARKS: Final = (b"\x01", b"\x04")


class NextPlace(NamedTuple):
    """Where a walk goes on.

    Attributes:
        offset: of the footer or element.
        footer: whether a footer stands there, with an element behind it.
    """

    offset: int
    footer: bool


class Damaged(NamedTuple):
    """What is known where a walk was stopped.

    Attributes:
        section: the section that was being read; None between elements.
        known_ids: ids of the sections that are open.
        footers: whether the stream has footers; None: not known yet.
        in_package: whether this is inside a postcopy package.
        devices: name and instance of the devices in the vmdescription that was found ahead.
        eof_offset: where EOF stands by the vmdescription that was found ahead; None: not known.
    """

    section: Section | None
    known_ids: Container[int]
    footers: bool | None
    in_package: bool
    devices: Container[tuple[bytes, int]]
    eof_offset: int | None


def next_place(cursor: Cursor, start: int, damaged: Damaged) -> NextPlace | None:
    """Return the first place from `start` on where a walk can safely go on; None: there is none.

    Args:
        cursor: knows the source, and where a package ends.
        start: behind what was read.
        damaged: what is known there.
    """
    ram = damaged.section is not None and damaged.section.idstr == "ram"
    eof = damaged.eof_offset
    if eof is not None and eof < start:
        eof = None
    if damaged.footers is not False:
        if ram and damaged.section is not None:
            mark = _EOS + footer_bytes(damaged.section.section_id)
            found = _search(cursor, start, re.escape(mark), damaged, at=len(_EOS))
            if found is not None and (eof is None or found < eof):
                return NextPlace(found, footer=True)
        found = _search(cursor, start, _FOOTER_LOOK, damaged, at=0)
        head = _search_head(cursor, start, found, damaged.devices)
        if head is not None and (eof is None or head < eof):
            return NextPlace(head, footer=False)
        if found is not None and (eof is None or found < eof):
            return NextPlace(found, footer=True)
    elif not ram:
        head = _search_head(cursor, start, eof)
        if head is not None:
            return NextPlace(head, footer=False)
    return None if eof is None else NextPlace(eof, footer=False)


def next_head(cursor: Cursor, start: int) -> NextPlace | None:
    """Return where the first section behind a damaged configuration begins."""
    head = _search_head(cursor, start)
    return None if head is None else NextPlace(head, footer=False)


def element_follows(cursor: Cursor, offset: int, damaged: Damaged) -> bool:
    """Tell whether an element stands at `offset` for certain, or the data ends there."""
    data = _read(cursor, offset, _LOOK_LEN)
    return _certain(data, damaged)


def _certain(data: bytes, damaged: Damaged) -> bool:
    look = plausible_element(data, damaged.known_ids, in_package=damaged.in_package)
    return look is Plausible.YES


def _search(cursor: Cursor, start: int, pattern: bytes, damaged: Damaged, *, at: int) -> int | None:
    """Return the offset of the first footer, `at` bytes into a hit, with an element behind it."""
    for base, data in _pieces(cursor, start):
        first = data.find(_FOOTER_MARK)
        if first < 0:
            continue
        for match in re.compile(pattern).finditer(data, max(0, first - at)):
            position = match.start()
            if position >= _SEARCH_LEN:
                break
            behind = position + at + FOOTER_LEN
            ahead = data[behind : behind + _LOOK_LEN - at]
            if ahead and _certain(ahead, damaged):
                return base + position + at
    return None


def search_last_footer(cursor: Cursor, section_id: int) -> int | None:
    """Return where the footer of a stream's last section stands, with EOF behind it.

    What follows EOF does not matter: it may be anything. So this is for a section whose footer
    cannot be found otherwise.
    """
    mark = footer_bytes(section_id) + bytes([QemuVmSection.EOF])
    for base, data in _pieces(cursor, cursor.offset):
        position = data.find(mark)
        if position >= 0:
            return base + position
    return None


def _search_head(
    cursor: Cursor,
    start: int,
    end: int | None = None,
    devices: Container[tuple[bytes, int]] | None = None,
) -> int | None:
    """Return where a section's header stands before `end`; None: there is none.

    Args:
        cursor: knows the source.
        start: where to begin.
        end: where to end; None: at the end of the data.
        devices: names and instances that count; None: all that are plausible.
    """
    for base, data in _pieces(cursor, start):
        for position in _head_positions(data):
            if position >= _SEARCH_LEN:
                break
            if end is not None and base + position >= end:
                return None
            ahead = data[position : position + _LOOK_LEN]
            if plausible_section_head(ahead, any_numbers=devices is not None) and (
                devices is None or _device_of(ahead) in devices
            ):
                return base + position
    return None


def _head_positions(data: bytes) -> Iterator[int]:
    """Yield where the header of a section can stand."""
    begins = [at for mark in _HEAD_MARKS if (at := data.find(mark)) >= 0]
    if begins:
        for match in _HEAD_LOOK.finditer(data, min(begins)):
            yield match.start()


def _device_of(head: bytes) -> tuple[bytes, int]:
    """Return name and instance in the header of a section."""
    name_end = _NAME_AT + head[_NAME_AT - 1]
    return head[_NAME_AT:name_end], int.from_bytes(head[name_end : name_end + 4], "big")


def _pieces(cursor: Cursor, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the data from `start` on in pieces that overlap, with their offsets."""
    while True:
        data = _read(cursor, start, _SEARCH_LEN + 2 * _LOOK_LEN)
        yield start, data
        if len(data) < _SEARCH_LEN + 2 * _LOOK_LEN:
            return
        start += _SEARCH_LEN


def _read(cursor: Cursor, at: int, length: int) -> bytes:
    if cursor.limit is not None:
        length = max(0, min(length, cursor.limit - at))
    return cursor.source.read_at(at, length)
