"""What a plain command line is made of, which is read without the option parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

STANDARD_STREAM = "-"
"""A name that stands for standard input or output."""


def is_value(text: str) -> bool:
    """Tell whether an argument is a value by any reading: a name, and no option."""
    return text == STANDARD_STREAM or (bool(text) and not text.startswith("-"))


class PlainLine(NamedTuple):
    """A plain command line, read.

    Attributes:
        values: what is no option.
        flags: options without a value.
        options: options with their values, in their order.
    """

    values: list[str]
    flags: set[str]
    options: list[tuple[str, str]]


def read_plain(
    arguments: Sequence[str], *, flags: Collection[str], options: Collection[str] = ()
) -> PlainLine | None:
    """Read a command line by the options that it may have; None where it takes a parser to tell.

    Args:
        arguments: what stands behind the verb.
        flags: options without a value.
        options: options with a value, which stands in an argument of its own.
    """
    line = PlainLine([], set(), [])
    rest = iter(arguments)
    for argument in rest:
        if argument in flags:
            line.flags.add(argument)
        elif argument in options:
            value = next(rest, "")
            if not is_value(value):
                return None
            line.options.append((argument, value))
        elif is_value(argument):
            line.values.append(argument)
        else:
            return None
    return line
