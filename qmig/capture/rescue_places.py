"""Where a rescue goes on behind damage: what the walk takes for safe, and what a list names.

`qmig.capture.resync` finds footers with an element behind them. A device whose neighbour in front
is destroyed together with its footer is found by its own head, if the vmdescription names it and
its footer stands where the description says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from qmig.capture.extent import FOOTER_LEN, FoundVmDescription, footer_bytes
from qmig.capture.resync import Damaged, next_place
from qmig.capture.source import Cursor
from qmig.limits import MIB
from qmig.wire.framing import QemuVmSection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmig.capture.rescue_sections import FoundElement
    from qmig.capture.sections import Section
    from qmig.capture.source import Source
    from qmig.capture.stream import StreamWalk

_SEARCH_LEN: Final = MIB
_MOST_HEAD_LEN: Final = 300
_NAME_LEN_AT: Final = 5  # behind type and section_id
_NUMBERS_LEN: Final = 8  # instance_id and version_id behind the name
# 0x04, an id below 65536, a name that starts with a printable byte
_HEAD_LOOK: Final = re.compile(rb"(?=\x04\x00\x00..[\x01-\xff][\x21-\x7e])", re.DOTALL)

Described = dict[tuple[bytes, int], list[int | None]]


def next_place_behind(
    walk: StreamWalk,
    start: int,
    element: FoundElement | None,
    described: FoundVmDescription | None,
) -> int | None:
    """Return the first offset from `start` on where a walk can go on; None: there is none.

    Args:
        walk: the walk that was stopped.
        start: behind what was read.
        element: what it was reading.
        described: the vmdescription, where one was found.
    """
    section: Section | None = None
    if element is not None and element.section_id in walk.handlers:
        section = walk.handlers[element.section_id]
    damaged = Damaged(
        section,
        walk.handlers,
        walk.footers,
        in_package=False,
        eof_offset=described.offset - 1 if described else None,
    )
    found = next_place(Cursor(walk.source, start), start, damaged)
    place = None
    if found is not None:
        place = found.offset + FOOTER_LEN if found.footer else found.offset
    if described is None:
        return place
    limit = described.offset if place is None else min(place, described.offset)
    head = _described_head(walk.source, start, limit, described, footers=walk.footers is not False)
    return place if head is None else head


def _described_head(
    source: Source, start: int, limit: int, found: FoundVmDescription, *, footers: bool
) -> int | None:
    """Return where the first device that the vmdescription names begins before `limit`."""
    described: Described = {}
    for device in found.description.devices:
        key = (device.name.encode("utf-8", "surrogatepass"), device.instance_id)
        described.setdefault(key, []).append(device.body_len)
    while start < limit:
        data = source.read_at(start, min(_SEARCH_LEN, limit - start) + _MOST_HEAD_LEN)
        for match in _HEAD_LOOK.finditer(data):
            at = match.start()
            if at >= _SEARCH_LEN or start + at >= limit:
                break
            if _is_described(
                source, start + at, data[at : at + _MOST_HEAD_LEN], described, footers=footers
            ):
                return start + at
        start += _SEARCH_LEN
    return None


def _is_described(
    source: Source,
    offset: int,
    head: bytes,
    described: Mapping[tuple[bytes, int], list[int | None]],
    *,
    footers: bool,
) -> bool:
    """Tell whether a described FULL section stands at an offset."""
    name_at = _NAME_LEN_AT + 1
    name_end = name_at + head[_NAME_LEN_AT]
    body_at = name_end + _NUMBERS_LEN
    if len(head) < body_at or head[0] != QemuVmSection.SECTION_FULL:
        return False
    instance_id = int.from_bytes(head[name_end : name_end + 4], "big")
    lengths = described.get((head[name_at:name_end], instance_id), [])
    if not footers:
        return bool(lengths)
    footer = footer_bytes(int.from_bytes(head[1:_NAME_LEN_AT], "big"))
    return any(
        length is not None and source.read_at(offset + body_at + length, FOOTER_LEN) == footer
        for length in lengths
    )
