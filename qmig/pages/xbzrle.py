"""XBZRLE: a page as what changed against its content before.

Grammar::

    encoding   { zrun nzrun }*
    zrun       ULEB128 number of bytes that stay
    nzrun      ULEB128 n, at least 1, then n new bytes

Numbers take one or two bytes and are at most 16383. A first zrun may be 0, later ones may not;
bytes behind the last run stay. Source: migration/xbzrle.c (xbzrle_decode_buffer) and
migration/ram.c (load_xbzrle), 3.1 to 11.1.
"""

from __future__ import annotations

from typing import Final

_LEB_CONTINUES: Final = 0x80


class XbzrleError(ValueError):
    """The encoding is not legal; `position` is the byte in it where that shows."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} at byte {position} of the encoding")
        self.position = position


def decode_into(page: bytearray, encoding: bytes) -> None:
    """Apply an encoding to a page in place.

    Args:
        page: the content before; becomes the content after.
        encoding: the body of an XBZRLE record.

    Raises:
        XbzrleError: the encoding is not legal; `page` may have been changed in part.
    """
    position = 0
    at = 0
    size = len(encoding)
    while position < size:
        start = position
        stay, position = _uleb128(encoding, position)
        if stay == 0 and start != 0:
            raise XbzrleError("a run of 0 unchanged bytes", start)
        at += stay
        if at > len(page):
            raise XbzrleError("unchanged bytes beyond the page", start)
        start = position
        count, position = _uleb128(encoding, position)
        if count == 0:
            raise XbzrleError("a run of 0 new bytes", start)
        if at + count > len(page):
            raise XbzrleError("new bytes beyond the page", start)
        if position + count > size:
            raise XbzrleError("fewer new bytes than announced", start)
        page[at : at + count] = encoding[position : position + count]
        at += count
        position += count


def _uleb128(encoding: bytes, position: int) -> tuple[int, int]:
    """Return a number and the position behind it; two bytes at most, and two must be left."""
    if position + 2 > len(encoding):
        raise XbzrleError("the encoding ends inside a run", position)
    low = encoding[position]
    if not low & _LEB_CONTINUES:
        return low, position + 1
    high = encoding[position + 1]
    if high & _LEB_CONTINUES:
        raise XbzrleError("a number of more than two bytes", position)
    return low & 0x7F | high << 7, position + 2
