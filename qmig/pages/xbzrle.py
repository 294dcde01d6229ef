"""XBZRLE: a page as what changed against its content before.

Grammar::

    encoding   { zrun nzrun }*
    zrun       ULEB128 number of bytes that stay
    nzrun      ULEB128 n, at least 1, then n new bytes

Numbers take one or two bytes and are at most 16383. A first zrun may be 0, later ones may not;
bytes behind the last run stay. Source: migration/xbzrle.c (xbzrle_decode_buffer,
xbzrle_encode_buffer) and migration/ram.c (load_xbzrle, save_xbzrle_page), 3.1 to 11.1.

The encoder writes what QEMU writes, byte for byte: runs as long as they can be, numbers in their
short form, no zrun at the end. QEMU scans by words, but what it writes does not show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    Pages = np.ndarray[Any, np.dtype[np.uint8]]

_LEB_CONTINUES: Final = 0x80
_MAX_NUMBER: Final = 0x3FFF
# QEMU looks for room for two more numbers before it knows that the rest of the page stays.
_ROOM_LEN: Final = 2
_FEW_EDGES: Final = 100
_STEP_LEN: Final = 1 << 18  # what is encoded in one go: bounds the temporaries


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


def is_minimal(encoding: bytes) -> bool:
    """Tell whether a legal encoding is in QEMU's own form: not empty, each number in its shortest.

    Args:
        encoding: one that `decode_into` takes.
    """
    position = 0
    while position < len(encoding):
        for new in (False, True):
            start = position
            number, position = _uleb128(encoding, position)
            if position - start > 1 and number < _LEB_CONTINUES:
                return False
            position += number if new else 0
    return bool(encoding)


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


def encode(
    old: bytes | bytearray | memoryview | Pages,
    new: bytes | bytearray | memoryview | Pages,
    *,
    max_len: int,
) -> bytes | None:
    """Return what changed from one content of a page to another, as QEMU encodes it.

    Args:
        old: the content before.
        new: the content after; it must not change meanwhile.
        max_len: the longest encoding that is wanted; QEMU: the page size.

    Returns:
        The encoding, empty where nothing changed; None where it would be longer than `max_len`,
        or needs a number above 16383.

    Raises:
        ValueError: the contents are not of one length.
    """
    before, after = np.frombuffer(old, dtype=np.uint8), np.frombuffer(new, dtype=np.uint8)
    if before.shape != after.shape:
        raise ValueError(f"pages of shape {before.shape} and {after.shape}")
    changed = before != after
    edges = (np.flatnonzero(changed[1:] != changed[:-1]) + 1).tolist()
    if changed[:1].any():
        edges.insert(0, 0)
    if len(edges) > _FEW_EDGES:  # numpy's calls cost about as much as so many turns of a loop
        return _encode_step(before.reshape(1, -1), after.reshape(1, -1), max_len)[0]
    stays = len(edges) % 2 == 0
    return _encode_runs(after, edges if stays else [*edges, len(after)], max_len, stays=stays)


def _encode_runs(new: Pages, edges: list[int], max_len: int, *, stays: bool) -> bytes | None:
    """Encode a page by where its runs of new bytes begin and end."""
    out = bytearray()
    behind = 0
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        for number in (begin - behind, end - begin):
            if number > _MAX_NUMBER:
                return None
            if number >= _LEB_CONTINUES:
                out.append(number & 0x7F | _LEB_CONTINUES)
                number >>= 7
            out.append(number)
        out += new[begin:end].data
        behind = end
    too_long = len(out) + (_ROOM_LEN if stays and out else 0) > max_len
    return None if too_long else bytes(out)


def encode_pages(old: Pages, new: Pages, *, max_len: int) -> list[bytes | None]:
    """Encode many pages; see `encode`.

    Args:
        old: the contents before, uint8 of shape (count, page_size_len).
        new: the contents after.
        max_len: the longest encoding that is wanted.

    Returns:
        One encoding for each page.

    Raises:
        ValueError: the arrays are of different shapes.
    """
    if old.shape != new.shape or old.ndim != 2:
        raise ValueError(f"pages of shape {old.shape} and {new.shape}")
    step = max(1, _STEP_LEN // max(1, old.shape[1]))
    encodings: list[bytes | None] = []
    for first in range(0, len(old), step):
        some = slice(first, first + step)
        encodings += _encode_step(old[some], new[some], max_len)
    return encodings


def _encode_step(old: Pages, new: Pages, max_len: int) -> list[bytes | None]:
    count, page_size_len = old.shape
    # A column that did not change on either side, so that no run goes from one page to the next.
    changed = np.zeros((count, page_size_len + 2), dtype=np.bool_)
    np.not_equal(old, new, out=changed[:, 1:-1])
    flat = changed.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    if len(edges) == 0:
        return [b""] * count
    page, at = np.divmod(edges, page_size_len + 2)
    # Edges alternate: where a run of new bytes begins, and where it ends. A page's first zrun
    # counts from its start, which the edge before (of another page) does not tell.
    numbers = np.diff(at, prepend=0)
    fresh = np.diff(page, prepend=-1) != 0
    numbers[fresh] = at[fresh]
    new_len = numbers.copy()
    new_len[::2] = 0
    wide = numbers >= _LEB_CONTINUES
    ends = np.cumsum(new_len + wide + 1)
    heads = ends - new_len - wide - 1

    out = np.empty(int(ends[-1]), dtype=np.uint8)
    is_new = np.ones(len(out), dtype=np.bool_)
    low = numbers & 0x7F
    low[wide] |= _LEB_CONTINUES
    out[heads] = low
    is_new[heads] = False
    seconds = heads[wide] + 1
    out[seconds] = (numbers[wide] >> 7) & 0x7F
    is_new[seconds] = False
    out[is_new] = new[changed[:, 1:-1]]

    behind = np.searchsorted(page, np.arange(count), side="right")
    bounds = [0, *np.concatenate(([0], ends))[behind].tolist()]
    too_long = np.zeros(count, dtype=np.bool_)
    too_long[page[numbers > _MAX_NUMBER]] = True
    stays = ~changed[:, -2]
    data = out.tobytes()
    return [
        None
        if bad or end - begin + (_ROOM_LEN if tail and end > begin else 0) > max_len
        else data[begin:end]
        for begin, end, bad, tail in zip(
            bounds, bounds[1:], too_long.tolist(), stays.tolist(), strict=False
        )
    ]
