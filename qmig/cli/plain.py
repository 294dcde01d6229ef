"""What a plain command line is made of, which is read without the option parser."""

from __future__ import annotations

STANDARD_STREAM = "-"
"""A name that stands for standard input or output."""


def is_value(text: str) -> bool:
    """Tell whether an argument is a value by any reading: a name, and no option."""
    return text == STANDARD_STREAM or (bool(text) and not text.startswith("-"))
