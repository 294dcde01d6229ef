"""Where a section ends that qmig has no grammar for.

No section has a length. In order of trust: the vmdescription's sizes with the footer where they
say; the footer found by search, with a plausible element behind it; without footers the
vmdescription alone; and with neither the next thing that looks like a section header, which is a
guess and said to be one.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from qmig.limits import MAX_OPAQUE_SECTION_LEN, MAX_VMDESC_LEN, MIB, VMDESC_SEARCH_LEN
from qmig.wire.framing import (
    MIG_CMD_LEN,
    CommandHead,
    FooterRecord,
    MigCmd,
    PartHead,
    QemuVmSection,
    VmDescriptionHead,
)
from qmig.wire.record import fast_struct, fixed_len
from qmig.wire.vmdesc import VmDescError, VmDescription, parse_vmdescription

if TYPE_CHECKING:
    from collections.abc import Container

    from qmig.capture.source import Cursor, Source

FOOTER_LEN: Final = fixed_len(FooterRecord)
_VMDESC_HEAD_LEN: Final = fixed_len(VmDescriptionHead)
_SEARCH_LEN: Final = MIB
_SEARCH_BEHIND_WEAK_LEN: Final = 16 * MIB
LOOK_LEN: Final = 300  # a section header with the longest name
_MOST_CANDIDATES: Final = 16  # of texts that look like a vmdescription and are not
_NAME_LEN_AT: Final = 5  # type and id stand before it
_MOST_INSTANCE: Final = 1 << 16
_MOST_VERSION: Final = 1 << 14  # i6300esb_wdt has 10000, no other device more than 100
_MOST_ID: Final = 1 << 16
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
# 0x06, be32 length, JSON of an object
_VMDESC_LOOK_LEN: Final = 8
_VMDESC_LOOK: Final = re.compile(rb"\x06[\x00-\x04]...\{ ?\"", re.DOTALL)
# 0x04, an id below 65536, a name that starts with a printable byte
_FULL_LOOK: Final = rb"\x04\x00\x00..[\x01-\xff][\x21-\x7e]"
# That, or EOF and a vmdescription; looked for at every byte, for two can overlap.
_NEXT_LOOK: Final = rb"(?s)(?=" + _FULL_LOOK + rb"|\x00\x06[\x00-\x04]...\{ ?\")"


class FoundVmDescription(NamedTuple):
    """A vmdescription found ahead of its turn.

    Attributes:
        offset: of its type byte.
        length: of head and JSON.
        description: what it says.
    """

    offset: int
    length: int
    description: VmDescription


def footer_bytes(section_id: int) -> bytes:
    """Return the footer of a section."""
    return FooterRecord(section_id=section_id).build()


def find_vmdescription(
    source: Source, from_offset: int, to_offset: int | None = None
) -> FoundVmDescription | None:
    """Search a vmdescription backwards from the end of a seekable source.

    Trailing bytes of any kind are passed over; a candidate counts where its length lies inside
    the data and its JSON is that of a vmdescription.

    Args:
        source: where to search.
        from_offset: where the search ends.
        to_offset: behind its first place; None: the end of the source.
    """
    end = source.end()
    if end is None:
        return None
    end = end if to_offset is None else min(end, to_offset)
    lowest = max(from_offset, end - VMDESC_SEARCH_LEN)
    tried = 0
    upper = end
    while upper > lowest:
        start = max(lowest, upper - _SEARCH_LEN)
        data = source.read_at(start, upper - start + LOOK_LEN)
        if data.strip(b"\0"):
            for match in reversed([*_VMDESC_LOOK.finditer(data)]):
                if start + match.start() >= upper:
                    continue
                found = _vmdescription_at(source, start + match.start(), end)
                if found is not None:
                    return found
                tried += 1
                if tried >= _MOST_CANDIDATES:
                    return None
        upper = start
    return None


def _vmdescription_at(source: Source, offset: int, end: int) -> FoundVmDescription | None:
    head = source.read_at(offset, _VMDESC_HEAD_LEN)
    _, length = fast_struct(VmDescriptionHead).unpack(head)
    start = offset + _VMDESC_HEAD_LEN
    if length > MAX_VMDESC_LEN or start + length > end:
        return None
    text = source.read_at(start, length)
    if b'"devices"' not in text:
        return None
    try:
        description = parse_vmdescription(text)
    except VmDescError:
        return None
    return FoundVmDescription(offset, _VMDESC_HEAD_LEN + length, description)


class Plausible(IntEnum):
    """How much bytes look like the start of an element."""

    NO = 0
    # An EOF byte with more zeros behind it: padding, or the inside of a body. Or the data ends
    # before it tells, as it does where a file is cut short inside the next header.
    WEAKLY = 1
    YES = 2


def plausible_element(data: bytes, known_ids: Container[int], *, in_package: bool) -> Plausible:
    """Tell whether an element could begin with these bytes.

    Args:
        data: what stands there, up to a header with the longest name; nothing: the end of data.
        known_ids: ids of the sections that are open.
        in_package: whether this is inside a postcopy package, which has no EOF.
    """
    if not data:
        return Plausible.YES
    if _may_be_cut_short(data):
        return Plausible.WEAKLY
    kind = data[0]
    if kind == QemuVmSection.EOF:
        return Plausible.NO if in_package else _plausible_eof(data)
    if kind in (QemuVmSection.SECTION_PART, QemuVmSection.SECTION_END):
        fits = int.from_bytes(data[1:5], "big") in known_ids
    elif kind in (QemuVmSection.SECTION_START, QemuVmSection.SECTION_FULL):
        # With a footer in front any numbers will do: pseries has LIOBNs as instances.
        fits = plausible_section_head(data, any_numbers=True)
    else:
        fits = kind == QemuVmSection.COMMAND and _plausible_command(data)
    return Plausible.YES if fits else Plausible.NO


def _may_be_cut_short(data: bytes) -> bool:
    """Tell whether the data ends inside the head of an element that could begin so."""
    kind, rest = data[0], data[1:LOOK_LEN]
    if kind in (QemuVmSection.SECTION_PART, QemuVmSection.SECTION_END):
        return len(data) < fixed_len(PartHead)
    if kind == QemuVmSection.COMMAND:
        return len(data) < fixed_len(CommandHead) and rest[:1] in (b"", b"\0")
    if kind == QemuVmSection.EOF:
        short = 0 < len(rest) < _VMDESC_LOOK_LEN and rest[_VMDESC_HEAD_LEN:][:1] in (b"", b"{")
        return short and rest[0] == QemuVmSection.VMDESCRIPTION
    if kind not in (QemuVmSection.SECTION_START, QemuVmSection.SECTION_FULL):
        return False
    if len(data) <= _NAME_LEN_AT:
        return not any(rest[:2])  # of an id below 65536
    name = data[_NAME_LEN_AT + 1 :][: data[_NAME_LEN_AT]]
    head_len = _NAME_LEN_AT + 1 + data[_NAME_LEN_AT] + 8
    return (
        not any(rest[:2])
        and data[_NAME_LEN_AT] > 0
        and len(data) < head_len
        and not name.translate(None, _PRINTABLE)
    )


def _plausible_eof(data: bytes) -> Plausible:
    if len(data) == 1 or _VMDESC_LOOK.match(data, 1):
        return Plausible.YES
    return Plausible.NO if data.strip(b"\0") else Plausible.WEAKLY


def _plausible_command(data: bytes) -> bool:
    command, length = int.from_bytes(data[1:3], "big"), int.from_bytes(data[3:5], "big")
    if command not in set(MigCmd) or command == MigCmd.INVALID:
        return False
    fixed = MIG_CMD_LEN[MigCmd(command)]
    return fixed is None or fixed == length


def plausible_section_head(data: bytes, *, any_numbers: bool = False) -> bool:
    """Tell whether a START or FULL section could begin with these bytes.

    Args:
        data: what stands there.
        any_numbers: do not ask for a small instance and version.
    """
    if len(data) <= _NAME_LEN_AT or int.from_bytes(data[1:5], "big") >= _MOST_ID:
        return False
    name_len = data[_NAME_LEN_AT]
    name_end = _NAME_LEN_AT + 1 + name_len
    head_len = name_end + 8
    if name_len == 0 or len(data) < head_len:
        return False
    instance_id = int.from_bytes(data[name_end : name_end + 4], "big")
    version_id = int.from_bytes(data[name_end + 4 : head_len], "big")
    name = data[_NAME_LEN_AT + 1 : name_end]
    return not name.translate(None, _PRINTABLE) and (
        any_numbers or (instance_id < _MOST_INSTANCE and version_id < _MOST_VERSION)
    )


def hidden_element(behind: bytes, open_ids: Container[int]) -> QemuVmSection | None:
    """Tell what begins at an EOF byte if that is damage; None: nothing, so it is EOF.

    Args:
        behind: what stands behind the byte, up to a header with the longest name.
        open_ids: ids of sections that were opened by START and have not ended.
    """
    if plausible_section_head(bytes([QemuVmSection.SECTION_FULL]) + behind):
        return QemuVmSection.SECTION_FULL
    section_id = int.from_bytes(behind[:4], "big")
    if len(behind) > fixed_len(PartHead) and section_id and section_id in open_ids:
        return QemuVmSection.SECTION_PART
    command = bytes([QemuVmSection.COMMAND]) + behind
    if len(command) > fixed_len(CommandHead) and _plausible_command(command):
        return QemuVmSection.COMMAND
    return None


def search_footer(
    cursor: Cursor, section_id: int, known_ids: Container[int], *, in_package: bool
) -> int | None:
    """Return the offset of the first footer from the cursor on with an element behind it.

    A body may hold the bytes of a footer (the s390x `timer` does): where only zeros stand behind
    one, the search goes on, and comes back to it if nothing better is found.
    """
    footer = footer_bytes(section_id)
    at = cursor.offset
    most = at + MAX_OPAQUE_SECTION_LEN
    weak: int | None = None
    stray: _StrayFooter | None = None
    while at < most:
        data = _look(cursor, at, _SEARCH_LEN + LOOK_LEN)
        position = data.find(footer)
        if stray is None:
            stray = _stray_footer(data, position if position >= 0 else _SEARCH_LEN, footer)
            stray = None if stray is None else stray._replace(offset=at + stray.offset)
        while 0 <= position < _SEARCH_LEN:
            behind = position + FOOTER_LEN
            ahead = data[behind : behind + LOOK_LEN]
            plausible = plausible_element(ahead, known_ids, in_package=in_package)
            if plausible is Plausible.YES:
                # Where the section behind a stray footer has this one's id, so has this footer.
                lost = stray is not None and stray.next_id == section_id
                return stray.offset if stray is not None and lost else at + position
            if plausible is Plausible.WEAKLY and weak is None:
                weak = at + position
                most = min(most, weak + _SEARCH_BEHIND_WEAK_LEN)
            position = data.find(footer, position + 1)
        if len(data) <= _SEARCH_LEN:
            break
        at += _SEARCH_LEN
    return weak if stray is None else stray.offset


class _StrayFooter(NamedTuple):
    """What may be a damaged footer, and the header of a FULL section behind it.

    Attributes:
        offset: of the footer.
        next_id: id of the section behind it.
    """

    offset: int
    next_id: int


def _stray_footer(data: bytes, end: int, footer: bytes) -> _StrayFooter | None:
    """Return the first one that begins before `end`.

    It is this section's, with damage to its mark, its id, or that in the header, if no other is; a
    body may hold anything.
    """
    either = rb"(?s)(?:\x7e\x00\x00..|." + re.escape(footer[1:]) + rb")"
    look = re.compile(either + rb"(?=" + _FULL_LOOK + rb")")
    for match in look.finditer(data, 0, min(end + LOOK_LEN, len(data))):
        if match.start() >= end:
            return None
        behind = match.start() + FOOTER_LEN
        head = data[behind : behind + LOOK_LEN]
        if plausible_section_head(head, any_numbers=True):
            return _StrayFooter(match.start(), int.from_bytes(head[1:_NAME_LEN_AT], "big"))
    return None


def guess_end(cursor: Cursor) -> int | None:
    """Without footers and description: return the offset of what looks like the next section.

    That is a FULL header, EOF with a vmdescription behind it, or the EOF byte that ends the data.
    """
    at = cursor.offset
    most = at + MAX_OPAQUE_SECTION_LEN
    while at < most:
        data = _look(cursor, at, _SEARCH_LEN + LOOK_LEN)
        for match in re.finditer(_NEXT_LOOK, data):
            position = match.start()
            if position >= _SEARCH_LEN:
                break
            ahead = data[position : position + LOOK_LEN]
            if ahead[0] == QemuVmSection.EOF or plausible_section_head(ahead):
                return at + position
        if len(data) <= _SEARCH_LEN:
            return at + len(data) - 1 if data.endswith(b"\0") else None
        at += _SEARCH_LEN
    return None


def _look(cursor: Cursor, at: int, length: int) -> bytes:
    if cursor.limit is not None:
        length = min(length, cursor.limit - at)
    return cursor.source.read_at(at, length)
