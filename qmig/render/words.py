"""Words for people: names made harmless, lengths with units, text laid out in 100 columns."""

from __future__ import annotations

from typing import Final

from qmig.escape import escaped
from qmig.escape import harmless as harmless  # with what follows: words for people

WIDTH: Final = 100
CUT_MARK: Final = "..."
_KIB: Final = 1024
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def pure(text: str) -> str:
    r"""Return text for JSON: what is no character, as bytes that are not UTF-8, becomes `\\xNN`."""
    if text.isascii():
        return text
    return "".join(escaped(char) if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)


def columns(text: str) -> int:
    """Return how many columns harmless text takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """Return text cut in its middle, with a mark, so that it takes at most `width` columns."""
    if columns(text) <= width:
        return text
    if width <= len(CUT_MARK):  # nothing of the text fits beside the mark
        return CUT_MARK[: max(0, width)]
    left = (width - len(CUT_MARK) + 1) // 2
    right = width - len(CUT_MARK) - left
    return _fitting(text, left) + CUT_MARK + _fitting(text[::-1], right)[::-1]


def _fitting(text: str, width: int) -> str:
    end = min(len(text), width)
    while end and columns(text[:end]) > width:
        end -= 1
    return text[:end]


def padded(text: str, width: int, *, right: bool) -> str:
    """Return text with blanks up to `width` columns."""
    blanks = " " * max(0, width - columns(text))
    return blanks + text if right else text + blanks


def wrapped(text: str, *, first: str, rest: str, width: int = WIDTH) -> list[str]:
    """Return prose as lines: `first` before the first one, `rest` before the others."""
    lines: list[str] = []
    line = first
    empty = True
    for word in text.split():
        if not empty and columns(line) + 1 + columns(word) > width:
            lines.append(line)
            line, empty = rest, True
        word = cut(word, max(1, width - columns(line) - (not empty)))
        line += word if empty else f" {word}"
        empty = False
    return [*lines, line]


def grouped(number: int) -> str:
    """Return a number with its thousands apart: `771,619,644`."""
    return f"{number:,}"


def plural(count: int, thing: str) -> str:
    """Return a count with its thing: `1 device`, `3 devices`."""
    return f"{grouped(count)} {thing}{'' if count == 1 else 's'}"


def short_size(length: int) -> str:
    """Return a length in few columns: `4 MiB`, `735.9 MiB`, `812 B`."""
    if length < _KIB:
        return f"{length} B"
    size = length / _KIB
    steps = 0
    while size >= _KIB and steps + 1 < len(_UNITS):
        size /= _KIB
        steps += 1
    return f"{size:.1f} {_UNITS[steps]}".replace(".0 ", " ")


def full_size(length: int) -> str:
    """Return a length in both ways: `735.9 MiB (771,619,644 bytes)`."""
    if length < _KIB:
        return plural(length, "byte")
    return f"{short_size(length)} ({grouped(length)} bytes)"


def share(part: int, whole: int) -> str:
    """Return a share in percent: `99.2%`, `<0.1%`."""
    if whole <= 0 or part <= 0:
        return "-"
    percent = 100 * part / whole
    return "<0.1%" if percent < 0.05 else f"{percent:.1f}%"


def hex_offset(offset: int) -> str:
    """Return an offset: `0x0000abcd`."""
    return f"0x{offset:08x}"
