"""Values of options: numbers, sizes, and options whose value may be left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LEAST_PAGE_LEN: Final = 256
_MOST_PAGE_LEN: Final = 65536
_SIZE: Final = re.compile(r"(0x[0-9a-f]+|\d+(?:\.\d+)?)([bkmgtpe]?)", re.IGNORECASE | re.ASCII)
_SUFFIXES: Final = "bkmgtpe"


def number(text: str) -> int:
    """Read a number: decimal, or hexadecimal with 0x."""
    try:
        value = int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number, decimal or with 0x") from None
    if value < 0:
        raise typer.BadParameter(f"{text} is below 0")
    return value


def page_size(text: str) -> int:
    """Read a page size."""
    value = number(text)
    if not _LEAST_PAGE_LEN <= value <= _MOST_PAGE_LEN or value & (value - 1):
        raise typer.BadParameter(f"{text} is not a power of two from 256 to 65536")
    return value


def size(text: str) -> int:
    """Read a size as QEMU does: bytes, or with K, M, G, T, P or E, which are powers of 1024."""
    # A hexadecimal number takes no B and no E for its suffix: they are digits of it.
    found = _SIZE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is no size: a number of bytes, or one with K, M, G or T behind it"
        )
    amount, suffix = found.groups()
    unit: int = 1024 ** _SUFFIXES.index(suffix.lower() or "b")
    if "." not in amount:
        return int(amount, 0 if amount[:2].lower() == "0x" else 10) * unit
    whole, part = amount.split(".")
    scaled = int(whole + part) * unit
    if scaled % 10 ** len(part):
        raise typer.BadParameter(f"{text} is no whole number of bytes")
    return scaled // int(10 ** len(part))


def share(text: str) -> float:
    """Read a share: from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number") from None
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text} is not from 0 to 1")
    return value


def named_file(text: str) -> tuple[str, str]:
    """Read `NAME=FILE`; the name is a RAM block's, the file may have `=` in it."""
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise typer.BadParameter(f"{text!r} is not NAME=FILE, as pc.ram=dump.raw")
    return name, path


def with_defaults(arguments: Iterable[str], optional: Mapping[str, tuple[str, str]]) -> list[str]:
    """Give options whose value may be left out the value that stands for that.

    Args:
        arguments: the command line.
        optional: option -> (pattern of what its value looks like, value where there is none).
    """
    given = list(arguments)
    filled: list[str] = []
    for at, argument in enumerate(given):
        if argument == "--":
            return filled + given[at:]
        if argument not in optional:
            filled.append(argument)
            continue
        pattern, default = optional[argument]
        has_value = at + 1 < len(given) and re.fullmatch(pattern, given[at + 1], re.IGNORECASE)
        filled.append(argument if has_value else f"{argument}={default}")
    return filled
